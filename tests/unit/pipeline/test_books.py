"""What is kept of the books is bounded in bytes, and read on from where it was."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.contract.rows import add_app, add_task, block, lease, new_job, write
from tocsin.adapters.memory import MemoryStore
from tocsin.clock import ManualClock
from tocsin.domain.books import Lines
from tocsin.domain.task import StepEdit
from tocsin.pipeline.books import BooksReader


class ReadStore(MemoryStore):
    """Notes from which position on the lines of which task are read."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.read: list[tuple[int, int]] = []

    async def lines(
        self, app: int, task: int, after: int, *, limit: int = 3, only_begun: bool = False
    ) -> Lines | None:
        self.read.append((task, after))
        return await super().lines(app, task, after, limit=limit, only_begun=only_begun)


@pytest.fixture
async def store() -> ReadStore:
    store = ReadStore(ManualClock())
    await add_app(store, 1)
    return store


async def pushed(store: ReadStore, batches: int, devices: Iterable[int] = (1,)) -> int:
    """A task with so many lines; answers its number."""
    text = f"push {await store.last_task(1)}"
    task = await add_task(store, 1, jobs=[new_job], audience=[1], text=text)
    (job,) = [job for job in await lease(store) if job.task == task.number]
    lines = [block(task.number, *devices) for _ in range(batches)]
    await write(store, job, StepEdit(blocks=lines))
    return task.number


async def test_lines_are_read_page_by_page_and_once(store: ReadStore) -> None:
    number = await pushed(store, 7)
    reader = BooksReader(store, store._clock)
    books = await reader.of(1, number)
    assert books is not None
    assert books.books.position == 7
    assert store.read == [(1, 0), (1, 3), (1, 6)]
    store.read.clear()
    again = await reader.of(1, number)
    assert again == books
    assert store.read == [(1, 7)]


@pytest.mark.evidence(
    "what is kept of the books is bounded in bytes",
    topic="Books",
    planted="nothing let go",
)
async def test_the_least_used_are_let_go_and_read_again(store: ReadStore) -> None:
    # Every second number: a bitmap cannot pack those, so each task takes some 12 kB.
    numbers = [await pushed(store, 1, range(0, 12_000, 2)) for _ in range(6)]
    reader = BooksReader(store, store._clock, bytes_max=40_000)
    for number in numbers:
        await reader.of(1, number)
        assert reader.bytes_kept <= 60_000
    store.read.clear()
    await reader.of(1, numbers[-1])
    await reader.of(1, numbers[0])
    assert store.read == [(6, 6), (1, 0)]


async def test_a_task_that_is_gone_leaves_nothing(store: ReadStore) -> None:
    number = await pushed(store, 1)
    reader = BooksReader(store, store._clock)
    assert await reader.of(1, number) is not None
    task = store._rows_of(1).tasks.pop(number)
    assert await reader.of(1, number) is None
    assert await reader.task_by_id(1, task.task_id) is None
    assert await reader.begun(1, 99) is None
