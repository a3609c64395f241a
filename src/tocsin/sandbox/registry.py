"""The sandbox's vendors that stand behind one counter each, in alphabetical order.

They speak HTTP/1.1 and their credential is a few texts; Apple and Google have doors of their own in
`server.py`. Whoever adds a vendor adds its file and a line here.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Literal, Protocol

from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.exchange import Vendor
from tocsin.sandbox.trust import Keys
from tocsin.sandbox.vendors.harmony.server import Harmony, HarmonySettings
from tocsin.sandbox.vendors.honor.server import Honor, HonorSettings
from tocsin.sandbox.vendors.huawei.server import Huawei, HuaweiSettings
from tocsin.sandbox.vendors.meizu.server import Meizu, MeizuSettings
from tocsin.sandbox.vendors.oppo.server import Oppo, OppoSettings
from tocsin.sandbox.vendors.vivo.server import Vivo, VivoSettings
from tocsin.sandbox.vendors.webpush.server import WebPush, WebPushSettings
from tocsin.sandbox.vendors.xiaomi.server import Xiaomi, XiaomiSettings


class Grounds(Struct, frozen=True):
    """What every vendor's server stands on."""

    book: DeviceBook
    clock: Clock
    chance: Chance
    keys: Keys


class Counter(Vendor, Protocol):
    """A vendor's server behind a counter."""

    @property
    def credential(self) -> Struct:
        """The vendor's settings, as its console would show them."""
        ...

    def token(self, number: int) -> str:
        """A well-formed device token; the same number always gives the same one."""
        ...


class Manners(Struct, frozen=True, kw_only=True):
    """How a vendor differs in what a sender sees of it: whoever adds books up asks here."""

    devices_max: int = 1
    """Devices in one request."""
    reports: Literal["", "console", "push"] = ""
    """Who names the address that receipts go to: the vendor's console, or each push. Empty: the
    vendor reports nothing."""
    removal: Literal["", "answer", "receipt"] = ""
    """Where it tells that an app was removed; empty: it never does, and takes the push."""


class Row(Struct, frozen=True):
    """One vendor: how its settings are written, and how its server is made from them."""

    name: str
    settings: type[Struct]
    make: Callable[[Any, Grounds], Counter]
    manners: Manners


def _usual(server: Callable[[Any, DeviceBook, Clock, Chance], Counter]) -> Any:
    return lambda told, on: server(told, on.book, on.clock, on.chance)


def _harmony(told: Any, on: Grounds) -> Counter:
    # One RSA key is as good as two, and making them takes long.
    return Harmony(told, on.keys.fcm_private_key, on.book, on.clock, on.chance)


def _webpush(told: Any, on: Grounds) -> Counter:
    # From the authority's key, so that browsers are the same as long as the folder is kept.
    key = on.keys.trust.ca_key_pem.encode()
    secret = hmac.digest(key, b"tocsin sandbox webpush", "sha256")
    return WebPush(told, on.book, on.clock, on.chance, secret=secret)


_CONSOLE = Manners(devices_max=1000, reports="console", removal="receipt")
_PUSH = Manners(devices_max=1000, reports="push", removal="receipt")

COUNTERS = (
    Row("harmony", HarmonySettings, _harmony, _CONSOLE),
    Row("honor", HonorSettings, _usual(Honor), _CONSOLE),
    Row("huawei", HuaweiSettings, _usual(Huawei), _CONSOLE),
    Row(
        "meizu",
        MeizuSettings,
        _usual(Meizu),
        Manners(devices_max=100, reports="push", removal="answer"),
    ),
    Row("oppo", OppoSettings, _usual(Oppo), _PUSH),
    # Its console has an id for the address, and the credential names that.
    Row("vivo", VivoSettings, _usual(Vivo), _CONSOLE),
    Row("webpush", WebPushSettings, _webpush, Manners()),
    Row("xiaomi", XiaomiSettings, _usual(Xiaomi), _PUSH),
)
MANNERS = {"apns": Manners(), "fcm": Manners(), **{row.name: row.manners for row in COUNTERS}}


def make_counters(told: tuple[Struct, ...], grounds: Callable[[], Grounds]) -> dict[str, Counter]:
    """Every vendor's server by name, each on grounds of its own.

    `told` are settings of any of them, by their own class; who is not among them has the defaults.
    """
    given = {type(settings): settings for settings in told}
    unknown = set(given) - {row.settings for row in COUNTERS}
    assert not unknown, unknown
    return {
        row.name: row.make(given.get(row.settings) or row.settings(), grounds()) for row in COUNTERS
    }
