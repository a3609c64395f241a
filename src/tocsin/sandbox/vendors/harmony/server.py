"""HarmonyOS Push Kit v3: `messages:send`, with the sender's own PS256 tokens.

Huawei, "Scenario-based messages", "Generating a token by service account" and "Message receipt"
(developer.huawei.com harmonyos-references and harmonyos-guides, read 2026-11). What a message may
contain stands in `rules.py`. What is over a device's limit is taken, not shown, and told
by a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer, refused
from tocsin.sandbox.buckets import Buckets, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import CONSOLE, Event, Post, number_of
from tocsin.sandbox.vendors.harmony import rules
from tocsin.sandbox.vendors.harmony.rules import (
    BACKGROUND,
    DAY_S,
    MARKETING,
    TOKENS_MAX,
    HarmonyDrawn,
    HarmonyFault,
    HarmonyRequest,
    text,
)
from tocsin.sandbox.vendors.huawei.receipts import (
    MARKETING_LIMIT,
    RECEIPTS_MAX,
    TOO_OFTEN,
    fate_of,
    signed_head,
)

NAME = "harmony"
AUDIENCE = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"
KEY_ID = "5c8d1b0charmony"
SUB_ACCOUNT = "100000001"
PACKAGE = "com.example.app"
TEST_TOKENS_MAX = 10
HOUR_S = 3600.0
AHEAD_MAX_S = 300
"""How far a token's `iat` may be ahead of the sandbox's clock; Huawei does not say."""
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
    marketing_per_day: int | None = None
    """Marketing messages a device and day; Huawei gives 2, news 5. None: no limit."""
    im_wakes_per_hour: int | None = None
    """Background pushes of `backgroundMode` 1 a device and hour; Huawei gives 2."""
    background_right: bool = True
    """Whether the app may send background pushes."""
    badge_right: bool = True
    """Whether the app has the right to the category IM, which badge messages need."""
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


class Harmony(AppServer):
    """One Huawei with one HarmonyOS project."""

    name = NAME
    _first_token = _FIRST_TOKEN
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
        super().__init__(settings.project_id, book, clock, chance)
        # The sandbox's own: checking its numbers would take a tenth second.
        key = load_pem_private_key(private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._public = key.public_key()
        self._flow = Flow(settings.targets_per_s)
        self._tests = Buckets(settings.test_per_day, float(DAY_S))
        self._marketing = Buckets(settings.marketing_per_day, float(DAY_S))
        self._wakes = Buckets(settings.im_wakes_per_hour, HOUR_S)
        self.credential = HarmonyCredential(
            private_key=private_key,
            key_id=KEY_ID,
            sub_account=SUB_ACCOUNT,
            project_id=settings.project_id,
            client_id=settings.client_id,
            callback_user=settings.callback_user,
            callback_key=settings.callback_key,
        )

    @staticmethod
    def token(number: int) -> str:
        """A well-formed HarmonyOS push token; the same number always gives the same token."""
        return f"IQAAAACy0tEj{sha256(b'harmony %d' % number).hexdigest()}"

    def judge(self, call: Call) -> Judgement:
        return self._judge(call, {})

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; a word, which is said of devices, for the first of them."""
        if code.isdigit():
            return _answer(code)
        return self._judge(call, {self.token_of(call): code})

    def _judge(self, call: Call, said: Mapping[str, str]) -> Judgement:
        """`said` are words about devices that were settled before they are looked up."""
        now = self._clock.now()
        path, told = call.path.split("?")[0], self._settings
        sending, revoking = _PATH.fullmatch(path), _REVOKE_PATH.fullmatch(path)
        if call.method != "POST" or not (sending or revoking):
            return Judgement(404, _JSON, b"{}", reason="404")
        headers = dict(call.headers)
        code = self._proof_fault(headers.get("authorization", ""), now)
        if not code and sending and sending["project"] != told.project_id:
            code = "80200001"
        if not code and revoking and revoking["client"] != told.client_id:
            code = "80300002"
        if not code and not headers.get("content-type", "").startswith("application/json"):
            code = "80100003"
        if code:
            return _answer(code)
        if revoking:
            return self._revoke(call.body, headers.get("push-type", ""))
        return self._send(call.body, headers.get("push-type", ""), said, now)

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
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
        if begins > now + AHEAD_MAX_S:
            return "80200001"
        if ends - begins > DAY_S:
            return "80300036"
        return "80200005" if ends <= now else ""

    def _send(self, body: bytes, push_type: str, said: Mapping[str, str], now: float) -> Judgement:
        send = rules.read(body, push_type)
        if isinstance(send, HarmonyFault):
            return _answer(send.code, send.text)
        fault = self._policy(send, push_type, now)
        if fault is None:
            verdict = self._reach(send, said, now)
        else:
            verdict = refused(_answer(fault.code, fault.text), send.target.token)
        verdict.correlation = text(send.options.bi_tag)
        verdict.collapse = send.drawn.collapse
        verdict.push_type = push_type
        verdict.receipt_to = CONSOLE
        return verdict

    def _policy(self, send: HarmonyRequest, push_type: str, now: float) -> HarmonyFault | None:
        told, drawn, count = self._settings, send.drawn, len(send.target.token)
        shown = f"{text(drawn.title)} {text(drawn.body)}"
        if any(word in shown for word in told.sensitive_words):
            return HarmonyFault("80100016", "sensitive content")
        if push_type == BACKGROUND and not told.background_right:
            return HarmonyFault("80300002", "no right to background pushes")
        if drawn.is_badge and not told.badge_right:
            return HarmonyFault("80300002", "no right to badge messages")
        if not self._flow.take(count, now):
            return HarmonyFault("503", "flow control")
        if send.options.test_message is True:
            if count > TEST_TOKENS_MAX:
                return HarmonyFault("80300030", "token count of a test message")
            if not self._tests.take(NAME, now):
                return HarmonyFault("80300029", "test messages of the day")
        return None

    def _reach(self, send: HarmonyRequest, said: Mapping[str, str], now: float) -> Judgement:
        request_id = self._request_id(now)
        data = send.app_data

        def reach(token: str) -> str:
            limit = self._limit(send, token, now)
            if not limit:
                self._show(send, token, request_id, data)
            return limit

        return self._told_of(send.target.token, request_id, reach, said)

    def _limit(self, send: HarmonyRequest, token: str, now: float) -> str:
        """What a receipt says where this device had enough of the kind; else the push counts."""
        if send.options.test_message is True:
            return ""
        if send.drawn.category == MARKETING and not self._marketing.take(token, now):
            return MARKETING_LIMIT
        if send.options.background_mode == 1 and not self._wakes.take(token, now):
            return TOO_OFTEN
        return ""

    def _told_of(
        self,
        tokens: list[str],
        request_id: str,
        reach: Callable[[str], str],
        said: Mapping[str, str],
    ) -> Judgement:
        """Reach those who can be reached, and tell of the others by reason.

        `reach` answers what a receipt says of a device, where that is not its state.
        """
        illegal: dict[str, list[str]] = {}
        targets = []
        for token in tokens:
            reason = said.get(token) or self._reason(token)
            limit = "" if reason else reach(token)
            targets.append(Target(token, not reason, reason, receipt_code=limit))
            if reason:
                illegal.setdefault(reason, []).append(token)
        failed = sum(map(len, illegal.values()))
        figures = {"success": len(tokens) - failed, "failure": failed, "illegalTokens": illegal}
        shares = msgspec.json.encode(figures).decode()
        code = "80000000" if not failed else "80100000"
        if failed == len(tokens):
            code = "80300007"
        verdict = _answer(code, shares if failed else "Success", request_id)
        verdict.message_id = request_id
        verdict.targets = tuple(targets)
        return verdict

    def _revoke(self, body: bytes, push_type: str) -> Judgement:
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

    def _take(self, told: _Revoke, token: str) -> str:
        device = self._device(token)
        assert device is not None
        self._book.withdraw(device, str(told.notifyId), from_screen=True)
        return ""

    def _reason(self, token: str) -> str:
        device = self._device(token)
        if device is None:
            return "tokenFormatError"
        if device.app not in ("", self._settings.project_id):
            return "noRight"
        return REASONS.get(device.state, "")

    def _show(
        self, send: HarmonyRequest, token: str, request_id: str, data: dict[str, Any]
    ) -> None:
        drawn, ttl = send.drawn, send.options.ttl
        shown = Shown(
            key=drawn.collapse or request_id,
            title=text(drawn.title),
            body=text(drawn.body),
            at=self._clock.now(),
            message_id=request_id,
            is_silent=drawn == HarmonyDrawn() or drawn.is_badge,
            data=data,
        )
        self._show_on(token, shown, ttl if isinstance(ttl, int) else DAY_S)


def _answer(code: str, info: str = "", request_id: str = "0") -> Judgement:
    """Huawei's statuses: 400 for what is wrong with the request, 401 for its proof."""
    by_start = {"8000": 200, "8010": 400, "8020": 401, "8030": 400, "8100": 500}
    status = by_start.get(code[:4], 503)
    if code in ("80100000", "80300007"):
        status = 200
    told = {"code": code, "msg": info or "refused", "requestId": request_id}
    body = b"" if code == "503" else msgspec.json.encode(told)
    return Judgement(status, _JSON, body, reason="" if code == "80000000" else code)
