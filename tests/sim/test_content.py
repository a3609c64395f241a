"""What travels with a job: badges decided once, a device's language, the ids of a delivery."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from tests.sim.vendor import PlainChannel, Trouble
from tests.sim.world import APP, World
from tocsin.conversation import Batch
from tocsin.domain.account import Draft
from tocsin.domain.device import DeviceEdit, DeviceView
from tocsin.domain.message import ApplePart, Translation
from tocsin.domain.outcome import Receipt
from tocsin.domain.task import SendBody
from tocsin.ports import Gate


async def badge_of(world: World, name: str) -> int:
    device = await world.store.device(APP, f"R-{name}")
    assert device is not None
    return device.badge


class Listening(PlainChannel):
    """Notes badge, id and platform of every delivery that it is handed."""

    badges: set[int | None] = set()
    ids: tuple[str, ...] = ()
    platforms: frozenset[str] = frozenset()

    async def deliver(self, batch: Batch, gate: Gate) -> Sequence[Receipt]:
        self.badges = self.badges | {delivery.badge for delivery in batch.deliveries}
        self.ids = (*self.ids, *(delivery.correlation for delivery in batch.deliveries))
        self.platforms = self.platforms | {delivery.platform for delivery in batch.deliveries}
        return await super().deliver(batch, gate)


@pytest.mark.evidence(
    "a badge is decided once",
    topic="Channels and sandbox",
    planted="one more with each try",
)
async def test_a_badge_is_added_once_however_often_the_send_is_tried() -> None:
    world = await World(trouble=Trouble(server_error=0.6)).open()
    channel = world.channels.plain = Listening(world.vendor, replaces=True)
    await world.people(20)
    world.hire()
    await world.push(badge_add=3)
    await world.run(120, step_s=0.25)
    assert len(world.vendor.begun_at) > 20
    assert {await badge_of(world, f"u{n}") for n in range(1, 21)} == channel.badges == {3}
    channel.badges = set()
    await world.push(badge_add=4)
    await world.run(120, step_s=0.25)
    assert {await badge_of(world, f"u{n}") for n in range(1, 21)} == channel.badges == {7}
    await world.close()


@pytest.mark.evidence("set beats add", topic="Vendors", planted="added to what was set")
async def test_set_beats_add_and_a_push_alone_counts_nothing() -> None:
    world = await World().open()
    await world.people(1)
    world.hire()
    await world.push(badge_add=2, badge_set=9)
    await world.run(2)
    assert await badge_of(world, "u1") == 9
    await world.push()
    await world.run(2)
    assert await badge_of(world, "u1") == 9
    await world.push(apple=ApplePart(counts_badge=True))
    await world.run(2)
    assert await badge_of(world, "u1") == 10
    await world.close()


@pytest.mark.evidence(
    "a device gets its language",
    topic="Channels and sandbox",
    planted="the message's own text for all; subtags not dropped; the script not looked at;"
    " the region not looked at",
)
async def test_devices_of_one_language_travel_together() -> None:
    world = await World().open()
    await world.people(10)
    task = await world.push(translations=(Translation("de", "Hallo"), Translation("en", "Hello")))
    world.channels.plain.room = lambda now: 0  # type: ignore[method-assign]
    world.hire()
    await world.run(1)
    bodies = [job.body for job in (await world.books(task)).jobs]
    assert [body.language for body in bodies if isinstance(body, SendBody)] == [1]
    assert task.message.translated(1).title == "Hello"
    await world.close()


async def test_a_device_that_comes_by_a_token_later_is_counted_for_its_badge_too() -> None:
    world = await World().open()
    await world.people(1, with_token=False)
    world.hire()
    await world.push(badge_add=2)
    await world.run(1)
    await world.device("u1", "token-u1")
    await world.run(60, step_s=0.25)
    assert [item.token for item in world.vendor.log] == ["token-u1"]
    assert await badge_of(world, "u1") == 2
    await world.close()


@pytest.mark.evidence("an iPhone behind FCM gets Apple's part, and a repeat replaces there too")
async def test_a_delivery_says_what_its_device_is() -> None:
    world = await World().open()
    channel = world.channels.plain = Listening(world.vendor, replaces=True)
    await world.people(2)
    device = await world.store.device(APP, "R-u1")
    assert device is not None
    phone = msgspec.structs.replace(device, platform="iPhone")

    def change(view: DeviceView) -> DeviceEdit:
        return DeviceEdit(Draft(view.accounts).edit([]), [phone])

    await world.store.update_device(APP, "R-u1", "", None, change)
    world.hire()
    await world.push()
    await world.run(2)
    assert channel.platforms == {"iPhone", ""}
    await world.close()


@pytest.mark.evidence("an id is made where the vendor is told one")
async def test_an_id_is_the_same_in_every_attempt_and_made_only_where_it_is_told() -> None:
    world = await World(trouble=Trouble(server_error=0.6)).open()
    channel = world.channels.plain = Listening(world.vendor, replaces=True)
    await world.people(20)
    world.hire()
    await world.push()
    await world.run(120, step_s=0.25)
    assert len(channel.ids) > len(set(channel.ids)) == 20
    channel.ids, channel.names_deliveries = (), False
    await world.push()
    await world.run(120, step_s=0.25)
    assert set(channel.ids) == {""}
    await world.close()
