"""Where each field of OfflinePushInfo goes at HarmonyOS; a field that is not named is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, batch
from tests.unit.channels.kit_harmony import harmony_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named, place
from tocsin.channels.vendors import harmony
from tocsin.conversation import Request
from tocsin.domain.message import Message, notify_id

DRAWN = "payload.notification."

HARMONY: dict[str, dict[str, Any]] = {
    "Title": {DRAWN + "title": "News"},
    "Desc": {DRAWN + "body": "It rains"},
    "Ext": {DRAWN + "clickAction.data": {"ext": '{"a":"b"}', **IDS}},
    "BadgeSetNum": {DRAWN + "badge": {"setNum": 5}},
    "BadgeAddNum": {DRAWN + "badge": {"addNum": 2}},
    "ttl": {"pushOptions.ttl": 60},
    # Huawei knows no "now or never"; a second is the nearest.
    "ttl 0": {"pushOptions.ttl": 1},
    "collapse id": {DRAWN + "notifyId": notify_id("t9-2")},
    "HarmonyInfo.Title": {DRAWN + "title": "Only there"},
    "HarmonyInfo.Category": {DRAWN + "category": "IM"},
    "HarmonyInfo.Image": {DRAWN + "image": "https://e.com/i"},
    "HarmonyInfo.Sound": {DRAWN + "sound": "bell.mp3"},
}


def made(message: Message, given: dict[str, Any]) -> Request:
    one = msgspec.structs.replace(batch(1, message=message, **given), correlation="7-1-00")
    found = next(harmony.deliver(harmony_settings(category="WORK"), AUTHORITY, one, NOW))
    assert isinstance(found, Request)
    return found


def test_every_place_belongs_to_a_row() -> None:
    assert set(HARMONY) <= {row.field for row in ROWS}


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_harmony_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = HARMONY.get(row.field)
    request = made(changed(row), row.given)
    if expected is None:
        assert request == made(BASE, {})
        return
    assert {where: place(request, where) for where in expected} == expected
    assert request != made(BASE, {})
