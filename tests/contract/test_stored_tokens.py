"""The data step that normalises stored tokens, on a folder that an earlier release made."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from tests.contract.folders.make import FCM, apns, subscription
from tocsin.adapters.sqlite.devices import digest
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.channels.registry import normal_route
from tocsin.clock import ManualClock
from tocsin.domain.device import Device, Route
from tocsin.domain.tokens import Normalised
from tocsin.domain.webpush import subscription_text
from tocsin.errors import StoreError
from tocsin.pipeline.stored_tokens import normalise_stored_tokens
from tocsin.store import Store

EARLIER = Path(__file__).parent / "folders" / "tokens_as_told.sql"
DEVICES = 17
EXPECTED: dict[str, str | None] = {
    "a-first": None,
    "a-last": apns("a"),
    "b-alone": apns("b"),
    "c-first": None,
    "c-last": apns("c"),
    "too-short": None,
    "no-hex": None,
    "google": FCM,
    "list": None,
    "browser-first": None,
    "browser-last": subscription_text(subscription(1)),
    "browser-port": subscription_text(subscription(2)),
    "calls-only": None,
    "nothing": None,
    "f-development": None,
    "f-production": apns("f"),
}
"""The token that each device of app 1 has afterwards."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder as that release left it."""
    connection = apsw.Connection(str(tmp_path / DATABASE))
    connection.execute(EARLIER.read_text("utf-8"))
    connection.close()
    return tmp_path


async def opened(folder: Path, stack: AsyncExitStack) -> SqliteStore:
    store = SqliteStore(folder, ManualClock())
    await store.start(stack)
    return store


class Failing:
    """A store whose disk is full from its n-th page on."""

    def __init__(self, store: Store, pages: int) -> None:
        self._store = store
        self._pages = pages

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def update_devices(self, *asked: Any) -> Any:
        self._pages -= 1
        if self._pages < 0:
            raise StoreError("planted")
        return await self._store.update_devices(*asked)


async def devices_of(store: Store, app: int = 1) -> dict[str, Device]:
    found = {}
    for account in await store.scan_accounts(app, 0, 100):
        device = await store.device(app, account.name)
        if device is not None:
            found[device.registration_id] = device
    return found


async def tokens_of(store: Store) -> dict[str, str | None]:
    devices = await devices_of(store)
    return {name: it.route.token if it.route else None for name, it in devices.items()}


@pytest.mark.evidence(
    "stored tokens of an earlier release are normalised before anything is served; the "
    "newest registration keeps a doubled one",
    topic="Books",
    planted="the oldest registration kept; an impossible token kept; the step left out of "
    "the start",
)
async def test_each_token_has_one_spelling_and_one_device(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        store = await opened(folder, stack)
        before = await devices_of(store)
        assert await store.unchecked(1) + await store.unchecked(2) == DEVICES
        counts = await normalise_stored_tokens(store, normal_route)
        assert counts == Normalised(devices=17, respelled=7, doubled=4, dropped=4)
        after = await devices_of(store)
        assert await tokens_of(store) == EXPECTED
        for name, device in after.items():
            is_left = (before[name].route is None) == (device.route is None)
            assert device.epoch == before[name].epoch + (0 if is_left else 1)
            assert device.route_at == before[name].route_at
            if device.route is not None:
                assert await store.token_owners(1, [device.route]) == [device]
        calls = after["calls-only"]
        assert (calls.voip_token, calls.live_tokens) == (apns("e"), {"ride": apns("e")})
        (other,) = (await devices_of(store, 2)).values()
        assert other.route == Route("apns", 1, apns("a"))


async def test_it_is_done_once_and_told(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    async with AsyncExitStack() as stack:
        store = await opened(folder, stack)
        await normalise_stored_tokens(
            store, normal_route, page=5, progress=lambda done, total: told.append((done, total))
        )
        assert told == [(5, 17), (10, 17), (15, 17), (16, 17), (17, 17)]
        assert await normalise_stored_tokens(store, normal_route) == Normalised()
    async with AsyncExitStack() as stack:
        store = await opened(folder, stack)
        assert await normalise_stored_tokens(store, normal_route) == Normalised()


@pytest.mark.evidence(
    "that step goes on where it was stopped, and finds what an earlier release writes later",
    topic="Books",
    planted="only rows that were never looked at searched for",
)
@pytest.mark.parametrize("page", [1, 4])
async def test_stopped_at_any_page_it_goes_on_at_the_next_start(folder: Path, page: int) -> None:
    """Each start does one page more than the last one, and is then cut off."""
    starts = 0
    while True:
        async with AsyncExitStack() as stack:
            store = await opened(folder, stack)
            left = await store.unchecked(1) + await store.unchecked(2)
            failing: Any = Failing(store, starts)
            try:
                await normalise_stored_tokens(failing, normal_route, page=page)
            except StoreError:
                done = left - await store.unchecked(1) - await store.unchecked(2)
                assert done <= starts * page
            else:
                tokens = {
                    name: it.route and it.route.token
                    for name, it in (await devices_of(store)).items()
                }
                assert tokens == EXPECTED
                break
        starts += 1
    assert starts > 2


async def test_told_to_end_it_leaves_the_rest(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        store = await opened(folder, stack)
        answers = iter([False, False, True, True, True])
        counts = await normalise_stored_tokens(
            store, normal_route, page=3, is_ended=lambda: next(answers)
        )
        assert counts.devices == 6
        assert await store.unchecked(1) == DEVICES - 1 - 6


@pytest.mark.evidence(
    "that step goes on where it was stopped, and finds what an earlier release writes later",
)
async def test_what_an_earlier_release_writes_afterwards_is_found_again(folder: Path) -> None:
    """Its statements name their columns, so it can serve the newer folder, and no row is lost."""
    async with AsyncExitStack() as stack:
        await normalise_stored_tokens(await opened(folder, stack), normal_route)
    connection = apsw.Connection(str(folder / DATABASE))
    told = ["apns", 1, apns("a").upper(), "production"]
    _as_earlier(connection, "nothing", {"route": told, "route_at": 2e9})
    _as_earlier(connection, "google", {"seen_at": 2e9})
    _as_earlier(connection, "browser-last", {"seen_at": 2e9})
    connection.close()
    async with AsyncExitStack() as stack:
        store = await opened(folder, stack)
        assert await store.unchecked(1) == 2
        counts = await normalise_stored_tokens(store, normal_route)
        assert counts == Normalised(devices=2, respelled=2, doubled=1)
        assert await tokens_of(store) == EXPECTED | {"a-last": None, "nothing": apns("a")}


def _as_earlier(connection: apsw.Connection, name: str, changed: dict[str, Any]) -> None:
    """Write a device as release 0.1.0 did: it knows no identity and no other column."""
    ((doc,),) = connection.execute("SELECT doc FROM device WHERE registration_id = ?", (name,))
    told = {**msgspec.json.decode(doc), **changed}
    told["route"] = told["route"][:4]
    channel, _, token, environment = told["route"]
    route = digest(Route(channel, 0, token, environment))
    row = (told["account"], told["user"], route, msgspec.json.encode(told).decode(), name)
    connection.execute(
        "UPDATE device SET account = ?, user = ?, route = ?, doc = ? WHERE registration_id = ?", row
    )
