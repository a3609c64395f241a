from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.contract.rows import add_app
from tests.unit.channels.kit import NOW, OpenGate, ScriptedHttp, batch
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_fcm import fcm_settings
from tocsin.adapters.memory import MemoryStore
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import (
    FRESH_S,
    VendorChannels,
    check_settings,
    open_settings,
    seal_settings,
)
from tocsin.channels.driver import Driver
from tocsin.channels.proxied import seal_proxy
from tocsin.channels.vendors import apns
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.app import Credential
from tocsin.domain.outcome import Outcome
from tocsin.domain.plan import ChannelFacts
from tocsin.metrics import Metrics

OLD_S = 3500.0
"""A token that lives an hour is renewed by now, and still good."""


class GlassVault:
    """Seals so that everybody can look in, but knows a wrong context or damage."""

    def seal(self, plain: bytes, context: str) -> bytes:
        return hashlib.sha256(context.encode() + plain).digest() + plain

    def open(self, sealed: bytes, context: str) -> bytes:
        plain = sealed[32:]
        if self.seal(plain, context) != sealed:
            raise ValueError("wrong key, context or damaged text")
        return plain


class CountingStore(MemoryStore):
    """Counts the readings; each ends once it is let go."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.reads = 0
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def credentials(self, app: int) -> list[Credential]:
        self.reads += 1
        records = await super().credentials(app)
        await self.let_go.wait()
        return records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[CountingStore]:
    async with AsyncExitStack() as stack:
        opened = CountingStore(clock)
        await opened.start(stack)
        await add_app(opened, 1)
        await add_app(opened, 2)
        yield opened


@pytest.fixture
async def channels(store: CountingStore, clock: ManualClock) -> AsyncIterator[VendorChannels]:
    http = ScriptedHttp(lambda _: Response(200))
    async with AsyncExitStack() as stack:
        opened = VendorChannels(store, GlassVault(), DriverTools(http, clock, Chance(1), Metrics()))
        await opened.start(stack)
        yield opened


async def add(store: MemoryStore, app: int, channel: str, **parts: Any) -> int:
    settings = {"apns": apns_settings, "fcm": fcm_settings}.get(channel, apns_settings)()
    sealed = (
        seal_settings(GlassVault(), app, channel, msgspec.to_builtins(settings))
        if channel in ("apns", "fcm")
        else b"?"
    )

    def change(_: Credential | None, number: int) -> Credential:
        given = {"app": app, "number": number, "channel": channel, "settings": sealed}
        return Credential(**{**given, **parts})

    made = await store.update_credential(app, 0, change)
    assert made is not None
    return made.number


async def edit(store: MemoryStore, number: int, change: Callable[[Credential], Credential]) -> None:
    def replace(known: Credential | None, _: int) -> Credential:
        assert known is not None
        return change(known)

    await store.update_credential(1, number, replace)


async def test_each_enabled_credential_has_its_facts(
    store: CountingStore, channels: VendorChannels
) -> None:
    apple, google = await add(store, 1, "apns"), await add(store, 1, "fcm")
    await add(store, 1, "apns", is_enabled=False)
    assert await channels.facts(1) == {
        apple: ChannelFacts("apns", 200, counts_badge_here=True),
        google: ChannelFacts("fcm", 200, counts_badge_here=False),
    }
    assert await channels.facts(2) == {}


async def test_a_credential_keeps_its_driver_and_the_driver_works(
    store: CountingStore, channels: VendorChannels
) -> None:
    number = await add(store, 1, "apns")
    first = await channels.channel(1, number)
    assert isinstance(first, Driver)
    assert await channels.channel(1, number) is first
    receipts = await first.deliver(batch(2), OpenGate())
    assert [receipt.outcome for receipt in receipts] == [Outcome.ACCEPTED] * 2


async def test_no_app_gets_anothers_channel(store: CountingStore, channels: VendorChannels) -> None:
    number = await add(store, 1, "apns")
    assert await channels.channel(2, number) is None
    assert await channels.channel(3, number) is None


async def test_the_records_are_read_at_most_once_a_second(
    store: CountingStore, channels: VendorChannels, clock: ManualClock
) -> None:
    number = await add(store, 1, "apns")
    await asyncio.gather(*(channels.channel(1, number) for _ in range(50)))
    await channels.facts(1)
    assert store.reads == 1
    await clock.advance(FRESH_S)
    await channels.facts(1)
    assert store.reads == 2


async def test_a_new_version_gets_a_new_driver_and_an_edit_elsewhere_does_not(
    store: CountingStore, channels: VendorChannels, clock: ManualClock
) -> None:
    number, other = await add(store, 1, "apns"), await add(store, 1, "fcm")
    before = [await channels.channel(1, it) for it in (number, other)]
    await edit(
        store, number, lambda it: msgspec.structs.replace(it, rate_per_s=8, version=it.version + 1)
    )
    assert await channels.channel(1, number) is before[0]
    await clock.advance(FRESH_S)
    after = [await channels.channel(1, it) for it in (number, other)]
    assert after[0] is not before[0]
    assert after[1] is before[1]
    assert after[0] is not None
    assert after[0].room(clock.now()) == 4


async def test_a_change_made_here_is_in_force_at_once(
    store: CountingStore, channels: VendorChannels
) -> None:
    assert await channels.facts(1) == {}
    number = await add(store, 1, "apns")
    channels.forget(1)
    assert set(await channels.facts(1)) == {number}
    assert (await channels.channel(1, number)) is not None
    assert store.reads == 2
    channels.forget(7)


async def test_a_change_made_here_during_a_reading_is_in_force_at_once(
    store: CountingStore, channels: VendorChannels, clock: ManualClock
) -> None:
    store.let_go.clear()
    early = asyncio.create_task(channels.facts(1))
    await clock.advance(0)
    number = await add(store, 1, "apns")
    channels.forget(1)
    store.let_go.set()
    assert await early == {}
    assert set(await channels.facts(1)) == {number}


class StuckRenewal(ScriptedHttp):
    """Gives one token; whoever asks for a second waits for ever."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(answer)
        self.stuck = 0

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.path != "/token" or not self.bearers:
            return await super().send(request, deadline_s, may_begin)
        self.stuck += 1
        try:
            return await asyncio.Future[Response]()
        finally:
            self.stuck -= 1


@pytest.mark.evidence("settings change in place, and running drivers follow")
@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_replaced_driver_is_closed_once_its_batches_have_ended(
    store: CountingStore, clock: ManualClock, *, is_deleted: bool
) -> None:
    let_go = asyncio.Event()

    async def answer(_: Request) -> Response:
        await let_go.wait()
        return Response(200)

    http = StuckRenewal(answer)
    channels = VendorChannels(store, GlassVault(), DriverTools(http, clock, Chance(1), Metrics()))
    number = await add(store, 1, "fcm")
    driver = await channels.channel(1, number)
    assert driver is not None
    let_go.set()
    await driver.deliver(batch(1), OpenGate())
    let_go.clear()
    await clock.advance(OLD_S)
    late = asyncio.create_task(driver.deliver(batch(2), OpenGate()))
    await clock.advance(0)
    assert (http.stuck, http.under_way) == (1, 2)

    def change(known: Credential | None, _: int) -> Credential | None:
        assert known is not None
        return None if is_deleted else msgspec.structs.replace(known, version=known.version + 1)

    await store.update_credential(1, number, change)
    channels.forget(1)
    assert await channels.channel(1, number) is not driver
    assert http.stuck == 1, "closed under a batch"
    let_go.set()
    assert [receipt.outcome for receipt in await late] == [Outcome.ACCEPTED] * 2
    assert http.stuck == 0


async def test_an_idle_driver_is_closed_when_it_is_replaced_and_by_each_who_held_it(
    store: CountingStore, clock: ManualClock
) -> None:
    async def answer(_: Request) -> Response:
        return Response(200)

    http = StuckRenewal(answer)
    channels = VendorChannels(store, GlassVault(), DriverTools(http, clock, Chance(1), Metrics()))
    number = await add(store, 1, "fcm")
    driver = await channels.channel(1, number)
    assert driver is not None
    await driver.deliver(batch(1), OpenGate())
    await clock.advance(OLD_S)
    await driver.deliver(batch(1), OpenGate())
    assert http.stuck == 1
    await edit(store, number, lambda it: msgspec.structs.replace(it, version=it.version + 1))
    channels.forget(1)
    assert await channels.channel(1, number) is not driver
    assert http.stuck == 0
    (receipt,) = await driver.deliver(batch(1), OpenGate())
    assert (receipt.outcome, http.stuck) == (Outcome.ACCEPTED, 0)


async def test_an_edit_can_be_made_to_count_at_once(
    store: CountingStore, channels: VendorChannels
) -> None:
    number = await add(store, 1, "apns")
    assert await channels.channel(1, number) is not None
    await edit(
        store,
        number,
        lambda it: msgspec.structs.replace(it, is_enabled=False, version=it.version + 1),
    )
    channels.forget(1)
    assert await channels.channel(1, number) is None


async def test_a_deleted_credential_has_no_channel(
    store: CountingStore, channels: VendorChannels, clock: ManualClock
) -> None:
    number = await add(store, 1, "apns")
    assert await channels.channel(1, number) is not None
    await store.update_credential(1, number, lambda _known, _next: None)
    await clock.advance(FRESH_S)
    assert await channels.channel(1, number) is None
    assert await channels.facts(1) == {}


@pytest.mark.parametrize("parts", [{"channel": "pigeon"}, {"settings": b"x" * 40}])
async def test_a_record_that_cannot_be_used_is_no_channel_and_harms_no_other(
    store: CountingStore, channels: VendorChannels, parts: dict[str, Any]
) -> None:
    bad = await add(store, 1, parts.pop("channel", "apns"), **parts)
    good = await add(store, 1, "apns")
    assert await channels.channel(1, bad) is None
    assert list(await channels.facts(1)) == [good]


def test_settings_of_another_app_or_channel_do_not_open() -> None:
    vault = GlassVault()
    sealed = seal_settings(vault, 1, "apns", msgspec.to_builtins(apns_settings()))
    own = Credential(app=1, number=1, channel="apns", settings=sealed)
    assert open_settings(vault, own, apns) == apns_settings()
    for change in ({"app": 2}, {"channel": "fcm"}):
        with pytest.raises(ValueError, match="context"):
            open_settings(vault, msgspec.structs.replace(own, **change), apns)


def test_settings_are_checked_before_they_are_sealed() -> None:
    values = msgspec.to_builtins(apns_settings())
    assert msgspec.json.decode(check_settings("apns", values)) == values
    with pytest.raises(ValueError, match="no such channel: pigeon"):
        check_settings("pigeon", values)
    with pytest.raises(ValueError, match="team_id"):
        check_settings("apns", {name: it for name, it in values.items() if name != "team_id"})


async def test_a_credentials_proxy_is_in_each_of_its_requests_and_in_no_others(
    store: CountingStore, clock: ManualClock
) -> None:
    http = ScriptedHttp(lambda _: Response(200))
    channels = VendorChannels(store, GlassVault(), DriverTools(http, clock, Chance(1), Metrics()))
    url = "http://me:hush@proxy.corp:3128"
    for proxy in (url, "none", ""):
        sealed = seal_proxy(GlassVault(), 1, proxy)
        number = await add(store, 1, "fcm", proxy=sealed)
        channels.forget(1)
        one = await channels.channel(1, number)
        assert one is not None
        http.requests.clear()
        await one.deliver(batch(1), OpenGate())
        assert len(http.requests) >= 1
        assert {request.proxy for request in http.requests} == {proxy}


async def test_a_proxy_that_does_not_open_stops_its_credential_alone(
    store: CountingStore, channels: VendorChannels
) -> None:
    good = await add(store, 1, "apns")
    await add(store, 1, "apns", proxy=b"damaged")
    assert list(await channels.facts(1)) == [good]


@pytest.mark.evidence("Apple sees one token of a key over checks, changes, apps and restarts")
async def test_what_does_not_touch_apples_key_goes_on_with_the_same_token(
    store: CountingStore, clock: ManualClock
) -> None:
    http = ScriptedHttp(lambda _: Response(200))
    channels = VendorChannels(store, GlassVault(), DriverTools(http, clock, Chance(1), Metrics()))

    async def shown_to_apple(app: int) -> str:
        channels.forget(app)
        one = await channels.channel(app, 1)
        assert one is not None
        await one.deliver(batch(1), OpenGate())
        return dict(http.requests[-1].headers)["authorization"]

    for app in (1, 2):
        await add(store, app, "apns")
    shown = {await shown_to_apple(app) for app in (1, 2)}
    topic = msgspec.structs.replace(apns_settings(), bundle_id="com.example.other")
    changes: list[dict[str, Any]] = [
        {"rate_per_s": 7.0},
        {"origin": "https://other.example"},
        {"settings": resealed(topic)},
    ]
    for version, change in enumerate(changes, 2):
        await edit(store, 1, partial(msgspec.structs.replace, version=version, **change))
        shown.add(await shown_to_apple(1))
    assert len(http.requests) == 5
    assert len(shown) == 1
    other = resealed(msgspec.structs.replace(apns_settings(), key_id="OTHERKEYID"))
    await edit(store, 1, partial(msgspec.structs.replace, version=9, settings=other))
    assert await shown_to_apple(1) not in shown


def resealed(settings: Any) -> bytes:
    return seal_settings(GlassVault(), 1, "apns", msgspec.to_builtins(settings))
