"""The device book and what screens show."""

from __future__ import annotations

from tocsin.clock import ManualClock
from tocsin.sandbox.devices import SHOWN_MAX, DeviceBook, Shown
from tocsin.sandbox.vendors.apns.server import Apns
from tocsin.sandbox.vendors.fcm.server import Fcm


def shown(key: str, body: str = "") -> Shown:
    return Shown(key=key, title="t", body=body, at=0.0, message_id=f"id-{key}")


def test_an_unknown_token_is_live_and_remembered(clock: ManualClock) -> None:
    book = DeviceBook(clock)
    device = book.look("apns", "a")
    assert device is not None
    assert device.state == "live"
    assert book.known("apns", "a") is device
    assert book.known("fcm", "a") is None


def test_a_token_that_ends_in_zeros_is_nobodys_and_a_small_number_somebodys(
    clock: ManualClock,
) -> None:
    book = DeviceBook(clock)
    for nobodys in ("0" * 64, "0" * 43 + "=", "IQAAAACy0" + "0" * 64):
        assert book.look("apns", nobodys) is None
    assert book.look("apns", f"{1:064x}") is not None


def test_the_book_is_bounded_and_still_answers(clock: ManualClock) -> None:
    book = DeviceBook(clock, devices_max=2)
    assert all(book.look("apns", token) for token in "abc")
    assert len(book) == 2


def test_the_newest_of_a_key_is_shown_last_and_the_oldest_goes(clock: ManualClock) -> None:
    book = DeviceBook(clock)
    device = book.put("apns", "a")
    for number in range(SHOWN_MAX + 1):
        book.show(device, shown(str(number)), None)
    assert len(device.shown) == SHOWN_MAX
    assert "0" not in device.shown
    book.show(device, shown("1", "new"), None)
    assert list(device.shown)[-1] == "1"
    assert device.shown["1"].replaced == 1


async def test_a_device_that_is_off_keeps_a_bounded_newest(clock: ManualClock) -> None:
    book = DeviceBook(clock)
    device = book.put("apns", "a", "off")
    for number in range(SHOWN_MAX + 5):
        book.show(device, shown(str(number)), None)
    book.show(device, shown("9", "newer"), None)
    assert len(device.held) == SHOWN_MAX
    book.put("apns", "a", "live")
    assert "4" not in device.shown
    assert device.shown["9"].body == "newer"
    assert device.held == []


def test_forgetting(clock: ManualClock) -> None:
    book = DeviceBook(clock, knows_all=True)
    book.put("apns", "a")
    assert book.forget("apns", "a")
    assert not book.forget("apns", "a")
    assert book.look("apns", "a") is None


def test_made_up_tokens_are_distinct_and_repeat() -> None:
    assert Apns.token(1) == Apns.token(1)
    assert len({Apns.token(number) for number in range(100)}) == 100
    assert len({Fcm.token(number) for number in range(100)}) == 100
