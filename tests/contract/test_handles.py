"""Vendors' names of messages: kept with the settle, shown to the overwrite, gone in time."""

from __future__ import annotations

import msgspec
import pytest

from tests.contract.rows import NOW, add_task, finish, lease, new_job, new_task, write
from tocsin.clock import ManualClock
from tocsin.domain.task import Handle, Job, RecallEdit, RecallView, StepEdit, StepWant
from tocsin.store import Store

NAMES = {1: "/m/one", 2: "/m/two"}
HANDLES = [Handle(device, name) for device, name in NAMES.items()]
WANT = StepWant(devices=(1, 2, 3), with_handles=True)


async def sent(store: Store, app: int = 1) -> Job:
    """A task whose vendor has named two messages; answers its leased job."""
    await add_task(store, app, jobs=[new_job], audience=[1, 2, 3], text="t")
    (job,) = await lease(store, app)
    await write(store, job, StepEdit(handles=HANDLES))
    return job


async def overwrite(store: Store, app: int = 1) -> Job:
    """The job of a task that overwrites it."""

    def decide(view: RecallView) -> RecallEdit:
        assert view.task is not None
        task = new_task(view, "t_recall", overwrites=view.task.number)
        return RecallEdit(task=view.task, overwrite=task, jobs=[new_job(task.number)])

    await store.recall(app, "t", decide)
    (job,) = await lease(store, app, lessee="other")
    return job


async def test_an_overwrite_is_shown_the_names_of_what_it_overwrites(store: Store) -> None:
    job = await sent(store)
    assert (await write(store, job, StepEdit(), WANT)).handles == {}
    later = await overwrite(store)
    assert (await write(store, later, StepEdit(), WANT)).handles == NAMES
    some = msgspec.structs.replace(WANT, devices=(2,))
    assert (await write(store, later, StepEdit(), some)).handles == {2: "/m/two"}
    unasked = msgspec.structs.replace(WANT, with_handles=False)
    assert (await write(store, later, StepEdit(), unasked)).handles == {}


async def test_the_last_name_counts(store: Store) -> None:
    job = await sent(store)
    await write(store, job, StepEdit(handles=[Handle(2, "/m/again")]))
    later = await overwrite(store)
    assert (await write(store, later, StepEdit(), WANT)).handles == {1: "/m/one", 2: "/m/again"}


@pytest.mark.evidence(
    "the names that a push service gave are kept with the settle and end with the message's life",
    topic="Recall at the vendors",
    planted="never forgotten; not handed to the overwrite",
)
async def test_a_step_that_fails_keeps_no_name(store: Store) -> None:
    job = await sent(store)

    class Planted(Exception):
        pass

    def decide(_: object) -> StepEdit:
        raise Planted

    with pytest.raises(Planted):
        await store.step(1, job, WANT, decide)
    broken = StepEdit(handles=[Handle(3, "/m/three")], jobs=[new_job(99)])
    with pytest.raises(Exception):  # noqa: B017, PT011 - each adapter has its own
        await write(store, job, broken)
    later = await overwrite(store)
    assert (await write(store, later, StepEdit(), WANT)).handles == NAMES


@pytest.mark.evidence(
    "the names that a push service gave are kept with the settle and end with the message's life",
)
async def test_names_go_when_the_messages_life_has_ended(store: Store) -> None:
    await sent(store)
    assert await store.forget_handles(1, NOW + 60, 100) == 0
    later = await overwrite(store)
    assert (await write(store, later, StepEdit(), WANT)).handles == NAMES
    assert await store.forget_handles(1, NOW + 61, 100) == 2
    assert (await write(store, later, StepEdit(), WANT)).handles == {}


async def test_names_go_with_their_task(store: Store, clock: ManualClock) -> None:
    job = await sent(store)
    task = await store.task_by_id(1, "t")
    assert task is not None
    await finish(store, job, task, at=NOW)
    await clock.advance(10)
    assert await store.forget(1, NOW + 5, 100) == 1
    assert await store.forget_handles(1, NOW + 1e9, 100) == 0


async def test_names_are_the_apps_own(store: Store) -> None:
    await sent(store)
    await add_task(store, 2, jobs=[new_job], audience=[1, 2], text="t")
    (_,) = await lease(store, 2)
    ours = await overwrite(store, 2)
    assert (await write(store, ours, StepEdit(), WANT)).handles == {}
    assert await store.forget_handles(2, NOW + 1e9, 100) == 0
    assert await store.forget_handles(1, NOW + 1e9, 100) == 2
