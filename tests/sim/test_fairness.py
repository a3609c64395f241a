"""Urgent work finds room whoever's bulk fills the rest, and a push without a life has its try."""

from __future__ import annotations

import msgspec
import pytest

from tests.sim.checkers import has_ended
from tests.sim.vendor import PlainChannel, Trouble
from tests.sim.world import World
from tocsin.domain.message import Message
from tocsin.pipeline.accept import PushAsk
from tocsin.pipeline.dispatch import Pace


@pytest.mark.evidence(
    "urgent work finds a place where bulk fills the worker",
    topic="The laws",
    planted="no places kept",
)
async def test_an_urgent_push_finds_a_place_where_bulk_fills_the_worker() -> None:
    world = await World().open()
    world.pace = Pace(jobs_max=8, queue_jobs_max=99, lane_jobs_max=99)
    world.channels.plain = PlainChannel(world.vendor, replaces=True, in_flight=5000)
    world.vendor.latency_s = 30.0
    await world.people(2000)
    world.hire()
    await world.push()
    await world.run(2)
    asked_at = world.clock.now()
    urgent = await world.batch(["u7"])
    await world.run(2)
    begun = [at for at, task_id in world.vendor.begun_at if task_id == urgent.task_id]
    assert begun
    assert begun[0] - asked_at < 1
    await world.close()


@pytest.mark.evidence(
    "a push without a life has its one try",
    topic="The laws",
    planted="tried like any other push",
)
async def test_a_push_without_a_life_is_tried_once_and_not_before_its_turn() -> None:
    """MsgLifeTime 0: connected now, plus one vendor try; being held back is no try."""
    world = await World(trouble=Trouble(server_error=1.0)).open()
    await world.people(3)
    world.app = msgspec.structs.replace(world.app, ttl_s=0)
    await world.store.update_app(world.app.sdkappid, lambda _: world.app)
    world.hire()
    ask = PushAsk(
        kind="im_push", identifier="admin", msg_random=1, message=Message(desc="d"), ttl_s=0
    )
    accepted = await world.accepting.push(world.app, ask)
    await world.run(20)
    task = await world.task(accepted.task_id)
    assert len(world.vendor.begun_at) == 3
    assert (await world.ledger(task)).states["failed"] == 3
    assert await has_ended(world, task) == []
    await world.close()
