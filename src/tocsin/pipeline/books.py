"""The books of tasks as everybody reads them: kept in memory, and read on from where they were.

A look at a task costs what was written since the last one. What is kept is bounded in bytes; what
was dropped is read again from its first line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.books import (
    BegunLegs,
    Books,
    Ledger,
    Lines,
    TaskBooks,
    TaskSets,
    bitmap_size,
    ledger,
    task_sets,
)
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.legs import choose_channel, under_way
from tocsin.domain.task import Report, Task
from tocsin.ports import TaskReader
from tocsin.shared_read import SharedRead
from tocsin.store import Store

BYTES_MAX = 128 * 1024 * 1024
"""Bytes that are kept, half of them audiences; the sets of a push to ten million devices take some
five megabytes."""
TASKS_MAX = 100_000
"""Tasks that are kept, however small they are."""
TASK_BYTES = 1_000
"""What a task takes in memory beside its texts."""
NEAR_LINES_MAX = 500
"""Lines, or jobs, that are worked on in the event loop's own thread; more are in another."""
NEAR_BYTES_MAX = 262_144

Answer = TypeVar("Answer")
_Key = tuple[int, int]
"""(sdkappid, number of the task)."""


class _Kept(Struct):
    """What is kept of a task. Its row is as of the last look; its names never change."""

    task: Task
    books: Books


class BooksReader:
    """Reads the books and the frozen audiences of tasks."""

    def __init__(self, store: Store, clock: Clock, *, bytes_max: int = BYTES_MAX) -> None:
        self._store = store
        self._kept: BoundedCache[_Key, _Kept] = BoundedCache(
            TASKS_MAX, bytes_max=bytes_max // 2, size_of=_size_of
        )
        self._audiences: BoundedCache[_Key, BitMap] = BoundedCache(
            TASKS_MAX, bytes_max=bytes_max // 2, size_of=bitmap_size
        )
        self._numbers: BoundedCache[tuple[int, str], int] = BoundedCache(TASKS_MAX)
        self._begun: SharedRead[_Key, BegunLegs | None] = SharedRead(self._read_begun, clock)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the books and the audiences that are kept."""
        return self._kept.total_bytes + self._audiences.total_bytes

    # everything about a task

    async def of(self, app: int, number: int) -> TaskBooks | None:
        """Everything about a task at one moment; None: there is no such task."""
        lines = await self._read_on((app, number), only_begun=False)
        if lines is None:
            return None
        books = self._kept_books((app, number))
        return TaskBooks(lines.task, await self.audience(app, number), books, lines.jobs)

    async def audience(self, app: int, number: int) -> BitMap:
        """A frozen audience, empty before it is frozen. Read it, never change it."""
        key = (app, number)
        kept = self._audiences.get(key)
        if kept is not None:
            return kept
        audience = await self._store.audience(app, number)
        if audience and key not in self._audiences:
            # Once it is frozen it never changes.
            self._audiences.put(key, audience)
        return audience

    async def ledger(self, task: TaskBooks) -> Ledger:
        """The counts of a task's books; of a large one in another thread."""
        return await _worked_out(ledger, task)

    async def sets(self, task: TaskBooks) -> TaskSets:
        """The sets of a task's books; of a large one in another thread."""
        return await _worked_out(task_sets, task)

    async def reports(self, app: int, number: int, devices: BitMap) -> list[Report]:
        """The reports about any of these devices, read from the first line on."""
        chosen: list[Report] = []
        position, is_last = 0, not devices
        while not is_last:
            lines = await self._store.lines(app, number, position, only_begun=True)
            if lines is None:
                break
            chosen += await asyncio.to_thread(_about, devices, lines.reports)
            position, is_last = lines.position, lines.is_last
        return chosen

    # legs that have begun

    async def task_by_id(self, app: int, task_id: str) -> Task | None:
        """The task with this TaskId as it was when it was last looked at, if there still is one."""
        number = self._numbers.get((app, task_id))
        if number is not None:
            return await self.task(app, number)
        return self._known(await self._store.task_by_id(app, task_id))

    async def task(self, app: int, number: int) -> Task | None:
        """The task with this number as it was when it was last looked at, if there still is one."""
        kept = self._kept.get((app, number))
        if kept is not None:
            return kept.task
        return self._known(await self._store.task(app, number))

    def _known(self, task: Task | None) -> Task | None:
        if task is not None and (task.app, task.number) not in self._kept:
            self._keep(task, Books())
        return task

    async def with_leg(self, task: Task, devices: Collection[int], channel: str) -> set[int]:
        """Those of the devices to which a leg over this channel has begun.

        What is kept answers at once; the books are read on only for a device without a leg.
        """
        key = (task.app, task.number)
        books = self._kept_books(key)
        reached = {number for number in devices if books.has_leg(channel, number)}
        if len(reached) < len(set(devices)):
            begun = await self.begun(*key)
            if begun is not None:
                reached |= {number for number in devices if begun.has_leg(channel, number)}
        return reached

    async def channel_of(self, task: Task, device: int, preferred: str) -> str | None:
        """The channel for a report that names none; None where no leg to the device has begun."""
        key = (task.app, task.number)
        if self._kept_books(key).has_leg(preferred, device):
            return preferred
        begun = await self.begun(*key)
        return None if begun is None else choose_channel(begun.channels(device), preferred)

    async def begun(self, app: int, number: int) -> BegunLegs | None:
        """A task's books with the legs that are under way; None: there is no such task."""
        return await self._begun.get((app, number))

    async def _read_begun(self, key: _Key) -> BegunLegs | None:
        lines = await self._read_on(key, only_begun=True)
        if lines is None:
            return None
        return BegunLegs(lines.task, self._kept_books(key), under_way(lines.jobs))

    # reading on

    async def _read_on(self, key: _Key, *, only_begun: bool) -> Lines | None:
        """Take in all lines that are new; answers the last page of them."""
        books = self._kept_books(key)
        while True:
            lines = await self._store.lines(*key, books.position, only_begun=only_begun)
            if lines is None:
                self._kept.pop(key)
                return None
            if len(lines.blocks) + len(lines.reports) > NEAR_LINES_MAX:
                books = await asyncio.to_thread(books.take, lines)
            elif lines.blocks or lines.reports:
                books = books.take(lines)
            if lines.is_last:
                self._keep(lines.task, books)
                return lines

    def _kept_books(self, key: _Key) -> Books:
        kept = self._kept.get(key)
        return Books() if kept is None else kept.books

    def _keep(self, task: Task, books: Books) -> None:
        key = (task.app, task.number)
        known = self._kept.get(key)
        if known is not None and known.books.position >= books.position:
            # Another reading got as far, or further.
            known.task = task
            return
        self._kept.put(key, _Kept(task, books))
        self._numbers.put((task.app, task.task_id), task.number)


def _size_of(kept: _Kept) -> int:
    return kept.books.size() + len(msgspec.msgpack.encode(kept.task)) + TASK_BYTES


def _about(devices: BitMap, reports: Sequence[Report]) -> list[Report]:
    return [it for it in reports if BitMap.deserialize(it.members) & devices]


async def _worked_out(work: Callable[[TaskBooks], Answer], task: TaskBooks) -> Answer:
    is_near = len(task.jobs) <= NEAR_LINES_MAX and task.books.size() <= NEAR_BYTES_MAX
    return work(task) if is_near else await asyncio.to_thread(work, task)


def _fits(books: BooksReader) -> TaskReader:
    return books
