"""Google's FCM v1: `messages:send` and the token endpoint, on one port.

Google, "FCM v1 REST reference" with its "ErrorCode" page and "Throttling and quotas" (read
2026-11). What a message may contain stands in `rules.py`, bearers in `oauth.py`.
"""

from __future__ import annotations

import math
import re
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import UNSET, Struct
from msgspec.structs import replace

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer
from tocsin.sandbox.bearers import Bearers
from tocsin.sandbox.buckets import Buckets
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement
from tocsin.sandbox.trust import FcmCredential
from tocsin.sandbox.vendors.fcm import rules
from tocsin.sandbox.vendors.fcm.oauth import ServiceAccount, TokenEndpoint
from tocsin.sandbox.vendors.fcm.rules import FcmMessage, Violation

NAME = "fcm"
STREAMS = 100
TOKEN_PATH = "/token"  # noqa: S105 - an address, not a secret
PROJECT_PER_MINUTE = 600_000

_PATH = re.compile(r"/v1/projects/(?P<project>[^/]+)/messages:send")
_DEVICE_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,}:[A-Za-z0-9_-]{32,}")
_FID = re.compile(r"[cdef][A-Za-z0-9_-]{21}")
"""As firebase-js-sdk checks one (installations/src/helpers/generate-fid.ts, read 2026-11)."""
_TOKEN_IN_BODY = re.compile(rb'"(?:token|fid)"\s*:\s*"([^"\\]{1,4096})"')

SERVICE_ACCOUNT_KEY_ID = "5a4d1b0c0000000000000000000000000000cafe"

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class ErrorCode(Struct, frozen=True):
    """One of FCM's error codes, with what carries it."""

    http: int
    status: str
    text: str


CODES: dict[str, ErrorCode] = {
    "UNSPECIFIED_ERROR": ErrorCode(500, "UNKNOWN", "No more information is available."),
    "INVALID_ARGUMENT": ErrorCode(
        400,
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
    ),
    "UNREGISTERED": ErrorCode(404, "NOT_FOUND", "Requested entity was not found."),
    "SENDER_ID_MISMATCH": ErrorCode(403, "PERMISSION_DENIED", "SenderId mismatch"),
    "QUOTA_EXCEEDED": ErrorCode(
        429, "RESOURCE_EXHAUSTED", "Quota exceeded for messages sent per minute."
    ),
    "UNAVAILABLE": ErrorCode(503, "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": ErrorCode(500, "INTERNAL", "Internal error encountered."),
    "THIRD_PARTY_AUTH_ERROR": ErrorCode(
        401, "UNAUTHENTICATED", "The APNs certificate or web push key is invalid or missing."
    ),
    "UNAUTHENTICATED": ErrorCode(
        401, "UNAUTHENTICATED", "Request had invalid authentication credentials."
    ),
    "PERMISSION_DENIED": ErrorCode(
        403, "PERMISSION_DENIED", "Permission denied on resource project."
    ),
    "NOT_FOUND": ErrorCode(404, "NOT_FOUND", "The requested URL was not found."),
    "RESOURCE_EXHAUSTED": ErrorCode(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
}
_WITHOUT_FCM_ERROR = {"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
"""Refused before the message is looked at, so FCM itself has no say in the details."""


class FcmSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this Google behaves where the pages leave it open."""

    project_id: str = "tocsin-sandbox"
    streams: int = STREAMS
    """MAX_CONCURRENT_STREAMS; Google's front ends usually grant 100."""
    project_per_minute: int | None = PROJECT_PER_MINUTE
    """Messages per project and minute before 429; None: no limit."""
    device_per_minute: int | None = None
    """Messages per device and minute before 429; Google is said to use 240."""
    retry_after: bool = True
    """Whether a 429 for quota says when to come back."""


class Fcm(AppServer):
    """One FCM with one project."""

    name = NAME
    _first_token = _TOKEN_IN_BODY

    def __init__(
        self,
        settings: FcmSettings,
        private_key: str,
        book: DeviceBook,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._settings = settings
        super().__init__(settings.project_id, book, clock, chance)
        self._projects = Buckets(settings.project_per_minute, 60.0)
        self._devices = Buckets(settings.device_per_minute, 60.0)
        # Google's own begin so.
        self.bearers = Bearers("ya29.sandbox-", chance)
        self.credential = FcmCredential(
            project_id=settings.project_id,
            private_key_id=SERVICE_ACCOUNT_KEY_ID,
            private_key=private_key,
            client_email=f"sender@{settings.project_id}.iam.gserviceaccount.com",
            client_id="100000000000000000001",
            token_uri=TOKEN_PATH,
        )
        self.oauth = TokenEndpoint(_account(self.credential), self.bearers)

    def stand_at(self, url: str, hosts: tuple[str, ...]) -> None:
        del hosts
        self.credential = replace(self.credential, token_uri=f"{url}{TOKEN_PATH}")

    def access(self, url: str) -> dict[str, Any]:
        return {"token_url": f"{url}{TOKEN_PATH}"}

    def opening_streams(self) -> int:
        return self._settings.streams

    @staticmethod
    def token(number: int) -> str:
        """A well-formed FCM registration token; the same number always gives the same token."""
        digest = sha256(b"fcm %d" % number).hexdigest()
        return f"{digest[:22]}:APA91b{digest}{digest[22:]}"

    @staticmethod
    def fid(number: int) -> str:
        """A well-formed Firebase installation ID; a device of its own in the book."""
        digest = sha256(b"fid %d" % number).hexdigest()
        return f"{'cdef'[number % 4]}{digest[:21]}"

    def judge(self, call: Call) -> Judgement:
        now = self._clock.now()
        path = call.path.split("?")[0]
        if path == TOKEN_PATH:
            return self.oauth.judge(call, now)
        match = _PATH.fullmatch(path)
        if match is None or call.method != "POST":
            return self._refuse("NOT_FOUND")
        scheme, _, bearer = dict(call.headers).get("authorization", "").partition(" ")
        project_id = self.bearers.owner(bearer, now) if scheme == "Bearer" else None
        if project_id is None:
            return self._refuse("UNAUTHENTICATED")
        if project_id != match["project"]:
            return self._refuse("PERMISSION_DENIED")
        # Google counts each message against the project, also one it refuses with a 4xx.
        if not self._projects.take(project_id, now):
            return self._over_quota(self._projects.opens_in_s(project_id, now))
        return self._send(call.body, project_id, now)

    def refusal(self, code: str, call: Call) -> Judgement:
        if code == "BAD_REQUEST":
            return _bad_request([Violation("message", "The message is invalid.")])
        if code == "INVALID_ARGUMENT token":
            return self._refuse("INVALID_ARGUMENT")
        if code == "INVALID_ARGUMENT":
            return self._refuse(code, "Request contains an invalid argument.")
        if call.path == TOKEN_PATH:
            answer = {"error": code, "error_description": code}
            return Judgement(400, _JSON, msgspec.json.encode(answer), reason=code, logged=False)
        return self._refuse(code)

    def _send(self, body: bytes, project_id: str, now: float) -> Judgement:
        send = rules.read(body)
        if isinstance(send, Violation):
            return _bad_request([send])
        message = send.message
        if rules.target_count(message) != 1:
            text = "Exactly one of token, fid, topic or condition must be given."
            return _described(_bad_request([Violation("message", text)]), message)
        violations = list(rules.faults(message))
        if violations:
            return _described(_bad_request(violations), message)
        verdict = self._reach(message, project_id, now, is_trial=send.validate_only)
        return _described(verdict, message)

    def _reach(
        self, message: FcmMessage, project_id: str, now: float, *, is_trial: bool
    ) -> Judgement:
        device: SandboxDevice | None = None
        token = _text(message.token) or _text(message.fid)
        if token:
            # An installation ID in the place of a token is a token that is badly written.
            form = _DEVICE_TOKEN if isinstance(message.token, str) else _FID
            if not form.fullmatch(token):
                return self._refuse("INVALID_ARGUMENT")
            device = self._device(token)
            if device is None or device.is_dead:
                return self._refuse("UNREGISTERED")
            is_ours = device.app in ("", project_id)
            if device.state in ("other_app", "other_environment") or not is_ours:
                return self._refuse("SENDER_ID_MISMATCH")
            if not self._devices.take(token, now):
                return self._over_quota(self._devices.opens_in_s(token, now))
        number = "fake_message_id" if is_trial else self._new_id(now)
        name = f"projects/{project_id}/messages/{number}"
        verdict = Judgement(200, _JSON, msgspec.json.encode({"name": name}), message_id=name)
        if is_trial:
            verdict.reason = "validate_only"
            return verdict
        verdict.accepted = True
        if device is not None:
            self._book.show(device, *_shown(message, name, now))
        return verdict

    def _refuse(self, code: str, text: str = "") -> Judgement:
        known = CODES.get(code, CODES["UNSPECIFIED_ERROR"])
        details: list[dict[str, Any]] = []
        if code not in _WITHOUT_FCM_ERROR:
            details = [{"@type": _FCM_ERROR, "errorCode": code}]
        elif code == "UNAUTHENTICATED":
            details = [
                {
                    "@type": _ERROR_INFO,
                    "reason": "ACCESS_TOKEN_EXPIRED",
                    "domain": "googleapis.com",
                }
            ]
        verdict = _error(known, details, text)
        verdict.reason = code
        return verdict

    def _over_quota(self, opens_in_s: float) -> Judgement:
        verdict = self._refuse("QUOTA_EXCEEDED")
        if self._settings.retry_after:
            seconds = str(max(1, math.ceil(opens_in_s)))
            verdict.headers = (*verdict.headers, ("retry-after", seconds))
        return verdict

    def _new_id(self, now: float) -> str:
        return f"0:{int(now * 1_000_000)}%{self._chance.bits(64):016x}"


_JSON = (("content-type", "application/json; charset=UTF-8"),)


def _account(credential: FcmCredential) -> ServiceAccount:
    # The sandbox's own: checking its numbers would take 30 ms.
    private = serialization.load_pem_private_key(
        credential.private_key.encode(), None, unsafe_skip_rsa_key_validation=True
    )
    assert isinstance(private, rsa.RSAPrivateKey)
    return ServiceAccount(
        client_email=credential.client_email,
        key_id=credential.private_key_id,
        public_key=private.public_key(),
        project_id=credential.project_id,
    )


def _error(code: ErrorCode, details: list[dict[str, Any]], text: str = "") -> Judgement:
    error: dict[str, Any] = {
        "code": code.http,
        "message": text or code.text,
        "status": code.status,
    }
    if details:
        error["details"] = details
    return Judgement(code.http, _JSON, msgspec.json.encode({"error": error}))


def _bad_request(violations: list[Violation]) -> Judgement:
    """The other 400: same code and status as a bad token, told apart by the details' type."""
    fields = [msgspec.to_builtins(violation) for violation in violations]
    verdict = _error(
        CODES["INVALID_ARGUMENT"],
        [{"@type": _BAD_REQUEST, "fieldViolations": fields}],
        violations[0].description,
    )
    verdict.reason = "BAD_REQUEST"
    return verdict


def _described(verdict: Judgement, message: FcmMessage) -> Judgement:
    """The verdict with what the log wants to know of the message."""
    verdict.token = _text(message.token) or _text(message.fid)
    verdict.topic = _text(message.topic) or _text(message.condition)
    verdict.collapse = _collapse(message)
    if isinstance(message.data, dict):
        verdict.correlation = message.data.get("msgid", "")
    has_notification = message.notification is not UNSET or (
        isinstance(message.android, rules.FcmAndroid) and message.android.notification is not UNSET
    )
    verdict.push_type = "notification" if has_notification else "data"
    return verdict


def _collapse(message: FcmMessage) -> str:
    """What replaces: the notification's tag, else the collapse key, else Apple's collapse id."""
    android, found = message.android, ""
    if isinstance(android, rules.FcmAndroid):
        if isinstance(android.notification, rules.AndroidNotification):
            found = _text(android.notification.tag)
        found = found or _text(android.collapse_key)
    if not found and isinstance(message.apns, rules.FcmApns) and message.apns.headers:
        found = message.apns.headers.get("apns-collapse-id", "")
    return found


def _shown(message: FcmMessage, name: str, now: float) -> tuple[Shown, float | None]:
    title = body = ""
    expires_at: float | None = None
    data = message.data if isinstance(message.data, dict) else {}
    if isinstance(message.notification, rules.FcmNotification):
        title, body = _text(message.notification.title), _text(message.notification.body)
    android = message.android
    if isinstance(android, rules.FcmAndroid):
        if isinstance(android.notification, rules.AndroidNotification):
            title = _text(android.notification.title) or title
            body = _text(android.notification.body) or body
        if isinstance(android.data, dict):
            data = android.data
        if isinstance(android.ttl, str):
            expires_at = now + float(android.ttl[:-1])
    if not (title or body) and isinstance(message.apns, rules.FcmApns):
        title, body = _drawn_by_ios(message.apns)
    shown = Shown(
        key=_collapse(message) or name,
        title=title,
        body=body,
        at=now,
        message_id=name,
        is_silent=not (title or body),
        data=data,
    )
    return shown, expires_at


def _drawn_by_ios(apns: rules.FcmApns) -> tuple[str, str]:
    """Title and text of Apple's alert, which an iPhone shows where Google makes none."""
    payload = apns.payload if isinstance(apns.payload, dict) else {}
    aps = payload.get("aps")
    alert = aps.get("alert") if isinstance(aps, dict) else None
    if not isinstance(alert, dict):
        return "", _text(alert)
    return _text(alert.get("title")), _text(alert.get("body"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
