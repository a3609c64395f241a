"""Opens a data folder: the store under its lock, the keys, the HTTP client, the operator's verbs.

An adapter that only one choice of `store.kind` needs is imported where that choice is made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from tocsin.adapters.authorities import FileAuthorities, MemoryAuthorities
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.erasures import FILE as ERASURES
from tocsin.adapters.erasures import FileErasures
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_dates import SeenDates
from tocsin.adapters.http_limits import HttpLimits, Proxies
from tocsin.adapters.machine import look_at_machine
from tocsin.adapters.vault import AesVault, FileKeyring, GivenKeyring, key_id
from tocsin.api.doctor import Doctor
from tocsin.api.operator import OperatorService
from tocsin.channels import batch_run
from tocsin.channels.authority import AuthorityCache
from tocsin.channels.trial import try_out
from tocsin.clock import Chance, Clock, SystemClock, secret_bytes
from tocsin.config import Config
from tocsin.domain.checkup import Machine
from tocsin.domain.erasure import RetentionTimes
from tocsin.domain.proxy import Bypass
from tocsin.errors import SetupError
from tocsin.metrics import Metrics
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.hold import Hold
from tocsin.ports import Authorities, Backups, Bus, Erasures, Http, Keyring, Snapshots, Vault
from tocsin.service.data_folder import (
    INDEX,
    KEY_FILE,
    folder_keys,
    missing,
    read_keys,
    refuse_emptied,
    unusable,
)
from tocsin.store import Store

Port = TypeVar("Port", Store, Http)
AUTHORITIES = "authorities"
DATABASE = "tocsin.db"
MARK_BYTES = 16
"""Length of the mark that keeps the collapse ids of two stores apart."""


def _unchanged(port: Port) -> Port:
    return port


class Interceptors(Struct, frozen=True, kw_only=True):
    """Functions that put something between the service and its store or its HTTP client.

    `tocsin serve` has none. They are arguments and no settings, so that nothing which an operator
    writes can inject a fault (`adapters/fault_injection.py`) into a service.
    """

    store: Callable[[Store], Store] = _unchanged
    http: Callable[[Http], Http] = _unchanged


NO_INTERCEPTORS = Interceptors()


class OpenedService(Struct, frozen=True, kw_only=True):
    """An opened data folder, and everything that works on it without serving."""

    config: Config
    clock: Clock
    metrics: Metrics
    vault: Vault
    app_secrets: AppSecrets
    secret: bytes
    """The folder's secret key; keys for other purposes are derived from it."""
    store: Store
    bus: Bus
    snapshots: Snapshots
    http: Http
    """The client that talks to the vendors."""
    authority_cache: AuthorityCache
    """The tokens that prove us to the vendors."""
    operator: OperatorService
    erasures: Erasures | None
    """The list of erased accounts; None for the store in memory."""
    hold: Hold
    """Says whether a restored folder may send; call `load` before."""


@contextlib.asynccontextmanager
async def open_service(
    config: Config, *, makes: bool = True, interceptors: Interceptors = NO_INTERCEPTORS
) -> AsyncIterator[OpenedService]:
    """Open the data folder of `config`, and close it at the end of the context.

    A folder that does not exist is made if `makes` is true, and refused otherwise. Raises
    `SetupError` for a fault that the operator can repair: a folder that another process uses or
    that this user may not write to, a wrong secret key. Raises `StoreError` for a broken database.
    """
    folder = Path(config.data)
    clock = SystemClock()
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as stack:
        # The folder holds tokens and texts in the clear, so only its owner may read new files.
        stack.callback(os.umask, os.umask(0o077))
        store, snapshots = await _open_store(config, clock, metrics, stack, makes=makes)
        apps = [app for number in await store.apps() if (app := await store.app(number))]
        keys = folder_keys(folder, config, apps)
        vault = AesVault(*keys)
        app_secrets = AppSecrets(vault)
        dates = SeenDates(clock)
        http = interceptors.http(await _open_http(config, stack, dates))
        authorities = _authorities(config, vault, clock)
        authority_cache = AuthorityCache(authorities)
        prove = partial(
            try_out,
            tools=batch_run.DriverTools(
                http, clock, Chance(), metrics, authorities=authority_cache
            ),
        )
        keyring = _keyring(folder, config, keys, vault)
        bus = LocalBus()
        hold = Hold(store, clock, metrics)
        backups = _backups(config, folder, store, clock)
        erasures = await _erasures(config, store, clock)
        operator = OperatorService(
            store,
            vault,
            clock,
            keyring,
            prove,
            authorities=authorities,
            bus=bus,
            doctor=Doctor(store, clock, _look_at(config), dates.skews),
            forget_index=snapshots.forget,
            hold=hold,
            backups=backups,
            erasures=erasures,
            secret=keys[0],
            app_secrets=app_secrets,
            kept=RetentionTimes(books_s=config.keep.tasks_s, change_log_s=config.keep.change_log_s),
        )
        yield OpenedService(
            config=config,
            clock=clock,
            metrics=metrics,
            vault=vault,
            app_secrets=app_secrets,
            secret=keys[0],
            store=interceptors.store(store),
            erasures=erasures,
            hold=hold,
            bus=bus,
            snapshots=snapshots,
            http=http,
            authority_cache=authority_cache,
            operator=operator,
        )


def _look_at(config: Config) -> Callable[[], Machine]:
    return partial(look_at_machine, Path(config.data), DATABASE)


def _backups(config: Config, folder: Path, store: Store, clock: Clock) -> Backups | None:
    if config.store.kind == "memory":
        return None
    from tocsin.adapters.sqlite.backup import SqliteBackups
    from tocsin.adapters.sqlite.store import SqliteStore

    assert isinstance(store, SqliteStore)
    # The keys are read for each backup: they may have been rotated since the start.
    return SqliteBackups(store, folder, clock, lambda: list(map(key_id, read_keys(folder, config))))


async def _erasures(config: Config, store: Store, clock: Clock) -> Erasures | None:
    if config.store.kind == "memory":
        return None
    path = Path(config.data) / ERASURES
    return FileErasures(path, await store.erasure_key(), clock, config.keep.erasures_s)


async def _open_http(config: Config, stack: contextlib.AsyncExitStack, dates: SeenDates) -> Http:
    settings = config.http
    limits = HttpLimits(
        http2_connections=settings.http2_connections,
        connections=settings.connections,
        connect_max_s=settings.connect_max_s,
        answer_max_s=settings.answer_max_s,
    )
    proxies = Proxies(
        default=settings.proxy,
        bypass=Bypass(settings.no_proxy),
        ca=_proxy_authorities(settings.proxy_ca),
    )
    http = OutgoingHttp(limits, proxies=proxies, dates=dates)
    await http.start(stack)
    return http


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


def _restrict_permissions(folder: Path) -> None:
    """Takes our files' permissions from group and others.

    An earlier release or a copy may have left them. Foreign files in the folder are not changed.
    """
    index = folder / INDEX
    others = (folder / "lock", folder / AUTHORITIES, index)
    for path in (*folder.glob("tocsin.db*"), *others, *index.rglob("*")):
        mode = path.stat().st_mode if path.exists() else 0
        if mode & 0o077:
            path.chmod(mode & 0o700)


def _keyring(folder: Path, config: Config, keys: Sequence[bytes], vault: AesVault) -> Keyring:
    return GivenKeyring(keys) if config.secret.key else FileKeyring(folder / KEY_FILE, keys, vault)


async def _open_store(
    config: Config,
    clock: Clock,
    metrics: Metrics,
    stack: contextlib.AsyncExitStack,
    *,
    makes: bool,
) -> tuple[Store, Snapshots]:
    if config.store.kind == "memory":
        from tocsin.adapters.memory import MemoryStore
        from tocsin.adapters.snapshots import MemorySnapshots

        return MemoryStore(clock, mark=secret_bytes(MARK_BYTES)), MemorySnapshots()
    from tocsin.adapters.snapshots import FileSnapshots
    from tocsin.adapters.sqlite.folder import DATABASE, FolderInUse, SchemaTooNew
    from tocsin.adapters.sqlite.store import SqliteStore

    folder = Path(config.data)
    store = SqliteStore(folder, clock, metrics=metrics)
    try:
        has_database = (folder / DATABASE).exists()
        refuse_emptied(folder, has_database=has_database)
        if not (makes or has_database):
            raise missing(folder)
        await store.start(stack)
        _restrict_permissions(folder)
    except SchemaTooNew as fault:
        advice = "start the release that wrote it, or a newer one; or restore a backup of before"
        raise SetupError(f"the data folder {folder} {fault}", advice) from fault
    except FolderInUse as fault:
        advice = "end that process, or name another data folder: --data DIR"
        raise SetupError(f"the data folder {fault}", advice) from fault
    except OSError as fault:
        raise unusable(folder, fault) from fault
    if not await store.apps():
        refuse_emptied(folder, has_database=False)
    return store, FileSnapshots(folder / INDEX)
