"""Xiaomi's Mi Push: `message/regid`.

dev.mi.com, pages 1559, 1560 and 1656 (read 2026-11). What a form may contain stands in
`rules.py`, what is posted later in `receipts.py`. Every answer is HTTP 200 with a code
inside. The pages do not say how an answer names regIds that nobody knows, nor which code a template
that is missing gets: the first is a setting here, `bad_regids`, and the codes are the nearest of
Xiaomi's list.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Container, Sequence
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tocsin.clock import Chance, Clock
from tocsin.sandbox.app_server import AppServer, form_of, is_form, refused
from tocsin.sandbox.buckets import DAY_S, Buckets, Flow
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, Shown
from tocsin.sandbox.exchange import Call, Judgement, Target
from tocsin.sandbox.receipts import Event, Post
from tocsin.sandbox.vendors.xiaomi import receipts as xiaomi_receipts
from tocsin.sandbox.vendors.xiaomi import rules
from tocsin.sandbox.vendors.xiaomi.rules import XiaomiFault, XiaomiRules

NAME = "xiaomi"
SECRET = "c2FuZGJveC14aWFvbWk="  # noqa: S105 - the sandbox's own
PACKAGE = "com.example.app"

_PATH = re.compile(r"/v(?P<version>[234])/message/regid")
_REGID = re.compile(r"[A-Za-z0-9+/=_-]{8,256}")
_JSON = (("content-type", "application/json;charset=utf-8"),)

TEXTS = {
    0: "成功",
    10012: "Illegal request.",
    10016: "A required parameter is missing.",
    10017: "The value of a parameter is illegal.",
    21301: "Authentication failed.",
    22000: "Illegal application.",
    22022: "The package name does not belong to the application.",
    27001: "The channel id does not match.",
    65009: "The message is too long.",
    66007: "The regId is unknown.",
    200001: "The daily quota is used up.",
    200002: "Too many targets a second.",
}


class XiaomiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The app, and how this Xiaomi behaves where the pages leave it open."""

    app_secret: str = SECRET
    package_name: str = PACKAGE
    private_channels: tuple[str, ...] = ("high_system",)
    public_channels: tuple[str, ...] = ("news",)
    requires_channel: bool = False
    """Whether a push without a channel is refused; otherwise it is one of no class."""
    templates: tuple[str, ...] = ("T100",)
    requires_template: bool = False
    """Whether private pushes need a template, as they do for new apps since 2026-07."""
    bad_regids: Literal["named", "silent", "refused"] = "named"
    """What unknown regIds in a list lead to: left out and named, left out, or all refused."""
    targets_per_s: int | None = None
    """Xiaomi gives 500 to 3000; None: no limit."""
    public_per_day: int | None = None
    """All public pushes of a day; Xiaomi gives twice the devices with notifications on."""
    device_per_day: int | None = None
    """Public pushes a device and day; Xiaomi gives 5."""
    unclassed_per_day: int | None = None
    """Pushes of no class a device and day; Xiaomi gives 1."""


class XiaomiCredential(Struct, frozen=True):
    """What the developer console shows."""

    app_secret: str
    package_name: str
    android_channel_id: str
    private_channel_ids: str


class Xiaomi(AppServer):
    """One Xiaomi with one app."""

    name = NAME
    receipts_max = xiaomi_receipts.RECEIPTS_MAX

    def __init__(
        self, settings: XiaomiSettings, book: DeviceBook, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        super().__init__(settings.package_name, book, clock, chance)
        channels = dict.fromkeys(settings.public_channels, False)
        channels |= dict.fromkeys(settings.private_channels, True)
        self._rules = XiaomiRules(settings.package_name, channels, settings.templates)
        self._flow = Flow(settings.targets_per_s)
        self._public = Buckets(settings.public_per_day, DAY_S)
        self._devices = Buckets(settings.device_per_day, DAY_S)
        self._unclassed = Buckets(settings.unclassed_per_day, DAY_S)

    @property
    def credential(self) -> XiaomiCredential:
        return XiaomiCredential(
            app_secret=self._settings.app_secret,
            package_name=self._settings.package_name,
            android_channel_id=next(iter(self._settings.public_channels), ""),
            private_channel_ids=",".join(self._settings.private_channels),
        )

    @staticmethod
    def token(number: int) -> str:
        """A well-formed regId; the same number always gives the same one."""
        return f"{sha256(b'xiaomi %d' % number).hexdigest()[:43]}="

    def token_of(self, call: Call) -> str:
        return form_of(call).get("registration_id", "").split(",")[0]

    def judge(self, call: Call) -> Judgement:
        match = _PATH.fullmatch(call.path.split("?")[0])
        if match is None or call.method != "POST":
            return Judgement(404 if match is None else 405, reason="no such call", logged=False)
        form = form_of(call)
        fault = self._proof(dict(call.headers).get("authorization", ""))
        if fault is None and not is_form(call):
            fault = XiaomiFault(10012, "content-type")
        if fault is None:
            fault = next(rules.faults(form, self._rules, int(match["version"])), None)
        if fault is None:
            fault = self._class_fault(form)
        if fault is not None:
            return _described(_refused(fault), form)
        return _described(self._take(form), form)

    def refusal(self, code: str, call: Call) -> Judgement:
        number = int(code) if re.fullmatch(r"0|[1-9][0-9]{0,8}", code) else 10012
        return _described(_refused(XiaomiFault(number, "")), form_of(call))

    # receipts

    def fate(self, device: SandboxDevice, push_type: str) -> str:
        del push_type
        invalid = str(xiaomi_receipts.INVALID)
        is_lost = self._is_foreign(device)
        return invalid if is_lost else xiaomi_receipts.FATES.get(device.state, invalid)

    def sort(self, event: Event) -> str:
        return f"{event.code} {self._bar_status(event)} {int(event.at * 1000)}"

    def post(self, events: Sequence[Event]) -> Post:
        return xiaomi_receipts.post(events, self._bar_status)

    def _bar_status(self, event: Event) -> str:
        device = self._book.known(NAME, event.token)
        return "Disable" if device is not None and device.state == "muted" else "Enable"

    # the message

    def _proof(self, header: str) -> XiaomiFault | None:
        if not header.startswith("key="):
            return XiaomiFault(21301, "authorization")
        given, right = header.removeprefix("key=").encode(), self._settings.app_secret.encode()
        return None if hmac.compare_digest(given, right) else XiaomiFault(22000, "authorization")

    def _class_fault(self, form: dict[str, str]) -> XiaomiFault | None:
        channel = form.get("extra.channel_id", "")
        if not channel:
            return XiaomiFault(27001, "channel_id") if self._settings.requires_channel else None
        is_private = self._rules.channels[channel]
        if is_private and self._settings.requires_template and "extra.template_id" not in form:
            return XiaomiFault(65035, "template_id")
        return None

    def _take(self, form: dict[str, str]) -> Judgement:
        now = self._clock.now()
        tokens = form["registration_id"].split(",")
        if not self._flow.take(len(tokens), now):
            return _refused(XiaomiFault(200002, ""))
        known = {token: self._known(token) for token in tokens}
        devices = {token: device for token, device in known.items() if device is not None}
        is_refused = self._settings.bad_regids == "refused" and len(devices) < len(tokens)
        if is_refused or not devices:
            return _refused(XiaomiFault(66007, ""))
        channel = form.get("extra.channel_id", "")
        left = {token for token in devices if self._has_quota(channel, token, now)}
        if not left:
            return _refused(XiaomiFault(200001, ""))
        message_id = f"scm{self._chance.bits(64):020d}"
        shared = rules.app_data(form)
        for token in left:
            self._book.show(devices[token], *_shown(form, message_id, shared, now))
        data: dict[str, Any] = {"id": message_id}
        if self._settings.bad_regids == "named" and len(devices) < len(tokens):
            data["bad_regids"] = ",".join(token for token in tokens if token not in devices)
        if len(left) < len(devices):
            over = len(devices) - len(left)
            data["channel_exceed_quota"] = f"{channel or 'no_channel'}:{over}"
        verdict = _answer(0, data=data)
        verdict.accepted, verdict.message_id = True, message_id
        is_hidden = self._settings.bad_regids == "silent"
        bad = Target("", accepted=False, reason="bad_regid", is_told_later=is_hidden)
        verdict.targets = tuple(
            _target(token, left) if token in devices else replace(bad, token=token)
            for token in tokens
        )
        return verdict

    def _has_quota(self, channel: str, token: str, now: float) -> bool:
        """Whether one more push may be shown today; it then counts."""
        if not channel:
            return self._unclassed.take(token, now)
        if self._rules.channels[channel]:
            return True
        return self._devices.take(token, now) and self._public.take(NAME, now)

    def _known(self, token: str) -> SandboxDevice | None:
        """The device that a regId reaches; Xiaomi does not say why it reaches none."""
        if not _REGID.fullmatch(token):
            return None
        device = self._device(token)
        if device is None or device.is_dead or self._is_foreign(device):
            return None
        return device


def _answer(code: int, *, text: str = "", data: dict[str, Any] | None = None) -> Judgement:
    answer: dict[str, Any] = {
        "result": "error" if code else "ok",
        "code": code,
        "trace_id": "Xsandbox",
        "description": text or TEXTS.get(code, "The call was refused."),
    }
    if code:
        answer["reason"] = answer["description"]
    else:
        answer |= {"info": "Received push messages", "data": data or {}}
    return Judgement(200, _JSON, msgspec.json.encode(answer))


def _refused(fault: XiaomiFault) -> Judgement:
    where = f" ({fault.where})" if fault.where else ""
    verdict = _answer(fault.code, text=TEXTS.get(fault.code, "The call was refused.") + where)
    verdict.reason = str(fault.code)
    return verdict


def _described(verdict: Judgement, form: dict[str, str]) -> Judgement:
    """The verdict with what the log wants to know of the message."""
    tokens = form.get("registration_id", "").split(",")
    verdict.token = tokens[0]
    if not verdict.targets:
        refused(verdict, tokens)
    verdict.correlation = form.get("extra.callback.param", "")
    verdict.collapse = form.get("notify_id", "")
    verdict.topic = form.get("extra.channel_id", "")
    verdict.push_type = "data" if form.get("pass_through") == "1" else "notification"
    if verdict.accepted:
        verdict.receipt_to = form.get("extra.callback", "")
        verdict.receipt_types = xiaomi_receipts.types_asked(form)
    return verdict


def _target(token: str, left: Container[str]) -> Target:
    if token not in left:
        return Target(token, accepted=False, reason="channel_exceed_quota")
    return Target(token, accepted=True)


def _shown(
    form: dict[str, str], message_id: str, data: dict[str, str], now: float
) -> tuple[Shown, float | None]:
    shown = Shown(
        key=form.get("notify_id", message_id),
        title=form["title"],
        body=form["description"],
        at=now,
        message_id=message_id,
        data=data,
    )
    life = form.get("time_to_live")
    return shown, None if life is None else now + int(life) / 1000
