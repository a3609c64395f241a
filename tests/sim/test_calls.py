"""Calls and Live Activities: tokens of their own, and what follows when such a token dies."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tests.sim.checkers import books_add_up, has_ended
from tests.sim.vendor import PlainChannel
from tests.sim.world import APP, World
from tocsin.conversation import Batch
from tocsin.domain.account import Draft
from tocsin.domain.device import Device, DeviceEdit, DeviceView
from tocsin.domain.message import ApplePart, LiveActivity
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Gate

CALL = ApplePart(is_voip=True)
ACTIVITY = ApplePart(live_activity=LiveActivity(id="order", event="update"))
START = ApplePart(
    live_activity=LiveActivity(
        id="next", event="start", attributes_type="Order", attributes={"id": "next"}
    )
)


class Apple(PlainChannel):
    """Whose VoIP and Live Activity tokens have all died, or none."""

    dead: frozenset[str] = frozenset()
    ways: tuple[str, ...] = ()
    """Each token that was sent to, in order."""

    async def deliver(self, batch: Batch, gate: Gate) -> Sequence[Receipt]:
        receipts = []
        for it in batch.deliveries:
            is_call = it.message.apple.is_voip
            side = it.voip_token if is_call else it.live_token
            self.ways = (*self.ways, side or it.token)
            outcome = Outcome.ACCEPTED
            if side in self.dead:
                outcome = Outcome.OTHER_WAY if is_call else Outcome.UNDELIVERABLE
            gone = side if side in self.dead else ""
            receipts.append(
                Receipt(device=it.device, outcome=outcome, gone_token=gone, epoch=it.epoch)
            )
        return receipts


async def world_with(dead: str) -> tuple[World, Apple]:
    world = await World().open()
    apple = Apple(world.vendor, replaces=False)
    apple.dead = frozenset({dead})
    world.channels.plain = apple
    await world.people(3)
    for number in range(1, 4):
        await give(world, number)
    world.hire()
    return world, apple


async def give(world: World, number: int) -> None:
    """Tokens beside the route's."""
    device = await phone(world, number)

    def change(view: DeviceView) -> DeviceEdit:
        told = {
            "voip_token": f"voip-{number}",
            "live_tokens": {"order": f"live-{number}"},
            "live_start_tokens": {"Order": f"start-{number}", "Game": f"game-{number}"},
        }
        return DeviceEdit(Draft(view.accounts).edit([]), [msgspec.structs.replace(device, **told)])

    await world.store.update_device(APP, device.registration_id, "", None, change)


async def phone(world: World, number: int) -> Device:
    device = await world.store.device(APP, f"R-u{number}")
    assert device is not None
    return device


@pytest.mark.evidence(
    "a call whose VoIP token has died rings as an ordinary push",
    topic="Vendors",
    planted="the dead token kept; Apple's file not naming it",
)
async def test_a_call_whose_token_has_died_rings_as_an_ordinary_push() -> None:
    world, apple = await world_with("voip-2")
    task = await world.push(apple=CALL)
    await world.run(30)
    assert sorted(apple.ways[:3]) == ["voip-1", "voip-2", "voip-3"]
    assert apple.ways[3:] == ("token-u2",)
    assert (await world.ledger(task)).states["sent"] == 3
    dropped, kept = await phone(world, 2), await phone(world, 1)
    assert (dropped.voip_token, kept.voip_token) == ("", "voip-1")
    assert dropped.route is not None
    assert dropped.live_tokens == {"order": "live-2"}
    assert [*await books_add_up(world, task), *await has_ended(world, task)] == []
    await world.close()


@pytest.mark.evidence("a call whose VoIP token has died rings as an ordinary push")
async def test_a_live_activitys_dead_token_is_dropped_alone() -> None:
    world, _ = await world_with("live-2")
    task = await world.push(apple=ACTIVITY)
    await world.run(10)
    device = await phone(world, 2)
    assert (device.live_tokens, device.voip_token) == ({}, "voip-2")
    assert device.route is not None
    assert (await world.ledger(task)).states["failed"] == 1
    await world.close()


@pytest.mark.evidence("a Live Activity is started by the token of its type, which dies alone")
async def test_a_live_activity_starts_by_the_token_of_its_type_which_dies_alone() -> None:
    world, apple = await world_with("start-2")
    task = await world.push(apple=START)
    await world.run(10)
    assert sorted(apple.ways) == ["start-1", "start-2", "start-3"]
    device = await phone(world, 2)
    assert device.live_start_tokens == {"Game": "game-2"}
    assert (device.live_tokens, device.voip_token) == ({"order": "live-2"}, "voip-2")
    assert device.route is not None
    ledger = await world.ledger(task)
    assert (ledger.states["sent"], ledger.states["failed"]) == (2, 1)
    assert [*await books_add_up(world, task), *await has_ended(world, task)] == []
    await world.close()
