"""Where each field of OfflinePushInfo goes at Honor, or that it is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, batch
from tests.unit.channels.kit_honor import honor_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named, place
from tocsin.channels.shared import json_text
from tocsin.channels.vendors import honor
from tocsin.conversation import Request
from tocsin.domain.message import Message, notify_id

DRAWN = "android.notification."
LEFT_OUT: dict[str, Any] = {}

HONOR: dict[str, dict[str, Any]] = {
    "PushFlag": LEFT_OUT,
    "Title": {DRAWN + "title": "News"},
    "Desc": {DRAWN + "body": "It rains"},
    "MultiLanguageContent": LEFT_OUT,
    "PushTemplateId": LEFT_OUT,
    "PushTemplateParam": LEFT_OUT,
    "Ext": {"android.data": json_text({"ext": '{"a":"b"}', **IDS})},
    "BadgeSetNum": {DRAWN + "badge.setNum": 5},
    "BadgeAddNum": {DRAWN + "badge.addNum": 2},
    "ttl": {"android.ttl": "60s"},
    # Honor knows no "now or never"; a second is the nearest.
    "ttl 0": {"android.ttl": "1s"},
    "collapse id": {DRAWN + "notifyId": notify_id("t9-2"), DRAWN + "tag": "t9-2"},
    # Honor's receipts name the list; each device is named by its token.
    "receipt correlation": LEFT_OUT,
    "Sound": LEFT_OUT,
    "PushStyle": {
        DRAWN + "style": 1,
        DRAWN + "bigTitle": "Hello",
        DRAWN + "bigBody": "A word to all",
    },
    "HuaWeiChannelID": LEFT_OUT,
    "HuaWeiImportance": LEFT_OUT,
    "HuaWeiCategory": LEFT_OUT,
    "HuaWeiImage": LEFT_OUT,
    "ExtAsHuaweiIntentParam": LEFT_OUT,
    "HonorImportance": {DRAWN + "importance": "LOW"},
    "HonorImage": {DRAWN + "image": "https://e.com/i"},
    "XiaoMiChannelID": LEFT_OUT,
    "OPPOChannelID": LEFT_OUT,
    "OPPOCategory": LEFT_OUT,
    "OPPONotifyLevel": LEFT_OUT,
    "OPPOPrivateMsgTemplateId": LEFT_OUT,
    "OPPOPrivateTitleParameters": LEFT_OUT,
    "OPPOPrivateContentParameters": LEFT_OUT,
    "VIVOClassification": LEFT_OUT,
    "VIVOCategory": LEFT_OUT,
    "VIVONotifyType": LEFT_OUT,
    "GoogleChannelID": LEFT_OUT,
    "GoogleImage": LEFT_OUT,
    "GooglePriority": LEFT_OUT,
    "MeiZuNoticeMsgType": LEFT_OUT,
    "BadgeMode": LEFT_OUT,
    "ApnsInfo.Title": LEFT_OUT,
    "ApnsInfo.SubTitle": LEFT_OUT,
    "ApnsInfo.Image": LEFT_OUT,
    "ApnsInfo.MutableContent": LEFT_OUT,
    "ApnsInfo.Sound": LEFT_OUT,
    "ApnsInfo.InterruptionLevel": LEFT_OUT,
    "ApnsInfo.InterruptionLevel critical": LEFT_OUT,
    "ApnsInfo.ContentAvailable": LEFT_OUT,
    "ApnsInfo.IsVoipPush": LEFT_OUT,
    "ApnsInfo.IsVoipPush without its token": LEFT_OUT,
    "ApnsInfo.LiveActivity": LEFT_OUT,
    "HarmonyInfo.Title": LEFT_OUT,
    "HarmonyInfo.Category": LEFT_OUT,
    "HarmonyInfo.Image": LEFT_OUT,
    "HarmonyInfo.Sound": LEFT_OUT,
    "HarmonyInfo.SoundDuration": LEFT_OUT,
}


def made(message: Message, given: dict[str, Any], correlation: str = "7-1-00") -> Request:
    one = msgspec.structs.replace(batch(1, message=message, **given), correlation=correlation)
    found = next(honor.deliver(honor_settings(), AUTHORITY, one, NOW))
    assert isinstance(found, Request)
    return found


def test_every_row_says_where_its_field_goes() -> None:
    assert list(HONOR) == [row.field for row in ROWS]


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_honor_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = HONOR[row.field]
    request = made(changed(row), row.given)
    if not expected:
        assert request == made(BASE, {})
        return
    assert {where: place(request, where) for where in expected} == expected
    assert request != made(BASE, {})


def test_the_lists_correlation_is_the_bi_tag() -> None:
    assert place(made(BASE, {}, "7-9-ff"), "android.biTag") == "7-9-ff"
