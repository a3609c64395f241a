"""An app: one customer application. All data hangs under it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tocsin.domain.quota import PROFILES, QuotaLimits

SLOTS = tuple(str(slot) for slot in range(10))
"""Attribute slots of an app (trtc.io/document/60563, read 2026-11)."""

ATTR_NAME_MAX_BYTES = 50


class App(Struct, frozen=True, kw_only=True):
    """One customer application, as the store keeps it. Secrets are sealed."""

    sdkappid: int
    key: bytes
    """Sealed SDKSecretKey that signs UserSigs."""
    appkey: bytes
    """Sealed client key that devices register with."""
    former_key: bytes = b""
    """Sealed key that `key` has replaced; it proves UserSigs until it is dropped."""
    admins: tuple[str, ...] = ()
    is_enabled: bool = True
    is_push_enabled: bool = True
    profile: Literal["compatible", "unlimited", "own"] = "compatible"
    own_limits: QuotaLimits | None = None
    """Used when `profile` is `own`."""
    device_policy: Literal["last", "all"] = "last"
    """`last`: only the newest login among a user's registered devices is pushed to."""
    ack_s: int = 5
    """Seconds an online delivery may stay unacked before the vendor leg is sent."""
    ttl_s: int = 86_400
    """Seconds a push lives when the call does not say."""
    can_delete_accounts: bool = True
    reimport_after_s: int = 0
    """Seconds before a deleted account may be imported again; 0 means at once."""
    own_registration_ids: str = ""
    """What RegistrationIDs that devices choose themselves begin with; empty: the service makes
    every one."""
    origins: tuple[str, ...] = ()
    """Web pages of which origins may call and read the answer (`domain/origin.py`)."""
    attr_names: dict[str, str] = {}
    """Slot ("0" to "9") to attribute name."""
    attr_types: dict[str, int] = {}
    """Slot to account type; fixed when the slot is first named."""

    is_being_removed: bool = False
    """Whether its removal has begun: it is never enabled again, and goes row by row."""

    @property
    def limits(self) -> QuotaLimits:
        """The limits in force."""
        if self.profile == "own":
            return self.own_limits or PROFILES["compatible"]
        return PROFILES[self.profile]

    def slot_of(self, name: str) -> str | None:
        """The slot that bears this attribute name."""
        return next((slot for slot, known in self.attr_names.items() if known == name), None)


def begin_removal(app: App) -> App:
    """The app from the moment on when it is removed: nobody may call, and nothing is sent."""
    return replace(app, is_enabled=False, is_push_enabled=False, is_being_removed=True)


class Credential(Struct, frozen=True, kw_only=True):
    """What proves us to a vendor: one record of an app, addressed by its certificate ID."""

    app: int
    number: int
    """Certificate ID: positive, stable on edit, new on re-creation."""
    channel: str
    """Name of the channel in `channels/registry.py`."""
    settings: bytes
    """Sealed JSON of the channel's `Settings`."""
    origin: str = ""
    """Overrides the vendor's base URL; empty means the vendor's own."""
    auth_origin: str = ""
    """Overrides the base URL of the vendor's token service."""
    ca: str | None = None
    """PEM text of the authorities to trust instead of the system's."""
    proxy: bytes = b""
    """Sealed URL of the proxy to go through, or `none`; empty means as `http.proxy` says."""
    rate_per_s: float = 0.0
    """Targets per second; 0 means the channel's default."""
    is_enabled: bool = True
    name: str = ""
    """Its name in the configuration that declares it; empty for one that a command made."""
    is_declared: bool = False
    """Whether the configuration still declares it: then it is changed there and nowhere else."""
    version: int = 1
    """Grows with each edit, so that drivers know to start anew."""
