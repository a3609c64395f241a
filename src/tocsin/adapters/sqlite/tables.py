"""One connection with what its statements share: short words for SQL, and memory of rows.

Only the writer's `Tables` remembers anything, because only it knows of every change. What it
remembers is right as long as nothing is rolled back; then it forgets and reads anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import apsw
import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.adapters.sqlite.cache import AccountCache, Key, Missing
from tocsin.domain.account import Account, Term, TermKey
from tocsin.domain.app import App
from tocsin.domain.task import Task
from tocsin.errors import CallError

TERMS_MAX = 50_000
TASKS_MAX = 256
ACKED_MAX = 64
"""Rows remembered of each kind; beyond that, all of the kind are forgotten."""

_APP = "SELECT doc FROM app WHERE app = ?"
_TALLY = """
SELECT account, term, device, task, job, credential, change, line, accounts, tags_carried
FROM tally WHERE app = ?
"""
_SET_TALLY = "INSERT OR REPLACE INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_SET_USES = """
INSERT INTO term (app, number, kind, name, account_type, holders)
SELECT ?1, each.value ->> 0, each.value ->> 1, each.value ->> 2, each.value ->> 3, each.value ->> 4
FROM json_each(?2) AS each WHERE true
ON CONFLICT (app, kind, name) DO UPDATE SET holders = excluded.holders
"""

V = TypeVar("V")


class Tally(Struct):
    """The last number given of each noun of an app, and what is counted."""

    account: int = 0
    term: int = 0
    device: int = 0
    task: int = 0
    job: int = 0
    credential: int = 0
    change: int = 0
    line: int = 0
    accounts: int = 0
    tags_carried: int = 0


class Tables:
    """A connection. Statements count the bytes they are given, so that a commit can be bounded."""

    def __init__(self, connection: apsw.Connection, cache: AccountCache) -> None:
        self.connection = connection
        self.cache = cache
        self.terms: dict[tuple[int, str, str], Term] = {}
        self.tasks: dict[tuple[int, int], Task] = {}
        self.acked: dict[tuple[int, int], tuple[int, BitMap]] = {}
        self.accounts: dict[Key, Account | None] = {}
        """Documents written by the present step."""
        self.committing: dict[Key, Account | None] = {}
        """Documents written by earlier steps of the present transaction."""
        self.used_terms: dict[tuple[int, str, str], Term] = {}
        """Terms whose uses the present step has changed. Popular tags change in each step of
        a transaction, so their rows are written once, before it is committed."""
        self.used_terms_committing: dict[tuple[int, str, str], Term] = {}
        """The same, by earlier steps."""
        self.bytes_written = 0
        self.broad_version = 0
        """Grows with each commit that adds or ends a task of many accounts."""
        self._apps: dict[int, App] = {}
        self._tallies: dict[int, Tally] = {}
        self._changed: set[int] = set()
        self._has_written = False
        self._after: list[Callable[[], None]] = []
        self._after_step: list[Callable[[], None]] = []

    # statements

    def all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Every row of the answer."""
        return self.connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of the answer, read as they are asked for."""
        return iter(self.connection.execute(sql, values))

    def one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of the answer."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None without one."""
        row = self.one(sql, *values)
        return row[0] if row else None

    def run(self, sql: str, *values: Any) -> int:
        """Write; answers how many rows were changed."""
        self._has_written = True
        self.bytes_written += 100 + _size(values)
        self.connection.execute(sql, values).fetchall()
        return self.connection.changes()

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Write the same for each row; answers how many rows were changed in all."""
        self._has_written = True
        self.bytes_written += sum(100 + _size(row) for row in rows)
        before = self.connection.total_changes()
        self.connection.executemany(sql, rows).fetchall()
        return self.connection.total_changes() - before

    # rows that each step asks for

    def app(self, app: int) -> App:
        """The app; a call about one that does not exist is the caller's fault."""
        row = self._apps.get(app) or self.find_app(app)
        if row is None:
            raise CallError(70020)
        self._apps[app] = row
        return row

    def find_app(self, app: int) -> App | None:
        """The app, if it exists."""
        doc = self.value(_APP, app)
        return None if doc is None else msgspec.msgpack.decode(doc, type=App)

    def tally(self, app: int) -> Tally:
        """The app's numbers, to read; `give` and `count` change them."""
        tally = self._tallies.get(app)
        if tally is None:
            tally = self._tallies[app] = self.read_tally(app)
        return tally

    def read_tally(self, app: int) -> Tally:
        """The app's numbers as they are in the table."""
        row = self.one(_TALLY, app)
        return Tally(*row) if row else Tally()

    def change_tally(self, app: int) -> Tally:
        """The app's numbers, to change: written when the step is done."""
        self._changed.add(app)
        return self.tally(app)

    def give(self, app: int, noun: str, numbers: Iterable[int]) -> None:
        """Take note of numbers that a decision gave; they must be the next ones."""
        tally = self.change_tally(app)
        last = getattr(tally, noun)
        for number in sorted(numbers):
            last += 1
            assert number == last, f"{noun} {number} is not the next number"
        setattr(tally, noun, last)

    def known_accounts(self, app: int, names: Sequence[str]) -> list[Account | Missing | None]:
        """What is remembered of these accounts, this transaction's own changes first."""
        found = self.cache.find(app, names)
        if self.committing or self.accounts:
            for place, name in enumerate(names):
                key = (app, name)
                found[place] = self.committing.get(key, found[place])
                found[place] = self.accounts.get(key, found[place])
        return found

    def known_terms(self, app: int, keys: Iterable[TermKey]) -> dict[TermKey, Term]:
        """What is remembered of these terms."""
        found = {}
        for key in keys:
            row = (app, *key)
            term = (
                self.used_terms.get(row)
                or self.used_terms_committing.get(row)
                or self.terms.get(row)
            )
            if term is not None:
                found[key] = term
        return found

    def has_unwritten_uses(self, app: int, row: tuple[Any, ...]) -> bool:
        """Whether the row of a term (number, kind, name) is still to be written."""
        return (app, row[1], row[2]) in self.used_terms_committing

    def remember(self, rows: dict[Any, V], key: Any, row: V, rows_max: int) -> V:
        """Keep a row of the writer's for its next steps."""
        if len(rows) >= rows_max:
            rows.clear()
        rows[key] = row
        return row

    def after_commit(self, then: Callable[[], None]) -> None:
        """Do this once the present step is durable."""
        self._after_step.append(then)

    def change_broad(self) -> None:
        """A task of many accounts was added or has ended: lists of them are old."""
        self.broad_version += 1

    # the life of a step, told by the writer

    def end_step(self) -> None:
        """Write what the step has gathered; last, so that the row is locked for a moment only."""
        for app in self._changed:
            tally = self._tallies[app]
            self.run(_SET_TALLY, app, *msgspec.structs.astuple(tally))

    def keep_step(self) -> None:
        """The step is done: what it changed becomes part of the transaction."""
        self._changed.clear()
        self.committing.update(self.accounts)
        self.accounts.clear()
        self.used_terms_committing.update(self.used_terms)
        self.used_terms.clear()
        self._after += self._after_step
        self._after_step.clear()
        self._has_written = False

    def drop_step(self) -> None:
        """The step failed. One that had written nothing leaves memory as it was."""
        if self._has_written or self._changed:
            self._forget()
        self.accounts.clear()
        self.used_terms.clear()
        self._after_step.clear()
        self._changed.clear()
        self._has_written = False

    def write_uses(self) -> None:
        """Write what steps have left for the end of the transaction."""
        by_app: dict[int, list[Term]] = {}
        for (app, _, _), term in self.used_terms_committing.items():
            by_app.setdefault(app, []).append(term)
        for app, terms in by_app.items():
            self.run(_SET_USES, app, json_text(terms))

    def committed(self) -> None:
        """The transaction is durable: let readers see what it changed."""
        for then in self._after:
            then()
        if self.committing:
            self.cache.commit(self.committing.items())
        self._end()

    def rolled_back(self) -> None:
        """Nothing of the transaction happened."""
        self.drop_step()
        self._forget()
        self._end()

    def _end(self) -> None:
        self.committing.clear()
        self.used_terms_committing.clear()
        self._after.clear()
        self.bytes_written = 0

    def _forget(self) -> None:
        self.terms.clear()
        self.tasks.clear()
        self.acked.clear()
        self._apps.clear()
        self._tallies.clear()

    def forget_rows(self, app: int) -> None:
        """Rows of the app have been deleted: none is remembered any more."""
        remembered: tuple[dict[Any, Any], ...] = (
            *(self.terms, self.tasks, self.acked),
            *(self.used_terms, self.used_terms_committing),
        )
        for rows in remembered:
            for key in [key for key in rows if key[0] == app]:
                del rows[key]

    def forget_app(self, app: int) -> None:
        """The app's row is about to change."""
        self._apps.pop(app, None)


def integers(numbers: Iterable[int]) -> Any:
    """Numbers as a table-valued parameter: `carray(?)`. There must be at least one."""
    return apsw.carray(array("q", numbers))


def json_text(value: Any) -> str:
    """Texts or rows as a table-valued parameter: `json_each(?)`."""
    return msgspec.json.encode(value).decode()


def _size(values: Iterable[Any]) -> int:
    return sum(len(value) for value in values if isinstance(value, bytes | str))
