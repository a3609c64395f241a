"""Meizu's receipts: a form with an entry for each message and type (MEIZUPUSH/PushAPI, 2026-11)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tocsin.channels.shared import UNREADABLE
from tocsin.channels.vendors import meizu
from tocsin.conversation import LateReceipt, Posted
from tocsin.domain.outcome import POSTED, Outcome

ENTRY: dict[str, Any] = {"param": "7-2-00", "type": 1, "targets": ["pushId3", "pushId2"]}
CLICKED: dict[str, Any] = {"param": "7-1-00", "type": 2, "targets": ["pushId1"]}


def reported(entries: dict[str, Any]) -> Posted:
    cb = msgspec.json.encode(entries)
    return meizu.report({}, urlencode({"cb": cb, "access_token": "token"}).encode())


def receipt(correlation: str, token: str, code: str, *, is_click: bool = False) -> LateReceipt:
    return LateReceipt(
        correlation=correlation,
        token=token,
        outcome=Outcome.ACCEPTED,
        code=code,
        at=None,
        is_click=is_click,
    )


@pytest.mark.evidence("clicks are clicks")
def test_entries_tell_of_arrivals_and_clicks_and_of_no_time() -> None:
    posted = reported({"msgId2-1": ENTRY, "msgId1-2": CLICKED})
    assert posted.receipts == (
        receipt("7-2-00", "pushId3", "1"),
        receipt("7-2-00", "pushId2", "1"),
        receipt("7-1-00", "pushId1", "2", is_click=True),
    )
    assert (posted.unreadable, posted.answer.status) == (0, 200)
    assert msgspec.json.decode(posted.answer.body)["code"] == "200"


@pytest.mark.parametrize(
    ("entry", "unreadable"),
    [
        (7, 1),
        ({}, 1),
        ({**ENTRY, "targets": []}, 1),
        ({**ENTRY, "targets": {"pushId1": 1}}, 1),
        ({**ENTRY, "targets": [7, None, [], ""]}, 3),
        ({**ENTRY, "type": None}, 2),
        ({**ENTRY, "type": "arrived"}, 2),
        ({**ENTRY, "type": True}, 2),
        ({**ENTRY, "param": None}, 2),
        ({**ENTRY, "param": 7}, 2),
    ],
)
def test_a_bad_entry_takes_no_other_along(entry: Any, unreadable: int) -> None:
    posted = reported({"msgId1-1": entry, "msgId2-1": ENTRY})
    assert [it.token for it in posted.receipts] == ["pushId3", "pushId2"]
    assert (posted.unreadable, posted.answer.status) == (unreadable, 200)


def test_a_time_that_comes_all_the_same_is_not_looked_at() -> None:
    posted = reported({"msgId2-1": {**ENTRY, "timestamp": 1}})
    assert {it.at for it in posted.receipts} == {None}


@pytest.mark.parametrize("body", [b"cb=", b"cb=[]", b"cb=%7B", b"data=%7B%7D", b"access_token=a"])
def test_what_is_no_form_with_an_object_is_told_so(body: bytes) -> None:
    assert meizu.report({}, body) == UNREADABLE


def test_no_entries_are_nothing_wrong() -> None:
    assert (reported({}).receipts, reported({}).answer.status) == ((), 200)


def test_the_push_asks_for_what_is_read() -> None:
    read = {int(code) for status, code in meizu.OUTCOMES if status == POSTED and code}
    assert sum(read) == meizu.CALLBACK_TYPE
