"""vivo's receipts: a map of task numbers, with sub-codes that begin with zeros (read 2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit_vivo import vivo_settings
from tocsin.channels.shared import UNREADABLE
from tocsin.channels.vendors import vivo
from tocsin.conversation import Posted
from tocsin.domain.outcome import Outcome

AT = 1_700_000_000.123
ENTRY: dict[str, Any] = {
    "param": "7-1-00",
    "targets": "15434632423412345678901",
    "ackTime": 1_700_000_000_123,
    "ackType": "0",
    "subCode": "",
}
LOST: dict[str, Any] = {**ENTRY, "ackType": "2"}


def reported(**entries: Any) -> Posted:
    return vivo.report({}, msgspec.json.encode(entries))


def code(entry: dict[str, Any]) -> tuple[str, Outcome]:
    (receipt,) = reported(t1=entry).receipts
    return receipt.code, receipt.outcome


def test_a_receipt_stands_under_its_task_and_several_may_come_together() -> None:
    posted = reported(t1=ENTRY, t2={**ENTRY, "ackType": 0, "param": "7-2-00", "subCode": None})
    assert [(it.correlation, it.token, it.outcome, it.code, it.at) for it in posted.receipts] == [
        ("7-1-00", ENTRY["targets"], Outcome.ACCEPTED, "0", AT),
        ("7-2-00", ENTRY["targets"], Outcome.ACCEPTED, "0", AT),
    ]
    assert (posted.unreadable, posted.answer.status) == (0, 200)
    assert msgspec.json.decode(posted.answer.body)["result"] == 0


def test_one_entry_may_name_several_devices() -> None:
    posted = reported(t1={**ENTRY, "targets": "a,b"})
    assert [it.token for it in posted.receipts] == ["a", "b"]


@pytest.mark.evidence(
    "vivo's sub-codes keep their zeros, and a loss never arrives",
    topic="Receipts",
    planted="zeros stripped; the sub-code before the arrival",
)
def test_what_went_wrong_is_told_by_the_sub_code_with_its_zeros() -> None:
    assert code({**LOST, "subCode": "0001"}) == ("0001", Outcome.UNDELIVERABLE)
    assert code({**LOST, "subCode": "2183"}) == ("2183", Outcome.TOKEN_DEAD)
    assert code({**LOST, "subCode": 2183}) == ("2183", Outcome.TOKEN_DEAD)
    assert code({**LOST, "subCode": "9999"}) == ("9999", Outcome.UNDELIVERABLE)


@pytest.mark.parametrize("sub", ["", None, "0", 0, "0000", "x", {}, True])
def test_without_a_sub_code_the_kind_is_told_and_nothing_has_arrived(sub: Any) -> None:
    assert code({**LOST, "subCode": sub}) == ("ackType 2", Outcome.UNDELIVERABLE)
    bare = {name: it for name, it in LOST.items() if name != "subCode"}
    assert code(bare) == ("ackType 2", Outcome.UNDELIVERABLE)


@pytest.mark.evidence("vivo's sub-codes keep their zeros, and a loss never arrives")
def test_what_arrived_has_arrived_whatever_else_is_said() -> None:
    assert code({**ENTRY, "subCode": "2183"}) == ("0", Outcome.ACCEPTED)


@pytest.mark.parametrize(
    "changed",
    [
        {"ackType": None},
        {"ackType": "arrived", "subCode": "2183"},
        {"ackTime": None},
        {"ackTime": "soon"},
        {"param": None},
        {"targets": None},
        {"targets": ""},
    ],
)
def test_a_bad_receipt_takes_no_other_along(changed: dict[str, Any]) -> None:
    posted = reported(t1={**ENTRY, **changed}, t2=ENTRY, t3=7)
    assert (len(posted.receipts), posted.unreadable, posted.answer.status) == (1, 2, 200)


def test_no_entries_are_nothing_wrong_and_a_list_of_them_is_no_call_of_vivos() -> None:
    assert (reported().receipts, reported().answer.status) == ((), 200)
    assert vivo.report({}, msgspec.json.encode([ENTRY])) == UNREADABLE


@pytest.mark.parametrize(
    "settings",
    [
        {"callback_id": "2001", "callback_url": "https://push.example/"},
        {"callback_url": "push.example"},
        {"callback_url": "ftp://push.example/"},
        {"callback_url": "https://push.example/" + "x" * 108},
    ],
)
def test_a_receipt_address_that_vivo_would_not_take_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="callback_url"):
        vivo_settings(**settings)
    vivo_settings(callback_url="https://push.example/" + "x" * 107)
