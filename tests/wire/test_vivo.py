"""vivo over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.vivo.server import AUTH_PATH, LIST_PATH, SAVE_PATH, VivoSettings

PACELESS = VivoSettings(targets_per_s=None)


async def test_lists_and_single_ones_reach_everybody_once() -> None:
    async with scene("vivo", PACELESS) as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        assert await it.send(range(2000, 2001)) == {Outcome.ACCEPTED: 1}
        entries = list(it.sandbox.log.entries())
        assert len(entries) == 1002
        assert {entry.correlation for entry in entries} == {"7-1-0011"}
        assert not it.sandbox.log.duplicates()


async def test_each_device_has_its_own_fate() -> None:
    async with scene("vivo", PACELESS) as it:
        it.put(1, "dead")
        it.put(2, "other_app")
        it.put(3, "off")
        receipts = await it.receipts(range(5))
        assert [(receipt.outcome, receipt.code) for receipt in receipts] == [
            (Outcome.ACCEPTED, "0"),
            (Outcome.TOKEN_DEAD, "invalidUser 2"),
            (Outcome.TOKEN_DEAD, "invalidUser 1"),
            (Outcome.ACCEPTED, "0"),
            (Outcome.ACCEPTED, "0"),
        ]
        (alone,) = await it.receipts([1])
        assert (alone.outcome, alone.code) == (Outcome.TOKEN_MISMATCH, "10302")


async def test_a_stale_token_is_renewed_and_the_list_sent_once() -> None:
    async with scene("vivo", PACELESS) as it:
        await it.send(range(2))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20), task=2) == {Outcome.ACCEPTED: 20}
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20), task=2) == {Outcome.ACCEPTED: 20}


async def test_a_wrong_signature_is_a_wrong_credential() -> None:
    async with scene("vivo", PACELESS) as it:
        it.fault(path=AUTH_PATH, kind="vendor_code", code="10207")
        assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}


async def test_over_the_days_quota_waits_for_midnight() -> None:
    async with scene("vivo", VivoSettings(system_per_day=4)) as it:
        assert await it.send(range(4)) == {Outcome.ACCEPTED: 4}
        receipts = await it.receipts(range(4))
        assert {receipt.code for receipt in receipts} == {"10252"}
        assert all(0 < (receipt.retry_after_s or 0) <= 86_400 for receipt in receipts)


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "10072"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "10045"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ],
)
async def test_vivo_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("vivo", PACELESS) as it:
        await it.send(range(2))
        it.fault(path=LIST_PATH, times=1, **rule)
        assert await it.send(range(10, 15)) == {outcome: 5}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "truncated"}, Outcome.SERVER_ERROR),
        ({"kind": "reset_after"}, Outcome.UNSENT),
        ({"kind": "vendor_code", "code": "10103"}, Outcome.BLOCKED_CONTENT),
    ],
)
async def test_what_cannot_be_saved_reaches_nobody(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("vivo", PACELESS) as it:
        it.fault(path=SAVE_PATH, times=1, **rule)
        assert await it.send(range(5)) == {outcome: 5}
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
