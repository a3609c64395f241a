"""How many durable steps a push takes: each is a wait for the disk."""

from __future__ import annotations

import pytest

from tests.sim.world import APP, World
from tocsin.domain.task import Phase


@pytest.mark.evidence(
    "a push to one account takes four durable steps: accepted and planned, leased, begun, settled",
    topic="Books",
    planted="the plan left to fanout",
)
async def test_a_push_to_one_account_takes_four_durable_steps() -> None:
    world = await World().open()
    world.hire()
    names = await world.people(1)
    await world.run(1)
    before = world.writes
    task = await world.batch(names)
    await world.run(1)
    done = await world.task(task.task_id)
    assert done.phase is Phase.DONE
    assert (await world.ledger(task)).states["sent"] == 1
    assert world.writes - before == 4
    await world.close()


async def test_a_batch_that_reaches_nobody_ends_as_it_is_accepted() -> None:
    world = await World().open()
    names = await world.people(2, with_token=False)
    await world.store.update_app(APP, lambda _: world.app)
    before = world.writes
    task = await world.batch(names, is_online_only=True)
    assert world.writes - before == 1
    told = await world.ledger(task)
    assert (told.audience, told.with_devices, told.is_walked, told.faults) == (2, 2, True, [])


async def test_badges_are_counted_as_a_batch_is_accepted() -> None:
    world = await World().open()
    world.hire()
    names = await world.people(1)
    for expected in (1, 2):
        await world.batch(names, badge_add=1)
        await world.run(1)
        device = await world.store.device(APP, "R-u1")
        assert device is not None
        assert device.badge == expected
    await world.close()
