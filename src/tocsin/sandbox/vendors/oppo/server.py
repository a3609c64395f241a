"""OPPO's push service: tokens for a signature, single pushes, and lists of what was saved.

OPPO's pages on addresses and codes and on single pushes
(open.oppomobile.com/documentation/page/info?id=11235 and 11238, read 2026-11 in copies). What a
notification may contain stands in `rules.py`, what is posted later in `receipts.py`.
The pages leave open which code says of a device what, and what saving a known `app_message_id` is
answered: here `dead` is 10000 and another app's device 10001, and the second is a setting.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl

from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.domain.bounded import BoundedCache
from tocsin.sandbox.app_server import AppServer, is_form, json_answer, refused, unlogged
from tocsin.sandbox.buckets import DAY_S, Buckets, DailyQuota, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import Event, Post
from tocsin.sandbox.vendors.oppo import receipts as oppo_receipts
from tocsin.sandbox.vendors.oppo import rules
from tocsin.sandbox.vendors.oppo.rules import OppoFault, OppoNotification, OppoPush, OppoRules

NAME = "oppo"
AUTH_PATH = "/server/v1/auth"
UNICAST_PATH = "/server/v1/message/notification/unicast"
BATCH_PATH = "/server/v1/message/notification/unicast_batch"
SAVE_PATH = "/server/v1/message/notification/save_message_content"
BROADCAST_PATH = "/server/v1/message/notification/broadcast"
FEEDBACK_PATH = "/server/v1/feedback/fetch_invalid_regidList"
PATHS = (AUTH_PATH, UNICAST_PATH, BATCH_PATH, SAVE_PATH, BROADCAST_PATH)
APP_KEY = "6f70706f000040008000736e64626f78"
MASTER_SECRET = "6d617374657200004000800073616e64"  # noqa: S105 - the sandbox's own
APP_SECRET = "636c69656e7400004000800073616e64"  # noqa: S105 - the sandbox's own
TARGETS_PER_S = 5000
TARGETS_MAX = 1000
SKEW_MAX_S = 600.0
TOKEN_LIFE_S = 86_400
KEPT_MAX = 10_000

OF_DEVICES = ("10000", "10001", "10002", "10003")
"""Codes that are said of single devices."""

_STAMP = re.compile(r"[0-9]{13}")
_FIRST_TOKEN = re.compile(r'"target_value"\s*:\s*"([^"\\]{1,4096})"')
_REGISTRATION = re.compile(r"(?:(?:OPPO_)?[A-Z]{2}_)?[0-9a-f]{32}")
_JSON = (("content-type", "application/json;charset=UTF-8"),)

CODES = {
    0: "success",
    11: "Invalid AuthToken",
    12: "Http Action Not Allowed",
    14: "Invalid App Key",
    15: "Missing App Key",
    16: "Invalid Signature",
    17: "Missing Signature",
    18: "Missing Timestamp",
    19: "Invalid Timestamp",
    25: "Invalid Encoding",
    29: "Missing Auth Token",
    31: "Data Not Exist",
    32: "Data Duplicate",
    33: "The number of messages exceeds the daily limit",
    40: "Missing Required Arguments",
    41: "Invalid Arguments",
    55: "App Call Frequency Limit",
    10000: "Invalid Registration_id",
    10001: "Registration_id Unsubscribe",
}


class OppoSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this OPPO behaves where the pages leave it open, and how large the app is."""

    app_key: str = APP_KEY
    channels: tuple[str, ...] = ("messages", "offers")
    """Notification channels that are registered on the platform."""
    requires_channel: bool = False
    """Whether a push without a channel is refused."""
    templates: tuple[str, ...] = ("T100",)
    requires_template: bool = True
    """Whether a push of the private class needs a template: 54."""
    targets_per_s: int | None = TARGETS_PER_S
    """Before 55; None: no limit."""
    public_per_day: int | None = None
    """Targets of the public class, and of all broadcasts, in a day in China before 33."""
    device_per_day: int | None = None
    """The same a device; what is over it is taken and not shown."""
    batch_max: int = TARGETS_MAX
    """Single pushes in one call."""
    repeated_save: Literal["answered", "refused"] = "answered"
    """What saving a known `app_message_id` leads to: its first message, or 32."""
    sensitive_words: tuple[str, ...] = ("sensitive-word",)


class OppoCredential(Struct, frozen=True):
    """What OPPO's push platform shows of the app."""

    master_secret: str
    app_key: str
    app_secret: str
    android_channel_id: str
    template_id: str


class Oppo(AppServer):
    """One OPPO with one app."""

    name = NAME
    receipts_max = oppo_receipts.RECEIPTS_MAX

    def __init__(
        self, settings: OppoSettings, book: DeviceBook, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        self._rules = OppoRules(
            settings.channels,
            settings.templates,
            settings.requires_channel,
            settings.requires_template,
            settings.sensitive_words,
        )
        super().__init__(settings.app_key, book, clock, chance)
        self._saved: BoundedCache[str, OppoNotification] = BoundedCache(KEPT_MAX)
        self._names: BoundedCache[str, str] = BoundedCache(KEPT_MAX)
        self._sent: BoundedCache[tuple[str, str], bool] = BoundedCache(KEPT_MAX)
        self._public = DailyQuota(settings.public_per_day)
        self._flow = Flow(settings.targets_per_s)
        self._devices = Buckets(settings.device_per_day, DAY_S)

    @property
    def credential(self) -> OppoCredential:
        return OppoCredential(
            master_secret=MASTER_SECRET,
            app_key=self._settings.app_key,
            app_secret=APP_SECRET,
            android_channel_id=next(iter(self._settings.channels), ""),
            template_id=next(iter(self._settings.templates), ""),
        )

    @staticmethod
    def token(number: int) -> str:
        """A well-formed registration id; the same number always gives the same one."""
        return f"OPPO_CN_{hashlib.sha256(b'oppo %d' % number).hexdigest()[:32]}"

    def token_of(self, call: Call) -> str:
        form = _form(call) or {}
        if "target_value" in form:
            return form["target_value"].split(";")[0]
        found = _FIRST_TOKEN.search(form.get("message", "") or form.get("messages", ""))
        return found[1] if found else ""

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        del push_type
        return oppo_receipts.FATES.get(device.state, "")

    def post(self, events: Sequence[Event]) -> Post:
        return oppo_receipts.post(self._settings.app_key, events)

    def judge(self, call: Call) -> Judgement:
        return self._judge(call, {})

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; one of single devices for the first of them."""
        if code in OF_DEVICES and call.path in (UNICAST_PATH, BATCH_PATH, BROADCAST_PATH):
            return self._judge(call, {self.token_of(call): int(code)})
        verdict = _answer(int(code))
        return unlogged(verdict) if call.path in (AUTH_PATH, SAVE_PATH) else verdict

    def _judge(self, call: Call, said: Mapping[str, int]) -> Judgement:
        """`said` are codes of devices that were settled before they are looked up."""
        now = self._clock.now()
        path, _, query = call.path.partition("?")
        if path == FEEDBACK_PATH:
            return unlogged(self._feedback(call, query, now))
        if path not in PATHS:
            return Judgement(404, _JSON, b"{}", reason="404")
        if call.method != "POST":
            return _answer(12)
        form = _form(call)
        if form is None:
            return _answer(25)
        if path == AUTH_PATH:
            return unlogged(self._judge_signature(form, now))
        # The page wants it in the form; some clients send it as a header.
        code = self._proof_fault(form.pop("auth_token", ""), call, now)
        if code:
            return _answer(code)
        if path == SAVE_PATH:
            return unlogged(self._save(form))
        if path == BROADCAST_PATH:
            return self._broadcast(form, said, now)
        return self._send(form, said, now, is_batch=path == BATCH_PATH)

    # who is asking

    def _proof_fault(self, given: str, call: Call, now: float) -> int:
        proof = given or dict(call.headers).get("auth_token", "")
        if self.bearers.is_good(proof, now):
            return 0
        return 11 if proof else 29

    def _judge_signature(self, form: Mapping[str, str], now: float) -> Judgement:
        missing = {"app_key": 15, "timestamp": 18, "sign": 17}
        for name, code in missing.items():
            if not form.get(name):
                return _answer(code)
        stamp = form["timestamp"]
        signed = f"{form['app_key']}{stamp}{MASTER_SECRET}".encode()
        right = hashlib.sha256(signed).hexdigest()
        if form["app_key"] != self._settings.app_key:
            return _answer(14)
        if not _STAMP.fullmatch(stamp) or abs(int(stamp) / 1000 - now) > SKEW_MAX_S:
            return _answer(19)
        if not hmac.compare_digest(form["sign"].encode(), right.encode()):
            return _answer(16)
        bearer = self.bearers.give(now, TOKEN_LIFE_S)
        return _answer(0, {"auth_token": bearer, "create_time": int(now * 1000)})

    # registration ids that have died

    def _feedback(self, call: Call, query: str, now: float) -> Judgement:
        """Those of the last day, as DeJoker/oppo-push asks for them (client.go, result.go)."""
        if call.method != "GET":
            return _answer(12)
        code = self._proof_fault(dict(parse_qsl(query)).get("auth_token", ""), call, now)
        if code:
            return _answer(code)
        dead = [
            device.token
            for device in self._book.all_of(NAME)
            if device.state in ("dead", "expired", "gone") and device.since > now - DAY_S
        ]
        return _answer(0, {"registration_ids": dead, "totalCount": len(dead)})

    # the message

    def _save(self, form: Mapping[str, str]) -> Judgement:
        found = rules.read(form, self._rules, is_form=True)
        if isinstance(found, OppoFault):
            return _answer(found.code, text=found.text)
        number = self._names.get(found.app_message_id) or ""
        if number not in self._saved:
            number = self._new_number()
            self._saved.put(number, found)
            if found.app_message_id:
                self._names.put(found.app_message_id, number)
        elif self._settings.repeated_save == "refused":
            return _answer(32)
        return _answer(0, {"message_id": number})

    def _broadcast(self, form: Mapping[str, str], said: Mapping[str, int], now: float) -> Judgement:
        asked = rules.read_broadcast(form, TARGETS_MAX)
        if isinstance(asked, OppoFault):
            return _answer(asked.code, text=asked.text)
        shown = self._saved.get(asked.message_id)
        if shown is None:
            return _refused(31, asked.tokens)
        tokens = list(dict.fromkeys(asked.tokens))
        code = self._time_fault(len(tokens), len(tokens), now)
        if code:
            return _described(_refused(code, tokens), shown)
        found = {token: said.get(token) or self._status(token) for token in tokens}
        data = shown.app_data
        listed: dict[str, list[str]] = {}
        limits: dict[str, str] = {}
        for token, its in found.items():
            if its:
                listed.setdefault(str(its), []).append(token)
            else:
                number = asked.message_id
                limits[token] = self._show(shown, data, token, number, is_public=True)
        repeated = sorted({token for token in tokens if asked.tokens.count(token) > 1})
        if repeated:
            listed["10004"] = repeated
        task = self._new_number()
        verdict = _answer(0, {"message_id": asked.message_id, "task_id": task, **listed})
        verdict.message_id = asked.message_id
        verdict.targets = tuple(
            _target(token, its, limits.get(token, "")) for token, its in found.items()
        )
        return _described(verdict, shown)

    def _send(
        self, form: Mapping[str, str], said: Mapping[str, int], now: float, *, is_batch: bool
    ) -> Judgement:
        """Single pushes: one, or several in one call."""
        text = form.get("messages" if is_batch else "message", "")
        if not text:
            return _answer(40)
        pushes = rules.read_singles(text if is_batch else f"[{text}]", self._rules)
        if isinstance(pushes, OppoFault):
            return _answer(pushes.code, text=pushes.text)
        if not 1 <= len(pushes) <= (self._settings.batch_max if is_batch else 1):
            return _answer(41, text="Invalid Arguments: messages")
        public = sum(1 for push in pushes if not push.notification.is_private)
        code = self._time_fault(len(pushes), public, now)
        if code:
            refused = _refused(code, (push.token for push in pushes))
            return _described(refused, pushes[0].notification)
        entries, targets = self._taken(pushes, said)
        if is_batch:
            verdict = _answer(0, entries)
        elif code := entries[0].get("errorCode", 0):
            verdict = _answer(code)
        else:
            verdict = _answer(0, {"messageId": entries[0]["messageId"]})
        verdict.message_id = entries[0].get("messageId", "")
        verdict.targets = targets
        return _described(verdict, pushes[0].notification)

    def _taken(
        self, pushes: Sequence[OppoPush], said: Mapping[str, int]
    ) -> tuple[list[dict[str, Any]], tuple[Target, ...]]:
        """What is answered of each push, and what the log is told."""
        entries: list[dict[str, Any]] = []
        targets = []
        for push in pushes:
            entry: dict[str, Any] = {"registrationId": push.token}
            code = said.get(push.token) or self._status(push.token)
            reason, limit = str(code or ""), ""
            if code:
                entry |= {"errorCode": code, "errorMessage": CODES.get(code, "")}
            else:
                entry["messageId"] = f"{self._settings.app_key}-1-1-{self._new_number()}"
                if self._is_repeated(push):
                    reason = "repeated"
                else:
                    is_public = not push.notification.is_private
                    number = entry["messageId"]
                    data = push.notification.app_data
                    limit = self._show(
                        push.notification, data, push.token, number, is_public=is_public
                    )
            entries.append(entry)
            targets.append(Target(push.token, not reason, reason, receipt_code=limit))
        return entries, tuple(targets)

    def _is_repeated(self, push: OppoPush) -> bool:
        """Whether this device was sent this `app_message_id` before: it is taken, not shown."""
        name = push.notification.app_message_id
        is_known = (name, push.token) in self._sent
        if name:
            self._sent.put((name, push.token), value=True)
        return is_known

    def _time_fault(self, count: int, public: int, now: float) -> int:
        """Pace and quota, in this order; what is refused uses no quota."""
        if not self._flow.take(count, now):
            return 55
        return 0 if self._public.take(public, now) else 33

    def _status(self, token: str) -> int:
        """What OPPO says of a device that it cannot reach; 0 for one it can."""
        device = self._device(token) if _REGISTRATION.fullmatch(token) else None
        if device is None or device.is_dead:
            return 10000
        return 10001 if self._is_foreign(device) else 0

    def _show(
        self,
        it: OppoNotification,
        data: dict[str, Any],
        token: str,
        number: str,
        *,
        is_public: bool,
    ) -> str:
        """Put it on the device; answers what the receipt says where it is not put there."""
        now = self._clock.now()
        if is_public and not self._devices.take(token, now):
            return oppo_receipts.DAILY_LIMIT
        key = number if it.notify_id is None else str(it.notify_id)
        shown = Shown(key, it.title, it.content, now, number, data=data)
        self._show_on(token, shown, it.life_s)
        return ""

    def _new_number(self) -> str:
        return f"{self._chance.bits(96):024x}"


def _form(call: Call) -> dict[str, str] | None:
    """The members of a form; None where it is none, or not UTF-8."""
    if not is_form(call):
        return None
    try:
        text = call.body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        return None


def _target(token: str, code: int, receipt_code: str = "") -> Target:
    return Target(token, not code, str(code or ""), receipt_code=receipt_code)


def _described(verdict: Judgement, it: OppoNotification) -> Judgement:
    """The verdict with what the log wants to know of the message."""
    verdict.correlation = it.call_back_parameter or it.app_message_id
    verdict.collapse = "" if it.notify_id is None else str(it.notify_id)
    verdict.push_type = "private" if it.is_private else "public"
    verdict.topic = it.channel_id
    verdict.receipt_to = it.call_back_url
    return verdict


def _refused(code: int, tokens: Iterable[str]) -> Judgement:
    """A call of which nobody was taken."""
    return refused(_answer(code), tokens)


def _answer(code: int, data: Any = None, text: str = "") -> Judgement:
    told = {"code": code, "message": text or CODES.get(code, "refused"), "data": data or {}}
    return json_answer(200, _JSON, told, str(code or ""))
