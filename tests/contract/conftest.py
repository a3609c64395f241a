"""Every adapter of a port: each test of the contract runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.contract.rows import add_app
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.clock import ManualClock
from tocsin.store import Store

STORES = ("memory", "sqlite")


async def open_store(name: str, folder: Path, clock: ManualClock, stack: AsyncExitStack) -> Store:
    if name == "sqlite":
        opened = SqliteStore(folder, clock)
        await opened.start(stack)
        return opened
    store = MemoryStore(clock)
    await store.start(stack)
    return store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Store]:
    """A store with the apps 1 and 2."""
    async with AsyncExitStack() as stack:
        opened = await open_store(request.param, tmp_path, clock, stack)
        await add_app(opened, 1)
        await add_app(opened, 2)
        yield opened
