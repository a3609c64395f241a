"""APNs pushes per second of the sending process, books kept, at an nginx that answers a constant.

One push to everyone, from the accepted call to the end of its task: freeze, walk, plan, lease,
begin, request, settle, with the real SQLite store, driver and HTTP client in this process. Beside
it run, in turn and on the same event loop:

- a bare loop on the same client, one prepared request a token, which keeps no books at all;
- aioapns, one notification a token, with as many connections and requests under way as we have.

Quoted per second of this process's CPU (all its threads, the store's writer too), which is what one
core could do, and per wall second on this machine, where nginx and everything else runs as well.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsProductionClientProtocol
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct

from benchmarks.harness import Found, Round, Row, Sample, Size, Tell, in_turn
from benchmarks.service import (
    APP,
    Nobody,
    Opened,
    add_credential,
    fill_devices,
    open_folder,
    pages,
    token_of,
)
from benchmarks.sink import Sink, is_installed, sink
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.http import CurlHttp
from tocsin.adapters.http_pool import HttpLimits
from tocsin.adapters.snapshots import FileSnapshots
from tocsin.channels import apns, driver
from tocsin.channels.credentials import VendorChannels, seal_settings
from tocsin.clock import Chance
from tocsin.domain.message import Message
from tocsin.domain.outcome import State
from tocsin.domain.stats import ledger
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.work import Tools
from tocsin.ports import Request, Response
from tocsin.wiring import ease_collector

CONNECTIONS = 2
IN_FLIGHT = apns.LIMITS.in_flight_max
TEAM, KEY_ID, TOPIC = "TEAM123456", "KEY1234567", "com.example.app"
TITLE = "Train 17 is late"
TEXT = "It leaves at 10:45 from platform 3 and not at 10:20 from platform 5. We are sorry."
ANSWER = "add_header apns-id $http_apns_id; return 200;"
"""Apple's answer to what it accepts; aioapns finds the request by this header."""
PATIENCE_S = 300.0
POLL_S = 0.02


def run(size: Size, tell: Tell) -> Found:
    """The rows of this benchmark."""
    if not is_installed():
        return Found(remarks=["nginx is not installed: pushes are left out."])
    with (
        tempfile.TemporaryDirectory() as folder,
        sink(ANSWER) as target,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        stack = AsyncExitStack()
        try:
            bench = runner.run(_open(Path(folder), target, size, stack, tell))
            sides: dict[str, Round] = {
                name: _round(runner, size.devices, send) for name, send in bench.items()
            }
            medians = in_turn(sides, size.rounds, tell)
        finally:
            runner.run(stack.aclose())
    return Found(_rows(medians, size.devices))


Send = Callable[[int], Awaitable[None]]
"""Sends so many pushes."""


def _round(runner: asyncio.Runner, count: int, send: Send) -> Round:
    async def go() -> Sample:
        began, used = time.perf_counter(), time.process_time()
        await send(count)
        used, took = time.process_time() - used, time.perf_counter() - began
        return count / used, count / took

    return lambda: runner.run(go())


async def _open(
    folder: Path, target: Sink, size: Size, stack: AsyncExitStack, tell: Tell
) -> dict[str, Send]:
    # As the service does; all sides run in this process and so have the same.
    ease_collector(stack)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pipeline = await Pipeline.open(folder, target, pem, stack)
    for page in pages(size.devices):
        tell(f"registering devices: {page.start:,} of {size.devices:,}")
        await fill_devices(pipeline.opened, pipeline.credential, page)
    pipeline.start(stack)
    bare = Bare(target)
    await bare.start(stack)
    other = Aioapns(target, pem)
    stack.callback(other.close)
    return {"pipeline": pipeline.send, "bare loop": bare.send, "aioapns": other.send}


class Pipeline:
    """The service's own way, from the accepted push to the end of its task."""

    def __init__(self, opened: Opened, tools: Tools, credential: int) -> None:
        self.opened = opened
        self.credential = credential
        bus = LocalBus()
        self._dispatcher = Dispatcher("main", tools, bus, Pace())
        self._accepting = Accepting(
            opened.store,
            bus,
            tools.presence,
            tools.channels,
            clock=opened.clock,
            chance=tools.chance,
            metrics=opened.metrics,
        )
        self._count = 0

    @classmethod
    async def open(cls, folder: Path, target: Sink, pem: str, stack: AsyncExitStack) -> Pipeline:
        opened = await open_folder(folder, stack)
        values = {"private_key": pem, "key_id": KEY_ID, "team_id": TEAM, "bundle_id": TOPIC}
        settings = seal_settings(opened.vault, APP, "apns", values)
        credential = await add_credential(opened, "apns", settings, target.origin, target.ca)
        http = CurlHttp(HttpLimits(http2_connections=CONNECTIONS))
        await http.start(stack)
        chance = Chance()
        channels = VendorChannels(
            opened.store, opened.vault, driver.Tools(http, opened.clock, chance, opened.metrics)
        )
        await channels.start(stack)
        tools = Tools(
            store=opened.store,
            channels=channels,
            presence=Nobody(),
            clock=opened.clock,
            chance=chance,
            indexer=Indexer(opened.store, FileSnapshots(folder / "index")),
            metrics=opened.metrics,
            correlation_key=b"k" * 32,
        )
        return cls(opened, tools, credential)

    def start(self, stack: AsyncExitStack) -> None:
        working = asyncio.create_task(self._dispatcher.run())
        stack.push_async_callback(_stopped, working)

    async def send(self, count: int) -> None:
        store = self.opened.store
        app = await store.app(APP)
        assert app is not None
        self._count += 1
        ask = PushAsk(
            kind="push",
            identifier="administrator",
            msg_random=self._count,
            message=Message(title=TITLE, desc=TEXT),
        )
        accepted = await self._accepting.push(app, ask)
        number = await self._ended(accepted.task_id)
        books = await store.books(APP, number)
        assert books is not None
        states = ledger(books).states
        assert states[State.SENT] == count, states

    async def _ended(self, task_id: str) -> int:
        """The task's number, once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                task = await self.opened.store.task(APP, task_id)
                assert task is not None
                if task.ended_at is not None:
                    return task.number
                await asyncio.sleep(POLL_S)


async def _stopped(working: asyncio.Task[None]) -> None:
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


class Bare:
    """The same HTTP client and nothing else."""

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._http = CurlHttp(HttpLimits(http2_connections=CONNECTIONS))

    async def start(self, stack: AsyncExitStack) -> None:
        await self._http.start(stack)

    async def send(self, count: int) -> None:
        send, requests = self._http.send, self._requests(count)

        async def worker() -> None:
            for request in requests:
                answer = await send(request, 30)
                assert isinstance(answer, Response), answer
                assert answer.status == 200, answer

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))

    def _requests(self, count: int) -> Iterator[Request]:
        body = b'{"aps":{"alert":{"title":"%s","body":"%s"}}}' % (TITLE.encode(), TEXT.encode())
        headers = (
            ("authorization", "bearer " + "t" * 180),
            ("apns-topic", TOPIC),
            ("apns-push-type", "alert"),
            ("apns-priority", "10"),
            ("apns-expiration", "1800000000"),
            ("apns-id", "123e4567-e89b-12d3-a456-426614174000"),
            ("apns-collapse-id", "t53724e01-1"),
        )
        origin, ca = self._target.origin, self._target.ca
        for number in range(count):
            path = "/3/device/" + token_of(number)
            yield Request("POST", origin, path, headers, body, ca=ca, http2=True, pool="bare")


class Aioapns:
    """The library that Python services commonly send to APNs with."""

    def __init__(self, target: Sink, pem: str) -> None:
        # Its own pool says so for each request beyond what one connection takes.
        logging.getLogger("aioapns").setLevel(logging.CRITICAL)
        APNsProductionClientProtocol.APNS_SERVER = "localhost"
        APNsProductionClientProtocol.APNS_PORT = target.port
        context = ssl.create_default_context(cadata=target.ca)
        context.set_alpn_protocols(["h2"])
        self._client = APNs(
            key=pem,
            key_id=KEY_ID,
            team_id=TEAM,
            topic=TOPIC,
            max_connections=CONNECTIONS,
            ssl_context=context,
        )

    async def send(self, count: int) -> None:
        client, numbers = self._client, iter(range(count))
        aps = {"aps": {"alert": {"title": TITLE, "body": TEXT}}}

        async def worker() -> None:
            for number in numbers:
                asked = NotificationRequest(
                    device_token=token_of(number),
                    message=aps,
                    time_to_live=3600,
                    priority=10,
                    collapse_key="t53724e01-1",
                )
                answer = await client.send_notification(asked)
                assert answer.is_successful, answer.description

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))

    def close(self) -> None:
        self._client.pool.close()


class _Quoted(Struct, frozen=True):
    beside: str
    goal: float


_QUOTED = {
    "bare loop": _Quoted("bare loop, same client, no books", 0.5),
    "aioapns": _Quoted("aioapns", 5.0),
}


def _rows(medians: dict[str, Sample], devices: int) -> list[Row]:
    measure = f"APNs pushes, books kept, {devices:,} devices"
    units = ("pushes/CPU-s", "pushes/s")
    return [
        Row(
            measure=measure,
            ours=medians["pipeline"][place],
            unit=unit,
            beside=quoted.beside,
            other=medians[name][place],
            target=f"≥ {quoted.goal:g}" if place == 0 else "-",
            goal=quoted.goal if place == 0 else None,
        )
        for place, unit in enumerate(units)
        for name, quoted in _QUOTED.items()
    ]
