"""Frozen audiences, and which living tasks are for an account.

A task of few accounts has a row for each of them in the inboxes, a broad one a single row, as long
as it lives. The task that takes another one back is offered to nobody, and is in no inbox.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyroaring import BitMap

from tocsin.adapters.sqlite.tables import Tables, integers
from tocsin.domain.task import Task
from tocsin.store import INBOX_ACCOUNTS_MAX

_AUDIENCE = "SELECT members FROM audience WHERE app = ? AND task = ?"
_SET_AUDIENCE = "INSERT OR REPLACE INTO audience (app, task, members) VALUES (?, ?, ?)"
_COPY_AUDIENCE = """
INSERT INTO audience (app, task, members)
SELECT app, ?3, members FROM audience WHERE app = ?1 AND task = ?2
"""
_ADD = "INSERT OR IGNORE INTO inbox (app, account, task) SELECT ?1, value, ?3 FROM carray(?2)"
_ADD_BROAD = "INSERT OR IGNORE INTO broad (app, task) VALUES (?, ?)"
_REMOVE = """
DELETE FROM inbox WHERE app = ?1 AND account IN (SELECT value FROM carray(?2)) AND task = ?3
"""
_REMOVE_BROAD = "DELETE FROM broad WHERE app = ? AND task = ?"
_INBOX = """
SELECT task.doc FROM carray(?2) AS asked
CROSS JOIN inbox ON inbox.app = ?1 AND inbox.account = asked.value
CROSS JOIN task ON task.app = ?1 AND task.number = inbox.task
WHERE task.ended_at IS NULL GROUP BY task.number ORDER BY task.number
"""
_BROAD = """
SELECT broad.task FROM broad CROSS JOIN task ON task.app = broad.app AND task.number = broad.task
WHERE broad.app = ? AND task.ended_at IS NULL ORDER BY broad.task
"""
_IS_IN_INBOX = "SELECT 1 FROM inbox WHERE app = ? AND account = ? AND task = ?"


def read_audience(tables: Tables, app: int, task: int) -> BitMap:
    members = tables.value(_AUDIENCE, app, task)
    return BitMap() if members is None else BitMap.deserialize(members)


def write_audience(tables: Tables, task: Task, members: bytes) -> None:
    """Freeze a task's audience. One that replaces another, if that happens, replaces its rows."""
    app, number = task.app, task.number
    remove_from_inboxes(tables, app, number)
    tables.run(_SET_AUDIENCE, app, number, members)
    if task.overwrites is None and task.ended_at is None:
        add_to_inboxes(tables, app, number, BitMap.deserialize(members))


def copy_audience(tables: Tables, app: int, task: int, overwrite: int) -> None:
    tables.run(_COPY_AUDIENCE, app, task, overwrite)


def add_to_inboxes(tables: Tables, app: int, task: int, audience: BitMap) -> None:
    if len(audience) > INBOX_ACCOUNTS_MAX:
        tables.run(_ADD_BROAD, app, task)
        tables.after_commit(tables.change_broad)
    elif audience:
        tables.run(_ADD, app, integers(audience), task)


def remove_from_inboxes(tables: Tables, app: int, task: int) -> None:
    audience = read_audience(tables, app, task)
    if len(audience) > INBOX_ACCOUNTS_MAX:
        tables.run(_REMOVE_BROAD, app, task)
        tables.after_commit(tables.change_broad)
    elif audience:
        tables.run(_REMOVE, app, integers(audience), task)


def is_in_inboxes(tables: Tables, app: int, task: int, audience: BitMap) -> bool:
    """Whether a task of few accounts has its rows; they are written and deleted together."""
    return tables.one(_IS_IN_INBOX, app, audience[0], task) is not None


def read_inbox(tables: Tables, app: int, accounts: Sequence[int]) -> list[bytes]:
    """The documents of the living tasks of few accounts that are for these, oldest first."""
    return [doc for (doc,) in tables.all(_INBOX, app, integers(accounts))]


def read_broad(tables: Tables, app: int) -> list[int]:
    return [number for (number,) in tables.all(_BROAD, app)]
