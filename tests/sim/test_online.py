"""The online leg beside the vendor's: fallbacks, waits and moves, on the manual clock."""

from __future__ import annotations

import msgspec
import pytest

from tests.sim.checkers import books_add_up, has_ended
from tests.sim.world import APP, World
from tocsin.domain.message import Message
from tocsin.domain.outcome import State


async def number_of(world: World, name: str) -> int:
    device = await world.store.device(APP, f"R-{name}")
    assert device is not None
    return device.number


async def test_a_connected_device_that_acks_gets_no_vendor_leg() -> None:
    world = await World().open()
    await world.people(10)
    world.sockets.online.add(await number_of(world, "u1"))
    world.hire()
    task = await world.push()
    await world.run(10)
    assert {item.token for item in world.vendor.log} == {f"token-u{n}" for n in range(2, 11)}
    books = await world.ledger(task)
    assert books.states["sent"] == 10
    assert books.legs == {"apns": 9, "online": 1}
    assert books.reached == 1
    assert await has_ended(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "a lost ack brings the vendor leg after `ack_s`",
    topic="Online",
    planted="no vendor job beside the online one",
)
async def test_a_lost_ack_brings_the_vendor_leg_after_ack_s() -> None:
    world = await World().open()
    await world.people(3)
    world.sockets.online.add(await number_of(world, "u1"))
    world.sockets.acks = False
    world.hire()
    started = world.clock.now()
    task = await world.push()
    await world.run(10)
    leg = next(item for item in world.vendor.log if item.token == "token-u1")
    assert leg.at >= started + world.app.ack_s
    books = await world.ledger(task)
    assert books.legs == {"apns": 3, "online": 1}
    assert books.states["sent"] == 3
    assert await books_add_up(world, task) == []
    await world.close()


@pytest.mark.evidence(
    "killed between push and ack: the vendor leg goes",
    topic="Online",
    planted="as above",
)
async def test_killed_between_push_and_ack_the_vendor_leg_still_goes() -> None:
    world = await World(lease_s=2).open()
    await world.people(3)
    world.sockets.online.add(await number_of(world, "u1"))
    world.sockets.acks = False
    place = world.hire()
    task = await world.push()
    await world.run(0.5)
    assert world.sockets.written
    await world.kill(place)
    world.hire()
    await world.run(15)
    assert "token-u1" in {item.token for item in world.vendor.log}
    assert await books_add_up(world, task) == []
    assert await has_ended(world, task) == []
    await world.close()


async def test_a_device_without_route_waits_and_expires_with_its_task() -> None:
    world = World()
    world.app = msgspec.structs.replace(world.app, ttl_s=30)
    await world.open()
    await world.people(4, with_token=False)
    world.hire()
    task = await world.push()
    await world.run(5)
    assert (await world.ledger(task)).states["open"] == 4
    late = await number_of(world, "u2")
    world.sockets.online.add(late)
    await world.sockets.push(task, -1, [late])
    await world.run(60, step_s=0.25)
    books = await world.ledger(task)
    assert (books.states["sent"], books.states["expired"]) == (1, 3)
    assert await has_ended(world, task) == []
    await world.close()


async def test_a_waiting_device_that_gets_a_token_is_sent_to() -> None:
    world = await World().open()
    await world.people(2, with_token=False)
    world.hire()
    task = await world.push()
    await world.run(1)
    await world.store.device(APP, "R-u1")
    await world.device("u1", "token-u1")
    await world.run(60, step_s=0.25)
    assert {item.token for item in world.vendor.log} == {"token-u1"}
    assert await books_add_up(world, task) == []
    await world.close()


async def test_a_device_that_changed_hands_is_shown_nothing() -> None:
    world = await World().open()
    names = await world.people(3)
    world.vendor.latency_s = 0.3
    task = await world.batch(names[:1])
    await world.device("u3", "token-u1", registration="R-u1")
    world.hire()
    await world.run(5)
    assert world.vendor.log == []
    sets = await world.sets(task)
    assert len(sets.states[State.UNREACHABLE]) + len(sets.states[State.OPEN]) <= 1
    assert await books_add_up(world, task) == []
    await world.close()


@pytest.mark.evidence("user switch: nothing to the wrong person")
async def test_moved_between_plan_and_dispatch_nothing_is_shown_to_the_wrong_person() -> None:
    world = await World().open()
    names = await world.people(3)
    world.sockets.online.add(await number_of(world, "u1"))
    world.sockets.acks = False
    world.hire()
    task = await world.batch(names[:1])
    await world.run(0.5)
    await world.device("u3", "token-u1", registration="R-u1")
    await world.run(10)
    assert world.vendor.log == []
    assert len((await world.sets(task)).states[State.UNREACHABLE]) == 1
    assert await books_add_up(world, task) == []
    assert await has_ended(world, task) == []
    await world.close()


async def test_a_device_known_by_both_names_is_planned_once_for_its_user() -> None:
    world = await World().open()
    await world.people(3)
    world.hire()
    task = await world.push()
    await world.run(5)
    books = await world.ledger(task)
    assert books.audience == 6
    assert books.without_device == {"reached as its UserID": 3}
    assert (books.with_devices, books.planned, len(world.vendor.log)) == (3, 3, 3)
    await world.close()


async def test_a_push_to_a_registration_id_reaches_its_device_whoever_is_logged_in() -> None:
    world = await World().open()
    await world.people(3)
    world.hire()
    task = await world.batch(["R-u2"])
    await world.run(5)
    assert [item.token for item in world.vendor.log] == ["token-u2"]
    assert (await world.ledger(task)).states["sent"] == 1
    await world.close()


@pytest.mark.evidence("5 the overwrite")
async def test_a_recall_overwrites_only_what_a_vendor_may_have_shown() -> None:
    world = await World().open()
    await world.people(4)
    world.sockets.online.add(await number_of(world, "u1"))
    world.hire()
    task = await world.push()
    await world.run(5)
    await world.accepting.recall(world.app, task.task_id, Message(title="gone"))
    await world.run(5)
    overwrite = (await world.store.tasks(APP))[0]
    served = {item.token for item in world.vendor.log if item.task_id == overwrite.task_id}
    assert served == {"token-u2", "token-u3", "token-u4"}
    assert await books_add_up(world, overwrite) == []
    await world.close()


async def test_only_the_newest_login_of_a_user_is_pushed_to() -> None:
    world = await World().open()
    await world.people(1)
    await world.run(1)
    await world.device("u1", "token-new", registration="R-new")
    world.hire()
    await world.push()
    await world.run(3)
    assert [item.token for item in world.vendor.log] == ["token-new"]
    await world.close()
