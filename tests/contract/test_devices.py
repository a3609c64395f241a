"""Devices: who they belong to, and that a token has one owner."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from pyroaring import BitMap

from tests.contract.rows import NOW, add_accounts, add_device, peek_device
from tocsin.domain.account import Account, AccountsEdit, delete_accounts
from tocsin.domain.device import (
    DeviceEdit,
    DeviceView,
    Registration,
    Route,
    register,
    unregister,
)
from tocsin.domain.device_index import DeviceChanges, indexed
from tocsin.domain.tokens import DevicesEdit, DevicesView
from tocsin.store import Store

ROUTE = Route("apns", 1, "t1")


async def test_a_device_is_registered_with_its_account(store: Store) -> None:
    device = await add_device(store, 1, "phone", token="t1")
    assert (device.number, device.account, device.route) == (1, 1, ROUTE)
    assert await store.device(1, "phone") == device
    assert await store.accounts(1, ["phone"]) == [Account(1, "phone", 1)]
    assert await store.device(1, "pad") is None
    assert len(await store.changes(1, 0, 9)) == 1


async def test_devices_are_found_by_number(store: Store) -> None:
    made = [await add_device(store, 1, name) for name in ("a", "b", "c")]
    found = await store.devices(1, BitMap([1, 3, 7]))
    assert list(found.items()) == [(1, made[0]), (3, made[2])]
    assert await store.devices(1, BitMap()) == {}


async def test_devices_are_found_by_their_tokens(store: Store) -> None:
    phone = await add_device(store, 1, "phone", token="t1")
    asked = [Route("apns", 9, "t2"), Route("apns", 9, "t1"), Route("fcm", 1, "t1")]
    assert await store.token_owners(1, asked) == [None, phone, None]
    many = [Route("apns", 1, f"x{number}") for number in range(300)]
    assert await store.token_owners(1, [*many, ROUTE]) == [None] * 300 + [phone]
    assert await store.token_owners(1, []) == []


async def test_devices_of_an_account_are_those_bound_to_it_or_registered_under_it(
    store: Store,
) -> None:
    await add_accounts(store, 1, "ann", "bob")
    phone = await add_device(store, 1, "phone", user="ann")
    pad = await add_device(store, 1, "pad", user="ann")
    other = await add_device(store, 1, "other", user="bob")
    ann, bob = 1, 2
    assert await store.devices_of(1, BitMap([ann])) == [phone, pad]
    assert await store.devices_of(1, BitMap([phone.account, ann])) == [phone, pad]
    assert await store.devices_of(1, BitMap([bob, other.account])) == [other]
    assert await store.devices_of(1, BitMap([99])) == []


async def test_another_login_moves_the_device(store: Store) -> None:
    await add_device(store, 1, "phone", user="ann")
    moved = await add_device(store, 1, "phone", user="bob")
    ann, bob = await store.accounts(1, ["ann", "bob"])
    assert ann is not None
    assert bob is not None
    assert await store.devices_of(1, BitMap([ann.number])) == []
    assert await store.devices_of(1, BitMap([bob.number])) == [moved]


async def test_a_view_shows_the_device_its_accounts_and_the_owner_of_the_token(
    store: Store,
) -> None:
    await add_accounts(store, 1, "ann")
    phone = await add_device(store, 1, "phone", user="ann", token="t1")
    pad = await add_device(store, 1, "pad", token="t2")
    view = await peek_device(store, 1, "pad", "ann", ROUTE)
    assert view.device == pad
    assert view.owners == [phone]
    assert set(view.accounts.accounts) == {"pad", "ann"}
    assert (view.next_device, view.accounts.next_account) == (3, 4)
    view = await peek_device(store, 1, "fresh", "", Route("fcm", 1, "t1"))
    assert (view.device, view.owners, dict(view.accounts.accounts)) == (None, [], {})
    assert (await peek_device(store, 1, "pad")).owners == []


@pytest.mark.evidence(
    "a token belongs to one device, and a device to who has its secret",
    topic="Books",
    planted="the former owner kept its token; the secret not compared",
)
async def test_registering_a_token_takes_it_from_whoever_had_it(store: Store) -> None:
    before = await add_device(store, 1, "phone", token="t1")
    pad = await add_device(store, 1, "pad", token="t1")
    phone = await store.device(1, "phone")
    assert phone is not None
    assert (phone.route, phone.epoch) == (None, before.epoch + 1)
    assert pad.route == ROUTE
    assert (await peek_device(store, 1, "x", route=ROUTE)).owners == [pad]


async def test_a_known_device_takes_the_token_of_another_known_one(store: Store) -> None:
    await add_device(store, 1, "phone", token="t1")
    await add_device(store, 1, "pad", token="t2")
    for taker, other in (("pad", "phone"), ("phone", "pad")):
        taken = await add_device(store, 1, taker, token="t1")
        robbed = await store.device(1, other)
        assert taken.route == ROUTE
        assert robbed is not None
        assert robbed.route is None
        assert (await peek_device(store, 1, "x", route=ROUTE)).owners == [taken]


@pytest.mark.evidence(
    "a token is taken from its owner in any environment, with VoIP and Live Activity tokens",
    topic="Books",
    planted="owners looked for in the told environment only; the VoIP token left behind",
)
async def test_a_token_is_taken_from_whoever_had_it_in_another_environment(store: Store) -> None:
    """Whoever tells another environment is no other device: one phone would get both's pushes."""
    phone = await add_device(store, 1, "phone", token="t1")
    other = Route("apns", 2, "t1", "development")
    assert (await peek_device(store, 1, "x", route=other)).owners == [phone]
    ask = Registration(registration_id="pad", fresh_secret="s", route=other)
    await store.update_device(1, "pad", "", other, register(ask, NOW))
    robbed = await store.device(1, "phone")
    assert robbed is not None
    assert robbed.route is None
    assert await store.token_owners(1, [ROUTE]) == [None]


async def test_an_identity_stands_for_a_token_that_has_one(store: Store) -> None:
    first = Route("webpush", 1, "keys of May", identity="https://push.example.com/1")
    second = replace(first, token="keys of June")
    for name, route in (("old", first), ("new", second)):
        ask = Registration(registration_id=name, fresh_secret="s", route=route)
        await store.update_device(1, name, "", route, register(ask, NOW))
    old, new = await store.device(1, "old"), await store.device(1, "new")
    assert old is not None
    assert new is not None
    assert (old.route, new.route) == (None, second)
    assert await store.token_owners(1, [first]) == [new]


async def test_several_devices_change_in_one_step(store: Store) -> None:
    phone = await add_device(store, 1, "phone", token="t1")
    pad = await add_device(store, 1, "pad", token="t2")
    await add_device(store, 1, "watch", token="t3")
    asked = [phone.number, pad.number, 99]
    shown: list[DevicesView] = []

    def swap(view: DevicesView) -> DevicesEdit:
        shown.append(view)
        one, two = view.devices
        changed = [replace(one, route=two.route), replace(two, route=one.route)]
        return DevicesEdit(changed, "done")

    assert await store.update_devices(1, asked, [ROUTE], swap) == "done"
    assert (shown[-1].devices, shown[-1].owners) == ([phone, pad], [phone])
    routes = [ROUTE, Route("apns", 1, "t2")]
    assert await store.token_owners(1, routes) == [
        replace(pad, route=ROUTE),
        replace(phone, route=pad.route),
    ]
    with pytest.raises(AssertionError):
        await store.update_devices(1, [2], [], lambda view: _stolen(view, Route("apns", 1, "t3")))
    assert (await store.token_owners(1, [ROUTE]))[0] == replace(pad, route=ROUTE)


async def test_what_is_written_now_is_checked(store: Store) -> None:
    await add_device(store, 1, "phone", token="T1")
    await add_device(store, 1, "pad")
    assert await store.unchecked(1) == 0
    assert await store.unchecked_devices(1, 9) == []


def _stolen(view: DevicesView, route: Route) -> DevicesEdit:
    return DevicesEdit([replace(device, route=route) for device in view.devices])


async def test_two_owners_of_a_token_are_refused_and_nothing_is_written(store: Store) -> None:
    phone = await add_device(store, 1, "phone", token="t1")
    pad = await add_device(store, 1, "pad", token="t2")

    def steal(view: DeviceView) -> DeviceEdit:
        born = Account(view.accounts.next_account, "new")
        thief = replace(pad, route=ROUTE)
        return DeviceEdit(AccountsEdit(accounts=[born]), [thief])

    with pytest.raises(AssertionError):
        await store.update_device(1, "pad", "", ROUTE, steal)
    assert await store.device(1, "pad") == pad
    assert await store.device(1, "phone") == phone
    assert await store.accounts(1, ["new"]) == [None]
    assert (await peek_device(store, 1, "x", route=ROUTE)).owners == [phone]


async def test_an_unregistered_device_stays_and_has_no_route(store: Store) -> None:
    await add_device(store, 1, "phone", user="ann", token="t1")
    gone = await store.update_device(1, "phone", "", None, unregister("s", NOW + 1))
    assert await store.device(1, "phone") == gone
    assert gone.route is None
    assert (await peek_device(store, 1, "x", route=ROUTE)).owners == []


async def test_devices_are_walked_in_rising_order(store: Store) -> None:
    made = [await add_device(store, 1, name) for name in ("a", "b", "c")]
    await add_device(store, 2, "theirs")
    assert await store.scan_devices(1, 0, 2) == made[:2]
    assert await store.scan_devices(1, 2, 9) == made[2:]
    assert await store.scan_devices(1, 3, 9) == []


# changes of devices


async def changed(store: Store, after: int) -> tuple[list[int], list[int]]:
    """Numbers of the devices that changed after a position, and of those that are gone."""
    changes = await store.device_changes(1, after, 99)
    return sorted(device.number for device in changes.devices), sorted(changes.gone)


async def test_each_change_of_a_device_takes_the_next_position(store: Store) -> None:
    assert await store.device_changes(1, 0, 9) == DeviceChanges(0, [], [])
    phone = await add_device(store, 1, "phone", token="t1")
    first = await store.last_device_change(1)
    pad = await add_device(store, 1, "pad")
    assert await changed(store, first) == ([pad.number], [])
    await add_device(store, 1, "phone", token="t3")
    assert await changed(store, first) == ([phone.number, pad.number], [])
    page = await store.device_changes(1, 0, 1)
    assert [device.number for device in page.devices] == [pad.number]
    assert [it.number for it in (await store.device_changes(1, page.position, 9)).devices] == [1]
    assert await store.last_device_change(2) == 0


async def test_when_a_device_was_seen_and_its_badge_are_no_changes(store: Store) -> None:
    phone = await add_device(store, 1, "phone", token="t1")
    position = await store.last_device_change(1)

    def seen(view: DevicesView) -> DevicesEdit:
        return DevicesEdit([replace(it, seen_at=it.seen_at + 5, badge=7) for it in view.devices])

    await store.update_devices(1, [phone.number], [], seen)
    assert await store.last_device_change(1) == position
    members = {"language": "de", "is_notify_on": False, "voip_token": "v", "login_at": 9.0}
    for name, value in members.items():

        def told(view: DevicesView, name: str = name, value: object = value) -> DevicesEdit:
            return DevicesEdit([replace(it, **{name: value}) for it in view.devices])

        await store.update_devices(1, [phone.number], [], told)
        assert await store.last_device_change(1) > position, name
        position = await store.last_device_change(1)


async def test_a_device_that_is_gone_stays_in_the_changes(store: Store) -> None:
    await add_accounts(store, 1, "ann")
    phone = await add_device(store, 1, "phone", user="ann")
    position = await store.last_device_change(1)
    await store.update_accounts(1, ["ann"], [], delete_accounts(["ann"]))
    assert await changed(store, position) == ([], [phone.number])
    assert await changed(store, 0) == ([], [phone.number])


async def test_what_an_index_holds_is_what_the_row_says(store: Store) -> None:
    await add_accounts(store, 1, "ann")
    made = [
        await add_device(store, 1, "phone", user="ann", token="t1"),
        await add_device(store, 1, "pad"),
    ]
    expected = [indexed(device) for device in made]
    assert await store.scan_indexed_devices(1, 0, 9) == expected
    assert await store.scan_indexed_devices(1, 1, 9) == expected[1:]
    assert list((await store.device_changes(1, 0, 9)).devices) == expected
