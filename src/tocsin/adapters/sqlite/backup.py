"""A backup of the database while it is written: a copy made in short steps, checked, and named.

The copy is made over the writer's own connection, between its commits: what is written meanwhile
is written into the copy as well, so it never starts anew and no read holds up the log. It shows
the moment at which it is finished. The manifest comes last: a folder without one, or with one that
does not fit, is half a backup, and nobody restores it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from tocsin.adapters.durable import sync
from tocsin.adapters.sqlite.cache import AccountCache
from tocsin.adapters.sqlite.folder import DATABASE
from tocsin.adapters.sqlite.restores import read_numbers, read_restored
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.adapters.sqlite.tables import Tables
from tocsin.adapters.sqlite.writer import explained
from tocsin.clock import Clock
from tocsin.errors import CallError, StoreError
from tocsin.ports import Backups

MANIFEST = "backup.json"
MANIFEST_MAX_BYTES = 65_536
FORMAT = 1
STEP_PAGES = 256
"""Pages copied between two commits: 1 MiB, a millisecond or two."""
RESTARTS_MAX = 20
"""Transactions rolled back as a whole make the copy start anew: a disk that fails, say."""
READ_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Pages copied so far, of how many."""


class FileFacts(Struct, frozen=True, kw_only=True):
    """A file of a backup, as it was written."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup consists of, and what it takes to restore it."""

    format: int
    version: str
    """Of the release that wrote it."""
    schema: int
    generation: int
    """Restores that its database has gone through."""
    backup_at: float
    """The moment that it shows, Unix seconds: everything answered by then is in it."""
    keys: tuple[str, ...]
    """Ids of the secret keys that open it. The keys themselves are kept apart."""
    files: dict[str, FileFacts]


class SqliteBackups:
    """Writes backups of an open store."""

    def __init__(
        self, store: SqliteStore, data: Path, clock: Clock, key_ids: Callable[[], Sequence[str]]
    ) -> None:
        self._store = store
        self._data = data
        self._clock = clock
        self._key_ids = key_ids

    async def write(self, folder: str, progress: Progress) -> dict[str, Any]:
        target = Path(folder)
        await asyncio.to_thread(self._prepare, target)
        with contextlib.ExitStack() as undo:
            # Half a backup is worse than none: it looks like one.
            for left in (target / DATABASE, target / f"{MANIFEST}.new"):
                undo.callback(left.unlink, missing_ok=True)
            try:
                backup_at = await self._copy(target / DATABASE, progress)
                manifest = await asyncio.to_thread(self._seal, target, backup_at)
            except OSError as fault:
                raise StoreError(f"the backup cannot be written: {fault}") from fault
            undo.pop_all()
        size = sum(facts.size for facts in manifest.files.values())
        return {
            "folder": folder,
            "bytes": size,
            "backup_at": backup_at,
            "generation": manifest.generation,
            "keys": list(manifest.keys),
        }

    def _prepare(self, target: Path) -> None:
        if not target.is_absolute():
            raise CallError(70402, "name the folder of the backup by its whole path")
        if self._data.resolve() in (target.resolve(), *target.resolve().parents):
            raise CallError(70402, f"{target} is in the data folder, and would be lost with it")
        try:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            has_files = any(target.iterdir())
        except OSError as fault:
            raise CallError(70402, f"the folder of the backup cannot be made: {fault}") from fault
        if has_files:
            raise CallError(70402, f"{target} is not empty: name a new folder for each backup")

    async def _copy(self, path: Path, progress: Progress) -> float:
        """Copy the database; answers the moment that the copy shows."""
        with contextlib.closing(_new_copy(path)) as copy:
            backup = await self._store.between(lambda live: copy.backup("main", live, "main"))
            try:
                return await self._step_through(backup, progress)
            finally:
                with contextlib.suppress(StoreError):
                    await asyncio.shield(self._store.between(lambda _: backup.close(force=True)))

    async def _step_through(self, backup: apsw.Backup, progress: Progress) -> float:
        restarts, before = 0, None

        def step(_: apsw.Connection) -> float | None:
            if not backup.step(STEP_PAGES):
                return None
            # In the same moment: a commit after this one is not in the copy.
            backup.finish()
            return self._clock.now()

        while True:
            backup_at = await self._store.between(step)
            if backup_at is not None:
                return backup_at
            total, left = backup.page_count, backup.remaining
            progress(total - left, total)
            restarts += before is not None and left > before + STEP_PAGES
            before = left
            if restarts > RESTARTS_MAX:
                raise StoreError("the copy started anew too often: is the data folder's disk well?")

    def _seal(self, target: Path, backup_at: float) -> Manifest:
        path = target / DATABASE
        sync(path)
        schema, generation = _check(path)
        manifest = Manifest(
            format=FORMAT,
            version=version("tocsin"),
            schema=schema,
            generation=generation,
            backup_at=backup_at,
            keys=tuple(self._key_ids()),
            files={DATABASE: facts_of(path)},
        )
        draft = target / f"{MANIFEST}.new"
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target / MANIFEST)
        sync(target)
        sync(target.parent)
        return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a whole backup, its files compared with it.

    Raises `ValueError` for half a backup, a damaged one and what is none, `OSError` where it cannot
    be read. Reads every byte of it.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            manifest = msgspec.json.decode(file.read(MANIFEST_MAX_BYTES), type=Manifest)
    except FileNotFoundError:
        raise ValueError(f"{folder} is no whole backup: it has no {MANIFEST}") from None
    except msgspec.DecodeError as fault:
        raise ValueError(f"{folder / MANIFEST} is damaged: {fault}") from fault
    if manifest.format != FORMAT or DATABASE not in manifest.files:
        raise ValueError(f"{folder} is a backup of a form that this release does not know")
    path = folder / DATABASE
    if not path.exists() or facts_of(path) != manifest.files[DATABASE]:
        raise ValueError(f"{path} is not the file that was backed up: it is damaged or cut off")
    return manifest


def known_numbers(path: Path) -> tuple[int, dict[int, dict[str, int]]]:
    """The generation of a database and the numbers that it has given, by app.

    Nothing, where it cannot be read: then the gap that a restore leaves has to do.
    """
    try:
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            tables = Tables(connection, AccountCache(1))
            restored = read_restored(tables)
            return (restored.generation if restored else 0), read_numbers(tables)
    except (apsw.Error, msgspec.DecodeError):
        return 0, {}


def _check(path: Path) -> tuple[int, int]:
    """The schema and the generation of a copy; raises `StoreError` where it is not whole."""
    try:
        with contextlib.closing(open_copy(path)) as copy:
            said = copy.pragma("quick_check")
            if said != "ok":
                raise StoreError(f"the copy is damaged: {said}")
            restored = read_restored(Tables(copy, AccountCache(1)))
            return int(copy.pragma("user_version")), restored.generation if restored else 0
    except apsw.Error as error:
        raise explained(error) from error


def _new_copy(path: Path) -> apsw.Connection:
    copy = apsw.Connection(str(path))
    path.chmod(0o600)
    # Nobody reads it before it is whole, synced and named by the manifest.
    copy.pragma("journal_mode", "off")
    copy.pragma("synchronous", "off")
    return copy


def open_copy(path: Path) -> apsw.Connection:
    """A database that nobody writes, to read: nothing is made beside it."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)


def facts_of(path: Path) -> FileFacts:
    """The size and the hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
        return FileFacts(size=file.tell(), sha256=digest.hexdigest())


def _fits(backups: SqliteBackups) -> Backups:
    return backups
