"""Housekeeping when the machine will not have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.clock import ManualClock
from tocsin.domain.app import App
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
