"""Honor Push: bearers for client credentials, and `sendMessage`, on one port.

Honor, "Push service server" (developer.honor.com/cn/docs/11002) and its article on sending
(my.oschina.net/u/5873522/blog/10140231), read 2026-11. What a message may contain stands in
`rules.py`. Honor's list of receipts is not public: the numbers are two push providers'.
What is over a device's limit is taken, not shown, and told by a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer, json_answer, refused, unlogged
from tocsin.sandbox.buckets import Buckets, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import CONSOLE, Event, Post, number_of, told_id
from tocsin.sandbox.vendors.honor import rules
from tocsin.sandbox.vendors.honor.rules import HonorFault, HonorPush

NAME = "honor"
TOKEN_PATH = "/auth/token"  # noqa: S105 - an address, not a secret
CLIENT_ID = "220810001"
CLIENT_SECRET = "aG9ub3Itc2FuZGJveA=="  # noqa: S105 - the sandbox's own
TARGETS_PER_S = 3000
TEST_PER_DAY = 1000
DAY_S = 86_400.0
BEARERS_MAX = 10_000

_PATH = re.compile(r"/api/v1/(?P<app>[^/?]+)/sendMessage")
_FIRST_TOKEN = re.compile(rb'"token"\s*:\s*\[\s*"([^"\\]{1,4096})"')
_JSON = (("content-type", "application/json;charset=UTF-8"),)

CODES = {
    "200": "success",
    "400": "request parameter error",
    "401": "authentication failed",
    "403": "no permission",
    "500": "internal error",
    "502": "bad gateway",
    "503": "flow control",
    "504": "gateway timeout",
    "10001": "timestamp is missing",
    "10205": "appId does not exist",
    "10207": "timestamp is illegal",
    "10300": "token is empty",
    "80100000": "partial success",
    "80100003": "illegal message structure",
    "80200020": "receipt id is illegal",
    "80200022": "no permission for this message type",
    "80200047": "test messages over the daily limit",
    "80200050": "marketing messages cannot carry images",
    "80200056": "sensitive content",
    "80300006": "duplicate tokens",
    "80300007": "all tokens are invalid",
    "80300008": "message is too large",
    "80300010": "too many tokens",
}
OAUTH_FAULTS = {
    "invalid_request": (400, "POST a form"),
    "unsupported_grant_type": (400, "only client_credentials"),
    "invalid_client": (401, "client id or secret is wrong"),
}
"""OAuth's names of faults to the status and the text that Honor answers with."""
FATES = {"muted": "40000005", "gone": "40000003", "inactive": "", "off": ""}
"""State of a device to what a receipt says of a push that it was sent; no number is known for one
that was not used for weeks."""
MARKETING, MARKETING_LIMIT = "LOW", "40000009"
"""The importance of marketing messages, and what a receipt says of one too many on a device."""
LISTS = ("failTokens", "expireTokens")
"""Where an answer names the devices that were not taken."""
STATUS_CODES = ("400", "401", "403", "500", "502", "503", "504")
"""Codes that are HTTP statuses and come as such; all others come with status 200."""


class HonorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this Honor behaves where the pages leave it open."""

    app_id: str = "104413210"
    token_life_s: int = 3600
    timestamp_skew_max_s: float = 600.0
    """How far the `timestamp` header may be from the sandbox's clock."""
    targets_per_s: int | None = TARGETS_PER_S
    """Before 503; None: no limit."""
    test_per_day: int | None = TEST_PER_DAY
    """Requests with test messages per day before 80200047."""
    marketing_per_day: int | None = None
    """Messages of importance LOW a device and day; Honor gives 2, news 5. None: no limit."""
    allows_service: bool = True
    """Whether the app may send importance NORMAL."""
    sensitive_words: tuple[str, ...] = ("sensitive-word",)
    """A title or text with one of these is refused as sensitive."""


class HonorCredential(Struct, frozen=True):
    """What Honor's console shows of the push service."""

    client_secret: str
    client_id: str
    app_id: str


class Honor(AppServer):
    """One Honor with one app."""

    name = NAME
    _first_token = _FIRST_TOKEN
    receipts_max = 100

    def __init__(
        self,
        settings: HonorSettings,
        book: DeviceBook,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._settings = settings
        self.credential = HonorCredential(CLIENT_SECRET, CLIENT_ID, settings.app_id)
        super().__init__(settings.app_id, book, clock, chance)
        self._flow = Flow(settings.targets_per_s)
        self._tests = Buckets(settings.test_per_day, DAY_S)
        self._marketing = Buckets(settings.marketing_per_day, DAY_S)

    @staticmethod
    def token(number: int) -> str:
        """A well-formed Honor push token; the same number always gives the same token."""
        return f"BAEAAAAAB.{sha256(b'honor %d' % number).hexdigest()}"

    def judge(self, call: Call) -> Judgement:
        return self._judge(call, {})

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; the name of a list puts the first of its devices there."""
        if call.path == TOKEN_PATH:
            return _oauth_error(400, code, code)
        if code in LISTS:
            return self._judge(call, {self.token_of(call): code})
        return _answer(code)

    def _judge(self, call: Call, said: Mapping[str, str]) -> Judgement:
        """`said` are lists of devices that were settled before they are looked up."""
        now = self._clock.now()
        path = call.path.split("?")[0]
        if path == TOKEN_PATH:
            return self._judge_client(call)
        match = _PATH.fullmatch(path)
        if match is None:
            return Judgement(404, _JSON, b'{"code":404,"message":"not found"}', reason="404")
        if call.method != "POST":
            return Judgement(405, _JSON, b'{"code":405,"message":"POST only"}', reason="405")
        code = self._door_fault(dict(call.headers), match["app"], now)
        if code:
            return _answer(code)
        push = rules.read(call.body)
        if isinstance(push, HonorFault):
            return _answer(push.code, push.text)
        return self._send(push, said, now)

    # what must be right before the message is looked at

    def _door_fault(self, headers: dict[str, str], app: str, now: float) -> str:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self.bearers.is_good(bearer, now):
            return "401"
        if not headers.get("content-type", "").startswith("application/json"):
            return "400"
        stamp = headers.get("timestamp", "")
        if not stamp:
            return "10001"
        if not re.fullmatch(r"[0-9]{13}", stamp):
            return "10207"
        if abs(int(stamp) / 1000 - now) > self._settings.timestamp_skew_max_s:
            return "10207"
        return "" if app == self._settings.app_id else "10205"

    def _judge_client(self, call: Call) -> Judgement:
        known = self.credential
        fault = self._client_fault(call, known.client_id, known.client_secret)
        if fault:
            status, text = OAUTH_FAULTS[fault]
            return _oauth_error(status, fault, text)
        return self._give_bearer(_JSON, self._settings.token_life_s)

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        arrived = "40000002" if push_type == "notification" else "40000001"
        return FATES.get(device.state, arrived)

    def post(self, events: Sequence[Event]) -> Post:
        statuses = [
            {
                "token": it.token,
                "appid": self._settings.app_id,
                "biTag": told_id(it),
                "status": number_of(it),
                "timestamp": int(it.at * 1000),
                "requestId": it.message_id,
            }
            for it in events
        ]
        return Post(_JSON, msgspec.json.encode({"statuses": statuses}))

    # the message

    def _send(self, push: HonorPush, said: Mapping[str, str], now: float) -> Judgement:
        code = self._policy_fault(push, now)
        verdict = refused(_answer(code), push.tokens) if code else self._reach(push, said, now)
        verdict.correlation = push.bi_tag
        verdict.collapse = _collapse(push)
        verdict.push_type = "notification" if push.is_shown else "data"
        verdict.topic = self._settings.app_id
        verdict.receipt_to = CONSOLE
        return verdict

    def _policy_fault(self, push: HonorPush, now: float) -> str:
        if any(word in f"{push.title} {push.body}" for word in self._settings.sensitive_words):
            return "80200056"
        if push.importance == "NORMAL" and not self._settings.allows_service:
            return "80200022"
        app = self._settings.app_id
        if not self._flow.take(len(push.tokens), now):
            return "503"
        if push.is_test and not self._tests.take(app, now):
            return "80200047"
        return ""

    def _reach(self, push: HonorPush, said: Mapping[str, str], now: float) -> Judgement:
        request_id = self._request_id(now)
        reasons = {token: said.get(token) or self._reason(token) for token in push.tokens}
        lists: dict[str, list[str]] = {name: [] for name in LISTS}
        limits: dict[str, str] = {}
        for token, reason in reasons.items():
            if reason:
                lists[reason].append(token)
            elif self._has_quota(push, token, now):
                self._show(push, token, request_id, now)
            else:
                limits[token] = MARKETING_LIMIT
        code = "200"
        if not said and len(lists["expireTokens"]) == len(push.tokens):
            code = "80300007"
        elif lists["failTokens"]:
            code = "80100000"
        data = {"sendResult": code == "200", "requestId": request_id, **lists}
        verdict = _answer(code, data=data)
        verdict.message_id = request_id
        verdict.targets = tuple(
            Target(token, not reason, reason, receipt_code=limits.get(token, ""))
            for token, reason in reasons.items()
        )
        return verdict

    def _has_quota(self, push: HonorPush, token: str, now: float) -> bool:
        """Whether this device may be shown one more of its kind today; it then counts."""
        is_free = push.is_test or push.importance != MARKETING
        return is_free or self._marketing.take(token, now)

    def _reason(self, token: str) -> str:
        """The list that this token goes to, or nothing where it is taken."""
        device = self._device(token)
        if device is None or device.is_dead:
            return "expireTokens"
        return "failTokens" if self._is_foreign(device) else ""

    def _show(self, push: HonorPush, token: str, request_id: str, now: float) -> None:
        shown = Shown(
            key=_collapse(push) or request_id,
            title=push.title,
            body=push.body,
            at=now,
            message_id=request_id,
            is_silent=not push.is_shown,
            data=push.data,
        )
        self._show_on(token, shown, push.ttl_s)


def _collapse(push: HonorPush) -> str:
    """What replaces: the tag with the number, as Android's own notifications do."""
    if push.notify_id is None:
        return ""
    return push.tag or str(push.notify_id)


def _answer(code: str, text: str = "", data: dict[str, Any] | None = None) -> Judgement:
    told: dict[str, Any] = {"code": int(code), "message": text or CODES.get(code, "failed")}
    if data is not None:
        told["data"] = data
    status = int(code) if code in STATUS_CODES else 200
    return json_answer(status, _JSON, told, "" if code == "200" else code)


def _oauth_error(status: int, error: str, text: str) -> Judgement:
    answer = {"error": error, "error_description": text}
    return unlogged(json_answer(status, _JSON, answer, error))
