"""Two outgoing HTTP clients side by side: CPU and rate over TLS HTTP/2, and who sends twice.

    python -m benchmarks.http_clients            figures against nginx answering a constant
    python -m benchmarks.http_clients --faults   what each says, and how often the server saw it

Needs nginx and pyreqwest. Both clients stand behind the same `Http` port, in the same process, one
run of one and one of the other in turn, so that a busy machine is unfair to neither. What other
programs do to the machine still shows: compare the columns, not the runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import uvloop
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError

from benchmarks.sink import sink
from tests.wire.faulty_server import (
    FaultyServer,
    H1Link,
    Seen,
    answer_never,
    faulty_server,
    request_to,
)
from tocsin.adapters.http import OutgoingHttp
from tocsin.conversation import Fault, Request, Response
from tocsin.ports import Http

HEADERS = (
    ("authorization", "bearer " + "t" * 180),
    ("apns-topic", "com.example.app"),
    ("apns-push-type", "alert"),
    ("apns-id", "123e4567-e89b-12d3-a456-426614174000"),
    ("apns-expiration", "0"),
)


class ReqwestHttp:
    """The other candidate behind the same port, as far as its interface lets it."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str | None, bool], Client] = {}

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        stack.push_async_callback(self._close)

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,  # noqa: ARG002 - this client cannot ask
    ) -> Response | Fault:
        client = self._client(request)
        try:
            asked = client.request(request.method, request.origin + request.path)
            asked = asked.headers(list(request.headers)).timeout(timedelta(seconds=deadline_s))
            if request.body:
                asked = asked.body_bytes(request.body)
            answer = await asked.build().send()
            body = bytes(await answer.bytes())
        except ConnectError as error:
            return Fault("unsent", str(error))
        except PyreqwestError as error:
            causes = str(getattr(error, "details", None))
            is_refused = "refused stream" in causes
            return Fault("unsent" if is_refused else "maybe_sent", f"{error} {causes}")
        return Response(answer.status, {k: str(v) for k, v in answer.headers.items()}, body)

    def _client(self, request: Request) -> Client:
        key = (request.ca, request.http2)
        if key not in self._clients:
            builder = ClientBuilder().follow_redirects(enable=False)
            builder = (
                builder.http2_prior_knowledge() if request.http2 else builder.http2(enable=True)
            )
            builder = builder.add_root_certificate_pem((request.ca or "").encode())
            self._clients[key] = builder.build()
        return self._clients[key]

    async def _close(self) -> None:
        for client in self._clients.values():
            await client.close()


Answer = Callable[[FaultyServer, Seen], None]

CLIENTS: tuple[type[OutgoingHttp | ReqwestHttp], ...] = (OutgoingHttp, ReqwestHttp)


async def measure(
    http: Http, request: Request, *, count: int, in_flight: int
) -> tuple[float, float]:
    """Requests per second, and microseconds of this process's CPU per request."""
    left = in_flight

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            answer = await http.send(request, 30)
            if not isinstance(answer, Response) or answer.status != 200:
                raise RuntimeError(str(answer))

    await asyncio.gather(*[worker() for _ in range(in_flight)])
    left = count
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[worker() for _ in range(in_flight)])
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return count / took, cpu / count * 1e6


async def one_run(
    kind: type[OutgoingHttp | ReqwestHttp], request: Request, in_flight: int, count: int
) -> tuple[float, float]:
    async with contextlib.AsyncExitStack() as stack:
        http = kind()
        await http.start(stack)
        return await measure(http, request, count=count, in_flight=in_flight)


def figures(runs: int, count: int) -> None:
    with sink() as target, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        path = "/3/device/" + "a" * 64
        request = Request(
            "POST", target.origin, path, HEADERS, b"x" * 400, ca=target.ca, http2=True
        )
        print(f"{'in flight':>9} {'client':<12} {'req/s':>8} {'CPU us':>8}   each run, CPU us")
        for in_flight in (200, 1000):
            results: dict[str, list[tuple[float, float]]] = {kind.__name__: [] for kind in CLIENTS}
            for _ in range(runs):
                for kind in CLIENTS:
                    run = runner.run(one_run(kind, request, in_flight, count))
                    results[kind.__name__].append(run)
            for name, pairs in results.items():
                rate, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
                each = " ".join(f"{pair[1]:.0f}" for pair in pairs)
                print(f"{in_flight:>9} {name:<12} {rate:8.0f} {cpu:8.1f}   {each}")


def reset(server: FaultyServer, seen: Seen, code: int) -> None:
    link = server.links[seen.link]
    if isinstance(link, H1Link):
        server.reply(seen, 200)
    else:
        link.reset(seen.stream, code)


def goaway_below(server: FaultyServer, seen: Seen) -> None:
    server.link_of(seen).goaway(seen.stream - 2)


FAULTS: dict[str, tuple[tuple[str, ...], Answer]] = {
    "RST_STREAM REFUSED_STREAM": (("h2",), lambda server, seen: reset(server, seen, 0x7)),
    "GOAWAY below the stream": (("h2",), goaway_below),
    "RST_STREAM INTERNAL_ERROR": (("h2",), lambda server, seen: reset(server, seen, 0x2)),
    "RST_STREAM HTTP_1_1_REQUIRED": (
        ("h2", "http/1.1"),
        lambda server, seen: reset(server, seen, 0xD),
    ),
    "kept HTTP/2 connection dropped": (
        ("h2",),
        lambda server, seen: server.links[seen.link].drop(),
    ),
    "kept HTTP/1.1 connection closed": (
        ("http/1.1",),
        lambda server, seen: server.links[seen.link].close(),
    ),
    "no answer until the deadline": (("h2",), answer_never),
}


async def faults() -> None:
    print(f"{'fault':<32} {'body':>5} {'client':<12} {'says':<11} seen by the server")
    for name, (alpn, fault) in FAULTS.items():
        for body in (b"x" * 400, b""):
            for kind in CLIENTS:
                said, times = await one_fault(kind, alpn, fault, body)
                print(f"{name:<32} {len(body):>5} {kind.__name__:<12} {said:<11} {times}")


async def one_fault(
    kind: type[OutgoingHttp | ReqwestHttp], alpn: tuple[str, ...], fault: Answer, body: bytes
) -> tuple[str, int]:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(faulty_server(alpn=alpn))
        http = kind()
        await http.start(stack)
        await http.send(request_to(server, "first"), 5)
        server.answer = lambda server, seen: (
            fault(server, seen) if seen.request_id == "bad" else server.reply(seen, 200)
        )
        method = "POST" if body else "GET"
        answer = await http.send(request_to(server, "bad", method=method, body=body), 1)
        said = answer.kind if isinstance(answer, Fault) else str(answer.status)
        return said, server.opened["bad"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=8_000)
    chosen = parser.parse_args()
    if chosen.faults:
        asyncio.run(faults())
    else:
        figures(chosen.runs, chosen.count)


if __name__ == "__main__":
    main()
