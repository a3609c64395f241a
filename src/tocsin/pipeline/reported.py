"""The tasks that devices and vendors report about, and whose report is this task's business."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.device import Device, is_addressed
from tocsin.domain.stats import fold
from tocsin.domain.task import Task
from tocsin.store import Store

TASKS_MAX = 1024


class Known(Struct, frozen=True):
    """A task and its frozen audience, neither of whose names and members ever change.

    What else the row says is as of when it was first asked for.
    """

    task: Task
    audience: BitMap


class ReportedTasks:
    """Tasks by id or number; those with a frozen audience are kept in memory for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[int, str | int], Known] = OrderedDict()

    async def by_id(self, app: int, task_id: str) -> Known | None:
        """The task with this TaskId, if we still have it."""
        return self._find(app, task_id) or await self._keep(
            app, task_id, await self._store.task(app, task_id)
        )

    async def by_number(self, app: int, number: int) -> Known | None:
        """The task with this number, if we still have it."""
        known = self._find(app, number)
        if known is not None:
            return known
        found = await self._store.tasks(app, before=number + 1, limit=1)
        is_it = bool(found) and found[0].number == number
        return await self._keep(app, number, found[0] if is_it else None)

    async def concerned(self, known: Known, devices: Sequence[Device]) -> list[Device]:
        """Those of the devices that the task was for."""
        others = [it.number for it in devices if not is_addressed(it, known.audience)]
        planned = BitMap()
        if others:
            # They may have been sent to before another user logged in.
            books = await self._store.books(known.task.app, known.task.number)
            planned = BitMap() if books is None else fold(books).planned
        left_out = {number for number in others if number not in planned}
        return [device for device in devices if device.number not in left_out]

    def _find(self, app: int, name: str | int) -> Known | None:
        known = self._kept.get((app, name))
        if known is not None:
            self._kept.move_to_end((app, name))
        return known

    async def _keep(self, app: int, name: str | int, task: Task | None) -> Known | None:
        if task is None:
            return None
        known = Known(task, await self._store.audience(app, task.number))
        if known.audience:
            self._kept[app, name] = known
            if len(self._kept) > TASKS_MAX:
                self._kept.popitem(last=False)
        return known
