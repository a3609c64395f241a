"""What was answered survives a power cut, and nothing is there by half.

The store works on a file system that knows what was synced. The power is cut before and after
each sync of a run, three ways; every time the database opens, and every answered call is in it.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import Struct
from pyroaring import BitMap

from tests.contract.forgetful import Disk, ForgetfulVFS, Loose
from tests.contract.rows import (
    add_accounts,
    add_app,
    add_device,
    add_tags,
    add_task,
    block,
    delete,
    lease,
    new_job,
    peek,
    peek_accept,
    report,
    write,
)
from tests.task_books import acked, read_books
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.adapters.sqlite.store import SqliteStore, StoreOptions
from tocsin.clock import ManualClock
from tocsin.domain.account import TAG
from tocsin.domain.task import StepEdit
from tocsin.store import Store

ROUNDS = 8


class Answered(Struct):
    """What the store has said is done."""

    apps: set[int] = set()
    accounts: set[str] = set()
    deleted: set[str] = set()
    tags: set[tuple[str, str]] = set()
    devices: set[str] = set()
    tasks: set[int] = set()
    settled: set[int] = set()
    reported: set[int] = set()

    def copy(self) -> Answered:
        return Answered(*(set(getattr(self, name)) for name in self.__struct_fields__))


class Moment(Struct):
    """The power goes now."""

    disk: Disk
    answered: Answered


async def work(store: Store, answered: Answered) -> None:
    """Calls of every kind, several at a time, so that commits carry several steps."""
    await add_app(store, 1)
    answered.apps.add(1)
    for number in range(ROUNDS):
        await asyncio.gather(*(_round(store, answered, f"{number}-{each}") for each in range(3)))
        await _settle(store, answered)


async def _round(store: Store, answered: Answered, name: str) -> None:
    await add_accounts(store, 1, name, f"gone-{name}")
    answered.accounts.add(name)
    tags = [f"tag{name}", "all"]
    await add_tags(store, 1, name, *tags)
    answered.tags.update((name, tag) for tag in tags)
    await add_device(store, 1, f"phone-{name}", user=name, token=name)
    answered.devices.add(f"phone-{name}")
    await add_tags(store, 1, f"gone-{name}", "all")
    await delete(store, 1, f"gone-{name}")
    answered.deleted.add(f"gone-{name}")
    jobs = [new_job, new_job]
    task = await add_task(store, 1, jobs=jobs, audience=range(500), dedup=name, text=f"t{name}")
    answered.tasks.add(task.number)
    await store.append_reports(1, [report(task.number, 7)])
    answered.reported.add(task.number)


async def _settle(store: Store, answered: Answered) -> None:
    for job in await lease(store, limit=4):
        edit = StepEdit(is_done=True, blocks=[block(job.task, job.number, job=job.number)])
        await write(store, job, edit)
        answered.settled.add(job.number)


async def run(folder: Path, *, planted: bool = False) -> list[Moment]:
    """Do the work; answers every moment at which the power might have gone."""
    answered, moments = Answered(), list[Moment]()

    def remember(disk: Disk) -> None:
        moments.append(Moment(disk.copy(), answered.copy()))

    name = f"forgetful-{folder.name}"
    vfs = ForgetfulVFS(name, remember)
    options = StoreOptions(vfs=name, checkpoint_pages=40)
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, ManualClock(), options=options)
        await store.start(stack)
        if planted:
            store._writer._connection.pragma("synchronous", "normal")
        await work(store, answered)
        remember(vfs.disk)
    remember(vfs.disk)
    vfs.unregister()
    return moments


async def check(moment: Moment, folder: Path, loose: Loose, rng: random.Random) -> None:
    """The power returns: is all there, and is it whole?"""
    moment.disk.after_cut(folder, loose, rng)
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, ManualClock())
        await store.start(stack)
        await _all_is_there(store, moment.answered)
        if await store.apps():
            await _all_is_whole(store)
    database = apsw.Connection(str(folder / DATABASE))
    assert database.pragma("integrity_check") == "ok"
    database.close()


async def _all_is_there(store: Store, answered: Answered) -> None:
    assert set(await store.apps()) >= answered.apps
    accounts = {account.name: account for account in await store.scan_accounts(1, 0, 10_000)}
    assert answered.accounts <= accounts.keys()
    assert not answered.deleted & accounts.keys()
    assert all(tag in accounts[name].tags for name, tag in answered.tags)
    for name in answered.devices:
        assert await store.device(1, name) is not None, name
    tasks = {task.number for task in await store.tasks(1, limit=10_000)}
    assert answered.tasks <= tasks
    for number in answered.reported:
        assert await acked(store, 1, number) == BitMap([7])
    settled = BitMap()
    for number in tasks:
        books = await read_books(store, 1, number)
        assert books is not None
        settled |= BitMap.union(
            BitMap(), *(BitMap.deserialize(block.members) for block in books.blocks)
        )
    assert answered.settled <= set(settled)


async def _all_is_whole(store: Store) -> None:
    accounts = await store.scan_accounts(1, 0, 10_000)
    view = await peek(store, 1)
    assert view.account_count == len(accounts)
    carried = [(TAG, tag) for account in accounts for tag in account.tags]
    terms = await store.terms(1, list(dict.fromkeys([*carried, (TAG, "all")])))
    assert all(term.uses == carried.count(key) for key, term in terms.items())
    assert view.tags_carried == len(set(carried))
    await _log_agrees(store, {term.number: key[1] for key, term in terms.items()})
    devices = await store.devices_of(1, BitMap(range(10_000)))
    named = [account for account in accounts if account.type == 1]
    assert [device.account for device in devices] == [account.number for account in named]
    for task in await store.tasks(1, limit=10_000):
        books = await read_books(store, 1, task.number)
        assert books is not None
        assert len(books.audience) == 500
        assert len(books.jobs) + len(books.blocks) == 2
    assert (await peek_accept(store, 1)).next_task == len(await store.tasks(1, limit=10_000)) + 1


async def _log_agrees(store: Store, names: dict[int, str]) -> None:
    """The change log, folded, is what the accounts say."""
    live: dict[int, set[str]] = {}
    rows = await store.changes(1, 0, 10_000)
    assert [position for position, _ in rows] == list(range(1, len(rows) + 1))
    for _, changes in rows:
        for change in changes:
            if change.live > 0:
                live[change.account] = set()
            live[change.account] -= {names[term] for term in change.removed}
            live[change.account] |= {names[term] for term in change.added}
            if change.live < 0:
                assert not live.pop(change.account)
    accounts = await store.scan_accounts(1, 0, 10_000)
    assert live == {account.number: set(account.tags) for account in accounts}


@pytest.mark.evidence(
    "what was answered survives a power cut at any sync",
    topic="Books",
    planted="commits not synced",
)
@pytest.mark.slow
async def test_what_was_answered_survives_a_cut_at_any_sync(tmp_path: Path) -> None:
    moments = await run(tmp_path / "work")
    assert len(moments) > 60
    assert sum(1 for moment in moments if moment.disk.loose.get(DATABASE)) > 5, "no checkpoint"
    rng = random.Random(1)
    ways: tuple[Loose, ...] = ("lost", "some", "kept")
    for number, moment in enumerate(moments):
        way = ways[number % 3]
        await check(moment, tmp_path / f"{number}", way, rng)


@pytest.mark.evidence("what was answered survives a power cut at any sync")
async def test_a_commit_that_is_not_synced_is_noticed(tmp_path: Path) -> None:
    """Planted: `synchronous` is lowered by one step."""
    moments = await run(tmp_path / "work", planted=True)
    lost: list[Any] = []
    for number, moment in enumerate(moments):
        try:
            await check(moment, tmp_path / f"{number}", "lost", random.Random(number))
        except AssertionError as noticed:
            lost.append(noticed)
    assert lost
