"""Web Push: every browser's push service, by the subscription that the browser gave.

Pages, read 2026-11:
https://www.rfc-editor.org/rfc/rfc8030 (protocol)  https://www.rfc-editor.org/rfc/rfc8291
https://www.rfc-editor.org/rfc/rfc8292 (VAPID)  https://www.w3.org/TR/push-api/
https://mozilla-push-service.readthedocs.io/en/latest/errors/ (errno)
https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers
https://github.com/WebKit/explainers/tree/main/DeclarativeWebPush
https://learn.microsoft.com/windows/apps/windows-app-sdk/notifications/push-notifications/troubleshooting

What is special: the device's token is the subscription itself, as JSON, and it names the server to
send to. That address is a stranger's word, so the request is guarded: https, resolved once, public
addresses only. A server that nobody knows is not believed when it finds fault with our key, or one
device could stop the channel for all. We sign one token per push service. Text and pictures are
sealed for the browser, so a message is one request of its own. The topic replaces what waits, the
tag what is shown. A service worker, or the browser itself in the declarative form, draws.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Generator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Meta, Struct

from tocsin.channels.shared import (
    custom_data,
    in_every_language,
    is_shown,
    outcome_by_status,
    p256_key,
)
from tocsin.channels.shared_keys import why_unreadable
from tocsin.channels.shared_texts import packed_within, too_large
from tocsin.conversation import (
    ACCEPTED,
    Authority,
    Delivery,
    Denied,
    Limits,
    Request,
    Response,
    StaleCredential,
)
from tocsin.domain.message import NO_SOUND, Message, sound_file
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt
from tocsin.domain.retry import retry_after_s
from tocsin.domain.webpush import (
    PLAIN_MAX_BYTES,
    Address,
    address_of,
    base64url,
    public_bytes,
    seal,
    subscription_of,
    subscription_text,
    to_base64url,
)

NAME = "webpush"

NOBODY = ""
"""There is no push service to ask before a browser has subscribed."""

LIMITS = Limits(
    payload_max_bytes=PLAIN_MAX_BYTES,
    devices_max=1,
    # Google keeps a message four weeks, Mozilla 30 days.
    lifetime_max_s=28 * 86_400,
    in_flight_max=500,
    deadline_s=10.0,
)

TOKEN_LIFE_S = 12 * 3600
"""RFC 8292 allows 24 hours; half of it leaves room for clocks that differ."""
TOKEN_RENEW_S = 9 * 3600
TOKEN_SKEW_S = 300
"""A token stays good so much longer than the authority it is made from."""
ORIGINS_MAX = 256
"""Push services whose token is kept; there are a handful, but anybody can name another."""
WAIT_MAX_S = 3600.0
"""The longest wait that a push service is obeyed in: it may be anybody's server."""
HANDLE_MAX = 1024
"""Characters of a message's address that are kept."""
BROWSER_SERVICES = (
    "fcm.googleapis.com",
    "android.googleapis.com",
    ".push.services.mozilla.com",
    ".push.apple.com",
    ".notify.windows.com",
)
SERVICES = (
    *BROWSER_SERVICES,
    # Nobody reaches these through the guard: where they answer, the operator has allowed it.
    "127.0.0.1",
    "localhost",
)
"""Whose word about our key is believed."""
HOSTS = (
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    *(f"*{name}" if name.startswith(".") else name for name in BROWSER_SERVICES),
)


class Settings(Struct, frozen=True, kw_only=True):
    """The key pair that the web page subscribed with, and what every message carries."""

    private_key: Annotated[
        str,
        Meta(
            description="VAPID private key: 43 characters of base64url, or PEM text",
            extra={"is_secret": True},
            examples=["@vapid.pem"],
        ),
    ]
    subject: Annotated[
        str,
        Meta(
            description="Whom a push service may write to: mailto: or https: address",
            examples=["mailto:push@example.com"],
        ),
    ]
    public_key: Annotated[
        str, Meta(description="VAPID public key, only to check that the two belong together")
    ] = ""
    form: Annotated[
        Literal["worker", "declarative"],
        Meta(description="Who draws: the page's service worker, or the browser (needs url)"),
    ] = "worker"
    url: Annotated[str, Meta(description="Page that a click opens")] = ""
    icon: Annotated[str, Meta(description="Address of the picture beside the text")] = ""
    badge_icon: Annotated[str, Meta(description="Address of the small picture in the bar")] = ""
    urgency: Annotated[
        Literal["very-low", "low", "normal", "high"],
        Meta(description="How much battery a message is worth"),
    ] = "high"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(mailto:[^\s@]+@[^\s@]+|https://[^\s]+)", self.subject):
            raise ValueError("subject is a mailto: or https: address")
        key = _signing_key(self.private_key)
        if self.public_key and self.public_key.rstrip("=") != to_base64url(public_bytes(key)):
            raise ValueError("public_key does not belong to private_key")
        for name in ("url", "icon", "badge_icon"):
            if not re.fullmatch(r"(https?://[!-~]+)?", getattr(self, name)):
                raise ValueError(f"{name} is not an http or https address")
        if self.form == "declarative" and not self.url:
            raise ValueError("the declarative form needs url: the page that a click opens")


OUTCOMES: dict[tuple[int, str], Outcome] = {
    (200, ""): Outcome.ACCEPTED,
    (201, ""): Outcome.ACCEPTED,
    (202, ""): Outcome.ACCEPTED,
    (400, ""): Outcome.BAD_REQUEST,
    (400, "BadWebPushTopic"): Outcome.BAD_REQUEST,
    # The browser subscribed with another key than ours: that says nothing about the others.
    (400, "VapidPkHashMismatch"): Outcome.NOT_PERMITTED,
    (400, "errno 101"): Outcome.BAD_REQUEST,
    (400, "errno 108"): Outcome.BAD_REQUEST,
    (400, "errno 110"): Outcome.BAD_REQUEST,
    (400, "errno 111"): Outcome.BAD_REQUEST,
    (400, "errno 112"): Outcome.BAD_REQUEST,
    (400, "errno 113"): Outcome.BAD_REQUEST,
    (401, ""): Outcome.AUTH_EXPIRED,
    (401, "errno 109"): Outcome.AUTH_EXPIRED,
    (401, "key mismatch"): Outcome.NOT_PERMITTED,
    (403, ""): Outcome.CREDENTIALS_WRONG,
    (403, "BadAuthorizationHeader"): Outcome.CREDENTIALS_WRONG,
    (403, "BadJwtToken"): Outcome.CREDENTIALS_WRONG,
    (403, "key mismatch"): Outcome.NOT_PERMITTED,
    # RFC 8030, 7.3: the address is the subscription, so these need no further word.
    (404, ""): Outcome.TOKEN_DEAD,
    (404, "errno 102"): Outcome.TOKEN_DEAD,
    (405, ""): Outcome.BAD_REQUEST,
    # Windows says so where others say 429.
    (406, ""): Outcome.THROTTLED,
    (410, ""): Outcome.TOKEN_DEAD,
    (410, "Unregistered"): Outcome.TOKEN_DEAD,
    (410, "errno 103"): Outcome.TOKEN_DEAD,
    (410, "errno 105"): Outcome.TOKEN_DEAD,
    (410, "errno 106"): Outcome.TOKEN_DEAD,
    (413, ""): Outcome.TOO_LARGE,
    (413, "PayloadTooLarge"): Outcome.TOO_LARGE,
    (413, "errno 104"): Outcome.TOO_LARGE,
    (429, ""): Outcome.THROTTLED,
    (429, "TooManyRequests"): Outcome.THROTTLED,
    (500, ""): Outcome.SERVER_ERROR,
    (502, ""): Outcome.SERVER_ERROR,
    (503, ""): Outcome.SERVER_ERROR,
    (503, "errno 201"): Outcome.SERVER_ERROR,
    (503, "errno 202"): Outcome.SERVER_ERROR,
}
"""Status and reason to outcome; an empty reason stands for every other one of its status.

The reason is Apple's, Mozilla's errno, or `key mismatch` where a text of Google's or Mozilla's
says that the browser subscribed with another key.

404 and 410 are of a subscription that is gone, whoever asks (RFC 8030, 7.3). Another key than the
page's yields `key mismatch` or `VapidPkHashMismatch`, for that browser's subscription alone.
"""

HINTS = {
    "key mismatch": "private_key is not the one whose public key the pages subscribe with",
    "VapidPkHashMismatch": "private_key is not the one whose public key the pages subscribe with",
    "BadJwtToken": "set this machine's clock, and let subject be an address of yours",
}


_NOBODYS_KEYS = {
    # The group's own base point, whose private key everybody knows.
    "p256dh": "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW"
    "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    "auth": "A" * 22,
}


def normal_token(token: str) -> str | None:
    """The subscription with its address and keys alone, written in one way."""
    return subscription_text(token)


def identity(token: str) -> str:
    """The endpoint: new keys at the same one belong to the same browser."""
    to = address_of(token)
    return "" if to is None else to.origin + to.path


def way(token: str) -> str:
    """The push service that a subscription leads to: its origin; empty where it leads nowhere."""
    to = address_of(token)
    return "" if to is None else to.origin


def nobody(way: str) -> str:
    """A subscription at this push service that no browser has."""
    endpoint = f"{way}/tocsin-nobody"
    return msgspec.json.encode({"endpoint": endpoint, "keys": _NOBODYS_KEYS}).decode()


def replaces(settings: Settings, message: Message) -> bool:  # noqa: ARG001 - the common shape
    """What is shown is replaced by its tag; a message with nothing to show wakes the page."""
    return in_every_language(message, is_shown)


def authorize(settings: Settings, now: float) -> Generator[Request, Response, Authority | Denied]:
    yield from ()
    return _vapid(settings, now + TOKEN_RENEW_S, now + TOKEN_LIFE_S)


def subscription_key(settings: Settings) -> str:
    """The public half of the key pair, as `applicationServerKey` takes it."""
    return to_base64url(public_bytes(_signing_key(settings.private_key)))


def request(
    settings: Settings,
    credential: Authority,
    delivery: Delivery,
    now: float,  # noqa: ARG001 - the common shape
) -> Request | Receipt:
    to = subscription_of(delivery.token)
    if to is None:
        return Denied(Outcome.NO_TOKEN, "-2", "no Web Push subscription").receipt(delivery)
    limit = LIMITS.payload_max_bytes
    packed = packed_within(delivery, lambda it: msgspec.json.encode(_body(settings, it)), limit)
    if packed is None:
        return too_large(limit).receipt(delivery)
    vapid = _ready(settings, credential)
    return Request(
        "POST",
        to.origin,
        to.path,
        (
            ("authorization", _authorization(settings, vapid, to.origin)),
            ("ttl", str(max(0, min(delivery.ttl_s, LIMITS.lifetime_max_s)))),
            ("urgency", settings.urgency),
            ("topic", _topic(delivery.collapse)),
            ("content-encoding", "aes128gcm"),
            ("content-type", "application/octet-stream"),
        ),
        seal(packed.body, to, secret=vapid.secret, correlation=delivery.correlation),
        is_guarded=True,
        is_shortened=packed.is_shortened,
    )


def read(delivery: Delivery, response: Response) -> Receipt:
    reason = "" if response.status < 300 else _reason(response.body)
    outcome = _outcome(response.status, reason)
    if outcome is Outcome.ACCEPTED:
        return Receipt(
            device=delivery.device,
            outcome=outcome,
            epoch=delivery.epoch,
            handle=_message_path(delivery, response.headers.get("location", "")),
        )
    accuses_us = outcome in (Outcome.AUTH_EXPIRED, Outcome.CREDENTIALS_WRONG)
    if accuses_us and not _is_known(address_of(delivery.token)):
        outcome = Outcome.NOT_PERMITTED
    if outcome is Outcome.AUTH_EXPIRED:
        raise StaleCredential(str(response.status), reason)
    wait_s = retry_after_s(response.headers)
    return Receipt(
        device=delivery.device,
        outcome=outcome,
        code=str(response.status),
        info=reason,
        retry_after_s=None if wait_s is None else min(wait_s, WAIT_MAX_S),
        epoch=delivery.epoch,
    )


def recall(
    settings: Settings,
    credential: Authority,
    deliveries: Sequence[Delivery],
    now: float,  # noqa: ARG001 - the common shape
) -> Generator[Request, Response, BatchReceipts]:
    """Withdraw messages that wait for their browsers (RFC 8030, 6.2): a DELETE of each.

    What is shown stays: only the page can close it, or an overwrite that has the same tag.
    """
    receipts = []
    for delivery in deliveries:
        to = address_of(delivery.token)
        if to is None or not delivery.handle:
            receipts.append(_NO_NAME.receipt(delivery))
            continue
        vapid = _ready(settings, credential)
        headers = (("authorization", _authorization(settings, vapid, to.origin)),)
        response = yield Request("DELETE", to.origin, delivery.handle, headers, is_guarded=True)
        receipts.append(_taken_back(response).receipt(delivery))
    return BatchReceipts.each(receipts)


class _Vapid(Authority, frozen=True, kw_only=True):
    """The signing key made ready, with the tokens signed so far: one a push service."""

    key: ec.EllipticCurvePrivateKey
    secret: bytes
    """What the ephemeral keys of messages are derived from."""
    tokens: dict[str, str]
    """Only what signing again would give: forgetting one changes no request."""


def _ready(settings: Settings, credential: Authority) -> _Vapid:
    """The authority with its key; one that was handed in without is made ready anew."""
    if isinstance(credential, _Vapid):
        return credential
    return _vapid(settings, credential.renew_at, credential.expires_at)


def _vapid(settings: Settings, renew_at: float, expires_at: float) -> _Vapid:
    key = _signing_key(settings.private_key)
    number = key.private_numbers().private_value.to_bytes(32)
    secret = hmac.digest(number, b"tocsin/webpush/messages", "sha256")
    public = to_base64url(public_bytes(key))
    return _Vapid(public, renew_at, expires_at, key=key, secret=secret, tokens={})


def _authorization(settings: Settings, vapid: _Vapid, origin: str) -> str:
    token = vapid.tokens.get(origin)
    if token is None:
        expires_at = int(vapid.expires_at) + TOKEN_SKEW_S
        claims = {"aud": origin, "exp": expires_at, "sub": settings.subject}
        token = _signed(claims, vapid.key)
        if len(vapid.tokens) >= ORIGINS_MAX:
            vapid.tokens.clear()
        vapid.tokens[origin] = token
    return f"vapid t={token}, k={vapid.value}"


def _signed(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A JWT by ES256. Signed as RFC 6979 says, so that the same request is the same bytes."""
    head, body = ({"typ": "JWT", "alg": "ES256"}, claims)
    text = ".".join(to_base64url(msgspec.json.encode(part)) for part in (head, body))
    how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(key.sign(text.encode(), how))
    return f"{text}.{to_base64url(r.to_bytes(32) + s.to_bytes(32))}"


def _body(settings: Settings, delivery: Delivery) -> dict[str, Any]:
    """What the service worker reads, or what the browser itself draws from."""
    message = delivery.message
    data = {
        "msgid": delivery.correlation,
        **custom_data(delivery),
        "sound": sound_file(message.android.sound),
        "url": settings.url,
    }
    shown: dict[str, Any] = {
        "title": message.title,
        "body": message.desc,
        "icon": settings.icon,
        "badge": settings.badge_icon,
    }
    shown = {name: text for name, text in shown.items() if text}
    if shown.keys() & {"title", "body"}:
        shown["tag"] = delivery.collapse
    if message.android.sound == NO_SOUND:
        shown["silent"] = True
    shown["data"] = {name: text for name, text in data.items() if text}
    if settings.form == "worker" or not message.title:
        return shown
    shown.pop("badge", None)
    shown["navigate"] = settings.url
    body: dict[str, Any] = {"web_push": 8030, "notification": shown}
    if message.badge_set is not None:
        body["app_badge"] = message.badge_set
    return body


def _message_path(delivery: Delivery, location: str) -> str:
    """Where the message is withdrawn: a path on the subscription's own server, or nothing.

    The address is a stranger's word, so it may not lead anywhere else, nor be of any length.
    """
    to = address_of(delivery.token)
    if to is None or not location or len(location) > HANDLE_MAX:
        return ""
    path = location.removeprefix(to.origin)
    return path if re.fullmatch(r"/(?!/)[!-~]*", path) else ""


def _taken_back(response: Response) -> Denied:
    """What the answer to a DELETE says; a message that was delivered or expired is not found."""
    status = response.status
    if status in (200, 202, 204):
        return ACCEPTED
    if status in (404, 410):
        return Denied(Outcome.UNDELIVERABLE, str(status), "not there any more")
    if status in (401, 403, 405, 501):
        return Denied(Outcome.NOT_PERMITTED, str(status), "takes nothing back")
    wait_s = retry_after_s(response.headers)
    return Denied(outcome_by_status(OUTCOMES, status), str(status), "", wait_s)


_NO_NAME = Denied(Outcome.NOT_PERMITTED, "-14", "the push service gave the message no name")


def _topic(collapse: str) -> str:
    """At most 32 characters of base64url (RFC 8030, 5.4), in fours.

    Apple decodes it and answers BadWebPushTopic where no bytes have such a text, as those of 5 or
    13 characters.
    """
    if len(collapse) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9_-]{1,32}", collapse):
        return collapse
    return to_base64url(hashlib.sha256(collapse.encode()).digest()[:24])


def _is_known(to: Address | None) -> bool:
    """Whether the push service is one of those that browsers come with."""
    if to is None:
        return False
    return any(f".{to.host}".endswith(it) if it[0] == "." else to.host == it for it in SERVICES)


def _outcome(status: int, reason: str) -> Outcome:
    return OUTCOMES.get((status, reason)) or outcome_by_status(OUTCOMES, status)


def _reason(body: bytes) -> str:
    """One of a few words of ours; what a stranger's server wrote does not get into the books."""
    text = body[:1000].decode("utf-8", "replace").lower()
    if "do not correspond" in text or "key mismatch" in text:
        return "key mismatch"
    try:
        answer = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if answer.errno:
        return f"errno {answer.errno}"
    return answer.reason if re.fullmatch(r"[A-Za-z]{1,40}", answer.reason) else ""


def _signing_key(text: str) -> ec.EllipticCurvePrivateKey:
    try:
        if "-----BEGIN" in text:
            key: object = load_pem_private_key(text.encode(), password=None)
        else:
            raw = base64url(text.strip())
            # A short text would be a key, too: one that anybody can guess. Some libraries leave out
            # zeros at the beginning.
            number = int.from_bytes(raw) if 30 <= len(raw) <= 32 else 0
            key = ec.derive_private_key(number, ec.SECP256R1())
    except (TypeError, ValueError):
        # The library's message may quote parts of the text, so it is not passed on.
        why = why_unreadable(text)
        raise ValueError(
            f"private_key is neither 43 characters of base64url nor PEM: {why}"
        ) from None
    return p256_key(key)


class _Answer(Struct, frozen=True):
    errno: int = 0
    reason: str = ""


_DECODER = msgspec.json.Decoder(_Answer)
