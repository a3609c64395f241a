"""A task's books read whole from a store: every line, and the task at one moment."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.books import Books, Ledger, Lines, TaskBooks, TaskSets, ledger, task_sets
from tocsin.domain.task import Block, Job, Report, Task
from tocsin.store import Store


class WholeBooks(Struct, frozen=True):
    """Everything the store has about one task."""

    task: Task
    audience: BitMap
    blocks: Sequence[Block]
    reports: Sequence[Report]
    jobs: Sequence[Job]

    @property
    def taken(self) -> TaskBooks:
        lines = Lines(
            task=self.task, blocks=self.blocks, reports=self.reports, position=1, is_last=True
        )
        return TaskBooks(self.task, self.audience, Books().take(lines), self.jobs)

    @property
    def sets(self) -> TaskSets:
        return task_sets(self.taken)

    @property
    def ledger(self) -> Ledger:
        return ledger(self.taken)


async def read_books(store: Store, app: int, number: int) -> WholeBooks | None:
    """The books, page by page; None: there is no such task."""
    blocks: list[Block] = []
    reports: list[Report] = []
    position = 0
    while True:
        lines = await store.lines(app, number, position)
        if lines is None:
            return None
        blocks += lines.blocks
        reports += lines.reports
        position = lines.position
        if lines.is_last:
            audience = await store.audience(app, number)
            return WholeBooks(lines.task, audience, blocks, reports, lines.jobs)


async def whole_books(store: Store, app: int, number: int) -> WholeBooks:
    """The books of a task that there is."""
    books = await read_books(store, app, number)
    assert books is not None
    return books


async def acked(store: Store, app: int, number: int) -> BitMap:
    """Devices that reached or clicked; nobody where there is no such task."""
    books = await read_books(store, app, number)
    return BitMap() if books is None else books.sets.reached
