"""Reach: which devices a page of an audience leads to, and why an account leads to none.

`reach_of` reads it off device rows, and is what `DeviceIndex.reach` means: a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.device import Device


class Page(Struct, frozen=True, kw_only=True):
    """Accounts of an audience that are planned together."""

    accounts: BitMap
    live: BitMap
    """Those of them that exist."""
    audience: BitMap
    """The whole of it: a device whose user is in it is reached as its user."""
    policy: str
    """`all` devices of an account, or the one with the `last` login."""
    only: BitMap | None = None
    """For an overwrite: the devices that the recalled task may have reached."""


class Reach(Struct, frozen=True, kw_only=True):
    """What a page of accounts leads to. Each account is in one set, each device once."""

    deleted: BitMap
    as_user: BitMap
    """Accounts of devices whose user is in the audience."""
    without: BitMap
    """Accounts without a device, or without one of `Page.only`."""
    with_devices: BitMap
    devices: BitMap
    languages: Mapping[str, BitMap]
    """The devices by the language that they have told; none is empty."""
    credentials: Mapping[int, BitMap]
    """Devices with a token by its certificate ID; none is empty."""
    position: int = 0
    """Of the device changes: what changed later may not be in it. 0: unknown."""


def reach_of(page: Page, devices: Iterable[Device]) -> Reach:
    """The reach of a page by the rows of all devices that its accounts have."""
    by_user: dict[int, list[Device]] = {}
    by_registration: dict[int, Device] = {}
    for device in devices:
        if device.user:
            by_user.setdefault(device.user, []).append(device)
        by_registration[device.account] = device
    as_user, without, with_devices = BitMap(), BitMap(), BitMap()
    reached: list[Device] = []
    for account in page.live:
        own = by_registration.get(account)
        if own is not None and own.user and own.user in page.audience:
            as_user.add(account)
            continue
        owned = [own] if own is not None else by_user.get(account, [])
        chosen = choose_devices(owned, page.policy)
        if page.only is not None:
            chosen = [device for device in chosen if device.number in page.only]
        (with_devices if chosen else without).add(account)
        reached.extend(chosen)
    languages: dict[str, BitMap] = {}
    credentials: dict[int, BitMap] = {}
    for device in reached:
        languages.setdefault(device.language, BitMap()).add(device.number)
        if device.route is not None:
            credentials.setdefault(device.route.credential, BitMap()).add(device.number)
    return Reach(
        deleted=page.accounts - page.live,
        as_user=as_user,
        without=without,
        with_devices=with_devices,
        devices=BitMap([device.number for device in reached]),
        languages=languages,
        credentials=credentials,
    )


def choose_devices(devices: Sequence[Device], policy: str) -> Sequence[Device]:
    """Which of an account's devices a push goes to: all, or the newest login."""
    if len(devices) == 1 and devices[0].is_registered:
        return devices
    registered = [device for device in devices if device.is_registered]
    if policy == "all" or len(registered) < 2:
        return registered
    return [max(registered, key=lambda device: (device.login_at, device.number))]
