"""Offers: which living pushes a device gets that connects after they were fanned out.

A device is offered a push only if the frozen audience names it as it is now and no leg to it is
begun, sent or in doubt. A push that was written to an earlier connection and never acked is
offered again under the same id. The books are read after the device has connected: what a vendor
had begun by then is seen. Devices that connect together share one read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.device import Device, is_addressed
from tocsin.domain.language import choose_language
from tocsin.domain.outcome import State
from tocsin.domain.plan import choose_devices
from tocsin.domain.stats import TaskBooks, fold
from tocsin.domain.task import FanoutBody, Phase, SendBody, Task, closes
from tocsin.store import Store

AUDIENCES_MAX = 64
REST = 4.0
"""A read rests this many times as long as it took before the next one of the same key begins."""
REST_MAX_S = 1.0

Key = TypeVar("Key")
Value = TypeVar("Value")


class Shared(Generic[Key, Value]):
    """One read for all that asked before it began: never older than the question."""

    def __init__(self, read: Callable[[Key], Awaitable[Value]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._waiting: dict[Key, asyncio.Task[Value]] = {}
        self._running: dict[Key, asyncio.Task[Value]] = {}
        self._rests_until: dict[Key, float] = {}

    async def get(self, key: Key) -> Value:
        """What a read says that begins from now on."""
        waiting = self._waiting.get(key)
        if waiting is None:
            before = self._running.get(key)
            waiting = self._waiting[key] = asyncio.create_task(self._run(key, before))
            waiting.add_done_callback(_look_at_fault)
        return await asyncio.shield(waiting)

    async def _run(self, key: Key, before: asyncio.Task[Value] | None) -> Value:
        if before is not None:
            await asyncio.wait({before})
        rest_s = self._rests_until.pop(key, 0.0) - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.sleep(rest_s)
        mine = self._running[key] = self._waiting.pop(key)
        began = self._clock.monotonic()
        try:
            return await self._read(key)
        finally:
            now = self._clock.monotonic()
            if key in self._waiting:
                self._rests_until[key] = now + min(REST_MAX_S, REST * (now - began))
            if self._running.get(key) is mine:
                del self._running[key]


class Standing(Struct, frozen=True):
    """Where the devices of a task stand, as far as offers ask."""

    closed: BitMap
    """A leg is begun, sent or in doubt, or will be sent without asking for acks."""
    written: BitMap
    """Written to a connection before, whether acked or not."""
    planned: BitMap


def standing(books: TaskBooks) -> Standing:
    """Read a task's books."""
    sets = fold(books)
    closed = sets.states[State.SENT] | sets.states[State.IN_DOUBT] | sets.reached
    for job in books.jobs:
        match job.body:
            case SendBody() as body if job.begun_at is not None or not body.waits_for_ack:
                closed |= BitMap(body.devices)
            case SendBody(doubted=doubted):
                closed |= BitMap(doubted)
            case FanoutBody(open=batches):
                for batch in batches:
                    if ":" in batch.queue and not batch.waits_for_ack:
                        closed |= BitMap(batch.devices)
    return Standing(closed, sets.legs.get("online", BitMap()), sets.planned)


class Offer(Struct, frozen=True):
    """A push for one device."""

    task: Task
    language: int
    is_repeat: bool
    """Written before: its leg is in the books."""


class Offers:
    """Finds the pushes of a device that has just connected."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._living: Shared[int, list[Task]] = Shared(store.living, clock)
        self._standings: Shared[tuple[int, int], Standing] = Shared(self._read_standing, clock)
        self._audiences: OrderedDict[tuple[int, int], BitMap] = OrderedDict()

    async def audience(self, app: int, task: int) -> BitMap:
        """A frozen audience; it never changes. Read it, never change it."""
        key = (app, task)
        found = self._audiences.get(key)
        if found is None:
            found = await self._store.audience(app, task)
            if found:
                self._audiences[key] = found
                if len(self._audiences) > AUDIENCES_MAX:
                    self._audiences.popitem(last=False)
        else:
            self._audiences.move_to_end(key)
        return found

    async def of(self, app: int, device: Device) -> list[Offer]:
        """What this device shall be offered, oldest first."""
        offers: list[Offer] = []
        siblings: list[Device] | None = None
        for task in await self._living.get(app):
            if not self._is_offered(task):
                continue
            audience = await self.audience(app, task.number)
            if not is_addressed(device, audience):
                continue
            found = await self._standings.get((app, task.number))
            if device.number in found.closed:
                continue
            is_repeat = device.number in found.written
            if task.ttl_s == 0 and not is_repeat:
                continue
            if device.user in audience:
                if siblings is None:
                    siblings = await self._siblings(app, device)
                if await self._another_serves(app, device, siblings, found):
                    continue
            language = choose_language(task.message.translations, device.language)
            offers.append(Offer(task, language, is_repeat))
        return offers

    async def standing(self, app: int, task: int) -> Standing:
        """Where a task's devices stand now."""
        return await self._standings.get((app, task))

    def _is_offered(self, task: Task) -> bool:
        """Whether a task is for late comers at all."""
        is_frozen = task.phase is not Phase.INDEXING
        is_over = closes(task, self._clock.now()) is not None
        return is_frozen and not is_over and task.overwrites is None

    async def _siblings(self, app: int, device: Device) -> list[Device]:
        found = await self._store.devices_of(app, BitMap([device.user]))
        return [it for it in found if it.user == device.user]

    async def _another_serves(
        self, app: int, device: Device, siblings: list[Device], found: Standing
    ) -> bool:
        """Whether another device of the same user is the one for this push."""
        row = await self._store.app(app)
        if row is None:
            return True
        chosen = {it.number for it in choose_devices(siblings, row.device_policy)}
        if device.number not in chosen:
            return True
        if device.number in found.planned or device.number in found.written:
            return False
        # A device that came after the plan takes the push over only where no other has it.
        others = BitMap([it.number for it in siblings if it.number != device.number])
        return bool(others & (found.closed | found.written))

    async def _read_standing(self, key: tuple[int, int]) -> Standing:
        books = await self._store.books(*key)
        if books is None:
            return Standing(BitMap(), BitMap(), BitMap())
        return standing(books)


def _look_at_fault(task: asyncio.Task[Value]) -> None:
    # Whoever waited has been told; when everyone hung up, nobody looks, and that is no fault.
    if not task.cancelled():
        task.exception()
