"""CatchUp: which living pushes a device gets that connects after they were fanned out.

A device is offered a push only if the frozen audience names it as it is now and no leg to it is
begun, sent or in doubt. A push that was written to an earlier connection and never acked is
offered again under the same id. The books are read after the device has connected: what a vendor
had begun by then is seen. Devices that connect together share one read.

What a device costs does not depend on other people's pushes: those of few accounts are found by
the account, those of many by a look into each frozen audience, in memory.
"""

from __future__ import annotations

from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.books import Books, TaskBooks, owned_devices
from tocsin.domain.device import Device, is_addressed
from tocsin.domain.language import choose_language
from tocsin.domain.legs import ONLINE
from tocsin.domain.outcome import State
from tocsin.domain.reach import choose_devices
from tocsin.domain.task import FanoutBody, Phase, SendBody, Task, closes
from tocsin.ports import TaskReader
from tocsin.shared_read import SharedRead
from tocsin.store import Store


class Standing(Struct, frozen=True):
    """Where the devices of a task stand, as far as offers ask."""

    books: Books
    closed_by_jobs: BitMap
    """In a job that has begun, or that will be sent without asking for acks."""
    planned_by_jobs: BitMap

    def is_closed(self, device: int) -> bool:
        """Whether a leg is begun, sent or in doubt, or will be sent without asking for acks."""
        return device in self.closed_by_jobs or is_closed_by_lines(self.books, device)

    def is_written(self, device: int) -> bool:
        """Whether it was written to a connection of the device before, acked or not."""
        return device in self.books.of("leg", ONLINE)

    def is_planned(self, device: int) -> bool:
        """Whether the plan has this device."""
        return device in self.books.of("planned") or device in self.planned_by_jobs


def is_closed_by_lines(books: Books, device: int) -> bool:
    """Whether what is written down for good closes a device; jobs are not looked at."""
    return (
        device in books.of("state", State.SENT)
        or device in books.of("state", State.IN_DOUBT)
        or device in books.of("reached")
        or device in books.of("confirmed")
    )


def standing(task: TaskBooks) -> Standing:
    """Where a task's devices stand by its books and its jobs."""
    closed: list[BitMap] = []
    planned: list[BitMap] = []
    for job in task.jobs:
        planned.append(owned_devices(job))
        match job.body:
            case SendBody() as body if job.begun_at is not None or not body.waits_for_ack:
                closed.append(BitMap(body.devices))
            case SendBody(doubted=doubted):
                closed.append(BitMap(doubted))
            case FanoutBody(open=batches):
                closed += [
                    BitMap(batch.devices)
                    for batch in batches
                    if ":" in batch.queue and not batch.waits_for_ack
                ]
    return Standing(task.books, BitMap.union(BitMap(), *closed), BitMap.union(BitMap(), *planned))


class MissedPush(Struct, frozen=True):
    """A push for one device."""

    task: Task
    language: int
    is_repeat: bool
    """Written before: its leg is in the books."""


class CatchUp:
    """Finds the pushes of a device that has just connected."""

    def __init__(self, store: Store, books: TaskReader, clock: Clock) -> None:
        self._store = store
        self._books = books
        self._clock = clock
        self._standings: SharedRead[tuple[int, int], Standing | None] = SharedRead(
            self._read_standing, clock
        )

    async def of(self, app: int, device: Device) -> list[MissedPush]:
        """What this device shall be offered, oldest first."""
        offers: list[MissedPush] = []
        siblings: list[Device] | None = None
        for task in await self._tasks(app, device):
            audience = await self._books.audience(app, task.number)
            if not self._is_offered(task) or not is_addressed(device, audience):
                continue
            standing = await self._open_standing(task, device)
            if standing is None:
                continue
            is_repeat = standing.is_written(device.number)
            if task.ttl_s == 0 and not is_repeat:
                continue
            if device.user in audience:
                if siblings is None:
                    siblings = await self._siblings(app, device)
                if await self._another_serves(app, device, siblings, standing):
                    continue
            language = choose_language(task.message.translations, device.language)
            offers.append(MissedPush(task, language, is_repeat))
        return offers

    async def written(self, app: int, number: int) -> BitMap:
        """Devices to whose connections a task was written. Read it, never change it."""
        begun = await self._books.begun(app, number)
        return BitMap() if begun is None else begun.books.of("leg", ONLINE)

    async def _tasks(self, app: int, device: Device) -> list[Task]:
        """The living tasks whose frozen audience may name the device, oldest first."""
        accounts = sorted({device.account, device.user} - {0})
        tasks = await self._store.inbox(app, accounts) if accounts else []
        for number in await self._store.broad(app):
            if is_addressed(device, await self._books.audience(app, number)):
                task = await self._store.task(app, number)
                if task is not None and task.ended_at is None:
                    tasks.append(task)
        return sorted(tasks, key=lambda task: task.number)

    async def _open_standing(self, task: Task, device: Device) -> Standing | None:
        """Where a task stands; None where the device needs no offer of it.

        Most devices are settled by what is written down. Only for the others all jobs are read.
        """
        key = (task.app, task.number)
        begun = await self._books.begun(*key)
        if begun is None or is_closed_by_lines(begun.books, device.number):
            return None
        standing = await self._standings.get(key)
        return None if standing is None or standing.is_closed(device.number) else standing

    def _is_offered(self, task: Task) -> bool:
        """Whether a task is for late comers at all."""
        is_frozen = task.phase is not Phase.INDEXING
        is_over = closes(task, self._clock.now()) is not None
        return is_frozen and not is_over and task.overwrites is None

    async def _siblings(self, app: int, device: Device) -> list[Device]:
        devices = await self._store.devices_of(app, BitMap([device.user]))
        return [each for each in devices if each.user == device.user]

    async def _another_serves(
        self, app: int, device: Device, siblings: list[Device], standing: Standing
    ) -> bool:
        """Whether another device of the same user is the one for this push."""
        row = await self._store.app(app)
        if row is None:
            return True
        chosen = {each.number for each in choose_devices(siblings, row.device_policy)}
        if device.number not in chosen:
            return True
        if standing.is_planned(device.number) or standing.is_written(device.number):
            return False
        # A device that came after the plan takes the push over only where no other has it.
        others = (each.number for each in siblings if each.number != device.number)
        return any(standing.is_closed(each) or standing.is_written(each) for each in others)

    async def _read_standing(self, key: tuple[int, int]) -> Standing | None:
        books = await self._books.of(*key)
        return None if books is None else standing(books)
