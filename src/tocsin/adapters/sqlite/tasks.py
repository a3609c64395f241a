"""Tasks, what is accepted with them, and their frozen audiences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tocsin.adapters.sqlite.audiences import (
    add_to_inboxes,
    copy_audience,
    is_in_inboxes,
    read_audience,
    read_broad,
    read_inbox,
    remove_from_inboxes,
)
from tocsin.adapters.sqlite.queue import add_jobs, wake_jobs
from tocsin.adapters.sqlite.tables import TASKS_MAX, Tables, integers
from tocsin.domain.quota import PushUse
from tocsin.domain.task import Handle, RecallEdit, RecallView, Task

_BY_ID = "SELECT doc FROM task WHERE app = ? AND task_id = ?"
_BY_NUMBER = "SELECT doc FROM task WHERE app = ? AND number = ?"
_LATEST = """
SELECT doc FROM task WHERE app = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3
"""
_LIVING = """
SELECT doc FROM task INDEXED BY task_living WHERE app = ? AND ended_at IS NULL ORDER BY number
"""
_RECALLED = """
SELECT number FROM task INDEXED BY task_recalled
WHERE app = ? AND recalled_at >= ? AND recalled_at IS NOT NULL
"""
_CREATE = """
INSERT INTO task (app, number, task_id, ended_at, recalled_at, doc) VALUES (?, ?, ?, ?, ?, ?)
"""
_REPLACE = """
UPDATE task SET ended_at = ?4, recalled_at = ?5, doc = ?6
WHERE app = ?1 AND number = ?2 AND task_id = ?3
"""
_USE = "SELECT doc FROM push_use WHERE app = ?"
_SET_USE = "INSERT OR REPLACE INTO push_use (app, doc) VALUES (?, ?)"
_FORGET = (
    "DELETE FROM broad WHERE app = ? AND task = ?",
    "DELETE FROM unmerged WHERE app = ? AND task = ?",
    "DELETE FROM audience WHERE app = ? AND task = ?",
    "DELETE FROM block WHERE app = ? AND task = ?",
    "DELETE FROM report WHERE app = ? AND task = ?",
    "DELETE FROM handle WHERE app = ? AND task = ?",
    "DELETE FROM job WHERE app = ? AND task = ?",
    "DELETE FROM task WHERE app = ? AND number = ?",
)
_HANDLES = """
SELECT h.device, h.name FROM carray(?3) AS asked
CROSS JOIN handle AS h ON h.app = ?1 AND h.task = ?2 AND h.device = asked.value
"""
_SET_HANDLE = """
INSERT OR REPLACE INTO handle (app, task, device, until, name) VALUES (?, ?, ?, ?, ?)
"""
_FORGET_HANDLES = """
DELETE FROM handle WHERE app = ?1 AND (task, device) IN (
    SELECT task, device FROM handle INDEXED BY handle_until
    WHERE app = ?1 AND until < ?2 ORDER BY until LIMIT ?3
)
"""
_ENDED = """
SELECT number FROM task INDEXED BY task_ended
WHERE app = ? AND ended_at < ? AND ended_at IS NOT NULL ORDER BY ended_at LIMIT ?
"""

_decoder = msgspec.msgpack.Decoder(Task)


def find_task(tables: Tables, app: int, task_id: str) -> Task | None:
    return _decode(tables.value(_BY_ID, app, task_id))


def task_by_number(tables: Tables, app: int, number: int) -> Task | None:
    """The task, from memory where the writer knows it."""
    task = tables.tasks.get((app, number))
    return task or _decode(tables.value(_BY_NUMBER, app, number))


def remembered_task(tables: Tables, app: int, number: int) -> Task:
    """A task that is known to exist; remembered for the next step: for the writer."""
    task = task_by_number(tables, app, number)
    assert task is not None, number
    return tables.remember(tables.tasks, (app, number), task, TASKS_MAX)


def _decode(doc: bytes | None) -> Task | None:
    return None if doc is None else _decoder.decode(doc)


def latest_tasks(tables: Tables, app: int, before: int, limit: int) -> list[Task]:
    rows = tables.all(_LATEST, app, before or 2**62, limit)
    return [_decoder.decode(doc) for (doc,) in rows]


def living_tasks(tables: Tables, app: int) -> list[Task]:
    return [_decoder.decode(doc) for (doc,) in tables.all(_LIVING, app)]


def recalled_tasks(tables: Tables, app: int, since: float) -> set[int]:
    return {number for (number,) in tables.all(_RECALLED, app, since)}


def inbox_tasks(tables: Tables, app: int, accounts: Sequence[int]) -> list[Task]:
    return [_decoder.decode(doc) for doc in read_inbox(tables, app, accounts)]


def fill_inboxes(tables: Tables, app: int) -> None:
    """Add the living tasks that an earlier release has frozen, which knew of no inboxes."""
    broad = set(read_broad(tables, app))
    for task in living_tasks(tables, app):
        if task.overwrites is not None or task.number in broad:
            continue
        audience = read_audience(tables, app, task.number)
        if audience and not is_in_inboxes(tables, app, task.number, audience):
            add_to_inboxes(tables, app, task.number, audience)


def create_task(tables: Tables, app: int, task: Task) -> None:
    assert task.app == app, task.app
    tables.give(app, "task", [task.number])
    tables.run(_CREATE, *_row(task))


def replace_task(tables: Tables, app: int, number: int, task: Task) -> None:
    assert (task.app, task.number) == (app, number), task.number
    app_, number_, task_id, ended_at, recalled_at, doc = _row(task)
    changed = tables.run(_REPLACE, app_, number_, task_id, ended_at, recalled_at, doc)
    assert changed == 1, task_id
    if task.ended_at is not None:
        remove_from_inboxes(tables, app, number)
    tables.remember(tables.tasks, (app, number), task, TASKS_MAX)


def _row(task: Task) -> tuple[Any, ...]:
    doc = msgspec.msgpack.encode(task)
    return (task.app, task.number, task.task_id, task.ended_at, task.recalled_at, doc)


def recall(
    tables: Tables,
    app: int,
    task_id: str,
    decide: Callable[[RecallView], RecallEdit],
    now: float,
) -> Any:
    row = tables.app(app)
    task = find_task(tables, app, task_id)
    edit = decide(RecallView(row, task, read_use(tables, app), tables.tally(app).task + 1))
    if edit.task is not None:
        assert task is not None
        replace_task(tables, app, task.number, edit.task)
    if edit.overwrite is not None:
        assert task is not None
        create_task(tables, app, edit.overwrite)
        copy_audience(tables, app, task.number, edit.overwrite.number)
    if edit.wakes_jobs and task is not None:
        wake_jobs(tables, app, task.number, now)
    if edit.use is not None:
        write_use(tables, app, edit.use)
    assert edit.overwrite is not None or not edit.jobs
    if edit.overwrite is not None:
        add_jobs(tables, app, edit.jobs, edit.overwrite)
    return edit.result


def read_use(tables: Tables, app: int) -> PushUse:
    doc = tables.value(_USE, app)
    return PushUse() if doc is None else msgspec.msgpack.decode(doc, type=PushUse)


def write_use(tables: Tables, app: int, use: PushUse) -> None:
    tables.run(_SET_USE, app, msgspec.msgpack.encode(use))


def read_overwritten(
    tables: Tables, app: int, task: Task, devices: Sequence[int]
) -> dict[int, str]:
    """Names of the messages that a task overwrites, by device."""
    if task.overwrites is None or not devices:
        return {}
    return dict(tables.all(_HANDLES, app, task.overwrites, integers(devices)))


def write_handles(tables: Tables, app: int, task: Task, handles: Sequence[Handle]) -> None:
    if handles:
        until = task.expires_at
        rows = [(app, task.number, it.device, until, it.name) for it in handles]
        tables.many(_SET_HANDLE, rows)


def forget_handles(tables: Tables, app: int, before: float, limit: int) -> int:
    return tables.run(_FORGET_HANDLES, app, before, limit)


def forget_tasks(tables: Tables, app: int, before: float, limit: int) -> int:
    gone = [number for (number,) in tables.all(_ENDED, app, before, limit)]
    for number in gone:
        # An earlier release that ended it knew of no inboxes.
        remove_from_inboxes(tables, app, number)
        for statement in _FORGET:
            tables.run(statement, app, number)
        tables.tasks.pop((app, number), None)
        tables.acked.pop((app, number), None)
    return len(gone)
