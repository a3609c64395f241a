"""Devices that change hands while a push is fanned out are served once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.sim.checkers import everything
from tests.sim.world import APP, World
from tocsin.domain.task import Job, Lane, StepEdit, StepView, StepWant
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.fanout import Fanout


@pytest.mark.evidence(
    "2 a device that changes hands between two pages",
    topic="The laws",
    planted="devices of earlier pages planned again",
)
async def test_a_device_that_changes_hands_between_two_pages_is_served_once() -> None:
    """Planned for its first user, it would be met again in the page of its second one."""
    world = World()
    world.app = msgspec.structs.replace(world.app, device_policy="all")
    await world.open()
    await world.people(40)
    task = await world.push()
    (index,) = await _lease(world, "index")
    await world.store.step(APP, index, StepWant(), await world.indexer.freeze(index))

    async def write(job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]) -> Any:
        written = await world.store.step(APP, job, want, decide)
        await world.device("u39", "token-u1", "R-u1")
        return written

    fanout = Fanout(
        store=world.store,
        channels=world.channels,
        presence=world.sockets,
        books=BooksReader(world.store, world.clock),
        indexer=world.indexer,
        clock=world.clock,
        write=write,
        page_accounts=10,
    )
    (walk,) = await _lease(world, "fanout")
    await fanout.run(walk)
    world.hire()
    await world.run(5)
    assert world.vendor.twice(task.task_id) == set()
    assert (await world.ledger(task)).states["sent"] == 40
    assert await everything(world, task) == []
    await world.close()


async def _lease(world: World, queue: str) -> list[Job]:
    return await world.store.lease(APP, queue, Lane.BULK, lessee="test", limit=1, lease_s=30.0)
