"""Apple's push server: what it checks, in its order, and what it answers.

The rules of one push stand in `rules.py`, those of the provider token in `provider_token.py`;
this file joins them with the device book. Apple's pages were read in 2026-11.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct
from msgspec.structs import replace

from tocsin.clock import Chance, Clock
from tocsin.sandbox.buckets import Buckets
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement
from tocsin.sandbox.trust import ApnsCredential
from tocsin.sandbox.vendors.apns.provider_token import ApnsKey, Link, ProviderTokens
from tocsin.sandbox.vendors.apns.rules import BEFORE_TOKEN, CHECKS, PATH, REASONS, ApnsPush

NAME = "apns"
STREAMS = 1000


class ApnsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this Apple behaves where the pages leave it open."""

    environment: str = "production"
    """`production` or `development`; a device of the other one is a BadDeviceToken here."""
    bundle_ids: tuple[str, ...] = ("com.example.app",)
    """The apps of the team."""
    streams: int = STREAMS
    """MAX_CONCURRENT_STREAMS of a connection in good standing."""
    unproven_streams: int | None = None
    """The same before the first success and after a refusal; Apple was seen to use 1. None: as
    `streams`."""
    device_per_minute: int | None = None
    """Pushes per device and minute before 429 TooManyRequests; Apple publishes no figure."""
    takes_der_signatures: bool = False
    """Whether a provider token may be signed in DER form, as pushy signs it, and not only as RFC
    7518 says. That Apple takes it is known from pushy's wide use alone (pushy 0.15.4)."""


class Apns:
    """One APNs environment."""

    name = NAME

    def __init__(
        self,
        settings: ApnsSettings,
        credential: ApnsCredential,
        book: DeviceBook,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._settings = settings
        self._bundle_ids = frozenset(settings.bundle_ids)
        self._book = book
        self._clock = clock
        self._chance = chance
        self.credential = replace(credential, bundle_id=settings.bundle_ids[0])
        private = serialization.load_pem_private_key(credential.private_key.encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        key = ApnsKey(credential.key_id, credential.team_id, private.public_key())
        self._tokens = ProviderTokens(
            {key.key_id: key}, settings.environment, takes_der=settings.takes_der_signatures
        )
        self._buckets = Buckets(settings.device_per_minute, 60.0)

    def access(self, url: str) -> dict[str, Any]:
        del url
        return {"environment": self._settings.environment}

    def opening_streams(self) -> int:
        unproven = self._settings.unproven_streams
        return self._settings.streams if unproven is None else unproven

    def add_key(self, key: ApnsKey) -> None:
        """Make a further signing key known, of the same or of another team."""
        self._tokens.add(key)

    @staticmethod
    def token(number: int) -> str:
        """A well-formed APNs device token; the same number always gives the same token."""
        return sha256(b"apns %d" % number).hexdigest()

    def token_of(self, call: Call) -> str:
        return call.path[len(PATH) :].lower() if call.path.startswith(PATH) else ""

    def judge(self, call: Call) -> Judgement:
        now = self._clock.now()
        push = ApnsPush(call, dict(call.headers), self._bundle_ids)
        reason = self._sender(push, now) or _first(push)
        if reason is not None:
            return self._refuse(push, reason)
        device = self._book.look(NAME, push.token)
        reason = self._device(push, device, now)
        if reason is not None or device is None:
            return self._refuse(push, reason or "BadDeviceToken", device)
        return self._accept(push, device, now)

    def refusal(self, code: str, call: Call) -> Judgement:
        push = ApnsPush(call, dict(call.headers), self._bundle_ids)
        push.token = self.token_of(call)
        return self._refuse(push, code, self._book.known(NAME, push.token))

    def _sender(self, push: ApnsPush, now: float) -> str | None:
        """Who sends: by token, or by the connection's certificate."""
        for check in BEFORE_TOKEN:
            reason = check(push)
            if reason is not None:
                return reason
        certificate_topic = _certificate_topic(push.call)
        if certificate_topic and "authorization" not in push.headers:
            push.certificate_topic = certificate_topic
            push.bundle_ids = {certificate_topic}
            return None
        link = push.call.connection.state
        if not isinstance(link, Link):
            link = push.call.connection.state = Link(seen={})
        key = self._tokens.judge(push.headers.get("authorization"), link, now)
        if isinstance(key, str):
            return key
        if key.topics and not _within(push.headers.get("apns-topic", ""), key.topics):
            return "UnrelatedKeyIdInToken"
        return None

    def _device(self, push: ApnsPush, device: SandboxDevice | None, now: float) -> str | None:
        """What the device book has against it."""
        if device is None or device.state == "other_environment":
            return "BadDeviceToken"
        if device.state == "other_app" or device.app not in ("", push.bundle_id):
            return "DeviceTokenNotForTopic"
        if device.state == "dead":
            return "Unregistered"
        if device.state == "expired":
            return "ExpiredToken"
        if not self._buckets.take(push.token, now):
            return "TooManyRequests"
        return None

    def _accept(self, push: ApnsPush, device: SandboxDevice, now: float) -> Judgement:
        message_id = push.headers.get("apns-id") or self._new_id()
        self._book.show(device, _shown(push, message_id, now), push.expires_at)
        verdict = _verdict(push, 200, message_id)
        verdict.accepted = True
        verdict.stream_limit = self._settings.streams
        return verdict

    def _refuse(
        self, push: ApnsPush, reason: str, device: SandboxDevice | None = None
    ) -> Judgement:
        given = push.headers.get("apns-id", "")
        message_id = given if given and reason != "BadMessageId" else self._new_id()
        verdict = _verdict(push, REASONS.get(reason, 400), message_id)
        answer: dict[str, str | int] = {"reason": reason}
        if verdict.status == 410:
            answer["timestamp"] = int((device.since if device else self._clock.now()) * 1000)
        verdict.reason = reason
        verdict.body = msgspec.json.encode(answer)
        verdict.headers = (*verdict.headers, ("content-type", "application/json"))
        verdict.stream_limit = self.opening_streams()
        return verdict

    def _new_id(self) -> str:
        digits = f"{self._chance.bits(128):032X}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _first(push: ApnsPush) -> str | None:
    for check in CHECKS:
        reason = check(push)
        if reason is not None:
            return reason
    return None


def _verdict(push: ApnsPush, status: int, message_id: str) -> Judgement:
    return Judgement(
        status=status,
        headers=(("apns-id", message_id),),
        token=push.token,
        message_id=message_id,
        correlation=push.headers.get("apns-id", ""),
        collapse=push.headers.get("apns-collapse-id", ""),
        push_type=push.push_type,
        topic=push.topic,
    )


def _shown(push: ApnsPush, message_id: str, now: float) -> Shown:
    alert = push.aps.get("alert", "")
    title, body = "", ""
    if isinstance(alert, dict):
        title, body = str(alert.get("title", "")), str(alert.get("body", ""))
    else:
        body = str(alert)
    return Shown(
        key=push.collapse or message_id,
        title=title,
        body=body,
        at=now,
        message_id=message_id,
        is_silent=not alert,
        data={name: value for name, value in push.payload.items() if name != "aps"},
    )


def _within(topic: str, bundle_ids: tuple[str, ...]) -> bool:
    return any(topic == bundle or topic.startswith(f"{bundle}.") for bundle in bundle_ids)


def _certificate_topic(call: Call) -> str:
    """The bundle id of a client certificate: the UID of its subject."""
    certificate = call.connection.peer_certificate
    if not certificate:
        return ""
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name in ("UID", "userId"):
                return str(value)
    return ""
