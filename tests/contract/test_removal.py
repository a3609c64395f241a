"""An app is removed row by row, and nothing of it is met again when it is added anew."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    NOW,
    add_accounts,
    add_app,
    add_device,
    add_tags,
    add_task,
    finish,
    lease,
    new_job,
    peek,
    write,
)
from tests.contract.test_isolation import fill
from tests.task_books import read_books
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.adapters.sqlite.removal import DOOMED, KEPT
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.clock import ManualClock
from tocsin.domain.app import App, Credential, begin_removal
from tocsin.domain.quota import PushUse
from tocsin.domain.task import Handle, RecallEdit, StepEdit
from tocsin.errors import CallError, Stale
from tocsin.store import ROWS_REMOVED_MIN, RowsRemoved, Store

GONE, OTHER = 1, 2


def _begin(app: App | None) -> App:
    assert app is not None
    return begin_removal(app)


async def empty(store: Store, limit: int = ROWS_REMOVED_MIN) -> list[RowsRemoved]:
    """Every step until nothing but the app's row is left."""
    steps = [await store.remove_rows(GONE, limit)]
    while not steps[-1].is_empty:
        steps.append(await store.remove_rows(GONE, limit))
        assert len(steps) < 100
    return steps


async def remove(store: Store) -> list[RowsRemoved]:
    await store.update_app(GONE, _begin)
    steps = await empty(store)
    assert await store.remove_app(GONE)
    return steps


@pytest.mark.evidence(
    "nothing is left of a removed app, another keeps all, and an app that is added again "
    "meets nothing old",
    topic="Daily verbs",
    planted="accounts, terms and tallies remembered; deleted names left",
)
async def test_nothing_is_left_of_a_removed_app_and_others_keep_all(store: Store) -> None:
    job = await fill(store, GONE)
    await fill(store, OTHER)
    steps = await remove(store)
    assert sum(step.tasks for step in steps) == 1
    assert sum(step.devices for step in steps) == 1
    assert sum(step.accounts for step in steps) == 2
    assert await store.apps() == [OTHER]
    assert await store.app(GONE) is None
    everyone = BitMap(range(1, 10))
    assert await store.accounts(GONE, ["ann", "phone"]) == [None, None]
    assert await store.scan_accounts(GONE, 0, 9) == []
    assert await store.devices(GONE, everyone) == {}
    assert await store.devices_of(GONE, everyone) == []
    assert await store.credentials(GONE) == []
    assert await store.changes(GONE, 0, 9) == []
    assert await store.tasks(GONE) == []
    assert await read_books(store, GONE, 1) is None
    assert await store.marked_position(GONE, b"mark") is None
    assert {head.app for head in await store.heads(NOW + 1e6)} <= {OTHER}
    with pytest.raises(Stale):
        await write(store, job, StepEdit(is_done=True))
    with pytest.raises(CallError) as refused:
        await add_accounts(store, GONE, "ann")
    assert refused.value.code == 70020
    assert [it.name for it in await store.scan_accounts(OTHER, 0, 9)] == ["ann", "phone"]
    assert await store.device(OTHER, "phone") is not None
    assert await read_books(store, OTHER, 1) is not None
    assert len(await store.credentials(OTHER)) == 1


@pytest.mark.evidence(
    "nothing is left of a removed app, another keeps all, and an app that is added again "
    "meets nothing old",
)
async def test_an_app_that_is_added_again_meets_nothing_old(store: Store) -> None:
    await fill(store, GONE)
    last = await store.last_change(GONE)
    await remove(store)
    await add_app(store, GONE)
    view = await peek(store, GONE, ["ann", "bob"])
    assert (view.accounts, view.deleted_at) == ({}, {})
    assert (view.account_count, view.tags_carried) == (0, 0)
    assert await store.last_change(GONE) == last
    # Numbers go on, so that nothing old is taken for something new.
    assert await add_accounts(store, GONE, "ann") == [4]
    await add_tags(store, GONE, "ann", "red")
    assert (await peek(store, GONE)).tags_carried == 1
    assert (await add_device(store, GONE, "phone", user="ann", token="t1")).number == 2
    assert (await add_task(store, GONE, jobs=[new_job], text="t")).number == 2
    credential = Credential(app=GONE, number=2, channel="apns", settings=b"")
    await store.update_credential(GONE, 0, lambda _, __: credential)
    await remove(store)


async def test_an_app_goes_only_once_its_removal_has_begun(store: Store) -> None:
    await add_accounts(store, GONE, "ann")
    for call in (store.remove_rows(GONE, 100), store.remove_app(GONE)):
        with pytest.raises(AssertionError):
            await call
    assert await add_accounts(store, GONE, "ann") == [1]


@pytest.mark.evidence(
    "from the first moment nobody may use it, and what was let in before goes too",
)
async def test_an_app_stays_while_anything_of_it_is_left(store: Store) -> None:
    await store.update_app(GONE, _begin)
    await empty(store)
    # A call that was let in before the removal began.
    await add_accounts(store, GONE, "late")
    assert not await store.remove_app(GONE)
    assert (await store.remove_rows(GONE, 100)).accounts == 1
    await empty(store)
    assert await store.remove_app(GONE)
    assert await store.apps() == [OTHER]


@pytest.mark.evidence(
    "a removal goes in bounded steps, and on after a kill",
    topic="Daily verbs",
    planted="every row of a table in one step",
)
async def test_a_step_is_bounded(store: Store) -> None:
    await add_accounts(store, GONE, *(f"name{number}" for number in range(130)))
    await store.update_app(GONE, _begin)
    steps = await empty(store)
    assert [step.accounts for step in steps if step.accounts] == [50, 50, 30]


@pytest.mark.evidence(
    "every table of the database is emptied of it, also one that is added tomorrow",
    topic="Daily verbs",
    planted="the vendors' names of messages left out",
)
async def test_every_table_is_emptied(tmp_path: Path) -> None:
    """Also one that is added tomorrow: it has to be named where rows are removed, or kept."""
    async with AsyncExitStack() as stack:
        store = SqliteStore(tmp_path, ManualClock())
        await store.start(stack)
        await add_app(store, GONE)
        job = await fill(store, GONE)
        await write(store, job, StepEdit(handles=[Handle(1, "a message's name")]))
        await store.recall(GONE, "t", lambda _: RecallEdit(use=PushUse(count=1)))
        await add_task(store, GONE, audience=range(1, 600), text="broad")
        over = await add_task(store, GONE, jobs=[new_job], audience=[1], text="over")
        (last,) = await lease(store, GONE)
        await finish(store, last, over)
        database = apsw.Connection(str(tmp_path / DATABASE))
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if any(column[1] == "app" for column in database.execute(f"PRAGMA table_info({name})"))
        ]
        assert {*DOOMED, *KEPT, "app"} == set(tables)
        assert filled(database, tables) == {*DOOMED, "app", "tally"}
        await remove(store)
        assert filled(database, tables) == {"tally"}
        database.close()


def filled(database: apsw.Connection, tables: list[str]) -> set[str]:
    """The tables with rows of the app."""
    look = "SELECT 1 FROM {} WHERE app = 1"
    return {name for name in tables if database.execute(look.format(name)).fetchall()}


@pytest.mark.evidence("a removal goes in bounded steps, and on after a kill")
async def test_a_removal_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    for is_first in (True, False):
        async with AsyncExitStack() as stack:
            store = SqliteStore(tmp_path, ManualClock())
            await store.start(stack)
            if is_first:
                await add_app(store, GONE)
                await add_accounts(store, GONE, *(f"name{number}" for number in range(130)))
                await add_task(store, GONE, jobs=[new_job], audience=[1])
                await lease(store, GONE)
                await store.update_app(GONE, _begin)
                for _ in range(4):
                    await store.remove_rows(GONE, 50)
                continue
            app = await store.app(GONE)
            assert app is not None
            assert (app.is_being_removed, app.is_enabled) == (True, False)
            assert 0 < len(await store.scan_accounts(GONE, 0, 999)) < 130
            await empty(store)
            assert await store.remove_app(GONE)
            assert await store.apps() == []
