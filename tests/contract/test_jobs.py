"""The queue: leases with an end, generations that fence, parking, and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    NOW,
    SEND,
    add_device,
    add_task,
    delete,
    lease,
    new_job,
    report,
    write,
)
from tocsin.clock import ManualClock
from tocsin.domain.device import DeviceRows
from tocsin.domain.task import (
    FanoutBody,
    Job,
    Lane,
    NewJob,
    OpenBatch,
    RecallEdit,
    StepEdit,
    StepWant,
    Task,
)
from tocsin.errors import Stale
from tocsin.store import Head, Store

BULK, URGENT = Lane.BULK, Lane.URGENT


def numbers(jobs: list[Job]) -> list[int]:
    return [job.number for job in jobs]


async def test_a_leased_job_is_whole_and_nobody_elses(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job])
    assert await lease(store) == [
        Job(
            app=1,
            number=1,
            task=1,
            queue="apns:1",
            lane=BULK,
            body=SEND,
            not_before=NOW,
            generation=1,
        )
    ]
    assert await lease(store, lessee="other") == []


async def test_a_lease_takes_one_queue_and_lane(store: Store) -> None:
    jobs = [
        lambda n: new_job(n, "apns:1"),
        lambda n: new_job(n, "apns:1", lane=URGENT),
        lambda n: new_job(n, "apns:10"),
    ]
    await add_task(store, 1, jobs=jobs)
    assert numbers(await lease(store, lane=URGENT)) == [2]
    assert numbers(await lease(store, queue="apns:10")) == [3]
    assert numbers(await lease(store)) == [1]
    assert await lease(store, queue="apns") == []


async def test_the_oldest_ready_jobs_come_first(store: Store, clock: ManualClock) -> None:
    times = [5, 3, 4, 9]
    jobs = [lambda n, at=at: new_job(n, not_before=NOW + at) for at in times]
    await add_task(store, 1, jobs=jobs)
    assert await lease(store) == []
    await clock.advance(5)
    assert numbers(await lease(store, limit=2)) == [2, 3]
    assert numbers(await lease(store)) == [1]
    await clock.advance(4)
    assert numbers(await lease(store)) == [4]


async def test_a_lapsed_job_is_leased_again_in_its_old_place(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job, lambda n: new_job(n, not_before=NOW + 5)])
    await lease(store)
    await clock.advance(29.5)
    assert numbers(await lease(store, limit=1)) == [2]
    await clock.advance(0.5)
    assert await store.extend(1, [], lease_s=30) == []
    again = await lease(store, lessee="other")
    assert [(job.number, job.generation) for job in again] == [(1, 2)]


async def test_lapsed_and_fresh_jobs_are_mixed_by_age(store: Store, clock: ManualClock) -> None:
    jobs = [lambda n, at=at: new_job(n, not_before=NOW + at) for at in (2, 0, 1)]
    await add_task(store, 1, jobs=jobs)
    await clock.advance(1)
    assert numbers(await lease(store, limit=2)) == [2, 3]
    await add_task(store, 1, jobs=[lambda n: new_job(n, not_before=NOW + 0.5)], text="u")
    await clock.advance(40)
    assert numbers(await lease(store, limit=3)) == [2, 4, 3]
    assert numbers(await lease(store)) == [1]


@pytest.mark.evidence(
    "an older holder of a job can write nothing",
    topic="Books",
    planted="generations compared with ≥",
)
async def test_a_step_of_an_older_generation_is_refused(store: Store, clock: ManualClock) -> None:
    task = await add_task(store, 1, jobs=[new_job])
    (mine,) = await lease(store)
    await clock.advance(31)
    (theirs,) = await lease(store, lessee="other")
    bad = StepEdit(is_done=True, task=msgspec.structs.replace(task, audience_size=9))
    with pytest.raises(Stale):
        await write(store, mine, bad)
    assert await store.task_by_id(1, task.task_id) == task
    assert await store.extend(1, [mine, theirs], lease_s=30) == [1]
    await write(store, theirs, StepEdit(is_done=True))
    with pytest.raises(Stale):
        await write(store, theirs, StepEdit())


async def test_a_lapsed_lease_holds_until_somebody_else_has_it(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job])
    (mine,) = await lease(store)
    await clock.advance(31)
    await write(store, mine, StepEdit(begun_at=NOW + 31))
    assert await store.extend(1, [mine], lease_s=30) == [1]
    assert await lease(store) == []


async def test_an_extended_lease_lasts_from_now(store: Store, clock: ManualClock) -> None:
    await add_task(store, 1, jobs=[new_job, new_job])
    first, second = await lease(store)
    await clock.advance(20)
    assert await store.extend(1, [second], lease_s=30) == [2]
    await clock.advance(10)
    assert numbers(await lease(store, lessee="other")) == [1]
    assert await store.extend(1, [first, second], lease_s=30) == [2]
    await clock.advance(19)
    assert await lease(store, lessee="third") == []


async def test_a_begun_job_says_so_to_whoever_leases_it_next(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    assert job.begun_at is None
    await write(store, job, StepEdit(begun_at=NOW + 1))
    await clock.advance(31)
    (again,) = await lease(store, lessee="other")
    assert (again.begun_at, again.generation) == (NOW + 1, 2)


@pytest.mark.evidence(
    "a dead holder's leases are given up",
    topic="Books",
    planted="its jobs still held",
)
async def test_the_leases_of_a_dead_holder_are_given_up(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job, new_job])
    await add_task(store, 2, jobs=[new_job])
    (mine,) = await lease(store, limit=1)
    await lease(store, lessee="other")
    (far,) = await lease(store, 2)
    assert await store.release("me") == 2
    assert await store.release("me") == 0
    assert await store.extend(1, [mine], lease_s=30) == []
    with pytest.raises(Stale):
        await write(store, mine, StepEdit(is_done=True))
    assert [(job.number, job.generation) for job in await lease(store)] == [(1, 2)]
    assert numbers(await lease(store, 2)) == [far.number]


async def test_a_parked_job_gives_up_its_lease_until_its_time(
    store: Store, clock: ManualClock
) -> None:
    await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    await write(store, job, StepEdit(not_before=NOW + 100))
    assert await store.extend(1, [job], lease_s=30) == []
    with pytest.raises(Stale):
        await write(store, job, StepEdit(is_done=True))
    await clock.advance(99)
    assert await lease(store) == []
    await clock.advance(1)
    (again,) = await lease(store)
    assert (again.not_before, again.generation) == (NOW + 100, 2)


async def test_a_step_replaces_the_body_and_keeps_the_lease(store: Store) -> None:
    await add_task(store, 1, jobs=[lambda n: new_job(n, "fanout", body=FanoutBody())])
    (job,) = await lease(store, queue="fanout")
    filling = OpenBatch("apns:1", "apns", 1, -1, True, (1, 2), (3, 4))
    walked = FanoutBody(16_384, (filling,))
    await write(store, job, StepEdit(body=walked))
    view = await write(store, job, StepEdit())
    assert view.job.body == walked
    assert await lease(store, queue="fanout", lessee="other") == []


async def test_a_step_writes_the_follow_up_and_removes_the_job(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    follow = msgspec.structs.replace(new_job(1, "fcm:2"), attempt=1)
    await write(store, job, StepEdit(is_done=True, jobs=[follow, new_job(1)]))
    assert await store.depth() == {(1, "fcm:2"): 1, (1, "apns:1"): 1}
    (after,) = await lease(store, queue="fcm:2")
    assert (after.number, after.attempt, after.generation) == (2, 1, 1)


async def test_a_step_sees_the_row_as_it_is_and_what_it_asked_for(store: Store) -> None:
    phone = await add_device(store, 1, "phone")
    lone = await add_device(store, 1, "lone")
    task = await add_task(store, 1, jobs=[new_job, new_job], text="t")
    await store.append_reports(1, [report(1, lone.number)])
    job, other = await lease(store)
    bare = await write(store, job, StepEdit(begun_at=NOW + 1))
    assert (bare.app, bare.task, bare.job) == (await store.app(1), task, job)
    assert (dict(bare.devices), bare.acked) == ({}, BitMap())
    assert bare.has_other_jobs
    want = StepWant(devices=(lone.number, 99, phone.number), with_acked=True)
    view = await write(store, job, StepEdit(), want)
    assert view.job == msgspec.structs.replace(job, begun_at=NOW + 1)
    assert list(view.devices.items()) == [(1, phone), (2, lone)]
    assert view.acked == BitMap([lone.number])
    await write(store, other, StepEdit(is_done=True))
    assert not (await write(store, job, StepEdit())).has_other_jobs


async def test_a_step_writes_devices(store: Store) -> None:
    phone = await add_device(store, 1, "phone", token="t1")
    await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    counted = msgspec.structs.replace(phone, badge=3)
    await write(store, job, StepEdit(devices=[counted]))
    assert await store.device(1, "phone") == counted
    assert list(await store.devices_of(1, BitMap([phone.account]))) == [counted]


async def test_heads_name_each_queue_with_free_work(store: Store, clock: ManualClock) -> None:
    def ready(queue: str, at: float, lane: Lane = BULK) -> Any:
        return lambda n: new_job(n, queue, not_before=NOW + at, lane=lane)

    jobs = [ready("a", 5), ready("a", 3), ready("a", 9, URGENT), ready("b", 0), ready("b", 1)]
    await add_task(store, 1, jobs=jobs)
    await add_task(store, 2, jobs=[ready("a", 2)])
    a_urgent, a_bulk = Head(1, "a", URGENT, NOW + 9), Head(1, "a", BULK, NOW + 3)
    far = Head(2, "a", BULK, NOW + 2)
    assert await store.heads(NOW) == [a_urgent, a_bulk, Head(1, "b", BULK, NOW), far]
    await lease(store, queue="b", limit=1)
    assert await store.heads(NOW) == [a_urgent, a_bulk, Head(1, "b", BULK, NOW + 1), far]
    await clock.advance(1)
    await lease(store, queue="b")
    assert await store.heads(clock.now()) == [a_urgent, a_bulk, far]
    await clock.advance(29)
    lapsed = Head(1, "b", BULK, NOW + 30)
    assert await store.heads(clock.now()) == [a_urgent, a_bulk, lapsed, far]


async def test_depth_counts_every_job_row(store: Store) -> None:
    assert await store.depth() == {}
    await add_task(store, 1, jobs=[new_job, new_job, lambda n: new_job(n, "fcm:1", lane=URGENT)])
    await add_task(store, 2, jobs=[new_job])
    await lease(store, limit=1)
    assert await store.depth() == {(1, "apns:1"): 2, (1, "fcm:1"): 1, (2, "apns:1"): 1}


async def parked(store: Store, *ways: str, queue: str = "apns:1", text: str = "") -> None:
    """Jobs that wait an hour, each for a way or (an empty text) for its time alone."""

    def made(way: str) -> Callable[[int], NewJob]:
        return lambda n: msgspec.structs.replace(new_job(n, queue, not_before=NOW + 3600), way=way)

    await add_task(store, 1, jobs=[made(way) for way in ways], text=text)


@pytest.mark.evidence(
    "the end of an outage is noticed by a push to nobody, for one device alone too, and "
    "what waits is woken",
)
async def test_a_way_that_has_proved_itself_wakes_only_who_waits_for_it(store: Store) -> None:
    await parked(store, "main", "other", "", "main")
    await parked(store, "main", queue="fcm:2", text="two")
    assert await store.wake(1, "apns:1", "main", 10) == 2
    assert numbers(await lease(store)) == [1, 4]
    assert await store.wake(1, "apns:1", "main", 10) == 0
    assert await lease(store, queue="fcm:2") == []


async def test_a_new_channel_wakes_whatever_way_is_waited_for(store: Store) -> None:
    await parked(store, "main", "", "other", "third")
    assert await store.wake(1, "apns:1", None, 2) == 2
    assert await store.wake(1, "apns:1", None, 2) == 1
    assert numbers(await lease(store)) == [1, 3, 4]


async def test_those_that_wait_are_woken_in_steps_the_longest_first(
    store: Store, clock: ManualClock
) -> None:
    await parked(store, "main", "main")
    await clock.advance(10)
    await add_task(
        store,
        1,
        jobs=[lambda n: msgspec.structs.replace(new_job(n, not_before=NOW + 60), way="main")],
        text="two",
    )
    assert await store.wake(1, "apns:1", "main", 1) == 1
    assert numbers(await lease(store)) == [3]
    assert await store.wake(1, "apns:1", "main", 5) == 2


async def test_a_leased_job_is_not_woken(store: Store, clock: ManualClock) -> None:
    await add_task(store, 1, jobs=[lambda n: msgspec.structs.replace(new_job(n), way="main")])
    await lease(store)
    assert await store.wake(1, "apns:1", "main", 10) == 0
    await clock.advance(29)
    assert await lease(store, lessee="other") == []


@pytest.mark.evidence("recalled and expired pushes behind a held credential are settled at once")
async def test_what_is_over_is_leased_though_nothing_else_may_be(
    store: Store, clock: ManualClock
) -> None:
    """While a credential is held back, its recalled and expired jobs are settled all the same."""
    task = await add_task(store, 1, jobs=[new_job, lambda n: new_job(n, not_before=NOW + 3600)])
    await add_task(store, 1, jobs=[new_job], text="lives on")
    assert await ended(store) == []
    await recall_task(store, task)
    assert numbers(await ended(store)) == [1, 2]
    await clock.advance(task.expires_at - NOW)
    assert numbers(await ended(store)) == [3]


async def ended(store: Store) -> list[Job]:
    return await store.lease(1, "apns:1", BULK, lessee="me", limit=10, lease_s=30, ended=True)


async def recall_task(store: Store, task: Task) -> None:
    recalled = msgspec.structs.replace(task, recalled_at=NOW)
    await store.recall(1, task.task_id, lambda _: RecallEdit(task=recalled, wakes_jobs=True))


async def test_the_follow_up_of_a_recalled_task_is_over_at_once(store: Store) -> None:
    task = await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    await recall_task(store, task)
    later = new_job(1, not_before=NOW + 60)
    await write(store, job, StepEdit(is_done=True, jobs=[later]))
    assert numbers(await ended(store)) == [2]


async def test_a_step_reads_only_the_devices_that_changed_after_a_position(store: Store) -> None:
    made = [await add_device(store, 1, name) for name in ("a", "b", "c")]
    await add_task(store, 1, jobs=[new_job])
    (job,) = await lease(store)
    rows = await store.devices_at(1, BitMap([1, 2, 3, 9]))
    assert rows == DeviceRows(await store.last_device_change(1), {it.number: it for it in made})
    want = StepWant(devices=(1, 2, 3, 9), changed_after=rows.position)
    view = await write(store, job, StepEdit(), want)
    assert (dict(view.devices), view.unchanged) == ({}, BitMap([1, 2, 3, 9]))
    moved = await add_device(store, 1, "b", token="t9")
    await delete(store, 1, "c")
    view = await write(store, job, StepEdit(), want)
    assert (dict(view.devices), view.unchanged) == ({2: moved}, BitMap([1, 9]))
    view = await write(store, job, StepEdit(), StepWant(devices=(1, 2, 3)))
    assert (sorted(view.devices), view.unchanged) == ([1, 2], BitMap())
