"""OPPO over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pytest

from tests.unit.channels.kit import OpenGate, delivery, message
from tests.wire.scene import scene
from tocsin.conversation import Batch
from tocsin.domain.message import AndroidPart
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.oppo.server import (
    AUTH_PATH,
    BATCH_PATH,
    BROADCAST_PATH,
    SAVE_PATH,
    UNICAST_PATH,
    Oppo,
    OppoSettings,
)

PACELESS = OppoSettings(targets_per_s=None)
IM = message(android=AndroidPart(oppo_category="IM"))


async def test_lists_and_single_ones_reach_everybody_once() -> None:
    callback = {"callback_url": "https://push.example/oppo"}
    async with scene("oppo", PACELESS, settings=callback) as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        assert await it.send(range(2000, 2001)) == {Outcome.ACCEPTED: 1}
        assert await it.send(range(3000, 4000), task=2, message=IM) == {Outcome.ACCEPTED: 1000}
        entries = list(it.sandbox.log.entries())
        assert len(entries) == 2002
        found = Counter((entry.push_type, entry.correlation, entry.topic) for entry in entries)
        assert found == {
            ("public", "7-1-0011", "messages"): 1002,
            ("private", "7-2-0011", "messages"): 1000,
        }
        assert not it.sandbox.log.duplicates()


async def test_the_sandbox_is_shown_what_was_said() -> None:
    big = AndroidPart(oppo_category="IM", is_big_text=True, oppo_notify_level=16)
    told = message(title="标题 & é", desc="x" * 200, ext='{"a":"b"}', android=big)
    async with scene("oppo", PACELESS) as it:
        assert await it.send([1], message=told) == {Outcome.ACCEPTED: 1}
        device = it.sandbox.devices.known("oppo", Oppo.token(1))
        assert device is not None
        (shown,) = device.shown.values()
        assert (shown.title, shown.body) == ("标题 & é", "x" * 125 + "...")


@pytest.mark.parametrize("parts", [{}, {"message": IM}], ids=["public", "private"])
async def test_each_device_has_its_own_fate(parts: dict[str, Any]) -> None:
    async with scene("oppo", PACELESS) as it:
        it.put(1, "dead")
        it.put(2, "other_app")
        it.put(3, "off")
        receipts = await it.receipts(range(5), **parts)
        assert [(receipt.outcome, receipt.code) for receipt in receipts] == [
            (Outcome.ACCEPTED, "0"),
            (Outcome.TOKEN_DEAD, "10000"),
            (Outcome.TOKEN_DEAD, "10001"),
            (Outcome.ACCEPTED, "0"),
            (Outcome.ACCEPTED, "0"),
        ]
        (alone,) = await it.receipts([1], **parts)
        assert (alone.outcome, alone.code) == (Outcome.TOKEN_MISMATCH, "10000")


async def test_a_stale_token_is_renewed_and_the_list_sent_once() -> None:
    async with scene("oppo", PACELESS) as it:
        await it.send(range(2))
        for task, parts in ((2, {}), (2, {}), (3, {"message": IM})):
            assert it.sandbox.expire_bearers() == 1
            numbers = range(task * 100, task * 100 + 20)
            assert await it.send(numbers, task=task, **parts) == {Outcome.ACCEPTED: 20}


@pytest.mark.parametrize("code", ["14", "16", "19", "28"])
async def test_a_wrong_signature_is_a_wrong_credential(code: str) -> None:
    async with scene("oppo", PACELESS) as it:
        it.fault(path=AUTH_PATH, kind="vendor_code", code=code)
        assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}


async def test_over_the_days_quota_waits_for_midnight_and_the_private_class_does_not() -> None:
    async with scene("oppo", OppoSettings(public_per_day=4)) as it:
        assert await it.send(range(4)) == {Outcome.ACCEPTED: 4}
        receipts = await it.receipts(range(4), task=2)
        assert {receipt.code for receipt in receipts} == {"33"}
        assert all(0 < (receipt.retry_after_s or 0) <= 86_400 for receipt in receipts)
        assert await it.send(range(4), task=3, message=IM) == {Outcome.ACCEPTED: 4}


async def test_the_private_class_needs_its_template() -> None:
    async with scene("oppo", PACELESS, settings={"template_id": ""}) as it:
        assert {it.code for it in await it.receipts(range(3), message=IM)} == {"54"}


@pytest.mark.evidence(
    "a repeat in doubt is shown once",
    topic="Vendors",
    planted="no `app_message_id`",
)
async def test_a_repeat_in_doubt_is_shown_once() -> None:
    async with scene("oppo", PACELESS) as it:
        for path, numbers in ((UNICAST_PATH, [1]), (BATCH_PATH, [2, 3])):
            it.fault(path=path, times=1, kind="reset_after")
            assert set(await it.send(numbers, message=IM)) == {Outcome.UNKNOWN}
            now = it.sandbox.clock.now()
            given = tuple(
                delivery(n, token=Oppo.token(n), message=IM, expires_at=now + 60) for n in numbers
            )
            again = Batch(app=7, task=1, job=9, deliveries=given, correlation="7-1-0011")
            receipts = await it.driver.deliver(again, OpenGate())
            assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}
        taken = Counter(entry.token for entry in it.sandbox.log.entries(accepted=True))
        assert taken == {Oppo.token(n): 1 for n in (1, 2, 3)}


@pytest.mark.parametrize("how", ["answered", "refused"])
async def test_what_another_process_saved_is_sent_too(how: Literal["answered", "refused"]) -> None:
    async with scene("oppo", OppoSettings(repeated_save=how)) as it:
        it.fault(path=SAVE_PATH, times=1, kind="truncated")
        assert await it.send(range(3)) == {Outcome.SERVER_ERROR: 3}
        assert await it.send(range(3)) == {Outcome.ACCEPTED: 3}


WORST = [
    ({"kind": "vendor_code", "code": "13"}, Outcome.THROTTLED),
    ({"kind": "vendor_code", "code": "-2"}, Outcome.THROTTLED),
    ({"kind": "vendor_code", "code": "-1"}, Outcome.SERVER_ERROR),
    ({"kind": "vendor_code", "code": "59"}, Outcome.NOT_PERMITTED),
    ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ({"kind": "html_page"}, Outcome.SERVER_ERROR),
    ({"kind": "status", "status": 500}, Outcome.SERVER_ERROR),
    ({"kind": "truncated"}, Outcome.UNKNOWN),
    ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
    ({"kind": "slow_body", "delay_s": 0.05}, Outcome.ACCEPTED),
    ({"kind": "reset_before"}, Outcome.UNKNOWN),
    ({"kind": "reset_after"}, Outcome.UNKNOWN),
]


@pytest.mark.parametrize(("rule", "outcome"), WORST)
@pytest.mark.parametrize(
    ("path", "parts"), [(BROADCAST_PATH, {}), (BATCH_PATH, {"message": IM})], ids=["list", "call"]
)
async def test_oppo_at_its_worst(
    path: str, parts: dict[str, Any], rule: dict[str, Any], outcome: Outcome
) -> None:
    async with scene("oppo", PACELESS) as it:
        await it.send(range(2), **parts)
        it.fault(path=path, times=1, **rule)
        assert await it.send(range(10, 15), **parts) == {outcome: 5}


@pytest.mark.parametrize("code", ["10000", "10001"])
async def test_a_code_of_devices_is_the_first_ones_alone(code: str) -> None:
    async with scene("oppo", PACELESS) as it:
        for task, path, parts in ((1, BROADCAST_PATH, {}), (2, BATCH_PATH, {"message": IM})):
            it.fault(path=path, times=1, kind="vendor_code", code=code)
            receipts = await it.receipts(range(5), task=task, **parts)
            fates = [receipt.outcome for receipt in receipts]
            assert fates == [Outcome.TOKEN_DEAD] + [Outcome.ACCEPTED] * 4


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "truncated"}, Outcome.SERVER_ERROR),
        ({"kind": "reset_after"}, Outcome.UNSENT),
        ({"kind": "vendor_code", "code": "40"}, Outcome.BAD_REQUEST),
    ],
)
async def test_what_cannot_be_saved_reaches_nobody(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("oppo", PACELESS) as it:
        it.fault(path=SAVE_PATH, times=1, **rule)
        assert await it.send(range(5)) == {outcome: 5}
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}


async def test_forbidden_words_are_told_apart_from_other_wrong_arguments() -> None:
    async with scene("oppo", PACELESS) as it:
        sensitive = message(title="a sensitive-word")
        assert await it.send(range(3), message=sensitive) == {Outcome.BLOCKED_CONTENT: 3}
        unknown = message(android=AndroidPart(oppo_channel_id="unknown"))
        assert await it.send(range(3), task=2, message=unknown) == {Outcome.BAD_REQUEST: 3}
