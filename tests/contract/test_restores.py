"""A copy of an earlier moment becomes a store of its own: numbers, leases, and the hold."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.rows import add_accounts, add_task, lease, new_job
from tests.task_books import read_books
from tocsin.clock import ManualClock
from tocsin.domain.after_restore import after_restore
from tocsin.domain.books import owned_devices
from tocsin.domain.restore import GAPS, GenerationEdit, GenerationView, Restored, begin_generation
from tocsin.store import Store


async def restored(store: Store, clock: ManualClock) -> Restored:
    return await store.begin_generation(begin_generation(clock.now(), clock.now() - 60))


async def test_a_store_that_was_never_restored_says_so(store: Store) -> None:
    assert await store.restored() is None
    assert await store.end_hold(partial(msgspec.structs.replace, state="settled")) is None


@pytest.mark.evidence("no number of the lost time is given again")
async def test_every_counter_goes_on_above_the_gap(store: Store, clock: ManualClock) -> None:
    known = {9: dict.fromkeys(GAPS, 7)}
    await store.begin_generation(begin_generation(clock.now(), clock.now(), known=known))
    seen: list[GenerationView] = []

    def look(view: GenerationView) -> GenerationEdit:
        seen.append(view)
        return begin_generation(clock.now(), clock.now())(view)

    await store.begin_generation(look)
    # The third is an app that only the later history had.
    assert seen[0].numbers[1] == dict(GAPS)
    assert seen[0].numbers[9] == {noun: 7 + gap for noun, gap in GAPS.items()}


@pytest.mark.evidence(
    "no number of the lost time is given again",
    topic="Backup and restore",
    planted="counters of the memory store added to themselves; numbers of the later history"
    " not asked for; apps that it alone has left out",
)
async def test_numbers_go_on_above_the_gap(store: Store, clock: ManualClock) -> None:
    assert await add_accounts(store, 1, "ann") == [1]
    await add_task(store, 1, text="a")
    await restored(store, clock)
    assert await add_accounts(store, 1, "bob") == [1 + GAPS["account"] + 1]
    await add_task(store, 1, text="b")
    assert await store.last_task(1) == 1 + GAPS["task"] + 1
    assert await add_accounts(store, 2, "cid") == [GAPS["account"] + 1]


@pytest.mark.evidence(
    "leases and snapshots of the lost time count no more",
    topic="Backup and restore",
    planted="leases left; marks left",
)
async def test_leases_of_the_time_of_the_backup_are_nobodys(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job], text="t")
    (before,) = await lease(store)
    assert await lease(store) == []
    await restored(store, clock)
    (again,) = await lease(store)
    assert again.number == before.number


@pytest.mark.evidence("leases and snapshots of the lost time count no more")
async def test_marks_of_snapshots_are_of_another_history(store: Store, clock: ManualClock) -> None:
    await store.mark_snapshot(1, b"mark", 0, b"")
    assert await store.marked_position(1, b"mark") == 0
    await restored(store, clock)
    assert await store.marked_position(1, b"mark") is None


async def test_it_is_held_until_the_word_is_said(store: Store, clock: ManualClock) -> None:
    first = await restored(store, clock)
    assert (first.generation, first.is_held) == (1, True)
    assert await store.restored() == first
    ended = await store.end_hold(partial(msgspec.structs.replace, state="resumed"))
    assert ended is not None
    assert not ended.is_held
    assert await store.restored() == ended
    assert (await restored(store, clock)).generation == 2


async def test_a_task_of_the_backup_is_over_once_it_is_settled(
    store: Store, clock: ManualClock
) -> None:
    """Its jobs are ready at once, also those that were put off, and no later word changes it."""
    await add_task(store, 1, jobs=[partial(new_job, not_before=clock.now() + 60)], text="t")
    assert await lease(store) == []
    await store.end_task_of_backup(1, 1, after_restore("settle", clock.now()))
    (task,) = await store.living(1)
    assert task.restored == "settled"
    assert len(await lease(store)) == 1
    await store.end_task_of_backup(1, 1, after_restore("resume", clock.now()))
    (task,) = await store.living(1)
    assert task.restored == "settled"
    await store.end_task_of_backup(1, 99, after_restore("settle", clock.now()))


async def test_whom_a_resumed_task_has_open_is_marked_once(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job], text="t")
    for _ in range(2):
        await store.end_task_of_backup(1, 1, after_restore("resume", clock.now()))
    books = await read_books(store, 1, 1)
    assert books is not None
    marks = [block for block in books.blocks if block.kind == "repeated"]
    owned = BitMap.union(*map(owned_devices, books.jobs))
    assert owned
    assert [BitMap.deserialize(mark.members) for mark in marks] == [owned]


async def test_the_key_of_erased_names_is_the_stores(store: Store, clock: ManualClock) -> None:
    key = await store.erasure_key()
    assert len(key) >= 6
    await restored(store, clock)
    assert await store.erasure_key() == key
