"""Each field of OfflinePushInfo, and where it goes in each channel: one row per field and channel.

A row with no places says that the field has no counterpart there: the request is then, byte for
byte, that of the same message without it. Field names: trtc.io/document/77715 (read 2026-11).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, NOW, delivery
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_fcm import fcm_settings
from tocsin.channels.vendors import apns, fcm
from tocsin.conversation import Request
from tocsin.domain.message import (
    AndroidPart,
    ApplePart,
    HarmonyPart,
    LiveActivity,
    Message,
    Translation,
)

BASE = Message(title="Hello", desc="A word to all", ext='{"entity":{"id":"77"}}')
ACTIVITY = LiveActivity(id="order-77", event="update", content_state={"minutes": 4})


class Row(NamedTuple):
    field: str
    """The wire's name."""
    parts: dict[str, Any]
    """The members of `Message` that hold it."""
    apns: dict[str, Any]
    """Place to value; empty: no counterpart, left out."""
    fcm: dict[str, Any]
    given: dict[str, Any] = {}
    """What else the delivery has."""
    data: dict[str, Any] | None = None
    """Place to value in FCM's data mode, where it is worth telling."""


def android(**parts: Any) -> dict[str, Any]:
    return {"android": AndroidPart(**parts)}


def apple(**parts: Any) -> dict[str, Any]:
    return {"apple": ApplePart(**parts)}


def harmony(**parts: Any) -> dict[str, Any]:
    return {"harmony": HarmonyPart(**parts)}


DRAWN = "message.android.notification."

ROWS = (
    # Common fields. Whether a vendor is asked at all, the language and the badge count are
    # decided before a channel sees the message.
    Row("PushFlag", {"is_online_only": True}, {}, {}),
    Row(
        "Title",
        {"title": "News"},
        {"aps.alert.title": "News"},
        {"message.notification.title": "News"},
        data={"message.data.title": "News"},
    ),
    Row(
        "Desc",
        {"desc": "It rains"},
        {"aps.alert.body": "It rains"},
        {"message.notification.body": "It rains"},
        data={"message.data.desc": "It rains"},
    ),
    Row("MultiLanguageContent", {"translations": (Translation("de", "Hallo", "Wort"),)}, {}, {}),
    Row("PushTemplateId", {"template_id": "7-1"}, {}, {}),
    Row("PushTemplateParam", {"template_params": {"Name": "Ann"}}, {}, {}),
    Row(
        "Ext",
        {"ext": '{"a":"b"}'},
        {"ext": '{"a":"b"}'},
        {"message.data.ext": '{"a":"b"}'},
        data={"message.data.ext": '{"a":"b"}'},
    ),
    Row(
        "BadgeSetNum",
        {"badge_set": 5},
        {"aps.badge": 5},
        {DRAWN + "notification_count": 5},
        {"badge": 5},
        {"message.data.badge": "5"},
    ),
    Row("BadgeAddNum", {"badge_add": 2}, {"aps.badge": 9}, {}, {"badge": 9}),
    Row(
        "ttl",
        {},
        {"apns-expiration": str(int(NOW) + 60)},
        {"message.android.ttl": "60s"},
        {"ttl_s": 60, "expires_at": NOW + 60},
    ),
    Row("ttl 0", {}, {"apns-expiration": "0"}, {"message.android.ttl": "0s"}, {"ttl_s": 0}),
    Row(
        "collapse id",
        {},
        {"apns-collapse-id": "t9-2"},
        {DRAWN + "tag": "t9-2", "message.android.collapse_key": "t9-2"},
        {"collapse": "t9-2"},
        {},
    ),
    Row(
        "receipt correlation",
        {},
        {"apns-id": "0a1b2c3d-0000-4000-8000-00000000beef"},
        {"message.data.msgid": "0a1b2c3d-0000-4000-8000-00000000beef"},
        {"correlation": "0a1b2c3d-0000-4000-8000-00000000beef"},
    ),
    # AndroidInfo
    Row(
        "Sound",
        android(sound="bell"),
        {},
        {DRAWN + "sound": "bell"},
        data={"message.data.sound": "bell"},
    ),
    Row("PushStyle", android(is_big_text=True), {}, {}),
    Row("HuaWeiChannelID", android(huawei_channel_id="h"), {}, {}),
    Row("HuaWeiImportance", android(huawei_importance="LOW"), {}, {}),
    Row("HuaWeiCategory", android(huawei_category="IM"), {}, {}),
    Row("HuaWeiImage", android(huawei_image="https://e.com/i"), {}, {}),
    Row("ExtAsHuaweiIntentParam", android(huawei_ext_as_intent=True), {}, {}),
    Row("HonorImportance", android(honor_importance="LOW"), {}, {}),
    Row("HonorImage", android(honor_image="https://e.com/i"), {}, {}),
    Row("XiaoMiChannelID", android(xiaomi_channel_id="x"), {}, {}),
    Row("OPPOChannelID", android(oppo_channel_id="o"), {}, {}),
    Row("OPPOCategory", android(oppo_category="IM"), {}, {}),
    Row("OPPONotifyLevel", android(oppo_notify_level=16), {}, {}),
    Row("OPPOPrivateMsgTemplateId", android(oppo_template_id="t"), {}, {}),
    Row("OPPOPrivateTitleParameters", android(oppo_title_params={"a": "b"}), {}, {}),
    Row("OPPOPrivateContentParameters", android(oppo_content_params={"a": "b"}), {}, {}),
    Row("VIVOClassification", android(vivo_classification=0), {}, {}),
    Row("VIVOCategory", android(vivo_category="IM"), {}, {}),
    Row("VIVONotifyType", android(vivo_notify_type=2), {}, {}),
    Row(
        "GoogleChannelID",
        android(google_channel_id="offers"),
        {},
        {DRAWN + "channel_id": "offers"},
        data={"message.data.channelid": "offers"},
    ),
    Row(
        "GoogleImage",
        android(google_image="https://e.com/i"),
        {},
        {DRAWN + "image": "https://e.com/i"},
        data={"message.data.image": "https://e.com/i"},
    ),
    Row(
        "GooglePriority",
        android(google_priority="high"),
        {},
        {"message.android.priority": "high"},
        data={"message.android.priority": "high"},
    ),
    Row("MeiZuNoticeMsgType", android(meizu_message_type=1), {}, {}),
    # ApnsInfo
    Row("BadgeMode", apple(counts_badge=True), {"aps.badge": 8}, {}, {"badge": 8}),
    Row("ApnsInfo.Title", apple(title="Only here"), {"aps.alert.title": "Only here"}, {}),
    Row("ApnsInfo.SubTitle", apple(subtitle="Below"), {"aps.alert.subtitle": "Below"}, {}),
    Row(
        "ApnsInfo.Image",
        apple(image="https://e.com/i"),
        {"image": "https://e.com/i", "aps.mutable-content": 1},
        {},
    ),
    Row("ApnsInfo.MutableContent", apple(is_mutable=True), {"aps.mutable-content": 1}, {}),
    Row("ApnsInfo.Sound", apple(sound="bell.caf"), {"aps.sound": "bell.caf"}, {}),
    Row(
        "ApnsInfo.InterruptionLevel",
        apple(interruption_level="time-sensitive"),
        {"aps.interruption-level": "time-sensitive"},
        {},
    ),
    Row(
        "ApnsInfo.InterruptionLevel critical",
        apple(interruption_level="critical", sound="siren.caf"),
        {
            "aps.interruption-level": "critical",
            "aps.sound": {"critical": 1, "name": "siren.caf", "volume": 1.0},
        },
        {},
    ),
    Row(
        "ApnsInfo.ContentAvailable",
        apple(is_silent=True),
        {"apns-push-type": "background", "apns-priority": "5", "aps": {"content-available": 1}},
        {},
    ),
    Row(
        "ApnsInfo.IsVoipPush",
        apple(is_voip=True),
        {
            "path": "/3/device/" + "cd" * 32,
            "apns-push-type": "voip",
            "apns-topic": "com.example.app.voip",
            "aps.alert": {"title": "Hello", "body": "A word to all"},
        },
        {},
        {"voip_token": "cd" * 32},
    ),
    Row("ApnsInfo.IsVoipPush without its token", apple(is_voip=True), {}, {}),
    Row(
        "ApnsInfo.LiveActivity",
        apple(live_activity=ACTIVITY),
        {
            "path": "/3/device/" + "ab" * 32,
            "apns-push-type": "liveactivity",
            "apns-topic": "com.example.app.push-type.liveactivity",
            "aps": {
                "timestamp": int(NOW),
                "event": "update",
                "content-state": {"minutes": 4},
                "alert": {"title": "Hello", "body": "A word to all"},
            },
        },
        {},
        {"live_token": "ab" * 32},
    ),
    # HarmonyInfo
    Row("HarmonyInfo.Title", harmony(title="Only there"), {}, {}),
    Row("HarmonyInfo.Category", harmony(category="IM"), {}, {}),
    Row("HarmonyInfo.Image", harmony(image="https://e.com/i"), {}, {}),
    Row("HarmonyInfo.Sound", harmony(sound="bell.mp3"), {}, {}),
    Row("HarmonyInfo.SoundDuration", harmony(sound_duration_s=5), {}, {}),
)


def apns_request(message: Message, given: dict[str, Any]) -> Request:
    made = apns.request(apns_settings(), AUTHORITY, delivery(message=message, **given), NOW)
    assert isinstance(made, Request)
    return made


def fcm_request(message: Message, given: dict[str, Any], mode: str = "notification") -> Request:
    settings = fcm_settings(mode=mode)
    made = fcm.request(settings, AUTHORITY, delivery(message=message, **given), NOW)
    assert isinstance(made, Request)
    return made


def place(made: Request, where: str) -> Any:
    """A header, `path`, or a member of the body by its dotted way."""
    headers = dict(made.headers)
    if where in headers:
        return headers[where]
    if where == "path":
        return made.path
    value = msgspec.json.decode(made.body)
    for name in where.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def named(rows: tuple[Row, ...]) -> list[Any]:
    return [pytest.param(row, id=row.field) for row in rows]


def changed(row: Row) -> Message:
    return msgspec.structs.replace(BASE, **row.parts)


@pytest.mark.evidence(
    "every field of OfflinePushInfo, per channel",
    topic="Channels and sandbox",
    planted="Android's sound sent to Apple; Huawei's channel sent to Google",
)
@pytest.mark.parametrize("row", named(ROWS))
def test_apns_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    made = apns_request(changed(row), row.given)
    if not row.apns:
        assert made == apns_request(BASE, {})
        return
    assert {where: place(made, where) for where in row.apns} == row.apns
    assert made != apns_request(BASE, {})


@pytest.mark.evidence("every field of OfflinePushInfo, per channel")
@pytest.mark.parametrize("row", named(ROWS))
def test_fcm_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    made = fcm_request(changed(row), row.given)
    if not row.fcm:
        assert made == fcm_request(BASE, {})
        return
    assert {where: place(made, where) for where in row.fcm} == row.fcm
    assert made != fcm_request(BASE, {})


@pytest.mark.parametrize("row", named(ROWS))
def test_fcm_in_data_mode_carries_the_same_as_texts(row: Row) -> None:
    made = fcm_request(changed(row), row.given, "data")
    expected = row.fcm if row.data is None else row.data
    if not expected:
        assert made == fcm_request(BASE, {}, "data")
        return
    assert {where: place(made, where) for where in expected} == expected
    texts = place(made, "message.data")
    assert all(isinstance(text, str) for text in texts.values())


@pytest.mark.evidence(
    "every field of OfflinePushInfo, per vendor",
    topic="Vendors",
    planted="a field of `Message` without a row",
)
def test_every_field_of_a_message_has_a_row() -> None:
    covered = set[str]()
    for row in ROWS:
        for name, value in row.parts.items():
            if isinstance(value, msgspec.Struct):
                fresh = type(value)()
                covered |= {
                    f"{name}.{field}"
                    for field in value.__struct_fields__
                    if getattr(value, field) != getattr(fresh, field)
                }
            else:
                covered.add(name)
    parts = {"android": AndroidPart, "apple": ApplePart, "harmony": HarmonyPart}
    fields = {name for name in Message.__struct_fields__ if name not in parts}
    for name, part in parts.items():
        fields |= {f"{name}.{field}" for field in part.__struct_fields__}
    assert fields - covered == set()


def test_a_click_starts_what_the_credential_names() -> None:
    settings = fcm_settings(click_action="OPEN_ORDER")
    made = fcm.request(settings, AUTHORITY, delivery(message=BASE), NOW)
    assert isinstance(made, Request)
    assert place(made, "message.android.notification.click_action") == "OPEN_ORDER"


def test_the_credentials_android_channel_serves_pushes_that_name_none() -> None:
    settings = fcm_settings(android_channel_id="all")
    own = msgspec.structs.replace(BASE, **android(google_channel_id="offers"))
    for message, expected in ((BASE, "all"), (own, "offers")):
        made = fcm.request(settings, AUTHORITY, delivery(message=message), NOW)
        assert isinstance(made, Request)
        assert place(made, "message.android.notification.channel_id") == expected
