"""Window: how many devices of a credential may be begun and not settled at once.

What has begun when a machine dies has to be repeated, or is in doubt. So no more begins than keeps
the credential's requests busy: a crash doubts what was under way, and not what waited behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from tocsin.domain.task import Lane

Place = tuple[int, int]
"""App and certificate ID."""
Most = Callable[[], int]
"""How many may be begun, asked anew each time."""
_Waiter = tuple[int, Most, asyncio.Future[int]]
"""Devices, how many may be begun, and what lets so many of them in."""


class Window:
    """The windows of all credentials that have jobs under way."""

    def __init__(self) -> None:
        self._lines: dict[Place, _Line] = {}

    @contextlib.asynccontextmanager
    async def of(self, place: Place, lane: Lane, count: int, most: Most) -> AsyncIterator[int]:
        """Holds places for `count` devices or the first of them, after those before; how many.

        Urgent work overtakes bulk. What does not fit as a whole begins in parts of half a window:
        while one is answered, another is sent. Neither lane keeps the other out: the only job of
        its lane may always begin.
        """
        line = self._lines.setdefault(place, _Line())
        held = await line.enter(lane, count, most)
        try:
            yield held
        finally:
            line.leave(lane, held)
            if line.is_empty:
                self._lines.pop(place, None)

    def look(self) -> None:
        """Let in who fits by now: how many may be begun changes by itself, too."""
        for line in list(self._lines.values()):
            line.let_in()


class _Line:
    """One credential's window, and who waits for it."""

    def __init__(self) -> None:
        self._begun = dict.fromkeys(Lane, 0)
        self._waiting: dict[Lane, deque[_Waiter]] = {lane: deque() for lane in Lane}
        """The oldest first."""

    @property
    def is_empty(self) -> bool:
        return not any(self._begun.values()) and not any(self._waiting.values())

    async def enter(self, lane: Lane, count: int, most: Most) -> int:
        """Wait for places; answers how many there are."""
        if not self._waiting[lane] and (fitting := self._fitting(lane, count, most)):
            self._begun[lane] += fitting
            return fitting
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((count, most, place))
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._begun[lane] -= place.result()
            self.let_in()
            raise

    def leave(self, lane: Lane, count: int) -> None:
        self._begun[lane] -= count
        self.let_in()

    def let_in(self) -> None:
        """Let in those who fit, the oldest of each lane first."""
        for lane in sorted(Lane):
            waiting = self._waiting[lane]
            while waiting:
                count, most, place = waiting[0]
                if not place.done():
                    fitting = self._fitting(lane, count, most)
                    if not fitting:
                        break
                    self._begun[lane] += fitting
                    place.set_result(fitting)
                waiting.popleft()

    def _fitting(self, lane: Lane, count: int, most: Most) -> int:
        """How many of so many devices may begin now: all, a part, or none."""
        begun_max = most()
        free = begun_max - sum(self._begun.values())
        if count <= free:
            return count
        part = min(count, max(1, begun_max // 2))
        return part if part <= free or not self._begun[lane] else 0
