"""An orderly stop: begun requests are awaited and settled, everything else is given back."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest
from pyroaring import BitMap

from tests.sandbox_keys import keys_folder
from tests.sim.checkers import books_add_up, everything
from tests.sim.vendor import OneChannel, Trouble
from tests.sim.works import APP, NAMES, Works
from tests.sim.world import APP as WORLD_APP
from tests.sim.world import Sockets, World
from tocsin.adapters.memory import MemoryStore
from tocsin.clock import ManualClock
from tocsin.domain.outcome import State
from tocsin.domain.plan import ChannelFacts
from tocsin.domain.task import Job, Phase, SendBody
from tocsin.pipeline.dispatch import SETTLE_S, Dispatcher
from tocsin.sandbox.server import Sandbox, SandboxSettings

DEVICES = 230
RATE_PER_S = 300.0
"""So that a stop meets deliveries that have begun and others of the same job that have not."""
LATENCY_S = 0.5
DRAIN_S = 8.0
MOMENTS = [round(0.1 * step, 2) for step in range(12)]
"""From before the first job is leased until after the last answer."""


@pytest.mark.evidence(
    "an orderly stop at any moment: no device is served twice, none is in doubt",
    topic="The laws",
    planted="answers not awaited; single sends under way given up as after a recall",
)
@pytest.mark.parametrize("vendor", NAMES)
async def test_stopped_at_any_moment_no_device_is_served_twice(vendor: str) -> None:
    """Law 2 for orderly stops: with answers quicker than the drain, no doubt and no repeat."""
    clock = ManualClock()
    sandbox = Sandbox(SandboxSettings(seed=1, folder=keys_folder()), clock)
    awaited = 0
    for moment in MOMENTS:
        sandbox.reset()
        works = Works(latency_s=LATENCY_S, clock=clock, sandbox=sandbox)
        await works.open({vendor: DEVICES}, rates={vendor: RATE_PER_S})
        task = await works.push()
        took_s = await works.stop_after(moment, DRAIN_S)
        assert took_s < DRAIN_S
        awaited += took_s >= LATENCY_S / 2
        assert _begun_jobs(works.store, APP) == []
        assert {job.attempt for job in _jobs(works.store, APP)} <= {0}
        await works.go_on(20, step_s=0.2)
        served = sandbox.log.accepted_by("token")
        assert Counter(served.values()) == {1: DEVICES}, moment
        sets = await works.sets(task)
        assert len(sets.states[State.SENT]) == DEVICES
        assert not sets.repeated
        assert (await works.ledger(task)).faults == []
    assert awaited


@pytest.mark.evidence("an orderly stop at any moment: no device is served twice, none is in doubt")
@pytest.mark.parametrize("replaces", [True, False])
async def test_stopped_again_and_again_no_device_is_served_twice(replaces: bool) -> None:
    world = await World(replaces=replaces).open()
    world.vendor.latency_s = 0.4
    await world.people(1200)
    task = await world.push()
    for stop in range(12):
        place = world.hire()
        await world.run(0.05 + 0.09 * stop)
        await world.stop(place, DRAIN_S)
    assert len(world.vendor.tokens(task.task_id)) > 0
    world.hire()
    await world.run(60)
    assert world.vendor.twice(task.task_id) == set()
    assert not (await world.sets(task)).repeated
    assert (await world.ledger(task)).states["sent"] == 1200
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "while the service stops no request begins, and what has not begun is given back at once",
    topic="The laws",
    planted="the gate left open; leased jobs begun all the same; leases taken after the "
    "stop; a walk carried on to its end",
)
async def test_what_has_not_begun_is_given_back_at_once() -> None:
    """Another worker need not wait for a lease to lapse, and no try is counted."""
    world = await World(lease_s=600).open()
    world.vendor.latency_s = 1.0
    await world.people(2000)
    place = world.hire()
    task = await world.push()
    await world.run(0.3)
    begun = len(world.vendor.begun_at)
    assert 0 < begun < 2000
    took_s = await world.stop(place, DRAIN_S)
    assert took_s < 2.0
    assert len(world.vendor.begun_at) == begun
    slots = world.store._rows_of(WORLD_APP).jobs.values()
    assert slots
    assert all(slot.lessee is None for slot in slots)
    assert {slot.job.attempt for slot in slots} == {0}
    assert max(slot.ready_at for slot in slots) <= world.clock.now() + 1.5
    # Only the devices of begun jobs are deferred; what waited for the window is ready at once.
    deferred = [slot.job.body for slot in slots if slot.ready_at > world.clock.now()]
    devices = sum(len(body.devices) for body in deferred if isinstance(body, SendBody))
    assert 0 < devices < world.channels.plain.begun_max
    world.hire()
    await world.run(60)
    assert (await world.task(task.task_id)).phase is Phase.DONE
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence("when the drain ends, only what has no answer is in doubt")
@pytest.mark.parametrize("replaces", [True, False])
async def test_after_the_drain_only_what_has_no_answer_is_in_doubt(replaces: bool) -> None:
    """As after a crash: repeated only where a repeat replaces. The answered ones are settled."""
    world = await World(replaces=replaces, lease_s=5).open()
    await world.people(100)
    world.vendor.latency_s = 0.1
    place = world.hire()
    quick = await world.batch([f"u{number}" for number in range(1, 51)])
    await world.run(0.4)
    world.vendor.latency_s = 60.0
    slow = await world.batch([f"u{number}" for number in range(51, 101)])
    await world.run(0.4)
    took_s = await world.stop(place, 3.0)
    assert 3.0 <= took_s <= 3.0 + SETTLE_S + 0.1
    assert world.dispatchers[place].unsettled == 1
    world.vendor.latency_s = 0.1
    world.hire()
    await world.run(60)
    assert (await world.ledger(quick)).states["sent"] == 50
    states = (await world.ledger(slow)).states
    assert states["sent" if replaces else "in_doubt"] == 50
    assert len((await world.sets(slow)).repeated) == (50 if replaces else 0)
    for task in (quick, slow):
        assert await books_add_up(world, task) == []
    await world.close()


@pytest.mark.evidence("when the drain ends, only what has no answer is in doubt")
async def test_of_a_streamed_job_only_the_unanswered_requests_are_in_doubt() -> None:
    """Its other devices, answered or not begun, are served once."""
    works = Works(latency_s=0.1)
    await works.open({"apns": DEVICES}, rates={"apns": RATE_PER_S / 2})
    task = await works.push()

    async def slow_down() -> None:
        await works.clock.sleep(0.5)
        works.http.latency_s = 60.0

    slowing = asyncio.create_task(slow_down())
    took_s = await works.stop_after(0.8, 3.0)
    await slowing
    assert 3.0 <= took_s < 3.0 + SETTLE_S
    answered = works.sandbox.log.counts().accepted
    unanswered = works.http.requests["apns"] - answered
    assert answered
    assert unanswered
    assert answered + unanswered < DEVICES
    works.http.latency_s = 0.1
    await works.go_on(30, step_s=0.2)
    sets = await works.sets(task)
    assert len(sets.states[State.SENT]) == DEVICES
    assert len(sets.repeated) == unanswered
    assert set(works.sandbox.log.accepted_by("token").values()) == {1}
    assert (await works.ledger(task)).faults == []


class StoppingChannels(OneChannel):
    """What a queue's channel takes is asked just before its jobs are leased: there is the stop."""

    dispatcher: Dispatcher | None = None

    async def facts(self, app: int) -> dict[int, ChannelFacts]:
        if self.dispatcher is not None:
            self.dispatcher.stop(DRAIN_S)
        return await super().facts(app)


@pytest.mark.evidence(
    "while the service stops no request begins, and what has not begun is given back at once",
)
async def test_what_was_leased_as_the_stop_came_is_given_back_without_a_begin() -> None:
    world = await World(lease_s=600).open()
    names = await world.people(20)
    channels = world.channels = StoppingChannels(world.channels.plain)
    place = world.hire()
    world.channels.plain.is_full = True
    tasks = [await world.push(), await world.batch(names)]
    await world.run(1.0)
    waiting = _sends(world.store)
    assert {job.generation for job in waiting} == {0}
    world.channels.plain.is_full = False
    channels.dispatcher = world.dispatchers[place]
    await world.run(0.5)
    assert world.vendor.begun_at == []
    left = _sends(world.store)
    assert [msgspec.structs.replace(job, generation=0) for job in left] == waiting
    # The lanes whose turn had not come are not leased any more.
    assert sorted(job.generation for job in left) == [0, 1]
    assert all(slot.lessee is None for slot in world.store._rows_of(WORLD_APP).jobs.values())
    channels.dispatcher = None
    world.hire()
    await world.run(30)
    for task in tasks:
        assert await everything(world, task) == []
    await world.close()


class StoppingSockets(Sockets):
    """Each page of a walk asks who is connected: the third one meets the stop."""

    pages = 0
    dispatcher: Dispatcher

    def connected(self, app: int) -> BitMap:
        self.pages += 1
        if self.pages == 3:
            self.dispatcher.stop(DRAIN_S)
        return super().connected(app)


@pytest.mark.evidence(
    "while the service stops no request begins, and what has not begun is given back at once",
)
async def test_a_walk_is_given_back_between_two_pages() -> None:
    """A stop does not wait for the end of a walk over millions."""
    world = await World(lease_s=600).open()
    await world.people(300)
    task = await world.push()
    sockets = world.sockets = StoppingSockets(world.store, world.clock)
    place = world.hire()
    sockets.dispatcher = world.dispatchers[place]
    sockets.dispatcher._worker._fanout._page_accounts = 10
    await world.run(1.0)
    assert sockets.pages == 3
    assert (await world.ledger(task)).planned == 30
    (walk,) = (job for job in _jobs(world.store, WORLD_APP) if job.queue == "fanout")
    assert walk.attempt == 0
    world.hire()
    await world.run(30)
    assert (await world.ledger(task)).states["sent"] == 300
    assert await everything(world, task) == []
    await world.close()


async def test_a_stop_with_answers_that_fail_settles_them_too() -> None:
    trouble = Trouble(lost_answer=0.1, server_error=0.2, throttled=0.2, refused_connection=0.1)
    world = await World(trouble=trouble).open()
    world.vendor.latency_s = 0.4
    await world.people(600)
    task = await world.push()
    for stop in range(5):
        place = world.hire()
        await world.run(0.3 + 0.1 * stop)
        await world.stop(place, DRAIN_S)
        assert world.dispatchers[place].unsettled == 0
        assert await books_add_up(world, task) == []
    world.vendor.trouble = Trouble()
    world.hire()
    await world.run(150)
    assert await everything(world, task) == []
    await world.close()


def _jobs(store: MemoryStore, app: int) -> list[Job]:
    return [slot.job for slot in store._rows_of(app).jobs.values()]


def _sends(store: MemoryStore) -> list[Job]:
    return [job for job in _jobs(store, WORLD_APP) if isinstance(job.body, SendBody)]


def _begun_jobs(store: MemoryStore, app: int) -> list[Job]:
    return [job for job in _jobs(store, app) if job.begun_at is not None]
