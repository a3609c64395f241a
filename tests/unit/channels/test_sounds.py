"""`push.no_sound` and `push.default_sound` are no file names: how each vendor is told of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.unit.channels.kit import addressed_by, delivery, first_step, message, settings_of
from tests.unit.channels.kit_webpush import opened
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.channels.vendors import apns, fcm, harmony, huawei, oppo, vivo
from tocsin.conversation import Request
from tocsin.domain.message import AndroidPart, ApplePart, HarmonyPart, Message

AnyVendor = SingleVendor | ListVendor
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)

SILENT = "push.no_sound"
DEFAULTS = ("push.default_sound", "default")

ANDROID = "message.android.notification."
PLACES: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "apns": {"aps.sound": ("bell", None, "default")},
    "fcm": {
        ANDROID + "sound": ("bell", None, None),
        ANDROID + "default_sound": (None, False, True),
        ANDROID + "default_vibrate_timings": (None, False, None),
    },
    "harmony": {"payload.notification.sound": ("bell", None, None)},
    "honor": {"android.notification.importance": (None, "LOW", None)},
    "huawei": {
        ANDROID + "sound": ("/raw/bell", None, None),
        ANDROID + "default_sound": (False, False, True),
        ANDROID + "use_default_vibrate": (None, False, None),
        ANDROID + "importance": (None, "LOW", None),
    },
    "meizu": {
        "messageJson.advanceInfo.notificationType": (
            None,
            {"vibrate": 0, "lights": 1, "sound": 0},
            None,
        )
    },
    "oppo": {"message.notification.notify_level": (None, 1, None)},
    "vivo": {"notifyType": (4, 1, 4)},
    "webpush": {"silent": (None, True, None), "data.sound": ("bell", None, None)},
    "xiaomi": {
        "extra.sound_uri": ("android.resource://com.example.app/raw/bell", None, None),
        "notify_type": ("-1", "4", "-1"),
    },
}
"""Vendor to place to what stands there for a file, for silence and for the default sound."""

SETTINGS = {"harmony": {"category": "IM"}, "oppo": {"category": "IM"}}
"""Without a category OPPO takes no level; HarmonyOS's usual one has no sound of its own."""


def sounding(sound: str, **android: Any) -> Message:
    return message(
        android=AndroidPart(sound=sound, **android),
        apple=ApplePart(sound=sound),
        harmony=HarmonyPart(sound=sound, sound_duration_s=3),
    )


def told(vendor: AnyVendor, sent: Message, **changed: Any) -> dict[str, Any]:
    """What a vendor is sent, as far down as it is JSON."""
    given = {**SETTINGS.get(vendor.NAME, {}), **changed}
    settings = msgspec.structs.replace(settings_of(vendor), **given)
    made = first_step(vendor, settings, addressed_by(vendor, delivery(message=sent)))
    assert isinstance(made, Request)
    if vendor.NAME == "webpush":
        body: dict[str, Any] = opened(made.body)
        return body
    if made.body[:1] == b"{":
        return dict(msgspec.json.decode(made.body))
    return {name: _deeper(text) for name, text in parse_qsl(made.body.decode())}


def _deeper(text: str) -> Any:
    return msgspec.json.decode(text) if text[:1] == "{" else text


def place(body: Any, where: str) -> Any:
    if isinstance(body, dict) and where in body:
        return body[where]
    for name in where.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


@pytest.mark.evidence(
    "`push.no_sound` is silence and `push.default_sound` the default on every channel, and "
    "no sandbox minds",
    topic="Channels and sandbox",
    planted="the constant sent to Xiaomi as a file, and to Apple; vivo's own type first",
)
@each_vendor
def test_every_vendor_is_told_of_a_file_of_silence_and_of_the_default(vendor: AnyVendor) -> None:
    for column, sounds in enumerate((("bell",), (SILENT,), DEFAULTS)):
        for sound in sounds:
            body = told(vendor, sounding(sound))
            places = PLACES[vendor.NAME]
            assert {where: place(body, where) for where in places} == {
                where: row[column] for where, row in places.items()
            }
            assert SILENT not in str(body)
            assert DEFAULTS[0] not in str(body)


def test_a_critical_alert_of_apples_is_silent_too() -> None:
    apple = ApplePart(sound=SILENT, interruption_level="critical")
    assert "sound" not in told(apns, message(apple=apple))["aps"]
    for sound in ("", *DEFAULTS):
        aps = told(apns, message(apple=msgspec.structs.replace(apple, sound=sound)))["aps"]
        assert aps["sound"] == {"critical": 1, "name": "default", "volume": 1.0}


def test_an_app_that_draws_googles_data_is_told_in_words_of_its_own() -> None:
    for sound, shown in (
        ("bell", ("bell", None)),
        (SILENT, (None, "1")),
        (DEFAULTS[0], (None,) * 2),
    ):
        data = told(fcm, sounding(sound), mode="data")["message"]["data"]
        assert (data.get("sound"), data.get("silent")) == shown


def test_no_sound_has_no_duration_at_harmonyos() -> None:
    for sound in (SILENT, *DEFAULTS):
        drawn = told(harmony, sounding(sound))["payload"]["notification"]
        assert "soundDuration" not in drawn


def test_a_class_that_the_message_names_is_left_to_it() -> None:
    named = sounding(SILENT, huawei_importance="NORMAL")
    assert place(told(huawei, named), ANDROID + "importance") == "NORMAL"
    assert place(told(huawei, sounding(SILENT), importance="HIGH"), ANDROID + "importance") == "LOW"


@pytest.mark.evidence(
    "`push.no_sound` is silence and `push.default_sound` the default on every channel, and "
    "no sandbox minds",
)
def test_silence_beats_what_a_push_or_a_credential_says_of_alerts() -> None:
    loud = sounding(SILENT, vivo_notify_type=4, oppo_category="IM", oppo_notify_level=16)
    assert told(vivo, loud, notify_type=2)["notifyType"] == 1
    assert place(told(oppo, loud), "message.notification.notify_level") == 1
    ringing = {kind: told(vivo, sounding(DEFAULTS[0]), notify_type=kind) for kind in (1, 2, 3, 4)}
    assert {kind: it["notifyType"] for kind, it in ringing.items()} == {1: 2, 2: 2, 3: 4, 4: 4}
