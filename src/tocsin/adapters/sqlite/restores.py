"""The restores of a database: its generations, and the tasks that its backup had open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from tocsin.adapters.sqlite.books import append_blocks
from tocsin.adapters.sqlite.folder import RELEASE_SINCE
from tocsin.adapters.sqlite.queue import jobs_of, wake_jobs
from tocsin.adapters.sqlite.tables import Tables
from tocsin.adapters.sqlite.tasks import replace_task, task_by_number
from tocsin.adapters.sqlite.writer import Rank
from tocsin.clock import Clock
from tocsin.domain.after_restore import Decide
from tocsin.domain.restore import GAPS, GenerationEdit, GenerationView, Restored
from tocsin.domain.task import ends_at

_LAST = "SELECT doc FROM restored ORDER BY generation DESC LIMIT 1"
_WRITE = "INSERT OR REPLACE INTO restored (generation, doc) VALUES (?, ?)"
_APPS = "SELECT app FROM app UNION SELECT app FROM tally ORDER BY app"
_ERASURE_KEY = "SELECT key FROM erasure_key"
_GIVE_UP_LEASES = "UPDATE job SET holder = NULL, leased_until = NULL WHERE holder IS NOT NULL"
# A release that knows no hold would send at once.
_KEEP_OUT_EARLIER = "UPDATE release SET least_reader = max(least_reader, ?)"
_FORGET_SNAPSHOTS = "DELETE FROM snapshot"

T = TypeVar("T")


def read_restored(tables: Tables) -> Restored | None:
    doc = tables.value(_LAST)
    return None if doc is None else msgspec.msgpack.decode(doc, type=Restored)


def read_erasure_key(tables: Tables) -> bytes:
    return bytes(tables.value(_ERASURE_KEY))


def read_numbers(tables: Tables) -> dict[int, dict[str, int]]:
    """The last numbers that each app has given."""
    apps = [app for (app,) in tables.all(_APPS)]
    return {app: {noun: getattr(tables.read_tally(app), noun) for noun in GAPS} for app in apps}


def begin_generation(
    tables: Tables, decide: Callable[[GenerationView], GenerationEdit]
) -> Restored:
    edit = decide(GenerationView(read_restored(tables), read_numbers(tables)))
    for app, numbers in edit.numbers.items():
        tally = tables.change_tally(app)
        for noun, last in numbers.items():
            assert last >= getattr(tally, noun), f"{noun} of app {app} would go back"
            setattr(tally, noun, last)
    tables.run(_FORGET_SNAPSHOTS)
    tables.run(_GIVE_UP_LEASES)
    tables.run(_KEEP_OUT_EARLIER, RELEASE_SINCE)
    _write(tables, edit.restored)
    return edit.restored


def end_task_of_backup(tables: Tables, app: int, number: int, decide: Decide, now: float) -> None:
    known = task_by_number(tables, app, number)
    if known is None or known.ended_at is not None:
        return
    edit = decide(known, jobs_of(tables, app, number))
    replace_task(tables, app, number, edit.task)
    append_blocks(tables, app, number, edit.blocks)
    if ends_at(edit.task) <= now:
        wake_jobs(tables, app, number, now)


def end_hold(tables: Tables, change: Callable[[Restored], Restored]) -> Restored | None:
    known = read_restored(tables)
    if known is None:
        return None
    changed = change(known)
    assert changed.generation == known.generation, changed.generation
    _write(tables, changed)
    return changed


class SqliteRestores:
    """The part of `SqliteStore` that makes a copy of an earlier moment a database of its own."""

    _clock: Clock
    _restored: Restored | None = None

    def _read(self, work: Callable[[Tables], T]) -> T:
        raise NotImplementedError

    async def _write(self, work: Callable[[Tables], T], rank: Rank = Rank.CALL, rows: int = 1) -> T:
        raise NotImplementedError

    async def erasure_key(self) -> bytes:
        return self._read(read_erasure_key)

    async def restored(self) -> Restored | None:
        return self._restored

    async def begin_generation(
        self, decide: Callable[[GenerationView], GenerationEdit]
    ) -> Restored:
        self._restored = await self._write(lambda it: begin_generation(it, decide))
        return self._restored

    async def end_task_of_backup(self, app: int, task: int, decide: Decide) -> None:
        def work(tables: Tables) -> None:
            end_task_of_backup(tables, app, task, decide, self._clock.now())

        await self._write(work, Rank.BULK)

    async def end_hold(self, change: Callable[[Restored], Restored]) -> Restored | None:
        self._restored = await self._write(lambda tables: end_hold(tables, change))
        return self._restored


def _write(tables: Tables, restored: Restored) -> None:
    tables.run(_WRITE, restored.generation, msgspec.msgpack.encode(restored))
