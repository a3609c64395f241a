"""Xiaomi over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from tests.unit.channels.kit import message
from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.xiaomi.server import Xiaomi, XiaomiSettings


async def test_a_list_is_taken_whole_in_one_request() -> None:
    async with scene("xiaomi") as it:
        assert await it.send(range(1000)) == {Outcome.ACCEPTED: 1000}
        entries = list(it.sandbox.log.entries())
        assert len({(entry.connection, entry.message_id) for entry in entries}) == 1
        assert {entry.correlation for entry in entries} == {""}
        assert {entry.topic for entry in entries} == {"news"}


async def test_everything_that_a_credential_can_set_is_in_order() -> None:
    settings = {
        "android_channel_id": "high_system",
        "template_id": "T100",
        "click": "page",
        "intent_uri": "intent:#Intent;component=com.example.app/.Order;end",
        "callback_url": "https://push.example/v3/offline_push_report/xiaomi",
    }
    full = message(
        title="😀" * 60,
        desc="中" * 900,
        ext='{"entity":"ü%&=;"}' * 20,
        android={"sound": "bell", "is_big_text": True},
    )
    full = msgspec.convert(msgspec.to_builtins(full), type(full))
    async with scene("xiaomi", XiaomiSettings(requires_template=True), settings=settings) as it:
        assert await it.send(range(3), message=full, ttl_s=10**7) == {Outcome.ACCEPTED: 3}
        assert {entry.correlation for entry in it.sandbox.log.entries()} == {"7-1-0011"}


async def test_a_repeat_replaces_what_is_shown() -> None:
    async with scene("xiaomi") as it:
        await it.send(range(2))
        await it.send(range(2))
        for number in range(2):
            device = it.sandbox.devices.known("xiaomi", Xiaomi.token(number))
            assert device is not None
            assert [shown.replaced for shown in device.shown.values()] == [1]


@pytest.mark.parametrize("how", ["named", "refused"])
async def test_dead_regids_among_many(how: Literal["named", "refused"]) -> None:
    async with scene("xiaomi", XiaomiSettings(bad_regids=how)) as it:
        for number in (7, 41):
            it.put(number, "dead")
        receipts = await it.receipts(range(60))
        dead = [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
        assert dead == [7, 41]


async def test_a_wrong_secret_and_a_wrong_package_stop_the_channel() -> None:
    for wrong in ({"app_secret": "another"}, {"package_name": "com.other"}):
        async with scene("xiaomi", settings=wrong) as it:
            assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}
            assert it.driver.room(it.sandbox.clock.now()) == 0


async def test_the_days_quota() -> None:
    async with scene("xiaomi", XiaomiSettings(public_per_day=4)) as it:
        assert await it.send(range(3)) == {Outcome.ACCEPTED: 3}
        # Xiaomi takes one more of these, and does not say which.
        assert await it.send(range(3)) == {Outcome.UNKNOWN: 3}
        assert await it.send(range(3)) == {Outcome.QUOTA_DAY: 3}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "10001"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "200002"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "26006"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "vendor_code", "code": "77777"}, Outcome.BAD_REQUEST),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ],
)
async def test_what_xiaomi_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("xiaomi") as it:
        await it.send(range(100, 101))
        it.fault(times=1, **rule)
        assert await it.send(range(20)) == {outcome: 20}
        assert await it.send(range(20, 40)) == {Outcome.ACCEPTED: 20}
