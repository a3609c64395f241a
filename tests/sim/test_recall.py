"""Taking a push back where the vendor can: who is asked, and what the books say of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.sim.checkers import everything
from tests.sim.vendor import Trouble
from tests.sim.world import APP, World
from tocsin.conversation import Batch
from tocsin.domain.collapse import collapse_id
from tocsin.domain.message import Message
from tocsin.domain.outcome import Receipt, State
from tocsin.domain.plan import ChannelFacts
from tocsin.domain.task import Phase
from tocsin.ports import Gate

NOTHING = Message(is_online_only=True)


def can_take_back(world: World, *, takes_back: bool = True) -> None:
    """The world's vendor withdraws what it was given."""
    facts = ChannelFacts("apns", 200, counts_badge_here=True, takes_back=takes_back)

    async def asked(app: int) -> Mapping[int, ChannelFacts]:
        return {1: facts}

    world.channels.facts = asked  # type: ignore[method-assign, assignment]


async def half_sent(world: World) -> str:
    world.vendor.latency_s = 0.4
    await world.people(800)
    world.hire()
    task = await world.push()
    await world.run(1.2)
    return task.task_id


@pytest.mark.evidence("with nothing to show it is only taken back")
async def test_with_nothing_to_show_whoever_may_have_it_is_taken_back() -> None:
    world = await World(trouble=Trouble(lost_answer=0.1), replaces=False).open()
    can_take_back(world)
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, NOTHING)
    world.vendor.trouble = Trouble()
    await world.run(60)
    task = await world.task(task_id)
    sets = await world.sets(task)
    assert sets.states[State.RECALLED]
    withdrawal = (await world.store.tasks(APP))[0]
    assert withdrawal.is_withdrawal
    reached = sets.states[State.SENT] | sets.states[State.IN_DOUBT]
    assert (await world.sets(withdrawal)).states[State.SENT] == reached
    assert withdrawal.phase is Phase.DONE
    assert await everything(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "… and an overwrite with nothing to show is a withdrawal, and no empty notification",
    topic="Channels and sandbox",
    planted="the recall's message taken as it is; the push sent after the withdrawal",
)
@pytest.mark.parametrize("takes_back", [True, False])
async def test_an_overwrite_without_anything_shows_nothing_instead(*, takes_back: bool) -> None:
    """It is no empty notification: it withdraws where a vendor can, and else there is none."""
    world = await World().open()
    can_take_back(world, takes_back=takes_back)
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, Message(title=" "))
    await world.run(60)
    overwrite, *_ = await world.store.tasks(APP)
    assert overwrite.is_withdrawal is takes_back
    assert (overwrite.task_id == task_id) is not takes_back
    await world.close()


async def test_where_no_vendor_can_there_is_nothing_to_do() -> None:
    world = await World().open()
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, NOTHING)
    await world.run(10)
    assert [task.task_id for task in await world.store.tasks(APP)] == [task_id]
    await world.close()


@pytest.mark.evidence(
    "whose vendor cannot is told in the books",
    topic="Recall at the vendors",
    planted="not told apart from one that can",
)
async def test_a_device_of_a_vendor_that_cannot_is_told_in_the_books() -> None:
    """A credential that could was there when the recall was answered, and then was not."""
    world = await World().open()
    can_take_back(world)
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, NOTHING)
    can_take_back(world, takes_back=False)
    await world.run(60)
    withdrawal = (await world.store.tasks(APP))[0]
    books = await world.ledger(withdrawal)
    assert books.states["unreachable"] == books.planned > 0
    assert books.faults == []
    await world.close()


@pytest.mark.evidence(
    "the names that a push service gave are kept with the settle and end with the message's life",
)
@pytest.mark.parametrize("is_shown", [True, False])
async def test_the_names_that_the_vendor_gave_come_back_with_the_recall(*, is_shown: bool) -> None:
    world = await World().open()
    can_take_back(world)
    world.vendor.names = True
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, Message(title="x") if is_shown else NOTHING)
    await world.run(60)
    task = await world.task(task_id)
    reached = (await world.sets(task)).states[State.SENT]
    told = dict(world.vendor.taken_back)
    assert len(told) == len(reached)
    assert all(handle == f"name of {token}" for token, handle in told.items())
    await world.close()


@pytest.mark.evidence(
    "collapse ids are one database's own, kept by restarts and key changes, and every "
    "vendor's form of them keeps them apart",
)
async def test_an_overwrite_comes_under_the_collapse_id_of_what_it_replaces() -> None:
    """It carries the mark of the database, so that no other service's push is replaced."""
    world = await World().open()
    seen: list[tuple[int, set[str]]] = []
    deliver = world.channels.plain.deliver

    async def note(batch: Batch, gate: Gate) -> Sequence[Receipt]:
        seen.append((batch.task, {it.collapse for it in batch.deliveries}))
        return await deliver(batch, gate)

    world.channels.plain.deliver = note  # type: ignore[method-assign]
    task_id = await half_sent(world)
    await world.accepting.recall(world.app, task_id, Message(title="x"))
    await world.run(60)
    other = await world.push()
    await world.run(10)
    task, mark = await world.task(task_id), await world.store.collapse_mark()
    ids = [collapse_id(mark, APP, number) for number in (task.number, other.number)]
    made = {number: set[str]() for number, _ in seen}
    for number, texts in seen:
        made[number] |= texts
    assert made == {task.number: {ids[0]}, task.number + 1: {ids[0]}, other.number: {ids[1]}}
    await world.close()
