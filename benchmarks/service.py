"""The service's own parts, put together for a benchmark, and filled through the store's verbs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct
from pyroaring import BitMap

from benchmarks.sink import Sink
from tocsin.adapters.sqlite.store import SqliteStore, StoreOptions
from tocsin.adapters.vault import AesVault
from tocsin.clock import SystemClock
from tocsin.domain import usersig
from tocsin.domain.account import Profile, change_tags, import_accounts, with_tags_added
from tocsin.domain.app import App, Credential
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.hello import DeviceFacts
from tocsin.domain.task import Task
from tocsin.metrics import Metrics

APP = 1_400_000_001
ADMIN = "administrator"
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
TAGS = 1_000
"""Tags of the app, which is the most there may be."""
TAGS_EACH = 5
PAGE = 1_000
"""Accounts in one step while filling."""
DEVICES_AT_ONCE = 500
CACHED = 100_000
"""Account documents kept in memory by default."""


class Opened(Struct, frozen=True):
    """A data folder in use."""

    store: SqliteStore
    vault: AesVault
    clock: SystemClock
    metrics: Metrics


async def open_folder(folder: Path, stack: AsyncExitStack, cached: int = CACHED) -> Opened:
    """Open a folder with one app in it, whose administrator is an account."""
    clock, metrics = SystemClock(), Metrics()
    vault = AesVault(hashlib.sha256(b"of a benchmark").digest())
    options = StoreOptions(accounts_cached_max=cached)
    store = SqliteStore(folder, clock, metrics=metrics, options=options)
    await store.start(stack)
    if await store.app(APP) is None:
        app = App(
            sdkappid=APP,
            key=vault.seal(KEY.encode(), f"{APP}/key"),
            appkey=b"",
            admins=(ADMIN,),
            profile="unlimited",
        )
        await store.update_app(APP, lambda _: app)
        decide = import_accounts([Profile(ADMIN)], clock.now())
        await store.update_accounts(APP, [ADMIN], [], decide)
    return Opened(store, vault, clock, metrics)


def query(clock: SystemClock) -> str:
    """The parameters of an administrator's call."""
    token = usersig.sign(APP, KEY, ADMIN, 86_400, clock.now())
    return f"sdkappid={APP}&identifier={ADMIN}&usersig={token}&random=1&contenttype=json"


def user(number: int) -> str:
    return f"user_{number:07}"


def tag(number: int) -> str:
    return f"tag_{number:04}"


def tags_of(number: int, turn: int = 0) -> list[str]:
    """The tags that a user gets, the same in every run; those of another turn are others."""
    first = number * 7 + turn * TAGS_EACH
    return [tag((first + step * 31) % TAGS) for step in range(TAGS_EACH)]


def pages(count: int, size: int = PAGE) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


async def fill_tagged(opened: Opened, page: Sequence[int]) -> None:
    """Import these users and give them their tags."""
    store = opened.store
    names = [user(number) for number in page]
    decide = import_accounts([Profile(name) for name in names], opened.clock.now())
    await store.update_accounts(APP, names, [], decide)
    entries = [(user(number), tags_of(number)) for number in page]
    keys = [("tag", name) for name in dict.fromkeys(each for _, own in entries for each in own)]
    await store.update_accounts(APP, names, keys, change_tags(entries, with_tags_added))


async def fill_devices(opened: Opened, page: Sequence[int], routes: Sequence[Route]) -> None:
    """Register a device for each of these users, with the route beside it."""
    names = [user(number) for number in page]
    decide = import_accounts([Profile(name) for name in names], opened.clock.now())
    await opened.store.update_accounts(APP, names, [], decide)
    each = zip(page, routes, strict=True)
    await asyncio.gather(*(_register(opened, number, route) for number, route in each))


async def _register(opened: Opened, number: int, route: Route) -> None:
    ask = Registration(
        registration_id=f"device_{number:07}",
        fresh_secret="of a benchmark",
        user=user(number),
        route=route,
        facts=DeviceFacts(language="en", platform="iPhone", model="iPhone16,2"),
    )
    decide = register(ask, opened.clock.now())
    await opened.store.update_device(APP, ask.registration_id, ask.user, route, decide)


def token_of(number: int) -> str:
    """An APNs device token."""
    return f"{number:064x}"


async def add_credential(
    opened: Opened, channel: str, settings: bytes, target: Sink, *, rate_per_s: float
) -> int:
    """A credential that reaches the sink, its token service too."""

    def change(_: Credential | None, number: int) -> Credential:
        return Credential(
            app=APP,
            number=number,
            channel=channel,
            settings=settings,
            origin=target.origin,
            auth_origin=target.origin,
            ca=target.ca,
            rate_per_s=rate_per_s,
        )

    made = await opened.store.update_credential(APP, 0, change)
    assert made is not None
    return made.number


class Nobody:
    """A `Presence` without connections."""

    def connected(self, app: int) -> BitMap:  # noqa: ARG002 - the port's shape
        return BitMap()

    async def push(self, task: Task, language: int, devices: Sequence[int]) -> BitMap:  # noqa: ARG002 - the port's shape
        return BitMap()

    async def revoke(self, task: Task) -> None:
        pass
