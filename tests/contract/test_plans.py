"""How SQLite would carry out each statement: by index, beginning with the app.

A statement that scans a table is slow on the day the table is large, and one whose search does not
begin with the app could find another app's rows, or could not be sent to where that app lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import apsw
import pytest

from tocsin.adapters.sqlite import accounts, books, devices, queue, removal, steps, tables, tasks
from tocsin.adapters.sqlite.cache import AccountCache
from tocsin.adapters.sqlite.folder import open_writer

MODULES = (accounts, books, devices, queue, removal, steps, tables, tasks)

EVERY_APP = ("_APPS", "_RELEASE", "_NEXT_FREE", "_NEXT_HELD", "_DEPTH")
"""Statements of verbs that serve all apps at once; those that walk do so along an index."""


def statements() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        for name, value in vars(module).items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT)\b", text):
                    yield _name(module, name), text


def _name(module: ModuleType, name: str) -> str:
    return f"{module.__name__.rsplit('.', maxsplit=1)[-1]}.{name}"


STATEMENTS = list(statements())


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    folder: Path = tmp_path_factory.mktemp("plans")
    connection = open_writer(folder / "plans.db", vfs=None, busy_s=0)
    yield connection
    connection.close()


def plan(database: apsw.Connection, statement: str) -> list[str]:
    numbered = [int(found) for found in re.findall(r"\?(\d+)", statement)]
    count = max(numbered) if numbered else statement.count("?")
    rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", (None,) * count)
    return [str(row[3]) for row in rows]


def faults(database: apsw.Connection, name: str, statement: str) -> list[str]:
    """The steps of the plan that scan a table or search without the app."""
    found = []
    for step in plan(database, statement):
        is_table = "VIRTUAL TABLE" not in step and "(subquery" not in step
        if step.startswith("SCAN") and is_table and not _is_walk(name, step):
            found.append(step)
        if step.startswith("SEARCH") and not re.search(r"\((\()?app[=>,]|rowid=", step):
            found.append(step)
    return found


def _is_walk(name: str, step: str) -> bool:
    if step in {"SCAN app", "SCAN collapse_mark", "SCAN collapse_unmarked"}:
        return True
    return name.split(".")[1] in EVERY_APP and "USING" in step


@pytest.mark.evidence(
    "every statement searches by app",
    topic="Books",
    planted="a statement that cannot use its index",
)
@pytest.mark.parametrize(("name", "statement"), STATEMENTS)
def test_a_statement_searches_by_app(database: apsw.Connection, name: str, statement: str) -> None:
    assert faults(database, name, statement) == []


def test_statements_are_found() -> None:
    assert len(STATEMENTS) > 60


@pytest.mark.parametrize(
    "planted",
    [
        "SELECT doc FROM device WHERE user = ? AND user <> 0",
        "SELECT number FROM task WHERE task_id = ?",
        "SELECT count(*) FROM job WHERE app = ? OR holder = ?",
        "DELETE FROM report WHERE line = ?",
    ],
)
def test_a_planted_scan_is_noticed(database: apsw.Connection, planted: str) -> None:
    assert faults(database, "tasks.PLANTED", planted)


def test_the_first_free_job_is_one_descent(database: apsw.Connection) -> None:
    for name, time in (("_NEXT_FREE", "not_before"), ("_NEXT_HELD", "leased_until")):
        (step,) = plan(database, vars(queue)[name])
        assert f"(app,queue,lane,{time})>(?,?,?,?)" in step
    (free,) = plan(database, vars(queue)["_FREE"])
    assert "job_free (app=? AND queue=? AND lane=? AND not_before<?)" in free


async def test_the_next_queue_is_found_without_stepping_over_a_long_one(tmp_path: Path) -> None:
    """Counted in SQLite's own steps: 2000 waiting jobs cost no more than two."""
    connection = open_writer(tmp_path / "heads.db", vfs=None, busy_s=0)
    costs = []
    for rows in (2, 2000):
        connection.execute("DELETE FROM job")
        connection.executemany(
            "INSERT INTO job (app, number, task, queue, lane, not_before, attempt, body)"
            " VALUES (1, ?, 1, 'q', 1, ?, 0, x'')",
            [(number, float(number)) for number in range(rows)],
        )
        steps = 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        connection.set_progress_handler(count, 1)
        found = queue.heads(tables.Tables(connection, AccountCache(1)), 0.0)
        connection.set_progress_handler(None)
        assert [(head.queue, head.ready_at) for head in found] == [("q", 0.0)]
        costs.append(steps)
    connection.close()
    assert costs[1] <= costs[0] + 5, costs


def test_a_device_of_two_accounts_that_are_asked_for_is_read_once(tmp_path: Path) -> None:
    """A push to everyone asks for each device by its user and by its own account."""
    connection = open_writer(tmp_path / "twice.db", vfs=None, busy_s=0)
    row = "INSERT INTO device (app, number, registration_id, account, user, doc)"
    connection.executemany(
        f"{row} VALUES (1, ?1, ?1, ?1 + 10, ?1 + 20, ?1)", [(number,) for number in range(1, 5)]
    )
    read = []
    for statement in (vars(devices)["_BY_ACCOUNT"], vars(devices)["_BY_USER"]):
        asked = tables.integers([11, 12, 22, 23])
        ((docs,),) = connection.execute(statement, (1, asked))
        read += docs.strip("[]").split(",")
    connection.close()
    assert read == ["1", "2", "3"]
