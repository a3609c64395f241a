"""Where each field of OfflinePushInfo goes at Meizu, or that it is left out."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, batch
from tests.unit.channels.kit_meizu import meizu_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named
from tocsin.channels.vendors import meizu
from tocsin.conversation import Request
from tocsin.domain.message import Message

LEFT_OUT: dict[str, Any] = {}

MEIZU: dict[str, dict[str, Any]] = {
    "PushFlag": LEFT_OUT,
    "Title": {"noticeBarInfo.title": "News"},
    "Desc": {"noticeBarInfo.content": "It rains"},
    "MultiLanguageContent": LEFT_OUT,
    "PushTemplateId": LEFT_OUT,
    "PushTemplateParam": LEFT_OUT,
    "Ext": {"clickTypeInfo.parameters": {"ext": '{"a":"b"}', **IDS}},
    "BadgeSetNum": LEFT_OUT,
    "BadgeAddNum": LEFT_OUT,
    "ttl": {"pushTimeInfo": {"offLine": 1, "validTime": 1}},
    "ttl 0": {"pushTimeInfo.offLine": 0},
    "collapse id": {"advanceInfo.notifyKey": "v7q3jFyH"},
    # Meizu's receipts name the list; each device is named by its pushId.
    "receipt correlation": LEFT_OUT,
    "Sound": LEFT_OUT,
    "PushStyle": LEFT_OUT,
    "HuaWeiChannelID": LEFT_OUT,
    "HuaWeiImportance": LEFT_OUT,
    "HuaWeiCategory": LEFT_OUT,
    "HuaWeiImage": LEFT_OUT,
    "ExtAsHuaweiIntentParam": LEFT_OUT,
    "HonorImportance": LEFT_OUT,
    "HonorImage": LEFT_OUT,
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
    "MeiZuNoticeMsgType": {"noticeBarInfo.noticeMsgType": 1},
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
    # Two hours, so that a row's one hour differs.
    given = {"ttl_s": 7200, **given}
    one = msgspec.structs.replace(batch(1, message=message, **given), correlation=correlation)
    settings = meizu_settings(callback_url="https://push.example/")
    return next(meizu.deliver(settings, AUTHORITY, one, NOW))


def place(request: Request, where: str) -> Any:
    value = json.loads(dict(parse_qsl(request.body.decode()))["messageJson"])
    for name in where.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def test_every_row_says_where_its_field_goes() -> None:
    assert list(MEIZU) == [row.field for row in ROWS]


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_meizu_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = MEIZU[row.field]
    request = made(changed(row), row.given)
    if not expected:
        assert request == made(BASE, {})
        return
    assert {where: place(request, where) for where in expected} == expected
    assert request != made(BASE, {})


def test_the_lists_correlation_comes_back_in_receipts() -> None:
    assert place(made(BASE, {}, "7-9-ff"), "extra")["callback.param"] == "7-9-ff"
