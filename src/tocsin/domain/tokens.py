"""Stored tokens: gives each its one spelling, and each device the token that is its own.

Earlier releases kept a token as it was told, so one device may stand there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from tocsin.domain.device import (
    SIDE_TOKENS_CHANNEL,
    Device,
    Route,
    without_route,
    without_tokens,
)

Normal = Callable[[Route], Route | None]


class DevicesView(Struct, frozen=True):
    """What the store read for a decision about several devices."""

    devices: list[Device]
    """Those asked for, in rising order."""
    owners: list[Device]
    """The devices that own the routes asked for."""


class DevicesEdit(Struct):
    """Whole device rows that the store shall write."""

    devices: list[Device] = []
    result: object = None


class Normalised(Struct, frozen=True):
    """What normalising stored tokens came to, in devices."""

    devices: int = 0
    """Looked at."""
    respelled: int = 0
    """Had a token in another spelling than its vendor's one."""
    doubled: int = 0
    """Lost their route to a newer registration of the same token."""
    dropped: int = 0
    """Had a token that no vendor could take: it is gone."""

    def __add__(self, other: Normalised) -> Normalised:
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Normalised(*(a + b for a, b in zip(mine, theirs, strict=True)))


def normal_routes(devices: Sequence[Device], normal: Normal) -> list[Route]:
    """The routes whose owners a decision about these devices has to know."""
    found = [normal(device.route) for device in devices if device.route is not None]
    return [route for route in found if route is not None]


def normalise(normal: Normal) -> Callable[[DevicesView], DevicesEdit]:
    """A decision that writes the devices asked for with normal tokens, each token once.

    A token that several have goes to its newest registration. The epoch of a device whose token is
    only spelt otherwise stays: what is under way to it is still for it.
    """

    def decide(view: DevicesView) -> DevicesEdit:
        written: dict[int, Device] = {}
        respelled = dropped = 0
        for device in view.devices:
            changed = written[device.number] = _normalised(device, normal)
            has_lost = _tokens(changed) < _tokens(device)
            dropped += has_lost
            respelled += changed != device and not has_lost
        others = {it.number: it for it in view.owners if it.number not in written}
        lost = _of_older_registrations([*written.values(), *others.values()])
        written.update((device.number, without_tokens(device)) for device in lost)
        result = Normalised(len(view.devices), respelled, len(lost), dropped)
        return DevicesEdit([written[number] for number in sorted(written)], result)

    return decide


def _normalised(device: Device, normal: Normal) -> Device:
    if device.route is not None:
        route = normal(device.route)
        if route is None:
            device = without_route(device)
        elif route != device.route:
            device = msgspec.structs.replace(device, route=route)
    live = {name: _side_token(token, normal) for name, token in device.live_tokens.items()}
    return msgspec.structs.replace(
        device,
        voip_token=_side_token(device.voip_token, normal),
        live_tokens={name: token for name, token in live.items() if token},
    )


def _side_token(token: str, normal: Normal) -> str:
    """The VoIP or Live Activity token in its one spelling; empty where there is none."""
    route = normal(Route(SIDE_TOKENS_CHANNEL, 0, token)) if token else None
    return "" if route is None else route.token


def _tokens(device: Device) -> int:
    """How many tokens a device has."""
    return (device.route is not None) + bool(device.voip_token) + len(device.live_tokens)


def _of_older_registrations(devices: Sequence[Device]) -> list[Device]:
    """The devices whose token another one has registered later."""
    newest: dict[tuple[str, str], Device] = {}
    lost = []
    for device in sorted(devices, key=lambda it: (it.route_at, it.seen_at, it.number)):
        if device.route is not None:
            key = device.route.device_key()
            if key in newest:
                lost.append(newest[key])
            newest[key] = device
    return lost
