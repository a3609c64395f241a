"""Firebase Cloud Messaging, HTTP v1, by service account.

Pages, read 2026-11:
https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas
https://firebase.google.com/docs/cloud-messaging/customize-messages/setting-message-priority
https://firebase.google.com/docs/reference/admin/node/firebase-admin.messaging.fidmessage
https://developers.google.com/identity/protocols/oauth2/service-account
https://trtc.io/document/60547

What is special: a bearer is fetched with an assertion that we sign and lives about an hour. A
message is sent in one of two modes: Android draws a notification itself, or the app gets data and
draws. In notification mode the tag makes a second delivery replace the first, and the collapse
key keeps one waiting message a task instead of one an app; Google keeps at most four keys for a
device that is off. In data mode there is no collapse key, since Google then keeps a hundred
messages, and nothing replaces a repeat. There are two shapes of error with the same status: the
type of the details tells a bad token from a bad message. Badges can be set but not added to. A
device is addressed by a registration token or, as newer SDKs register it, by its Firebase
installation ID, which its shape tells apart. An iPhone behind Google gets Apple's members too.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import jwt
import msgspec
from msgspec import Meta, Struct

from tocsin.channels.ios import shown_by_ios
from tocsin.channels.shared import (
    FORM,
    JSON,
    NOTHING_TO_SHOW,
    bearer,
    custom_data,
    form_body,
    hosts,
    in_every_language,
    is_shown,
    outcome_by_status,
    plain_token,
    rsa_key,
)
from tocsin.channels.shared_texts import fitted, too_large
from tocsin.conversation import (
    Authority,
    Delivery,
    Denied,
    Limits,
    Request,
    Response,
    StaleCredential,
)
from tocsin.domain.message import DEFAULT_SOUNDS, NO_SOUND, Message, sound_file
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.retry import retry_after_s

NAME = "fcm"

NOBODY = "tocsin-check"
"""A topic that nobody follows: Google refuses made-up tokens as badly written ones."""

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1,
    lifetime_max_s=28 * 86_400,
    # 600,000 messages a minute and project is Google's default quota.
    rate_per_s=10_000.0,
    in_flight_max=1000,
    deadline_s=15.0,
)

ORIGIN = "https://fcm.googleapis.com"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
HOSTS = hosts(ORIGIN, TOKEN_URI)
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = TOKEN_URI
"""Whom every assertion is for, wherever the bearer is fetched: Google's own libraries do so."""
ASSERTION_LIFE_S = 3600
QUOTA_WAIT_S = 60.0
"""Google: without a Retry-After, wait at least a minute after a 429."""
FID = re.compile(r"[A-Za-z0-9_-]{22}")
"""A Firebase installation ID: 17 bytes in base64url, cut to 22 characters. Registration tokens are
over a hundred characters long, and all that are made since 2019 have a colon."""
DEAD_AT_APPLE = ("Unregistered", "ExpiredToken")
APPLE_PLATFORMS = ("iphone", "ipad", "ipod", "ios", "mac", "apple", "watch", "tvos", "vision")
"""How the platform begins that an Apple device tells of itself."""


class Settings(Struct, frozen=True, kw_only=True):
    """The members of a service account's JSON file, and how its messages are sent."""

    private_key: Annotated[
        str,
        Meta(
            description="private_key of the service account",
            extra={"is_secret": True, "file": "service-account.json"},
        ),
    ]
    client_email: Annotated[str, Meta(description="client_email of the service account")]
    project_id: Annotated[str, Meta(description="Firebase project that the app belongs to")]
    private_key_id: Annotated[str, Meta(description="private_key_id of the service account")] = ""
    token_uri: Annotated[
        str, Meta(description="Where bearers are fetched: token_uri of the service account")
    ] = TOKEN_URI
    mode: Annotated[
        Literal["notification", "data"],
        Meta(description="Whether Android draws the notification, or the app from data"),
    ] = "notification"
    android_channel_id: Annotated[
        str, Meta(description="Android notification channel of pushes that name none")
    ] = ""
    click_action: Annotated[
        str, Meta(description="Intent action that a click starts; empty opens the app")
    ] = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9.:-]+", self.project_id):
            raise ValueError("project_id holds lower-case letters, digits and '-' only")
        if urlsplit(self.token_uri).scheme != "https":
            raise ValueError("token_uri is not an https address")
        rsa_key(self.private_key)


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.ACCEPTED,
    (400, ""): Outcome.BAD_REQUEST,
    (400, "BAD_REQUEST"): Outcome.BAD_REQUEST,
    (400, "INVALID_ARGUMENT"): Outcome.BAD_REQUEST,
    (400, "INVALID_ARGUMENT token"): Outcome.TOKEN_MISMATCH,
    # Of an iPhone, whose token Apple calls dead: the type of the details tells it.
    (400, "UNREGISTERED"): Outcome.TOKEN_DEAD,
    (401, ""): Outcome.AUTH_EXPIRED,
    (401, "THIRD_PARTY_AUTH_ERROR"): Outcome.CREDENTIALS_WRONG,
    (401, "UNAUTHENTICATED"): Outcome.AUTH_EXPIRED,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    (403, "PERMISSION_DENIED"): Outcome.CREDENTIALS_WRONG,
    (403, "SENDER_ID_MISMATCH"): Outcome.TOKEN_MISMATCH,
    # Google names no device: the address is wrong, and so is the project in our settings.
    (404, ""): Outcome.CREDENTIALS_WRONG,
    (404, "UNREGISTERED"): Outcome.TOKEN_DEAD,
    (413, ""): Outcome.TOO_LARGE,
    (429, ""): Outcome.THROTTLED,
    (429, "QUOTA_EXCEEDED"): Outcome.THROTTLED,
    (429, "RESOURCE_EXHAUSTED"): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (500, "INTERNAL"): Outcome.SERVER_ERROR,
    (500, "UNSPECIFIED_ERROR"): Outcome.SERVER_ERROR,
    (503, ""): Outcome.SERVER_ERROR,
    (503, "UNAVAILABLE"): Outcome.SERVER_ERROR,
}
"""Status and reason to outcome; an empty reason stands for every other one of its status.

The reason is FCM's errorCode, else the answer's status. `BAD_REQUEST` is an error whose details
name fields of the message; `token` behind a reason says that the text names the token.

Only a device that is gone yields `UNREGISTERED`. A wrong project_id yields `SENDER_ID_MISMATCH` for
every device, and an address in a form that is none of Google's tokens `INVALID_ARGUMENT token`.
"""

HINTS = {
    "Invalid JWT Signature": "the key was deleted, or is another account's: make a new one",
    "account not found": "client_email was deleted: make a new service account, and a key for it",
    "Invalid JWT": "set this machine's clock, and compare token_uri with the account's file",
    "PERMISSION_DENIED": "enable the Firebase Cloud Messaging API, and let the account use it",
    "THIRD_PARTY_AUTH_ERROR": "the Firebase console has no right key for Apple or web push",
    "SENDER_ID_MISMATCH": "project_id is another project's than the one the app registered with",
    "404": "project_id is no project",
}


def normal_token(token: str) -> str | None:
    """Google publishes no form: any visible ASCII, in the case that it is told in."""
    return plain_token(token)


def replaces(settings: Settings, message: Message) -> bool:
    """A notification replaces by its tag; data only wakes the app, in whichever language."""
    return in_every_language(message, lambda it: _is_notification(settings, it))


def says_something(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - common shape
    """An iPhone behind Google may have a title of its own."""
    apple = message.apple
    return _is_for_android(message) or bool(apple.title.strip() or apple.subtitle.strip())


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    address = urlsplit(settings.token_uri)
    form = {"grant_type": GRANT_TYPE, "assertion": _assertion(settings, now)}
    response = yield Request(
        "POST",
        f"{address.scheme}://{address.netloc}",
        address.path or "/",
        (FORM,),
        form_body(form),
    )
    return bearer(response, now, too_fast=(429,))


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:
    return (
        settings.client_email,
        settings.private_key,
        settings.private_key_id,
        settings.token_uri,
        auth_origin,
    )


def request(
    settings: Settings,
    credential: Authority,
    delivery: Delivery,
    now: float,  # noqa: ARG001 - the common shape
) -> Request | Receipt:
    if not _is_apple(delivery.platform) and not _is_for_android(delivery.message):
        return NOTHING_TO_SHOW.receipt(delivery)
    message, limit = _message(settings, delivery), LIMITS.payload_max_bytes
    is_shortened = False
    if _json_bytes(message) > limit:
        fits = fitted(delivery, lambda it: _json_bytes(_message(settings, it)), limit)
        # Google does not say how it counts: what is no text is refused by the smaller figure only.
        fits = fits or fitted(delivery, lambda it: _payload_bytes(_message(settings, it)), limit)
        if fits is None:
            return too_large(limit).receipt(delivery)
        message, is_shortened = _message(settings, fits), fits is not delivery
    trial = {"validate_only": True} if delivery.is_trial else {}
    return Request(
        "POST",
        ORIGIN,
        f"/v1/projects/{settings.project_id}/messages:send",
        (("authorization", credential.value), JSON),
        msgspec.json.encode({"message": message, **trial}),
        is_shortened=is_shortened,
    )


def read(delivery: Delivery, response: Response) -> Receipt:
    if response.status == 200:
        return Receipt(device=delivery.device, outcome=Outcome.ACCEPTED, epoch=delivery.epoch)
    error = _error(response.body)
    reason = _reason(error)
    outcome = _outcome(response.status, reason)
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(str(response.status), reason)
    if reason == "INVALID_ARGUMENT token" and _is_fid(delivery.token):
        # What Google finds badly written is our way of naming the device, not the device.
        outcome = Outcome.UNDELIVERABLE
    wait_s = retry_after_s(response.headers)
    if outcome is Outcome.THROTTLED and wait_s is None:
        wait_s = QUOTA_WAIT_S
    return Receipt(
        device=delivery.device,
        outcome=outcome,
        code=str(response.status),
        info=" ".join([reason, *_fields(error)]).strip()[:100],
        retry_after_s=wait_s,
        epoch=delivery.epoch,
    )


def _texts(message: Message) -> dict[str, str]:
    shown = {"title": message.title, "body": message.desc}
    return {name: text for name, text in shown.items() if text}


def _is_for_android(message: Message) -> bool:
    """Without a text it is data: Ext, a badge that the app sets by itself, or a word to wake up."""
    is_data = bool(message.ext) or message.badge_set is not None or message.apple.is_silent
    return is_data or is_shown(message)


def _is_notification(settings: Settings, message: Message) -> bool:
    """The mode: the message's own wish inside Ext, else the credential's.

    Nothing to show makes it data in any case: Android would draw an empty notification.
    """
    if not is_shown(message):
        return False
    wish = -1
    # Ext is opaque: it is read only where it can hold the wish.
    if "fcmPushType" in message.ext:
        try:
            wish = _EXT_DECODER.decode(message.ext).features.push_type
        except (msgspec.DecodeError, UnicodeDecodeError):
            wish = -1
    return wish == 1 if wish in (0, 1) else settings.mode == "notification"


def _message(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    message = delivery.message
    target = {_target(delivery): delivery.token}
    android: dict[str, Any] = {"ttl": f"{min(delivery.ttl_s, LIMITS.lifetime_max_s)}s"}
    if message.android.google_priority:
        android["priority"] = message.android.google_priority.lower()
    data = {"msgid": delivery.correlation, **custom_data(delivery)}
    is_notification = _is_notification(settings, message)
    apple: dict[str, Any] = {}
    if _is_apple(delivery.platform):
        if message.apple.is_silent:
            return {**target, "data": data, "android": android, "apns": _silent_apple(delivery)}
        apple = {"apns": _apple(delivery, is_told_twice=is_notification)}
    if not is_notification:
        data |= _data(settings, message)
        return {**target, "data": data, "android": android, **apple}
    android["collapse_key"] = delivery.collapse
    android["notification"] = _drawn(settings, message, delivery.collapse)
    return {
        **target,
        "notification": _texts(message),
        "data": data,
        "android": android,
        **apple,
    }


def _is_fid(token: str) -> bool:
    """Whether a device is addressed by its Firebase installation ID, and not by a token."""
    return FID.fullmatch(token) is not None


def _is_apple(platform: str) -> bool:
    """Whether the device is one to which Google hands on through Apple."""
    return platform.lower().startswith(APPLE_PLATFORMS)


def _target(delivery: Delivery) -> str:
    """The member of a message that names whom it is for."""
    if delivery.is_trial:
        return "topic"
    return "fid" if _is_fid(delivery.token) else "token"


def _apple(delivery: Delivery, *, is_told_twice: bool) -> dict[str, Any]:
    """What Apple is told, which reads nothing of the Android part.

    iOS draws whatever has a text, in data mode too: it wakes an app for data only now and then.
    `is_told_twice`: Google makes an alert of the notification, and ours is left out if it is that.
    """
    message = delivery.message
    aps = shown_by_ios(message, message.badge_set)
    if not any(text.strip() for text in aps.get("alert", {}).values()):
        return _silent_apple(delivery)
    if is_told_twice and aps.get("alert") == _texts(message):
        del aps["alert"]
    headers = {
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": _apple_expiration(delivery),
        "apns-collapse-id": delivery.collapse,
    }
    image = message.apple.image
    options = {"fcm_options": {"image": image}} if image else {}
    return {"headers": headers, "payload": {"aps": aps}, **options}


def _silent_apple(delivery: Delivery) -> dict[str, Any]:
    """What wakes an app on iOS and shows nothing."""
    headers = {
        "apns-push-type": "background",
        "apns-priority": "5",
        "apns-expiration": _apple_expiration(delivery),
    }
    return {"headers": headers, "payload": {"aps": {"content-available": 1}}}


def _apple_expiration(delivery: Delivery) -> str:
    return str(int(delivery.expires_at)) if delivery.ttl_s else "0"


def _drawn(settings: Settings, message: Message, tag: str) -> dict[str, Any]:
    """What Android is told about the notification besides its text."""
    part = message.android
    found: dict[str, Any] = {
        "channel_id": part.google_channel_id or settings.android_channel_id,
        "image": part.google_image,
        "sound": sound_file(part.sound),
        "click_action": settings.click_action,
    }
    drawn = {name: value for name, value in found.items() if value}
    if part.sound == NO_SOUND:
        drawn |= {"default_sound": False, "default_vibrate_timings": False}
    elif part.sound in DEFAULT_SOUNDS:
        drawn["default_sound"] = True
    drawn["tag"] = tag
    if message.badge_set is not None:
        drawn["notification_count"] = message.badge_set
    return drawn


def _data(settings: Settings, message: Message) -> dict[str, str]:
    """The same for an app that draws by itself; Google takes texts only."""
    part = message.android
    found = {
        "title": message.title,
        "desc": message.desc,
        "channelid": part.google_channel_id or settings.android_channel_id,
        "image": part.google_image,
        "sound": sound_file(part.sound),
        "silent": "1" if part.sound == NO_SOUND else "",
        "badge": "" if message.badge_set is None else str(message.badge_set),
    }
    return {name: text for name, text in found.items() if text}


def _travelling(message: dict[str, Any]) -> list[dict[str, Any]]:
    """What travels to the device."""
    parts = (message.get("notification"), message["data"], message["android"].get("notification"))
    return [part for part in parts if part]


def _json_bytes(message: dict[str, Any]) -> int:
    return sum(len(msgspec.json.encode(part)) for part in _travelling(message)) + _apple_bytes(
        message
    )


def _apple_bytes(message: dict[str, Any]) -> int:
    return len(msgspec.json.encode(message["apns"]["payload"])) if "apns" in message else 0


def _payload_bytes(message: dict[str, Any]) -> int:
    """The least that it may count as: names and values in UTF-8, and Apple's payload as it is."""
    return sum(
        len(name) + len(str(value).encode())
        for part in _travelling(message)
        for name, value in part.items()
    ) + _apple_bytes(message)


def _assertion(settings: Settings, now: float) -> str:
    claims = {
        "iss": settings.client_email,
        "scope": SCOPE,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFE_S,
    }
    headers = {"kid": settings.private_key_id} if settings.private_key_id else None
    key = rsa_key(settings.private_key)
    return jwt.encode(claims, key, algorithm="RS256", headers=headers)


def _outcome(status: int, reason: str) -> Outcome:
    return OUTCOMES.get((status, reason)) or outcome_by_status(OUTCOMES, status)


def _reason(error: _Error) -> str:
    if any(detail.reason in DEAD_AT_APPLE for detail in error.details if detail.is_of_apple()):
        return "UNREGISTERED"
    for detail in error.details:
        if detail.errorCode:
            # An argument that FCM itself refuses may be the token or something else.
            names_token = "registration token" in error.message.lower()
            is_argument = detail.errorCode == "INVALID_ARGUMENT"
            return detail.errorCode + (" token" if is_argument and names_token else "")
    if any(detail.type.endswith("google.rpc.BadRequest") for detail in error.details):
        return "BAD_REQUEST"
    return error.status


def _fields(error: _Error) -> list[str]:
    """The names of the fields that are wrong; their values stay out of books and logs."""
    return [it.field for detail in error.details for it in detail.fieldViolations if it.field]


def _error(body: bytes) -> _Error:
    try:
        return _DECODER.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Error()


class _Violation(Struct, frozen=True):
    field: str = ""


class _Detail(Struct, frozen=True):
    type: str = msgspec.field(name="@type", default="")
    errorCode: str = ""  # noqa: N815 - Google's spelling
    fieldViolations: tuple[_Violation, ...] = ()  # noqa: N815 - Google's spelling
    reason: str = ""

    def is_of_apple(self) -> bool:
        return self.type.endswith("google.firebase.fcm.v1.ApnsError")


class _Error(Struct, frozen=True):
    status: str = ""
    message: str = ""
    details: tuple[_Detail, ...] = ()


class _Answer(Struct, frozen=True):
    error: _Error = _Error()


class _Features(Struct, frozen=True):
    push_type: int = msgspec.field(name="fcmPushType", default=-1)


class _Ext(Struct, frozen=True):
    features: _Features = msgspec.field(name="timPushFeatures", default=_Features())


_DECODER = msgspec.json.Decoder(_Answer)
_EXT_DECODER = msgspec.json.Decoder(_Ext)
