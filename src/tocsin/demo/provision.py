"""Brings the demo's accounts and devices into the service, through the public API alone."""

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
from tocsin.demo.processes import DemoFault
from tocsin.demo.world import SLOTS, DemoDevice, World
from tocsin.domain.hello import GivenRoute
from tocsin.domain.usersig import sign

ACCOUNTS_PER_CALL = 100
CALLS_AT_ONCE = 8
REGISTRATIONS_AT_ONCE = 128
SOCKETS_AT_ONCE = 50
READS_AT_ONCE = 32
USERSIG_S = 3600

Item = TypeVar("Item")
Advance = Callable[[int], None]
"""Called with the number of items that were done, for the progress bar."""


class DemoApp(Struct, frozen=True, kw_only=True):
    """The demo's app in the service."""

    sdkappid: int
    key: str
    admin: str
    credentials: dict[str, int]
    """Channel to certificate ID."""


class DeviceMemory(Struct):
    """What the devices remember, by the title of the push."""

    shown: dict[str, Counter[str]] = {}
    """Title to RegistrationID to how often the device was shown the push."""
    reached: dict[str, set[str]] = {}
    """The devices that told the service that the push arrived: by ack, click or report."""
    clicked: dict[str, set[str]] = {}
    refused: dict[str, set[str]] = {}
    """The devices whose report the service refused."""

    def note(self, title: str, name: str, *, is_click: bool) -> None:
        """Note that a device told the service of an arrival, or of a click, which implies it."""
        self.reached.setdefault(title, set()).add(name)
        if is_click:
            self.clicked.setdefault(title, set()).add(name)


async def for_each(
    items: Sequence[Item], at_once: int, work: Callable[[Item], Awaitable[None]], advance: Advance
) -> None:
    """Do `work` for every item, `at_once` items at a time; the first fault ends all work."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)
            advance(1)

    workers = [asyncio.create_task(worker()) for _ in range(min(at_once, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def require_no_failures(failed: Sequence[object], step: str) -> None:
    """Raise `DemoFault` if an account failed."""
    if failed:
        raise DemoFault(f"{step} failed for {len(failed)} accounts, the first is {failed[0]}")


def in_calls(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Split into slices that fit one call."""
    return [
        items[start : start + ACCOUNTS_PER_CALL]
        for start in range(0, len(items), ACCOUNTS_PER_CALL)
    ]


async def import_accounts(client: Client, world: World, advance: Advance) -> None:
    """Import every account, a hundred a call."""

    async def one(names: Sequence[str]) -> None:
        failed = await client.multiaccount_import(names)
        require_no_failures(failed, "the import")
        advance(len(names) - 1)

    await for_each(in_calls([it.name for it in world.people]), CALLS_AT_ONCE, one, advance)


async def name_attributes(client: Client) -> None:
    """Name the attribute slots and read the names back."""
    await client.set_attr_name(SLOTS)
    read = await client.get_attr_name()
    if read != SLOTS:
        raise DemoFault(f"attribute names read back differently: {read}")


async def set_attributes(client: Client, world: World, advance: Advance) -> None:
    """Set every account's attributes, a hundred accounts a call."""

    async def one(people: Sequence[Any]) -> None:
        faults = await client.set_attr({it.name: it.attrs for it in people})
        require_no_failures(faults, "set_attr")
        advance(len(people) - 1)

    await for_each(in_calls(world.people), CALLS_AT_ONCE, one, advance)


async def add_tags(client: Client, world: World, advance: Advance) -> None:
    """Add every account's tags, a hundred accounts a call."""
    tagged = [it for it in world.people if it.tags]

    async def one(people: Sequence[Any]) -> None:
        faults = await client.add_tag({it.name: it.tags for it in people})
        require_no_failures(faults, "add_tag")
        advance(len(people) - 1)

    await for_each(in_calls(tagged), CALLS_AT_ONCE, one, advance)
    advance(len(world.people) - len(tagged))


async def read_tags(client: Client, world: World, advance: Advance) -> dict[str, list[str]]:
    """Read every account's tags back."""
    read: dict[str, list[str]] = {}

    async def one(names: Sequence[str]) -> None:
        tags, faults = await client.get_tag(names)
        require_no_failures(faults, "get_tag")
        read.update(tags)
        advance(len(names) - 1)

    await for_each(in_calls([it.name for it in world.people]), CALLS_AT_ONCE, one, advance)
    return read


async def register_devices(
    http: JsonHttp, app: DemoApp, devices: Sequence[DemoDevice], advance: Advance
) -> None:
    """Register devices over plain HTTP, each with its user logged in and its vendor token."""
    client = DeviceHttpClient(http)
    now = SystemClock().now()

    async def one(device: DemoDevice) -> None:
        identity = await client.register(_identity(app, device, now))
        device.registration_id, device.secret = identity.registration_id, identity.secret

    await for_each(devices, REGISTRATIONS_AT_ONCE, one, advance)


def _identity(app: DemoApp, device: DemoDevice, now: float) -> DeviceIdentity:
    route = None
    if device.channel:
        credential = app.credentials[device.channel]
        route = GivenRoute(channel=device.channel, credential=credential, token=device.token)
    return DeviceIdentity(
        sdkappid=app.sdkappid,
        user=device.user,
        usersig=sign(app.sdkappid, app.key, device.user, USERSIG_S, now),
        registration_id=device.registration_id,
        secret=device.secret,
        route=route,
        facts={"language": "en", "platform": _PLATFORMS.get(device.channel, "Android")},
    )


_PLATFORMS = {"apns": "iPhone", "webpush": "Web", "": "Web"}
"""Channel to the platform of its devices, where that is not Android."""


async def read_devices(client: Client, devices: Sequence[DemoDevice], advance: Advance) -> set[str]:
    """Read every device that had a token; answers the devices that have none any more."""
    dropped: set[str] = set()

    async def one(device: DemoDevice) -> None:
        shown = await client.read(f"devices/{device.registration_id}")
        if any(registered["route"] is None for registered in shown["devices"]):
            dropped.add(device.registration_id)

    await for_each(devices, READS_AT_ONCE, one, advance)
    return dropped


async def connect_sockets(
    stack: AsyncExitStack,
    http: JsonHttp,
    app: DemoApp,
    devices: Sequence[DemoDevice],
    advance: Advance,
) -> DeviceMemory:
    """Connect devices over WebSockets until the stack is closed; they note each push shown."""
    memory = DeviceMemory()
    now = SystemClock().now()

    async def one(device: DemoDevice) -> None:
        connected = _ConnectedDevice(http, _identity(app, device, now), device, memory)
        await stack.enter_async_context(connected.client)
        identity = await connected.client.registered()
        device.registration_id, device.secret = identity.registration_id, identity.secret

    await for_each(devices, SOCKETS_AT_ONCE, one, advance)
    return memory


class _ConnectedDevice:
    """One connected device: it acks each push unless it is a silent one, and may click."""

    def __init__(
        self, http: JsonHttp, identity: DeviceIdentity, device: DemoDevice, memory: DeviceMemory
    ) -> None:
        self._identity = identity
        self._gadget = device
        self._seen = memory
        self._clicks: set[asyncio.Task[None]] = set()
        self.client = DeviceClient(
            http, identity, is_acking=not device.is_silent, on_push=self._take
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


class ReportedPush(Struct, frozen=True):
    """A push that phones report on: its TaskId, its title, and the memory of the devices."""

    task_id: str
    title: str
    memory: DeviceMemory


async def report_over_http(
    http: JsonHttp, app: DemoApp, devices: Sequence[DemoDevice], on: ReportedPush, advance: Advance
) -> None:
    """Report for each phone that a push arrived, and for every other phone a click."""
    client = DeviceHttpClient(http)

    async def one(numbered: tuple[int, DemoDevice]) -> None:
        number, device = numbered
        identity = DeviceIdentity(
            sdkappid=app.sdkappid, registration_id=device.registration_id, secret=device.secret
        )
        is_click = number % 2 == 0
        try:
            await client.report(identity, on.task_id, "clicked" if is_click else "reached")
        except Refused:
            on.memory.refused.setdefault(on.title, set()).add(device.registration_id)
            return
        on.memory.note(on.title, device.registration_id, is_click=is_click)

    await for_each(list(enumerate(devices)), REGISTRATIONS_AT_ONCE, one, advance)


async def set_device_states(sandbox: SandboxClient, devices: Iterable[DemoDevice]) -> None:
    """Tell the sandbox which tokens are dead and which apps were removed."""
    await sandbox.put_devices(
        {"vendor": it.channel, "token": it.token, "state": it.state}
        for it in devices
        if it.state != "live"
    )
