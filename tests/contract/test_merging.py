"""The blocks of a task are merged once, when it has ended, in steps of a bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.contract.conftest import open_store
from tests.contract.rows import NOW, add_app, add_task, block, finish, lease, new_job, write
from tests.task_books import whole_books
from tocsin.clock import ManualClock
from tocsin.domain.books import merge_blocks
from tocsin.domain.outcome import State
from tocsin.domain.task import Block, Job, StepEdit, Task
from tocsin.store import Store

LIMIT = 20


class Merging:
    """Counts the blocks that each call is given."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def __call__(self, blocks: Sequence[Block]) -> list[Block]:
        self.given.append(len(blocks))
        return merge_blocks(blocks)

    async def all(self, store: Store, limit: int = LIMIT) -> list[int]:
        """Merge until nothing is left; answers the blocks that each step was given."""
        steps = []
        is_left = True
        while is_left:
            self.given.clear()
            is_left = await store.merge_ended(1, self, limit)
            steps.append(sum(self.given))
        return steps


@pytest.fixture(autouse=True)
async def app(store: Store) -> None:
    await add_app(store, 1)


async def push(store: Store, blocks: int, text: str = "t") -> tuple[Task, Job]:
    """A living task with so many blocks of one kind."""
    task = await add_task(store, 1, jobs=[new_job], audience=[1], text=text)
    (job,) = [job for job in await lease(store) if job.task == task.number]
    lines = [block(task.number, number) for number in range(1, blocks + 1)]
    await write(store, job, StepEdit(blocks=lines))
    return task, job


@pytest.mark.parametrize("count", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 10 * LIMIT])
async def test_an_ended_task_keeps_one_block_of_many_and_says_the_same(
    store: Store, count: int
) -> None:
    task, job = await push(store, count)
    before = await whole_books(store, 1, task.number)
    assert await Merging().all(store) == [0]
    await finish(store, job, task)
    steps = await Merging().all(store)
    assert max(steps) <= LIMIT
    after = await whole_books(store, 1, task.number)
    assert len(after.blocks) == min(count, 1)
    assert after.sets.states[State.SENT] == before.sets.states[State.SENT]
    # Once, and never again.
    assert await Merging().all(store) == [0]


async def test_what_cannot_be_merged_further_is_left_alone(store: Store) -> None:
    task, job = await push(store, 0)
    kinds = [block(task.number, number, code=str(number)) for number in range(3 * LIMIT)]
    await write(store, job, StepEdit(blocks=kinds))
    await finish(store, job, task)
    assert sum(await Merging().all(store)) <= 2 * len(kinds)
    after = await whole_books(store, 1, task.number)
    assert sorted(each.code for each in after.blocks) == sorted(each.code for each in kinds)


async def test_many_small_tasks_share_a_step_and_a_large_one_waits_for_its_own(
    store: Store,
) -> None:
    pushes = [await push(store, count, f"t{count}") for count in (2, 3, 4 * LIMIT, 1)]
    for task, job in pushes:
        await finish(store, job, task)
    steps = await Merging().all(store)
    assert steps[0] == 2 + 3
    assert max(steps) <= LIMIT
    for task, _ in pushes:
        assert len((await whole_books(store, 1, task.number)).blocks) == 1


@pytest.mark.evidence(
    "an ended task is merged once, in bounded steps, and not again after a restart",
    topic="Books",
    planted="the mark of the merged task left; a step that reads all blocks",
)
async def test_a_restart_merges_nothing_again(tmp_path: Path) -> None:
    for is_first in (True, False):
        async with AsyncExitStack() as stack:
            store = await open_store("sqlite", tmp_path / "again", ManualClock(NOW), stack)
            if is_first:
                await add_app(store, 1)
                task, job = await push(store, 5)
                await finish(store, job, task)
            expected = [5] if is_first else [0]
            assert await Merging().all(store) == expected


async def test_forgetting_takes_as_many_as_it_is_allowed(store: Store) -> None:
    pushes = [await push(store, 1, f"t{number}") for number in range(5)]
    for task, job in pushes:
        await finish(store, job, task)
    assert [await store.forget(1, NOW + 1, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.tasks(1) == []
