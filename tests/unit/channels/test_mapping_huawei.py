"""Where each field of OfflinePushInfo goes at Huawei, or that it is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, batch
from tests.unit.channels.kit_huawei import huawei_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named, place
from tocsin.channels.shared import json_text
from tocsin.channels.vendors import huawei
from tocsin.conversation import Request
from tocsin.domain.message import AndroidPart, Message, notify_id

DRAWN = "message.android.notification."
CLASS = "com.example.app.MainActivity"

HUAWEI: dict[str, dict[str, Any]] = {
    "Title": {"message.notification.title": "News"},
    "Desc": {"message.notification.body": "It rains"},
    "Ext": {"message.data": json_text({"ext": '{"a":"b"}', **IDS})},
    "BadgeSetNum": {DRAWN + "badge": {"set_num": 5, "class": CLASS}},
    "BadgeAddNum": {DRAWN + "badge": {"add_num": 2, "class": CLASS}},
    "ttl": {"message.android.ttl": "60s"},
    # Huawei knows no "now or never"; a second is the nearest.
    "ttl 0": {"message.android.ttl": "1s"},
    "collapse id": {DRAWN + "notify_id": notify_id("t9-2")},
    "Sound": {DRAWN + "sound": "/raw/bell", DRAWN + "default_sound": False},
    "PushStyle": {
        DRAWN + "style": 1,
        DRAWN + "big_title": "Hello",
        DRAWN + "big_body": "A word to all",
    },
    "HuaWeiChannelID": {DRAWN + "channel_id": "h"},
    "HuaWeiImportance": {DRAWN + "importance": "LOW"},
    # The category stands a level above the importance.
    "HuaWeiCategory": {"message.android.category": "IM"},
    "HuaWeiImage": {DRAWN + "image": "https://e.com/i"},
    "ExtAsHuaweiIntentParam": {
        DRAWN + "click_action.intent": (
            "intent://e.com/open#Intent;scheme=e"
            ";S.ext=%7B%22entity%22%3A%7B%22id%22%3A%2277%22%7D%7D"
            ";S.id=1_2_3_4_5;S.task_id=1_2_3_4_5;end"
        ),
        "message.data": None,
    },
}
"""The receipt correlation is the list's, see below; what is not named is left out."""

SETTINGS: dict[str, Any] = {
    "click": "intent",
    "click_target": "intent://e.com/open#Intent;scheme=e;end",
    "badge_class": CLASS,
}


def made(message: Message, given: dict[str, Any] | None = None, **settings: Any) -> Request:
    one = batch(1, message=message, **(given or {}))
    return next(huawei.deliver(huawei_settings(**{**SETTINGS, **settings}), AUTHORITY, one, NOW))


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_huawei_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    request, expected = made(changed(row), row.given), HUAWEI.get(row.field)
    if expected is None:
        assert request == made(BASE)
        return
    assert {where: place(request, where) for where in expected} == expected
    assert request != made(BASE)


def test_no_place_is_named_for_a_field_that_does_not_exist() -> None:
    assert set(HUAWEI) <= {row.field for row in ROWS}


def test_the_whole_list_is_named_by_the_bi_tag() -> None:
    assert place(made(BASE), "message.android.bi_tag") == "7-1-0011223344556677"


def test_texts_are_cut_as_huawei_counts_them() -> None:
    long = Message(title="t" * 61, desc="😀" * 301, android=AndroidPart(is_big_text=True))
    title, body = "t" * 57 + "...", "😀" * 298 + "..."
    request = made(long)
    assert place(request, "message.notification") == {"title": title, "body": body}
    assert place(request, DRAWN + "big_title") == title
    assert place(request, DRAWN + "big_body") == body
    fits = Message(title="t" * 60, desc="d" * 600)
    assert place(made(fits), "message.notification") == {"title": "t" * 60, "body": "d" * 600}


def test_one_text_stands_in_for_the_other() -> None:
    shown = {"title": "Only", "body": "Only"}
    assert place(made(Message(title="Only")), "message.notification") == shown
    assert place(made(Message(desc="Only")), "message.notification") == shown


@pytest.mark.parametrize(("ext", "data"), [('{"a":1}', {"ext": '{"a":1}'}), ("", {})])
def test_without_a_text_the_message_is_data(ext: str, data: dict[str, str]) -> None:
    part = AndroidPart(huawei_ext_as_intent=True)
    message = msgspec.json.decode(made(Message(ext=ext, android=part)).body)["message"]
    assert message["data"] == json_text({**data, **IDS})
    assert "notification" not in message
    assert "notification" not in message["android"]


@pytest.mark.evidence("set beats add")
@pytest.mark.parametrize(
    ("parts", "badge"),
    [
        ({}, {"add_num": 1, "class": CLASS}),
        ({"badge_set": 3, "badge_add": 2}, {"set_num": 3, "class": CLASS}),
        ({"badge_set": 0}, {"set_num": 0, "class": CLASS}),
        ({"badge_set": 999}, {"set_num": 99, "class": CLASS}),
        ({"badge_add": 999}, {"add_num": 99, "class": CLASS}),
        ({"badge_add": 0}, None),
    ],
)
def test_set_beats_add_and_both_stay_within_huaweis_bounds(
    parts: dict[str, Any], badge: dict[str, Any] | None
) -> None:
    message = msgspec.structs.replace(BASE, **parts)
    assert place(made(message), DRAWN + "badge") == badge
    assert place(made(message, badge_class=""), DRAWN + "badge") is None


@pytest.mark.evidence(
    "the page that a click's intent opens is told, whether or not Ext travels there",
    topic="Vendors",
    planted="Huawei's intent without the ids",
)
@pytest.mark.parametrize(
    ("click", "target", "action"),
    [
        ("app", "", {"type": 3}),
        (
            "intent",
            "intent://x#Intent;end",
            {"type": 1, "intent": "intent://x#Intent;S.id=1_2_3_4_5;S.task_id=1_2_3_4_5;end"},
        ),
        ("action", "com.example.OPEN", {"type": 1, "action": "com.example.OPEN"}),
        ("url", "https://e.com/", {"type": 2, "url": "https://e.com/"}),
    ],
)
def test_a_click_does_what_the_credential_names(
    click: str, target: str, action: dict[str, Any]
) -> None:
    request = made(BASE, click=click, click_target=target)
    assert place(request, DRAWN + "click_action") == action
    assert place(request, "message.data") is not None


def test_the_credential_serves_pushes_that_name_nothing() -> None:
    settings: dict[str, Any] = {
        "android_channel_id": "all",
        "category": "WORK",
        "importance": "NORMAL",
    }
    own = AndroidPart(huawei_channel_id="own", huawei_category="IM", huawei_importance="LOW")
    for message, expected in (
        (BASE, ["all", "WORK", "NORMAL"]),
        (msgspec.structs.replace(BASE, android=own), ["own", "IM", "LOW"]),
    ):
        request = made(message, **settings)
        where = (DRAWN + "channel_id", "message.android.category", DRAWN + "importance")
        assert [place(request, it) for it in where] == expected


def test_receipts_and_test_messages_are_asked_for_by_the_credential() -> None:
    request = made(BASE, receipt_id="RCP1", target_user="test")
    assert place(request, "message.android.receipt_id") == "RCP1"
    assert place(request, "message.android.target_user_type") == 1
    assert place(made(BASE), "message.android.target_user_type") is None


def test_a_life_longer_than_huaweis_is_cut() -> None:
    request = made(BASE, {"ttl_s": 30 * 86_400})
    assert place(request, "message.android.ttl") == "1296000s"
