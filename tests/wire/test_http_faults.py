"""Law 4 against a server that misbehaves: what is in doubt, what surely is not, and never twice.

The oracle is the server's own count of request ids: no fault may make the client send one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pycurl
import pytest

from tests.patience import PATIENCE_S
from tests.wire.faulty_server import (
    FaultyServer,
    H1Link,
    Seen,
    answer_never,
    answer_ok,
    faulty_server,
    request_to,
)
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http1 import Transfer
from tocsin.adapters.http2.pool import TimedExchange
from tocsin.adapters.http_limits import HttpLimits
from tocsin.conversation import Fault, Request, Response
from tocsin.sandbox.kept_port import keep_port

REFUSED_STREAM, INTERNAL_ERROR, HTTP_1_1_REQUIRED = 0x7, 0x2, 0xD
BOTH = ("h2", "http/1.1")
ONE_LANE = HttpLimits(http2_connections=1)

Answer = Callable[[FaultyServer, Seen], None]


@contextlib.asynccontextmanager
async def connected_pair(
    *alpn: str, limits: HttpLimits = ONE_LANE
) -> AsyncIterator[tuple[FaultyServer, OutgoingHttp]]:
    """A server and a client; on leaving, the server must not have seen any request twice."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(faulty_server(alpn=alpn or ("h2",)))
        http = OutgoingHttp(limits)
        await http.start(stack)
        yield server, http
        assert server.doubles() == []


def kind(answer: Response | Fault) -> str:
    return answer.kind if isinstance(answer, Fault) else str(answer.status)


def bad(fault: Answer) -> Answer:
    """Do `fault` to requests whose id begins with "bad", and answer the others."""

    def answer(server: FaultyServer, seen: Seen) -> None:
        (fault if seen.request_id.startswith("bad") else answer_ok)(server, seen)

    return answer


def reset_with(code: int) -> Answer:
    def answer(server: FaultyServer, seen: Seen) -> None:
        link = server.links[seen.link]
        if isinstance(link, H1Link):
            answer_ok(server, seen)
        else:
            link.reset(seen.stream, code)

    return answer


def drop(server: FaultyServer, seen: Seen) -> None:
    server.links[seen.link].drop()


def close(server: FaultyServer, seen: Seen) -> None:
    server.links[seen.link].close()


def half_answer(server: FaultyServer, seen: Seen) -> None:
    link = server.links[seen.link]
    if isinstance(link, H1Link):
        link.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        link.close()
    else:
        link.head(seen.stream, 200)
        link.piece(seen.stream, b"half")
        link.reset(seen.stream, REFUSED_STREAM)


FAULTS = [
    # A server that refuses a stream promises that it did nothing with it (RFC 9113, 8.7).
    pytest.param(reset_with(REFUSED_STREAM), ("h2",), "unsent", id="refused"),
    pytest.param(reset_with(INTERNAL_ERROR), ("h2",), "maybe_sent", id="internal-error"),
    pytest.param(reset_with(HTTP_1_1_REQUIRED), BOTH, "maybe_sent", id="http11-required"),
    pytest.param(drop, ("h2",), "maybe_sent", id="dropped-http2"),
    pytest.param(drop, ("http/1.1",), "maybe_sent", id="dropped-http1"),
    pytest.param(close, ("h2",), "maybe_sent", id="closed-http2"),
    # On a kept connection this is the race with the server's idle timer.
    pytest.param(close, ("http/1.1",), "maybe_sent", id="closed-http1"),
    pytest.param(half_answer, ("h2",), "maybe_sent", id="half-http2"),
    pytest.param(half_answer, ("http/1.1",), "maybe_sent", id="half-http1"),
]


@pytest.mark.evidence(
    "the Http port never sends twice",
    topic="Channels and sandbox",
    planted="the hook that stops libcurl's silent repeats removed; what a server has refused or "
    "lost placed again",
)
@pytest.mark.parametrize(("fault", "alpn", "expected"), FAULTS)
@pytest.mark.parametrize("body", [b"", b"x" * 400, b"x" * 200_000], ids=["empty", "400", "200k"])
@pytest.mark.parametrize("is_kept", [False, True], ids=["new", "kept"])
async def test_a_fault_after_sending_is_told_once_and_never_repeated(
    fault: Answer, alpn: tuple[str, ...], expected: str, body: bytes, is_kept: bool
) -> None:
    method = "POST" if body else "GET"
    async with connected_pair(*alpn) as (server, http):
        server.answer = bad(fault)
        if is_kept:
            assert kind(await http.send(request_to(server, "first"), PATIENCE_S)) == "200"
        asked = request_to(server, "bad", method=method, body=body)
        assert kind(await http.send(asked, PATIENCE_S)) == expected
        assert server.opened["bad"] == 1
        # The client mends itself. One request may still meet the dying connection.
        answers = [
            kind(await http.send(request_to(server, f"then-{n}"), PATIENCE_S)) for n in range(3)
        ]
        assert answers[1:] == ["200", "200"]


@contextlib.asynccontextmanager
async def refusing_server() -> AsyncIterator[FaultyServer]:
    """One with a loop of its own, which answers while the client still writes; every third not."""
    begun, ended = asyncio.get_running_loop().create_future(), threading.Event()
    home = asyncio.get_running_loop()

    def answer(server: FaultyServer, seen: Seen) -> None:
        refuse = reset_with(REFUSED_STREAM)
        (answer_ok if len(server.seen) % 3 else refuse)(server, seen)

    async def serve() -> None:
        async with faulty_server() as server:
            server.answer = answer
            home.call_soon_threadsafe(begun.set_result, server)
            await asyncio.to_thread(ended.wait)

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    try:
        yield await begun
    finally:
        ended.set()
        await thread


@pytest.mark.evidence(
    "a refused stream is unsent, also where the refusal is read while others are still written",
    topic="Channels and sandbox",
    planted="a refused stream taken for any other reset",
)
async def test_a_stream_refused_while_others_are_still_written_is_unsent() -> None:
    count, rounds = 60, 20
    async with refusing_server() as server, contextlib.AsyncExitStack() as stack:
        http = OutgoingHttp()
        await http.start(stack)
        told = Counter[str]()
        for turn in range(rounds):
            asked = [request_to(server, f"{turn}-{n}", http2=True) for n in range(count)]
            answers = await asyncio.gather(*[http.send(it, PATIENCE_S) for it in asked])
            told.update(map(kind, answers))
        assert told == {"200": rounds * count * 2 // 3, "unsent": rounds * count // 3}
        assert server.doubles() == []


@pytest.mark.evidence("APNs faults: GOAWAY")
@pytest.mark.parametrize("is_closing", [False, True], ids=["stays", "closes"])
async def test_goaway_in_the_middle_tells_the_unseen_from_the_doubtful(is_closing: bool) -> None:
    count = 21

    def answer(server: FaultyServer, seen: Seen) -> None:
        if seen.link:
            answer_ok(server, seen)
        elif len(server.seen) == count:
            # Streams are 1, 3, 5 and so on: the tenth is the last that the server looked at.
            link = server.link_of(seen)
            link.goaway(19)
            for low in (3, 7, 11):
                link.reply(low, 200)
            if is_closing:
                link.close()

    async with connected_pair() as (server, http):
        server.answer = answer
        sent = [
            asyncio.create_task(http.send(request_to(server, str(n), http2=True), 4))
            for n in range(count)
        ]
        await server.until(lambda: len(server.seen) >= count)
        # The successor is there before the old connection has drained.
        later = await http.send(request_to(server, "later", http2=True), PATIENCE_S)
        assert kind(later) == "200"
        answers = {request.request_id: request.stream for request in server.seen[:count]}
        kinds = {answers[str(n)]: kind(await task) for n, task in enumerate(sent)}
        assert {stream for stream, told in kinds.items() if told == "unsent"} == set(
            range(21, 42, 2)
        )
        told_low = {kinds[stream] for stream in (1, 5, 9, 13, 15, 17, 19)}
        assert told_low == {"maybe_sent"}
        # Also where the answer is read together with the end of the connection.
        assert {kinds[stream] for stream in (3, 7, 11)} == {"200"}
        assert len(server.links) == 2


async def test_goaway_for_all_streams_yet_to_come_harms_nobody() -> None:
    def answer(server: FaultyServer, seen: Seen) -> None:
        answer_ok(server, seen)
        if seen.request_id == "10":
            server.link_of(seen).goaway(2**31 - 1)

    async with connected_pair() as (server, http):
        server.answer = answer
        for burst in range(0, 30, 10):
            sent = [
                http.send(request_to(server, str(n)), PATIENCE_S) for n in range(burst, burst + 10)
            ]
            assert Counter(map(kind, await asyncio.gather(*sent))) == {"200": 10}


@pytest.mark.evidence("APNs faults: stream limit")
@pytest.mark.parametrize("is_http2_only", [True, False])
async def test_a_stream_limit_of_one_delays_and_loses_nothing(is_http2_only: bool) -> None:
    """APNs lowers the limit to 1 after a rejected request and raises it after the next success."""
    most = Counter[str]()
    held: list[Seen] = []

    def answer(server: FaultyServer, seen: Seen) -> None:
        held.append(seen)
        most["under way"] = max(most["under way"], len(held))
        asyncio.get_running_loop().call_soon(finish, server)

    def finish(server: FaultyServer) -> None:
        seen = held.pop()
        answer_ok(server, seen)
        if len(server.seen) == 20:
            for link in server.links:
                server.h2_link(link.number).limit(100)

    limits = HttpLimits(http2_connections=1, connections=1)
    async with connected_pair(limits=limits) as (server, http):
        server.on_connect = lambda link: server.h2_link(link.number).limit(1)
        server.answer = answer
        sent = [
            http.send(request_to(server, str(n), http2=is_http2_only), PATIENCE_S)
            for n in range(100)
        ]
        answers = await asyncio.gather(*sent)
        assert Counter(map(kind, answers)) == {"200": 100}
        assert len(server.seen) == 100
        assert len(server.links) <= 2


async def test_a_limit_lowered_under_way_is_obeyed() -> None:
    async with connected_pair() as (server, http):
        served = 0

        async def send_until_acknowledged(count: int) -> None:
            nonlocal served
            while not server.links or server.h2_link(0).acknowledged < count:
                served += 1
                assert (
                    kind(await http.send(request_to(server, f"s{served}", http2=True), PATIENCE_S))
                    == "200"
                )

        await send_until_acknowledged(1)
        server.h2_link(0).limit(1)
        await send_until_acknowledged(2)
        sent = [http.send(request_to(server, str(n), http2=True), PATIENCE_S) for n in range(50)]
        assert Counter(map(kind, await asyncio.gather(*sent))) == {"200": 50}
        assert server.h2_link(0).streams_most == 1
        assert len(server.seen) == served + 50


async def test_an_answer_without_body_is_an_answer() -> None:
    async with connected_pair() as (server, http):
        server.answer = lambda server, seen: server.reply(seen, 503)
        answer = await http.send(request_to(server, "1"), PATIENCE_S)
        assert answer == Response(503, {}, b"")


async def test_a_slow_body_is_waited_for_until_the_deadline() -> None:
    begun: list[Seen] = []

    def answer(server: FaultyServer, seen: Seen) -> None:
        server.link_of(seen).head(seen.stream, 200)
        server.link_of(seen).piece(seen.stream, b"first ")
        begun.append(seen)

    async with connected_pair() as (server, http):
        server.answer = answer
        slow = asyncio.create_task(http.send(request_to(server, "slow"), PATIENCE_S))
        late = asyncio.create_task(http.send(request_to(server, "late"), 3))
        await server.until(lambda: len(begun) == 2)
        assert kind(await late) == "maybe_sent"
        seen = next(seen for seen in begun if seen.request_id == "slow")
        server.link_of(seen).piece(seen.stream, b"second", is_end=True)
        assert await slow == Response(200, {}, b"first second")


async def test_no_byte_leaves_before_a_connection_is_there() -> None:
    with keep_port("127.0.0.1") as unused:
        port = unused.getsockname()[1]
        async with connected_pair() as (_, http):
            for origin in (f"https://127.0.0.1:{port}", "https://name.invalid"):
                sent = [http.send(Request("POST", origin, "/", body=b"x"), 5) for _ in range(20)]
                assert Counter(map(kind, await asyncio.gather(*sent))) == {"unsent": 20}


async def test_a_peer_that_never_greets_costs_the_deadline_and_no_doubt() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        origin = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with connected_pair() as (server, http):
            for is_http2_only in (False, True):
                sent = [
                    http.send(Request("POST", origin, "/", body=b"x", http2=is_http2_only), 0.3)
                    for _ in range(20)
                ]
                assert Counter(map(kind, await asyncio.gather(*sent))) == {"unsent": 20}
            assert kind(await http.send(request_to(server, "other"), PATIENCE_S)) == "200"


async def test_a_vendor_of_http2_only_is_not_spoken_to_in_http1() -> None:
    async with connected_pair("http/1.1") as (server, http):
        assert kind(await http.send(request_to(server, "1", http2=True), 5)) != "200"
        assert not server.seen


async def test_a_request_whose_repeat_cannot_connect_is_still_in_doubt() -> None:
    """The trap: libcurl reports "could not connect" for a request that it had sent before."""

    def answer(server: FaultyServer, seen: Seen) -> None:
        server.stop_listening()
        close(server, seen)

    async with connected_pair("http/1.1") as (server, http):
        assert kind(await http.send(request_to(server, "first"), PATIENCE_S)) == "200"
        server.answer = answer
        assert kind(await http.send(request_to(server, "bad"), PATIENCE_S)) == "maybe_sent"
        assert kind(await http.send(request_to(server, "later"), PATIENCE_S)) == "unsent"


async def test_waiters_for_a_busy_http1_connection_are_unsent_at_their_deadline() -> None:
    limits = HttpLimits(connections=2)
    async with connected_pair("http/1.1", limits=limits) as (server, http):
        server.answer = answer_never
        answers = await asyncio.gather(
            *[http.send(request_to(server, str(n)), 3) for n in range(10)]
        )
        assert Counter(map(kind, answers)) == {"maybe_sent": 2, "unsent": 8}


@pytest.mark.evidence("the Http port never sends twice")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpn", [("h2",), ("http/1.1",), BOTH], ids="-".join)
async def test_under_any_mixture_of_faults_no_request_is_seen_twice(
    seed: int, alpn: tuple[str, ...]
) -> None:
    chance = random.Random(f"{seed}-{alpn}")
    refused: set[str] = set()
    tops, last_streams = Counter[int](), dict[int, int]()

    def refuse(server: FaultyServer, seen: Seen) -> None:
        refused.add(seen.request_id)
        reset_with(REFUSED_STREAM)(server, seen)

    def goaway(server: FaultyServer, seen: Seen) -> None:
        last_streams[seen.link] = tops[seen.link]
        server.link_of(seen).goaway(tops[seen.link])
        answer_ok(server, seen)

    common = [answer_ok] * 30 + [drop, close, half_answer, answer_never]
    http2 = [refuse, goaway, reset_with(INTERNAL_ERROR), reset_with(HTTP_1_1_REQUIRED)]

    def answer(server: FaultyServer, seen: Seen) -> None:
        is_http1 = isinstance(server.links[seen.link], H1Link)
        if not is_http1 and seen.stream > last_streams.get(seen.link, seen.stream):
            # It was under way when the GOAWAY went out, which says that it is not looked at.
            refused.add(seen.request_id)
            return
        tops[seen.link] = max(tops[seen.link], seen.stream)
        chance.choice(common if is_http1 else common + http2)(server, seen)

    limits = HttpLimits(http2_connections=2, connections=4)
    async with connected_pair(*alpn, limits=limits) as (server, http):
        server.answer = answer
        kinds: dict[str, str] = {}

        async def worker(name: int) -> None:
            for turn in range(15):
                request_id = f"{name}-{turn}"
                body = b"x" * chance.choice([0, 10, 400, 40_000])
                asked = request_to(server, request_id, body=body, http2=alpn == ("h2",))
                kinds[request_id] = kind(await http.send(asked, 0.5))

        await asyncio.gather(*[worker(name) for name in range(12)])
        answered = {request_id for request_id, told in kinds.items() if told == "200"}
        acted_on = {seen.request_id for seen in server.seen} - refused
        unsent = {request_id for request_id, told in kinds.items() if told == "unsent"}
        assert answered
        assert not unsent & acted_on


@pytest.fixture
def repeats() -> Iterator[None]:
    """Plant the fault that law 4 is there against: what failed after sending is sent again."""
    kept = Transfer._before_sending, TimedExchange.end
    repeated: list[TimedExchange] = []

    def end(call: TimedExchange, answer: Response | Fault) -> None:
        kept[1](call, answer)
        if isinstance(answer, Fault) and call.stream and call.lane and call not in repeated:
            future = asyncio.get_running_loop().create_future()
            repeated.append(TimedExchange(call.request, call.deadline_at, None, future))
            call.lane._owner._lane().put(repeated[-1])

    Transfer._before_sending = lambda self, *_: pycurl.PREREQFUNC_OK  # type: ignore[method-assign]
    TimedExchange.end = end  # type: ignore[assignment, method-assign]
    yield
    Transfer._before_sending, TimedExchange.end = kept  # type: ignore[method-assign]


@pytest.mark.usefixtures("repeats")
@pytest.mark.parametrize(
    ("fault", "alpn"),
    [
        (reset_with(REFUSED_STREAM), ("h2",)),
        (reset_with(HTTP_1_1_REQUIRED), BOTH),
        (drop, ("h2",)),
        (close, ("http/1.1",)),
    ],
    ids=["refused", "http11-required", "dropped-http2", "closed-http1"],
)
async def test_the_oracle_sees_a_client_that_repeats(fault: Answer, alpn: tuple[str, ...]) -> None:
    async def break_the_law() -> None:
        async with connected_pair(*alpn) as (server, http):
            server.answer = bad(fault)
            await http.send(request_to(server, "first"), PATIENCE_S)
            await http.send(request_to(server, "bad"), PATIENCE_S)
            await http.send(request_to(server, "later"), PATIENCE_S)

    with pytest.raises(AssertionError, match="bad"):
        await break_the_law()
