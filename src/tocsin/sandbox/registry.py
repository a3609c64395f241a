"""The servers of all vendors, in alphabetical order.

Whoever adds a vendor adds its folder in `vendors/` and a line here.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Literal, Protocol

from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.exchange import VendorRules
from tocsin.sandbox.trust import Keys
from tocsin.sandbox.vendors.apns.server import Apns, ApnsSettings
from tocsin.sandbox.vendors.fcm.server import Fcm, FcmSettings
from tocsin.sandbox.vendors.harmony.server import Harmony, HarmonySettings
from tocsin.sandbox.vendors.honor.server import Honor, HonorSettings
from tocsin.sandbox.vendors.huawei.server import Huawei, HuaweiSettings
from tocsin.sandbox.vendors.meizu.server import Meizu, MeizuSettings
from tocsin.sandbox.vendors.oppo.server import Oppo, OppoSettings
from tocsin.sandbox.vendors.vivo.server import Vivo, VivoSettings
from tocsin.sandbox.vendors.webpush.server import WebPush, WebPushSettings
from tocsin.sandbox.vendors.xiaomi.server import Xiaomi, XiaomiSettings


class Dependencies(Struct, frozen=True):
    """What a vendor's server is made with: devices, time, chance and keys."""

    book: DeviceBook
    clock: Clock
    chance: Chance
    keys: Keys


class VendorServer(VendorRules, Protocol):
    """A vendor's server with the credential and the device tokens that it accepts."""

    @property
    def credential(self) -> Struct:
        """The vendor's settings, as its console would show them."""
        ...

    def access(self, url: str) -> dict[str, Any]:
        """What a sender must know beside the credential, of a server that listens at `url`."""
        ...

    def token(self, number: int) -> str:
        """A well-formed device token; the same number always gives the same one."""
        ...


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a vendor can do, as far as a sender sees it: whoever recounts deliveries asks here."""

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
    make: Callable[[Any, Dependencies], VendorServer]
    capabilities: Capabilities
    protocols: tuple[str, ...] = ("http/1.1",)


def _usual(server: Callable[[Any, DeviceBook, Clock, Chance], VendorServer]) -> Any:
    return lambda settings, on: server(settings, on.book, on.clock, on.chance)


def _apns(settings: Any, on: Dependencies) -> VendorServer:
    return Apns(settings, on.keys.apns, on.book, on.clock, on.chance)


def _fcm(settings: Any, on: Dependencies) -> VendorServer:
    return Fcm(settings, on.keys.fcm_private_key, on.book, on.clock, on.chance)


def _harmony(settings: Any, on: Dependencies) -> VendorServer:
    # One RSA key is as good as two, and making them takes long.
    return Harmony(settings, on.keys.fcm_private_key, on.book, on.clock, on.chance)


def _webpush(settings: Any, on: Dependencies) -> VendorServer:
    # From the authority's key, so that browsers are the same as long as the folder is kept.
    key = on.keys.trust.ca_key_pem.encode()
    secret = hmac.digest(key, b"tocsin sandbox webpush", "sha256")
    return WebPush(settings, on.book, on.clock, on.chance, secret=secret)


_CONSOLE = Capabilities(devices_max=1000, reports="console", removal="receipt")
_PUSH = Capabilities(devices_max=1000, reports="push", removal="receipt")

SERVERS = (
    Row("apns", ApnsSettings, _apns, Capabilities(), ("h2",)),
    Row("fcm", FcmSettings, _fcm, Capabilities(), ("h2", "http/1.1")),
    Row("harmony", HarmonySettings, _harmony, _CONSOLE),
    Row("honor", HonorSettings, _usual(Honor), _CONSOLE),
    Row("huawei", HuaweiSettings, _usual(Huawei), _CONSOLE),
    Row(
        "meizu",
        MeizuSettings,
        _usual(Meizu),
        Capabilities(devices_max=100, reports="push", removal="answer"),
    ),
    Row("oppo", OppoSettings, _usual(Oppo), _PUSH),
    # Its console has an id for the address, and the credential names that.
    Row("vivo", VivoSettings, _usual(Vivo), _CONSOLE),
    Row("webpush", WebPushSettings, _webpush, Capabilities()),
    Row("xiaomi", XiaomiSettings, _usual(Xiaomi), _PUSH),
)
CAPABILITIES = {row.name: row.capabilities for row in SERVERS}
PROTOCOLS = {row.name: row.protocols for row in SERVERS}


def make_servers(
    settings: tuple[Struct, ...], dependencies: Callable[[], Dependencies]
) -> dict[str, VendorServer]:
    """Every vendor's server by name, each with dependencies of its own.

    `settings` are those of any vendors; a vendor without any has the defaults of its class.
    """
    given = {type(each): each for each in settings}
    unknown = set(given) - {row.settings for row in SERVERS}
    assert not unknown, unknown
    return {
        row.name: row.make(given.get(row.settings) or row.settings(), dependencies())
        for row in SERVERS
    }
