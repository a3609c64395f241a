"""The wire format of OfflinePushInfo, which is read into a `Message`.

Source: trtc.io/document/77715 (read 2026-11), with the older members of 33527 that callers still
send. A member of the wrong type is 90043; a value outside its documented set or range is 90001
with the member's name. Unknown members are ignored; null members count as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tocsin.api.wire import bad_field, is_integer, is_shallow, is_within, read_object, read_text
from tocsin.domain.message import (
    AndroidPart,
    ApplePart,
    HarmonyPart,
    LiveActivity,
    Message,
    Translation,
)
from tocsin.errors import CallError

LIVE_ID_MAX_BYTES = 64

Reader = Callable[[str, Any], Any]
"""Reads a member's value; takes the member's name for the refusal."""
Table = Mapping[str, tuple[str, Reader]]
"""By wire name: our name and the reader of the value."""


def wrong_type(name: str) -> CallError:
    """The refusal of a member of the wrong type."""
    return CallError(90043, f"Invalid type of {name} in OfflinePushInfo")


def read_info(value: object) -> Message:
    """Read one OfflinePushInfo."""
    members = read_object(value, CallError(90043))
    read = _read(members, _TOP)
    if read.pop("template", ""):
        raise CallError(90043, "PushTemplateId is not served: templates are kept by the vendor")
    return Message(**read)


def _read(members: Mapping[str, Any], table: Table) -> dict[str, Any]:
    read = {}
    for name, (ours, reader) in table.items():
        if name in members:
            read[ours] = reader(name, members[name])
    return read


# --- readers --------------------------------------------------------------------------------


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong_type(name)
    return value


def _one_of(*choices: str) -> Reader:
    def read(name: str, value: Any) -> str:
        text = _text(name, value)
        if text and text not in choices:
            raise bad_field(name)
        return text

    return read


def _https(name: str, value: Any) -> str:
    text = _text(name, value)
    if text and not text.lower().startswith("https://"):
        raise bad_field(name)
    return text


def _integer(*choices: int) -> Reader:
    def read(name: str, value: Any) -> int:
        if not is_integer(value):
            raise wrong_type(name)
        if value not in choices:
            raise bad_field(name)
        return int(value)

    return read


def _within(low: int, high: int) -> Reader:
    return _integer(*range(low, high + 1))


def _loose_integer(*choices: int) -> Reader:
    """Reads an integer that some libraries, and for vivo the page itself, write as text."""
    read_integer = _integer(*choices)

    def read(name: str, value: Any) -> int | None:
        if isinstance(value, str):
            if not value:
                return None
            if not (value.isascii() and value.isdigit() and len(value) == 1):
                raise bad_field(name)
            value = int(value)
        return int(read_integer(name, value))

    return read


def _flag(name: str, value: Any) -> bool:
    return bool(_integer(0, 1)(name, value))


def _cleared_flag(name: str, value: Any) -> bool:
    return not _flag(name, value)


def _params(name: str, value: Any) -> dict[str, str]:
    texts = {}
    for each, given in read_object(value, wrong_type(name)).items():
        text = read_text(given)
        if text is None:
            raise wrong_type(name)
        texts[each] = text
    return texts


def _part(form: Callable[..., Any], table: Table) -> Reader:
    def read(name: str, value: Any) -> Any:
        return form(**_read(read_object(value, wrong_type(name)), table))

    return read


def _translations(name: str, value: Any) -> tuple[Translation, ...]:
    if not isinstance(value, list):
        raise wrong_type(name)
    rows = [read_object(row, wrong_type(name)) for row in value]
    read = [_read(row, _TRANSLATION) for row in rows]
    return tuple(Translation(**{"language": "", **row}) for row in read)


def _live_id(name: str, value: Any) -> str:
    text = _text(name, value)
    if not text or not is_within(text, LIVE_ID_MAX_BYTES):
        raise bad_field(name)
    return text


def _live_event(name: str, value: Any) -> str:
    if _text(name, value) not in ("start", "update", "end"):
        raise bad_field(name)
    return str(value)


def _type_name(name: str, value: Any) -> str:
    text = _text(name, value)
    if not 0 < len(text.encode()) <= 128:
        raise bad_field(name)
    return text


def _state(name: str, value: Any) -> dict[str, Any]:
    state = read_object(value, wrong_type(name))
    if not is_shallow(state):
        raise bad_field(name)
    return state


def _seconds(name: str, value: Any) -> int:
    if not is_integer(value):
        raise wrong_type(name)
    if not 0 <= value < 2**53:
        raise bad_field(name)
    return int(value)


def _live_activity(name: str, value: Any) -> LiveActivity:
    read = _read(read_object(value, wrong_type(name)), _LIVE_ACTIVITY)
    for wire in ("LaId", "Event", "ContentState"):
        if _LIVE_ACTIVITY[wire][0] not in read:
            raise wrong_type(wire)
    if read["event"] == "start" and not read.keys() >= {"attributes_type", "attributes"}:
        # Apple starts an activity only with its attributes and their type.
        raise bad_field("Event")
    return LiveActivity(**read)


# --- tables ---------------------------------------------------------------------------------

_IMPORTANCE = _one_of("LOW", "NORMAL")

_TRANSLATION: Table = {
    "Language": ("language", _text),
    "Title": ("title", _text),
    "Desc": ("desc", _text),
}

_LIVE_ACTIVITY: Table = {
    "LaId": ("id", _live_id),
    "Event": ("event", _live_event),
    "ContentState": ("content_state", _state),
    "DismissalDate": ("dismissal_at", _seconds),
    # Ours: the platform's own call updates and ends activities, and starts none.
    "AttributesType": ("attributes_type", _type_name),
    "Attributes": ("attributes", _state),
    "StaleDate": ("stale_at", _seconds),
}

_ANDROID: Table = {
    "Sound": ("sound", _text),
    "PushStyle": ("is_big_text", _flag),
    "HuaWeiChannelID": ("huawei_channel_id", _text),
    "HuaWeiImportance": ("huawei_importance", _IMPORTANCE),
    "HuaWeiCategory": ("huawei_category", _text),
    "HuaWeiImage": ("huawei_image", _https),
    "ExtAsHuaweiIntentParam": ("huawei_ext_as_intent", _flag),
    "HonorImportance": ("honor_importance", _IMPORTANCE),
    "HonorImage": ("honor_image", _https),
    "XiaoMiChannelID": ("xiaomi_channel_id", _text),
    "OPPOChannelID": ("oppo_channel_id", _text),
    "OPPOCategory": ("oppo_category", _text),
    "OPPONotifyLevel": ("oppo_notify_level", _integer(1, 2, 16)),
    "OPPOPrivateMsgTemplateId": ("oppo_template_id", _text),
    "OPPOPrivateTitleParameters": ("oppo_title_params", _params),
    "OPPOPrivateContentParameters": ("oppo_content_params", _params),
    "VIVOClassification": ("vivo_classification", _loose_integer(0, 1)),
    "VIVOCategory": ("vivo_category", _text),
    "VIVONotifyType": ("vivo_notify_type", _loose_integer(1, 2, 3, 4)),
    "GoogleChannelID": ("google_channel_id", _text),
    "GoogleImage": ("google_image", _text),
    "GooglePriority": ("google_priority", _one_of("normal", "high")),
    "MeiZuNoticeMsgType": ("meizu_message_type", _integer(0, 1)),
}

_APPLE: Table = {
    "BadgeMode": ("counts_badge", _cleared_flag),
    "Title": ("title", _text),
    "SubTitle": ("subtitle", _text),
    "Image": ("image", _text),
    "MutableContent": ("is_mutable", _flag),
    "Sound": ("sound", _text),
    "InterruptionLevel": (
        "interruption_level",
        _one_of("passive", "active", "time-sensitive", "critical"),
    ),
    "ContentAvailable": ("is_silent", _flag),
    "IsVoipPush": ("is_voip", _flag),
    "LiveActivity": ("live_activity", _live_activity),
}

_HARMONY: Table = {
    "Title": ("title", _text),
    "Category": ("category", _text),
    "Image": ("image", _https),
    "Sound": ("sound", _text),
    "SoundDuration": ("sound_duration_s", _within(1, 60)),
}

_TOP: Table = {
    "PushFlag": ("is_online_only", _flag),
    "Title": ("title", _text),
    "Desc": ("desc", _text),
    "MultiLanguageContent": ("translations", _translations),
    "Ext": ("ext", _text),
    "BadgeAddNum": ("badge_add", _within(1, 99)),
    "BadgeSetNum": ("badge_set", _within(0, 999)),
    "AndroidInfo": ("android", _part(AndroidPart, _ANDROID)),
    "ApnsInfo": ("apple", _part(ApplePart, _APPLE)),
    "HarmonyInfo": ("harmony", _part(HarmonyPart, _HARMONY)),
    "PushTemplateId": ("template", _text),
    "PushTemplateParam": ("template_params", _params),
}
