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
_Waiter = tuple[int, Most, asyncio.Future[None]]
"""Devices, how many may be begun, and what lets them in."""


class Window:
    """The windows of all credentials that have jobs under way."""

    def __init__(self) -> None:
        self._lines: dict[Place, _Line] = {}

    @contextlib.asynccontextmanager
    async def of(self, place: Place, lane: Lane, count: int, most: Most) -> AsyncIterator[None]:
        """Holds `count` devices of the window, after waiting for those before it.

        Urgent work overtakes bulk. A job is never refused for its length, and neither lane keeps
        the other out: the only job of its lane may always begin.
        """
        line = self._lines.setdefault(place, _Line())
        await line.enter(lane, count, most)
        try:
            yield
        finally:
            line.leave(lane, count)
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

    async def enter(self, lane: Lane, count: int, most: Most) -> None:
        if not self._waiting[lane] and self._fits(lane, count, most):
            self._begun[lane] += count
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((count, most, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._begun[lane] -= count
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
                    if not self._fits(lane, count, most):
                        break
                    self._begun[lane] += count
                    place.set_result(None)
                waiting.popleft()

    def _fits(self, lane: Lane, count: int, most: Most) -> bool:
        return not self._begun[lane] or sum(self._begun.values()) + count <= most()
