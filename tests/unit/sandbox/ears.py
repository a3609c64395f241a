"""Whoever the sandbox's vendors post receipts to, in the tests that need no sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tocsin.channels.registry import find, report_of
from tocsin.clock import ManualClock, settle_loop
from tocsin.conversation import Fault, LateReceipt, Request, Response
from tocsin.sandbox.devices import DeviceBook, State
from tocsin.sandbox.endpoint import Endpoint
from tocsin.sandbox.exchange import Call, Connection, Judgement, VendorRules
from tocsin.sandbox.faults import Faults, Rule
from tocsin.sandbox.log import Log
from tocsin.sandbox.receipts import Receipts, ReceiptSettings

URL = "http://127.0.0.1:8080"


class Ears:
    """Whoever is posted to."""

    def __init__(self, clock: ManualClock) -> None:
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self.times: list[float] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._clock = clock

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        self.requests.append(request)
        self.times.append(self._clock.now())
        await self.is_open.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return Response(status) if status else Fault("maybe_sent", "")


class Speaker(VendorRules, Protocol):
    """A vendor's server that makes tokens."""

    def token(self, number: int) -> str: ...


class Office:
    """One vendor with its book, and what it posts as the vendor's own file reads it."""

    def __init__(self, make: Callable[[DeviceBook, ManualClock], Speaker]) -> None:
        self.clock = ManualClock()
        self.book = DeviceBook(self.clock)
        self.vendor = make(self.book, self.clock)
        self.faults = Faults(self.clock, 7)
        self.receipts = Receipts(self.book, self.faults, self.clock)
        self.receipts.settings = ReceiptSettings(url=URL)
        self.ears = Ears(self.clock)
        self._endpoint = Endpoint(self.vendor, self.faults, Log(), self.receipts, self.clock)

    def ask(self, path: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        """The answer to a call, which is taken note of."""
        return self._endpoint(Call("POST", path, headers, body, Connection(1, "", None))).body

    def note(self, verdict: Judgement) -> None:
        self.receipts.note(self.vendor, verdict)

    def state(self, number: int, state: State, app: str | None = None) -> None:
        self.book.put(self.vendor.name, self.vendor.token(number), state, app=app)

    def fault(self, number: int, **rule: Any) -> None:
        self.faults.add(Rule(token=self.vendor.token(number), **rule))

    async def heard(self) -> list[LateReceipt]:
        """Every receipt so far, in the order posted."""
        await settle_loop()
        vendor = find(self.vendor.name)
        assert vendor is not None
        report = report_of(vendor)
        assert report is not None
        posted = [report(dict(it.headers), it.body) for it in self.ears.requests]
        assert not any(it.unreadable for it in posted)
        return [receipt for it in posted for receipt in it.receipts]

    async def told(self) -> Counter[tuple[int, str]]:
        """How often what was told of each device, by its number below 100."""
        numbers = {self.vendor.token(number): number for number in range(100)}
        return Counter((numbers[it.token], it.code) for it in await self.heard())


@asynccontextmanager
async def office(make: Callable[[DeviceBook, ManualClock], Speaker]) -> AsyncIterator[Office]:
    it = Office(make)
    running = asyncio.create_task(it.receipts.run(it.ears))
    try:
        yield it
        # What went wrong while posting must not stay unseen.
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait({running})
