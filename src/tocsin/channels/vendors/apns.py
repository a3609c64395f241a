"""Apple Push Notification service, by provider token or client certificate.

Pages, read 2026-11:
https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
https://developer.apple.com/documentation/usernotifications/establishing-a-certificate-based-connection-to-apns
https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
https://developer.apple.com/documentation/pushkit/responding-to-voip-notifications-from-pushkit
https://developer.apple.com/documentation/activitykit/starting-and-updating-live-activities-with-activitykit-push-notifications

What is special: HTTP/2 only; one device a request, and the answer is the receipt. We sign the
token ourselves, and Apple wants it renewed no oftener than every 20 minutes and at least every
60, so one is shared by everything that a credential sends; a certificate proves the connection
instead. Badges are absolute, so we count. A VoIP push and a Live Activity go to tokens of their
own: when such a token dies, the device's ordinary one is still good, and a call goes there. A Live
Activity that is yet to start has no token: a device has one to start with for each type. Apple
keeps one notification for a device that is off; the collapse id makes a second delivery of a task
replace the first, also on the screen.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Annotated, Any, Literal
from urllib.parse import quote

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate
from msgspec import Meta, Struct

from tocsin.channels.ios import shown_by_ios, with_alert
from tocsin.channels.shared import (
    NOTHING_TO_SHOW,
    custom_data,
    hosts,
    outcome_by_status,
    p256_key,
)
from tocsin.channels.shared_keys import why_unreadable
from tocsin.channels.shared_texts import packed_within, too_large
from tocsin.conversation import (
    Authority,
    Delivery,
    Denied,
    Limits,
    Request,
    Response,
    StaleCredential,
)
from tocsin.domain.message import Message
from tocsin.domain.outcome import TOKEN_LOST, Outcome, Receipt
from tocsin.domain.retry import retry_after_s

NAME = "apns"

NOBODY = "0" * 64

_TOKEN = re.compile(r"(?:[0-9a-f]{2}){32,}")

LIMITS = Limits(
    payload_max_bytes=4096,
    devices_max=1,
    lifetime_max_s=30 * 86_400,
    in_flight_max=1000,
    counts_badge_here=True,
    deadline_s=10.0,
)

VOIP_PAYLOAD_MAX_BYTES = 5120
VOIP_LIFE_S = 30
"""How long Apple keeps a call for a phone that it does not reach: about as long as one rings. Apple
asks for zero or a few seconds, lest a phone rings for a call that has ended."""
TOKEN_LIFE_S = 3600
TOKEN_HOLD_S = 1200
"""Apple takes no other token of the same key for so long."""
TOKEN_RENEW_S = 2700
"""Between Apple's 20 and 60 minutes, with room for the driver's jitter on both sides."""
ORIGINS = {
    "production": "https://api.push.apple.com",
    "development": "https://api.sandbox.push.apple.com",
}
HOSTS = hosts(*ORIGINS.values(), "https://api.development.push.apple.com")
TOPIC_SUFFIXES = {
    "alert": "",
    "background": "",
    "voip": ".voip",
    "liveactivity": ".push-type.liveactivity",
}


class Settings(Struct, frozen=True, kw_only=True):
    """What the customer gets from Apple's developer site."""

    private_key: Annotated[
        str,
        Meta(
            description="Text of the .p8 signing key",
            extra={"is_secret": True},
            examples=["@AuthKey.p8"],
        ),
    ] = ""
    certificate: Annotated[
        str,
        Meta(
            description="Instead of a key: client certificate with its key, PEM (--file: a .p12)",
            extra={"is_secret": True},
        ),
    ] = ""
    key_id: Annotated[
        str, Meta(description="Key ID of the signing key, ten characters", examples=["KEY_ID"])
    ] = ""
    team_id: Annotated[
        str,
        Meta(description="Team ID that the key belongs to, ten characters", examples=["TEAM_ID"]),
    ] = ""
    bundle_id: Annotated[
        str,
        Meta(
            description="Bundle ID of the app: the topic of its pushes",
            examples=["com.example.app"],
        ),
    ]
    environment: Annotated[
        Literal["production", "development"],
        Meta(description="Which of Apple's services the app's tokens come from"),
    ] = "production"

    def __post_init__(self) -> None:
        if bool(self.private_key) == bool(self.certificate):
            raise ValueError("either private_key or certificate is needed, and not both")
        needed = ("key_id", "team_id", "bundle_id") if self.private_key else ("bundle_id",)
        for name in needed:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", getattr(self, name)):
                raise ValueError(f"{name} holds letters, digits, '.', '-' and '_' only")
        if self.private_key:
            _signing_key(self.private_key)
        else:
            _certificate(self.certificate)


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.ACCEPTED,
    (400, ""): Outcome.BAD_REQUEST,
    (400, "BadCollapseId"): Outcome.BAD_REQUEST,
    (400, "BadDeviceToken"): Outcome.TOKEN_MISMATCH,
    (400, "BadExpirationDate"): Outcome.BAD_REQUEST,
    (400, "BadMessageId"): Outcome.BAD_REQUEST,
    (400, "BadPriority"): Outcome.BAD_REQUEST,
    (400, "BadTopic"): Outcome.NOT_PERMITTED,
    # A wrong bundle id in our settings would look the same for every device: no token is dropped.
    (400, "DeviceTokenNotForTopic"): Outcome.NOT_PERMITTED,
    (400, "DuplicateHeaders"): Outcome.BAD_REQUEST,
    # Apple closed the connection before it looked: the next one takes the request.
    (400, "IdleTimeout"): Outcome.SERVER_ERROR,
    (400, "InvalidPushType"): Outcome.BAD_REQUEST,
    (400, "MissingDeviceToken"): Outcome.BAD_REQUEST,
    (400, "MissingTopic"): Outcome.BAD_REQUEST,
    (400, "PayloadEmpty"): Outcome.BAD_REQUEST,
    (400, "TopicDisallowed"): Outcome.NOT_PERMITTED,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    (403, "BadCertificate"): Outcome.CREDENTIALS_WRONG,
    (403, "BadCertificateEnvironment"): Outcome.CREDENTIALS_WRONG,
    (403, "BadEnvironmentKeyIdInToken"): Outcome.CREDENTIALS_WRONG,
    (403, "ExpiredProviderToken"): Outcome.AUTH_EXPIRED,
    (403, "Forbidden"): Outcome.CREDENTIALS_WRONG,
    (403, "InvalidProviderToken"): Outcome.CREDENTIALS_WRONG,
    (403, "MissingProviderToken"): Outcome.CREDENTIALS_WRONG,
    (403, "UnrelatedKeyIdInToken"): Outcome.CREDENTIALS_WRONG,
    (404, ""): Outcome.BAD_REQUEST,
    (404, "BadPath"): Outcome.BAD_REQUEST,
    (405, ""): Outcome.BAD_REQUEST,
    (405, "MethodNotAllowed"): Outcome.BAD_REQUEST,
    # Without Apple's reason a 410 is somebody else's word, and no evidence against a token.
    (410, ""): Outcome.UNDELIVERABLE,
    (410, "ExpiredToken"): Outcome.TOKEN_DEAD,
    (410, "Unregistered"): Outcome.TOKEN_DEAD,
    (413, ""): Outcome.TOO_LARGE,
    (413, "PayloadTooLarge"): Outcome.TOO_LARGE,
    (429, ""): Outcome.THROTTLED,
    (429, "TooManyProviderTokenUpdates"): Outcome.THROTTLED,
    (429, "TooManyRequests"): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (500, "InternalServerError"): Outcome.SERVER_ERROR,
    (503, ""): Outcome.SERVER_ERROR,
    (503, "ServiceUnavailable"): Outcome.SERVER_ERROR,
    (503, "Shutdown"): Outcome.SERVER_ERROR,
}
"""Status and reason to outcome; an empty reason stands for every other one of its status.

Only a dead device yields `Unregistered` and `ExpiredToken`. A wrong environment yields
`BadDeviceToken` for every device, a wrong bundle_id `DeviceTokenNotForTopic` or `BadTopic`.
"""

HINTS = {
    "InvalidProviderToken": "key_id, team_id and private_key do not match, or the key was revoked",
    "ExpiredProviderToken": "set this machine's clock: Apple takes a token for an hour",
    "BadEnvironmentKeyIdInToken": "the key is for Apple's other service: change environment",
    "BadCertificateEnvironment": "the certificate is for Apple's other service: change environment",
    "BadCertificate": "Apple does not take this certificate for pushes: make a new one",
    "BadTopic": "bundle_id is not the id of an app",
    "DeviceTokenNotForTopic": "bundle_id is not the app's that this device registered with",
    "TopicDisallowed": "bundle_id is no app that this key or certificate may push to",
    "-16": "make a new certificate at Apple: this one has ended",
}


_WITHOUT_BRACKETS = str.maketrans("", "", "<>[](){}")


def normal_token(token: str) -> str | None:
    """Hex text in small letters: case, white space and brackets are no part of a token.

    Apple says not to rely on a length; none has ever been under 32 bytes, nor half a byte longer.
    """
    bare = "".join(token.split()).translate(_WITHOUT_BRACKETS).lower()
    return bare if _TOKEN.fullmatch(bare) else None


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """Only what a screen shows under a collapse id is replaced; an app is woken each time."""
    apple = message.apple
    return not (apple.is_silent or apple.is_voip or apple.live_activity)


def says_something(settings: Settings, message: Message) -> bool:
    """An alert shows, rings, counts or has data; the other kinds of push wake the app."""
    return not replaces(settings, message) or _is_noticed(message)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    yield from ()
    if settings.certificate:
        ends_at = _certificate(settings.certificate).not_valid_after_utc
        if now >= ends_at.timestamp():
            info = f"the certificate expired on {ends_at:%Y-%m-%d}"
            return Denied(Outcome.CREDENTIALS_WRONG, "-16", info)
        return Authority("", now + TOKEN_RENEW_S, min(ends_at.timestamp(), now + TOKEN_LIFE_S))
    claims = {"iss": settings.team_id, "iat": int(now)}
    key = _signing_key(settings.private_key)
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": settings.key_id})
    times = (now + TOKEN_RENEW_S, now + TOKEN_LIFE_S)
    return Authority(f"bearer {token}", *times, made_at=now, hold_s=TOKEN_HOLD_S)


def made_of(settings: Settings, auth_origin: str) -> tuple[str, ...]:  # noqa: ARG001 - the shape
    """The key alone: Apple counts by it, whichever topic and environment the token is shown to."""
    return (settings.team_id, settings.key_id, settings.private_key, settings.certificate)


def expires_at(settings: Settings) -> float | None:
    """When the certificate ends, Unix seconds; a signing key does not."""
    if not settings.certificate:
        return None
    return _certificate(settings.certificate).not_valid_after_utc.timestamp()


def request(
    settings: Settings, credential: Authority, delivery: Delivery, now: float
) -> Request | Receipt:
    kind = _kind(delivery)
    token = _token(kind, delivery)
    if not token:
        return Denied(Outcome.NO_TOKEN, "-2", "no token for this Live Activity").receipt(delivery)
    if _starts(delivery.message) and not with_alert({}, delivery.message):
        # iOS starts nothing that it cannot tell the person about.
        return NOTHING_TO_SHOW.receipt(delivery)
    if kind == "alert" and delivery.message.apple.is_voip and not _is_noticed(delivery.message):
        return NOTHING_TO_SHOW.receipt(delivery)
    limit = VOIP_PAYLOAD_MAX_BYTES if kind == "voip" else LIMITS.payload_max_bytes
    packed = packed_within(delivery, lambda it: msgspec.json.encode(_payload(kind, it, now)), limit)
    if packed is None:
        return too_large(limit).receipt(delivery)
    return Request(
        "POST",
        ORIGINS[settings.environment],
        "/3/device/" + (token if token.isalnum() else quote(token, safe="")),
        _headers(settings, credential, kind, delivery, now),
        packed.body,
        identity=settings.certificate or None,
        http2=True,
        # "Establishing a token-based connection to APNs": a connection is one team's.
        pool=settings.team_id,
        is_shortened=packed.is_shortened,
    )


def read(delivery: Delivery, response: Response) -> Receipt:
    if response.status == 200:
        return Receipt(device=delivery.device, outcome=Outcome.ACCEPTED, epoch=delivery.epoch)
    answer = _answer(response.body)
    outcome = _outcome(response.status, answer.reason)
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(str(response.status), answer.reason)
    kind, gone = _kind(delivery), ""
    if outcome in TOKEN_LOST and kind in ("voip", "liveactivity"):
        gone = _token(kind, delivery)
        outcome = Outcome.OTHER_WAY if kind == "voip" else Outcome.UNDELIVERABLE
    return Receipt(
        device=delivery.device,
        outcome=outcome,
        code=str(response.status),
        info=answer.reason[:100],
        retry_after_s=retry_after_s(response.headers),
        died_at=None if answer.timestamp is None else answer.timestamp / 1000,
        epoch=delivery.epoch,
        gone_token=gone,
    )


def _kind(delivery: Delivery) -> str:
    """Apple's push type. Without a VoIP token a call is told by an ordinary alert."""
    apple = delivery.message.apple
    if apple.live_activity is not None:
        return "liveactivity"
    if apple.is_voip and delivery.voip_token:
        return "voip"
    return "background" if apple.is_silent else "alert"


def _token(kind: str, delivery: Delivery) -> str:
    if kind == "liveactivity":
        return delivery.live_token
    return delivery.voip_token if kind == "voip" else delivery.token


def _starts(message: Message) -> bool:
    activity = message.apple.live_activity
    return activity is not None and activity.event == "start"


def _headers(
    settings: Settings, credential: Authority, kind: str, delivery: Delivery, now: float
) -> tuple[tuple[str, str], ...]:
    proof = (("authorization", credential.value),) if credential.value else ()
    headers = (
        *proof,
        ("apns-topic", settings.bundle_id + TOPIC_SUFFIXES[kind]),
        ("apns-push-type", kind),
        ("apns-priority", "5" if kind == "background" else "10"),
        ("apns-expiration", str(_expiration(kind, delivery, now))),
        ("apns-id", delivery.correlation),
    )
    if kind in ("alert", "background"):
        return (*headers, ("apns-collapse-id", delivery.collapse))
    return headers


def _expiration(kind: str, delivery: Delivery, now: float) -> int:
    if not delivery.ttl_s:
        return 0
    latest = now + VOIP_LIFE_S if kind == "voip" else delivery.expires_at
    return int(min(delivery.expires_at, latest))


def _payload(kind: str, delivery: Delivery, now: float) -> dict[str, Any]:
    message = delivery.message
    custom = custom_data(delivery)
    match kind:
        case "liveactivity":
            return {"aps": _live(message, now)}
        case "background":
            return {"aps": {"content-available": 1}, **custom}
        case "voip":
            return {"aps": with_alert({}, message), **custom}
        case _:
            image = {"image": message.apple.image} if message.apple.image else {}
            return {"aps": shown_by_ios(message, delivery.badge), **image, **custom}


def _is_noticed(message: Message) -> bool:
    """Whether an alert does anything on the device."""
    aps = shown_by_ios(message, None)
    counts = message.apple.counts_badge or (message.badge_set, message.badge_add) != (None, None)
    return counts or bool(message.ext) or bool(aps.keys() & {"alert", "sound"})


def _live(message: Message, now: float) -> dict[str, Any]:
    activity = message.apple.live_activity
    assert activity is not None
    aps: dict[str, Any] = {
        "timestamp": int(now),
        "event": activity.event,
        "content-state": activity.content_state,
    }
    if activity.event == "start":
        aps["attributes-type"] = activity.attributes_type
        aps["attributes"] = activity.attributes
        # The app is handed the token by which the activity is updated and ended.
        aps["input-push-token"] = 1
    if activity.stale_at is not None:
        aps["stale-date"] = activity.stale_at
    if activity.event == "end":
        at = activity.dismissal_at
        aps["dismissal-date"] = int(now) if at is None else at
    return with_alert(aps, message)


def _outcome(status: int, reason: str) -> Outcome:
    return OUTCOMES.get((status, reason)) or outcome_by_status(OUTCOMES, status)


def _answer(body: bytes) -> _Answer:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NO_ANSWER


def _certificate(pem: str) -> Certificate:
    """The certificate, if its key stands beside it."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        found = load_pem_x509_certificate(pem.encode())
    except (TypeError, ValueError):
        # The library's message quotes parts of the text, so it is not passed on.
        why = why_unreadable(pem)
        raise ValueError(
            f"certificate is not the PEM text of a certificate and its key: {why}"
        ) from None
    if key.public_key() != found.public_key():
        raise ValueError("certificate and key do not belong together")
    return found


def _signing_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):
        # The library's message quotes parts of the text, so it is not passed on.
        why = why_unreadable(pem)
        raise ValueError(f"private_key is not the text of a .p8 file: {why}") from None
    return p256_key(key)


class _Answer(Struct, frozen=True):
    reason: str = ""
    timestamp: int | None = None
    """Milliseconds; when Apple knew the token dead."""


_NO_ANSWER = _Answer()
_DECODER = msgspec.json.Decoder(_Answer)
