"""Where each field of OfflinePushInfo goes at vivo, or that it is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, NOW, batch
from tests.unit.channels.kit_vivo import SAVED, vivo_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named, place
from tocsin.channels.vendors import vivo
from tocsin.conversation import Request
from tocsin.domain.message import Message, notify_id

LEFT_OUT: dict[str, Any] = {}

VIVO: dict[str, dict[str, Any]] = {row.field: LEFT_OUT for row in ROWS} | {
    "Title": {"title": "News"},
    "Desc": {"content": "It rains"},
    "Ext": {"clientCustomMap.ext": '{"a":"b"}'},
    # vivo raises a badge by one and by no other number.
    "BadgeAddNum": {"addBadge": True},
    "ttl": {"timeToLive": 60},
    # vivo knows no "now or never"; a minute is its least.
    "ttl 0": {"timeToLive": 60},
    "collapse id": {"notifyId": notify_id("t9-2")},
    "receipt correlation": {"requestId": "0a1b2c3d-0000-4000-8000-00000000beef"},
    "VIVOClassification": {"classification": 0},
    "VIVOCategory": {"category": "IM"},
    "VIVONotifyType": {"notifyType": 2},
}
"""What is not named here has no counterpart."""


def made(message: Message, given: dict[str, Any], **settings: Any) -> Request:
    talk = vivo.deliver(
        vivo_settings(**settings), AUTHORITY, batch(1, message=message, **given), NOW
    )
    return next(talk)


def saved(message: Message, given: dict[str, Any]) -> Request:
    """The same for a list: what is saved for it."""
    return next(vivo.prepare(vivo_settings(), AUTHORITY, batch(2, message=message, **given), NOW))


def test_every_row_says_where_its_field_goes() -> None:
    assert list(VIVO) == [row.field for row in ROWS]


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_vivo_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = VIVO[row.field]
    for make in (made, saved):
        request = make(changed(row), row.given)
        if not expected:
            assert request == make(BASE, {})
        elif row.field != "receipt correlation" or make is made:
            assert {where: place(request, where) for where in expected} == expected
            assert request != make(BASE, {})


def test_set_beats_add_and_vivo_cannot_set() -> None:
    both = msgspec.structs.replace(BASE, badge_set=5, badge_add=2)
    assert made(both, {}) == made(BASE, {})


def test_the_lists_correlation_comes_back_in_receipts() -> None:
    told = msgspec.json.decode(made(BASE, {}, callback_id="3001").body)["extra"]
    assert told == {"callback.id": "3001", "callback.param": "7-1-0011223344556677"}


@pytest.mark.evidence(
    "vivo is told the app, as a number, in every body",
    topic="Vendors",
    planted="`appId` left out of the list's body",
)
def test_a_list_names_what_was_saved_and_nothing_of_the_message() -> None:
    given = msgspec.structs.replace(batch(2, message=BASE), prepared=SAVED)
    request = next(vivo.deliver(vivo_settings(), AUTHORITY, given, NOW))
    assert set(msgspec.json.decode(request.body)) == {"appId", "taskId", "regIds", "requestId"}
