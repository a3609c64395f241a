"""What a push reads in the event loop's own thread, between two turns of the loop.

Large reads belong to another thread. The bounds are those of a page of a task's books, and hold
for any number of devices: two sizes are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rows import add_app
from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tests.unit.api.world import Connected
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.adapters.sqlite.accounts import write_accounts
from tocsin.adapters.sqlite.devices import write_devices
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.adapters.sqlite.tables import Tables
from tocsin.clock import Chance, ManualClock, SystemClock
from tocsin.domain.account import Account, AccountsEdit, Change
from tocsin.domain.audience import Condition
from tocsin.domain.device import Device, Route
from tocsin.domain.message import Message
from tocsin.domain.task import Task
from tocsin.metrics import Metrics
from tocsin.online.catch_up import CatchUp
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.work import Tools
from tocsin.store import LINES_BYTES_MAX, LINES_MAX

APP = 1


class Counting(Tables):
    """Counts the rows and bytes that are read since somebody looked."""

    rows = 0
    size = 0

    def all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [self._counted(row) for row in super().all(sql, *values)]

    def one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        row = super().one(sql, *values)
        return row and self._counted(row)

    def each(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        return map(self._counted, super().each(sql, *values))

    def _counted(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        self.rows += 1
        self.size += sum(len(each) for each in row if isinstance(each, bytes | str))
        return row


class CountingLoop(asyncio.SelectorEventLoop):
    """Notes the most that was read in one of its turns."""

    tables: Counting | None = None
    rows_max = 0
    size_max = 0

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.tables is not None:
            self.rows_max = max(self.rows_max, self.tables.rows)
            self.size_max = max(self.size_max, self.tables.size)
            self.tables.rows = self.tables.size = 0


def _add_phones(tables: Tables, count: int) -> None:
    """As many accounts with a phone each, in one step."""
    people = [Account(number, f"u{number}") for number in range(1, count + 1)]
    names = [Account(count + number, f"R{number}", type=1) for number in range(1, count + 1)]
    accounts = [*people, *names]
    changes = [Change(each.number, live=1) for each in accounts]
    write_accounts(tables, APP, AccountsEdit(accounts=accounts, changes=changes), 0.0)
    devices = [
        Device(
            number=number,
            registration_id=f"R{number}",
            account=count + number,
            user=number,
            user_name=f"u{number}",
            route=Route("apns", 1, f"token-{number}"),
        )
        for number in range(1, count + 1)
    ]
    write_devices(tables, APP, devices)


async def push_to_all(folder: Path, count: int) -> tuple[int, int]:
    """The most rows and bytes that were read in one turn, while a push went to so many phones."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    clock, chance = ManualClock(), Chance(1)
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, clock)
        await store.start(stack)
        await add_app(store, APP)
        await store._write(lambda tables: _add_phones(tables, count))
        loop.tables = Counting(store._near.connection, store._near.cache)
        store._near = loop.tables
        books = BooksReader(store, clock)
        channels = OneChannel(PlainChannel(Vendor(clock, chance, Trouble()), replaces=True))
        bus, presence, metrics = LocalBus(), Connected(), Metrics()
        app = await store.app(APP)
        assert app is not None
        accepting = Accepting(
            store, bus, presence, channels, clock=clock, chance=chance, metrics=metrics
        )
        tools = Tools(
            store=store,
            channels=channels,
            presence=presence,
            clock=clock,
            chance=chance,
            indexer=Indexer(store, MemorySnapshots()),
            metrics=metrics,
            correlation_key=b"k" * 32,
            books=books,
        )
        working = asyncio.create_task(Dispatcher("worker", tools, bus, Pace(poll_s=0.25)).run())
        ask = PushAsk(
            kind="push",
            identifier="admin",
            msg_random=1,
            message=Message(title="t", desc="d"),
            condition=Condition(),
        )
        accepted = await accepting.push(app, ask)
        task: Task | None = None
        while task is None or task.ended_at is None:
            await clock.advance(0.05)
            # The store's threads are real.
            await SystemClock().sleep(0.001)
            task = await store.task_by_id(APP, accepted.task_id)
        device = await store.device(APP, "R1")
        assert device is not None
        assert await CatchUp(store, books, clock).of(APP, device) == []
        whole = await books.of(APP, task.number)
        assert whole is not None
        assert (await books.ledger(whole)).states["sent"] == count
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return loop.rows_max, loop.size_max


@pytest.mark.evidence(
    "no turn of the event loop reads more for a push to many devices than for one to few",
    topic="Books",
    planted="the books read in the loop's own thread",
)
def test_a_turn_of_the_loop_reads_no_more_for_many_devices(tmp_path: Path) -> None:
    found = []
    for count in (1_000, 8_000):
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            found.append(runner.run(push_to_all(tmp_path / str(count), count)))
    (rows, size), (rows_of_many, size_of_many) = found
    assert max(rows, rows_of_many) <= LINES_MAX
    assert max(size, size_of_many) <= LINES_BYTES_MAX
    # How many jobs fall into a turn varies a little, and not with the size of the push.
    assert rows_of_many <= 2 * rows
    assert size_of_many <= 2 * size
