"""The memory store's verbs about the store as a whole, restores above all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tocsin.adapters.app_rows import (
    AppRows,
    Journal,
    append_lines,
    given_up,
    replace_task,
    wake_jobs,
)
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
    _app_rows: dict[int, AppRows]
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
            app: {noun: app_rows.last[noun] for noun in GAPS}
            for app, app_rows in self._app_rows.items()
        }
        edit = decide(GenerationView(self._restored, numbers))
        for app, given in edit.numbers.items():
            app_rows = self._app_rows.setdefault(app, AppRows())
            # A counter's own `update` would add them to what is there.
            app_rows.last = Counter({**app_rows.last, **given})
            app_rows.snapshot_marks.clear()
            app_rows.jobs.update({it: given_up(job_row) for it, job_row in app_rows.jobs.items()})
        self._restored = edit.restored
        return edit.restored

    async def end_task_of_backup(self, app: int, task: int, decide: Decide) -> None:
        with self._step("end_task_of_backup", app) as step:
            known = step.app_rows.tasks.get(task)
            if known is None or known.ended_at is not None:
                return
            jobs = [
                job_row.job for job_row in step.app_rows.jobs.values() if job_row.job.task == task
            ]
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
