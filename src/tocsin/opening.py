"""Opens a data folder: the store under its lock, keys, the way out, and an operator's verbs.

Client libraries that only one choice of setting needs are imported where that choice is made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

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
from tocsin.api.operator import Operator
from tocsin.channels import turn
from tocsin.channels.authority import AuthorityShelf
from tocsin.channels.trial import try_out
from tocsin.clock import Chance, Clock, SystemClock, secret_bytes
from tocsin.config import Config
from tocsin.domain.erasure import Kept
from tocsin.domain.proxy import Bypass
from tocsin.errors import SetupError
from tocsin.metrics import Metrics
from tocsin.ports import Authorities, Bus, Http, Keyring, Snapshots, Vault
from tocsin.store import Store

KEY_FILE = "secret.key"
INDEX = "index"
AUTHORITIES = "authorities"
MARK_BYTES = 16
"""Of what tells the collapse ids of one store from another's."""
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
    bus: Bus
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
        prove = partial(try_out, tools=turn.Tools(http, clock, Chance(), metrics, shelf=shelf))
        keyring = _keyring(folder, config, keys, vault)
        bus = LocalBus()
        operator = Operator(
            store,
            vault,
            clock,
            keyring,
            prove,
            authorities=authorities,
            bus=bus,
            forget_index=snapshots.forget,
            secret=keys[0],
            kept=Kept(books_s=config.keep.tasks_s, change_log_s=config.keep.change_log_s),
        )
        yield Service(
            config=config,
            clock=clock,
            metrics=metrics,
            vault=vault,
            secret=keys[0],
            store=planted_store(store, os.environ.get(BREAK, "")),
            bus=bus,
            snapshots=snapshots,
            http=http,
            shelf=shelf,
            operator=operator,
        )


async def _open_http(config: Config, stack: contextlib.AsyncExitStack) -> Http:
    told = config.http
    limits = HttpLimits(
        http2_connections=told.http2_connections,
        connections=told.connections,
        connect_max_s=told.connect_max_s,
        answer_max_s=told.answer_max_s,
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
