"""The tasks that devices and vendors report about, and the legs that their reports count for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection

from msgspec import Struct

from tocsin.domain.legs import Legs, choose_channel, under_way, written
from tocsin.domain.task import Task
from tocsin.store import Store

TASKS_MAX = 256
"""Tasks whose legs are kept, about a megabyte each for a push to ten million devices."""


NEAR_MAX = 500
"""Lines that are folded in the event loop's own thread; more are folded in another."""


class Known(Struct):
    """A task that is reported about, with those of its begun legs that were read.

    What the task's row says is as of when it was first asked for; its names never change.
    """

    task: Task
    legs: Legs
    position: int = 0
    """Up to where the books were read."""
    waiting: asyncio.Task[Legs] | None = None
    """A read that has not begun, which all who ask now share."""
    running: asyncio.Task[Legs] | None = None


class ReportedTasks:
    """Tasks by id or number. Legs are kept; the books are read only for a device without one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[int, int], Known] = OrderedDict()
        self._numbers: OrderedDict[tuple[int, str], int] = OrderedDict()

    async def by_id(self, app: int, task_id: str) -> Known | None:
        """The task with this TaskId, if we still have it."""
        number = self._numbers.get((app, task_id))
        known = None if number is None else self._find(app, number)
        if known is None:
            task = await self._store.task(app, task_id)
            known = None if task is None else self._keep(task)
        return known

    async def by_number(self, app: int, number: int) -> Known | None:
        """The task with this number, if we still have it."""
        known = self._find(app, number)
        if known is None:
            task = await self._row(app, number)
            known = None if task is None else self._keep(task)
        return known

    async def _row(self, app: int, number: int) -> Task | None:
        found = await self._store.tasks(app, before=number + 1, limit=1)
        return found[0] if found and found[0].number == number else None

    async def is_gone(self, app: int, number: int) -> bool:
        """Whether a task may have had this number that was given and is kept no longer."""
        if not 1 <= number <= await self._store.last_task(app):
            return False
        return await self._row(app, number) is None

    async def with_leg(self, known: Known, devices: Collection[int], channel: str) -> set[int]:
        """Those of the devices to which a leg over this channel has begun."""
        found = {number for number in devices if known.legs.has(channel, number)}
        if len(found) < len(set(devices)):
            open_legs = await self._look(known)
            found |= {
                number
                for number in devices
                if known.legs.has(channel, number) or open_legs.has(channel, number)
            }
        return found

    async def channel_of(self, known: Known, device: int, preferred: str) -> str | None:
        """The channel for a report that names none; None where no leg to the device has begun."""
        if known.legs.has(preferred, device):
            return preferred
        open_legs = await self._look(known)
        channels = (*known.legs.channels(device), *open_legs.channels(device))
        return choose_channel(channels, preferred)

    async def _look(self, known: Known) -> Legs:
        """Read what was written since; answers the legs that are under way, which are not kept.

        All who ask before a read begins share it, so a crowd of reports costs few.
        """
        if known.waiting is None:
            known.waiting = asyncio.create_task(self._read(known, known.running))
            known.waiting.add_done_callback(_look_at_fault)
        return await asyncio.shield(known.waiting)

    async def _read(self, known: Known, before: asyncio.Task[Legs] | None) -> Legs:
        if before is not None and not before.done():
            await asyncio.wait({before})
        known.running, known.waiting = known.waiting, None
        task = known.task
        lines = await self._store.leg_lines(task.app, task.number, known.position)
        if len(lines.blocks) + len(lines.reports) <= NEAR_MAX:
            fresh = written(lines)
        else:
            fresh = await asyncio.to_thread(written, lines)
        for channel, members in fresh.members.items():
            known.legs.add(channel, members)
        known.position = lines.position
        return under_way(lines.jobs)

    def _find(self, app: int, number: int) -> Known | None:
        known = self._kept.get((app, number))
        if known is not None:
            self._kept.move_to_end((app, number))
        return known

    def _keep(self, task: Task) -> Known:
        known = self._kept.get((task.app, task.number))
        if known is None:
            known = self._kept[task.app, task.number] = Known(task, Legs({}))
            self._numbers[task.app, task.task_id] = task.number
            if len(self._kept) > TASKS_MAX:
                _, gone = self._kept.popitem(last=False)
                self._numbers.pop((gone.task.app, gone.task.task_id), None)
        return known


def _look_at_fault(task: asyncio.Task[Legs]) -> None:
    # Whoever waited has been told; when everyone hung up, nobody looks, and that is no fault.
    if not task.cancelled():
        task.exception()
