"""The data folder: one process at a time, one database, and the schema it has grown to."""

from __future__ import annotations

import fcntl
import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

import apsw

DATABASE = "tocsin.db"
LOCK = "lock"
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 16_384
PACKAGE = "tocsin.adapters.sqlite"
RELEASE_SINCE = 7
"""The schema file that made the table `release`."""
CONTRACTS = "-- contracts\n"
"""First line of a schema file after which the release before it must not write any more."""

_LEAST_READER = "SELECT least_reader FROM release"
_SET_RELEASE = "UPDATE release SET schema = ?1, least_reader = iif(?2, ?1, least_reader)"


class FolderInUse(Exception):
    """Another process has the data folder open."""


class SchemaTooNew(Exception):
    """A later release has changed the database so that this one must not write to it."""


def lock_folder(folder: Path) -> IO[str]:
    """Hold the folder until the answered file is closed, even if by the death of the process."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (folder / LOCK).open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise FolderInUse(
            f"{folder} is in use by process {holder}; only one process may open a data folder"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def open_writer(path: Path, *, vfs: str | None, busy_s: float) -> apsw.Connection:
    """The connection that writes: commits survive a power cut, checkpoints are its own work."""
    connection = _open(path, vfs, WRITER_CACHE_KIB)
    connection.set_busy_timeout(int(busy_s * 1000))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    migrate(connection)
    return connection


def open_reader(path: Path, *, vfs: str | None) -> apsw.Connection:
    """A connection that cannot write."""
    connection = _open(path, vfs, READER_CACHE_KIB)
    connection.pragma("query_only", 1)
    return connection


def _open(path: Path, vfs: str | None, cache_kib: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=200)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("temp_store", "memory")
    return connection


def migrate(connection: apsw.Connection, schema: Traversable | None = None) -> None:
    """Run the schema files that this database has not seen, each in a transaction.

    A database that has seen more than we know is used as it is, unless one of those files
    contracts: then `SchemaTooNew` is raised and nothing is written. Files are only ever added to,
    and the previous release runs on the next one's schema as long as that only adds.
    """
    folder = schema or resources.files(PACKAGE).joinpath("schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    files = {int(name.split("_")[0]): name for name in names}
    seen = int(connection.pragma("user_version"))
    _refuse_newer(connection, seen, max(files))
    for number, name in files.items():
        if number > seen:
            text = folder.joinpath(name).read_text("utf-8")
            with connection:
                connection.execute(text).fetchall()
                connection.pragma("user_version", number)
                if number >= RELEASE_SINCE:
                    is_contracting = text.startswith(CONTRACTS)
                    connection.execute(_SET_RELEASE, (number, is_contracting)).fetchall()


def _refuse_newer(connection: apsw.Connection, seen: int, known: int) -> None:
    if seen <= known:
        return
    try:
        ((least,),) = connection.execute(_LEAST_READER).fetchall()
    except (apsw.SQLError, ValueError):
        # No release of ours has numbered it: nothing says that we may write.
        least = seen
    assert isinstance(least, int), least
    if known < least:
        raise SchemaTooNew(
            f"was last written by a newer release: its schema is {seen}, which releases with "
            f"{least} or more can write; this one has {known}"
        )
