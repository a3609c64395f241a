"""Online, PushOnline, Offline."""

from __future__ import annotations

import pytest
from pyroaring import BitMap

from tocsin.domain.device import Device
from tocsin.domain.presence import PUSH_ONLINE_S, Status, account_status, device_status


def device(**more: object) -> Device:
    said = {"number": 7, "registration_id": "R", "account": 1, "seen_at": 0.0, **more}
    return Device(**said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "is_connected", "now", "status"),
    [
        (device(), True, PUSH_ONLINE_S * 2, "Online"),
        (device(platform="Web"), True, 0, "Online"),
        (device(platform="iPhone"), False, PUSH_ONLINE_S - 1, "PushOnline"),
        (device(platform="iPhone"), False, PUSH_ONLINE_S, "Offline"),
        (device(), False, 0, "PushOnline"),
        (device(platform="Web"), False, 0, "Offline"),
        (device(is_registered=False), False, 0, "Offline"),
    ],
)
def test_a_device(known: Device, is_connected: bool, now: float, status: Status) -> None:
    assert device_status(known, BitMap([7] if is_connected else []), now) == status


def test_an_account_is_as_reachable_as_its_best_device() -> None:
    assert account_status(["Offline", "Online", "PushOnline"]) == "Online"
    assert account_status(["Offline", "PushOnline"]) == "PushOnline"
    assert account_status(["Offline"]) == "Offline"
    assert account_status([]) == "Offline"
