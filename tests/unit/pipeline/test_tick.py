"""Housekeeping when the machine will not have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.clock import ManualClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.metrics import Metrics
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.tick import Ticker, Upkeep


class FullDisk(MemorySnapshots):
    """Snapshots that one app has no room for."""

    saved = 0

    async def save(
        self, app: int, position: int, changed: Mapping[int, bytes], gone: Collection[int]
    ) -> None:
        if app == 1:
            raise OSError("no space left on device")
        self.saved = app
        await super().save(app, position, changed, gone)


async def test_a_full_disk_puts_a_round_off_and_ends_nothing() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    first = App(sdkappid=1, key=b"", appkey=b"", admins=("admin",))
    second = App(sdkappid=2, key=b"", appkey=b"", admins=("admin",))
    await store.update_app(1, lambda _: first)
    await store.update_app(2, lambda _: second)
    snapshots = FullDisk()
    ticker = Ticker(store, Indexer(store, snapshots), clock, Metrics(), Upkeep())
    await ticker.turn()
    assert snapshots.saved == 2


async def test_the_log_is_cut_where_a_snapshot_of_a_week_ago_stood() -> None:
    """Younger rows stay for those who follow the log, and what is cut the snapshot knows."""
    clock = ManualClock()
    store = MemoryStore(clock)
    row = App(sdkappid=1, key=b"", appkey=b"", admins=("admin",))
    await store.update_app(1, lambda _: row)
    snapshots = MemorySnapshots()
    ticker = Ticker(store, Indexer(store, snapshots), clock, Metrics(), Upkeep(log_kept_s=100))

    async def positions() -> list[int]:
        return [position for position, _ in await store.changes(1, 0, 100)]

    async def born(name: str) -> None:
        await store.update_accounts(1, [name], [], import_accounts([Profile(name)], clock.now()))

    await born("ann")
    await ticker.turn()
    assert await positions() == [1]
    await clock.advance(60)
    await born("bob")
    await ticker.turn()
    assert await positions() == [1, 2]
    await clock.advance(60)
    await ticker.turn()
    assert await positions() == [2]
    await clock.advance(1000)
    await born("carl")
    await ticker.turn()
    assert await positions() == [3]
    assert len(await Indexer(store, snapshots).audience(1, Condition())) == 3
