"""Devices that change hands while a push is fanned out are served once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from tests.sim.checkers import everything
from tests.sim.world import APP, World
from tocsin.adapters.memory import MemoryStore
from tocsin.domain.device import DeviceRows, unregister_unasked
from tocsin.domain.task import Job, Lane, StepEdit, StepView, StepWant
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.fanout import Fanout
from tocsin.pipeline.work import READ_IN_STEP_MAX


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


class ChangingStore(MemoryStore):
    """A store in which somebody changes the devices right after they were read for a job."""

    then: Callable[[], Awaitable[object]] | None = None

    async def devices_at(self, app: int, numbers: BitMap) -> DeviceRows:
        rows = await super().devices_at(app, numbers)
        then, self.then = self.then, None
        if then is not None:
            await then()
        return rows


@pytest.mark.evidence(
    "a device that changes between the reading of its row and the begin of its job",
    topic="Planning by sets",
    planted="the step asked nothing of the changes",
)
async def test_what_changes_before_a_job_begins_is_seen() -> None:
    """Its new token is used, and a device that has unregistered is sent nothing."""
    world = World(store=ChangingStore)
    await world.open()
    await world.people(READ_IN_STEP_MAX + 4)
    assert isinstance(world.store, ChangingStore)

    async def change() -> None:
        await world.device("u1", "token-u1-new", "R-u1")
        device = await world.store.device(APP, "R-u2")
        assert device is not None
        await world.store.update_device(
            APP, device.registration_id, "", None, unregister_unasked(world.clock.now())
        )

    world.store.then = change
    world.hire()
    task = await world.push()
    await world.run(5)
    sent = world.vendor.tokens(task.task_id)
    assert "token-u1-new" in sent
    assert not {"token-u1", "token-u2"} & sent
    assert (await world.ledger(task)).states["sent"] == READ_IN_STEP_MAX + 3
    assert await everything(world, task) == []
    await world.close()
