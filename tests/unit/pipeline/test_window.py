from __future__ import annotations

import asyncio

import pytest

from tocsin.clock import settle_loop
from tocsin.domain.task import Lane
from tocsin.pipeline.window import Window

PLACE = (1, 1)


class Jobs:
    """Jobs that stay in the window until they are told to leave."""

    def __init__(self) -> None:
        self.window = Window()
        self.begun: list[str] = []
        self.held: dict[str, int] = {}
        self.most = 400
        self._doors: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, count: int = 200, lane: Lane = Lane.BULK) -> None:
        self._doors[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._work(name, count, lane))
        await settle_loop()

    async def _work(self, name: str, count: int, lane: Lane) -> None:
        async with self.window.of(PLACE, lane, count, lambda: self.most) as held:
            self.held[name] = held
            self.begun.append(name)
            await self._doors[name].wait()

    async def end(self, name: str) -> None:
        self._doors[name].set()
        await settle_loop()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.mark.evidence(
    "no more is begun than what is on the wire keeps busy",
    topic="A push outlives every outage",
    planted="no window",
)
async def test_no_more_is_begun_than_the_channel_keeps_busy(jobs: Jobs) -> None:
    for name in ("a", "b", "c", "d"):
        await jobs.start(name)
    assert jobs.begun == ["a", "b"]
    await jobs.end("a")
    assert jobs.begun == ["a", "b", "c"]
    jobs.most = 800
    await jobs.end("b")
    assert jobs.begun == ["a", "b", "c", "d"]


@pytest.mark.evidence("what has no place to begin goes on by itself")
async def test_what_does_not_fit_as_a_whole_begins_in_parts_of_half_a_window(jobs: Jobs) -> None:
    await jobs.start("a", 300)
    await jobs.start("b", 300)
    assert jobs.begun == ["a"], "not in whatever is left"
    jobs.most = 500
    jobs.window.look()
    await settle_loop()
    # Half of the window is more than what is free.
    assert jobs.begun == ["a"]
    await jobs.end("a")
    assert jobs.held["b"] == 300
    await jobs.start("c", 5000)
    assert jobs.begun == ["a", "b"]
    jobs.most = 600
    jobs.window.look()
    await settle_loop()
    assert (jobs.begun, jobs.held["c"]) == (["a", "b", "c"], 300)


async def test_urgent_work_overtakes_bulk_and_keeps_it_not_out(jobs: Jobs) -> None:
    await jobs.start("bulk 1", 400)
    await jobs.start("bulk 2", 400)
    await jobs.start("urgent 1", 1, Lane.URGENT)
    await jobs.start("urgent 2", 1, Lane.URGENT)
    assert jobs.begun == ["bulk 1", "urgent 1"]
    await jobs.end("bulk 1")
    assert jobs.begun == ["bulk 1", "urgent 1", "urgent 2", "bulk 2"]


async def test_whoever_gives_up_waiting_leaves_no_place_taken(jobs: Jobs) -> None:
    for name in ("a", "b", "c", "d"):
        await jobs.start(name)
    jobs.tasks["c"].cancel()
    await settle_loop()
    await jobs.end("a")
    assert jobs.begun == ["a", "b", "d"]
    for name in ("b", "d"):
        await jobs.end(name)
    assert not jobs.window._lines


async def test_whoever_gives_up_just_as_it_is_let_in_leaves_its_place(jobs: Jobs) -> None:
    for name in ("a", "b", "c", "d"):
        await jobs.start(name)
    jobs._doors["a"].set()
    await asyncio.sleep(0)
    jobs.tasks["c"].cancel()
    await settle_loop()
    assert "d" in jobs.begun or "c" in jobs.begun
    for name in ("b", "d"):
        await jobs.end(name)
    assert not jobs.window._lines
