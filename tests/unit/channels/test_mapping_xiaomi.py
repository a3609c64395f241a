"""Where each field of OfflinePushInfo goes at Xiaomi, or that it is left out."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, NOW, batch
from tests.unit.channels.kit_xiaomi import xiaomi_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named
from tocsin.channels.vendors import xiaomi
from tocsin.conversation import Request
from tocsin.domain.message import Message, notify_id

LEFT_OUT: dict[str, str] = {}

XIAOMI: dict[str, dict[str, str]] = {
    "PushFlag": LEFT_OUT,
    "Title": {"title": "News"},
    "Desc": {"description": "It rains"},
    "MultiLanguageContent": LEFT_OUT,
    "PushTemplateId": LEFT_OUT,
    "PushTemplateParam": LEFT_OUT,
    "Ext": {"payload": '{"a":"b"}', "extra.ext": '{"a":"b"}'},
    "BadgeSetNum": LEFT_OUT,
    "BadgeAddNum": LEFT_OUT,
    "ttl": {"time_to_live": "60000"},
    # Nothing would be "as long as Xiaomi likes"; a second is the nearest to "now or never".
    "ttl 0": {"time_to_live": "1000"},
    "collapse id": {"notify_id": str(notify_id("t9-2"))},
    # Xiaomi's receipts name the list; each device is named by its regId.
    "receipt correlation": LEFT_OUT,
    "Sound": {"extra.sound_uri": "android.resource://com.example.app/raw/bell"},
    "PushStyle": {"extra.notification_style_type": "1"},
    "HuaWeiChannelID": LEFT_OUT,
    "HuaWeiImportance": LEFT_OUT,
    "HuaWeiCategory": LEFT_OUT,
    "HuaWeiImage": LEFT_OUT,
    "ExtAsHuaweiIntentParam": LEFT_OUT,
    "HonorImportance": LEFT_OUT,
    "HonorImage": LEFT_OUT,
    "XiaoMiChannelID": {"extra.channel_id": "x"},
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
    settings = xiaomi_settings(callback_url="https://push.example/")
    return next(xiaomi.deliver(settings, AUTHORITY, one, NOW))


def form_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), strict_parsing=True))


def test_every_row_says_where_its_field_goes() -> None:
    assert list(XIAOMI) == [row.field for row in ROWS]


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_xiaomi_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = XIAOMI[row.field]
    request = made(changed(row), row.given)
    if not expected:
        assert request == made(BASE, {})
        return
    form = form_of(request)
    assert {where: form.get(where) for where in expected} == expected
    assert request != made(BASE, {})


def test_the_lists_correlation_comes_back_in_receipts() -> None:
    assert form_of(made(BASE, {}, "7-9-ff"))["extra.callback.param"] == "7-9-ff"
