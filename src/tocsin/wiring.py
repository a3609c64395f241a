"""Joins everything by hand, in order of dependence. Whoever opens a thing registers its closing.

Client libraries that only one choice of setting needs are imported where that choice is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import hmac
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.adapters.authorities import FileAuthorities, MemoryAuthorities
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.http import CurlHttp, Proxies
from tocsin.adapters.http_pool import HttpLimits
from tocsin.adapters.planted import planted_http, planted_store
from tocsin.adapters.vault import (
    FORMER_VARIABLE,
    KEY_VARIABLE,
    AesVault,
    FileKeyring,
    GivenKeyring,
    load_keys,
)
from tocsin.api import admin, v1
from tocsin.api.app import RestApi
from tocsin.api.auth import Doorkeeper
from tocsin.api.commands.call import KICKED, Desk
from tocsin.api.devices import DeviceDoors
from tocsin.api.doors import Doors, create_rooms
from tocsin.api.operator import Operator
from tocsin.api.receipts import ReceiptDoors
from tocsin.channels import driver
from tocsin.channels.authority import AuthorityShelf
from tocsin.channels.credentials import VendorChannels
from tocsin.channels.registry import normal_route
from tocsin.channels.trial import try_out
from tocsin.clock import Chance, Clock, SystemClock, secret_bytes
from tocsin.config import Config, unused_proxies
from tocsin.domain.proxy import Bypass
from tocsin.errors import SetupError
from tocsin.log import configure, get_logger
from tocsin.metrics import Metrics
from tocsin.online.hub import Hub, OnlineSettings
from tocsin.online.socket import OnlineSocket
from tocsin.pipeline.accept import Accepting
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.receipts import Receiving
from tocsin.pipeline.register import DEVICE, DoorSettings, Registering
from tocsin.pipeline.reported import ReportedTasks
from tocsin.pipeline.stoppages import StoppageWatch
from tocsin.pipeline.stored_tokens import Progress, normalise_stored_tokens
from tocsin.pipeline.tick import Ticker, Upkeep
from tocsin.pipeline.work import Tools
from tocsin.ports import Authorities, Bus, Channels, Http, Keyring, Snapshots, Vault
from tocsin.serving import (
    Server,
    admin_socket,
    listen,
    private_server,
    public_server,
    url_of,
)
from tocsin.store import Store

KEY_FILE = "secret.key"
INDEX = "index"
AUTHORITIES = "authorities"
COLLECT_EVERY = (50_000, 20, 100)
"""New objects, and younger collections, before the collector looks at each generation."""
MARK_BYTES = 16
"""Of what tells the collapse ids of one store from another's."""
HOLDER = "main"
"""The one worker of an embedded store."""
CALLS_MIN_S = 1.0
"""What calls under way get at least when the service stops and devices took the drain's time."""
BREAK = "TOCSIN_BREAK"
"""Environment variable that names a fault to plant; for `tocsin demo --break` alone."""
KEY_ADVICE = (
    "chmod 600 DIR/secret.key if it is the right one, else put the right one back; "
    "what was sealed with another key stays sealed"
)


class Service(Struct, frozen=True, kw_only=True):
    """What an opened data folder offers."""

    config: Config
    clock: Clock
    metrics: Metrics
    vault: Vault
    secret: bytes
    """Everything that this service proves to itself is derived from it."""
    store: Store
    snapshots: Snapshots
    http: Http
    """To the vendors."""
    shelf: AuthorityShelf
    """What proves us to them."""
    operator: Operator


@contextlib.asynccontextmanager
async def open_service(config: Config) -> AsyncIterator[Service]:
    """Open the data folder: the store under its lock, and what an operator can do with it.

    Raises `SetupError` for what the operator can put right: a folder that another process has or
    that is not ours to use, a bad secret key. `StoreError` is for a database that is broken.
    """
    folder = Path(config.data)
    clock = SystemClock()
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        # Tokens and texts lie here as they are: whatever is made, only its owner may read it.
        stack.callback(os.umask, os.umask(0o077))
        keys = _keys(folder, config)
        vault = AesVault(*keys)
        store, snapshots = await _open_store(config, clock, metrics, stack)
        http = await _open_http(config, stack)
        authorities = _authorities(config, vault, clock)
        shelf = AuthorityShelf(authorities)
        prove = partial(try_out, tools=driver.Tools(http, clock, Chance(), metrics, shelf=shelf))
        keyring = _keyring(folder, config, keys, vault)
        yield Service(
            config=config,
            clock=clock,
            metrics=metrics,
            vault=vault,
            secret=keys[0],
            store=planted_store(store, os.environ.get(BREAK, "")),
            snapshots=snapshots,
            http=http,
            shelf=shelf,
            operator=Operator(store, vault, clock, keyring, prove, authorities=authorities),
        )


async def serve(
    config: Config,
    *,
    started: Callable[[str], None],
    ended: asyncio.Event,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Serve until `ended`; `started` is told the base URL once calls are answered.

    `progress` is told of devices that an earlier release stored, while they are looked through.
    """
    configure(config.log.level, json=config.log.format == "json", stream=sys.stderr)
    if unused := unused_proxies(config, os.environ):
        get_logger(__name__).warning(
            "a proxy in the environment is not used",
            variables=unused,
            advice="name the proxy in the setting http.proxy (TOCSIN_HTTP_PROXY)",
        )
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_service(config))
        ease_collector(stack)
        await normalise_stored_tokens(
            service.store, normal_route, progress=progress, is_ended=ended.is_set
        )
        if ended.is_set():
            return
        left = await _Running(service, stack).serve(started, ended)
    # Told when everything is closed, so that it is the last line and true.
    get_logger(__name__).info("stopped", **msgspec.structs.asdict(left))


def ease_collector(stack: contextlib.AsyncExitStack) -> None:
    """Look for garbage in circles less often until `stack` closes.

    A push makes thousands of objects that live for a moment and refer to each other in no circle.
    At the interpreter's own settings, looking at them took a fifth of the sender's time.
    """
    stack.callback(gc.set_threshold, *gc.get_threshold())
    stack.callback(gc.unfreeze)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


class Left(Struct, frozen=True, kw_only=True):
    """What a stop left, as the last line of the log tells it."""

    jobs_open: int
    """Jobs that the next start finds."""
    jobs_unsettled: int
    """Those of them that had begun: whom they concern is in doubt."""
    devices_connected: int
    """Devices that did not leave when they were asked to, and were cut off."""


class Workers(Struct, frozen=True):
    """What works behind the doors."""

    dispatcher: Dispatcher
    hub: Hub
    others: list[Callable[[], Coroutine[Any, Any, None]]]
    """Run until they are cancelled, at any moment."""


class _Running:
    """A service with its doors open and its workers at work."""

    def __init__(self, service: Service, stack: contextlib.AsyncExitStack) -> None:
        self._service = service
        self._stack = stack
        self._reported = ReportedTasks(service.store)
        self._log = get_logger(__name__)
        self._channels: VendorChannels

    async def serve(self, started: Callable[[str], None], ended: asyncio.Event) -> Left:
        service, config = self._service, self._service.config
        bus = LocalBus()
        hub, registrar = await self._open_online(bus)
        chance = Chance()
        tools = driver.Tools(
            service.http, service.clock, chance, service.metrics, shelf=service.shelf
        )
        channels = VendorChannels(service.store, service.vault, tools)
        await channels.start(self._stack)
        self._channels = channels
        service.operator.watch(channels)
        indexer = Indexer(service.store, service.snapshots)
        accepting = Accepting(
            service.store,
            bus,
            hub,
            channels,
            clock=service.clock,
            chance=chance,
            metrics=service.metrics,
        )
        # The folder's lock says that no other process serves it, so whatever a former one of
        # this name had leased is nobody's.
        await service.store.release(HOLDER)
        dispatcher = Dispatcher(
            HOLDER,
            Tools(
                store=service.store,
                channels=channels,
                presence=hub,
                clock=service.clock,
                chance=chance,
                indexer=indexer,
                metrics=service.metrics,
                correlation_key=derived_key(service.secret, "correlation"),
            ),
            bus,
            Pace(
                poll_s=config.dispatch.poll_s,
                jobs_max=config.dispatch.jobs_max,
                queue_jobs_max=config.dispatch.queue_jobs_max,
                lane_jobs_max=config.dispatch.queue_jobs_max - 1,
            ),
        )
        ticker = self._ticker(indexer, channels)
        desk = Desk(
            store=service.store,
            accepting=accepting,
            presence=hub,
            bus=bus,
            clock=service.clock,
        )
        doors = self._doors(desk, hub, registrar, self._receiving(channels))
        watch = StoppageWatch(service.store, channels, service.clock, service.metrics)
        workers = Workers(dispatcher, hub, [ticker.run, hub.run, watch.run])
        return await self._run(doors, workers, started, ended)

    def _ticker(self, indexer: Indexer, channels: Channels) -> Ticker:
        service, keep = self._service, self._service.config.keep
        return Ticker(
            service.store,
            indexer,
            channels,
            clock=service.clock,
            metrics=service.metrics,
            upkeep=Upkeep(
                every_s=keep.every_s, log_kept_s=keep.change_log_s, tasks_kept_s=keep.tasks_s
            ),
        )

    def _receiving(self, channels: Channels) -> Receiving:
        service = self._service
        return Receiving(
            store=service.store,
            channels=channels,
            clock=service.clock,
            metrics=service.metrics,
            normal_route=normal_route,
            correlation_key=derived_key(service.secret, "correlation"),
            tasks=self._reported,
        )

    def _doors(self, desk: Desk, hub: Hub, registrar: Registering, receiving: Receiving) -> Doors:
        service = self._service
        doorkeeper = Doorkeeper(service.store, service.vault, service.clock)
        books = v1.Books(service.store, hub, v1.by_bearer(doorkeeper), self._channels)
        pages = DeviceDoors(registrar, hub)
        routes = [*books.routes(), *pages.routes(), *ReceiptDoors(receiving).routes()]
        rooms = create_rooms(service.metrics, self._missing, routes)
        rest = RestApi(desk, doorkeeper, service.metrics)
        return Doors(rest, rooms, OnlineSocket(hub))

    async def _missing(self) -> str:
        """What readiness still waits for: the store has to answer."""
        await self._service.store.apps()
        return ""

    async def _open_online(self, bus: Bus) -> tuple[Hub, Registering]:
        service = self._service
        devices = service.config.devices
        registrar = Registering(
            store=service.store,
            vault=service.vault,
            bus=bus,
            clock=service.clock,
            chance=Chance(),
            metrics=service.metrics,
            normal_route=normal_route,
            tasks=self._reported,
            settings=DoorSettings(
                new_per_minute=devices.new_per_minute,
                tasks_kept_s=service.config.keep.tasks_s,
            ),
        )
        hub = Hub(
            store=service.store,
            registrar=registrar,
            clock=service.clock,
            metrics=service.metrics,
            settings=OnlineSettings(
                connections_max=devices.connections_max,
                restart_s=service.config.server.restart_s,
            ),
        )
        for subject, listener in ((DEVICE, hub.take_device), (KICKED, hub.take_kick)):
            self._stack.callback(bus.subscribe(subject, listener))
        return hub, registrar

    async def _run(
        self,
        doors: Doors,
        workers: Workers,
        started: Callable[[str], None],
        ended: asyncio.Event,
    ) -> Left:
        """Run doors and workers; whichever fails ends the service, in the same good order."""
        config, service = self._service.config, self._service
        public = Server(public_server(doors, config))
        listening = listen(config)
        url = url_of(config, listening)
        status = {"url": url, "pid": os.getpid(), "version": version("tocsin")}
        own = admin.create(
            service.operator, service.store, workers.hub, lambda: status, self._channels
        )
        with admin_socket(Path(config.data)) as private_socket:
            private = Server(private_server(own))
            doors_open = [
                asyncio.create_task(public.serve([listening])),
                asyncio.create_task(private.serve([private_socket])),
            ]
            dispatching = asyncio.create_task(workers.dispatcher.run())
            others = [asyncio.create_task(worker()) for worker in workers.others]
            await asyncio.wait(
                [
                    asyncio.create_task(public.is_open.wait()),
                    asyncio.create_task(private.is_open.wait()),
                ],
            )
            self._log.info("serving", url=url)
            started(url)
            stop = asyncio.create_task(ended.wait())
            running = {stop, dispatching, *doors_open, *others}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            devices = await self._stop([public, private], workers)
            results = await asyncio.gather(*doors_open, dispatching, return_exceptions=True)
            for task in (stop, *others):
                task.cancel()
            results += await asyncio.gather(*others, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return Left(
            jobs_open=sum((await service.store.depth()).values()),
            jobs_unsettled=workers.dispatcher.unsettled,
            devices_connected=devices,
        )

    async def _stop(self, servers: Sequence[Server], workers: Workers) -> int:
        """Begin nothing new, and let what is under way end; answers the devices cut off.

        Jobs, devices and calls share the same seconds: each waits for none of the others.
        """
        drain_s, clock = self._service.config.server.drain_s, self._service.clock
        self._log.info("stopping", drain_s=drain_s, devices_connected=workers.hub.count)
        began_at = clock.monotonic()
        for server in servers:
            server.refuse()
        workers.dispatcher.stop(drain_s)
        devices = await workers.hub.drain(drain_s)
        left_s = drain_s - (clock.monotonic() - began_at)
        for server in servers:
            server.finish(max(CALLS_MIN_S, left_s))
        return devices


async def _open_http(config: Config, stack: contextlib.AsyncExitStack) -> Http:
    told = config.http
    limits = HttpLimits(
        http2_connections=told.http2_connections,
        connections=told.connections,
        connect_max_s=told.connect_max_s,
    )
    proxies = Proxies(
        default=told.proxy, bypass=Bypass(told.no_proxy), ca=_proxy_authorities(told.proxy_ca)
    )
    http = CurlHttp(limits, proxies=proxies)
    await http.start(stack)
    return planted_http(http, os.environ.get(BREAK, ""))


def _proxy_authorities(path: str) -> str | None:
    if not path:
        return None
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as fault:
        advice = "http.proxy_ca names a PEM file that this user may read"
        raise SetupError(f"http.proxy_ca cannot be read: {fault}", advice) from fault


def _authorities(config: Config, vault: Vault, clock: Clock) -> Authorities:
    if config.store.kind == "memory":
        return MemoryAuthorities(clock)
    return FileAuthorities(Path(config.data) / AUTHORITIES, vault, clock)


def derived_key(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, from the service's secret."""
    return hmac.digest(secret, f"tocsin/{purpose}".encode(), hashlib.sha256)


def _keys(folder: Path, config: Config) -> list[bytes]:
    """The folder's secret key, a former one behind it; made at the first start like the folder."""
    try:
        # It holds keys, so only its owner shall read it.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return load_keys(folder / KEY_FILE, _key_environment(config))
    except OSError as fault:
        raise _unusable(folder, fault) from fault
    except ValueError as fault:
        raise SetupError(f"the secret key cannot be used: {fault}", KEY_ADVICE) from fault


def _unusable(folder: Path, fault: OSError) -> SetupError:
    return SetupError(
        f"the data folder {folder} cannot be used: {fault}",
        "a folder that this user may write to: --data DIR",
    )


def _withhold(folder: Path) -> None:
    """Take from others what was left open to them: by an earlier release, or by a copy.

    What else lies in the folder is not ours to change.
    """
    index = folder / INDEX
    others = (folder / "lock", folder / AUTHORITIES, index)
    for path in (*folder.glob("tocsin.db*"), *others, *index.rglob("*")):
        mode = path.stat().st_mode if path.exists() else 0
        if mode & 0o077:
            path.chmod(mode & 0o700)


def _key_environment(config: Config) -> dict[str, str]:
    told = {KEY_VARIABLE: config.secret.key, FORMER_VARIABLE: config.secret.former_key}
    return {name: text for name, text in told.items() if text}


def _keyring(folder: Path, config: Config, keys: Sequence[bytes], vault: AesVault) -> Keyring:
    return GivenKeyring(keys) if config.secret.key else FileKeyring(folder / KEY_FILE, keys, vault)


async def _open_store(
    config: Config, clock: Clock, metrics: Metrics, stack: contextlib.AsyncExitStack
) -> tuple[Store, Snapshots]:
    if config.store.kind == "memory":
        from tocsin.adapters.memory import MemoryStore
        from tocsin.adapters.snapshots import MemorySnapshots

        return MemoryStore(clock, mark=secret_bytes(MARK_BYTES)), MemorySnapshots()
    from tocsin.adapters.snapshots import FileSnapshots
    from tocsin.adapters.sqlite.folder import FolderInUse
    from tocsin.adapters.sqlite.store import SqliteStore

    folder = Path(config.data)
    store = SqliteStore(folder, clock, metrics=metrics)
    try:
        await store.start(stack)
        _withhold(folder)
    except FolderInUse as fault:
        advice = "end that process, or name another data folder: --data DIR"
        raise SetupError(f"the data folder {fault}", advice) from fault
    except OSError as fault:
        raise _unusable(folder, fault) from fault
    return store, FileSnapshots(folder / INDEX)
