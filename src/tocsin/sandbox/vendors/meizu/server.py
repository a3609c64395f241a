"""Meizu's Flyme push: `varnished/pushByPushId`.

MEIZUPUSH/PushAPI and JavaSdk (read 2026-11). What a message may contain stands in
`rules.py`. Every answer is HTTP 200 with a code inside; devices that were not taken stand
in `value`, by code. The page does not say which code a bad parameter gets; 1005 is used.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer, form_of, is_form, refused
from tocsin.sandbox.buckets import DAY_S, Buckets, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import PATH as RECEIPTS_PATH
from tocsin.sandbox.receipts import Event, Post, number_of, told_id
from tocsin.sandbox.vendors.meizu import rules
from tocsin.sandbox.vendors.meizu.rules import MeizuMessage, Wrong

NAME = "meizu"
PATH = "/garcia/api/server/push/varnished/pushByPushId"
APP_ID = "100999"
SECRET = "c2FuZGJveC1tZWl6dQ"  # noqa: S105 - the sandbox's own
TARGETS_MAX = 100
ARRIVED = "1"
"""Of losses Meizu posts nothing: what it knows of a device stands in its answer."""
FOLDED = "520"
"""The device had the same push too often within a minute."""
OF_DEVICES = ("110002", "110003", "110005", "110011", FOLDED)
"""Codes that are said of single devices, in `value`."""
PARAMS = ("appId", "messageJson", "pushIds", "sign")

_PUSH_ID = re.compile(r"[A-Za-z0-9_-]{8,256}")
_JSON = (("content-type", "application/json;charset=UTF-8"),)
_FORM = (("content-type", "application/x-www-form-urlencoded"),)

TEXTS = {
    "200": "",
    "1005": "A parameter is wrong",
    "1006": "The signature does not match",
    "110000": "The appId is unknown",
    "110001": "The appSecret is wrong",
    "110004": "The callback is not registered",
    "110010": "Too many targets a second",
    "110032": "Too many pushIds",
}


class MeizuSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The app, and how this Meizu behaves where the pages leave it open."""

    app_id: str = APP_ID
    app_secret: str = SECRET
    callbacks: tuple[str, ...] = (f"http://127.0.0.1:*{RECEIPTS_PATH}{NAME}",)
    """Receipt addresses registered in the console, as shell patterns: a sender of this machine. A
    push that names another one fails."""
    switched_off: tuple[str, ...] = ()
    """pushIds whose users have switched pushes off."""
    folds_per_minute: int | None = 5
    """Pushes a device and minute; those beyond are folded. None: no limit."""
    targets_per_s: int | None = None
    """Meizu gives 200; None: no limit."""
    device_per_day: int | None = None
    """Public pushes a device and day; Meizu gives 3, news 5."""


class MeizuCredential(Struct, frozen=True):
    """What the console shows."""

    app_secret: str
    app_id: str


class Meizu(AppServer):
    """One Meizu with one app."""

    name = NAME
    receipts_max = 1000

    def __init__(
        self, settings: MeizuSettings, book: DeviceBook, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        super().__init__(settings.app_id, book, clock, chance)
        self._flow = Flow(settings.targets_per_s)
        self._folds = Buckets(settings.folds_per_minute, 60.0)
        self._devices = Buckets(settings.device_per_day, DAY_S)

    @property
    def credential(self) -> MeizuCredential:
        return MeizuCredential(self._settings.app_secret, self._settings.app_id)

    @staticmethod
    def token(number: int) -> str:
        """A well-formed pushId; the same number always gives the same one."""
        return f"UCI{hashlib.sha256(b'meizu %d' % number).hexdigest()[:40]}"

    def token_of(self, call: Call) -> str:
        return form_of(call).get("pushIds", "").split(",")[0]

    def judge(self, call: Call) -> Judgement:
        path = call.path.split("?")[0]
        if path != PATH or call.method != "POST":
            return Judgement(404 if path != PATH else 405, reason="no such call", logged=False)
        form = form_of(call)
        code = self._code(form) if is_form(call) else "1005"
        if code != "200":
            return _described(_refused(code), form, None)
        message = rules.read(form["messageJson"])
        if isinstance(message, Wrong):
            return _described(_refused("1005", message.where), form, None)
        callback = message.extra.callback
        is_known = any(fnmatchcase(callback, known) for known in self._settings.callbacks)
        if callback and not is_known:
            return _described(_refused("110004"), form, message)
        return _described(self._take(form["pushIds"].split(","), message), form, message)

    def refusal(self, code: str, call: Call) -> Judgement:
        """The code for the whole call; one of single devices, or any with `value ` before it, for
        every device of it.
        """
        form = form_of(call)
        number = code.removeprefix("value ")
        if number == code and code not in OF_DEVICES:
            return _described(_refused(code), form, None)
        tokens = form.get("pushIds", "").split(",")
        verdict = _answer("200", value={number: tokens})
        if number == FOLDED:
            # Each has had the same before, and enough of it.
            verdict.targets = tuple(Target(it, accepted=True, reason=code) for it in tokens)
        verdict.reason = code
        return _described(verdict, form, None)

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        del push_type
        return ARRIVED if device.state == "live" else ""

    def post(self, events: Sequence[Event]) -> Post:
        entries: dict[str, Any] = {}
        for it in events:
            entry: dict[str, Any] = {"param": told_id(it), "type": number_of(it), "targets": []}
            entries.setdefault(f"{it.message_id}-{it.code}", entry)["targets"].append(it.token)
        form = {"cb": msgspec.json.encode(entries), "access_token": "sandbox"}
        return Post(_FORM, urlencode(form).encode())

    # the message

    def _code(self, form: dict[str, str]) -> str:
        """What is wrong with the parameters and their signature; 200 for nothing."""
        if not all(form.get(name) for name in PARAMS):
            return "1005"
        if form["appId"] != self._settings.app_id:
            return "110000"
        signed = {name: text for name, text in form.items() if name != "sign"}
        if not hmac.compare_digest(form["sign"].encode(), self._sign(signed).encode()):
            return "1006"
        tokens = form["pushIds"].split(",")
        if len(tokens) > TARGETS_MAX:
            return "110032"
        if not all(tokens) or len(set(tokens)) < len(tokens):
            return "1005"
        return "200"

    def _sign(self, signed: dict[str, str]) -> str:
        text = "".join(f"{name}={signed[name]}" for name in sorted(signed))
        text += self._settings.app_secret
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def _take(self, tokens: list[str], message: MeizuMessage) -> Judgement:
        now = self._clock.now()
        if not self._flow.take(len(tokens), now):
            return _refused("110010")
        message_id = f"NS{self._chance.bits(64):020d}_{self._settings.app_id}_1"
        value: dict[str, list[str]] = {}
        targets: list[Target] = []
        for token in tokens:
            device, code = self._look(token, message, now)
            if device is not None:
                self._book.show(device, *_shown(message, message_id, now))
            if code:
                value.setdefault(code, []).append(token)
            targets.append(Target(token, accepted=code in ("", FOLDED), reason=code))
        verdict = _answer("200", value=value, message_id=message_id)
        verdict.accepted, verdict.message_id = True, message_id
        verdict.targets = tuple(targets)
        return verdict

    def _look(
        self, token: str, message: MeizuMessage, now: float
    ) -> tuple[SandboxDevice | None, str]:
        """The device that gets the push, and the code where something is to be said of it."""
        if not _PUSH_ID.fullmatch(token):
            return None, "110003"
        device = self._device(token)
        if device is None or device.is_dead or device.state == "gone":
            return None, "110002"
        if self._is_foreign(device):
            return None, "110003"
        if device.state == "muted" or token in self._settings.switched_off:
            return None, "110010"
        is_public = message.noticeBarInfo.noticeMsgType == 0
        if is_public and not self._devices.take(token, now):
            return None, "110011"
        if not self._folds.take(token, now):
            return None, FOLDED
        return device, ""


def _answer(
    code: str, text: str = "", *, value: dict[str, list[str]] | None = None, message_id: str = ""
) -> Judgement:
    answer: dict[str, Any] = {
        "code": code,
        "message": text,
        "value": value or {},
        "redirect": "",
        "msgId": message_id,
    }
    return Judgement(200, _JSON, msgspec.json.encode(answer))


def _refused(code: str, where: str = "") -> Judgement:
    text = TEXTS.get(code, "The call was refused")
    verdict = _answer(code, f"{text}: {where}" if where else text)
    verdict.reason = code
    return verdict


def _described(verdict: Judgement, form: dict[str, str], message: MeizuMessage | None) -> Judgement:
    """The verdict with what the log wants to know of the message."""
    tokens = form.get("pushIds", "").split(",")
    verdict.token = tokens[0]
    if not verdict.targets:
        refused(verdict, tokens)
    verdict.push_type = "notification"
    if message is not None:
        verdict.correlation = message.extra.callback_param
        verdict.collapse = message.advanceInfo.notifyKey
        verdict.topic = ("public", "private")[message.noticeBarInfo.noticeMsgType]
    if message is not None and verdict.accepted:
        verdict.receipt_to = message.extra.callback
        verdict.receipt_types = message.extra.types
    return verdict


def _shown(message: MeizuMessage, message_id: str, now: float) -> tuple[Shown, float | None]:
    shown = Shown(
        key=message.advanceInfo.notifyKey or message_id,
        title=message.noticeBarInfo.title,
        body=message.noticeBarInfo.content,
        at=now,
        message_id=message_id,
        data=message.clickTypeInfo.parameters,
    )
    times = message.pushTimeInfo
    return shown, now + times.validTime * 3600 if times.offLine else now
