"""The laws of docs/ARCHITECTURE.md, each with a test that fails when it is broken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.sim.checkers import books_add_up, everything, has_ended
from tests.sim.vendor import PlainChannel, Trouble
from tests.sim.world import APP, World
from tocsin.conversation import Batch
from tocsin.domain.message import Message
from tocsin.domain.outcome import Receipt, State
from tocsin.domain.task import Phase
from tocsin.errors import StoreError
from tocsin.ports import Gate


@pytest.mark.evidence(
    "1 state and job together",
    topic="The laws",
    planted="accept without its first job",
)
@pytest.mark.parametrize("nth", range(1, 14))
async def test_law_1_state_and_the_job_that_follows_are_written_together(nth: int) -> None:
    """Fail the n-th write, for every n: the push was refused, or it ends with its books right."""
    world = await World(lease_s=5).open()
    await world.people(30)
    world.hire()
    world.fault_after = world.writes + nth - 1
    try:
        task = await world.push()
    except StoreError:
        task = None
    await world.run(1)
    world.fault_after = None
    await world.run(20)
    if task is None:
        assert await world.store.tasks(APP) == []
    else:
        assert await everything(world, task) == []
        assert (await world.ledger(task)).states["sent"] == 30
    await world.close()


@pytest.mark.evidence(
    "2 safe to run twice",
    topic="The laws",
    planted="no `repeated` block; a begun job resent where nothing replaces",
)
@pytest.mark.parametrize("replaces", [True, False])
async def test_law_2_every_stage_is_safe_to_run_twice(replaces: bool) -> None:
    """Kill the worker again and again: duplicates only where the books say so, nothing lost."""
    world = await World(replaces=replaces, lease_s=2).open()
    await world.people(400)
    place = world.hire()
    task = await world.push()
    for _ in range(6):
        await world.run(0.1)
        await world.kill(place)
        place = world.hire()
    await world.run(30)
    assert await everything(world, task) == []
    sets = await world.sets(task)
    assert sets.repeated if replaces else sets.states[State.IN_DOUBT]
    await world.close()


@pytest.mark.evidence(
    "a dead letter ends",
    topic="The laws",
    planted="the bound on generations removed",
)
async def test_a_job_that_breaks_every_worker_becomes_a_dead_letter() -> None:
    world = await World(lease_s=1).open()
    await world.people(3)
    world.channels.plain = BrokenChannel(world.vendor, replaces=True)
    world.hire()
    task = await world.push()
    # The last repeat comes ten minutes after the one before.
    await world.run(1200, step_s=0.5)
    assert await has_ended(world, task) == []
    assert await books_add_up(world, task) == []
    assert (await world.ledger(task)).states["in_doubt"] == 3
    await world.close()


class BrokenChannel(PlainChannel):
    """A channel with a fault of ours: it raises."""

    async def deliver(self, batch: Batch, gate: Gate) -> Sequence[Receipt]:
        raise RuntimeError("planted")


@pytest.mark.evidence("3 conservation", topic="The laws", planted="the follow-up job dropped")
async def test_law_3_the_books_add_up_at_every_moment() -> None:
    trouble = Trouble(lost_answer=0.1, server_error=0.2, throttled=0.1, refused_connection=0.1)
    world = await World(trouble=trouble).open()
    await world.people(300)
    world.hire()
    task = await world.push()
    for _ in range(100):
        await world.run(0.1)
        assert await books_add_up(world, task) == []
    # The last repeat of what may have been shown comes ten minutes after the one before.
    await world.run(1200, step_s=0.5)
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "4 in doubt is a state",
    topic="The laws",
    planted="unknown settled as failed",
)
async def test_law_4_an_answer_that_never_came_is_doubt_and_an_ack_ends_it() -> None:
    world = await World(trouble=Trouble(lost_answer=1.0), replaces=False).open()
    await world.people(5)
    world.hire()
    task = await world.push()
    await world.run(3)
    sets = await world.sets(task)
    assert len(sets.states[State.IN_DOUBT]) == 5
    assert len(world.vendor.log) == 5
    device = sets.states[State.IN_DOUBT][0]
    world.sockets.online.add(device)
    await world.sockets.push(task, -1, [device])
    sets = await world.sets(task)
    assert len(sets.states[State.IN_DOUBT]) == 4
    assert device in sets.states[State.SENT]
    assert await books_add_up(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "5 recall within a second",
    topic="The laws",
    planted="a copy of the recall set used for 5 s",
)
async def test_law_5_after_a_recall_is_answered_nothing_begins_later_than_a_second() -> None:
    """Eight dispatchers in the middle of a push, judged by the order in the vendor's log."""
    world = await World().open()
    world.vendor.latency_s = 0.4
    await world.people(2000)
    for _ in range(8):
        world.hire()
    task = await world.push()
    await world.run(1)
    await world.accepting.recall(world.app, task.task_id, Message(is_online_only=True))
    answered_at = world.clock.now()
    await world.run(30)
    late = [at for at, _ in world.vendor.begun_at if at > answered_at + 1.0]
    assert late == []
    states = (await world.ledger(task)).states
    assert states["sent"] > 0
    assert states["recalled"] > 0
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "5 the overwrite",
    topic="The laws",
    planted="in doubt left out; sent to who got the push over a connection alone",
)
async def test_law_5_the_overwrite_goes_to_whoever_may_have_got_the_push() -> None:
    world = await World(trouble=Trouble(lost_answer=0.2), replaces=False).open()
    world.vendor.latency_s = 0.4
    await world.people(1500)
    world.hire()
    task = await world.push()
    await world.run(1.5)
    await world.accepting.recall(world.app, task.task_id, Message(title="gone"))
    world.vendor.trouble = Trouble()
    await world.run(60)
    sets = await world.sets(task)
    reached = sets.states[State.SENT] | sets.states[State.IN_DOUBT]
    overwrite = (await world.store.tasks(APP))[0]
    assert overwrite.overwrites == task.number
    assert (await world.sets(overwrite)).planned == reached
    assert sets.states[State.RECALLED]
    assert await books_add_up(world, overwrite) == []
    assert (await world.task(overwrite.task_id)).phase is Phase.DONE
    assert world.sockets.revoked == [task.task_id]
    await world.close()


@pytest.mark.evidence(
    "6 dead tokens on evidence",
    topic="The laws",
    planted="the epoch not compared; accused batches deleting",
)
async def test_law_6_a_dead_token_is_dropped_only_if_it_is_still_the_one() -> None:
    world = await World(trouble=Trouble(dead=frozenset({"token-u1", "token-u2"}))).open()
    world.vendor.latency_s = 0.5
    await world.people(40)
    world.hire()
    task = await world.push()
    await world.run(0.2)
    await world.device("u2", "token-u2b")
    await world.run(5)
    one = await world.store.device(APP, "R-u1")
    two = await world.store.device(APP, "R-u2")
    assert one is not None
    assert one.route is None
    assert two is not None
    assert two.route is not None
    assert two.route.token == "token-u2b"
    assert (await world.ledger(task)).states["failed"] == 2
    assert await books_add_up(world, task) == []
    await world.close()


@pytest.mark.evidence("6 dead tokens on evidence")
@pytest.mark.evidence(
    "a batch that looks mostly dead by codes that a wrong credential yields, too, deletes nothing",
    topic="Trouble, vendor by vendor",
    planted="accused batches deleting",
)
async def test_law_6_what_a_wrong_credential_yields_too_accuses_us_and_deletes_nothing() -> None:
    alien = frozenset(f"token-u{number}" for number in range(1, 100))
    world = await World(trouble=Trouble(alien=alien)).open()
    await world.people(40)
    world.hire()
    await world.push()
    await world.run(3)
    assert world.channels.plain.trips
    assert await routes(world, 40) == 40
    await world.close()


async def test_law_6_what_only_a_dead_device_yields_is_dropped_whatever_its_share() -> None:
    dead = frozenset(f"token-u{number}" for number in range(1, 39))
    world = await World(trouble=Trouble(dead=dead)).open()
    await world.people(40)
    world.hire()
    await world.push()
    await world.run(3)
    assert not world.channels.plain.trips
    assert await routes(world, 40) == 2
    await world.close()


async def routes(world: World, count: int) -> int:
    """How many of the first devices still have a token."""
    found = [await world.store.device(APP, f"R-u{number}") for number in range(1, count + 1)]
    return sum(1 for device in found if device is not None and device.route is not None)


@pytest.mark.evidence(
    "7 no commit, no request",
    topic="The laws",
    planted="the gate not asking whether the store is well",
)
async def test_law_7_when_a_commit_fails_no_further_request_begins() -> None:
    world = await World().open()
    world.vendor.latency_s = 0.3
    await world.people(1000)
    world.hire()
    task = await world.push()
    await world.run(1)
    world.fault_after = world.writes
    await world.run(0.6)
    begun = len(world.vendor.begun_at)
    assert 0 < begun < 1000
    await world.run(10)
    assert len(world.vendor.begun_at) == begun
    world.fault_after = None
    await world.run(120)
    assert await everything(world, task) == []
    assert len(world.vendor.tokens(task.task_id)) == 1000
    await world.close()
