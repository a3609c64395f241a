"""kill -9 in the middle of a push: nothing is lost, and who was served twice is in the books."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.task_books import read_books
from tests.wire.served import APP, client_of, make_app, opened, people, start, token_of
from tocsin.clock import SystemClock
from tocsin.domain.books import TaskSets
from tocsin.domain.outcome import State
from tocsin.domain.task import Phase
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.store import Store

DEVICES = 20_000
KILLS = 4


async def until(is_so: Callable[[], Awaitable[bool]], look_every_s: float) -> None:
    """Look at another process until it has come so far; it has no way to tell us."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await is_so():
                return
            await SystemClock().sleep(look_every_s)


async def until_accepted(sandbox: Sandbox, count: int) -> None:
    async def has() -> bool:
        return sandbox.log.counts().accepted >= count

    await until(has, 0.02)


@pytest.mark.evidence(
    "kill -9 in a push to 20,000 devices",
    topic="The laws",
    planted="no `repeated` block",
)
@pytest.mark.slow
async def test_killed_in_the_middle_of_a_push_nothing_is_lost(tmp_path: Path) -> None:
    async with Sandbox(SandboxSettings(folder=keys_folder())) as sandbox:
        async with opened(tmp_path) as service:
            await make_app(service, sandbox)
            await people(service, DEVICES)
        process = await start(tmp_path)
        async with client_of(process) as client:
            pushed = await client.push({"Title": "t", "Desc": "d"})
        for kill in range(1, KILLS + 1):
            await until_accepted(sandbox, kill * DEVICES // (KILLS + 1))
            await process.kill()
            process = await start(tmp_path)
        async with client_of(process) as client:

            async def has_ended() -> bool:
                told = await client.task(pushed.task_id)
                return bool(told["phase"] == Phase.DONE)

            await until(has_ended, 0.1)
        await process.stop()
        async with opened(tmp_path) as service:
            task = await service.store.task_by_id(APP, pushed.task_id)
            assert task is not None
            books = await read_books(service.store, APP, task.number)
            assert books is not None
            counts = books.ledger
            assert counts.faults == []
            assert counts.planned == DEVICES
            sets = books.sets
            assert not sets.states[State.OPEN]
            assert not sets.states[State.FAILED]
            numbers = await device_numbers(service.store)
        check_log(sandbox, sets, numbers)


async def device_numbers(store: Store) -> dict[str, int]:
    found = {}
    for number in range(1, DEVICES + 1):
        device = await store.device(APP, f"R-{number}")
        assert device is not None
        found[token_of(number)] = device.number
    return found


def check_log(sandbox: Sandbox, sets: TaskSets, numbers: dict[str, int]) -> None:
    """Law 2's oracle, and: booked sent and served are the same devices, doubt apart."""
    accepted = sandbox.log.accepted_by("token")
    served = {numbers[token] for (token,) in accepted}
    twice = {numbers[token] for (token,), count in accepted.items() if count > 1}
    doubt = set(sets.states[State.IN_DOUBT])
    assert twice <= set(sets.repeated) | doubt
    assert set(sets.states[State.SENT]) <= served
    assert served - set(sets.states[State.SENT]) <= doubt
    assert len(served | doubt) == DEVICES
