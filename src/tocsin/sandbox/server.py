"""The sandbox put together: vendor servers, device book, faults, log and the admin door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct, structs

from tocsin.clock import Chance, Clock, SystemClock
from tocsin.ports import Http
from tocsin.sandbox.admin import Admin
from tocsin.sandbox.connect_proxy import ConnectProxy
from tocsin.sandbox.desk import Desk
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.exchange import Serve, Vendor
from tocsin.sandbox.faults import Faults
from tocsin.sandbox.listener import Listener
from tocsin.sandbox.log import Log
from tocsin.sandbox.real_hosts import FIRST_ADDRESS, LOOPBACK, RealHosts, listen_on
from tocsin.sandbox.receipts import Receipts, ReceiptSettings
from tocsin.sandbox.registry import MANNERS, Grounds, make_counters
from tocsin.sandbox.trust import (
    ApnsCredential,
    FcmCredential,
    Keys,
    issue_identity,
    kept_keys,
    make_keys,
    named,
    server_context,
)
from tocsin.sandbox.vendors.apns.provider_token import ApnsKey
from tocsin.sandbox.vendors.apns.server import Apns, ApnsSettings
from tocsin.sandbox.vendors.fcm.oauth import ServiceAccount
from tocsin.sandbox.vendors.fcm.server import TOKEN_PATH, Fcm, FcmSettings

HTTP_1 = ("http/1.1",)
PROTOCOLS = {"apns": ("h2",), "fcm": ("h2", "http/1.1")}
"""What a vendor's door offers; the others speak HTTP/1.1."""
SERVICE_ACCOUNT_KEY_ID = "5a4d1b0c0000000000000000000000000000cafe"


class SandboxSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a sandbox starts. Ports of 0 are chosen by the system."""

    admin_port: int = 0
    folder: str = ""
    """Keep keys and certificates here between starts; empty: fresh ones each time."""
    log_path: str = ""
    """Append each log entry to this file as a line of JSON; empty: memory only."""
    log_entries_max: int = 1_000_000
    """Entries kept in memory; older ones remain in the file only."""
    seed: int | None = None
    """Makes faults and made-up ids repeatable; None: the system's randomness."""
    knows_all_devices: bool = False
    """True: a token that was not put into the device book does not exist."""
    apns: ApnsSettings = ApnsSettings()
    fcm: FcmSettings = FcmSettings()
    vendors: tuple[Struct, ...] = ()
    """Settings of other vendors, by the class of each; who is not named has its defaults."""
    ports: dict[str, int] = {}
    """Ports of vendors, by name; one that is not named gets any free one."""
    hosts: dict[str, tuple[str, ...]] = {}
    """Real host names, by vendor: the certificate is good for them and `hosts_port` or the proxy
    leads them here. Empty: nothing of the kind."""
    hosts_port: int = 0
    """The port that the real host names are served on, 443 as a rule, on loopback addresses of
    their own; 0: none, only the proxy leads to them."""
    hosts_first: str = FIRST_ADDRESS
    """The first of these addresses; the others follow it."""
    proxy_port: int | None = None
    """Port of the CONNECT proxy to the real host names, 0: any free one; None: no proxy."""
    receipts: ReceiptSettings = ReceiptSettings()
    """Where receipts go from the start; `receipts.settings` changes it later."""


@runtime_checkable
class GivesBearers(Protocol):
    """A vendor that gives out bearer tokens."""

    def expire_all(self) -> int:
        """Make every bearer given out so far stale; answers how many there were."""
        ...


@runtime_checkable
class Addressed(Protocol):
    """A vendor whose devices' tokens hold its own address."""

    def stand_at(self, url: str, hosts: tuple[str, ...]) -> None:
        """Learn where it listens, and which real host names lead there."""
        ...


class Sandbox:
    """Every vendor's server on loopback. `async with Sandbox() as sandbox:` and send.

    Addresses and credentials are there once it has started; `faults`, `devices` and `log` may be
    used from the same event loop at any time.
    """

    def __init__(
        self,
        settings: SandboxSettings | None = None,
        clock: Clock | None = None,
        http: Http | None = None,
    ) -> None:
        """`http` carries the vendors' receipts; without it none is posted."""
        self.settings = settings or SandboxSettings()
        self._http = http
        self.clock: Clock = clock or SystemClock()
        seed = self.settings.seed
        self.faults = Faults(self.clock, seed)
        self.devices = DeviceBook(self.clock, knows_all=self.settings.knows_all_devices)
        path = Path(self.settings.log_path) if self.settings.log_path else None
        self.log = Log(path, entries_max=self.settings.log_entries_max)
        self.receipts = Receipts(self.devices, self.faults, self.clock)
        self.receipts.settings = self.settings.receipts
        self.keys = self._make_keys()
        self.apns = self._make_apns(Chance(seed))
        self.fcm = self._make_fcm(Chance(seed))
        self.counters = make_counters(
            self.settings.vendors,
            lambda: Grounds(self.devices, self.clock, Chance(seed), self.keys),
        )
        vendors: dict[str, Vendor] = {"apns": self.apns, "fcm": self.fcm, **self.counters}
        self.desks = {
            name: Desk(vendor, self.faults, self.log, self.receipts, self.clock)
            for name, vendor in vendors.items()
        }
        """Where each vendor's complete requests come to, whatever brings them."""
        self.listeners = {
            name: self._listener([vendor], self.desks[name]) for name, vendor in vendors.items()
        }
        self.hosts = RealHosts(
            self.settings.hosts,
            self.desks,
            lambda names, serve: self._listener([vendors[name] for name in names], serve),
        )
        self.proxy = ConnectProxy(self.hosts.find)
        self._admin = Listener(Admin(self), self.clock)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on every port. If one fails, those already open are closed again."""
        async with AsyncExitStack() as stack:
            stack.callback(self.log.close)
            for name, listener in self.listeners.items():
                port = self.settings.ports.get(name, 0)
                await listen_on(port, listener.start(LOOPBACK, port))
                stack.push_async_callback(listener.stop)
            await self._start_hosts(stack)
            port = self.settings.admin_port
            await listen_on(port, self._admin.start(LOOPBACK, port))
            stack.push_async_callback(self._admin.stop)
            self.stand_at(self.url)
            if self._http is not None:
                posting = asyncio.create_task(self.receipts.run(self._http))
                stack.push_async_callback(asyncio.wait, {posting})
                stack.callback(posting.cancel)
            self._stack = stack.pop_all()

    async def _start_hosts(self, stack: AsyncExitStack) -> None:
        """Serve the real host names where the settings say so."""
        told = self.settings
        if told.hosts_port or told.proxy_port is not None:
            await self.hosts.start(stack, port=told.hosts_port, first_address=told.hosts_first)
        if told.proxy_port is not None:
            await listen_on(told.proxy_port, self.proxy.start(told.proxy_port))
            stack.push_async_callback(self.proxy.stop)

    def stand_at(self, url: Callable[[str], str]) -> None:
        """Tell those who must know where they are reached; `start` does."""
        for name, vendor in self.counters.items():
            if isinstance(vendor, Addressed):
                vendor.stand_at(url(name), self.settings.hosts.get(name, ()))

    async def stop(self) -> None:
        """Close every port and connection, and the log."""
        await self._stack.aclose()

    # --- where it is and how to get in -----------------------------------------------------

    def url(self, name: str) -> str:
        """Where a vendor listens."""
        return f"https://{LOOPBACK}:{self.listeners[name].port}"

    @property
    def apns_url(self) -> str:
        return self.url("apns")

    @property
    def fcm_url(self) -> str:
        return self.url("fcm")

    @property
    def admin_url(self) -> str:
        return f"http://{LOOPBACK}:{self._admin.port}"

    @property
    def ca_pem(self) -> str:
        """The only authority a sender has to trust here."""
        return self.keys.trust.ca_pem

    @property
    def apns_credential(self) -> ApnsCredential:
        return self.keys.apns

    @property
    def fcm_credential(self) -> FcmCredential:
        """The service-account file; its `token_uri` is the sandbox's own endpoint."""
        project = self.settings.fcm.project_id
        return FcmCredential(
            project_id=project,
            private_key_id=SERVICE_ACCOUNT_KEY_ID,
            private_key=self.keys.fcm_private_key,
            client_email=f"sender@{project}.iam.gserviceaccount.com",
            client_id="100000000000000000001",
            token_uri=f"{self.fcm_url}{TOKEN_PATH}",
        )

    def apns_identity(self, bundle_id: str) -> str:
        """A client certificate with its key (PEM) for certificate-based sending."""
        return issue_identity(self.keys.trust, bundle_id)

    def tokens(self, vendor: str, offset: int, count: int) -> list[str]:
        """So many devices' tokens of a vendor; the same numbers give the same devices."""
        token = {"apns": Apns.token, "fcm": Fcm.token}.get(vendor)
        make = token or self.counters[vendor].token
        return [make(number) for number in range(offset, offset + count)]

    def describe(self) -> dict[str, Any]:
        """Everything a sender needs, as `GET /v1/sandbox` answers it."""
        return {
            "admin": {"url": self.admin_url},
            "hosts": msgspec.to_builtins(self.hosts.lines()),
            "connect_proxy": {"url": self.proxy.url},
            "ca_pem": self.ca_pem,
            "apns": {
                "environment": self.settings.apns.environment,
                "credential": msgspec.to_builtins(self.apns_credential),
                **self._told("apns"),
            },
            "fcm": {
                "token_url": self.fcm_credential.token_uri,
                "credential": msgspec.to_builtins(self.fcm_credential),
                **self._told("fcm"),
            },
            **{
                name: {
                    "auth_url": self.url(name),
                    "credential": msgspec.to_builtins(counter.credential),
                    **self._told(name),
                }
                for name, counter in self.counters.items()
            },
        }

    def expire_bearers(self) -> int:
        """Make every bearer stale, of all vendors that give some out; answers how many."""
        givers = [it for it in self.counters.values() if isinstance(it, GivesBearers)]
        return self.fcm.expire_all() + sum(it.expire_all() for it in givers)

    def reset(self) -> None:
        """Forget faults, devices, receipts owed and the log in memory. Connections and bearers
        stay.
        """
        self.faults.clear()
        self.receipts.clear()
        self.devices.clear()
        self.log.clear()

    def _told(self, name: str) -> dict[str, Any]:
        return {
            "url": self.url(name),
            "is_listening": self.listeners[name].is_listening,
            "connections": self.listeners[name].connections_open,
            "manners": msgspec.to_builtins(MANNERS[name]),
        }

    # --- how it is put together ------------------------------------------------------------

    def _make_keys(self) -> Keys:
        bundle_id = self.settings.apns.bundle_ids[0]
        if self.settings.folder:
            folder = Path(self.settings.folder)
            keys = kept_keys(folder, bundle_id=bundle_id)
        else:
            keys = make_keys(bundle_id=bundle_id)
        names = dict.fromkeys(name for each in self.settings.hosts.values() for name in each)
        return structs.replace(keys, trust=named(keys.trust, names)) if names else keys

    def _make_apns(self, chance: Chance) -> Apns:
        credential = self.keys.apns
        private = serialization.load_pem_private_key(credential.private_key.encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        key = ApnsKey(credential.key_id, credential.team_id, private.public_key())
        return Apns(self.settings.apns, {credential.key_id: key}, self.devices, self.clock, chance)

    def _make_fcm(self, chance: Chance) -> Fcm:
        # A key that we made ourselves: to check its numbers would take 27 ms.
        private = serialization.load_pem_private_key(
            self.keys.fcm_private_key.encode(), None, unsafe_skip_rsa_key_validation=True
        )
        assert isinstance(private, rsa.RSAPrivateKey)
        project = self.settings.fcm.project_id
        account = ServiceAccount(
            client_email=f"sender@{project}.iam.gserviceaccount.com",
            key_id=SERVICE_ACCOUNT_KEY_ID,
            public_key=private.public_key(),
            project_id=project,
        )
        accounts = {account.client_email: account}
        return Fcm(self.settings.fcm, accounts, self.devices, self.clock, chance)

    def _listener(self, vendors: list[Vendor], serve: Serve) -> Listener:
        """One that speaks what these vendors speak."""
        spoken = [PROTOCOLS.get(vendor.name, HTTP_1) for vendor in vendors]
        protocols = tuple(dict.fromkeys(name for each in spoken for name in each))
        return Listener(
            serve,
            self.clock,
            tls=server_context(self.keys.trust, protocols),
            protocols=protocols,
            opening_streams=vendors[0].opening_streams,
        )


async def run_sandbox(
    settings: SandboxSettings,
    *,
    started: Callable[[dict[str, Any]], None],
    ended: asyncio.Event,
    clock: Clock | None = None,
    http: Http | None = None,
) -> None:
    """Run until `ended` is set; `started` is told `describe()` once every port listens."""
    async with Sandbox(settings, clock, http) as sandbox:
        started(sandbox.describe())
        await ended.wait()
