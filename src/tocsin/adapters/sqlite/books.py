"""The books of tasks: outcome blocks, report blocks, and what is folded from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyroaring import BitMap

from tocsin.adapters.sqlite.queue import begun_jobs, jobs_of
from tocsin.adapters.sqlite.tables import ACKED_MAX, Tables, integers
from tocsin.adapters.sqlite.tasks import read_audience, task_by_number
from tocsin.domain.legs import LegLines
from tocsin.domain.stats import TaskBooks
from tocsin.domain.task import Block, Report, Stage

_BLOCKS = """
SELECT job, at, kind, state, channel, code, info, members FROM block
WHERE app = ? AND task = ? ORDER BY line
"""
_BLOCKS_SINCE = """
SELECT line, job, at, kind, state, channel, code, info, members FROM block
WHERE app = ? AND task = ? AND line > ? AND kind NOT IN ('account', 'planned') ORDER BY line
"""
_LEGS_SINCE = """
SELECT line, stage, channel, at, code, members FROM report
WHERE app = ? AND task = ? AND line > ? AND stage = 1 ORDER BY line
"""
_APPEND_BLOCK = """
INSERT INTO block (app, line, task, job, at, kind, state, channel, code, info, members)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_DELETE_BLOCKS = "DELETE FROM block WHERE app = ? AND task = ?"
_REPORTS = """
SELECT stage, channel, at, code, members FROM report WHERE app = ? AND task = ? ORDER BY line
"""
_APPEND_REPORT = """
INSERT INTO report (app, line, task, stage, channel, at, code, members)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ACKS = """
SELECT line, members FROM report
WHERE app = ? AND task = ? AND line > ? AND stage IN (2, 3) ORDER BY line
"""
_EXISTING = """
SELECT number FROM task WHERE app = ?1 AND number IN (SELECT value FROM carray(?2))
"""


def read_books(tables: Tables, app: int, number: int) -> TaskBooks | None:
    """Everything about a task. The caller sees to it that it is one moment."""
    task = task_by_number(tables, app, number)
    if task is None:
        return None
    reports = [_report(number, *row) for row in tables.all(_REPORTS, app, number)]
    return TaskBooks(
        task=task,
        audience=read_audience(tables, app, number),
        blocks=read_blocks(tables, app, number),
        reports=reports,
        jobs=jobs_of(tables, app, number),
    )


def read_leg_lines(tables: Tables, app: int, task: int, position: int) -> LegLines:
    """What was written since a position. The caller sees to it that it is one moment."""
    blocks = tables.all(_BLOCKS_SINCE, app, task, position)
    legs = tables.all(_LEGS_SINCE, app, task, position)
    return LegLines(
        position=max([position, *(row[0] for row in (*blocks[-1:], *legs[-1:]))]),
        blocks=[_block(task, *row[1:]) for row in blocks],
        reports=[_report(task, *row[1:]) for row in legs],
        jobs=begun_jobs(tables, app, task),
    )


def read_blocks(tables: Tables, app: int, task: int) -> list[Block]:
    return [_block(task, *row) for row in tables.all(_BLOCKS, app, task)]


def _report(task: int, stage: int, channel: str, at: int, *rest: Any) -> Report:
    code, members = rest
    return Report(task=task, stage=Stage(stage), channel=channel, at=at, code=code, members=members)


def _block(task: int, job: int, at: float, kind: Any, *rest: Any) -> Block:
    state, channel, code, info, members = rest
    return Block(
        task=task,
        job=job,
        at=at,
        kind=kind,
        state=state,
        channel=channel,
        code=code,
        info=info,
        members=members,
    )


def append_blocks(tables: Tables, app: int, task: int, blocks: Sequence[Block]) -> None:
    if not blocks:
        return
    tally = tables.change_tally(app)
    rows = []
    for block in blocks:
        assert block.task == task, block.task
        tally.line += 1
        told = (block.job, block.at, block.kind, str(block.state), block.channel)
        rows.append((app, tally.line, task, *told, block.code, block.info, block.members))
    tables.many(_APPEND_BLOCK, rows)


def append_reports(tables: Tables, app: int, reports: Sequence[Report]) -> None:
    if not reports:
        return
    named = integers({report.task for report in reports})
    known = {number for (number,) in tables.all(_EXISTING, app, named)}
    rows = []
    for report in reports:
        if report.task in known:
            tally = tables.change_tally(app)
            tally.line += 1
            told = (int(report.stage), report.channel, report.at, report.code, report.members)
            rows.append((app, tally.line, report.task, *told))
    if rows:
        tables.many(_APPEND_REPORT, rows)


def read_acked(tables: Tables, app: int, task: int) -> BitMap:
    """Devices that reached or clicked. The caller gets a bitmap of its own."""
    return _acked_since(tables, app, task, 0, BitMap())[1]


def find_acked(tables: Tables, app: int, task: int) -> BitMap:
    """The same for the writer, which remembers how far it has read: each batch asks anew."""
    line, members = tables.acked.get((app, task), (0, BitMap()))
    known = _acked_since(tables, app, task, line, members)
    tables.remember(tables.acked, (app, task), known, ACKED_MAX)
    return BitMap(known[1])


def _acked_since(
    tables: Tables, app: int, task: int, line: int, members: BitMap
) -> tuple[int, BitMap]:
    rows = tables.all(_ACKS, app, task, line)
    if not rows:
        return line, members
    fresh = (BitMap.deserialize(packed) for _, packed in rows)
    return rows[-1][0], BitMap.union(members, *fresh)


def merge_books(
    tables: Tables, app: int, number: int, merge: Callable[[Sequence[Block]], list[Block]]
) -> None:
    task = task_by_number(tables, app, number)
    if task is not None and task.ended_at is not None:
        merged = merge(read_blocks(tables, app, number))
        tables.run(_DELETE_BLOCKS, app, number)
        append_blocks(tables, app, number, merged)
