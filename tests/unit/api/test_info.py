"""OfflinePushInfo, a row per member: what it becomes, and what it is refused with."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.api.wire_info import read_info
from tocsin.domain.message import (
    AndroidPart,
    ApplePart,
    HarmonyPart,
    LiveActivity,
    Message,
    Translation,
)
from tocsin.errors import CallError


def android(**ours: Any) -> Message:
    return Message(android=AndroidPart(**ours))


def apple(**ours: Any) -> Message:
    return Message(apple=ApplePart(**ours))


LIVE = {"LaId": "la-1", "Event": "end", "ContentState": {"eta": 5}, "DismissalDate": 1_800_000_000}
START = {
    "LaId": "la-1",
    "Event": "start",
    "ContentState": {"eta": 5},
    "AttributesType": "OrderAttributes",
    "Attributes": {"order": "77"},
    "StaleDate": 1_800_000_000,
}

READ: list[tuple[Any, Message]] = [
    ({}, Message()),
    ([], Message()),
    ({"PushFlag": 0}, Message()),
    ({"PushFlag": 1}, Message(is_online_only=True)),
    ({"Title": "t", "Desc": "d", "Ext": "{}"}, Message(title="t", desc="d", ext="{}")),
    ({"Title": None, "AndroidInfo": None}, Message()),
    ({"Unknown": {"x": 1}, "AndroidInfo": {"Unknown": 1}}, Message()),
    (
        {"MultiLanguageContent": [{"Language": "en", "Title": "t", "Desc": None}, {}]},
        Message(translations=(Translation("en", "t"), Translation(""))),
    ),
    ({"BadgeAddNum": 1}, Message(badge_add=1)),
    ({"BadgeAddNum": 99, "BadgeSetNum": 0}, Message(badge_add=99, badge_set=0)),
    ({"BadgeSetNum": 999}, Message(badge_set=999)),
    ({"PushTemplateId": "", "PushTemplateParam": {"a": 5}}, Message(template_params={"a": "5"})),
    ({"AndroidInfo": []}, Message()),
    ({"AndroidInfo": {"Sound": "s", "PushStyle": 1}}, android(sound="s", is_big_text=True)),
    (
        {"AndroidInfo": {"HuaWeiChannelID": "c", "HuaWeiImportance": "LOW"}},
        android(huawei_channel_id="c", huawei_importance="LOW"),
    ),
    (
        {
            "AndroidInfo": {
                "HuaWeiCategory": "IM",
                "HuaWeiImage": "https://x",
                "ExtAsHuaweiIntentParam": 1,
            }
        },
        android(huawei_category="IM", huawei_image="https://x", huawei_ext_as_intent=True),
    ),
    (
        {"AndroidInfo": {"HonorImportance": "NORMAL", "HonorImage": "https://x"}},
        android(honor_importance="NORMAL", honor_image="https://x"),
    ),
    ({"AndroidInfo": {"XiaoMiChannelID": "c"}}, android(xiaomi_channel_id="c")),
    (
        {"AndroidInfo": {"OPPOChannelID": "c", "OPPOCategory": "IM", "OPPONotifyLevel": 16}},
        android(oppo_channel_id="c", oppo_category="IM", oppo_notify_level=16),
    ),
    (
        {
            "AndroidInfo": {
                "OPPOPrivateMsgTemplateId": "t",
                "OPPOPrivateTitleParameters": {"a": "b"},
                "OPPOPrivateContentParameters": {"a": 5},
            }
        },
        android(oppo_template_id="t", oppo_title_params={"a": "b"}, oppo_content_params={"a": "5"}),
    ),
    (
        {"AndroidInfo": {"VIVOClassification": 0, "VIVOCategory": "IM", "VIVONotifyType": "2"}},
        android(vivo_classification=0, vivo_category="IM", vivo_notify_type=2),
    ),
    (
        {"AndroidInfo": {"VIVOClassification": "1", "VIVONotifyType": 4}},
        android(vivo_classification=1, vivo_notify_type=4),
    ),
    ({"AndroidInfo": {"VIVONotifyType": ""}}, Message()),
    (
        {"AndroidInfo": {"GoogleChannelID": "c", "GoogleImage": "i", "GooglePriority": "high"}},
        android(google_channel_id="c", google_image="i", google_priority="high"),
    ),
    ({"AndroidInfo": {"MeiZuNoticeMsgType": 1}}, android(meizu_message_type=1)),
    ({"ApnsInfo": {"BadgeMode": 0}}, apple(counts_badge=True)),
    ({"ApnsInfo": {"BadgeMode": 1}}, Message()),
    (
        {"ApnsInfo": {"Title": "t", "SubTitle": "s", "Image": "i", "Sound": "a.caf"}},
        apple(title="t", subtitle="s", image="i", sound="a.caf"),
    ),
    (
        {"ApnsInfo": {"MutableContent": 1, "ContentAvailable": 1, "IsVoipPush": 1}},
        apple(is_mutable=True, is_silent=True, is_voip=True),
    ),
    (
        {"ApnsInfo": {"InterruptionLevel": "time-sensitive"}},
        apple(interruption_level="time-sensitive"),
    ),
    (
        {"ApnsInfo": {"LiveActivity": LIVE}},
        apple(
            live_activity=LiveActivity(
                id="la-1", event="end", content_state={"eta": 5}, dismissal_at=1_800_000_000
            )
        ),
    ),
    (
        {"ApnsInfo": {"LiveActivity": START}},
        apple(
            live_activity=LiveActivity(
                id="la-1",
                event="start",
                content_state={"eta": 5},
                attributes_type="OrderAttributes",
                attributes={"order": "77"},
                stale_at=1_800_000_000,
            )
        ),
    ),
    (
        {
            "HarmonyInfo": {
                "Title": "t",
                "Category": "c",
                "Image": "https://i",
                "Sound": "s",
                "SoundDuration": 60,
            }
        },
        Message(
            harmony=HarmonyPart(
                title="t", category="c", image="https://i", sound="s", sound_duration_s=60
            )
        ),
    ),
]


@pytest.mark.parametrize(("value", "message"), READ)
def test_members_become_the_message(value: Any, message: Message) -> None:
    assert read_info(value) == message


WRONG_TYPES: list[Any] = [
    "x",
    5,
    True,
    [1],
    *({name: 5} for name in ("Title", "Desc", "Ext", "PushTemplateId")),
    *({name: ["x"]} for name in ("AndroidInfo", "ApnsInfo", "HarmonyInfo", "PushTemplateParam")),
    {"PushFlag": "1"},
    {"PushFlag": True},
    {"PushFlag": 1.0},
    {"BadgeAddNum": "1"},
    {"BadgeSetNum": 1.5},
    {"MultiLanguageContent": {}},
    {"MultiLanguageContent": ["en"]},
    {"MultiLanguageContent": [{"Language": 5}]},
    {"PushTemplateId": "1400000001-1"},
    {"PushTemplateParam": {"a": []}},
    {"AndroidInfo": {"Sound": 5}},
    {"AndroidInfo": {"PushStyle": "1"}},
    {"AndroidInfo": {"OPPONotifyLevel": "16"}},
    {"AndroidInfo": {"OPPOPrivateTitleParameters": {"a": {}}}},
    {"AndroidInfo": {"VIVONotifyType": 1.5}},
    {"AndroidInfo": {"HuaWeiImportance": 1}},
    {"ApnsInfo": {"BadgeMode": "0"}},
    {"ApnsInfo": {"Title": 5}},
    {"ApnsInfo": {"LiveActivity": "x"}},
    {"ApnsInfo": {"LiveActivity": {}}},
    {"ApnsInfo": {"LiveActivity": {**LIVE, "LaId": 5}}},
    {"ApnsInfo": {"LiveActivity": {**LIVE, "ContentState": "x"}}},
    {"ApnsInfo": {"LiveActivity": {**LIVE, "DismissalDate": "x"}}},
    {"ApnsInfo": {"LiveActivity": {**LIVE, "Event": None}}},
    {"ApnsInfo": {"LiveActivity": {**START, "ContentState": None}}},
    {"ApnsInfo": {"LiveActivity": {**START, "AttributesType": 5}}},
    {"ApnsInfo": {"LiveActivity": {**START, "Attributes": "x"}}},
    {"HarmonyInfo": {"SoundDuration": "5"}},
]


@pytest.mark.parametrize("value", WRONG_TYPES)
def test_a_wrong_type_is_90043(value: Any) -> None:
    with pytest.raises(CallError) as caught:
        read_info(value)
    assert caught.value.code == 90043


OUT_OF_RANGE: list[tuple[dict[str, Any], str]] = [
    ({"PushFlag": 2}, "PushFlag"),
    ({"BadgeAddNum": 0}, "BadgeAddNum"),
    ({"BadgeAddNum": 100}, "BadgeAddNum"),
    ({"BadgeSetNum": -1}, "BadgeSetNum"),
    ({"BadgeSetNum": 1000}, "BadgeSetNum"),
    ({"AndroidInfo": {"PushStyle": 2}}, "PushStyle"),
    ({"AndroidInfo": {"HuaWeiImportance": "HIGH"}}, "HuaWeiImportance"),
    ({"AndroidInfo": {"HuaWeiImage": "http://x"}}, "HuaWeiImage"),
    ({"AndroidInfo": {"ExtAsHuaweiIntentParam": 2}}, "ExtAsHuaweiIntentParam"),
    ({"AndroidInfo": {"HonorImportance": "low"}}, "HonorImportance"),
    ({"AndroidInfo": {"HonorImage": "x"}}, "HonorImage"),
    ({"AndroidInfo": {"OPPONotifyLevel": 3}}, "OPPONotifyLevel"),
    ({"AndroidInfo": {"VIVOClassification": 2}}, "VIVOClassification"),
    ({"AndroidInfo": {"VIVOClassification": "2"}}, "VIVOClassification"),
    ({"AndroidInfo": {"VIVONotifyType": "5"}}, "VIVONotifyType"),
    ({"AndroidInfo": {"VIVONotifyType": "x"}}, "VIVONotifyType"),
    ({"AndroidInfo": {"VIVONotifyType": 0}}, "VIVONotifyType"),
    ({"AndroidInfo": {"GooglePriority": "HIGH"}}, "GooglePriority"),
    ({"AndroidInfo": {"MeiZuNoticeMsgType": 2}}, "MeiZuNoticeMsgType"),
    *(
        ({"ApnsInfo": {name: 2}}, name)
        for name in ("BadgeMode", "MutableContent", "ContentAvailable", "IsVoipPush")
    ),
    ({"ApnsInfo": {"InterruptionLevel": "loud"}}, "InterruptionLevel"),
    ({"ApnsInfo": {"LiveActivity": {**LIVE, "LaId": ""}}}, "LaId"),
    ({"ApnsInfo": {"LiveActivity": {**LIVE, "LaId": "x" * 65}}}, "LaId"),
    ({"ApnsInfo": {"LiveActivity": {**LIVE, "Event": "start"}}}, "Event"),
    ({"ApnsInfo": {"LiveActivity": {**START, "Attributes": None}}}, "Event"),
    ({"ApnsInfo": {"LiveActivity": {**START, "AttributesType": ""}}}, "AttributesType"),
    ({"ApnsInfo": {"LiveActivity": {**START, "AttributesType": "x" * 129}}}, "AttributesType"),
    ({"ApnsInfo": {"LiveActivity": {**START, "StaleDate": -1}}}, "StaleDate"),
    ({"ApnsInfo": {"LiveActivity": {**LIVE, "DismissalDate": -1}}}, "DismissalDate"),
    ({"HarmonyInfo": {"Image": "http://x"}}, "Image"),
    ({"HarmonyInfo": {"SoundDuration": 0}}, "SoundDuration"),
    ({"HarmonyInfo": {"SoundDuration": 61}}, "SoundDuration"),
]


@pytest.mark.parametrize(("value", "field"), OUT_OF_RANGE)
def test_a_value_outside_its_set_is_90001_with_its_name(value: dict[str, Any], field: str) -> None:
    with pytest.raises(CallError) as caught:
        read_info(value)
    assert (caught.value.code, caught.value.info) == (90001, f"Invalid format of {field}")


def test_every_member_of_the_message_can_be_said() -> None:
    for form in (AndroidPart, ApplePart, HarmonyPart):
        for name in form.__struct_fields__:
            default = getattr(form(), name)
            parts = [getattr(it, form.__name__.removesuffix("Part").lower()) for _, it in READ]
            assert any(getattr(part, name) != default for part in parts), f"{form.__name__}.{name}"
