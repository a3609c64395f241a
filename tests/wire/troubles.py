"""Troubles over sockets: the table of them, and what each does to a vendor of the sandbox."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

from msgspec import Struct

from tests.unit.channels.kit import kit_of
from tests.wire.connect_proxy import ConnectProxy
from tests.wire.served import LocalCommand
from tocsin.channels.breaker import OPEN_MAX_S
from tocsin.channels.registry import find, real_hosts
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox

VENDORS = ("apns", "fcm", "huawei", "webpush")
SCALE = 0.05
"""Factor on all waits: a breaker opens for a second and a half at most."""
ANSWER_S = 3
"""How long an answer is waited for: what silence costs."""
SPANS_S = {"short": OPEN_MAX_S * SCALE / 2, "long": OPEN_MAX_S * SCALE * 3}
RETRY_AFTER_S = 1
FORMS = {
    "503": ("plain", "retry_after"),
    "429": ("plain", "retry_after"),
    "reset": ("before", "after"),
    "silence": ("taken", "not_taken"),
    "not_json": ("html", "broken"),
    "token_service": ("500", "reset"),
    "name": ("unknown", "nobody"),
    "proxy": ("dead", "refusing"),
}
"""Each fault and its two forms."""
WITH_TOKENS = ("fcm", "huawei")
"""Vendors with a token service."""
NO_HOST = {"unknown": "https://no-such-host.invalid", "nobody": "https://127.0.0.1:9"}


class Row(Struct, frozen=True):
    """One vendor's trouble."""

    fault: str
    form: str
    vendor: str
    count: int
    span: Literal["short", "long"]
    mix: Literal["alone", "mixed"]

    @property
    def kind(self) -> str:
        """How many devices the vendor takes in a request."""
        return "list" if self.vendor == "huawei" else "single"

    @property
    def name(self) -> str:
        return "-".join((self.vendor, self.fault, self.form, str(self.count), self.span, self.mix))


TABLE = (
    (
        Row("429", "plain", "huawei", 5, "short", "mixed"),
        Row("reset", "after", "webpush", 1, "short", "mixed"),
        Row("not_json", "html", "fcm", 60, "short", "alone"),
    ),
    (
        Row("proxy", "refusing", "huawei", 5, "short", "mixed"),
        Row("token_service", "500", "fcm", 60, "short", "alone"),
        Row("reset", "after", "apns", 5, "short", "mixed"),
    ),
    (
        Row("503", "plain", "huawei", 5, "short", "alone"),
        Row("not_json", "html", "webpush", 5, "short", "mixed"),
        Row("name", "unknown", "fcm", 60, "short", "alone"),
    ),
    (
        Row("silence", "not_taken", "huawei", 5, "short", "alone"),
        Row("503", "retry_after", "fcm", 1, "short", "alone"),
        Row("name", "nobody", "apns", 1, "short", "alone"),
    ),
    (
        Row("name", "nobody", "huawei", 5, "long", "mixed"),
        Row("503", "plain", "apns", 60, "long", "mixed"),
        Row("proxy", "refusing", "webpush", 60, "long", "mixed"),
    ),
    (
        Row("reset", "before", "huawei", 60, "long", "alone"),
        Row("429", "retry_after", "apns", 1, "long", "alone"),
        Row("silence", "not_taken", "webpush", 1, "long", "mixed"),
    ),
    (
        Row("token_service", "500", "huawei", 1, "long", "alone"),
        Row("proxy", "dead", "fcm", 1, "long", "alone"),
        Row("silence", "taken", "apns", 60, "long", "alone"),
    ),
    (
        Row("not_json", "broken", "huawei", 1, "long", "alone"),
        Row("token_service", "reset", "fcm", 5, "long", "mixed"),
        Row("429", "plain", "webpush", 60, "long", "alone"),
    ),
)
"""Rounds of troubles that run at once: each vendor in one, and those left out are neighbours."""


def whole() -> list[tuple[Row, ...]]:
    """Every fault in every form, span, number and mix, with all vendors but one in trouble."""
    found = []
    faults = [(fault, form) for fault, forms in FORMS.items() for form in forms]
    counts = (1, 5, 60, 2000)
    spans: tuple[Literal["short", "long"], ...] = ("short", "long")
    mixes: tuple[Literal["alone", "mixed"], ...] = ("alone", "mixed")
    for place, each in enumerate(product(faults, counts, spans, mixes)):
        (fault, form), count, span, mix = each
        able = WITH_TOKENS if fault == "token_service" else VENDORS
        left_out = VENDORS[place % len(VENDORS)]
        found.append(tuple(Row(fault, form, it, count, span, mix) for it in able if it != left_out))
    return [rows for rows in found if rows]


class Trouble:
    """One row at work on the sandbox's vendor."""

    def __init__(self, row: Row, sandbox: Sandbox, proxy: ConnectProxy) -> None:
        self.row = row
        self._sandbox = sandbox
        self._proxy = proxy
        self._rules: list[int] = []

    def record(self) -> dict[str, Any]:
        """What its credential has beside what the sandbox tells."""
        if self.row.fault == "name":
            return {"origin": NO_HOST[self.row.form]}
        if self.row.fault == "proxy":
            # A host on loopback is never asked of a proxy.
            host = real_hosts()[self.row.vendor][0]
            return {"origin": f"https://{host}", "proxy": self._proxy.url}
        return {}

    async def begin(self) -> None:
        if self.row.fault == "proxy":
            self._proxy.target_port = self._sandbox.listeners[self.row.vendor].port
            if self.row.form == "dead":
                await self._proxy.die()
            else:
                self._proxy.refusal = "503 Service Unavailable"
        is_mixed, is_reached = self.row.mix == "mixed", self.row.fault not in NOT_REACHED
        if is_reached:
            # Whatever it is mixed with, the first request meets this one.
            self._add(times=1 if is_mixed else None, **self._rule())
        if is_mixed:
            # Where there is no way to the vendor, its own faults follow when there is one again.
            times = None if is_reached else 10
            self._add(kind="status", status=503, share=0.3, times=times)
            self._add(kind="status", status=429, share=0.3, times=times)
        if is_reached and is_mixed:
            self._add(share=0.5, **self._rule())

    def _add(self, **rule: Any) -> None:
        told = Rule(**{"vendor": self.row.vendor, **rule})
        self._rules.append(self._sandbox.faults.add(told))

    def is_met(self) -> bool:
        """Whether a request has met it, as far as that can be seen from outside."""
        if self.row.fault in NOT_REACHED:
            return bool(self._proxy.asked) or self.row.form != "refusing"
        armed = {it.number: it for it in self._sandbox.faults.armed()}
        return armed[self._rules[0]].hits > 0

    def _rule(self) -> dict[str, Any]:
        vendor, form = self.row.vendor, self.row.form
        wait = {"retry_after_s": RETRY_AFTER_S} if form == "retry_after" else {}
        match self.row.fault:
            case "503" | "429":
                return {"kind": "status", "status": int(self.row.fault), **wait}
            case "reset":
                return {"kind": f"reset_{form}"}
            case "silence":
                return {"kind": "never", "accepted": form == "taken"}
            case "not_json" if form == "html":
                return {"kind": "html_page"}
            case "not_json":
                # To these two the status alone says that they took it.
                status = 500 if vendor in ("apns", "webpush") else 200
                return {"kind": "status", "status": status, "body": '{"broken'}
            case _:
                file = find(vendor)
                assert file is not None
                path = next(iter(kit_of(file).authority))
                answer = {"kind": "status", "status": 500} if form == "500" else None
                return {"path": path, **(answer or {"kind": "reset_before"})}

    async def end(self, command: LocalCommand, credential: int) -> None:
        if self.row.fault not in NOT_REACHED:
            for number in self._rules:
                self._sandbox.faults.remove(number)
        if self.row.fault == "proxy":
            self._proxy.refusal = ""
            if self.row.form == "dead":
                await self._proxy.listen()
        if self.row.fault == "name":
            # A name cannot be made to mean something here, so an operator names another.
            origin = self._sandbox.url(self.row.vendor)
            await command("credential", "set", str(credential), "--origin", origin)


NOT_REACHED = ("name", "proxy")
"""Faults in which nothing comes to the vendor."""
