"""One read for a crowd: whoever asks before it begins shares it, and gets nothing old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tocsin.clock import Clock

REST = 4.0
"""A read rests this many times as long as it took before the next one of the same key begins."""
REST_MAX_S = 1.0

Key = TypeVar("Key")
Value = TypeVar("Value")


class SharedRead(Generic[Key, Value]):
    """A read by key that runs once at a time for each key."""

    def __init__(self, read: Callable[[Key], Awaitable[Value]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._waiting: dict[Key, asyncio.Task[Value]] = {}
        self._running: dict[Key, asyncio.Task[Value]] = {}
        self._rests_until: dict[Key, float] = {}

    async def get(self, key: Key) -> Value:
        """The answer of a read that begins from now on."""
        waiting = self._waiting.get(key)
        if waiting is None:
            before = self._running.get(key)
            waiting = self._waiting[key] = asyncio.create_task(self._run(key, before))
            waiting.add_done_callback(_look_at_fault)
        return await asyncio.shield(waiting)

    async def _run(self, key: Key, before: asyncio.Task[Value] | None) -> Value:
        if before is not None:
            await asyncio.wait({before})
        rest_s = self._rests_until.pop(key, 0.0) - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.sleep(rest_s)
        mine = self._running[key] = self._waiting.pop(key)
        began = self._clock.monotonic()
        try:
            return await self._read(key)
        finally:
            now = self._clock.monotonic()
            if key in self._waiting:
                self._rests_until[key] = now + min(REST_MAX_S, REST * (now - began))
            if self._running.get(key) is mine:
                del self._running[key]


def _look_at_fault(task: asyncio.Task[Value]) -> None:
    # Whoever waited has been answered; when everyone hung up, nobody looks, and that is no fault.
    if not task.cancelled():
        task.exception()
