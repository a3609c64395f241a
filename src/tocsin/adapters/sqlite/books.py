"""The books of tasks: outcome blocks and reports, read page by page."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from pyroaring import BitMap

from tocsin.adapters.sqlite.queue import begun_jobs, jobs_of
from tocsin.adapters.sqlite.tables import ACKED_MAX, Tables, integers
from tocsin.adapters.sqlite.tasks import task_by_number
from tocsin.domain.books import Lines
from tocsin.domain.task import Block, Job, Report, Stage
from tocsin.store import LINES_BYTES_MAX

_BLOCKS = """
SELECT line, job, at, kind, state, channel, code, info, members FROM block
WHERE app = ? AND task = ? AND line > ? ORDER BY line
"""
_REPORTS = """
SELECT line, stage, channel, at, code, members FROM report
WHERE app = ? AND task = ? AND line > ? ORDER BY line
"""
_APPEND_BLOCK = """
INSERT INTO block (app, line, task, job, at, kind, state, channel, code, info, members)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FIRST_BLOCKS = """
SELECT line, job, at, kind, state, channel, code, info, members FROM block
WHERE app = ? AND task = ? ORDER BY line LIMIT ?
"""
_DELETE_BLOCKS = "DELETE FROM block WHERE app = ? AND task = ? AND line <= ?"
_UNMERGED = "SELECT task FROM unmerged WHERE app = ? ORDER BY task LIMIT ?"
_MERGED = "DELETE FROM unmerged WHERE app = ? AND task = ?"
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


def read_lines(
    tables: Tables, app: int, number: int, after: int, *, limit: int, only_begun: bool
) -> Lines | None:
    """A page of a task's lines. The caller sees to it that it is one moment."""
    task = task_by_number(tables, app, number)
    if task is None:
        return None
    blocks: list[Block] = []
    reports: list[Report] = []
    position, size, is_last = after, 0, True
    asked = (app, number, after)
    # Both are in the order of their lines, and are read no further than the page goes.
    of_blocks = ((*row, True) for row in tables.each(_BLOCKS, *asked))
    of_reports = ((*row, False) for row in tables.each(_REPORTS, *asked))
    for line, *row, is_block in heapq.merge(of_blocks, of_reports, key=itemgetter(0)):
        if len(blocks) + len(reports) == limit or size > LINES_BYTES_MAX:
            is_last = False
            break
        if is_block:
            blocks.append(_block(number, *row))
        else:
            reports.append(_report(number, *row))
        position = line
        size += len(row[-1])
    jobs: list[Job] = []
    if is_last:
        jobs = (begun_jobs if only_begun else jobs_of)(tables, app, number)
    return Lines(
        task=task, blocks=blocks, reports=reports, position=position, is_last=is_last, jobs=jobs
    )


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


def find_acked(tables: Tables, app: int, task: int) -> BitMap:
    """Devices that reached or clicked, for the writer: it remembers how far it has read, because
    each batch asks anew. The caller gets a bitmap of its own.
    """
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


def merge_ended(
    tables: Tables, app: int, merge: Callable[[Sequence[Block]], list[Block]], limit: int
) -> bool:
    """Merge up to `limit` blocks of ended tasks; answers whether anything is left to merge."""
    left = limit
    for (number,) in tables.all(_UNMERGED, app, limit):
        rows = tables.all(_FIRST_BLOCKS, app, number, left)
        blocks = [_block(number, *row) for _, *row in rows]
        if len(blocks) == left < limit:
            # It has more than the rest of this call; the next one begins with it.
            break
        merged = merge(blocks)
        if len(merged) < len(blocks):
            tables.run(_DELETE_BLOCKS, app, number, rows[-1][0])
            append_blocks(tables, app, number, merged)
        if len(blocks) < left or 2 * len(merged) > len(blocks):
            # All have been merged together; or so many differ that another round gains nothing.
            tables.run(_MERGED, app, number)
        left -= len(blocks) + 1
        if left <= 0:
            break
    return tables.one(_UNMERGED, app, 1) is not None
