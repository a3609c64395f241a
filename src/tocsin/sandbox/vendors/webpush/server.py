"""A push service as browsers have them, with the browsers behind it.

RFC 8030, 8188, 8291 and 8292; errors in Mozilla's shape
(https://mozilla-push-service.readthedocs.io/en/latest/errors/, read 2026-11). A real service cannot
open what it carries, and a browser that cannot either drops it without a word. This one opens each
message as the browser would and refuses what stays shut, else the mistake would never show.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.domain.bounded import BoundedCache
from tocsin.sandbox.app_server import AppServer
from tocsin.sandbox.buckets import Buckets
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement
from tocsin.sandbox.real_hosts import with_star
from tocsin.sandbox.vendors.webpush.browser import (
    Browser,
    Browsers,
    Unreadable,
    derived_key,
    open_sealed,
    point_of,
    to_text,
)

NAME = "webpush"
STREAMS = 100
BODY_MAX_BYTES = 4096
TTL_MAX_S = 2_592_000
TOKEN_LIFE_MAX_S = 86_400
VERIFIED_MAX = 4096
MESSAGES_MAX = 100_000

_JSON = (("content-type", "application/json"),)
_MESSAGE = re.compile(r"/message/(?P<number>[0-9a-f]{24})")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_URGENCIES = ("very-low", "low", "normal", "high")
_VAPID = re.compile(r"vapid\s+(?P<rest>.+)", re.IGNORECASE)
_PORT = re.compile(r":[0-9]+\Z")
_SUBJECT = re.compile(r"mailto:[^\s@]+@[^\s@]+|https://\S+")


class Refusal(Struct, frozen=True):
    """One way to say no."""

    status: int
    errno: int
    text: str


REFUSALS: dict[str, Refusal] = {
    "NotFound": Refusal(404, 102, "Invalid endpoint"),
    "MethodNotAllowed": Refusal(405, 0, "Method not allowed"),
    "MissingAuthorization": Refusal(401, 109, "Missing VAPID authorization"),
    "InvalidToken": Refusal(401, 109, "Invalid VAPID token"),
    "ExpiredToken": Refusal(401, 109, "VAPID token has expired"),
    "LongToken": Refusal(401, 109, "VAPID token lives over 24 hours"),
    "WrongAudience": Refusal(401, 109, "VAPID aud is not this origin"),
    "BadSubject": Refusal(401, 109, "VAPID sub is no mailto: or https: address"),
    "KeyMismatch": Refusal(401, 109, "VAPID public key mismatch"),
    "Forbidden": Refusal(403, 0, "Forbidden"),
    "MissingTtl": Refusal(400, 111, "Missing TTL header"),
    "BadTtl": Refusal(400, 112, "Invalid TTL header value"),
    "BadTopic": Refusal(400, 113, "Invalid Topic header value"),
    "BadUrgency": Refusal(400, 110, "Invalid Urgency header value"),
    "BadEncoding": Refusal(400, 110, "Invalid Content-Encoding: aes128gcm it is"),
    "Unreadable": Refusal(400, 110, "The browser cannot open this"),
    "TooLarge": Refusal(413, 104, "Payload too large"),
    "Expired": Refusal(404, 102, "Subscription has expired"),
    "Gone": Refusal(410, 106, "Subscription is gone"),
    "TooMany": Refusal(429, 0, "Too many requests"),
    "BackOff": Refusal(503, 201, "Back off"),
    "RetryNow": Refusal(503, 202, "Try again"),
    "Internal": Refusal(500, 999, "Internal error"),
}
"""Our name of each to what is answered; the names stand in the log and in fault rules."""


APPLE: dict[str, int] = {
    "BadAuthorizationHeader": 403,
    "BadJwtToken": 403,
    "BadWebPushTopic": 400,
    "PayloadTooLarge": 413,
    "TooManyRequests": 429,
    "Unregistered": 410,
    "VapidPkHashMismatch": 400,
}
"""What Apple's push service says (developer.apple.com, "Sending web push notifications in web apps
and browsers", read 2026-11), and the status that it comes with."""
MOZILLA: dict[int, int] = {
    101: 400,
    103: 410,
    105: 410,
    108: 400,
    **{known.errno: known.status for known in REFUSALS.values() if known.errno},
}
"""Mozilla's `errno` (mozilla-push-service.readthedocs.io, "Errors", read 2026-11) to status."""
GOOGLE = {
    "key mismatch": (
        b"the VAPID credentials in the authorization header do not correspond to the credentials "
        b"used to create the subscriptions."
    )
}
"""What Google's push service says in plain text, with 403."""


class WebPushSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this push service behaves where the RFCs leave it open."""

    streams: int = STREAMS
    """MAX_CONCURRENT_STREAMS."""
    device_per_minute: int | None = None
    """Messages per subscription and minute before 429; None: no limit."""
    retry_after: bool = True
    """Whether a 429 says when to come back."""
    decodes_topics: bool = False
    """Whether a `Topic` must be the base64url text of some bytes, as at Apple's service, which
    refuses one of 5 or 13 characters (BadWebPushTopic). RFC 8030 only names the characters."""


class WebPushCredential(Struct, frozen=True):
    """The key pair that the web page subscribed with, and whom to write to."""

    private_key: str
    public_key: str
    subject: str = "mailto:sender@example.com"


class Sender(Struct, frozen=True):
    """Whoever signed a VAPID token that was found in order."""

    key: str
    audience: str
    expires_at: float
    subject: str


class WebPush(AppServer):
    """One push service. From `secret` come the browsers and the key that their pages used."""

    name = NAME

    def __init__(
        self,
        settings: WebPushSettings,
        book: DeviceBook,
        clock: Clock,
        chance: Chance,
        *,
        secret: bytes,
    ) -> None:
        self._settings = settings
        self.credential = _credential(secret)
        super().__init__(self.credential.public_key, book, clock, chance)
        self._devices = Buckets(settings.device_per_minute, 60.0)
        self._verified: dict[str, Sender] = {}
        self.browsers = Browsers(secret)
        self._hosts = frozenset[str]()
        self._messages: BoundedCache[str, tuple[str, str, str]] = BoundedCache(MESSAGES_MAX)
        """A message's number to its browser's token, the key that it waits or shows under, and its
        topic."""

    def opening_streams(self) -> int:
        return self._settings.streams

    def stand_at(self, url: str, hosts: tuple[str, ...]) -> None:
        """Where browsers are told to be pushed to, and the names that lead there too."""
        self.browsers.origin = url
        self._hosts = frozenset(hosts)

    def token(self, number: int) -> str:
        """The subscription of a browser, as a device registers it."""
        return self.browsers.browser(number).token

    def token_of(self, call: Call) -> str:
        browser = self.browsers.at(call.path)
        return "" if browser is None else browser.token

    def refusal(self, code: str, call: Call) -> Judgement:
        """One of ours by its name, else what another push service says."""
        verdict = _refuse(code) if code in REFUSALS else _as_another(code)
        browser = self.browsers.at(call.path)
        return verdict if browser is None else _described(verdict, call, browser)

    def judge(self, call: Call) -> Judgement:
        message = _MESSAGE.fullmatch(call.path)
        if message is not None and call.method == "DELETE":
            return self._withdraw(message["number"])
        browser = self.browsers.at(call.path)
        if browser is None:
            return _refuse("NotFound")
        if call.method != "POST":
            return _refuse("MethodNotAllowed", browser.token)
        device = self._device(browser.token)
        reason = self._sender_fault(call, device)
        if reason:
            return _refuse(reason, browser.token)
        headers = dict(call.headers)
        reason = _header_fault(headers) or _body_fault(call.body, headers)
        if not reason and self._settings.decodes_topics and not _is_base64url(headers):
            reason = "BadTopic"
        verdict = _refuse(reason) if reason else self._reach(call, browser, device)
        return _described(verdict, call, browser)

    def _withdraw(self, number: str) -> Judgement:
        """RFC 8030, 6.2: a message that waits is gone, one that was delivered is not found."""
        token, key, topic = self._messages.get(number) or ("", "", "")
        device = self._book.known(NAME, token)
        if device is None or not self._book.withdraw(device, key, from_screen=False):
            verdict = _refuse("NotFound", token)
        else:
            verdict = Judgement(204, token=token, reason="withdrawn")
        verdict.push_type, verdict.collapse, verdict.message_id = "delete", topic, number
        return verdict

    # who sends

    def _sender_fault(self, call: Call, device: SandboxDevice | None) -> str:
        values = [text for name, text in call.headers if name == "authorization"]
        match = _VAPID.fullmatch(values[0]) if len(values) == 1 else None
        if match is None:
            return "MissingAuthorization"
        parts = dict(part.strip().partition("=")[::2] for part in match["rest"].split(","))
        sender = self._verify(parts.get("t", ""), parts.get("k", ""))
        if sender is None:
            return "InvalidToken"
        now = self._clock.now()
        if not self._is_own(sender.audience):
            return "WrongAudience"
        if sender.expires_at <= now:
            return "ExpiredToken"
        if sender.expires_at > now + TOKEN_LIFE_MAX_S:
            return "LongToken"
        if not _SUBJECT.fullmatch(sender.subject):
            return "BadSubject"
        owner = (device.app if device is not None else "") or self.credential.public_key
        is_foreign = device is not None and device.state in ("other_app", "other_environment")
        return "KeyMismatch" if sender.key != owner or is_foreign else ""

    def _is_own(self, audience: str) -> bool:
        """Whether a VAPID token is meant for us, under any of our names."""
        name = audience.removeprefix("https://")
        is_real = name != audience and bool({name, with_star(name)} & self._hosts)
        return is_real or is_audience(audience, self.browsers.origin)

    def _verify(self, token: str, key: str) -> Sender | None:
        known = self._verified.get(token)
        if known is not None and known.key == key:
            return known
        try:
            public = ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP256R1(), jwt.utils.base64url_decode(key)
            )
            claims = jwt.decode(
                token,
                public,
                algorithms=["ES256"],
                options={"verify_exp": False, "verify_aud": False, "verify_nbf": False},
            )
        except (jwt.InvalidTokenError, UnsupportedAlgorithm, ValueError):
            return None
        expires_at, audience = claims.get("exp"), claims.get("aud")
        subject = claims.get("sub", "")
        if not isinstance(expires_at, int | float) or not isinstance(audience, str):
            return None
        sender = Sender(key, audience, float(expires_at), str(subject))
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = sender
        return sender

    # whom it reaches

    def _reach(self, call: Call, browser: Browser, device: SandboxDevice | None) -> Judgement:
        now = self._clock.now()
        if device is None or device.state == "expired":
            return _refuse("Expired" if device is not None else "Gone")
        if device.state == "dead":
            return _refuse("Gone")
        if not self._devices.take(browser.token, now):
            return self._too_many(browser.token, now)
        try:
            plain = open_sealed(call.body, browser.key, browser.auth) if call.body else b"{}"
        except Unreadable as fault:
            verdict = _refuse("Unreadable")
            verdict.reason = f"Unreadable: {fault}"
            return verdict
        headers = dict(call.headers)
        number = f"{self._chance.bits(96):024x}"
        where = f"{self.browsers.origin}/message/{number}"
        answer = (("location", where), ("ttl", headers["ttl"]))
        shown, correlation = _shown(plain, headers.get("topic") or number, number, now)
        self._name(number, browser.token, shown.key, headers.get("topic", ""))
        self._book.show(device, shown, now + int(headers["ttl"]))
        verdict = Judgement(201, answer, accepted=True, message_id=number, correlation=correlation)
        verdict.push_type = headers.get("urgency", "normal")
        return verdict

    def _name(self, number: str, token: str, key: str, topic: str) -> None:
        self._messages.put(number, (token, key, topic))

    def _too_many(self, token: str, now: float) -> Judgement:
        verdict = _refuse("TooMany")
        if self._settings.retry_after:
            seconds = str(max(1, math.ceil(self._devices.opens_in_s(token, now))))
            verdict.headers = (*verdict.headers, ("retry-after", seconds))
        return verdict


def is_audience(told: str, origin: str) -> bool:
    """Whether a VAPID token's `aud` is this push service.

    RFC 8292, 2: the origin in the form of RFC 6454, 6.1, which leaves out a default port and names
    any other. One without its port is taken too: Java's web-push 5.1.1 leaves out every port, and
    is used with services on 443, where that is right. A wrong port is another service.
    """
    return told in (origin, _PORT.sub("", origin))


def _credential(secret: bytes) -> WebPushCredential:
    key = derived_key(secret, b"vapid")
    number = key.private_numbers().private_value.to_bytes(32)
    return WebPushCredential(to_text(number), to_text(point_of(key)))


def _header_fault(headers: dict[str, str]) -> str:
    ttl = headers.get("ttl", "")
    if not ttl:
        return "MissingTtl"
    if not re.fullmatch(r"[0-9]{1,10}", ttl) or int(ttl) > TTL_MAX_S:
        return "BadTtl"
    if "topic" in headers and not _TOPIC.fullmatch(headers["topic"]):
        return "BadTopic"
    if headers.get("urgency", "normal") not in _URGENCIES:
        return "BadUrgency"
    return ""


def _is_base64url(headers: dict[str, str]) -> bool:
    """Whether the topic, if there is one, is what some bytes are written as."""
    topic = headers.get("topic", "")
    try:
        told = base64.urlsafe_b64decode(topic + "=" * (-len(topic) % 4))
    except binascii.Error:
        return False
    return to_text(told) == topic


def _body_fault(body: bytes, headers: dict[str, str]) -> str:
    if body and headers.get("content-encoding") != "aes128gcm":
        return "BadEncoding"
    return "TooLarge" if len(body) > BODY_MAX_BYTES else ""


def _refuse(code: str, token: str = "") -> Judgement:
    known = REFUSALS[code]
    answer = {"code": known.status, "errno": known.errno, "error": code, "message": known.text}
    body = msgspec.json.encode(answer)
    return Judgement(known.status, _JSON, body, reason=code, token=token)


def _as_another(code: str) -> Judgement:
    """What another push service says; one that nobody says is an internal error."""
    number = code.removeprefix("errno ")
    if code in APPLE:
        answer: dict[str, Any] = {"reason": code}
        return Judgement(APPLE[code], _JSON, msgspec.json.encode(answer), reason=code)
    if code in GOOGLE:
        return Judgement(403, (("content-type", "text/plain"),), GOOGLE[code], reason=code)
    if number == code or not number.isdigit() or int(number) not in MOZILLA:
        return _refuse("Internal")
    status = MOZILLA[int(number)]
    answer = {"code": status, "errno": int(number), "error": "", "message": "It is refused"}
    return Judgement(status, _JSON, msgspec.json.encode(answer), reason=code)


def _described(verdict: Judgement, call: Call, browser: Browser) -> Judgement:
    """The verdict with what the log wants to know of the message.

    A real service could not name what it refuses: only the browser's keys open the sender's id.
    """
    verdict.token = browser.token
    verdict.collapse = dict(call.headers).get("topic", "")
    if not verdict.accepted and call.body:
        try:
            plain = open_sealed(call.body, browser.key, browser.auth)
        except Unreadable:
            return verdict
        _, verdict.correlation = _shown(plain, "", "", 0.0)
    return verdict


def _shown(plain: bytes, key: str, number: str, now: float) -> tuple[Shown, str]:
    """What the page's service worker, or the browser, draws; and the sender's own id in it."""
    try:
        told: Any = msgspec.json.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = {}
    if isinstance(told, dict) and told.get("web_push") == 8030:
        told = told.get("notification")
    if not isinstance(told, dict):
        told = {}
    found = told.get("data")
    data = found if isinstance(found, dict) else {}
    shown = Shown(
        key=_text(told.get("tag")) or key,
        title=_text(told.get("title")),
        body=_text(told.get("body")),
        at=now,
        message_id=number,
        is_silent=not (told.get("title") or told.get("body")),
        data=data,
    )
    return shown, _text(data.get("msgid"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
