"""The device book: what each token is, and what its screen shows.

A token the book has never seen is a live device if it has the vendor's form, so that a load test
needs no set-up; `knows_all=True` turns that round. One that ends in twenty zeros is nobody's.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from tocsin.clock import Clock

State = Literal[
    "live",
    "dead",
    "expired",
    "other_environment",
    "other_app",
    "off",
    "muted",
    "inactive",
    "gone",
]
"""`off` takes a push when it returns. `muted` has its notifications switched off, `inactive` was
not used for weeks, and from `gone` the app was removed: nothing is shown on these, and some vendors
only learn of it when they have accepted the push, and then tell it in a receipt."""
STATES: tuple[State, ...] = get_args(State)
BLIND: tuple[State, ...] = ("muted", "inactive", "gone")
"""Devices that show nothing although their token is known."""

DEVICES_MAX = 1_000_000
_NOBODYS = re.compile(r"0{20}=?\Z")
"""A token that ends in so many zeros was made up: senders use it to try a credential."""
_NOT_OF_A_HEX_TOKEN = str.maketrans("", "", "<> \t\r\n")
SHOWN_MAX = 24
"""Android shows at most so many notifications of one app; the oldest goes."""


class Shown(Struct):
    """One notification on a screen, or one silent push taken in."""

    key: str
    """The collapse id or tag, else the message's own id."""
    title: str
    body: str
    at: float
    message_id: str
    replaced: int = 0
    """How often a later push with the same key has taken this place."""
    is_silent: bool = False
    data: dict[str, Any] = {}
    """What the app is handed beside: Ext, and which push this is. A list's devices share it."""


class SandboxDevice(Struct):
    """One installation, as its vendor knows it."""

    token: str
    state: State = "live"
    since: float = 0.0
    """When the state began; APNs tells it for dead tokens."""
    app: str = ""
    """Bundle id or project the token belongs to; empty: whichever asks."""
    shown: dict[str, Shown] = {}
    held: list[tuple[Shown, float | None]] = []
    """What waits for a device that is switched off, with its expiry."""

    @property
    def is_dead(self) -> bool:
        """Whether its token is good for nothing any more."""
        return self.state in ("dead", "expired")


class DeviceBook:
    """All devices of all vendors."""

    def __init__(
        self, clock: Clock, *, knows_all: bool = False, devices_max: int = DEVICES_MAX
    ) -> None:
        self._clock = clock
        self._knows_all = knows_all
        self._devices_max = devices_max
        self._devices: dict[tuple[str, str], SandboxDevice] = {}

    def __len__(self) -> int:
        return len(self._devices)

    def put(
        self,
        vendor: str,
        token: str,
        state: State = "live",
        *,
        since: float | None = None,
        app: str | None = None,
    ) -> SandboxDevice:
        """Set a device's state. One that comes back to live shows what was held for it."""
        assert state in STATES
        token = spelt(vendor, token)
        device = self._devices.get((vendor, token))
        if device is None:
            device = self._devices[vendor, token] = SandboxDevice(token, shown={}, held=[])
        device.state = state
        device.since = self._clock.now() if since is None else since
        if app is not None:
            device.app = app
        if state == "live":
            held, device.held = device.held, []
            for shown, expires_at in held:
                if expires_at is None or expires_at > self._clock.now():
                    self._place(device, shown)
        return device

    def forget(self, vendor: str, token: str) -> bool:
        """Remove a device from the book; True if it was there."""
        return self._devices.pop((vendor, spelt(vendor, token)), None) is not None

    def look(self, vendor: str, token: str) -> SandboxDevice | None:
        """The device, or None where the vendor has never heard of it."""
        token = spelt(vendor, token)
        device = self._devices.get((vendor, token))
        if device is None and not self._knows_all and not _NOBODYS.search(token):
            device = SandboxDevice(token, shown={}, held=[])
            if len(self._devices) < self._devices_max:
                self._devices[vendor, token] = device
        return device

    def known(self, vendor: str, token: str) -> SandboxDevice | None:
        """The device if it is in the book; unlike `look` it adds nothing."""
        return self._devices.get((vendor, spelt(vendor, token)))

    def all_of(self, vendor: str) -> list[SandboxDevice]:
        """Every device of a vendor, in the order first seen."""
        return [device for (name, _), device in self._devices.items() if name == vendor]

    def show(self, device: SandboxDevice, shown: Shown, expires_at: float | None) -> None:
        """Deliver to a screen. A device that is off gets the newest of each key when it returns.

        `expires_at` in the past or present means "now or never".
        """
        if device.state in BLIND:
            return
        if device.state != "off":
            self._place(device, shown)
        elif expires_at is None or expires_at > self._clock.now():
            device.held = [pair for pair in device.held if pair[0].key != shown.key]
            device.held = [*device.held[1 - SHOWN_MAX :], (shown, expires_at)]

    def withdraw(self, device: SandboxDevice, key: str, *, from_screen: bool) -> bool:
        """Take back what waits for a device under a key, and from its screen; True if it had it."""
        waiting = [pair for pair in device.held if pair[0].key != key]
        was_there = len(waiting) < len(device.held)
        device.held = waiting
        if from_screen:
            was_there |= device.shown.pop(key, None) is not None
        return was_there

    def clear(self) -> None:
        """Forget every device."""
        self._devices.clear()

    def _place(self, device: SandboxDevice, shown: Shown) -> None:
        before = device.shown.pop(shown.key, None)
        if before is not None:
            shown = replace(shown, replaced=before.replaced + 1)
        elif len(device.shown) >= SHOWN_MAX:
            del device.shown[next(iter(device.shown))]
        device.shown[shown.key] = shown


def spelt(vendor: str, token: str) -> str:
    """The token as the book keeps it.

    Apple's is the hex text of some bytes ("Sending notification requests to APNs", read 2026-11):
    case, spaces, line breaks and the brackets that iOS prints around it are no part of it.
    """
    return token.lower().translate(_NOT_OF_A_HEX_TOKEN) if vendor == "apns" else token
