"""Bringing the demo's world into the service, through its public API and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from msgspec import Struct

from tocsin.client.device import DeviceClient, DeviceHttpClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp, Refused
from tocsin.client.rest import Client
from tocsin.client.sandbox import SandboxClient
from tocsin.clock import SystemClock
from tocsin.demo.stage import StageFault
from tocsin.demo.world import SLOTS, Gadget, World
from tocsin.domain.hello import GivenRoute
from tocsin.domain.usersig import sign

ACCOUNTS_PER_CALL = 100
CALLS_AT_ONCE = 8
REGISTRATIONS_AT_ONCE = 128
SOCKETS_AT_ONCE = 50
READS_AT_ONCE = 32
USERSIG_S = 3600

Item = TypeVar("Item")
Moved = Callable[[int], None]
"""Told how many more items are done, for the progress bar."""


class App(Struct, frozen=True, kw_only=True):
    """The demo's app in the service."""

    sdkappid: int
    key: str
    admin: str
    credentials: dict[str, int]
    """Channel to certificate ID."""


class Seen(Struct):
    """What the devices remember, per push title."""

    shown: dict[str, Counter[str]] = {}
    """Title to RegistrationID to how often a socket showed it."""
    reached: dict[str, set[str]] = {}
    """Who told the service that it arrived: acks, clicks and reports."""
    clicked: dict[str, set[str]] = {}
    refused: dict[str, set[str]] = {}
    """Whose word that it arrived the service did not take."""

    def note(self, title: str, name: str, *, is_click: bool) -> None:
        """A device has told the service; a click says that it arrived, too."""
        self.reached.setdefault(title, set()).add(name)
        if is_click:
            self.clicked.setdefault(title, set()).add(name)


async def each(
    items: Sequence[Item], at_once: int, work: Callable[[Item], Awaitable[None]], moved: Moved
) -> None:
    """Do `work` for every item, `at_once` of them at a time; the first fault ends it all."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)
            moved(1)

    workers = [asyncio.create_task(worker()) for _ in range(min(at_once, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def nobody(failed: Sequence[object], what: str) -> None:
    """Go on only if no account failed."""
    if failed:
        raise StageFault(f"{what} failed for {len(failed)} accounts, the first is {failed[0]}")


def in_calls(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Split into slices that fit one call."""
    return [
        items[start : start + ACCOUNTS_PER_CALL]
        for start in range(0, len(items), ACCOUNTS_PER_CALL)
    ]


async def import_accounts(client: Client, world: World, moved: Moved) -> None:
    """Import every account, a hundred a call."""

    async def one(names: Sequence[str]) -> None:
        failed = await client.multiaccount_import(names)
        nobody(failed, "the import")
        moved(len(names) - 1)

    await each(in_calls([it.name for it in world.people]), CALLS_AT_ONCE, one, moved)


async def name_attributes(client: Client) -> None:
    """Name the attribute slots and read the names back."""
    await client.set_attr_name(SLOTS)
    read = await client.get_attr_name()
    if read != SLOTS:
        raise StageFault(f"attribute names read back differently: {read}")


async def set_attributes(client: Client, world: World, moved: Moved) -> None:
    """Set every account's attributes, a hundred accounts a call."""

    async def one(people: Sequence[Any]) -> None:
        faults = await client.set_attr({it.name: it.attrs for it in people})
        nobody(faults, "set_attr")
        moved(len(people) - 1)

    await each(in_calls(world.people), CALLS_AT_ONCE, one, moved)


async def add_tags(client: Client, world: World, moved: Moved) -> None:
    """Add every account's tags, a hundred accounts a call."""
    tagged = [it for it in world.people if it.tags]

    async def one(people: Sequence[Any]) -> None:
        faults = await client.add_tag({it.name: it.tags for it in people})
        nobody(faults, "add_tag")
        moved(len(people) - 1)

    await each(in_calls(tagged), CALLS_AT_ONCE, one, moved)
    moved(len(world.people) - len(tagged))


async def read_tags(client: Client, world: World, moved: Moved) -> dict[str, list[str]]:
    """Read every account's tags back."""
    read: dict[str, list[str]] = {}

    async def one(names: Sequence[str]) -> None:
        tags, faults = await client.get_tag(names)
        nobody(faults, "get_tag")
        read.update(tags)
        moved(len(names) - 1)

    await each(in_calls([it.name for it in world.people]), CALLS_AT_ONCE, one, moved)
    return read


async def register_devices(
    http: JsonHttp, app: App, gadgets: Sequence[Gadget], moved: Moved
) -> None:
    """Register devices over plain HTTP, each with its user logged in and its vendor token."""
    door = DeviceHttpClient(http)
    now = SystemClock().now()

    async def one(gadget: Gadget) -> None:
        identity = await door.register(_identity(app, gadget, now))
        gadget.registration_id, gadget.secret = identity.registration_id, identity.secret

    await each(gadgets, REGISTRATIONS_AT_ONCE, one, moved)


def _identity(app: App, gadget: Gadget, now: float) -> DeviceIdentity:
    route = None
    if gadget.channel:
        credential = app.credentials[gadget.channel]
        route = GivenRoute(channel=gadget.channel, credential=credential, token=gadget.token)
    return DeviceIdentity(
        sdkappid=app.sdkappid,
        user=gadget.user,
        usersig=sign(app.sdkappid, app.key, gadget.user, USERSIG_S, now),
        registration_id=gadget.registration_id,
        secret=gadget.secret,
        route=route,
        facts={"language": "en", "platform": _PLATFORMS.get(gadget.channel, "Android")},
    )


_PLATFORMS = {"apns": "iPhone", "webpush": "Web", "": "Web"}
"""What a device says it is, where that is not Android."""


async def read_devices(client: Client, gadgets: Sequence[Gadget], moved: Moved) -> set[str]:
    """Ask for every device that had a token; answers those that have none any more."""
    dropped: set[str] = set()

    async def one(gadget: Gadget) -> None:
        shown = await client.read(f"devices/{gadget.registration_id}")
        if any(device["route"] is None for device in shown["devices"]):
            dropped.add(gadget.registration_id)

    await each(gadgets, READS_AT_ONCE, one, moved)
    return dropped


async def connect_sockets(
    stack: AsyncExitStack, http: JsonHttp, app: App, gadgets: Sequence[Gadget], moved: Moved
) -> Seen:
    """Connect devices over WebSockets until the stack is left; they note what they are shown."""
    seen = Seen()
    now = SystemClock().now()

    async def one(gadget: Gadget) -> None:
        device = _Socket(http, _identity(app, gadget, now), gadget, seen)
        await stack.enter_async_context(device.client)
        identity = await device.client.registered()
        gadget.registration_id, gadget.secret = identity.registration_id, identity.secret

    await each(gadgets, SOCKETS_AT_ONCE, one, moved)
    return seen


class _Socket:
    """One connected device of the demo: acks unless it is a silent one, and may click."""

    def __init__(
        self, http: JsonHttp, identity: DeviceIdentity, gadget: Gadget, seen: Seen
    ) -> None:
        self._identity = identity
        self._gadget = gadget
        self._seen = seen
        self._clicks: set[asyncio.Task[None]] = set()
        self.client = DeviceClient(
            http, identity, is_acking=not gadget.is_silent, on_push=self._take
        )

    def _take(self, push: ReceivedPush) -> None:
        name = self._identity.registration_id
        self._seen.shown.setdefault(push.title, Counter())[name] += 1
        if self._gadget.is_silent:
            return
        self._seen.note(push.title, name, is_click=self._gadget.clicks)
        if self._gadget.clicks:
            click = asyncio.create_task(self.client.click(push))
            self._clicks.add(click)
            click.add_done_callback(self._clicks.discard)


class Reporting(Struct, frozen=True):
    """A push that phones report on: its TaskId, its title, and where to note who did."""

    task_id: str
    title: str
    seen: Seen


async def report_over_http(
    http: JsonHttp, app: App, gadgets: Sequence[Gadget], on: Reporting, moved: Moved
) -> None:
    """Phones tell that a push arrived; every other one that it was opened."""
    door = DeviceHttpClient(http)

    async def one(numbered: tuple[int, Gadget]) -> None:
        number, gadget = numbered
        identity = DeviceIdentity(
            sdkappid=app.sdkappid, registration_id=gadget.registration_id, secret=gadget.secret
        )
        is_click = number % 2 == 0
        try:
            await door.report(identity, on.task_id, "clicked" if is_click else "reached")
        except Refused:
            on.seen.refused.setdefault(on.title, set()).add(gadget.registration_id)
            return
        on.seen.note(on.title, gadget.registration_id, is_click=is_click)

    await each(list(enumerate(gadgets)), REGISTRATIONS_AT_ONCE, one, moved)


async def tell_vendors(sandbox: SandboxClient, gadgets: Iterable[Gadget]) -> None:
    """Let tokens die and apps be removed at their vendors, behind the service's back."""
    await sandbox.put_devices(
        {"vendor": it.channel, "token": it.token, "state": it.state}
        for it in gadgets
        if it.state != "live"
    )
