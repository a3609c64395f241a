"""vivo's push service: tokens for a signature, single sends, and lists of what was saved.

vivo, "Server interface" and "Error codes" (dev.vivo.com.cn/documentCenter/doc/362 and 681, read
2026-11). Which of 10200 to 10207 stands for which member of the signature is our choice; each
means wrong credentials. What a message may contain stands in `rules.py`, what is posted
later in `receipts.py`. What a device is not shown because it had enough, or the same, is told
by a receipt: a push provider's runbook has the numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.retry import CHINA_S
from tocsin.sandbox.app_server import AppServer, json_answer, refused, unlogged
from tocsin.sandbox.buckets import DAY_S, Buckets, DailyQuota, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import Event, Post
from tocsin.sandbox.vendors.vivo import receipts as vivo_receipts
from tocsin.sandbox.vendors.vivo import rules
from tocsin.sandbox.vendors.vivo.rules import AppId, VivoFault, VivoPush

NAME = "vivo"
AUTH_PATH = "/message/auth"
SEND_PATH = "/message/send"
SAVE_PATH = "/message/saveListPayload"
LIST_PATH = "/message/pushToList"
APP_ID = "105498321"
APP_KEY = "8d1e6c1f-0000-4000-8000-73616e64626f"
APP_SECRET = "5f2d7ab0-0000-4000-8000-766976730000"  # noqa: S105 - the sandbox's own
CALLBACK_ID = "2001"
TARGETS_PER_S = 3000
AUTH_PER_S = 10
SKEW_MAX_S = 600.0
TOKEN_LIFE_S = 86_400
OPENING_HOUR, CLOSING_HOUR = 7, 23
KEPT_MAX = 10_000
INVALID = "invalidUser "
"""Stands in the log and in fault rules before the status that an answer gives a device."""

_FIRST_TOKEN = re.compile(rb'"regIds?"\s*:\s*\[?\s*"([^"\\]{1,4096})"')
_JSON = (("content-type", "application/json;charset=UTF-8"),)

CODES = {
    0: "请求成功",
    10000: "权限认证失败",
    10045: "应用审核中",
    10070: "超过运营消息发送总量限制",
    10071: "超出发送时间允许范围",
    10072: "超过推送速度限制",
    10073: "超过系统消息发送总量限制",
    10082: "没有系统消息权限",
    10094: "appId与authToken不匹配",
    10103: "包含敏感词",
    10104: "正式消息包含测试内容",
    10252: "超过列表消息发送总量限制",
    10302: "regId不合法",
    10304: "taskId不存在",
    10311: "用户通知开关关闭或不活跃",
}


class VivoSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this vivo behaves where the pages leave it open, and how large the app is."""

    app_id: str = APP_ID
    targets_per_s: int | None = TARGETS_PER_S
    """Before 10072; None: no limit."""
    auth_per_s: int | None = AUTH_PER_S
    operation_per_day: int | None = None
    """Targets of operation messages in a day in China before 10070."""
    system_per_day: int | None = None
    """The same for system messages, before 10073; for lists of either, 10252."""
    device_per_day: int | None = None
    """Operation messages a device and day; vivo gives 2, news 5. None: no limit."""
    drops_identical: bool = False
    """Whether a device is shown the same operation text once a day only, as vivo does."""
    allows_system: bool = True
    """Whether the app may send system messages."""
    test_users: tuple[str, ...] = ()
    """Registrations that a test push (`pushMode` 1) reaches."""
    sensitive_words: tuple[str, ...] = ("sensitive-word",)
    test_words: tuple[str, ...] = ("测试",)
    """A message that looks like a test is refused, unless it is one."""


class VivoCredential(Struct, frozen=True):
    """What vivo's console shows of the app."""

    app_secret: str
    app_key: str
    app_id: str
    callback_id: str = CALLBACK_ID


class Vivo(AppServer):
    """One vivo with one app."""

    name = NAME
    _first_token = _FIRST_TOKEN
    receipts_max = 1
    """A call has one place for each task, and that names one device."""

    def __init__(
        self, settings: VivoSettings, book: DeviceBook, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        self.credential = VivoCredential(APP_SECRET, APP_KEY, settings.app_id)
        super().__init__(settings.app_id, book, clock, chance)
        self._saved: BoundedCache[str, VivoPush] = BoundedCache(KEPT_MAX)
        self._quotas = {
            0: DailyQuota(settings.operation_per_day),
            1: DailyQuota(settings.system_per_day),
        }
        self._flow = Flow(settings.targets_per_s)
        self._auths = Buckets(settings.auth_per_s, 1.0)
        self._devices = Buckets(settings.device_per_day, DAY_S)
        self._texts = Buckets(1 if settings.drops_identical else None, DAY_S)

    @staticmethod
    def token(number: int) -> str:
        """A well-formed vivo regId; the same number always gives the same one."""
        return hashlib.sha256(b"vivo %d" % number).hexdigest()[:23]

    def judge(self, call: Call) -> Judgement:
        return self._judge(call, {})

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; `invalidUser` with its number for the first device."""
        if code.startswith(INVALID):
            return self._judge(call, {self.token_of(call): int(code.removeprefix(INVALID))})
        verdict = _answer(int(code))
        return unlogged(verdict) if call.path in (AUTH_PATH, SAVE_PATH) else verdict

    def _judge(self, call: Call, said: Mapping[str, int]) -> Judgement:
        """`said` are statuses of devices that were settled before they are looked up."""
        now = self._clock.now()
        path = call.path.split("?")[0]
        if path not in (AUTH_PATH, SEND_PATH, SAVE_PATH, LIST_PATH):
            return Judgement(404, _JSON, b"{}", reason="404")
        headers = dict(call.headers)
        if call.method != "POST":
            return Judgement(405, _JSON, b"{}", reason="405")
        if not headers.get("content-type", "").startswith("application/json"):
            return Judgement(415, _JSON, b"{}", reason="415")
        if path == AUTH_PATH:
            return self._judge_signature(call.body, now)
        if not self.bearers.is_good(headers.get("authtoken", ""), now):
            return _answer(10000)
        if path == LIST_PATH:
            return self._judge_list(call.body, said, now)
        push = rules.read(call.body, is_saved=path == SAVE_PATH)
        if isinstance(push, VivoFault):
            return _answer(push.code, push.text)
        code = self._text_fault(push)
        if path == SAVE_PATH:
            return unlogged(_answer(code) if code else self._save(push))
        return _described(
            self._send(push, said, now) if not code else _refused(code, [push.reg_id]), push
        )

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        del push_type
        return vivo_receipts.FATES.get(device.state, "")

    def post(self, events: Sequence[Event]) -> Post:
        (event,) = events
        return vivo_receipts.post(event)

    # who is asking

    def _judge_signature(self, body: bytes, now: float) -> Judgement:
        try:
            asked = msgspec.json.decode(body, type=_Signature)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            return unlogged(_answer(10200, str(fault)))
        known = self.credential
        stamp = str(asked.timestamp)
        signed = f"{known.app_id}{known.app_key}{stamp}{known.app_secret}"
        sign = hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()
        if str(asked.appId) != known.app_id:
            code = 10201
        elif asked.appKey != known.app_key:
            code = 10203
        elif abs(asked.timestamp / 1000 - now) > SKEW_MAX_S:
            code = 10205
        elif not hmac.compare_digest(asked.sign.encode(), sign.encode()):
            code = 10207
        elif not self._auths.take(known.app_id, now):
            code = 10072
        else:
            return unlogged(_answer(0, authToken=self.bearers.give(now, TOKEN_LIFE_S)))
        return unlogged(_answer(code))

    # the message

    def _text_fault(self, push: VivoPush) -> int:
        text = f"{push.title} {push.content}"
        if str(push.app_id) != self._settings.app_id:
            return 10094
        if push.classification == 1 and not self._settings.allows_system:
            return 10082
        if any(word in text for word in self._settings.sensitive_words):
            return 10103
        if not push.push_mode and any(word in text for word in self._settings.test_words):
            return 10104
        return 0

    def _save(self, push: VivoPush) -> Judgement:
        number = self._new_number()
        self._saved.put(number, push)
        return _answer(0, taskId=number)

    def _judge_list(self, body: bytes, said: Mapping[str, int], now: float) -> Judgement:
        asked = rules.read_list(body)
        if isinstance(asked, VivoFault):
            return _answer(asked.code, asked.text)
        push = self._saved.get(asked.task_id)
        if str(asked.app_id) != self._settings.app_id:
            return _refused(10094, asked.reg_ids)
        if push is None:
            return _refused(10304, asked.reg_ids)
        code = self._time_fault(push, len(asked.reg_ids), now, over_quota=10252)
        if code:
            return _described(_refused(code, asked.reg_ids), push)
        found = {it: said.get(it) or self._status(push, it) for it in asked.reg_ids}
        limits = {
            token: self._show(push, token, asked.task_id, now)
            for token, status in found.items()
            if not status
        }
        invalid = [{"userid": token, "status": it} for token, it in found.items() if it]
        verdict = _answer(0, invalidUsers=invalid) if invalid else _answer(0)
        verdict.message_id = asked.task_id
        verdict.targets = tuple(
            _target(token, status, limits.get(token, "")) for token, status in found.items()
        )
        return _described(verdict, push)

    def _send(self, push: VivoPush, said: Mapping[str, int], now: float) -> Judgement:
        code = self._time_fault(push, 1, now, over_quota=10073 if push.classification else 10070)
        if code:
            return _refused(code, [push.reg_id])
        status = said.get(push.reg_id) or self._status(push, push.reg_id)
        if not said and status in (1, 2):
            return _refused(10302, [push.reg_id])
        if not said and status == 3:
            return _refused(10311, [push.reg_id])
        number, limit = self._new_number(), ""
        if status:
            user = {"userid": push.reg_id, "status": status}
            verdict = _answer(0, taskId=number, invalidUser=user)
        else:
            verdict = _answer(0, taskId=number)
            limit = self._show(push, push.reg_id, number, now)
        verdict.message_id = number
        verdict.targets = (_target(push.reg_id, status, limit),)
        return verdict

    def _time_fault(self, push: VivoPush, count: int, now: float, *, over_quota: int) -> int:
        """Hours, pace and quota, in this order; what is refused uses no quota."""
        in_china = now + CHINA_S
        is_open = OPENING_HOUR * 3600 <= in_china % 86_400 < CLOSING_HOUR * 3600
        if push.classification == 0 and not push.push_mode and not is_open:
            return 10071
        if not self._flow.take(count, now):
            return 10072
        is_free = push.push_mode or self._quotas[push.classification].take(count, now)
        return 0 if is_free else over_quota

    def _status(self, push: VivoPush, token: str) -> int:
        """What vivo says of a device that it cannot reach; 0 for one it can.

        It has no number for a list's devices with notifications off that does not mean removed as
        well; they are told with those long offline, as 10311 tells them together.
        """
        if push.push_mode and token not in self._settings.test_users:
            return 4
        device = self._device(token)
        if device is None or self._is_foreign(device):
            return 1
        if device.state in ("muted", "inactive"):
            return 3
        return 2 if device.is_dead else 0

    def _show(self, push: VivoPush, token: str, number: str, now: float) -> str:
        """Put it on the device; answers what the receipt says where it is not put there."""
        limit = self._limit(push, token, now)
        if limit:
            return limit
        key = number if push.notify_id is None else str(push.notify_id)
        data = push.client_custom_map
        shown = Shown(key, push.title, push.content, now, number, data=data)
        self._show_on(token, shown, push.time_to_live)
        return ""

    def _limit(self, push: VivoPush, token: str, now: float) -> str:
        if push.classification or push.push_mode:
            return ""
        if not self._texts.take(f"{token} {push.title}\n{push.content}", now):
            return vivo_receipts.IDENTICAL
        return "" if self._devices.take(token, now) else vivo_receipts.TOO_OFTEN

    def _new_number(self) -> str:
        return str(10**17 + self._chance.bits(56))


class _Signature(Struct, frozen=True):
    appId: AppId  # noqa: N815 - vivo's spelling
    appKey: str  # noqa: N815 - vivo's spelling
    timestamp: int
    sign: str


def _target(token: str, status: int, limit: str) -> Target:
    return Target(token, not status, f"{INVALID}{status}" if status else "", receipt_code=limit)


def _described(verdict: Judgement, push: VivoPush) -> Judgement:
    """The verdict with what the log wants to know of the message."""
    verdict.correlation = push.extra.get("callback.param", push.request_id)
    verdict.collapse = "" if push.notify_id is None else str(push.notify_id)
    verdict.push_type = "system" if push.classification else "operation"
    verdict.topic = str(push.app_id)
    verdict.receipt_to = vivo_receipts.receipt_to(push, CALLBACK_ID)
    return verdict


def _refused(code: int, tokens: Iterable[str]) -> Judgement:
    """A push of which nobody was taken."""
    return refused(_answer(code), tokens)


def _answer(code: int, text: str = "", **more: Any) -> Judgement:
    told = {"result": code, "desc": text or CODES.get(code, "参数错误"), **more}
    return json_answer(200, _JSON, told, str(code or ""))
