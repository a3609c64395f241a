"""Huawei Push Kit for Android: bearers for client credentials, and `messages:send`, on one port.

Huawei, "Sending messages, v1" and "OAuth 2.0" (developer.huawei.com, read 2026-11). What a message
may contain stands in `rules.py`. Which HTTP status goes with which code Huawei does not
say; what the codes begin with is taken as their kind. For a day's test messages its list has no
code; HarmonyOS's is used. What is over a device's limit is taken, not shown, and told by a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer, json_answer, refused, unlogged
from tocsin.sandbox.buckets import Buckets, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import CONSOLE, Event, Post, number_of
from tocsin.sandbox.vendors.huawei import rules
from tocsin.sandbox.vendors.huawei.receipts import (
    MARKETING_LIMIT,
    RECEIPTS_MAX,
    TOO_OFTEN,
    fate_of,
    signed_head,
)
from tocsin.sandbox.vendors.huawei.rules import (
    HuaweiAndroid,
    HuaweiDrawn,
    HuaweiFault,
    HuaweiMessage,
    text,
)

NAME = "huawei"
TOKEN_PATHS = ("/oauth2/v3/token", "/oauth2/v2/token")
APP_ID = "104551789"
APP_SECRET = "c2FuZGJveC1odWF3ZWk="  # noqa: S105 - the sandbox's own
TARGETS_PER_S = 6000
TEST_PER_DAY = 500
DAY_S = 86_400.0
TTL_S = 86_400
TAKEN, PARTLY = "80000000", "80100000"

_PATH = re.compile(r"/v1/(?P<app>[^/?]+)/messages:send")
_FIRST_TOKEN = re.compile(rb'"token"\s*:\s*\[\s*"([^"\\]{1,4096})"')
_JSON = (("content-type", "application/json;charset=utf-8"),)

TEXTS = {
    TAKEN: "Success",
    PARTLY: "The message is successfully sent to some tokens",
    "80100001": "Some request parameters are incorrect",
    "80100002": "Only one token can be specified for this message",
    "80100003": "Incorrect message structure",
    "80100004": "The message expiration time is earlier than the current time",
    "80100013": "The collapse_key message field is invalid",
    "80100016": "The message contains sensitive information",
    "80100017": "A maximum of 100 topic-based messages can be sent at the same time",
    "80100018": "The review information does not match",
    "80200001": "OAuth authentication error",
    "80200003": "OAuth token expired",
    "80300002": "The current app does not have the permission to send messages",
    "80300007": "All tokens are invalid",
    "80300008": "The message body size exceeds the default value",
    "80300010": "The number of tokens in the message body exceeds the default value",
    "80300011": "You are not authorized to send high-priority notification messages",
    "80300013": "The receipt address is invalid",
    "80300029": "The number of test messages of the day is exceeded",
    "80600003": "Failed to request the OAuth service",
    "81000001": "The internal system is abnormal",
    "503": "Flow control",
}
OAUTH_FAULTS = {
    "invalid_request": (400, "invalid request"),
    "unsupported_grant_type": (400, "unsupported grant_type"),
    "invalid_client": (401, "invalid client_id or client_secret"),
}
"""OAuth's names of faults to the status and the text that Huawei answers with."""


class HuaweiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The app, and how this Huawei behaves where the pages leave it open."""

    app_id: str = APP_ID
    app_secret: str = APP_SECRET
    token_life_s: int = 3600
    targets_per_s: int | None = TARGETS_PER_S
    """Before 503; None: no limit."""
    test_per_day: int | None = TEST_PER_DAY
    """Requests with test messages a day before 80300029."""
    marketing_per_day: int | None = None
    """Messages of category MARKETING a device and day; Huawei gives 2, news 5. None: no limit."""
    device_per_day: int | None = None
    """All messages a device and day; Huawei gives 3000."""
    allows_high: bool = True
    """Whether the app has the right to urgency HIGH, which Huawei's own samples send."""
    receipt_ids: tuple[str, ...] = ("RCP1",)
    """The receipt addresses that the console knows."""
    sensitive_words: tuple[str, ...] = ("sensitive-word",)
    """A title or text with one of these is refused."""
    callback_user: str = "sandbox"
    callback_key: str = "sandbox-huawei-callback-key"
    """What receipts are signed with."""


class HuaweiCredential(Struct, frozen=True):
    """What AppGallery Connect shows of the app."""

    app_secret: str
    app_id: str
    callback_user: str
    callback_key: str


class Huawei(AppServer):
    """One Huawei with one app."""

    name = NAME
    _first_token = _FIRST_TOKEN
    receipts_max = RECEIPTS_MAX

    def __init__(
        self, settings: HuaweiSettings, book: DeviceBook, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        super().__init__(settings.app_id, book, clock, chance)
        self._flow = Flow(settings.targets_per_s)
        self._tests = Buckets(settings.test_per_day, DAY_S)
        self._marketing = Buckets(settings.marketing_per_day, DAY_S)
        self._devices = Buckets(settings.device_per_day, DAY_S)
        self.credential = HuaweiCredential(
            settings.app_secret, settings.app_id, settings.callback_user, settings.callback_key
        )

    @staticmethod
    def token(number: int) -> str:
        """A well-formed Huawei push token; the same number always gives the same token."""
        return f"IQAAAACy0{sha256(b'huawei %d' % number).hexdigest()}"

    def judge(self, call: Call) -> Judgement:
        return self._judge(call, ())

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; that some are dead is said of the first of them."""
        if call.path in TOKEN_PATHS:
            return _oauth_error(400, code)
        if code == PARTLY:
            return self._judge(call, (self.token_of(call),))
        return _answer(code)

    def _judge(self, call: Call, dead: Collection[str]) -> Judgement:
        """`dead` are tokens that were settled before they are looked up."""
        now = self._clock.now()
        path = call.path.split("?")[0]
        if path in TOKEN_PATHS:
            return self._judge_client(call)
        match = _PATH.fullmatch(path)
        if match is None or call.method != "POST":
            return Judgement(404, _JSON, b"{}", reason="404")
        code = self._door_fault(dict(call.headers), match["app"], now)
        if code:
            return _answer(code)
        send = rules.read(call.body)
        if isinstance(send, HuaweiFault):
            return _answer(send.code, send.text)
        return self._send(send.message, dead, now, is_trial=send.validate_only)

    # what must be right before the message is looked at

    def _door_fault(self, headers: dict[str, str], app: str, now: float) -> str:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.bearers.is_known(bearer):
            return "80200001"
        if not self.bearers.is_good(bearer, now):
            return "80200003"
        if not headers.get("content-type", "").startswith("application/json"):
            return "80100003"
        return "" if app == self._settings.app_id else "80300002"

    def _judge_client(self, call: Call) -> Judgement:
        fault = self._client_fault(call, self._settings.app_id, self._settings.app_secret)
        if fault:
            return _oauth_error(*OAUTH_FAULTS[fault])
        return self._give_bearer(_JSON, self._settings.token_life_s)

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        del push_type
        return fate_of(device)

    def post(self, events: Sequence[Event]) -> Post:
        statuses = [
            {
                "token": it.token,
                "appid": self._settings.app_id,
                "biTag": it.correlation,
                "status": number_of(it),
                "timestamp": int(it.at * 1000),
                "requestId": it.message_id,
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

    def _send(
        self, message: HuaweiMessage, dead: Collection[str], now: float, *, is_trial: bool
    ) -> Judgement:
        tokens = tuple(message.token) if isinstance(message.token, list) else ()
        code = self._policy_fault(message, len(tokens), now)
        if code:
            verdict = refused(_answer(code), tokens)
        elif is_trial:
            verdict = _answer(TAKEN)
            verdict.reason = "validate_only"
        else:
            verdict = self._reach(message, tokens, dead, now)
        android = message.android if isinstance(message.android, HuaweiAndroid) else HuaweiAndroid()
        verdict.correlation = text(android.bi_tag)
        verdict.collapse = _collapse(message)
        is_shown = rules.drawn(message) is not None
        verdict.push_type = "notification" if is_shown else "data"
        verdict.topic = text(message.topic) or self._settings.app_id
        verdict.receipt_to = "" if is_trial else CONSOLE
        return verdict

    def _policy_fault(self, message: HuaweiMessage, count: int, now: float) -> str:
        shown = " ".join(rules.texts(message))
        if any(word in shown for word in self._settings.sensitive_words):
            return "80100016"
        if isinstance(message.android, HuaweiAndroid):
            if message.android.urgency == "HIGH" and not self._settings.allows_high:
                return "80300011"
            receipt_id = text(message.android.receipt_id)
            if receipt_id and receipt_id not in self._settings.receipt_ids:
                return "80300013"
        if not self._flow.take(max(1, count), now):
            return "503"
        return "80300029" if _is_test(message) and not self._tests.take(NAME, now) else ""

    def _reach(
        self, message: HuaweiMessage, tokens: tuple[str, ...], dead: Collection[str], now: float
    ) -> Judgement:
        request_id = self._request_id(now)
        good = [token for token in tokens if token not in dead and self._is_good(token)]
        limits = {token: self._limit(message, token, now) for token in good}
        data = rules.app_data(message)
        for token, limit in limits.items():
            if not limit:
                self._show(message, token, request_id, data)
        known = limits.keys()
        illegal = [token for token in tokens if token not in known]
        if tokens and not good and not dead:
            verdict = _answer("80300007", request_id=request_id)
        elif illegal:
            parts = {"success": len(good), "failure": len(illegal), "illegal_tokens": illegal}
            told = msgspec.json.encode(parts).decode()
            verdict = _answer(PARTLY, told, request_id)
        else:
            verdict = _answer(TAKEN, request_id=request_id)
        verdict.message_id = request_id
        verdict.accepted = not tokens
        verdict.targets = tuple(
            Target(it, accepted=True, receipt_code=limits[it])
            if it in known
            else Target(it, accepted=False, reason="illegal_tokens")
            for it in tokens
        )
        return verdict

    def _limit(self, message: HuaweiMessage, token: str, now: float) -> str:
        """What a receipt says where this device had enough for a day; else the push counts."""
        if _is_test(message):
            return ""
        android = message.android if isinstance(message.android, HuaweiAndroid) else HuaweiAndroid()
        if android.category == "MARKETING" and not self._marketing.take(token, now):
            return MARKETING_LIMIT
        return "" if self._devices.take(token, now) else TOO_OFTEN

    def _is_good(self, token: str) -> bool:
        device = self._device(token)
        return device is not None and not (device.is_dead or self._is_foreign(device))

    def _show(
        self, message: HuaweiMessage, token: str, request_id: str, data: dict[str, Any]
    ) -> None:
        title, body = rules.texts(message)
        shown = Shown(
            key=_collapse(message) or request_id,
            title=title,
            body=body,
            at=self._clock.now(),
            message_id=request_id,
            is_silent=rules.drawn(message) is None,
            data=data,
        )
        ttl = text(message.android.ttl) if isinstance(message.android, HuaweiAndroid) else ""
        self._show_on(token, shown, float(ttl[:-1]) if ttl else TTL_S)


def _collapse(message: HuaweiMessage) -> str:
    """What replaces on the screen."""
    drawn = rules.drawn(message) or HuaweiDrawn()
    # -1 has Huawei make the number itself.
    return str(drawn.notify_id) if isinstance(drawn.notify_id, int) and drawn.notify_id >= 0 else ""


def _is_test(message: HuaweiMessage) -> bool:
    return isinstance(message.android, HuaweiAndroid) and message.android.target_user_type == 1


def _answer(code: str, told: str = "", request_id: str = "") -> Judgement:
    body = {"code": code, "msg": told or TEXTS.get(code, "failed"), "requestId": request_id}
    if code in (TAKEN, PARTLY):
        status = 200
    elif code.startswith("802"):
        status = 401
    elif code.startswith(("806", "81")):
        status = 500
    else:
        status = 503 if code == "503" else 400
    reason = "" if code == TAKEN else code
    return Judgement(status, _JSON, msgspec.json.encode(body), reason=reason)


def _oauth_error(status: int, told: str) -> Judgement:
    answer = {"error": 1101, "sub_error": 20001, "error_description": told}
    return unlogged(json_answer(status, _JSON, answer, told))
