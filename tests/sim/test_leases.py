"""A dispatcher and its own leases: what it holds it neither leases again nor forgets."""

from __future__ import annotations

import asyncio

import pytest

from tests.sim.checkers import everything
from tests.sim.world import World
from tocsin.clock import ManualClock, settle_loop


class LeapingClock(ManualClock):
    """A wall clock that leaps while nothing else moves: set right, or the machine slept."""

    leap_s = 0.0

    def now(self) -> float:
        return super().now() + self.leap_s


@pytest.mark.evidence(
    "2 a dispatcher and its own leases",
    topic="The laws",
    planted="what is held not extended before more is leased",
)
@pytest.mark.parametrize("replaces", [True, False])
async def test_a_leap_of_the_clock_sends_nothing_twice(replaces: bool) -> None:
    clock = LeapingClock()
    world = await World(replaces=replaces, clock=clock).open()
    world.vendor.latency_s = 5.0
    await world.people(100)
    world.hire()
    task = await world.push()
    await world.run(1)
    assert world.vendor.begun_at
    clock.leap_s = 41.0
    await world.run(60)
    assert world.vendor.twice(task.task_id) == set()
    assert (await world.ledger(task)).states["sent"] == 100
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence("2 a dispatcher and its own leases")
async def test_what_a_vendor_answered_while_the_store_was_sick_is_booked_when_it_is_well() -> None:
    """Longer than a lease, and the settle was refused all the time: still no doubt."""
    world = await World(replaces=False).open()
    world.vendor.latency_s = 2.0
    await world.people(100)
    world.hire()
    task = await world.push()
    await world.run(1)
    world.fault_after = world.writes
    await world.run(40)
    world.fault_after = None
    await world.run(60)
    assert (await world.ledger(task)).states["sent"] == 100
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "2 a dispatcher that is stopped",
    topic="The laws",
    planted="its waiting tasks not cancelled",
)
async def test_a_dispatcher_that_is_stopped_leaves_no_task_behind() -> None:
    world = await World().open()
    before = asyncio.all_tasks()
    place = world.hire()
    await world.run(1)
    await world.kill(place)
    await settle_loop()
    assert asyncio.all_tasks() == before
    await world.close()
