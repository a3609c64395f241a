"""Time and chance, handed in: the only file that reads the clock or the dice.

Everything that waits, stamps or draws takes a `Clock` or a `Chance`, so a test can run hours in
a millisecond and a failure is a seed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since the epoch, and a way to wait for them to pass."""

    def now(self) -> float:
        """Unix time in seconds, with fractions."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards: for spans, never for stamps."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return once `delay_s` seconds of this clock have passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class ManualClock:
    """A clock that moves only when `advance` is called: what tests of laws with times run on."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + delay_s, next(self._order), wake))
        await wake

    async def advance(self, delay_s: float) -> None:
        """Move on by `delay_s` seconds, waking sleepers in order and letting each run."""
        end = self._now + delay_s
        await settle_loop()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
            await settle_loop()
        self._now = end
        await settle_loop()


async def settle_loop(turns: int = 20) -> None:
    """Give every ready coroutine up to `turns` turns of the event loop, until none is ready."""
    # asyncio's own loop says what is ready; another loop is given all its turns.
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    for _ in range(turns):
        await asyncio.sleep(0)
        if ready is not None and not ready:
            return


class Chance:
    """Randomness from one seed; without a seed it is the system's."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()  # noqa: S311

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def bits(self, count: int) -> int:
        """A number of `count` random bits."""
        return self._random.getrandbits(count)


def secret_bytes(count: int) -> bytes:
    """`count` bytes fit for keys and secrets; never seeded."""
    return secrets.token_bytes(count)
