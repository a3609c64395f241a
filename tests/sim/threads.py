"""Lets a simulation's other threads take no time: their work is done as it is handed over.

The manual clock moves when nothing is left to do in the event loop. It cannot see a thread at work,
so what runs in one would take minutes of simulated time, and never the same number of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class WorkAtOnce(ThreadPoolExecutor):
    """Runs the work in the caller's thread before `submit` returns."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **named))
        except BaseException as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


def work_at_once() -> None:
    """From now on `asyncio.to_thread` of the running loop works at once."""
    asyncio.get_running_loop().set_default_executor(WorkAtOnce())
