"""The loop's lag is what a look comes too late."""

from __future__ import annotations

import asyncio

from tocsin.clock import ManualClock
from tocsin.metrics import Metrics
from tocsin.service.loop_lag import LOOK_EVERY_S, LoopLag


class LateClock(ManualClock):
    """Sleeps for a while more than it is asked."""

    late_s = 0.0

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s + self.late_s)


def lines(metrics: Metrics) -> list[str]:
    text = metrics.render().decode()
    return [line for line in text.splitlines() if line.startswith("tocsin_loop_lag_seconds_")]


async def test_each_look_notes_how_late_it_came() -> None:
    clock, metrics = LateClock(), Metrics()
    looking = asyncio.create_task(LoopLag(clock, metrics).run())
    await clock.advance(3 * LOOK_EVERY_S)
    assert "tocsin_loop_lag_seconds_count 3.0" in lines(metrics)
    assert "tocsin_loop_lag_seconds_sum 0.0" in lines(metrics)
    clock.late_s = 2.0
    await clock.advance(2 * (LOOK_EVERY_S + 2.0))
    total = next(line for line in lines(metrics) if "_sum" in line)
    assert 2.0 <= float(total.split()[1]) <= 4.0
    looking.cancel()
