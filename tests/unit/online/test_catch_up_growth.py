"""What a connecting device costs does not grow with other people's pushes."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.contract.rows import add_accounts, add_app, add_device, add_task, lease, new_job, write
from tocsin.adapters.memory import MemoryStore
from tocsin.clock import ManualClock
from tocsin.domain.task import Phase, StepEdit
from tocsin.online.catch_up import CatchUp
from tocsin.pipeline.books import BooksReader
from tocsin.store import INBOX_ACCOUNTS_MAX, Store


class Counting:
    """A store that counts which verbs it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, verb: str) -> Any:
        self.asked[verb] += 1
        return getattr(self._store, verb)


async def cost(others: int, *, is_broad: bool) -> tuple[Counter[str], int]:
    """What the store is asked when a device connects that has one push of its own, and its offers.

    The second device: the first has had the frozen audiences read.
    """
    clock = ManualClock()
    store = MemoryStore(clock)
    async with AsyncExitStack() as stack:
        await store.start(stack)
        await add_app(store, 1)
        await add_accounts(store, 1, "ann")
        account = (await store.accounts(1, ["ann"]))[0]
        assert account is not None
        device = await add_device(store, 1, "phone", user="ann")
        accounts = range(1000, 1001 + (INBOX_ACCOUNTS_MAX if is_broad else 0))
        for number in range(others):
            await add_task(store, 1, audience=accounts, text=f"other {number}")
        task = await add_task(store, 1, jobs=[new_job], audience=[account.number], text="mine")
        (job,) = await lease(store)
        expires_at = clock.now() + 60
        mine = replace(task, phase=Phase.RUNNING, ttl_s=60, expires_at=expires_at)
        await write(store, job, StepEdit(is_done=True, task=mine))
        counting = Counting(store)
        counted = cast(Store, counting)
        offers = CatchUp(counted, BooksReader(counted, clock), clock)
        for _ in range(2):
            counting.asked.clear()
            found = await offers.of(1, device)
        return counting.asked, len(found)


@pytest.mark.evidence(
    "a device that connects costs the same among ten pushes to others and among ten thousand",
)
@pytest.mark.parametrize("is_broad", [False, True], ids=["few accounts", "many accounts"])
async def test_a_connecting_device_asks_no_more_among_a_thousand_pushes_than_among_ten(
    *, is_broad: bool
) -> None:
    few, many = [await cost(others, is_broad=is_broad) for others in (10, 1000)]
    assert few == many
    asked, offered = few
    assert offered == 1
    assert max(asked.values()) <= 2
