"""Devices: one installation of a customer's app, its vendor route and whom it belongs to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.account import (
    REGISTRATION,
    USER,
    Account,
    AccountsEdit,
    AccountsView,
    Draft,
)
from tocsin.domain.hello import DeviceFacts, GivenRoute, RegistrationRequest
from tocsin.domain.names import may_be_own, refuse_reserved
from tocsin.errors import CallError

LIVE_TOKENS_MAX = 32
"""Live Activities whose tokens are kept of one device, and types of them; the oldest go."""

PUSH_PLATFORMS: dict[str, int] = {
    "online": 0,
    "apns": 1,
    "xiaomi": 2,
    "huawei": 3,
    "fcm": 4,
    "meizu": 5,
    "oppo": 6,
    "vivo": 7,
    "honor": 8,
    "harmony": 9,
    "webpush": 10,
}
"""PushPlatform by channel (trtc.io/document/67551, read 2026-11); from 9 on our choice."""


ENVIRONMENTS = ("production", "development")
"""Which of a vendor's services a token comes from; most have only the first."""

SIDE_TOKENS_CHANNEL = "apns"
"""Whose tokens VoIP and Live Activity tokens are."""


class Route(GivenRoute, frozen=True, array_like=True):
    """A vendor's address of a device, its token in the one spelling that the vendor's file writes.

    Stored as an array, so that members may only be added at its end.
    """

    identity: str = ""
    """What tells this device from others, where that is not the token as a whole: of a Web Push
    subscription the endpoint. Empty: the token."""

    def key(self) -> tuple[str, str, str]:
        """What is unique in an app: (channel, environment, identity)."""
        return (self.channel, self.environment, self.identity or self.token)

    def device_key(self) -> tuple[str, str]:
        """What tells a device from others; another environment makes it no other device."""
        return (self.channel, self.identity or self.token)

    def in_each_environment(self) -> list[Route]:
        """The routes under which an owner of this token may be stored."""
        named = {self.environment: self}
        for name in ENVIRONMENTS:
            named.setdefault(name, msgspec.structs.replace(self, environment=name))
        return list(named.values())


class Device(Struct, frozen=True, kw_only=True):
    """One installation. It is an account of type 1 itself and may be bound to a UserID."""

    number: int
    """Dense per app, never reused."""
    registration_id: str
    account: int
    """Number of the account of type 1 with the same name."""
    user: int = 0
    """Number of the bound UserID's account; 0 when nobody is logged in."""
    user_name: str = ""
    secret_hash: bytes = b""
    """SHA-256 of the device secret that the first registration answered."""
    route: Route | None = None
    route_at: float = 0.0
    """When the route was registered: a token that died before lives again."""
    epoch: int = 0
    """Grows whenever the route changes: a late "token dead" must not kill its successor."""
    voip_token: str = ""
    live_tokens: dict[str, str] = {}
    """Live Activity id to its push token."""
    live_start_tokens: dict[str, str] = {}
    """Type of a Live Activity's attributes to the token that starts one (iOS 17.2 and later)."""
    language: str = ""
    platform: str = ""
    """`iPhone`, `Android`, `Web`, `iPad`, `PC`, `Mac` or empty (trtc.io/document/35477)."""
    model: str = ""
    system_version: str = ""
    sdk_version: str = ""
    push_version: str = ""
    is_notify_on: bool = True
    is_registered: bool = True
    badge: int = 0
    login_at: float = 0.0
    seen_at: float = 0.0


class DeviceRows(Struct, frozen=True):
    """Rows of some devices at one moment."""

    position: int
    """The newest position of the device changes at that moment."""
    devices: Mapping[int, Device]
    """Those that exist, by number."""


class DeviceView(Struct, frozen=True):
    """What the store read for one device's call."""

    accounts: AccountsView
    """Its accounts hold the RegistrationID and the UserID, where they exist."""
    device: Device | None
    owners: list[Device]
    """The devices that own the token now: one, or one in each environment."""
    next_device: int


class DeviceEdit(Struct):
    """What the store shall write: accounts as ever, and whole device rows."""

    accounts: AccountsEdit
    devices: list[Device] = []
    result: Any = None


class Registration(RegistrationRequest, frozen=True, kw_only=True):
    """One registration: device level, or with a UserID whose UserSig was already checked."""

    route: Route | None = None
    is_made: bool = True
    """Whether the service made the RegistrationID just now. Else the device brought it, and it is
    registered already or an own one of the app."""
    fresh_secret: str
    """The secret to hand out if this is the first time."""


class Registered(Struct, frozen=True):
    """What a registration came to."""

    device: Device
    secret: str
    """The new secret, or empty when the device had one."""


def is_addressed(device: Device, audience: BitMap) -> bool:
    """Whether a frozen audience names this device as it is now: its user, or the device itself.

    A RegistrationID is an address of its own, whoever is logged in.
    """
    return device.user in audience or device.account in audience


def is_changed(before: Device | None, after: Device) -> bool:
    """Whether a write is a change of the device: not if only the time seen or the badge differs."""
    if before is None:
        return True
    return msgspec.structs.replace(before, seen_at=after.seen_at, badge=after.badge) != after


def hash_secret(secret: str) -> bytes:
    """What is stored of a device secret."""
    return hashlib.sha256(secret.encode()).digest()


def has_secret(device: Device, secret: str) -> bool:
    """Whether this is the device's secret, in constant time."""
    return hmac.compare_digest(device.secret_hash, hash_secret(secret))


def register(ask: Registration, now: float) -> Callable[[DeviceView], DeviceEdit]:
    """A decision that registers a device, binds its UserID and takes its token from others."""

    def decide(view: DeviceView) -> DeviceEdit:
        draft = Draft(view.accounts)
        device, secret = _known_or_new(view, draft, ask)
        device = _with_facts(device, ask.facts, now)
        device = _with_user(draft, device, ask, now)
        device = _with_tokens(device, ask, now)
        others = [owner for owner in view.owners if owner.number != device.number]
        devices = [device, *map(without_tokens, others)]
        return DeviceEdit(draft.edit([]), devices, Registered(device, secret))

    return decide


def unregister(secret: str, now: float) -> Callable[[DeviceView], DeviceEdit]:
    """A decision that stops all pushes to a device until it registers again."""

    def decide(view: DeviceView) -> DeviceEdit:
        return _unregistered(view, _checked(view.device, secret), now)

    return decide


def unregister_unasked(now: float) -> Callable[[DeviceView], DeviceEdit]:
    """The same decision by the operator, who needs no secret; raises `CallError` 70107."""

    def decide(view: DeviceView) -> DeviceEdit:
        if view.device is None:
            raise CallError(70107, "no device with this RegistrationID")
        return _unregistered(view, view.device, now)

    return decide


def _unregistered(view: DeviceView, device: Device, now: float) -> DeviceEdit:
    gone = msgspec.structs.replace(
        without_route(device),
        is_registered=False,
        user=0,
        user_name="",
        voip_token="",
        live_tokens={},
        live_start_tokens={},
        seen_at=now,
    )
    return DeviceEdit(Draft(view.accounts).edit([]), [gone], gone)


def note_seen(now: float) -> Callable[[DeviceView], DeviceEdit]:
    """A decision that writes down when a device was last seen, if it is still there."""

    def decide(view: DeviceView) -> DeviceEdit:
        accounts = Draft(view.accounts).edit([])
        if view.device is None:
            return DeviceEdit(accounts)
        seen = msgspec.structs.replace(view.device, seen_at=now)
        return DeviceEdit(accounts, [seen], seen)

    return decide


def drop_dead_token(
    key: tuple[str, str, str], died_at: float
) -> Callable[[DeviceView], DeviceEdit]:
    """A decision that takes a device's token, if it still is the one that a receipt tells dead.

    One that was registered after `died_at` lives again. The result is whether it was taken.
    """

    def decide(view: DeviceView) -> DeviceEdit:
        accounts, device = Draft(view.accounts).edit([]), view.device
        if device is None or device.route is None or device.route.key() != key:
            return DeviceEdit(accounts, result=False)
        if died_at < device.route_at:
            return DeviceEdit(accounts, result=False)
        return DeviceEdit(accounts, [without_route(device)], result=True)

    return decide


def without_token(device: Device, token: str) -> Device:
    """The device without this VoIP, Live Activity or push-to-start token, if it still has it."""
    live = {name: it for name, it in device.live_tokens.items() if it != token}
    starts = {name: it for name, it in device.live_start_tokens.items() if it != token}
    voip = "" if device.voip_token == token else device.voip_token
    return msgspec.structs.replace(
        device, voip_token=voip, live_tokens=live, live_start_tokens=starts
    )


def without_route(device: Device) -> Device:
    """The device with its token given up; the epoch tells late answers apart."""
    return msgspec.structs.replace(device, route=None, epoch=device.epoch + 1)


def without_tokens(device: Device) -> Device:
    """The device after its token has been registered by another: all its tokens are that one's."""
    return msgspec.structs.replace(
        without_route(device), voip_token="", live_tokens={}, live_start_tokens={}
    )


def _checked(device: Device | None, secret: str) -> Device:
    if device is None:
        raise CallError(70107)
    if not has_secret(device, secret):
        raise CallError(800101)
    return device


def _known_or_new(view: DeviceView, draft: Draft, ask: Registration) -> tuple[Device, str]:
    if view.device is not None:
        known = _checked(view.device, ask.secret)
        account = draft.accounts.get(ask.registration_id)
        if account is None or account.number != known.account:
            account = _device_account(draft, ask.registration_id)
        known = msgspec.structs.replace(known, account=account.number, is_registered=True)
        return known, ""
    if not ask.is_made and not may_be_own(view.accounts.app, ask.registration_id):
        raise CallError(800103)
    account = _device_account(draft, ask.registration_id)
    device = Device(
        number=view.next_device,
        registration_id=ask.registration_id,
        account=account.number,
        secret_hash=hash_secret(ask.fresh_secret),
    )
    return device, ask.fresh_secret


def _device_account(draft: Draft, registration_id: str) -> Account:
    account = draft.accounts.get(registration_id)
    if account is None:
        return draft.create(registration_id, REGISTRATION)
    if account.type != REGISTRATION:
        raise CallError(70402, "RegistrationID is a UserID already")
    return account


def _with_facts(device: Device, facts: DeviceFacts, now: float) -> Device:
    told = {
        name: value for name, value in msgspec.structs.asdict(facts).items() if value is not None
    }
    return msgspec.structs.replace(device, seen_at=now, **told)


def _with_user(draft: Draft, device: Device, ask: Registration, now: float) -> Device:
    if ask.is_logout:
        return msgspec.structs.replace(device, user=0, user_name="")
    if not ask.user:
        return device if device.user else msgspec.structs.replace(device, login_at=now)
    user = draft.accounts.get(ask.user)
    if user is None:
        refuse_reserved(draft.view.app, ask.user)
        user = draft.create(ask.user, USER)
    if user.type != USER:
        raise CallError(70402, "UserID is a RegistrationID")
    return msgspec.structs.replace(device, user=user.number, user_name=user.name, login_at=now)


def _with_tokens(device: Device, ask: Registration, now: float) -> Device:
    if ask.voip_token is not None:
        device = msgspec.structs.replace(device, voip_token=ask.voip_token)
    if ask.live_tokens:
        live = _newest(device.live_tokens, ask.live_tokens)
        device = msgspec.structs.replace(device, live_tokens=live)
    if ask.live_start_tokens:
        starts = _newest(device.live_start_tokens, ask.live_start_tokens)
        device = msgspec.structs.replace(device, live_start_tokens=starts)
    if ask.route is not None and ask.route != device.route:
        device = msgspec.structs.replace(
            device, route=ask.route, route_at=now, epoch=device.epoch + 1
        )
    return device


def _newest(known: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """What is known with what is told behind it; an empty token takes one away."""
    kept = {name: token for name, token in known.items() if name not in told}
    kept |= {name: token for name, token in told.items() if token}
    return dict(list(kept.items())[-LIVE_TOKENS_MAX:])
