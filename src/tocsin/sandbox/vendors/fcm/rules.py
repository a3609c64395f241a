"""The body of FCM's `messages:send`: which fields exist, of which type, within which bounds.

Google, "FCM v1 REST reference: projects.messages" (read 2026-11). Unknown fields are refused.
Names come in snake_case or camelCase, since Google's JSON reader takes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

PAYLOAD_BYTES_MAX = 4096
TOPIC_PAYLOAD_BYTES_MAX = 2048
TTL_S_MAX = 28 * 24 * 3600
APPLE_PAYLOAD_BYTES_MAX = 4096
RESERVED_KEYS = ("from", "message_type")
RESERVED_PREFIXES = ("google.", "gcm.")

_DURATION = re.compile(r"(\d{1,12})(?:\.\d{1,9})?s")
_TOPIC = re.compile(r"(?:/topics/)?[A-Za-z0-9\-_.~%]+")
_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")
_WHERE = re.compile(r"`\$\.?(?P<path>[^`]*)`")

Texts = dict[str, str] | UnsetType
Text = str | UnsetType
Switch = bool | UnsetType
Words = list[str] | UnsetType


class _Part(Struct, forbid_unknown_fields=True):
    """A message of Google's: what it does not know, it refuses."""


class FcmOptions(_Part):
    analytics_label: Text = UNSET
    image: Text = UNSET
    link: Text = UNSET


class FcmNotification(_Part):
    title: Text = UNSET
    body: Text = UNSET
    image: Text = UNSET


class Color(_Part):
    red: float | UnsetType = UNSET
    green: float | UnsetType = UNSET
    blue: float | UnsetType = UNSET
    alpha: float | UnsetType = UNSET


class LightSettings(_Part):
    color: Color
    light_on_duration: str
    light_off_duration: str


class AndroidNotification(_Part):
    title: Text = UNSET
    body: Text = UNSET
    icon: Text = UNSET
    color: Text = UNSET
    sound: Text = UNSET
    tag: Text = UNSET
    click_action: Text = UNSET
    body_loc_key: Text = UNSET
    body_loc_args: Words = UNSET
    title_loc_key: Text = UNSET
    title_loc_args: Words = UNSET
    channel_id: Text = UNSET
    ticker: Text = UNSET
    sticky: Switch = UNSET
    event_time: Text = UNSET
    local_only: Switch = UNSET
    notification_priority: (
        Literal[
            "PRIORITY_UNSPECIFIED",
            "PRIORITY_MIN",
            "PRIORITY_LOW",
            "PRIORITY_DEFAULT",
            "PRIORITY_HIGH",
            "PRIORITY_MAX",
        ]
        | UnsetType
    ) = UNSET
    default_sound: Switch = UNSET
    default_vibrate_timings: Switch = UNSET
    default_light_settings: Switch = UNSET
    vibrate_timings: Words = UNSET
    visibility: Literal["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"] | UnsetType = UNSET
    notification_count: int | UnsetType = UNSET
    light_settings: LightSettings | UnsetType = UNSET
    image: Text = UNSET
    bypass_proxy_notification: Switch = UNSET
    proxy: Literal["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"] | UnsetType = UNSET


class FcmAndroid(_Part):
    collapse_key: Text = UNSET
    priority: Literal["NORMAL", "HIGH", "normal", "high"] | UnsetType = UNSET
    ttl: Text = UNSET
    restricted_package_name: Text = UNSET
    data: Texts = UNSET
    notification: AndroidNotification | UnsetType = UNSET
    fcm_options: FcmOptions | UnsetType = UNSET
    direct_boot_ok: Switch = UNSET
    bandwidth_constrained_ok: Switch = UNSET
    restricted_satellite_ok: Switch = UNSET


class FcmApns(_Part):
    headers: Texts = UNSET
    payload: dict[str, Any] | UnsetType = UNSET
    fcm_options: FcmOptions | UnsetType = UNSET
    live_activity_token: Text = UNSET


class FcmWebPush(_Part):
    headers: Texts = UNSET
    data: Texts = UNSET
    notification: dict[str, Any] | UnsetType = UNSET
    fcm_options: FcmOptions | UnsetType = UNSET


class FcmMessage(_Part):
    name: Text = UNSET
    data: Texts = UNSET
    notification: FcmNotification | UnsetType = UNSET
    android: FcmAndroid | UnsetType = UNSET
    apns: FcmApns | UnsetType = UNSET
    webpush: FcmWebPush | UnsetType = UNSET
    fcm_options: FcmOptions | UnsetType = UNSET
    token: Text = UNSET
    fid: Text = UNSET
    """The Firebase installation ID of a device, in place of a token."""
    topic: Text = UNSET
    condition: Text = UNSET


class FcmRequest(_Part):
    message: FcmMessage
    validate_only: bool = False


class Violation(Struct, frozen=True):
    """Where a message is wrong, and why; becomes `fieldViolations`."""

    field: str
    description: str


_decoder = msgspec.json.Decoder(FcmRequest)

FREE_FORM = {"data", "headers", "payload"}
"""Objects whose keys are the sender's own and are left as they are."""


def read(body: bytes) -> FcmRequest | Violation:
    """The message, or the first field that Google would complain of."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        return Violation("", f"Invalid JSON payload received. {fault}")
    try:
        return msgspec.convert(snake_case(msgspec.json.decode(body)), FcmRequest)
    except msgspec.ValidationError as fault:
        return _violation(str(fault))


def faults(message: FcmMessage) -> Iterator[Violation]:
    """Everything wrong with a well-typed message but its addressee."""
    if isinstance(message.data, dict):
        yield from _reserved(message.data, "message.data")
    if isinstance(message.android, FcmAndroid):
        if isinstance(message.android.data, dict):
            yield from _reserved(message.android.data, "message.android.data")
        if isinstance(message.android.ttl, str):
            yield from _ttl(message.android.ttl)
    if isinstance(message.apns, FcmApns):
        yield from _apple(message.apns)
    if isinstance(message.topic, str) and not _TOPIC.fullmatch(message.topic):
        yield Violation("message.topic", "Invalid topic name.")
    is_direct = isinstance(message.token, str) or isinstance(message.fid, str)
    limit = PAYLOAD_BYTES_MAX if is_direct else TOPIC_PAYLOAD_BYTES_MAX
    if payload_bytes(message) > limit:
        yield Violation("message", f"Message is too big: at most {limit} bytes.")


def target_count(message: FcmMessage) -> int:
    """How many of token, fid, topic and condition are given; exactly one is right."""
    named = (message.token, message.fid, message.topic, message.condition)
    return sum(isinstance(one, str) for one in named)


def payload_bytes(message: FcmMessage) -> int:
    """Bytes of what travels to an Android device: data, and the notification's fields.

    Google does not say how it counts; this counts each name and value once in UTF-8.
    """
    total = 0
    for part in (message.data, message.notification):
        total += _bytes_of(part)
    if isinstance(message.android, FcmAndroid):
        total += _bytes_of(message.android.data) + _bytes_of(message.android.notification)
    return total


def snake_case(value: Any, *, is_free: bool = False) -> Any:
    """The same JSON with camelCase names rewritten, but for the sender's own keys."""
    if isinstance(value, list):
        return [snake_case(one, is_free=is_free) for one in value]
    if not isinstance(value, dict) or is_free:
        return value
    renamed = {_HUMP.sub(lambda m: f"_{m[0].lower()}", name): one for name, one in value.items()}
    return {name: snake_case(one, is_free=name in FREE_FORM) for name, one in renamed.items()}


def _reserved(data: dict[str, str], where: str) -> Iterator[Violation]:
    for key in data:
        if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES):
            yield Violation(where, f"Invalid data payload key: {key}")


def _apple(apns: FcmApns) -> Iterator[Violation]:
    """What Apple would refuse, and Google tells before it hands the message on."""
    if not isinstance(apns.payload, dict):
        return
    if not isinstance(apns.payload.get("aps", {}), dict):
        yield Violation("message.apns.payload", "Invalid APNs payload: aps must be an object.")
    if len(msgspec.json.encode(apns.payload)) > APPLE_PAYLOAD_BYTES_MAX:
        text = f"APNs payload is too big: at most {APPLE_PAYLOAD_BYTES_MAX} bytes."
        yield Violation("message.apns.payload", text)


def _ttl(ttl: str) -> Iterator[Violation]:
    match = _DURATION.fullmatch(ttl)
    if match is None:
        yield Violation("message.android.ttl", "Illegal duration format; it must end with 's'.")
    elif int(match[1]) > TTL_S_MAX:
        yield Violation("message.android.ttl", "Invalid ttl: at most 28 days.")


def _bytes_of(part: object) -> int:
    if isinstance(part, Struct):
        return _bytes_of(msgspec.to_builtins(part))
    if isinstance(part, dict):
        return sum(len(str(key).encode()) + _bytes_of(value) for key, value in part.items())
    if isinstance(part, list):
        return sum(_bytes_of(one) for one in part)
    return 0 if part is UNSET else len(str(part).encode())


def _violation(text: str) -> Violation:
    where = _WHERE.search(text)
    return Violation(where["path"] if where else "", text.split(" - at ", maxsplit=1)[0])
