"""Housekeeping when the machine will not have it."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.clock import Chance, ManualClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.metrics import Metrics
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.tick import DAY_S, Ticker, Upkeep
from tocsin.ports import Snapshot


class FullDisk(MemorySnapshots):
    """Snapshots that one app has no room for."""

    saved = 0

    async def save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        if app == 1:
            raise OSError("no space left on device")
        self.saved = app
        await super().save(app, changes, gone)


def channels_of(clock: ManualClock) -> OneChannel:
    return OneChannel(PlainChannel(Vendor(clock, Chance(1), Trouble()), replaces=True))


def ticker_of(
    store: MemoryStore,
    indexer: Indexer,
    clock: ManualClock,
    *,
    channels: OneChannel | None = None,
    metrics: Metrics | None = None,
    log_kept_s: float = Upkeep().log_kept_s,
) -> Ticker:
    return Ticker(
        store,
        indexer,
        channels or channels_of(clock),
        clock=clock,
        metrics=metrics or Metrics(),
        upkeep=Upkeep(log_kept_s=log_kept_s),
    )


@pytest.mark.evidence(
    "a full disk puts housekeeping off and ends nothing",
    topic="Books",
    planted="only the store's own faults forgiven",
)
async def test_a_full_disk_puts_a_round_off_and_ends_nothing() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    first = App(sdkappid=1, key=b"", appkey=b"", admins=("admin",))
    second = App(sdkappid=2, key=b"", appkey=b"", admins=("admin",))
    await store.update_app(1, lambda _: first)
    await store.update_app(2, lambda _: second)
    snapshots = FullDisk()
    ticker = ticker_of(store, Indexer(store, snapshots), clock)
    await ticker.turn()
    assert snapshots.saved == 2


@pytest.mark.evidence(
    "the log is cut only where an old enough snapshot stood",
    topic="Books",
    planted="cut at the newest snapshot; cut whatever its age; one row too many cut",
)
async def test_the_log_is_cut_where_a_snapshot_of_a_week_ago_stood() -> None:
    """Younger rows stay for those who follow the log, and what is cut the snapshot knows."""
    clock = ManualClock()
    store = MemoryStore(clock)
    row = App(sdkappid=1, key=b"", appkey=b"", admins=("admin",))
    await store.update_app(1, lambda _: row)
    snapshots = MemorySnapshots()
    ticker = ticker_of(store, Indexer(store, snapshots), clock, log_kept_s=100)

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


@pytest.mark.evidence("a certificate that has ended is not tried, and its end is warned of")
async def test_a_credential_that_ends_is_warned_of_once_a_day_for_a_month(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Whichever level an earlier test has left.
    caplog.set_level("WARNING", logger="tocsin")
    clock = ManualClock()
    store = MemoryStore(clock)
    await store.update_app(1, lambda _: App(sdkappid=1, key=b"", appkey=b""))
    channels, metrics = channels_of(clock), Metrics()
    channels.ends = {3: clock.now() + 31 * DAY_S}
    indexer = Indexer(store, MemorySnapshots())
    ticker = ticker_of(store, indexer, clock, channels=channels, metrics=metrics)

    async def warned() -> list[str]:
        caplog.clear()
        await ticker.turn()
        return [str(record.msg) for record in caplog.records]

    assert await warned() == []
    assert metrics.value("credential_expires_seconds", credential="1:3") == 31 * DAY_S
    await clock.advance(DAY_S)
    (told,) = await warned()
    assert "credential set 3" in told
    assert "'days_left': 30" in told
    assert await warned() == []
    await clock.advance(DAY_S)
    assert len(await warned()) == 1
    await clock.advance(30 * DAY_S)
    (told,) = await warned()
    assert "has expired" in told
    assert metrics.value("credential_expires_seconds", credential="1:3") < 0
