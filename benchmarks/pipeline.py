"""What benchmarks of a whole push share: the service's own way, and a bare loop to hold beside it.

The way of a push goes from the accepted call to the end of its task: freeze, walk, plan, lease,
begin, request, settle, with the real SQLite store, driver and HTTP client in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks.harness import Round, Sample, Tell
from benchmarks.service import (
    APP,
    Nobody,
    Opened,
    add_credential,
    fill_devices,
    open_folder,
    pages,
)
from benchmarks.sink import Sink
from tests.task_books import read_books
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.snapshots import FileSnapshots
from tocsin.channels import batch_run
from tocsin.channels.credentials import VendorChannels, seal_settings
from tocsin.clock import Chance
from tocsin.conversation import Request, Response
from tocsin.domain.device import Route
from tocsin.domain.message import Message
from tocsin.domain.outcome import State
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.work import Tools

TITLE = "Train 17 is late"
TEXT = "It leaves at 10:45 from platform 3 and not at 10:20 from platform 5. We are sorry."
RATE_PER_S = 1e9
"""What a vendor would allow must not be what is measured."""
PATIENCE_S = 300.0
POLL_S = 0.02


class Reached(Struct, frozen=True):
    """The vendor that a push goes by, and whom it has there."""

    channel: str
    settings: dict[str, Any]
    token_of: Callable[[int], str]


class Pipeline:
    """The service's own way, from the accepted push to the end of its task."""

    def __init__(self, opened: Opened, tools: Tools, reached: Reached, credential: int) -> None:
        self._opened = opened
        self._reached = reached
        self._credential = credential
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
        self._pushes = 0
        self._devices = 0

    @classmethod
    async def open(
        cls, folder: Path, reached: Reached, target: Sink, http: OutgoingHttp, stack: AsyncExitStack
    ) -> Pipeline:
        """A service with one credential, which leads to the sink."""
        opened = await open_folder(folder, stack)
        settings = seal_settings(opened.vault, APP, reached.channel, reached.settings)
        credential = await add_credential(
            opened, reached.channel, settings, target, rate_per_s=RATE_PER_S
        )
        await http.start(stack)
        chance = Chance()
        channels = VendorChannels(
            opened.store,
            opened.vault,
            batch_run.DriverTools(http, opened.clock, chance, opened.metrics),
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
        return cls(opened, tools, reached, credential)

    async def fill(self, devices: int, tell: Tell) -> None:
        """Register so many devices."""
        for page in pages(devices):
            tell(f"registering devices: {page.start:,} of {devices:,}")
            routes = [
                Route(self._reached.channel, self._credential, self._reached.token_of(number))
                for number in page
            ]
            await fill_devices(self._opened, page, routes)
        self._devices = devices

    def start(self, stack: AsyncExitStack) -> None:
        """Work until `stack` closes."""
        working = asyncio.create_task(self._dispatcher.run())
        stack.push_async_callback(_stopped, working)

    async def send(self) -> int:
        """Push to everyone; answers how many were sent to, as the task's books say."""
        store = self._opened.store
        app = await store.app(APP)
        assert app is not None
        self._pushes += 1
        ask = PushAsk(
            kind="push",
            identifier="administrator",
            msg_random=self._pushes,
            message=Message(title=TITLE, desc=TEXT),
        )
        accepted = await self._accepting.push(app, ask)
        number = await self._ended(accepted.task_id)
        books = await read_books(store, APP, number)
        assert books is not None
        kept = books.ledger
        assert kept.states[State.SENT] == self._devices, kept.states
        assert not kept.faults, kept.faults
        return self._devices

    async def _ended(self, task_id: str) -> int:
        """The task's number, once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                task = await self._opened.store.task_by_id(APP, task_id)
                assert task is not None
                if task.ended_at is not None:
                    return task.number
                await asyncio.sleep(POLL_S)


async def _stopped(working: asyncio.Task[None]) -> None:
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


class Bare:
    """An HTTP client and nothing else: sends what it is given, so many requests at once."""

    def __init__(
        self,
        http: OutgoingHttp,
        requests: Callable[[], Iterable[Request]],
        targets: int,
        in_flight: int,
    ) -> None:
        self._send = http.send
        self._requests = requests
        self._targets = targets
        self._in_flight = in_flight

    async def send(self) -> int:
        """Send all of it once; answers how many targets that were."""
        send, requests = self._send, iter(self._requests())

        async def worker() -> None:
            for request in requests:
                answer = await send(request, 30)
                assert isinstance(answer, Response), answer
                assert answer.status < 300, answer

        await asyncio.gather(*(worker() for _ in range(self._in_flight)))
        return self._targets


Send = Callable[[], Awaitable[int]]
"""Sends pushes, and answers how many."""


def round_of(runner: asyncio.Runner, send: Send) -> Round:
    """Pushes per second of this process's CPU, and per wall second."""

    async def go() -> Sample:
        began, used = time.perf_counter(), time.process_time()
        count = await send()
        used, took = time.process_time() - used, time.perf_counter() - began
        return count / used, count / took

    return lambda: runner.run(go())
