"""What the log and the metrics say of credentials that do not send all that waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.rows import add_app
from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tocsin.adapters.memory import MemoryStore
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import Stoppage
from tocsin.metrics import Metrics
from tocsin.pipeline.stoppages import StoppageWatch


class Desk:
    """One app with one credential, and whoever looks at it."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.log = log
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.store = MemoryStore(self.clock)
        plain = PlainChannel(Vendor(self.clock, Chance(1), Trouble()), replaces=True)
        self.channels = OneChannel(plain)
        self.watch = StoppageWatch(self.store, self.channels, self.clock, self.metrics)

    async def look(self, stoppage: Stoppage | None = None) -> list[dict[str, Any]]:
        """What is logged of one look."""
        self.channels.stopped = {} if stoppage is None else {1: stoppage}
        self.log.clear()
        await self.watch.turn()
        events: list[Any] = [record.msg for record in self.log.records]
        return [dict(event) for event in events]

    def figures(self) -> dict[str, float]:
        lines = self.metrics.render().decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.startswith("tocsin_credential_")]
        return {name.removeprefix("tocsin_credential_"): float(value) for name, _, value in pairs}


@pytest.fixture
async def desk(caplog: pytest.LogCaptureFixture) -> Desk:
    caplog.set_level("INFO", logger="tocsin")
    made = Desk(caplog)
    await add_app(made.store, 1)
    return made


@pytest.mark.evidence(
    "a stopped credential is shown by the list, by the pushes that wait for it, in the log "
    "and in the metrics",
)
async def test_a_stoppage_and_its_end_are_told_once_each(desk: Desk) -> None:
    now = desk.clock.now()
    assert await desk.look() == []
    (line,) = await desk.look(Stoppage("down", "503 Shutdown", now + 12))
    assert (line["event"], line["level"]) == ("credential stopped", "warning")
    assert (line["app"], line["certificate"], line["state"]) == (1, 1, "down")
    assert (line["reason"], line["seconds"]) == ("503 Shutdown", 12)
    # A trial that failed puts the time off.
    assert await desk.look(Stoppage("down", "503 Shutdown", now + 99)) == []
    assert await desk.look(Stoppage("down", "503 Shutdown", now + 99, detail="17 ms")) == []
    (line,) = await desk.look(Stoppage("down", "500", now + 99))
    assert line["reason"] == "500"
    (line,) = await desk.look(Stoppage("paused", "429 too fast", None))
    assert (line["state"], line["seconds"]) == ("paused", None)
    (line,) = await desk.look()
    assert (line["event"], line["was"]) == ("credential sends again", "paused")
    assert await desk.look() == []


@pytest.mark.evidence(
    "a stopped credential is shown by the list, by the pushes that wait for it, in the log "
    "and in the metrics",
)
async def test_the_figures_say_which_state_and_until_when(desk: Desk) -> None:
    now = desk.clock.now()
    await desk.look(Stoppage("refused", "403", now + 600))
    name = 'credential="1:1"'
    assert desk.figures() == {
        f'stopped{{{name},state="refused"}}': 1,
        f"tried_at_seconds{{{name}}}": now + 600,
    }
    await desk.look(Stoppage("doubtful", "no answers", float("inf")))
    assert desk.figures() == {
        f'stopped{{{name},state="refused"}}': 0,
        f'stopped{{{name},state="doubtful"}}': 1,
        f"tried_at_seconds{{{name}}}": 0,
    }
    await desk.look()
    assert set(desk.figures().values()) == {0}
