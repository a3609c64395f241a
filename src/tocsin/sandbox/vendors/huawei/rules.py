"""The body of Huawei's `messages:send` for Android: which fields exist, and within which bounds.

Huawei, "Sending messages, v1" (developer.huawei.com, read 2026-11). A fault carries Huawei's code.
That a `review` which is none gets 80100018 is our reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tocsin.sandbox.app_data import extras, members

PAYLOAD_BYTES_MAX = 4096
TOKENS_MAX = 1000
TTL_S_MAX = 15 * 86_400
BADGE_MAX = 99
NOTIFY_ID_MAX = 2**31 - 1
BUTTONS_MAX = 3
INBOX_LINES_MAX = 5
LANGUAGES_MAX = 3
PROFILE_CHARS_MAX = 64

BAD_PARAMETER = "80100001"
BAD_STRUCTURE = "80100003"
BAD_TTL = "80100004"
BAD_COLLAPSE_KEY = "80100013"
BAD_REVIEW = "80100018"
TOO_LARGE = "80300008"
BAD_TOKENS = "80300010"

CATEGORIES = frozenset(
    (
        "IM",
        "VOIP",
        "MISS_CALL",
        "SUBSCRIPTION",
        "TRAVEL",
        "HEALTH",
        "WORK",
        "ACCOUNT",
        "EXPRESS",
        "FINANCE",
        "DEVICE_REMINDER",
        "MAIL",
        "PLAY_VOICE",
        "MARKETING",
    )
)

_TTL = re.compile(r"(-?[0-9]{1,9})(?:\.[0-9]{1,9})?s")
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")

Text = str | UnsetType
Texts = list[str] | UnsetType
Line = Annotated[str, Meta(max_length=1024)]
Number = int | UnsetType
Switch = bool | UnsetType


class _Part(Struct, forbid_unknown_fields=True):
    """An object of Huawei's: what it does not know, it refuses."""


class HuaweiClickAction(_Part):
    type: int
    intent: Text = UNSET
    action: Text = UNSET
    url: Text = UNSET


class HuaweiBadge(_Part):
    add_num: Number = UNSET
    set_num: Number = UNSET
    launcher: Text = msgspec.field(name="class", default=UNSET)


class HuaweiDrawn(_Part):
    title: Text = UNSET
    body: Text = UNSET
    icon: Text = UNSET
    color: Text = UNSET
    sound: Text = UNSET
    default_sound: Switch = UNSET
    tag: Text = UNSET
    click_action: HuaweiClickAction | UnsetType = UNSET
    title_loc_key: Text = UNSET
    title_loc_args: Texts = UNSET
    body_loc_key: Text = UNSET
    body_loc_args: Texts = UNSET
    multi_lang_key: dict[str, dict[str, str]] | UnsetType = UNSET
    """Key of a text to language to the text."""
    image: Text = UNSET
    style: Number = UNSET
    big_title: Text = UNSET
    big_body: Text = UNSET
    inbox_content: list[Line] | UnsetType = UNSET
    notify_id: Number = UNSET
    group: Text = UNSET
    notify_summary: Text = UNSET
    badge: HuaweiBadge | UnsetType = UNSET
    ticker: Text = UNSET
    auto_cancel: Switch = UNSET
    auto_clear: Number = UNSET
    when: Text = UNSET
    importance: Literal["LOW", "NORMAL", "HIGH"] | UnsetType = UNSET
    use_default_vibrate: Switch = UNSET
    use_default_light: Switch = UNSET
    vibrate_config: Texts = UNSET
    visibility: Literal["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"] | UnsetType = UNSET
    light_settings: dict[str, Any] | UnsetType = UNSET
    foreground_show: Switch = UNSET
    profile_id: Text = UNSET
    buttons: list[dict[str, Any]] | UnsetType = UNSET
    channel_id: Text = UNSET


class HuaweiAndroid(_Part):
    collapse_key: Number = UNSET
    urgency: Literal["HIGH", "NORMAL"] | UnsetType = UNSET
    category: Text = UNSET
    ttl: Text = UNSET
    bi_tag: Text = UNSET
    receipt_id: Text = UNSET
    fast_app_target: Literal[1, 2] | UnsetType = UNSET
    target_user_type: Literal[0, 1] | UnsetType = UNSET
    data: Text = UNSET
    notification: HuaweiDrawn | UnsetType = UNSET


class Plain(_Part):
    title: Text = UNSET
    body: Text = UNSET
    image: Text = UNSET


class HuaweiMessage(_Part):
    data: Text = UNSET
    notification: Plain | UnsetType = UNSET
    android: HuaweiAndroid | UnsetType = UNSET
    token: list[str] | UnsetType = UNSET
    topic: Text = UNSET
    condition: Text = UNSET


class Review(_Part):
    """What a third party found of the message; Huawei knows one such party."""

    reviewer: Literal["tuibian"]
    type: Literal[0]
    result: dict[str, Any]


class HuaweiRequest(_Part):
    message: HuaweiMessage
    validate_only: bool = False
    review: list[Review] | UnsetType = UNSET


class HuaweiFault(Struct, frozen=True):
    """What is wrong: Huawei's code and a sentence."""

    code: str
    text: str


_DECODER = msgspec.json.Decoder(HuaweiRequest)


def read(body: bytes) -> HuaweiRequest | HuaweiFault:
    """The message, or the first thing that is wrong with it."""
    try:
        send = _DECODER.decode(body)
    except msgspec.ValidationError as fault:
        return HuaweiFault(BAD_REVIEW if "`$.review" in str(fault) else BAD_PARAMETER, str(fault))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return HuaweiFault(BAD_STRUCTURE, "The message structure is incorrect")
    return next(_faults(send.message), send)


def drawn(message: HuaweiMessage) -> HuaweiDrawn | None:
    """How Android shows it; None for a message that only carries data."""
    android = message.android
    if isinstance(android, HuaweiAndroid) and isinstance(android.notification, HuaweiDrawn):
        return android.notification
    return HuaweiDrawn() if isinstance(message.notification, Plain) else None


def texts(message: HuaweiMessage) -> tuple[str, str]:
    """Title and text; those for Android win over those for all."""
    plain = message.notification if isinstance(message.notification, Plain) else Plain()
    own = drawn(message) or HuaweiDrawn()
    return text(own.title) or text(plain.title), text(own.body) or text(plain.body)


def app_data(message: HuaweiMessage) -> dict[str, Any]:
    """What the app is handed: the data, and the extras of the intent that a click opens."""
    android = message.android if isinstance(message.android, HuaweiAndroid) else HuaweiAndroid()
    click = (drawn(message) or HuaweiDrawn()).click_action
    intent = click.intent if isinstance(click, HuaweiClickAction) else ""
    data = text(android.data) or text(message.data)
    return members(data, "data") | extras(intent)


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _faults(message: HuaweiMessage) -> Iterator[HuaweiFault]:
    given = [message.token, message.topic, message.condition]
    if sum(one is not UNSET for one in given) != 1:
        yield HuaweiFault(BAD_STRUCTURE, "Exactly one of token, topic and condition must be given")
    if isinstance(message.token, list) and not 0 < len(message.token) <= TOKENS_MAX:
        yield HuaweiFault(BAD_TOKENS, "The number of tokens is not within 1 and 1000")
    rest = {name: getattr(message, name) for name in ("data", "notification", "android")}
    rest = {name: one for name, one in rest.items() if one is not UNSET}
    if len(msgspec.json.encode(rest)) > PAYLOAD_BYTES_MAX:
        yield HuaweiFault(TOO_LARGE, "The message body is larger than 4096 bytes")
    if not text(message.data) and drawn(message) is None:
        yield HuaweiFault(BAD_STRUCTURE, "Neither data nor notification is given")
    if isinstance(message.android, HuaweiAndroid):
        yield from _android_faults(message.android)
    shown = drawn(message)
    if shown is not None:
        if not all(texts(message)):
            yield HuaweiFault(BAD_PARAMETER, "title and body must be given")
        if isinstance(message.android, HuaweiAndroid) and message.android.category == "PLAY_VOICE":
            yield HuaweiFault(BAD_PARAMETER, "PLAY_VOICE is for data messages only")
        if isinstance(message.notification, Plain) and not _is_image(message.notification.image):
            yield HuaweiFault(BAD_PARAMETER, "image is not an https address")
        yield from _shown_faults(shown)


def _android_faults(android: HuaweiAndroid) -> Iterator[HuaweiFault]:
    if isinstance(android.ttl, str):
        found = _TTL.fullmatch(android.ttl)
        if found is None or int(found[1]) > TTL_S_MAX:
            yield HuaweiFault(BAD_PARAMETER, "ttl is seconds with s, at most 15 days")
        elif int(found[1]) <= 0:
            yield HuaweiFault(BAD_TTL, "ttl is in the past")
    if isinstance(android.collapse_key, int) and not -1 <= android.collapse_key <= 100:
        yield HuaweiFault(BAD_COLLAPSE_KEY, "collapse_key is not within -1 and 100")
    if isinstance(android.category, str) and android.category not in CATEGORIES:
        yield HuaweiFault(BAD_PARAMETER, "category is unknown")


def _shown_faults(shown: HuaweiDrawn) -> Iterator[HuaweiFault]:
    if not isinstance(shown.click_action, HuaweiClickAction):
        yield HuaweiFault(BAD_PARAMETER, "click_action must be given")
    elif not _leads_somewhere(shown.click_action):
        yield HuaweiFault(BAD_PARAMETER, "click_action does not say where to")
    if isinstance(shown.badge, HuaweiBadge) and not _is_badge(shown.badge):
        yield HuaweiFault(BAD_PARAMETER, "badge needs class, and numbers of at most 99")
    if isinstance(shown.notify_id, int) and not -1 <= shown.notify_id <= NOTIFY_ID_MAX:
        yield HuaweiFault(BAD_PARAMETER, "notify_id is neither -1 nor a positive 32-bit number")
    yield from _look_faults(shown)
    if isinstance(shown.buttons, list) and len(shown.buttons) > BUTTONS_MAX:
        yield HuaweiFault(BAD_PARAMETER, "at most three buttons")
    if len(text(shown.profile_id)) > PROFILE_CHARS_MAX:
        yield HuaweiFault(BAD_PARAMETER, "profile_id is longer than 64")
    if shown.when is not UNSET and not _WHEN.fullmatch(shown.when):
        yield HuaweiFault(BAD_PARAMETER, "when is not a time in UTC")
    if isinstance(shown.multi_lang_key, dict) and any(
        len(languages) > LANGUAGES_MAX for languages in shown.multi_lang_key.values()
    ):
        yield HuaweiFault(BAD_PARAMETER, "multi_lang_key has at most three languages")


def _look_faults(shown: HuaweiDrawn) -> Iterator[HuaweiFault]:
    if shown.style not in (UNSET, 0, 1, 3):
        yield HuaweiFault(BAD_PARAMETER, "style is 0, 1 or 3")
    if shown.style == 1 and not (text(shown.big_title) and text(shown.big_body)):
        yield HuaweiFault(BAD_PARAMETER, "style 1 needs big_title and big_body")
    lines = shown.inbox_content if isinstance(shown.inbox_content, list) else []
    if (shown.style == 3 and not lines) or len(lines) > INBOX_LINES_MAX:
        yield HuaweiFault(BAD_PARAMETER, "style 3 needs one to five lines of inbox_content")
    if not _is_image(shown.image):
        yield HuaweiFault(BAD_PARAMETER, "image is not an https address")
    if shown.color is not UNSET and not _COLOR.fullmatch(shown.color):
        yield HuaweiFault(BAD_PARAMETER, "color is not #RRGGBB")
    if text(shown.sound):
        if not text(shown.sound).startswith("/raw/"):
            yield HuaweiFault(BAD_PARAMETER, "sound is a file under /raw/")
        if shown.default_sound is not False:
            yield HuaweiFault(BAD_PARAMETER, "sound needs default_sound false")


def _is_image(address: Text) -> bool:
    return not text(address) or text(address).startswith("https://")


def _leads_somewhere(click: HuaweiClickAction) -> bool:
    match click.type:
        case 1:
            return bool(text(click.intent)) != bool(text(click.action))
        case 2:
            return text(click.url).startswith("https://")
        case _:
            return click.type == 3


def _is_badge(badge: HuaweiBadge) -> bool:
    adds = badge.add_num is UNSET or 1 <= badge.add_num <= BADGE_MAX
    sets = badge.set_num is UNSET or 0 <= badge.set_num <= BADGE_MAX
    return adds and sets and bool(text(badge.launcher))
