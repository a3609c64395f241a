"""Xiaomi's receipts: a form with one entry for each message (dev.mi.com 1558, read 2026-11)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest

from tocsin.channels.shared import UNREADABLE
from tocsin.channels.vendors import xiaomi
from tocsin.conversation import Posted
from tocsin.domain.outcome import POSTED, Outcome

AT = 1_700_000_000.123
ENTRY: dict[str, Any] = {
    "type": 1,
    "targets": "regid1,regid2",
    "param": "7-1-00",
    "jobkey": "",
    "barStatus": "Enable",
    "timestamp": 1_700_000_000_123,
}


def reported(**entries: Any) -> Posted:
    data = msgspec.json.encode(entries)
    return xiaomi.report({}, urlencode({"data": data}).encode())


def told(posted: Posted) -> list[tuple[str, str, Outcome, str, float | None, bool]]:
    return [
        (it.correlation, it.token, it.outcome, it.code, it.at, it.is_click)
        for it in posted.receipts
    ]


@pytest.mark.evidence(
    "one entry tells of each device that it names",
    topic="Receipts",
    planted="the first device only; OPPO's events taken for numbers",
)
def test_an_entry_is_a_receipt_of_each_device_that_it_names() -> None:
    posted = reported(scm1=ENTRY)
    assert told(posted) == [
        ("7-1-00", "regid1", Outcome.ACCEPTED, "1", AT, False),
        ("7-1-00", "regid2", Outcome.ACCEPTED, "1", AT, False),
    ]
    assert (posted.unreadable, posted.answer.status) == (0, 200)
    assert msgspec.json.decode(posted.answer.body) == {"result": "ok", "code": 0}


@pytest.mark.evidence(
    "clicks are clicks",
    topic="Receipts",
    planted="the click flag dropped, in each",
)
def test_a_call_may_tell_of_several_messages() -> None:
    clicked = {**ENTRY, "type": "2", "targets": "regid3", "param": "7-2-00"}
    gone = {**ENTRY, "type": 16, "targets": " regid4 ,", "param": "7-3-00"}
    assert told(reported(scm1=clicked, scm2=gone)) == [
        ("7-2-00", "regid3", Outcome.ACCEPTED, "2", AT, True),
        ("7-3-00", "regid4", Outcome.TOKEN_DEAD, "16", AT, False),
    ]


def test_a_device_that_shows_nothing_has_it_all_the_same() -> None:
    """Xiaomi counts it as delivered, and so do we."""
    posted = reported(scm1={**ENTRY, "barStatus": "Disable"})
    assert {it.outcome for it in posted.receipts} == {Outcome.ACCEPTED}


@pytest.mark.parametrize(
    "entry",
    [
        7,
        None,
        {},
        {**ENTRY, "targets": ""},
        {**ENTRY, "targets": ",,"},
        {**ENTRY, "targets": None},
        {**ENTRY, "targets": {"regid1": 1}},
        {**ENTRY, "targets": [7]},
        {**ENTRY, "targets": "regid1", "type": None},
        {**ENTRY, "targets": "regid1", "type": "arrived"},
        {**ENTRY, "targets": "regid1", "param": None},
        {**ENTRY, "targets": "regid1", "timestamp": None},
        {**ENTRY, "targets": "regid1", "timestamp": "soon"},
    ],
)
def test_a_bad_entry_takes_no_other_along(entry: Any) -> None:
    posted = reported(scm1=entry, scm2=ENTRY)
    assert [it.token for it in posted.receipts] == ["regid1", "regid2"]
    assert (posted.unreadable, posted.answer.status) == (1, 200)


def test_every_device_of_a_bad_entry_counts() -> None:
    assert reported(scm1={**ENTRY, "timestamp": None}).unreadable == 2


@pytest.mark.parametrize(
    "body",
    [
        b"data",
        b"data=",
        b"data=7",
        b"data=[]",
        b"data=%7B",
        b"data=%FF",
        b"cb=%7B%7D",
        msgspec.json.encode({"scm1": ENTRY}),
    ],
)
def test_what_is_no_form_with_an_object_is_told_so(body: bytes) -> None:
    assert xiaomi.report({}, body) == UNREADABLE


def test_no_entries_are_nothing_wrong_and_other_fields_do_not_matter() -> None:
    assert (reported().receipts, reported().answer.status) == ((), 200)
    data = quote(msgspec.json.encode({"scm1": ENTRY}).decode())
    assert len(xiaomi.report({}, f"a=1&data={data}&b".encode()).receipts) == 2


@pytest.mark.evidence(
    "Xiaomi is asked for what is read",
    topic="Receipts",
    planted="an unknown bit asked for",
)
def test_the_push_asks_for_what_is_read() -> None:
    """But for 1024: in no page of Xiaomi's, and a bit that it does not know costs all receipts."""
    read = {int(code) for status, code in xiaomi.OUTCOMES if status == POSTED and code}
    assert sum(read - {1024}) == xiaomi.CALLBACK_TYPES
