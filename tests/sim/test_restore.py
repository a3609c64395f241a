"""A backup from the middle of a push is put back after the push went on: laws 2 and 3."""

from __future__ import annotations

import pytest
from pyroaring import BitMap

from tests.sim.checkers import books_add_up, everything, has_ended
from tests.sim.world import World
from tocsin.domain.outcome import State
from tocsin.domain.restore import How, begin_generation
from tocsin.domain.task import Task
from tocsin.metrics import Metrics
from tocsin.pipeline.hold import Hold

PEOPLE = 120
MOMENTS = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)
"""Seconds after the call at which the backup is taken: from not walked at all to nearly done."""


async def lost_and_restored(
    moment_s: float, *, replaces: bool, online: int, is_full: bool = False
) -> tuple[World, Task]:
    """A world that is a backup of another, which went on for a second and is gone.

    With `is_full` the vendor takes nothing before the backup, so that no job has begun in it.
    """
    past = await World(replaces=replaces).open()
    past.channels.plain.is_full = is_full
    past.vendor.latency_s = 0.2
    await past.people(PEOPLE)
    past.sockets.online = BitMap(range(1, online + 1))
    past.hire()
    task = await past.push()
    await past.run(moment_s)
    world = World(replaces=replaces, past=past)
    past.channels.plain.is_full = False
    await past.run(1.0)
    await past.close()
    world.sockets.online = past.sockets.online
    world.sockets.written = list(past.sockets.written)
    await world.store.begin_generation(begin_generation(world.clock.now(), world.clock.now() - 1))
    return world, await world.task(task.task_id)


async def say(world: World, how: How) -> None:
    hold = Hold(world.store, world.clock, Metrics())
    await hold.load()
    assert hold.is_on
    await hold.end(how)
    assert not hold.is_on


@pytest.mark.evidence(
    "a restored database sends nothing until the word is said; then doubles are those that "
    "the books name, and the sums hold",
)
@pytest.mark.parametrize("moment_s", MOMENTS)
@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("is_full", [True, False])
async def test_a_resumed_push_reaches_everyone_and_owns_up_to_doubles(
    moment_s: float, *, replaces: bool, is_full: bool
) -> None:
    world, task = await lost_and_restored(moment_s, replaces=replaces, online=20, is_full=is_full)
    await say(world, "resume")
    world.hire()
    await world.run(90)
    assert await everything(world, task) == []
    assert not is_full or world.vendor.twice(task.task_id)
    sets = await world.sets(task)
    written = [device for number, device in world.sockets.written if number == task.number]
    twice = BitMap(device for device in written if written.count(device) > 1)
    assert not twice - (sets.repeated | sets.states[State.IN_DOUBT])
    assert sets.states[State.SENT] | sets.states[State.IN_DOUBT] == BitMap(range(1, PEOPLE + 1))


@pytest.mark.evidence(
    "a restored database sends nothing until the word is said; then doubles are those that "
    "the books name, and the sums hold",
)
@pytest.mark.parametrize("moment_s", MOMENTS)
@pytest.mark.parametrize("replaces", [True, False])
async def test_a_settled_push_is_sent_to_nobody_any_more(
    moment_s: float, *, replaces: bool
) -> None:
    world, task = await lost_and_restored(moment_s, replaces=replaces, online=20)
    begun, written = len(world.vendor.begun_at), len(world.sockets.written)
    await say(world, "settle")
    world.hire()
    await world.run(90)
    assert (len(world.vendor.begun_at), len(world.sockets.written)) == (begun, written)
    assert await books_add_up(world, task) + await has_ended(world, task) == []
    books = await world.books(task)
    sets = await world.sets(task)
    told = [block for block in books.blocks if block.state == State.EXPIRED]
    assert {(block.code, block.info) for block in told} <= {("-18", "restored")}
    ended = sets.states[State.SENT] | sets.states[State.IN_DOUBT] | sets.states[State.EXPIRED]
    assert ended == BitMap(range(1, PEOPLE + 1))


@pytest.mark.evidence(
    "a restored database sends nothing until the word is said; then doubles are those that "
    "the books name, and the sums hold",
)
async def test_a_settle_that_was_ended_half_way_is_gone_on_with() -> None:
    world, task = await lost_and_restored(0.1, replaces=True, online=0)
    await world.push()
    again = World(past=world)
    hold = Hold(again.store, again.clock, Metrics())
    await hold.load()
    # As a kill after the first task leaves it: that one is settled, and the hold goes on.
    first = task.number
    assert hold.restored is not None
    await hold._end_tasks(task.app, first, "settle")
    await say(again, "resume")
    again.hire()
    await again.run(90)
    assert (await again.task(task.task_id)).restored == "settled"
    assert await books_add_up(again, task) + await has_ended(again, task) == []
