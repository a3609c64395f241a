"""The hold after a restore: nothing leaves until the operator has said what becomes of old pushes.

A backup shows its pushes as they stood then. What was sent since is not in it, so whatever sends
(dispatch, offers to devices that connect, and what is added later: schedules, callbacks) asks here
first. Calls are answered and pushes accepted meanwhile; they go out once the word has been said.
"""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain.after_restore import after_restore
from tocsin.domain.restore import How, Restored
from tocsin.errors import CallError
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.store import Store

ADVICE = "tocsin restore --settle or tocsin restore --resume"
HELD = f"held after a restore: {ADVICE}"


class Lifted(Struct, frozen=True, kw_only=True):
    """What the operator's word came to."""

    how: How
    generation: int
    tasks: int
    """Pushes of before the backup that were open."""


class Hold:
    """Whether the service stands held. `load` it before anything asks."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._restored: Restored | None = None
        self.ended = asyncio.Event()
        """Set while the service is not held."""
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)

    async def load(self) -> None:
        """Read how this database stands, and say so in the log where it is held."""
        self._restored = await self._store.restored()
        self._metrics.set("held", int(self.is_on))
        if not self.is_on:
            self.ended.set()
            return
        assert self._restored is not None
        self._log.warning(
            "held after a restore, nothing is sent",
            generation=self._restored.generation,
            backup_at=self._restored.backup_at,
            advice=ADVICE,
        )

    @property
    def is_on(self) -> bool:
        """Whether nothing may leave."""
        return self._restored is not None and self._restored.is_held

    @property
    def restored(self) -> Restored | None:
        """The last restore of this database."""
        return self._restored

    async def end(self, how: How) -> Lifted:
        """Settle or resume what the backup had open, and let the service send.

        Killed half way it is still held; the same call again goes on. Raises `CallError` 70402
        where nothing is held.
        """
        async with self._one_at_a_time:
            self._restored = await self._store.restored()
            if not self.is_on:
                raise CallError(70402, "nothing is held: this database was not just restored")
            assert self._restored is not None
            count = 0
            for app, last in self._restored.last_tasks.items():
                count += await self._end_tasks(app, last, how)
            state = "settled" if how == "settle" else "resumed"
            change = partial(msgspec.structs.replace, state=state)
            self._restored = await self._store.end_hold(change)
            assert self._restored is not None
            self._metrics.set("held", 0)
            self.ended.set()
        self._log.info("hold ended", how=how, tasks=count, generation=self._restored.generation)
        return Lifted(how=how, generation=self._restored.generation, tasks=count)

    async def _end_tasks(self, app: int, last: int, how: How) -> int:
        if await self._store.app(app) is None:
            return 0
        tasks = [task for task in await self._store.living(app) if task.number <= last]
        for task in tasks:
            decide = after_restore(how, self._clock.now())
            await self._store.end_task_of_backup(app, task.number, decide)
        return len(tasks)
