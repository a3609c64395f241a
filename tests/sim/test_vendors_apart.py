"""One vendor's trouble does not slow another: every credential at work, one of them dead.

The real pipeline, drivers and vendors' files, on the manual clock, against the sandbox without
sockets. What each vendor took within a minute is counted.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.direct import DirectHttp, facts_of
from tests.sim.world import Shelved, Sockets
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.vault import AesVault
from tocsin.api.operator import Operator
from tocsin.channels import driver
from tocsin.channels.credentials import VendorChannels
from tocsin.channels.registry import VENDORS, takes_lists
from tocsin.clock import Chance, ManualClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.message import Message
from tocsin.domain.stats import ledger
from tocsin.log import configure
from tocsin.metrics import Metrics
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.work import Tools
from tocsin.sandbox.server import Sandbox, SandboxSettings

APP = 7
NAMES = [vendor.NAME for vendor in VENDORS]
RATE_PER_S = {vendor.NAME: 50 if takes_lists(vendor) else 20 for vendor in VENDORS}
MINUTE_S = 60
STEP_S = 0.05
PACE = Pace()


class Works:
    """An app with a credential of every vendor, and for each more devices than a minute serves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.sandbox = Sandbox(SandboxSettings(seed=1), self.clock)
        self.http = DirectHttp(self.sandbox, self.clock, latency_s=0.1)
        metrics, chance, bus = Metrics(), Chance(1), LocalBus()
        self.vault = AesVault(bytes(32))
        self.operator = Operator(self.store, self.vault, self.clock)
        self.numbers: dict[str, int] = {}
        """Certificate IDs by vendor."""
        tools = driver.Tools(self.http, self.clock, chance, metrics)
        self.channels = VendorChannels(self.store, self.vault, tools)
        sockets = Sockets(self.store, self.clock)
        self.accepting = Accepting(
            self.store,
            bus,
            sockets,
            self.channels,
            clock=self.clock,
            chance=chance,
            metrics=metrics,
        )
        work = Tools(
            store=self.store,
            channels=self.channels,
            presence=sockets,
            clock=self.clock,
            chance=chance,
            indexer=Indexer(self.store, Shelved()),
            metrics=metrics,
            correlation_key=bytes(32),
        )
        self.dispatcher = Dispatcher("main", work, bus, PACE)
        self.held_most: dict[str, int] = dict.fromkeys(NAMES, 0)

    async def open(self, **wrong: dict[str, Any]) -> Works:
        """`wrong` are settings of single vendors that their credentials have wrong."""
        await self.operator.app_add(APP, {"profile": "unlimited", "ttl_s": 3600})
        for name in NAMES:
            facts = facts_of(name, self.sandbox, **wrong.get(name, {}))
            told = {**facts, "rate_per_s": RATE_PER_S[name]}
            added = await self.operator.credential_add(APP, told)
            self.numbers[name] = added["number"]
            await self._devices(name, added["number"])
        return self

    async def _devices(self, vendor: str, credential: int) -> None:
        count = RATE_PER_S[vendor] * MINUTE_S + 1100
        users = [f"{vendor}-{number}" for number in range(count)]
        now = self.clock.now()
        decide = import_accounts([Profile(name) for name in users], now)
        await self.store.update_accounts(APP, users, [], decide)
        tokens = self.sandbox.tokens(vendor, 0, count)
        for user, token in zip(users, tokens, strict=True):
            route = Route(vendor, credential, token)
            ask = Registration(
                registration_id=f"R-{user}", fresh_secret="s", user=user, route=route
            )
            await self.store.update_device(
                APP, ask.registration_id, user, route, register(ask, now)
            )

    async def minute(self) -> dict[str, int]:
        """Push to everyone and let a minute pass: what each vendor took."""
        app = await self.store.app(APP)
        assert app is not None
        message = Message(title="t", desc="d")
        ask = PushAsk(kind="push", identifier="admin", msg_random=1, message=message)
        await self.accepting.push(app, ask)
        return await self.go_on(MINUTE_S)

    async def go_on(self, span_s: float) -> dict[str, int]:
        """Let so much time pass: what each vendor took since the start."""
        working = asyncio.create_task(self.dispatcher.run())
        for _ in range(round(span_s / STEP_S)):
            await self.clock.advance(STEP_S)
            self._look()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return dict(self.sandbox.log.counts().accepted_by_vendor)

    async def failed(self) -> dict[str, int]:
        """What the push's books call failed, by channel and reason."""
        ((_, task),) = self.store._shelf(APP).tasks.items()
        books = await self.store.books(APP, task.number)
        assert books is not None
        return dict(ledger(books).failures)

    def _look(self) -> None:
        """How many jobs of each vendor are leased now."""
        held = dict.fromkeys(NAMES, 0)
        for slot in self.store._shelf(APP).jobs.values():
            vendor = slot.job.queue.partition(":")[0]
            if slot.holder is not None and vendor in held:
                held[vendor] += 1
        self.held_most = {name: max(self.held_most[name], held[name]) for name in NAMES}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    """Ten vendors have much to tell."""
    import io
    import logging

    configure("error", json=False, stream=io.StringIO())
    yield
    logging.getLogger().handlers.clear()


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, int]:
    """What each vendor takes in a minute when all are well."""

    async def work() -> dict[str, int]:
        return await (await Works().open()).minute()

    return asyncio.run(work())


def test_all_at_once_keep_their_own_pace(undisturbed: dict[str, int]) -> None:
    for name in NAMES:
        expected = RATE_PER_S[name] * MINUTE_S
        # A list begins as soon as one target is free, and the first second's allowance is saved up.
        slack = 1000 if RATE_PER_S[name] == 50 else 0.03 * expected
        assert 0.95 * expected <= undisturbed[name] <= expected + slack, name


@pytest.mark.parametrize("dead", ["apns", "huawei", "webpush"])
async def test_with_one_dead_the_others_send_as_many(
    dead: str, undisturbed: dict[str, int]
) -> None:
    works = await Works().open()
    works.http.dead.add(dead)
    taken = await works.minute()
    assert taken.get(dead, 0) == 0
    for name in NAMES:
        if name != dead:
            assert abs(taken[name] - undisturbed[name]) <= 0.02 * undisturbed[name], name
    assert 0 < works.held_most[dead] <= PACE.queue_jobs_max


async def test_a_wrong_credential_stops_only_its_own_channel_until_it_is_put_right(
    undisturbed: dict[str, int],
) -> None:
    """Its jobs wait: nothing of them is booked as failed, and put right it sends them."""
    wrong = "huawei"
    works = await Works().open(huawei={"app_secret": "another"})
    taken = await works.minute()
    assert taken.get(wrong, 0) == 0
    for name in NAMES:
        if name != wrong:
            assert abs(taken[name] - undisturbed[name]) <= 0.02 * undisturbed[name], name
    assert await works.failed() == {}
    right = {"settings": {"app_secret": facts_of(wrong, works.sandbox)["settings"]["app_secret"]}}
    await works.operator.credential_set(APP, works.numbers[wrong], right)
    # A job waits as long as the breaker said, and a new version has a breaker of its own.
    assert (await works.go_on(30))[wrong] > 0
    assert await works.failed() == {}
