"""Reports: arrivals, clicks and online legs of many devices, a commit for all that wait.

There is no timer. The first report starts a commit; what comes while it runs shares the next
one, so a lone ack costs one commit's time and a flood of them costs few commits.
"""

from __future__ import annotations

import asyncio
from array import array

from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.task import Report, Stage
from tocsin.store import Store

_Key = tuple[int, Stage, str, int]
"""(task, stage, channel, second): what one block holds."""


class _Lane(Struct):
    """One app's reports."""

    collected: dict[_Key, array[int]] = {}
    waiting: asyncio.Task[None] | None = None
    """The commit that what is collected now will be part of."""
    running: asyncio.Task[None] | None = None


class Reports:
    """Appends reports in blocks that share commits."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lanes: dict[int, _Lane] = {}

    async def append(self, app: int, task: int, stage: Stage, via: str, device: int) -> None:
        """Book one device; returns once it is durable. Raises `StoreError`: nothing is booked."""
        lane = self._lanes.setdefault(app, _Lane())
        key = (task, stage, via, int(self._clock.now()))
        lane.collected.setdefault(key, array("I")).append(device)
        if lane.waiting is None:
            lane.waiting = asyncio.create_task(self._commit(app, lane, lane.running))
            lane.waiting.add_done_callback(_look_at_fault)
        # A device that hangs up must not take the others' commit with it.
        await asyncio.shield(lane.waiting)

    async def _commit(self, app: int, lane: _Lane, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        collected, lane.collected = lane.collected, {}
        lane.running, lane.waiting = lane.waiting, None
        reports = [
            Report(
                task=task,
                stage=stage,
                channel=via,
                at=second,
                members=BitMap(devices).serialize(),
            )
            for (task, stage, via, second), devices in collected.items()
        ]
        await self._store.append_reports(app, reports)


def _look_at_fault(task: asyncio.Task[None]) -> None:
    # Whoever waited has been told; when everyone hung up, nobody looks, and that is no fault.
    if not task.cancelled():
        task.exception()
