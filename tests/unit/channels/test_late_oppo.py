"""What OPPO posts, besides what `test_late.py` asks of every vendor."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tocsin.channels.shared import UNREADABLE
from tocsin.channels.vendors import oppo
from tocsin.conversation import LateReceipt, Posted
from tocsin.domain.outcome import Outcome

ENTRY: dict[str, Any] = {
    "messageId": "58ad47319e8d725350a5afd5",
    "appId": "4a3b2c1d00004000800000000000beef",
    "taskId": "58ad47529e8d725350a5afd6",
    "registrationIds": "OPPO_CN_1, OPPO_CN_2",
    "eventTime": "1700000000123",
    "param": "7-1-00",
    "eventType": "push_arrive",
}


def reported(*entries: Any) -> Posted:
    return oppo.report({}, msgspec.json.encode(entries))


@pytest.mark.evidence("one entry tells of each device that it names")
def test_an_entry_is_a_receipt_of_each_device_that_it_names() -> None:
    """The page's own example has a space behind the comma in one entry and none in the other."""
    gone = {**ENTRY, "registrationIds": "OPPO_CN_3,OPPO_CN_4", "eventType": "regid_invalid"}
    posted = reported(ENTRY, gone)
    at = 1_700_000_000.123
    assert posted.receipts == tuple(
        LateReceipt(correlation="7-1-00", token=token, outcome=outcome, code=code, at=at)
        for token, outcome, code in (
            ("OPPO_CN_1", Outcome.ACCEPTED, "push_arrive"),
            ("OPPO_CN_2", Outcome.ACCEPTED, "push_arrive"),
            ("OPPO_CN_3", Outcome.TOKEN_DEAD, "regid_invalid"),
            ("OPPO_CN_4", Outcome.TOKEN_DEAD, "regid_invalid"),
        )
    )
    assert (posted.unreadable, posted.answer.status) == (0, 200)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        {},
        {**ENTRY, "registrationIds": ""},
        {**ENTRY, "registrationIds": None},
        {**ENTRY, "eventTime": "soon"},
        {**ENTRY, "eventTime": None},
        {**ENTRY, "param": 7},
        {**ENTRY, "eventType": 0},
        {**ENTRY, "eventType": "PUSH"},
        {**ENTRY, "eventType": "x" * 21},
    ],
)
def test_a_bad_entry_takes_no_other_along(bad: Any) -> None:
    posted = reported(bad, ENTRY)
    assert (len(posted.receipts), posted.answer.status) == (2, 200)
    assert posted.unreadable >= 1


@pytest.mark.parametrize("body", [b"[]", b"{}", msgspec.json.encode(ENTRY), b"[{]"])
def test_what_is_no_array_of_events_is_told_so(body: bytes) -> None:
    assert oppo.report({}, body) == UNREADABLE
