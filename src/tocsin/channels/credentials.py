"""The `Channels` port: each credential of an app as one long-lived driver.

A credential's record lives in the store, its settings sealed. Records are read again when the
copy is older than `FRESH_S`; a new version of a record gets a new driver, while what the old one
has under way ends where it began.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.channels.batch_run import DriverTools
from tocsin.channels.driver import Driver
from tocsin.channels.lists import ListDriver
from tocsin.channels.proxied import open_proxy, seal_proxy, tools_through
from tocsin.channels.registry import (
    ListVendor,
    SingleVendor,
    Vendor,
    expiry_of,
    find,
    recall_of,
    report_of,
    takes_lists,
    takes_one,
)
from tocsin.channels.shared_keys import plain_key
from tocsin.channels.singles import SingleDriver
from tocsin.conversation import Posted, Stoppage
from tocsin.domain.app import Credential
from tocsin.domain.plain_fault import said_plainly
from tocsin.domain.plan import ChannelFacts
from tocsin.log import get_logger
from tocsin.ports import Channels, Vault
from tocsin.store import Store

FRESH_S = 1.0
SINGLE_SENDS_MAX = 200
"""Devices in one job of a vendor that takes one a request: the in-flight window."""


class AppCredentials(Struct):
    """The credentials of one app, as last read."""

    lock: asyncio.Lock
    read_at: float = float("-inf")
    times_forgotten: int = 0
    drivers: dict[int, CredentialVersion] = {}


class CredentialVersion(Struct, frozen=True):
    """One version of a credential, with its driver if its settings can be used."""

    version: int
    driver: Driver | None
    facts: ChannelFacts | None
    expires_at: float | None = None


class VendorChannels:
    """Drivers by app and certificate ID."""

    def __init__(self, store: Store, vault: Vault, tools: DriverTools) -> None:
        self._store = store
        self._vault = vault
        self._tools = tools
        self._by_app: dict[int, AppCredentials] = {}
        self._log = get_logger(__name__)

    async def start(self, stack: AsyncExitStack) -> None:
        """Serve until `stack` closes; deliveries must have ended by then."""
        stack.push_async_callback(self._close)

    async def facts(self, app: int) -> Mapping[int, ChannelFacts]:
        versions = (await self._fresh(app)).drivers
        return {number: it.facts for number, it in versions.items() if it.facts is not None}

    async def channel(self, app: int, credential: int) -> Driver | None:
        current = (await self._fresh(app)).drivers.get(credential)
        return current.driver if current is not None else None

    async def stoppages(self, app: int) -> Mapping[int, Stoppage]:
        now = self._tools.clock.now()
        versions = (await self._fresh(app)).drivers
        drivers = {number: current.driver for number, current in versions.items()}
        found = {number: it.stoppage(now) for number, it in drivers.items() if it is not None}
        return {number: it for number, it in found.items() if it is not None}

    async def expiries(self, app: int) -> Mapping[int, float]:
        versions = (await self._fresh(app)).drivers
        return {
            number: it.expires_at for number, it in versions.items() if it.expires_at is not None
        }

    def read_post(self, vendor: str, headers: Mapping[str, str], body: bytes) -> Posted | None:
        found = find(vendor)
        report = report_of(found) if found is not None else None
        return None if report is None else report(headers, body)

    async def is_genuine(
        self, app: int, vendor: str, headers: Mapping[str, str], body: bytes
    ) -> bool | None:
        drivers = [
            current.driver
            for current in (await self._fresh(app)).drivers.values()
            if current.driver is not None and current.facts is not None
            if current.facts.channel == vendor
        ]
        return any(it.is_genuine(headers, body) for it in drivers) if drivers else None

    def forget(self, app: int) -> None:
        app_credentials = self._by_app.get(app)
        if app_credentials is not None:
            app_credentials.read_at = float("-inf")
            app_credentials.times_forgotten += 1

    async def _fresh(self, app: int) -> AppCredentials:
        app_credentials = self._by_app.get(app)
        if app_credentials is None:
            app_credentials = self._by_app[app] = AppCredentials(asyncio.Lock())
        if self._is_old(app_credentials):
            async with app_credentials.lock:
                if self._is_old(app_credentials):
                    await self._read(app, app_credentials)
        return app_credentials

    def _is_old(self, app_credentials: AppCredentials) -> bool:
        return self._tools.clock.monotonic() - app_credentials.read_at >= FRESH_S

    async def _read(self, app: int, app_credentials: AppCredentials) -> None:
        began_at = self._tools.clock.monotonic()
        times_forgotten = app_credentials.times_forgotten
        records = await self._store.credentials(app)
        enabled = {record.number: record for record in records if record.is_enabled}
        drivers = {}
        for number, record in enabled.items():
            known = app_credentials.drivers.get(number)
            if known is None or known.version != record.version:
                known = self._make_version(record)
            drivers[number] = known
        replaced = [
            it for number, it in app_credentials.drivers.items() if drivers.get(number) is not it
        ]
        app_credentials.drivers = drivers
        if app_credentials.times_forgotten == times_forgotten:
            app_credentials.read_at = began_at
        for current in replaced:
            if current.driver is not None:
                await current.driver.retire()

    def _make_version(self, record: Credential) -> CredentialVersion:
        try:
            vendor = vendor_of(record.channel)
            settings = open_settings(self._vault, record, vendor)
            tools = tools_through(self._tools, open_proxy(self._vault, record))
        except ValueError as error:
            self._log.error(
                "credential cannot be used",
                app=record.app,
                certificate=record.number,
                why=str(error),
            )
            return CredentialVersion(record.version, None, None)
        limits = vendor.LIMITS
        batch_max = limits.devices_max if limits.devices_max > 1 else SINGLE_SENDS_MAX
        takes_back = recall_of(vendor) is not None
        facts = ChannelFacts(vendor.NAME, batch_max, limits.counts_badge_here, takes_back)
        one = driver_of(vendor, record, settings, tools)
        return CredentialVersion(record.version, one, facts, expiry_of(vendor)(settings))

    async def _close(self) -> None:
        for app_credentials in self._by_app.values():
            for current in app_credentials.drivers.values():
                if current.driver is not None:
                    await current.driver.close()
        self._by_app.clear()


def driver_of(
    vendor: SingleVendor | ListVendor, record: Credential, settings: Any, tools: DriverTools
) -> Driver:
    """The driver of a credential, in the form that its vendor's file has."""
    if takes_lists(vendor):
        return ListDriver(vendor, record, settings, tools)
    assert takes_one(vendor)
    return SingleDriver(vendor, record, settings, tools)


def check_settings(channel: str, values: Mapping[str, Any]) -> bytes:
    """The settings as the JSON that is sealed, if they are right.

    Raises `ValueError` with a sentence that quotes no secret.
    """
    form = vendor_of(channel).Settings
    known = form.__struct_fields__
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            what = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise ValueError(f"{channel} has no setting {name}; {what}")
    plain = {name: plain_key(it) if isinstance(it, str) else it for name, it in values.items()}
    # Options of the command line are texts, also those that hold a number.
    try:
        return msgspec.json.encode(msgspec.convert(plain, form, strict=False))
    except msgspec.ValidationError as fault:
        raise ValueError(said_plainly(str(fault))) from None


def seal_settings(vault: Vault, app: int, channel: str, values: Mapping[str, Any]) -> bytes:
    """What `Credential.settings` holds; raises `ValueError` like `check_settings`."""
    return vault.seal(check_settings(channel, values), _context(app, channel))


def seal_anew(vault: Vault, record: Credential) -> Credential:
    """A record's secrets under the vault's present key; raises `ValueError` like `open`."""
    context = _context(record.app, record.channel)
    settings = vault.seal(vault.open(record.settings, context), context)
    proxy = seal_proxy(vault, record.app, open_proxy(vault, record))
    return msgspec.structs.replace(record, settings=settings, proxy=proxy)


def open_settings(vault: Vault, record: Credential, vendor: Vendor) -> Any:
    """A record's settings; raises `ValueError` when they cannot be read."""
    plain = vault.open(record.settings, _context(record.app, record.channel))
    return msgspec.json.decode(plain, type=vendor.Settings)


def vendor_of(channel: str) -> SingleVendor | ListVendor:
    """The vendor of a channel's name; raises `ValueError` where there is none."""
    vendor = find(channel)
    if vendor is None:
        raise ValueError(f"no such channel: {channel}")
    return vendor


def _context(app: int, channel: str) -> str:
    return f"{app}/credential/{channel}"


def _fits(channels: VendorChannels) -> Channels:
    return channels
