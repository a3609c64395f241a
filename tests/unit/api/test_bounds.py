"""What strangers can fill is bounded in bytes: each table is filled at two sizes and weighed."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import pytest

from tests.unit.api.world import ADMIN, APP, KEY, World, ask
from tests.unit.online.rig import Client, Rig
from tocsin.adapters.sqlite.cache import AccountCache
from tocsin.api import pages, v1
from tocsin.api.auth import CALLERS_MAX, VERIFIED_MAX, Authenticator, LockOuts
from tocsin.api.commands.table import COMMANDS
from tocsin.api.rest import RATES_MAX, RateLimits
from tocsin.clock import ManualClock
from tocsin.domain.app import App
from tocsin.domain.task import Stage
from tocsin.domain.usersig import sign
from tocsin.errors import CallError
from tocsin.metrics import Metrics
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.registration_limit import ADDRESSES_MAX, RegistrationLimit
from tocsin.ports import Presence

ENTRIES = 100
"""Room of the tables here, where it can be said: what an entry weighs does not depend on it."""
MIB = 1 << 20
LONG = "x" * 2000

Fill = Callable[[int, int], Awaitable[None]]
"""Has strangers of these numbers come, from the first up to the second."""


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What earlier tests have left is not looked through at each weighing."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def weigh(fill: Fill, strangers: int = 3 * ENTRIES) -> float:
    """Bytes that stay of so many strangers, which has to be what stays of twice as many."""

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await fill(0, 10)
    empty = held()
    await fill(10, strangers)
    once = held() - empty
    await fill(strangers, 2 * strangers)
    twice = held() - empty
    assert twice < once * 1.1 + 10_000, (once, twice)
    return max(once, twice)


@pytest.mark.evidence(
    "what strangers can fill is bounded in bytes",
    topic="Strangers and browsers",
    planted="callers counted under their names as they came; no entry ever dropped; lines "
    "of devices that left kept for their next tick; absent names of any length "
    "cached",
)
async def test_callers_whose_signatures_fail() -> None:
    locks = LockOuts(ENTRIES)

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            for at in range(19):
                assert not locks.refuses(APP, f"{number}{LONG}", f"{number}{LONG}", at)

    async def lock(first: int, last: int) -> None:
        for number in range(first, last):
            for at in range(20):
                locks.refuses(APP, f"{number}{LONG}", LONG, at)

    assert await weigh(fill) / ENTRIES * CALLERS_MAX < 8 * MIB
    assert await weigh(lock) / ENTRIES * CALLERS_MAX < 8 * MIB


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_usersigs_that_were_right() -> None:
    world = World()
    await world.open()
    authenticator = Authenticator(world.store, AppSecrets(world.vault), world.clock, ENTRIES)
    app = cast(App, await world.store.app(APP))

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            long = sign(APP, KEY, ADMIN, 10 + number, world.clock.now(), userbuf=b"x" * 2000)
            await authenticator.check(app, ADMIN, long, "192.0.2.1", 90009)

    assert await weigh(fill) / ENTRIES * VERIFIED_MAX < 5 * MIB


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_addresses_that_register() -> None:
    limit = RegistrationLimit(1, ManualClock(), Metrics(), ENTRIES)

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            limit.take(APP, f"{number}{LONG}")

    assert await weigh(fill) / ENTRIES * ADDRESSES_MAX < 5 * MIB


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_rates_of_apps() -> None:
    world = World()
    await world.open("compatible")
    app = cast(App, await world.store.app(APP))
    rates = RateLimits(world.clock, ENTRIES)
    limited = [each for each in COMMANDS if each.rate_of(app.limits)]

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            row = App(sdkappid=number, key=b"", appkey=b"")
            rates.take(row, limited[number % len(limited)])

    assert await weigh(fill) / ENTRIES * RATES_MAX < 30 * MIB


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_names_that_no_account_has() -> None:
    cache = AccountCache(ENTRIES)

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            cache.fill(0, APP, {f"{number}{LONG * 9}": None, f"{number:064}": None})

    assert await weigh(fill) / ENTRIES < 400


@pytest.mark.evidence(
    "unsigned calls leave nothing in memory, however long",
    topic="Strangers and browsers",
    planted="the identifier's length not judged under `/v1/`",
)
@pytest.mark.parametrize("letter", ["x", "%F0%9F%94%94"])
async def test_unsigned_calls_with_a_long_identifier_leave_nothing(letter: str) -> None:
    """Ten thousand of them took 600 MB that stayed."""
    world = World()
    await world.open()
    rows = v1.TaskPages(
        world.store, world.books, cast(Presence, world.presence), v1.by_bearer(world.authenticator)
    )
    books = pages.create(rows.routes())

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            for size in (60_000, 1000, 100):
                name = f"{number}{letter * (size // len(letter) + 4)}"
                query = f"sdkappid={APP}&usersig=x&contenttype=json&identifier={name}"
                code = (await world.raw("timpush/push", query=query))["ErrorCode"]
                assert code == (60002 if size == 60_000 else 60025)
            page = f"/v1/apps/{APP}/tasks?identifier={number}{letter * 1000}"
            assert (await ask(books, "GET", page, bearer="x")).json()["ErrorCode"] == 60025

    assert await weigh(fill, 60) < 30_000


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_devices_that_come_and_go() -> None:
    rig = await Rig().open()

    async def fill(first: int, last: int) -> None:
        for _ in range(first, last):
            line = rig.hub.open(Client(), LONG)
            await rig.hub.take(line, b'{"type":"ping"}')
            rig.hub.gone(line)

    assert await weigh(fill, 300) < 10_000


@pytest.mark.evidence("what strangers can fill is bounded in bytes")
async def test_reports_of_pushes_that_we_never_had() -> None:
    rig = await Rig().open()
    line, _ = await rig.connect()
    device = rig.device(line)

    async def fill(first: int, last: int) -> None:
        for number in range(first, last):
            for task_id in (f"{number}{LONG}", f"{number:x}_{APP:x}_1_1_1"):
                with pytest.raises(CallError):
                    await rig.registrar.report(device, APP, task_id, Stage.REACHED, "")

    assert await weigh(fill, 300) < 10_000


async def test_a_table_that_keeps_what_comes_is_found() -> None:
    kept: dict[str, int] = {}

    async def fill(first: int, last: int) -> None:
        kept.update({f"{number}{LONG}": number for number in range(first, last)})

    with pytest.raises(AssertionError):
        await weigh(fill, 20)
