"""The sandbox put together: vendor servers, device book, faults, log and the admin door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import msgspec
from msgspec import Struct, structs

from tocsin.clock import Chance, Clock, SystemClock
from tocsin.ports import Http
from tocsin.sandbox.admin import Admin
from tocsin.sandbox.connect_proxy import ConnectProxy
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.endpoint import Endpoint
from tocsin.sandbox.exchange import Serve
from tocsin.sandbox.faults import Faults
from tocsin.sandbox.listener import Listener
from tocsin.sandbox.log import Log
from tocsin.sandbox.real_hosts import FIRST_ADDRESS, LOOPBACK, RealHosts, listen_on
from tocsin.sandbox.receipts import Receipts, ReceiptSettings
from tocsin.sandbox.registry import (
    CAPABILITIES,
    PROTOCOLS,
    Dependencies,
    VendorServer,
    make_servers,
)
from tocsin.sandbox.trust import (
    Keys,
    issue_identity,
    kept_keys,
    make_keys,
    named,
    server_context,
)


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
    vendors: tuple[Struct, ...] = ()
    """Settings of vendors, by the class of each; a vendor that is not named has its defaults."""
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
        self.servers = make_servers(
            self.settings.vendors,
            lambda: Dependencies(self.devices, self.clock, Chance(seed), self.keys),
        )
        self.endpoints = {
            name: Endpoint(server, self.faults, self.log, self.receipts, self.clock)
            for name, server in self.servers.items()
        }
        """Each vendor's complete requests come here, whatever brings them."""
        self.listeners = {
            name: self._listener((name,), endpoint) for name, endpoint in self.endpoints.items()
        }
        self.hosts = RealHosts(self.settings.hosts, self.endpoints, self._listener)
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
        for name, server in self.servers.items():
            if isinstance(server, Addressed):
                server.stand_at(url(name), self.settings.hosts.get(name, ()))

    async def stop(self) -> None:
        """Close every port and connection, and the log."""
        await self._stack.aclose()

    # --- where it is and how to get in -----------------------------------------------------

    def url(self, name: str) -> str:
        """Where a vendor listens."""
        return f"https://{LOOPBACK}:{self.listeners[name].port}"

    @property
    def admin_url(self) -> str:
        return f"http://{LOOPBACK}:{self._admin.port}"

    @property
    def ca_pem(self) -> str:
        """The only authority a sender has to trust here."""
        return self.keys.trust.ca_pem

    def credential(self, name: str) -> Any:
        """What a vendor's console shows of the app: the vendor's own struct."""
        return self.servers[name].credential

    def apns_identity(self, bundle_id: str) -> str:
        """A client certificate with its key (PEM) for certificate-based sending."""
        return issue_identity(self.keys.trust, bundle_id)

    def tokens(self, vendor: str, offset: int, count: int) -> list[str]:
        """So many devices' tokens of a vendor; the same numbers give the same devices."""
        token = self.servers[vendor].token
        return [token(number) for number in range(offset, offset + count)]

    def describe(self) -> dict[str, Any]:
        """Everything a sender needs, as `GET /v1/sandbox` answers it."""
        return {
            "admin": {"url": self.admin_url},
            "hosts": msgspec.to_builtins(self.hosts.lines()),
            "connect_proxy": {"url": self.proxy.url},
            "ca_pem": self.ca_pem,
            **{name: self._described(name, server) for name, server in self.servers.items()},
        }

    def expire_bearers(self) -> int:
        """Make every bearer stale, of all vendors that give some out; answers how many."""
        servers = self.servers.values()
        return sum(server.expire_all() for server in servers if isinstance(server, GivesBearers))

    def reset(self) -> None:
        """Forget faults, devices, receipts owed and the log in memory. Connections and bearers
        stay.
        """
        self.faults.clear()
        self.receipts.clear()
        self.devices.clear()
        self.log.clear()

    def _described(self, name: str, server: VendorServer) -> dict[str, Any]:
        return {
            **server.access(self.url(name)),
            "credential": msgspec.to_builtins(server.credential),
            "url": self.url(name),
            "is_listening": self.listeners[name].is_listening,
            "connections": self.listeners[name].connections_open,
            "capabilities": msgspec.to_builtins(CAPABILITIES[name]),
        }

    # --- how it is put together ------------------------------------------------------------

    def _make_keys(self) -> Keys:
        folder = self.settings.folder
        keys = kept_keys(Path(folder)) if folder else make_keys()
        names = dict.fromkeys(name for each in self.settings.hosts.values() for name in each)
        return structs.replace(keys, trust=named(keys.trust, names)) if names else keys

    def _listener(self, names: Sequence[str], serve: Serve) -> Listener:
        """A listener that speaks the protocols of these vendors."""
        spoken = [PROTOCOLS[name] for name in names]
        protocols = tuple(dict.fromkeys(protocol for each in spoken for protocol in each))
        return Listener(
            serve,
            self.clock,
            tls=server_context(self.keys.trust, protocols),
            protocols=protocols,
            opening_streams=self.servers[names[0]].opening_streams,
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
