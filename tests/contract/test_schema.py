"""Which releases may write to a database: `schema` and `least_reader`."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import apsw
import pytest

from tocsin.adapters.sqlite.folder import (
    CONTRACTS,
    PACKAGE,
    RELEASE_SINCE,
    SchemaTooNew,
    migrate,
)

NEXT = RELEASE_SINCE + 100
"""Number of a schema file that a release to come brings."""
ADDS = "CREATE TABLE of_the_future (value INTEGER);\n"


def release_to_come(folder: Path, text: str) -> Path:
    """Our schema files and one more."""
    with resources.as_file(resources.files(PACKAGE).joinpath("schema")) as ours:
        shutil.copytree(ours, folder)
    (folder / f"{NEXT:04}_to_come.sql").write_text(text)
    return folder


def said(connection: apsw.Connection) -> tuple[object, ...]:
    (row,) = connection.execute("SELECT schema, least_reader FROM release").fetchall()
    return (*row, connection.pragma("user_version"))


def max_schema() -> int:
    """The number of the last file of this release."""
    folder = resources.files(PACKAGE).joinpath("schema")
    return max(int(each.name[:4]) for each in folder.iterdir() if each.name.endswith(".sql"))


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


def test_a_database_says_its_schema_and_who_may_write(connection: apsw.Connection) -> None:
    migrate(connection)
    schema, least, version = said(connection)
    assert schema == version
    assert version == max_schema()
    assert least == 5


@pytest.mark.evidence(
    "a database that a newer release changed is written only where that release allows it",
    topic="The data folder",
    planted="`least_reader` not compared; a contracting file that does not raise it",
)
def test_a_step_that_only_adds_runs_under_this_release(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    migrate(connection, release_to_come(tmp_path / "schema", ADDS))
    assert said(connection) == (NEXT, 5, NEXT)
    migrate(connection)
    assert said(connection) == (NEXT, 5, NEXT)


@pytest.mark.evidence(
    "a database that a newer release changed is written only where that release allows it",
)
def test_a_step_that_contracts_is_refused_by_this_release_and_says_why(
    connection: apsw.Connection, tmp_path: Path
) -> None:
    schema = release_to_come(tmp_path / "schema", CONTRACTS + ADDS)
    migrate(connection, schema)
    assert said(connection) == (NEXT, NEXT, NEXT)
    migrate(connection, schema)
    with pytest.raises(SchemaTooNew, match=f"newer release: its schema is {NEXT}, which releases"):
        migrate(connection)
    assert said(connection) == (NEXT, NEXT, NEXT)


def test_a_database_that_no_release_of_ours_numbered_is_refused(
    connection: apsw.Connection,
) -> None:
    connection.pragma("user_version", NEXT)
    with pytest.raises(SchemaTooNew):
        migrate(connection)
