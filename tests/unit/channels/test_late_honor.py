"""Honor's receipts, as two push providers and doopush's service read them (2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tocsin.channels.vendors import honor
from tocsin.conversation import LateReceipt, Posted
from tocsin.domain.outcome import Outcome

STATUS: dict[str, Any] = {
    "token": "BAEAAAAAB.jk",
    "appid": "104413210",
    "biTag": "7-1-00",
    "status": 40000002,
    "timestamp": 1_700_000_000_123,
    "requestId": "170290212000000000000000001",
}


def reported(*statuses: Any) -> Posted:
    return honor.report({}, msgspec.json.encode({"statuses": statuses}))


def test_a_receipt_has_huaweis_form_and_honors_numbers() -> None:
    handed_through = {**STATUS, "status": "40000001"}
    gone = {**STATUS, "status": 40000003, "timestamp": "1700000000123"}
    posted = reported(STATUS, handed_through, gone)
    common: dict[str, Any] = {"correlation": "7-1-00", "token": STATUS["token"]}
    common["at"] = 1_700_000_000.123
    assert posted.receipts == (
        LateReceipt(**common, outcome=Outcome.ACCEPTED, code="40000002"),
        LateReceipt(**common, outcome=Outcome.ACCEPTED, code="40000001"),
        LateReceipt(**common, outcome=Outcome.TOKEN_DEAD, code="40000003"),
    )
    assert (posted.unreadable, posted.answer.status) == (0, 200)
    assert msgspec.json.decode(posted.answer.body) == {"code": 200, "message": "success"}


@pytest.mark.parametrize(
    "changed",
    [
        {"status": None},
        {"status": "arrived"},
        {"status": 40000002.0},
        {"timestamp": None},
        {"timestamp": "yesterday"},
        {"biTag": 7},
        {"token": None},
    ],
)
def test_a_bad_receipt_takes_no_other_along(changed: dict[str, Any]) -> None:
    posted = reported({**STATUS, **changed}, STATUS, [])
    assert (len(posted.receipts), posted.unreadable, posted.answer.status) == (1, 2, 200)


def test_huaweis_numbers_say_nothing_here() -> None:
    """Zero is no arrival at Honor, and two drops no token."""
    posted = reported({**STATUS, "status": 0}, {**STATUS, "status": 2})
    assert {it.outcome for it in posted.receipts} == {Outcome.UNDELIVERABLE}
