"""The memory store's verbs about the store as a whole, restores above all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tocsin.adapters.shelf import Journal, Shelf, append_lines, given_up, replace_task, wake_jobs
from tocsin.clock import Clock
from tocsin.domain.after_restore import Decide
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.restore import GAPS, GenerationEdit, GenerationView, Restored
from tocsin.domain.task import ends_at


class MemoryRestores:
    """The part of `MemoryStore` that is about no single app."""

    _clock: Clock
    _mark: CollapseMark
    _fault: Callable[[str], None]
    _shelves: dict[int, Shelf]
    _restored: Restored | None = None

    def _step(self, verb: str, app: int) -> Journal:
        raise NotImplementedError

    async def write_trouble(self) -> str:
        return ""

    async def collapse_mark(self) -> CollapseMark:
        return self._mark

    async def erasure_key(self) -> bytes:
        return self._mark.mark

    async def restored(self) -> Restored | None:
        return self._restored

    async def begin_generation(
        self, decide: Callable[[GenerationView], GenerationEdit]
    ) -> Restored:
        self._fault("begin_generation")
        numbers = {
            app: {noun: shelf.last[noun] for noun in GAPS} for app, shelf in self._shelves.items()
        }
        edit = decide(GenerationView(self._restored, numbers))
        for app, given in edit.numbers.items():
            shelf = self._shelves.setdefault(app, Shelf())
            # A counter's own `update` would add them to what is there.
            shelf.last = Counter({**shelf.last, **given})
            shelf.snapshot_marks.clear()
            shelf.jobs.update({it: given_up(slot) for it, slot in shelf.jobs.items()})
        self._restored = edit.restored
        return edit.restored

    async def end_task_of_backup(self, app: int, task: int, decide: Decide) -> None:
        with self._step("end_task_of_backup", app) as step:
            known = step.shelf.tasks.get(task)
            if known is None or known.ended_at is not None:
                return
            jobs = [slot.job for slot in step.shelf.jobs.values() if slot.job.task == task]
            edit = decide(known, jobs)
            replace_task(step, known, edit.task)
            append_lines(step, task, edit.blocks)
            now = self._clock.now()
            if ends_at(edit.task) <= now:
                wake_jobs(step, task, now)

    async def end_hold(self, change: Callable[[Restored], Restored]) -> Restored | None:
        self._fault("end_hold")
        if self._restored is not None:
            self._restored = change(self._restored)
        return self._restored
