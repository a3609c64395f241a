"""HarmonyOS Push Kit v3: `messages:send`, with the sender's own PS256 tokens.

Huawei, "Scenario-based messages", "Generating a token by service account" and "Message receipt"
(developer.huawei.com harmonyos-references and harmonyos-guides, read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.buckets import Buckets, Flow
from tocsin.sandbox.devices import Device, DeviceBook, Shown
from tocsin.sandbox.exchange import Call, Target, Verdict
from tocsin.sandbox.huawei_receipts import RECEIPTS_MAX, fate_of, signed_head
from tocsin.sandbox.receipts import CONSOLE, Event, Post, number_of

NAME = "harmony"
AUDIENCE = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"
KEY_ID = "5c8d1b0charmony"
SUB_ACCOUNT = "100000001"
PACKAGE = "com.example.app"
TOKENS_MAX, TEST_TOKENS_MAX = 1000, 10
PAYLOAD_BYTES_MAX = 4096
TTL_S_MAX = 15 * 86_400
DAY_S = 86_400
CATEGORIES = (
    *("IM", "VOIP", "MISS_CALL", "SUBSCRIPTION", "TRAVEL", "HEALTH", "WORK", "ACCOUNT", "EXPRESS"),
    *("FINANCE", "DEVICE_REMINDER", "MAIL", "MARKETING"),
)
REASONS = {
    "dead": "tokenFormatError",
    "expired": "tokenFormatError",
    "other_app": "noRight",
    "other_environment": "noRight",
}

_PATH = re.compile(r"/v3/(?P<project>[^/?]+)/messages:send")
_REVOKE_PATH = re.compile(r"/v1/(?P<client>[^/?]+)/messages:revoke")
_FIRST_TOKEN = re.compile(rb'"token"\s*:\s*\[\s*"([^"\\]{1,4096})"')
_JSON = (("content-type", "application/json;charset=utf-8"),)


class HarmonySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this Huawei behaves where the pages leave it open."""

    project_id: str = "388421841221000000"
    client_id: str = "104551790"
    targets_per_s: int | None = None
    """Before 503; None: no limit, as Huawei names none."""
    test_per_day: int | None = 1000
    background_right: bool = True
    """Whether the app may send background pushes."""
    sensitive_words: tuple[str, ...] = ("sensitive-word",)
    callback_user: str = "sandbox"
    callback_key: str = "sandbox-harmony-callback-key"
    """What receipts are signed with."""


class HarmonyCredential(Struct, frozen=True):
    """The members of a service account's file that a sender reads, and what signs receipts."""

    private_key: str
    key_id: str
    sub_account: str
    project_id: str
    client_id: str
    callback_user: str
    callback_key: str


class _Revoke(Struct, frozen=True, forbid_unknown_fields=True):
    notifyId: int  # noqa: N815 - Huawei's spelling
    token: list[str]


class Harmony:
    """One Huawei with one HarmonyOS project."""

    name = NAME
    receipts_max = RECEIPTS_MAX

    def __init__(
        self,
        settings: HarmonySettings,
        private_key: str,
        book: DeviceBook,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._settings = settings
        self._book = book
        self._clock = clock
        self._chance = chance
        key = load_pem_private_key(private_key.encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._public = key.public_key()
        self._flow = Flow(settings.targets_per_s)
        self._tests = Buckets(settings.test_per_day, float(DAY_S))
        self.credential = HarmonyCredential(
            private_key=private_key,
            key_id=KEY_ID,
            sub_account=SUB_ACCOUNT,
            project_id=settings.project_id,
            client_id=settings.client_id,
            callback_user=settings.callback_user,
            callback_key=settings.callback_key,
        )

    def opening_streams(self) -> int:
        return 100

    @staticmethod
    def token(number: int) -> str:
        """A well-formed HarmonyOS push token; the same number always gives the same token."""
        return f"IQAAAACy0tEj{sha256(b'harmony %d' % number).hexdigest()}"

    def token_of(self, call: Call) -> str:
        found = _FIRST_TOKEN.search(call.body)
        return found[1].decode("latin-1") if found else ""

    def judge(self, call: Call) -> Verdict:
        return self._judge(call, {})

    def refusal(self, code: str, call: Call) -> Verdict:
        """The code for the whole call; a word, which is said of devices, for the first of them."""
        if code.isdigit():
            return _answer(code)
        return self._judge(call, {self.token_of(call): code})

    def _judge(self, call: Call, said: Mapping[str, str]) -> Verdict:
        """`said` are words about devices that were settled before they are looked up."""
        now = self._clock.now()
        path, told = call.path.split("?")[0], self._settings
        sending, revoking = _PATH.fullmatch(path), _REVOKE_PATH.fullmatch(path)
        if call.method != "POST" or not (sending or revoking):
            return Verdict(404, _JSON, b"{}", reason="404")
        headers = dict(call.headers)
        code = self._proof_fault(headers.get("authorization", ""), now)
        if not code and sending and sending["project"] != told.project_id:
            code = "80200001"
        if not code and revoking and revoking["client"] != told.client_id:
            code = "80300002"
        if code:
            return _answer(code)
        if revoking:
            return self._revoke(call.body, headers.get("push-type", ""))
        return self._send(call.body, headers.get("push-type", ""), said, now)

    # receipts

    def fate(self, device: Device, push_type: str) -> str:
        del push_type
        return fate_of(device)

    def post(self, events: Sequence[Event]) -> Post:
        statuses = [
            {
                "token": it.token,
                "pushType": int(it.push_type),
                "appPackageName": PACKAGE,
                "biTag": it.correlation,
                "requestId": it.message_id,
                "deliveryStatus": {"result": number_of(it), "timestamp": int(it.at * 1000)},
            }
            for it in events
        ]
        head = signed_head(
            f"{int(self._clock.now() * 1000)}",
            f"{self._chance.bits(128):032x}",
            self._settings.callback_user,
            "forged" if events[0].is_forged else self._settings.callback_key,
        )
        return Post((head, *_JSON), msgspec.json.encode({"statuses": statuses}))

    # the message

    def _proof_fault(self, header: str, now: float) -> str:
        scheme, _, token = header.partition(" ")
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["PS256"],
                audience=AUDIENCE,
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            return "80200001"
        begins, ends = claims.get("iat"), claims.get("exp")
        is_known = (scheme, key_id, claims.get("iss")) == ("Bearer", KEY_ID, SUB_ACCOUNT)
        if not is_known or not isinstance(begins, int) or not isinstance(ends, int):
            return "80200001"
        if ends - begins > DAY_S:
            return "80300036"
        return "80200005" if ends <= now else ""

    def _send(self, body: bytes, push_type: str, said: Mapping[str, str], now: float) -> Verdict:
        try:
            told = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _answer("80100003", "Illegal payload, no JSON")
        parts = [_member(told, name) for name in ("payload", "target", "pushOptions")]
        payload, target, options = parts
        tokens: Any = target.get("token")
        drawn = _member(payload, "notification")
        fault = next(_faults(told, push_type, tokens), None) or self._policy(
            drawn, options, tokens, push_type, now
        )
        if fault:
            verdict = _answer(fault[0], fault[1])
            if isinstance(tokens, list):
                verdict.targets = tuple(
                    Target(str(it), accepted=False, reason=fault[0]) for it in tokens
                )
        else:
            verdict = self._reach(drawn, options, tokens, said, now)
        verdict.correlation = str(options.get("biTag", ""))
        verdict.collapse = str(drawn.get("notifyId", ""))
        verdict.push_type = push_type
        verdict.receipt_to = CONSOLE
        return verdict

    def _policy(
        self, drawn: Any, options: Any, tokens: list[str], push_type: str, now: float
    ) -> tuple[str, str] | None:
        text = f"{drawn.get('title')} {drawn.get('body')}"
        if any(word in text for word in self._settings.sensitive_words):
            return "80100016", "sensitive content"
        if push_type == "6" and not self._settings.background_right:
            return "80300002", "no right to background pushes"
        if not self._flow.take(len(tokens), now):
            return "503", "flow control"
        if options.get("testMessage"):
            if len(tokens) > TEST_TOKENS_MAX:
                return "80300030", "token count of a test message"
            if not self._tests.take(NAME, now):
                return "80300029", "test messages of the day"
        return None

    def _reach(
        self, drawn: Any, options: Any, tokens: list[str], said: Mapping[str, str], now: float
    ) -> Verdict:
        request_id = f"{int(now * 1000)}{self._chance.bits(32):08x}"
        return self._told_of(
            tokens, request_id, lambda it: self._show(drawn, options, it, request_id, now), said
        )

    def _told_of(
        self,
        tokens: list[str],
        request_id: str,
        reach: Callable[[str], None],
        said: Mapping[str, str],
    ) -> Verdict:
        """Reach those who can be reached, and tell of the others by reason."""
        illegal: dict[str, list[str]] = {}
        targets = []
        for token in tokens:
            reason = said.get(token) or self._reason(token)
            targets.append(Target(token, accepted=not reason, reason=reason))
            if reason:
                illegal.setdefault(reason, []).append(token)
            else:
                reach(token)
        failed = sum(map(len, illegal.values()))
        figures = {"success": len(tokens) - failed, "failure": failed, "illegalTokens": illegal}
        text = msgspec.json.encode(figures).decode()
        code = "80000000" if not failed else "80100000"
        if failed == len(tokens):
            code = "80300007"
        verdict = _answer(code, text if failed else "Success", request_id)
        verdict.message_id = request_id
        verdict.targets = tuple(targets)
        return verdict

    def _revoke(self, body: bytes, push_type: str) -> Verdict:
        """Withdraw a notification that nobody has opened (push-msg-revoke, read 2026-11)."""
        try:
            told = msgspec.json.decode(body, type=_Revoke)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            return _answer("80100003", str(fault))
        if push_type not in ("0", "2") or told.notifyId < 0:
            return _answer("80100001", "push-type 0 or 2, notifyId of a notification")
        if not 1 <= len(told.token) <= TOKENS_MAX:
            return _answer("80300010", "token count")
        request_id = f"{self._chance.bits(64):016x}"
        verdict = self._told_of(told.token, request_id, lambda it: self._take(told, it), {})
        verdict.targets = tuple(
            Target(it.token, accepted=False, reason=it.reason or "revoked")
            for it in verdict.targets
        )
        verdict.collapse = str(told.notifyId)
        verdict.push_type = "revoke"
        return verdict

    def _take(self, told: _Revoke, token: str) -> None:
        device = self._book.look(NAME, token)
        assert device is not None
        self._book.withdraw(device, str(told.notifyId), from_screen=True)

    def _reason(self, token: str) -> str:
        device = self._book.look(NAME, token)
        if device is None:
            return "tokenFormatError"
        if device.app not in ("", self._settings.project_id):
            return "noRight"
        return REASONS.get(device.state, "")

    def _show(self, drawn: Any, options: Any, token: str, request_id: str, now: float) -> None:
        device = self._book.look(NAME, token)
        assert device is not None
        shown = Shown(
            key=str(drawn.get("notifyId", request_id)),
            title=str(drawn.get("title", "")),
            body=str(drawn.get("body", "")),
            at=now,
            message_id=request_id,
            is_silent=not drawn,
        )
        self._book.show(device, shown, now + options.get("ttl", DAY_S))


def _faults(told: Any, push_type: str, tokens: Any) -> Iterator[tuple[str, str]]:
    """Everything wrong with a request, the first thing first."""
    if not isinstance(told, dict) or push_type not in ("0", "6"):
        yield "80100003", "Illegal payload or push-type"
    is_list = isinstance(tokens, list) and all(isinstance(it, str) and it for it in tokens)
    if not is_list or not 1 <= len(tokens) <= TOKENS_MAX or len(set(tokens)) < len(tokens):
        yield "80300010", "token count should within 1 and 1000"
    rest = {name: it for name, it in told.items() if name != "target"}
    if len(msgspec.json.encode(rest)) > PAYLOAD_BYTES_MAX:
        yield "80300008", "Push message size is too long."
    payload, options = _member(told, "payload"), _member(told, "pushOptions")
    if push_type == "6" and not _is_text(payload.get("extraData"), PAYLOAD_BYTES_MAX):
        yield "80100003", "Illegal payload, extraData"
    if push_type == "0":
        for name in _wrong(_member(payload, "notification")):
            yield "80100003", f"Illegal payload, {name}"
    if not _is_number(options.get("ttl", 1), 1, TTL_S_MAX):
        yield "80100004", "Illegal expire time."
    if not _is_text(options.get("biTag", "x"), 64):
        yield "80100001", "Check Parameter Error, biTag"
    if not isinstance(options.get("testMessage", False), bool):
        yield "80100001", "Check Parameter Error, testMessage"


def _wrong(drawn: dict[str, Any]) -> Iterator[str]:
    """The members of a notification that Huawei would not take."""
    click, badge = _member(drawn, "clickAction"), _member(drawn, "badge")
    is_page = click.get("actionType") == 1 and bool(click.get("action") or click.get("uri"))
    sound = drawn.get("sound")
    rules = {
        "category": drawn.get("category") in CATEGORIES,
        "title": _is_text(drawn.get("title"), PAYLOAD_BYTES_MAX),
        "body": _is_text(drawn.get("body"), PAYLOAD_BYTES_MAX),
        "clickAction": (click.get("actionType") == 0 or is_page)
        and isinstance(click.get("data", {}), dict),
        "badge": _is_number(badge.get("addNum", 1), 1, 99)
        and _is_number(badge.get("setNum", 0), 0, 99),
        "image": str(drawn.get("image", "https://")).startswith("https://"),
        "notifyId": _is_number(drawn.get("notifyId", 0), -1, 2**31 - 1),
        "appMessageId": _is_text(drawn.get("appMessageId", "x"), 64),
        "sound": sound is None or (_is_text(sound, 512) and drawn.get("category") != "MARKETING"),
        "soundDuration": _is_number(drawn.get("soundDuration", 1), 1, 60),
    }
    return (name for name, is_right in rules.items() if not is_right)


def _is_text(value: Any, length_max: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= length_max


def _is_number(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _member(told: Any, name: str) -> dict[str, Any]:
    found = told.get(name) if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}


def _answer(code: str, text: str = "", request_id: str = "0") -> Verdict:
    """Huawei's statuses: 400 for what is wrong with the request, 401 for its proof."""
    by_start = {"8000": 200, "8010": 400, "8020": 401, "8030": 400, "8100": 500}
    status = by_start.get(code[:4], 503)
    if code in ("80100000", "80300007"):
        status = 200
    told = {"code": code, "msg": text or "refused", "requestId": request_id}
    body = b"" if code == "503" else msgspec.json.encode(told)
    return Verdict(status, _JSON, body, reason="" if code == "80000000" else code)
