"""How late the event loop is: the time that something held it, which every caller waits for."""

from __future__ import annotations

from tocsin.clock import Clock
from tocsin.metrics import Metrics

LOOK_EVERY_S = 0.5


class LoopLag:
    """Measures how much later than due the loop comes to a look, twice a second."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            due_at = self._clock.monotonic() + LOOK_EVERY_S
            await self._clock.sleep(LOOK_EVERY_S)
            lag_s = max(0.0, self._clock.monotonic() - due_at)
            self._metrics.observe("loop_lag_seconds", lag_s)
