"""Which living tasks an account leads to, and that finding them costs the same among many."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import apsw
import pytest
from pyroaring import BitMap

from tests.contract.conftest import open_store
from tests.contract.rows import add_app, add_task, finish, lease, new_job, recalled, write
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.adapters.sqlite.tables import Tables
from tocsin.clock import ManualClock
from tocsin.domain.task import RecallEdit, RecallView, StepEdit, Task
from tocsin.store import INBOX_ACCOUNTS_MAX, Store

BROAD = range(1, INBOX_ACCOUNTS_MAX + 2)
ALMOST_BROAD = range(1, INBOX_ACCOUNTS_MAX + 1)


@pytest.fixture(autouse=True)
async def app(store: Store) -> None:
    await add_app(store, 1)
    await add_app(store, 2)


async def push(store: Store, accounts: Iterable[int] | None, text: str = "t") -> Task:
    return await add_task(store, 1, jobs=[new_job], audience=accounts, text=text)


async def numbers(store: Store, *accounts: int, app: int = 1) -> list[int]:
    return [task.number for task in await store.inbox(app, accounts)]


async def test_an_account_leads_to_its_living_tasks_oldest_first(store: Store) -> None:
    for text, accounts in (("a", [1, 2]), ("b", [3]), ("c", ALMOST_BROAD), ("d", BROAD)):
        await push(store, accounts, text)
    assert await numbers(store, 1) == [1, 3]
    assert await numbers(store, 3) == [2, 3]
    # A task is named once, however many of its accounts are asked about.
    assert await numbers(store, 1, 2, 3) == [1, 2, 3]
    assert await numbers(store, 900) == await numbers(store, 1, app=2) == []
    assert (list(await store.broad(1)), list(await store.broad(2))) == ([4], [])


@pytest.mark.parametrize("accounts", [[1, 2], BROAD], ids=["few", "many"])
async def test_a_task_leaves_when_it_ends(store: Store, accounts: Iterable[int]) -> None:
    task = await push(store, accounts)
    other = await push(store, accounts, "other")
    listed = [*await numbers(store, 1), *await store.broad(1)]
    assert listed == [1, 2]
    jobs = await lease(store)
    (job,) = [job for job in jobs if job.task == task.number]
    await finish(store, job, task)
    assert [*await numbers(store, 1), *await store.broad(1)] == [other.number]


async def test_an_ended_task_leaves_no_row_behind(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        store = SqliteStore(tmp_path / "rows", ManualClock())
        await store.start(stack)
        await add_app(store, 1)
        for text, accounts in (("few", [1, 2]), ("many", BROAD)):
            await push(store, accounts, text)
        assert (_rows(store, "inbox"), _rows(store, "broad")) == (2, 1)
        for job in await lease(store):
            task = await store.task(1, job.task)
            assert task is not None
            await finish(store, job, task)
        assert (_rows(store, "inbox"), _rows(store, "broad")) == (0, 0)


def _rows(store: SqliteStore, table: str) -> int:
    return int(store._read(lambda tables: tables.value(f"SELECT count(*) FROM {table}")))


async def test_an_audience_that_is_frozen_later_leads_to_its_task(store: Store) -> None:
    await push(store, None)
    assert await numbers(store, 1) == []
    (job,) = await lease(store)
    await write(store, job, StepEdit(audience=BitMap([1, 2]).serialize()))
    assert await numbers(store, 2) == [1]


async def test_an_overwrite_is_in_no_inbox(store: Store) -> None:
    for text, accounts in (("few", [1]), ("many", BROAD)):
        await push(store, accounts, text)
    before = [*await numbers(store, 1), *await store.broad(1)]

    def decide(view: RecallView) -> RecallEdit:
        assert view.task is not None
        fresh = recalled(view.task, 1.0)
        over = _overwrite(view.task, view.next_task)
        return RecallEdit(task=fresh, overwrite=over)

    for text in ("few", "many"):
        await store.recall(1, text, decide)
    assert [*await numbers(store, 1), *await store.broad(1)] == before


def _overwrite(task: Task, number: int) -> Task:
    return task.__class__(
        app=task.app,
        number=number,
        task_id=f"over {number}",
        kind="overwrite",
        sender=task.sender,
        message=task.message,
        overwrites=task.number,
    )


@pytest.mark.evidence(
    "pushes that an earlier release froze are offered after an upgrade",
    topic="Online",
    planted="the inboxes not filled when the store is opened",
)
async def test_what_an_earlier_release_has_frozen_is_added_when_the_store_is_opened(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        store = await open_store("sqlite", tmp_path / "old", ManualClock(), stack)
        await add_app(store, 1)
        for text, accounts in (("few", [1, 2]), ("many", BROAD), ("ended", [1])):
            await push(store, accounts, text)
        *_, job = await lease(store)
        ended = await store.task(1, job.task)
        assert ended is not None
        await finish(store, job, ended)
    database = apsw.Connection(str(tmp_path / "old" / DATABASE))
    database.execute("DELETE FROM inbox; DELETE FROM broad").fetchall()
    database.close()
    for _ in range(2):
        async with AsyncExitStack() as stack:
            store = await open_store("sqlite", tmp_path / "old", ManualClock(), stack)
            assert await numbers(store, 1) == [1]
            assert list(await store.broad(1)) == [2]


@pytest.mark.evidence(
    "a device that connects costs the same among ten pushes to others and among ten thousand",
    topic="Online",
    planted="the index of the inbox not asked; the row of each broad task read",
)
async def test_an_inbox_costs_the_same_among_ten_pushes_and_among_ten_thousand(
    tmp_path: Path,
) -> None:
    """Steps of SQLite's machine, and rows: both for an account of one push."""
    costs = []
    for others in (10, 10_000):
        async with AsyncExitStack() as stack:
            store = SqliteStore(tmp_path / str(others), ManualClock())
            await store.start(stack)
            await add_app(store, 1)
            await push(store, [7, 8], "mine")
            await store._write(partial(_add_others, count=others))
            steps = _count_steps(store._near.connection)
            assert await numbers(store, 7) == [1]
            costs.append(steps[0])
    assert costs[1] <= costs[0] + 5, costs


_SERIES = """
WITH RECURSIVE series(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series LIMIT ?)
"""
_TASKS = """
INSERT INTO task (app, number, task_id, doc)
SELECT 1, value + 1, 'other ' || value, (SELECT doc FROM task WHERE number = 1) FROM series
"""
_INBOX = "INSERT INTO inbox (app, account, task) SELECT 1, value + 100, value + 1 FROM series"


def _add_others(tables: Tables, count: int) -> None:
    """As many living pushes to as many other accounts, put in as rows: that is quick."""
    for statement in (_TASKS, _INBOX):
        tables.run(_SERIES + statement, count)


def _count_steps(connection: apsw.Connection) -> list[int]:
    counted = [0]

    def count() -> bool:
        counted[0] += 1
        return False

    connection.set_progress_handler(count, 1)
    return counted
