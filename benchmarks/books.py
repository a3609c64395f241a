"""What the books of tasks cost: a look at a large push, and looks among many pushes to others.

Each row holds a large number beside a small one of the same question, so the ratio says whether the
cost grows: 1 is "not at all".
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import apsw
from pyroaring import BitMap

from benchmarks.harness import FULL, Found, Row, Sample, Size, Tell, in_turn
from tests.contract.rows import (
    NOW,
    add_accounts,
    add_app,
    add_device,
    add_task,
    lease,
    new_job,
    write,
)
from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.clock import Chance, ManualClock
from tocsin.domain.task import Block, StepEdit
from tocsin.metrics import Metrics
from tocsin.online.catch_up import CatchUp
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.tick import Ticker, Upkeep

FEW = 10
BLOCK_DEVICES = 200
CREDENTIALS = 5
LOOKS = 20
_SERIES = """
WITH RECURSIVE series(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM series LIMIT ?1)
"""
_TASKS = """
INSERT INTO task (app, number, task_id, ended_at, doc)
SELECT 1, value + 1, 'other ' || value, ?2, (SELECT doc FROM task WHERE number = 1) FROM series
"""
_INBOX = "INSERT INTO inbox (app, account, task) SELECT 1, value + 100, value + 1 FROM series"
_TALLY = "UPDATE tally SET task = ?1 + 1 WHERE app = 1"


def run(size: Size, tell: Tell) -> Found:
    """Every row; small numbers where the size is small."""
    part = size.devices / FULL.devices
    living, ended, restarted = (max(FEW, int(part * count)) for count in (10_000, 300_000, 3_000))
    blocks = max(FEW, int(part * 50_000))
    rows = [
        _row("a device connects, pushes to others under way", living, _connect, size, tell),
        _row("first look at a push's books, its blocks", blocks, _first_look, size, tell),
        _row("next look at it, its blocks", blocks, _next_look, size, tell),
        _row("a round of housekeeping, ended pushes kept", ended, _tick, size, tell),
        _row("first round after a restart, ended pushes", restarted, _restart, size, tell),
    ]
    return Found(rows)


Question = Callable[[Path, int], Coroutine[Any, Any, float]]
"""Answers the seconds of CPU, all threads of this process, that the question took."""


def _row(measure: str, many: int, ask: Question, size: Size, tell: Tell) -> Row:
    def asked(count: int) -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            return (asyncio.run(ask(Path(folder), count)) * 1e3,)

    sides = {f"{count:,}": (lambda count=count: asked(count)) for count in (FEW, many)}
    found = in_turn(sides, size.rounds, lambda text: tell(f"{measure}: {text}"))
    return Row(
        measure=f"{measure}: {many:,}",
        ours=found[f"{many:,}"][0],
        unit="ms CPU",
        beside=f"the same with {FEW}",
        other=found[f"{FEW:,}"][0],
        more_is_better=False,
    )


async def _opened(folder: Path, stack: AsyncExitStack) -> SqliteStore:
    store = SqliteStore(folder, ManualClock(NOW))
    await store.start(stack)
    return store


async def _with_others(store: SqliteStore, count: int, ended_at: float | None) -> None:
    """An app with one push, and so many others put in as rows."""
    await add_app(store, 1)
    await add_accounts(store, 1, "ann")
    await add_task(store, 1, jobs=[new_job], audience=[1])

    def insert(connection: apsw.Connection) -> None:
        with connection:
            connection.execute(_SERIES + _TASKS, (count, ended_at)).fetchall()
            if ended_at is None:
                connection.execute(_SERIES + _INBOX, (count,)).fetchall()
            connection.execute(_TALLY, (count,)).fetchall()

    await store.between(insert)


async def _connect(folder: Path, count: int) -> float:
    async with AsyncExitStack() as stack:
        store = await _opened(folder, stack)
        await _with_others(store, count, None)
        device = await add_device(store, 1, "phone", user="ann")
        clock = ManualClock(NOW)
        missed = CatchUp(store, BooksReader(store, clock), clock)
        await missed.of(1, device)
        began = time.process_time()
        for _ in range(LOOKS):
            await missed.of(1, device)
        return (time.process_time() - began) / LOOKS


async def _with_blocks(store: SqliteStore, count: int) -> None:
    await _with_others(store, 1, None)
    blocks = [
        Block(
            task=1,
            job=at,
            at=NOW,
            kind="device",
            state="sent",
            channel="apns",
            members=BitMap(_devices(at)).serialize(),
        )
        for at in range(count)
    ]
    (job,) = await lease(store)
    for at in range(0, count, 1000):
        await write(store, job, StepEdit(blocks=blocks[at : at + 1000]))


def _devices(block: int) -> range:
    """As batches of five credentials fill up beside each other: every fifth of a thousand."""
    batch, place = divmod(block, CREDENTIALS)
    first = batch * BLOCK_DEVICES * CREDENTIALS + place
    return range(first, first + BLOCK_DEVICES * CREDENTIALS, CREDENTIALS)


async def _first_look(folder: Path, count: int) -> float:
    async with AsyncExitStack() as stack:
        store = await _opened(folder, stack)
        await _with_blocks(store, count)
        reader = BooksReader(store, ManualClock(NOW))
        began = time.process_time()
        await reader.begun(1, 1)
        return time.process_time() - began


async def _next_look(folder: Path, count: int) -> float:
    async with AsyncExitStack() as stack:
        store = await _opened(folder, stack)
        await _with_blocks(store, count)
        reader = BooksReader(store, ManualClock(NOW))
        await reader.begun(1, 1)
        began = time.process_time()
        for _ in range(LOOKS):
            await reader.begun(1, 1)
        return (time.process_time() - began) / LOOKS


def _ticker(store: SqliteStore) -> Ticker:
    clock, chance = ManualClock(NOW), Chance(1)
    channels = OneChannel(PlainChannel(Vendor(clock, chance, Trouble()), replaces=True))
    indexer = Indexer(store, MemorySnapshots())
    return Ticker(store, indexer, channels, clock=clock, metrics=Metrics(), upkeep=Upkeep())


async def _tick(folder: Path, count: int) -> float:
    async with AsyncExitStack() as stack:
        store = await _opened(folder, stack)
        await _with_others(store, count, NOW)
        ticker = _ticker(store)
        await ticker.turn()
        began = time.process_time()
        for _ in range(LOOKS):
            await ticker.turn()
        return (time.process_time() - began) / LOOKS


async def _restart(folder: Path, count: int) -> float:
    async with AsyncExitStack() as stack:
        store = await _opened(folder, stack)
        await _with_others(store, count, NOW)
        await _ticker(store).turn()
    began = time.process_time()
    async with AsyncExitStack() as stack:
        await _ticker(await _opened(folder, stack)).turn()
    return time.process_time() - began
