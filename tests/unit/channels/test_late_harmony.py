"""HarmonyOS's receipts, version 2 (push-api-msg-receipt, read 2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tocsin.channels.vendors import harmony
from tocsin.conversation import LateReceipt, Posted
from tocsin.domain.outcome import Outcome

STATUS: dict[str, Any] = {
    "token": "MAMzLg********lPW",
    "pushType": 0,
    "appPackageName": "com.example.app",
    "biTag": "7-1-00",
    "requestId": "170290212000000000000000001",
    "deliveryStatus": {"result": 0, "timestamp": 1_700_000_000_123},
}


def reported(*statuses: Any) -> Posted:
    return harmony.report({}, msgspec.json.encode({"statuses": statuses}))


def test_a_receipt_tells_its_result_one_level_deeper() -> None:
    off = {**STATUS, "deliveryStatus": {"result": "6", "timestamp": "1700000000123"}}
    posted = reported(STATUS, off)
    common: dict[str, Any] = {"correlation": "7-1-00", "token": STATUS["token"]}
    common["at"] = 1_700_000_000.123
    assert posted.receipts == (
        LateReceipt(**common, outcome=Outcome.ACCEPTED, code="0"),
        LateReceipt(**common, outcome=Outcome.UNDELIVERABLE, code="6"),
    )
    assert (posted.unreadable, posted.answer.status) == (0, 200)
    assert msgspec.json.decode(posted.answer.body) == {"errno": "0", "errmsg": "success"}


@pytest.mark.evidence("a receipt without time is of the moment it came")
@pytest.mark.parametrize(
    "changed",
    [
        {"deliveryStatus": None},
        {"deliveryStatus": 0},
        {"deliveryStatus": {"result": 0}},
        {"deliveryStatus": {"timestamp": 1_700_000_000_123}},
        {"deliveryStatus": {"result": True, "timestamp": 1_700_000_000_123}},
        {"deliveryStatus": {"result": 0, "timestamp": -1}},
        {"biTag": None},
        {"token": ["t"]},
    ],
)
def test_a_bad_receipt_takes_no_other_along(changed: dict[str, Any]) -> None:
    posted = reported({**STATUS, **changed}, STATUS)
    assert (len(posted.receipts), posted.unreadable, posted.answer.status) == (1, 1, 200)


def test_a_cards_receipt_and_one_of_version_1_are_not_ours_to_read() -> None:
    card = {name: it for name, it in STATUS.items() if name not in ("deliveryStatus", "biTag")}
    card["formStatus"] = {"formId": 7, "result": 0, "timestamp": 1_700_000_000_123}
    old = {"token": "t", "biTag": "7-1-00", "status": 0, "timestamp": 1_700_000_000_123}
    posted = reported(card, old, 7)
    assert (posted.receipts, posted.unreadable, posted.answer.status) == ((), 3, 200)


def test_no_receipts_are_nothing_wrong() -> None:
    posted = reported()
    assert (posted.receipts, posted.unreadable, posted.answer.status) == ((), 0, 200)
