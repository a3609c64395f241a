"""Reports: arrivals, clicks and online legs of many devices, a commit for all that wait.

There is no timer. The first report starts a commit; what comes while it runs shares the next
one, so a lone ack costs one commit's time and a flood of them costs few commits.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.task import Report, Stage
from tocsin.store import Store

_Key = tuple[int, Stage, str, int, str]
"""(task, stage, channel, second, code): what one block holds."""


class ReportEntry(Struct, frozen=True, kw_only=True):
    """One device of a task, and what was told of it."""

    task: int
    device: int
    stage: Stage
    channel: str
    at: float
    """Unix seconds."""
    code: str = "0"


class _Lane(Struct):
    """One app's reports."""

    collected: dict[_Key, array[int]] = {}
    waiting: asyncio.Task[None] | None = None
    """The commit that what is collected now will be part of."""
    running: asyncio.Task[None] | None = None


class Reports:
    """Appends reports in blocks that share commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lanes: dict[int, _Lane] = {}

    async def append(self, app: int, entries: Iterable[ReportEntry]) -> None:
        """Book devices; returns once all are durable. Raises `StoreError`: none is booked."""
        lane = self._lanes.setdefault(app, _Lane())
        for it in entries:
            key = (it.task, it.stage, it.channel, int(it.at), it.code)
            lane.collected.setdefault(key, array("I")).append(it.device)
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
                code=code,
            )
            for (task, stage, via, second, code), devices in collected.items()
        ]
        await self._store.append_reports(app, reports)


def _look_at_fault(task: asyncio.Task[None]) -> None:
    # Whoever waited has been told; when everyone hung up, nobody looks, and that is no fault.
    if not task.cancelled():
        task.exception()
