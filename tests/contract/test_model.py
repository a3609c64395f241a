"""The same random steps on memory and SQLite: every answer and every view must be the same."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.model import OPERATIONS, Player
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.sqlite.store import SqliteStore, StoreOptions
from tocsin.clock import ManualClock
from tocsin.domain.account import AccountsEdit, AccountsView, TermKey
from tocsin.domain.task import AcceptEdit, AcceptView, Job
from tocsin.store import Store

Operation = tuple[str, int]

SEQUENCES = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 2**20)), min_size=20, max_size=90
)


async def compare(sequence: Sequence[Operation], planted: type[MemoryStore] | None = None) -> None:
    """Play a sequence on memory and on SQLite (or on a planted fault) and compare."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        one, two = ManualClock(), ManualClock()
        first = Player(MemoryStore(one), one)
        second = Player(await open_other(folder, two, stack, planted), two)
        await first.begin()
        await second.begin()
        for place, (name, seed) in enumerate(sequence):
            expected = await first.play(name, seed)
            found = await second.play(name, seed)
            assert found == expected, f"step {place}: {name} {seed}"
            if place % 10 == 0 or place == len(sequence) - 1:
                assert await second.everything() == await first.everything(), f"after {place}"


async def open_other(
    folder: Path, clock: ManualClock, stack: AsyncExitStack, planted: type[MemoryStore] | None
) -> Store:
    if planted is not None:
        return planted(clock)
    # A cache of a few accounts, so that documents also come and go.
    opened = SqliteStore(folder, clock, options=StoreOptions(accounts_cached_max=6))
    await opened.start(stack)
    return opened


@pytest.mark.evidence(
    "memory and SQLite mean the same",
    topic="Books",
    planted="devices of a deleted account left in SQLite; test_model.py plants more",
)
@pytest.mark.evidence(
    "nothing is left of a removed app, another keeps all, and an app that is added again "
    "meets nothing old",
)
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(SEQUENCES)
def test_memory_and_sqlite_mean_the_same(sequence: list[Operation]) -> None:
    asyncio.run(compare(sequence))


class Amnesiac(MemoryStore):
    """Planted: a lapsed job's lease can be extended by whoever had it before."""

    async def extend(self, app: int, jobs: Sequence[Job], *, lease_s: float) -> list[int]:
        rows = self._rows_of(app).jobs
        ours = [job.number for job in jobs if job.app == app and job.number in rows]
        held = [rows[number].job for number in ours if rows[number].lessee is not None]
        return await super().extend(app, held, lease_s=lease_s)


class Renewing(MemoryStore):
    """Planted: asking with a de-dup key makes it last longer."""

    async def accept(
        self,
        app: int,
        dedup: str,
        names: Sequence[str],
        decide: Callable[[AcceptView], AcceptEdit],
    ) -> Any:
        dedups = self._rows_of(app).dedups
        if dedup in dedups:
            dedups[dedup] = (self._clock.now() - 0.5, dedups[dedup][1])
        return await super().accept(app, dedup, names, decide)


class Leaky(MemoryStore):
    """Planted: deleting an account leaves the devices that were bound to it."""

    async def update_accounts(
        self,
        app: int,
        names: Sequence[str],
        keys: Sequence[TermKey],
        change: Callable[[AccountsView], AccountsEdit],
    ) -> Any:
        owned = dict(self._rows_of(app).owned)
        self._rows_of(app).owned.clear()
        try:
            return await super().update_accounts(app, names, keys, change)
        finally:
            self._rows_of(app).owned.update(owned)


@pytest.mark.evidence("memory and SQLite mean the same")
@pytest.mark.parametrize("planted", [Amnesiac, Renewing, Leaky])
async def test_a_planted_fault_is_noticed(planted: type[MemoryStore]) -> None:
    for seed in range(300):
        rng = random.Random(seed)
        sequence = [(rng.choice(OPERATIONS), rng.randrange(2**20)) for _ in range(60)]
        try:
            await compare(sequence, planted)
        except AssertionError:
            return
    pytest.fail("nobody noticed")
