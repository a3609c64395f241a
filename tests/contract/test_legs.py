"""Lines of the books that tell of begun legs: all of them at first, then only later ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.conftest import open_store
from tests.contract.rows import add_app, add_task, block, finish, lease, new_job, report, write
from tocsin.adapters.sqlite.cache import AccountCache
from tocsin.adapters.sqlite.folder import open_writer
from tocsin.adapters.sqlite.queue import begun_jobs
from tocsin.adapters.sqlite.tables import Tables
from tocsin.clock import ManualClock
from tocsin.domain.books import BegunLegs, Books, Lines, merge_blocks
from tocsin.domain.legs import choose_channel
from tocsin.domain.task import Job, SendBody, Stage, StepEdit, Task
from tocsin.pipeline.books import BooksReader
from tocsin.store import Store


async def begin(store: Store, *devices: int, app: int = 1) -> tuple[Task, Job]:
    """A task with a job that has begun, and one that has not."""
    jobs = [new_job, lambda number: new_job(number, "fcm:2")]
    task = await add_task(store, app, jobs=jobs, audience=[1])
    (job,) = await lease(store, app)
    body = SendBody("apns", 1, -1, devices)
    await write(store, job, StepEdit(begun_at=1.0, body=body))
    return task, job


def numbers(sets: Mapping[str, BitMap]) -> dict[str, set[int]]:
    return {channel: set(members) for channel, members in sets.items()}


async def begun(store: Store, app: int = 1, number: int = 1) -> BegunLegs:
    books = await BooksReader(store, ManualClock()).begun(app, number)
    assert books is not None
    return books


@pytest.mark.evidence("a report reads as little of a large push as of a small one")
async def test_legs_are_told_by_what_is_written_and_by_jobs_that_have_begun(store: Store) -> None:
    task, job = await begin(store, 5, 6)
    await store.append_reports(
        1, [report(1, 1, stage=Stage.SENT), report(1, 9), report(1, 8, stage=Stage.CLICKED)]
    )
    blocks = [
        block(1, 2),
        block(1, 3, state="in_doubt"),
        block(1, 4, state="failed"),
        block(1, 7, kind="doubted", state="", channel="fcm"),
        block(1, 99, kind="planned", state=""),
        block(1, 99, kind="account", state="no device"),
    ]
    await write(store, job, StepEdit(blocks=blocks))
    found = await begun(store)
    told = {number: found.channels(number) for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 99)}
    told = {number: channels for number, channels in told.items() if channels}
    assert told == {
        1: ["online"],
        2: ["apns"],
        3: ["apns"],
        5: ["apns"],
        6: ["apns"],
        7: ["fcm"],
    }
    assert numbers(found.under_way) == {"apns": {5, 6}}
    # A settled job is told by its lines alone.
    await write(store, job, StepEdit(is_done=True, blocks=[block(1, 5)]))
    found = await begun(store)
    assert (found.channels(5), found.channels(6), found.under_way) == (["apns"], [], {})
    assert await store.last_task(1) == task.number


async def test_an_ended_tasks_merged_lines_say_the_same(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job], audience=[1])
    (job,) = await lease(store)
    await write(store, job, StepEdit(blocks=[block(1, 1), block(1, 2)]))
    before = await store.lines(1, 1, 0)
    task = await store.task_by_id(1, "task_1")
    assert task is not None
    assert before is not None
    await finish(store, job, task)
    assert not await store.merge_ended(1, merge_blocks, 1000)
    merged = await store.lines(1, 1, before.position)
    assert merged is not None
    assert len(merged.blocks) == 1
    former = Books().take(before)
    assert former.sets == Books().take(merged).sets == former.take(merged).sets


async def test_another_app_and_another_number_have_no_books(store: Store) -> None:
    await begin(store, 5)
    for app, number in ((2, 1), (1, 2), (3, 1)):
        assert await store.lines(app, number, 0) is None
    assert [await store.last_task(app) for app in (1, 2, 3)] == [1, 0, 0]


@pytest.mark.evidence("a report reads as little of a large push as of a small one")
def test_begun_jobs_are_found_however_many_wait(tmp_path: Path) -> None:
    costs = []
    connection = open_writer(tmp_path / "begun.db", vfs=None, busy_s=0)
    row = "INSERT INTO job (app, number, task, queue, lane, not_before, attempt, body, begun_at)"
    body = msgspec.msgpack.encode(SendBody("fcm", 1, -1, (1,)))
    begun = (1, 1, 7, "fcm:1", 0, 0.0, 0, body, 5.0)
    for count in (100, 10_000):
        connection.execute("BEGIN; DELETE FROM job")
        waiting = [(1, number, 7, "fcm:1", 0, 0.0, 0, b"", None) for number in range(2, count)]
        connection.executemany(f"{row} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [begun, *waiting])
        connection.execute("COMMIT")
        costs.append(_steps(connection))
    connection.close()
    assert costs[1] <= costs[0] + 5, costs


def _steps(connection: apsw.Connection) -> int:
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 1)
    (job,) = begun_jobs(Tables(connection, AccountCache(1)), 1, 7)
    connection.set_progress_handler(None)
    assert job.number == 1
    return steps


@pytest.mark.parametrize(
    ("channels", "preferred", "chosen"),
    [
        ((), "fcm", None),
        (("online",), "fcm", "online"),
        (("online", "fcm"), "fcm", "fcm"),
        (("online", "huawei", "apns"), "fcm", "apns"),
        (("online", "huawei"), "online", "online"),
    ],
)
def test_which_channel_a_report_without_one_counts_for(
    channels: tuple[str, ...], preferred: str, chosen: str | None
) -> None:
    assert choose_channel(channels, preferred) == chosen


class Counting:
    """A store that counts how often it is asked about legs, and with how many lines it answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[int] = []

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def lines(self, app: int, task: int, after: int, **how: Any) -> Lines | None:
        lines = await self._store.lines(app, task, after, **how)
        assert lines is not None
        self.asked.append(len(lines.blocks) + len(lines.reports) + len(lines.jobs))
        return lines

    async def during(self, work: Awaitable[object]) -> tuple[object, list[int]]:
        self.asked.clear()
        return await work, list(self.asked)


async def cost(folder: Path, batches: int) -> list[tuple[object, list[int]]]:
    """What reports cost of a push of so many batches: each settled, but for one under way."""
    async with AsyncExitStack() as stack:
        opened = await open_store("sqlite", folder, ManualClock(), stack)
        await add_app(opened, 1)
        under_way, waiting = [range(at, at + 200) for at in (1_000_000, 2_000_000)]
        _, job = await begin(opened, *under_way)
        body = SendBody("apns", 1, -1, tuple(waiting))
        jobs = [new_job(1, "apns:9", body=body) for _ in range(batches)]
        blocks = [block(1, *range(at * 200, at * 200 + 200)) for at in range(batches)]
        await write(opened, job, StepEdit(blocks=blocks, jobs=jobs))
        store = Counting(opened)
        books = BooksReader(cast(Store, store), ManualClock())
        task = await books.task(1, 1)
        assert task is not None

        def ask(device: int) -> Awaitable[set[int]]:
            return books.with_leg(task, [device], "apns")

        (_, first) = await store.during(ask(1))
        assert sum(first) == batches + 1
        found = [
            await store.during(ask(7)),
            await store.during(ask(under_way[0])),
            await store.during(ask(waiting[0])),
            await store.during(books.channel_of(task, 8, "fcm")),
        ]
        _, of_crowd = await store.during(asyncio.gather(*(ask(number) for number in waiting)))
        assert len(of_crowd) <= 2
        await write(opened, job, StepEdit(is_done=True, blocks=[block(1, *under_way)]))
        found.append(await store.during(ask(under_way[1])))
        return [*found, await store.during(ask(under_way[2]))]


@pytest.mark.evidence(
    "a report reads as little of a large push as of a small one",
    topic="Online",
    planted="all lines read each time; begun jobs looked for among all of the task; jobs "
    "that wait told as begun",
)
async def test_a_report_reads_as_little_of_a_large_push_as_of_a_small_one(tmp_path: Path) -> None:
    small, large = [await cost(tmp_path / str(batches), batches) for batches in (10, 1000)]
    assert large == small
    assert small == [
        ({7}, []),
        ({1_000_000}, [1]),
        (set(), [1]),
        ("apns", [1]),
        ({1_000_001}, [1]),
        ({1_000_002}, []),
    ]
