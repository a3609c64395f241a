"""Apple's rules for one push: headers, topic, token and payload, each a small check.

Apple, "Sending notification requests to APNs" and "Handling notification responses from APNs"
(read 2026-11). A check answers Apple's reason, or None when it finds nothing wrong; `CHECKS` is
the order in which they are asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.sandbox.exchange import Call

REASONS: dict[str, int] = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

TOPIC_SUFFIXES: dict[str, str] = {
    "alert": "",
    "background": "",
    "complication": ".complication",
    "controls": ".push-type.controls",
    "fileprovider": ".pushkit.fileprovider",
    "liveactivity": ".push-type.liveactivity",
    "location": ".location-query",
    "mdm": "",
    "pushtotalk": ".voip-ptt",
    "voip": ".voip",
    "widgets": ".push-type.widgets",
}
"""Each push type with what stands behind the bundle id in its topic."""

_RESERVED_SUFFIXES = tuple(suffix for suffix in TOPIC_SUFFIXES.values() if suffix)
_SUFFIX_TYPES = {suffix: kind for kind, suffix in TOPIC_SUFFIXES.items() if suffix}

PAYLOAD_BYTES_MAX = 4096
VOIP_PAYLOAD_BYTES_MAX = 5120
COLLAPSE_BYTES_MAX = 64
PATH = "/3/device/"

_TOKEN = re.compile(r"(?:[0-9a-f]{2}){32,100}", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")
_LIVE_EVENTS = {"start", "update", "end"}
_LIVE_DATES = ("dismissal-date", "stale-date")


class ApnsPush(Struct):
    """A request as far as it has been read."""

    call: Call
    headers: dict[str, str]
    bundle_ids: Collection[str]
    """The apps the sender may push to."""
    certificate_topic: str = ""
    push_type: str = ""
    topic: str = ""
    bundle_id: str = ""
    token: str = ""
    collapse: str = ""
    priority: int = 10
    expires_at: float | None = None
    """None: kept for the device as long as the vendor likes."""
    payload: dict[str, Any] = {}

    @property
    def aps(self) -> dict[str, Any]:
        aps = self.payload.get("aps")
        return aps if isinstance(aps, dict) else {}


def device_path(push: ApnsPush) -> str | None:
    if not push.call.path.startswith(PATH):
        return "BadPath"
    push.token = push.call.path[len(PATH) :].lower()
    return None


def method(push: ApnsPush) -> str | None:
    return None if push.call.method == "POST" else "MethodNotAllowed"


def header_twice(push: ApnsPush) -> str | None:
    names = Counter(
        name for name, _ in push.call.headers if name.startswith("apns-") or name == "authorization"
    )
    return "DuplicateHeaders" if any(count > 1 for count in names.values()) else None


def message_id(push: ApnsPush) -> str | None:
    given = push.headers.get("apns-id")
    return None if given is None or _UUID.fullmatch(given) else "BadMessageId"


def expiration(push: ApnsPush) -> str | None:
    given = push.headers.get("apns-expiration")
    if given is None:
        return None
    if not _NUMBER.fullmatch(given):
        return "BadExpirationDate"
    push.expires_at = float(given)
    return None


def priority(push: ApnsPush) -> str | None:
    given = push.headers.get("apns-priority", "10")
    if given not in ("10", "5", "1"):
        return "BadPriority"
    push.priority = int(given)
    return None


def push_type(push: ApnsPush) -> str | None:
    given = push.headers.get("apns-push-type")
    if given is None:
        # Older senders name none; the topic's suffix then tells what it is.
        topic = push.headers.get("apns-topic", "")
        ending = next((s for s in _RESERVED_SUFFIXES if topic.endswith(s)), "")
        push.push_type = _SUFFIX_TYPES.get(ending, "alert")
        return None
    if given not in TOPIC_SUFFIXES:
        return "InvalidPushType"
    push.push_type = given
    return None


def priority_of_type(push: ApnsPush) -> str | None:
    """A background push of priority 10 "is an error"; without the header 10 is meant.

    A Live Activity has 5 or 10.
    """
    if push.push_type == "liveactivity":
        return None if push.priority in (5, 10) else "BadPriority"
    return "BadPriority" if push.push_type == "background" and push.priority == 10 else None


def topic(push: ApnsPush) -> str | None:
    push.topic = push.headers.get("apns-topic") or push.certificate_topic
    if not push.topic:
        return "MissingTopic"
    suffix = TOPIC_SUFFIXES[push.push_type]
    if not push.topic.endswith(suffix):
        return "BadTopic"
    push.bundle_id = push.topic[: len(push.topic) - len(suffix)]
    if push.bundle_id.endswith(_RESERVED_SUFFIXES) or not push.bundle_id:
        return "BadTopic"
    return None if push.bundle_id in push.bundle_ids else "TopicDisallowed"


def collapse_id(push: ApnsPush) -> str | None:
    push.collapse = push.headers.get("apns-collapse-id", "")
    length = len(push.collapse.encode("latin-1"))
    return "BadCollapseId" if length > COLLAPSE_BYTES_MAX else None


def device_token(push: ApnsPush) -> str | None:
    if not push.token:
        return "MissingDeviceToken"
    return None if _TOKEN.fullmatch(push.token) else "BadDeviceToken"


def payload_size(push: ApnsPush) -> str | None:
    limit = VOIP_PAYLOAD_BYTES_MAX if push.push_type == "voip" else PAYLOAD_BYTES_MAX
    if len(push.call.body) > limit:
        return "PayloadTooLarge"
    return None if push.call.body else "PayloadEmpty"


def payload_json(push: ApnsPush) -> str | None:
    """Apple has no reason of its own for a body that is not a JSON object; ours is PayloadEmpty."""
    try:
        payload = msgspec.json.decode(push.call.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "PayloadEmpty"
    if not isinstance(payload, dict) or not payload:
        return "PayloadEmpty"
    push.payload = payload
    if push.push_type != "mdm" and not isinstance(payload.get("aps"), dict):
        return "PayloadEmpty"
    return None


def payload_fit(push: ApnsPush) -> str | None:
    """A payload that its push type does not carry would be thrown away by the device unseen.

    Apple accepts some of these and shows nothing; a sandbox that did the same would hide the
    sender's mistake, so they are refused with the reason nearest to it.
    """
    aps = push.aps
    match push.push_type:
        case "background":
            fits = aps.get("content-available") == 1 and aps.keys() == {"content-available"}
        case "liveactivity":
            fits = _live_fits(aps)
        case "widgets":
            fits = aps.get("content-changed") is True
        case _:
            fits = True
    return None if fits else "InvalidPushType"


def _live_fits(aps: dict[str, Any]) -> bool:
    """ActivityKit, "Starting and updating Live Activities with ActivityKit push notifications"
    (read 2026-11): what iOS needs to do anything at all.
    """
    event = aps.get("event")
    fits = (
        isinstance(aps.get("timestamp"), int)
        and event in _LIVE_EVENTS
        and isinstance(aps.get("content-state"), dict)
        and all(isinstance(aps.get(name, 0), int | float) for name in _LIVE_DATES)
    )
    if event != "start":
        return fits
    alert = aps.get("alert")
    told = alert if isinstance(alert, dict) else {}
    return (
        fits
        and isinstance(aps.get("attributes-type"), str)
        and bool(aps["attributes-type"])
        and isinstance(aps.get("attributes"), dict)
        # Nothing starts without a word to the person.
        and bool(told.get("title") or told.get("body"))
    )


Check = Callable[[ApnsPush], str | None]
BEFORE_TOKEN: tuple[Check, ...] = (device_path, method, header_twice)
"""Asked before the sender is known."""
CHECKS: tuple[Check, ...] = (
    message_id,
    expiration,
    priority,
    push_type,
    priority_of_type,
    topic,
    collapse_id,
    device_token,
    payload_size,
    payload_json,
    payload_fit,
)
