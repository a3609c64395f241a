"""The queue: a table beside the data, so that state and the job that follows are one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tocsin.adapters.sqlite.tables import Tables, integers
from tocsin.domain.task import Body, Job, Lane, NewJob, StepEdit, Task, ends_at
from tocsin.errors import Stale
from tocsin.store import Head

_OF_TASK = """
SELECT number, task, queue, lane, body, not_before, attempt, generation, begun_at FROM job
WHERE app = ? AND task = ? ORDER BY number
"""
_BEGUN = """
SELECT number, task, queue, lane, body, not_before, attempt, generation, begun_at
FROM job INDEXED BY job_begun WHERE app = ? AND task = ? AND begun_at IS NOT NULL ORDER BY number
"""
_HELD = """
SELECT number, task, queue, lane, body, not_before, attempt, generation, begun_at FROM job
WHERE app = ? AND number = ? AND generation = ? AND holder IS NOT NULL
"""
_FREE = """
SELECT not_before, number FROM job INDEXED BY job_free
WHERE app = ?1 AND queue = ?2 AND lane = ?3 AND holder IS NULL AND not_before <= ?4
ORDER BY not_before, number LIMIT ?5
"""
_LAPSED = """
SELECT not_before, number FROM job INDEXED BY job_held
WHERE app = ?1 AND queue = ?2 AND lane = ?3 AND holder IS NOT NULL AND leased_until <= ?4
ORDER BY not_before, number LIMIT ?5
"""
_ENDED = """
SELECT not_before, number FROM job INDEXED BY job_ends
WHERE app = ?1 AND queue = ?2 AND lane = ?3 AND holder IS NULL AND ends_at <= ?4
ORDER BY ends_at, number LIMIT ?5
"""
_LEASE = """
UPDATE job SET generation = generation + 1, holder = ?3, leased_until = ?4
WHERE app = ?1 AND number IN (SELECT value FROM carray(?2))
"""
_BY_NUMBER = """
SELECT number, task, queue, lane, body, not_before, attempt, generation, begun_at FROM job
WHERE app = ?1 AND number IN (SELECT value FROM carray(?2)) ORDER BY not_before, number
"""
_EXTEND = """
UPDATE job SET leased_until = ?4
WHERE app = ?1 AND number = ?2 AND generation = ?3 AND holder IS NOT NULL
"""
_RELEASE = """
UPDATE job SET holder = NULL, leased_until = NULL WHERE holder IS NOT NULL AND holder = ?
"""
_DONE = "DELETE FROM job WHERE app = ? AND number = ?"
_BEGIN = "UPDATE job SET begun_at = ?3 WHERE app = ?1 AND number = ?2"
_REBODY = "UPDATE job SET body = ?3 WHERE app = ?1 AND number = ?2"
_PARK = """
UPDATE job SET not_before = ?3, holder = NULL, leased_until = NULL WHERE app = ?1 AND number = ?2
"""
_WAKE = """
UPDATE job SET not_before = min(not_before, ?3), ends_at = ?3
WHERE app = ?1 AND task = ?2 AND holder IS NULL
"""
_WAKE_WAY = """
UPDATE job SET not_before = ?4, way = NULL WHERE app = ?1 AND number IN (
    SELECT number FROM job INDEXED BY job_way
    WHERE app = ?1 AND queue = ?2 AND way = ?3 AND holder IS NULL AND not_before > ?4
    ORDER BY not_before LIMIT ?5
)
"""
_NEXT_WAY = """
SELECT way FROM job INDEXED BY job_way
WHERE app = ?1 AND queue = ?2 AND way > ?3 AND holder IS NULL ORDER BY way LIMIT 1
"""
_ADD = """
INSERT INTO job (app, number, task, queue, lane, not_before, attempt, body, way, ends_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OTHERS = "SELECT 1 FROM job INDEXED BY job_task WHERE app = ? AND task = ? AND number <> ? LIMIT 1"
_NEXT_FREE = """
SELECT app, queue, lane, not_before FROM job INDEXED BY job_free
WHERE holder IS NULL AND (app, queue, lane, not_before) > (?, ?, ?, 9e999)
ORDER BY app, queue, lane, not_before LIMIT 1
"""
_NEXT_HELD = """
SELECT app, queue, lane, leased_until FROM job INDEXED BY job_held
WHERE holder IS NOT NULL AND (app, queue, lane, leased_until) > (?, ?, ?, 9e999)
ORDER BY app, queue, lane, leased_until LIMIT 1
"""
_DEPTH = """
SELECT app, queue, sum(rows) FROM (
    SELECT app, queue, count(*) AS rows FROM job INDEXED BY job_free
    WHERE holder IS NULL GROUP BY app, queue
    UNION ALL
    SELECT app, queue, count(*) AS rows FROM job INDEXED BY job_held
    WHERE holder IS NOT NULL GROUP BY app, queue
) GROUP BY app, queue
"""

_decoder: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)


def _job(app: int, row: tuple[Any, ...]) -> Job:
    number, task, queue, lane, body, not_before, attempt, generation, begun_at = row
    return Job(
        app=app,
        number=number,
        task=task,
        queue=queue,
        lane=Lane(lane),
        body=_decoder.decode(body),
        not_before=not_before,
        attempt=attempt,
        generation=generation,
        begun_at=begun_at,
    )


def jobs_of(tables: Tables, app: int, task: int) -> list[Job]:
    """The job rows of a task, by number."""
    return [_job(app, row) for row in tables.all(_OF_TASK, app, task)]


def begun_jobs(tables: Tables, app: int, task: int) -> list[Job]:
    """The job rows of a task that have begun, by number."""
    return [_job(app, row) for row in tables.all(_BEGUN, app, task)]


def heads(tables: Tables, now: float) -> list[Head]:
    """One descent for each queue, however many jobs wait in it.

    The time in the comparison is past all times: without it the descent would end at the first job
    of the queue just seen, and every one of that queue would be stepped over.
    """
    first: dict[tuple[int, str, int], float] = {}
    for statement, latest in ((_NEXT_FREE, float("inf")), (_NEXT_HELD, now)):
        place: tuple[int, str, int] = (-1, "", 0)
        while (row := tables.one(statement, *place)) is not None:
            app, queue, lane, ready_at = row
            place = (app, queue, lane)
            if ready_at <= latest:
                first[place] = min(first.get(place, ready_at), ready_at)
    return [
        Head(app, queue, Lane(lane), ready_at)
        for (app, queue, lane), ready_at in sorted(first.items())
    ]


def depth(tables: Tables) -> dict[tuple[int, str], int]:
    return {(app, queue): rows for app, queue, rows in tables.all(_DEPTH)}


def lease_jobs(
    tables: Tables,
    place: tuple[int, str, Lane],
    limit: int,
    grant: tuple[str, float, bool],
    now: float,
) -> list[Job]:
    app, queue, lane = place
    holder, lease_s, ended = grant
    asked = (app, queue, int(lane), now, limit)
    if ended:
        ready = tables.all(_ENDED, *asked)
    else:
        ready = tables.all(_FREE, *asked) + tables.all(_LAPSED, *asked)
    numbers = [number for _, number in sorted(ready)[:limit]]
    if not numbers:
        return []
    tables.run(_LEASE, app, integers(numbers), holder, now + lease_s)
    return [_job(app, row) for row in tables.all(_BY_NUMBER, app, integers(numbers))]


def extend_leases(tables: Tables, app: int, jobs: Sequence[Job], until: float) -> list[int]:
    ours = [job for job in jobs if job.app == app]
    extended = (
        (job.number, tables.run(_EXTEND, app, job.number, job.generation, until)) for job in ours
    )
    return [number for number, changed in extended if changed]


def release(tables: Tables, holder: str) -> int:
    return tables.run(_RELEASE, holder)


def held_job(tables: Tables, app: int, job: Job) -> Job:
    """The row of a job whose lease is still the one that `job` came with; else `Stale`."""
    row = tables.one(_HELD, app, job.number, job.generation) if job.app == app else None
    if row is None:
        raise Stale
    return _job(app, row)


def has_other_jobs(tables: Tables, job: Job) -> bool:
    return tables.value(_OTHERS, job.app, job.task, job.number) is not None


def write_job(tables: Tables, job: Job, edit: StepEdit) -> None:
    """What a step says about its own row."""
    if edit.is_done:
        tables.run(_DONE, job.app, job.number)
        return
    if edit.begun_at is not None:
        tables.run(_BEGIN, job.app, job.number, edit.begun_at)
    if edit.body is not None:
        tables.run(_REBODY, job.app, job.number, msgspec.msgpack.encode(edit.body))
    if edit.not_before is not None:
        tables.run(_PARK, job.app, job.number, edit.not_before)


def wake_jobs(tables: Tables, app: int, task: int, now: float) -> None:
    """End the task's jobs that nobody has leased: they are ready at once."""
    tables.run(_WAKE, app, task, now)


def wake_way(
    tables: Tables, place: tuple[int, str], way: str | None, limit: int, now: float
) -> int:
    """Make up to `limit` jobs ready that wait for a way; None: for any."""
    if way is not None:
        return tables.run(_WAKE_WAY, *place, way, now, limit)
    count, name = 0, ""
    while count < limit and (row := tables.one(_NEXT_WAY, *place, name)) is not None:
        (name,) = row
        count += tables.run(_WAKE_WAY, *place, name, now, limit - count)
    return count


def add_jobs(tables: Tables, app: int, jobs: Sequence[NewJob], task: Task) -> None:
    """Queue jobs of one task."""
    if not jobs:
        return
    assert all(job.task == task.number for job in jobs), task.number
    until = ends_at(task)
    tally = tables.change_tally(app)
    rows = []
    for job in jobs:
        tally.job += 1
        body = msgspec.msgpack.encode(job.body)
        place = (job.queue, int(job.lane), job.not_before, job.attempt)
        rows.append((app, tally.job, job.task, *place, body, job.way or None, until))
    tables.many(_ADD, rows)
