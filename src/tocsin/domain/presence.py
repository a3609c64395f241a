"""Whether somebody is online, as query_online_status says it (trtc.io/document/35477)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pyroaring import BitMap

from tocsin.domain.device import Device

Status = Literal["Online", "PushOnline", "Offline"]

PUSH_ONLINE_S = 7 * 86_400
"""How long a device without connection counts as one that pushes reach."""

_CONNECTED_ONLY = frozenset(("Web", "PC", "Mac"))
"""Platforms whose programs are gone when their connection is (only phones are woken)."""


def device_status(device: Device, connected: BitMap, now: float) -> Status:
    """The state of one device."""
    if device.number in connected:
        return "Online"
    is_reachable = device.is_registered and device.platform not in _CONNECTED_ONLY
    if is_reachable and now - device.seen_at < PUSH_ONLINE_S:
        return "PushOnline"
    return "Offline"


def account_status(statuses: Collection[Status]) -> Status:
    """The state of an account: that of the device which is best to reach."""
    if "Online" in statuses:
        return "Online"
    return "PushOnline" if "PushOnline" in statuses else "Offline"
