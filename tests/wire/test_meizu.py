"""Meizu over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.channels.kit import message
from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.meizu.server import Meizu, MeizuSettings


async def test_a_list_is_taken_whole_in_one_request() -> None:
    async with scene("meizu") as it:
        assert await it.send(range(100)) == {Outcome.ACCEPTED: 100}
        entries = list(it.sandbox.log.entries())
        assert len({(entry.connection, entry.message_id) for entry in entries}) == 1
        assert await it.send(range(100, 350)) == {Outcome.ACCEPTED: 250}
        assert len({entry.message_id for entry in it.sandbox.log.entries()}) == 4


async def test_everything_that_a_credential_can_set_is_in_order() -> None:
    callback = "https://push.example/v3/offline_push_report/meizu"
    settings = {
        "message_type": "private",
        "click": "page",
        "activity": "com.example.app.Order",
        "callback_url": callback,
    }
    full = message(title="😀" * 60, desc="中" * 900, ext='{"entity":"ü%&=;"}' * 20)
    async with scene("meizu", MeizuSettings(callbacks=(callback,)), settings=settings) as it:
        assert await it.send(range(3), message=full, ttl_s=10**7) == {Outcome.ACCEPTED: 3}
        entries = list(it.sandbox.log.entries())
        assert {(entry.correlation, entry.topic) for entry in entries} == {("7-1-0011", "private")}
    async with scene("meizu", settings=settings) as it:
        assert await it.send(range(3)) == {Outcome.BAD_REQUEST: 3}


async def test_a_repeat_replaces_what_is_shown() -> None:
    async with scene("meizu") as it:
        await it.send(range(2))
        await it.send(range(2))
        for number in range(2):
            device = it.sandbox.devices.known("meizu", Meizu.token(number))
            assert device is not None
            assert [shown.replaced for shown in device.shown.values()] == [1]


async def test_devices_that_are_not_taken_among_many() -> None:
    async with scene("meizu", MeizuSettings(switched_off=(Meizu.token(9),))) as it:
        it.put(7, "dead")
        it.put(8, "other_app")
        receipts = await it.receipts(range(60))
        odd = {it.device: it.code for it in receipts if it.outcome is not Outcome.ACCEPTED}
        assert odd == {7: "110002", 8: "110003", 9: "value 110010"}


async def test_a_wrong_secret_and_a_wrong_app_stop_the_channel() -> None:
    for wrong in ({"app_secret": "another"}, {"app_id": "1"}):
        async with scene("meizu", settings=wrong) as it:
            assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}
            assert it.driver.room(it.sandbox.clock.now()) == 0


async def test_a_devices_quota_of_the_day() -> None:
    async with scene("meizu", MeizuSettings(device_per_day=1)) as it:
        assert await it.send(range(2)) == {Outcome.ACCEPTED: 2}
        assert await it.send(range(3)) == {Outcome.QUOTA_DAY: 2, Outcome.ACCEPTED: 1}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "1003"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "110010"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "value 518"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "110009"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "vendor_code", "code": "77777"}, Outcome.BAD_REQUEST),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ],
)
async def test_what_meizu_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("meizu") as it:
        await it.send(range(100, 101))
        it.fault(times=1, **rule)
        assert await it.send(range(20)) == {outcome: 20}
        assert await it.send(range(20, 40)) == {Outcome.ACCEPTED: 20}
