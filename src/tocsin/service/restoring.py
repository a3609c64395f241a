"""Replaces a data folder's database by a backup, as a new generation that is held at first.

The restore builds the database in a folder inside the data folder and renames the database into
its place last. A folder whose restore was interrupted is not served until the restore has run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.adapters.durable import sync
from tocsin.adapters.erasures import FILE as ERASURES
from tocsin.adapters.erasures import add_erasures, read_erasures
from tocsin.adapters.sqlite.backup import Manifest, known_numbers, read_manifest
from tocsin.adapters.sqlite.folder import DATABASE, FolderInUse, SchemaTooNew, lock_folder
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.adapters.vault import has_key, key_id, write_keys
from tocsin.clock import Clock
from tocsin.config import Config
from tocsin.domain.account import AccountsEdit, AccountsView, delete_accounts
from tocsin.domain.erasure import erased_name
from tocsin.domain.restore import GAPS, Numbers, Restored, begin_generation
from tocsin.errors import SetupError
from tocsin.service.data_folder import (
    INDEX,
    KEY_FILE,
    RESTORING,
    key_environment,
    read_keys,
    refuse_another,
    unusable,
)

PAGE = 1000
"""Accounts read in one step."""
COPY_BYTES = 1 << 22

Progress = Callable[[int, int], None]
"""Called with the bytes copied so far and the bytes of the whole backup."""


class RestoredFolder(Struct, frozen=True, kw_only=True):
    """The result of a restore."""

    data: str
    backup_at: float
    """Time of the backup, and so of the folder's present state; Unix seconds."""
    generation: int
    erased: int
    """Accounts that had been erased since the backup and were erased again."""
    erasures: str
    """Path of the list of erasures; empty where there was none."""
    moved_to: str
    """Folder of the former database and index; empty where there was none."""


class RestorePlan(Struct, frozen=True, kw_only=True):
    """The backup to restore, and how."""

    backup: Path
    keys: Sequence[bytes] = ()
    """Keys for the restored folder; none: those of the folder or of the environment."""
    erasures: Path | None = None
    """A list of erasures to use instead of the folder's own."""
    replaces: bool = False
    """Whether a database in the folder may be moved aside."""


async def restore(
    plan: RestorePlan, config: Config, clock: Clock, progress: Progress = lambda _done, _total: None
) -> RestoredFolder:
    """Restores a backup into the data folder of `config`, which is held afterwards.

    Raises `SetupError` for an incomplete backup, a key that does not open it, a folder in use, and
    a folder with a database unless `plan.replaces` is true. Then the folder is as it was.
    """
    folder = Path(config.data)
    try:
        manifest = await asyncio.to_thread(read_manifest, plan.backup)
    except (OSError, ValueError) as fault:
        raise SetupError(str(fault), "name the folder of a whole backup") from fault
    if (folder / DATABASE).exists() and not plan.replaces:
        what = f"{folder} has a database already"
        raise SetupError(what, "name a new folder, or say --replace: it is moved aside, and kept")
    keys = _keys(plan, folder, config, manifest)
    with contextlib.ExitStack() as stack:
        stack.callback(os.umask, os.umask(0o077))
        try:
            stack.callback(lock_folder(folder).close)
            return await _Restoring(plan, folder, keys, clock).run(manifest, progress)
        except FolderInUse as fault:
            raise SetupError(f"the data folder {fault}", "end that process first") from fault
        except OSError as fault:
            raise unusable(folder, fault) from fault


def _keys(plan: RestorePlan, folder: Path, config: Config, manifest: Manifest) -> Sequence[bytes]:
    """The keys of the restored folder, of which one opens the backup; else `SetupError`."""
    keys = plan.keys
    try:
        if not keys and has_key(folder / KEY_FILE, key_environment(config)):
            keys = read_keys(folder, config)
    except (OSError, ValueError) as fault:
        raise SetupError(f"the secret key cannot be used: {fault}", "--key-file FILE") from fault
    advice = (
        "--key-file FILE: the secret.key of the folder that was backed up, which no backup holds"
    )
    if not keys:
        raise SetupError("the secret key of the backup is needed", advice)
    if not {key_id(key) for key in keys} & set(manifest.keys):
        wanted = ", ".join(manifest.keys)
        raise SetupError(f"the key does not open this backup: that takes {wanted}", advice)
    return keys


class _Restoring:
    """One restore, under the folder's lock."""

    def __init__(
        self, plan: RestorePlan, folder: Path, keys: Sequence[bytes], clock: Clock
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._staging = folder / RESTORING
        self._keys = keys
        self._clock = clock

    async def run(self, manifest: Manifest, progress: Progress) -> RestoredFolder:
        erased_names, erasures = self._erasures(manifest.backup_at)
        numbers, generation = await asyncio.to_thread(self._later_history)
        with contextlib.ExitStack() as undo:
            # A refused restore leaves the folder as it was. A killed one leaves the staging folder,
            # so that the data folder is not served.
            undo.callback(shutil.rmtree, self._staging, ignore_errors=True)
            restored, erased = await self._build(
                manifest, erased_names, (numbers, generation), progress
            )
            moved_to = await asyncio.to_thread(self._put_in_place, restored.generation)
            undo.pop_all()
        return RestoredFolder(
            data=str(self._folder),
            backup_at=manifest.backup_at,
            generation=restored.generation,
            erased=erased,
            erasures=erasures,
            moved_to=moved_to,
        )

    async def _build(
        self,
        manifest: Manifest,
        erased_names: Mapping[int, Collection[str]],
        later: tuple[Mapping[int, Numbers], int],
        progress: Progress,
    ) -> tuple[Restored, int]:
        """Build the new generation in the staging folder."""
        numbers, generation = later
        await asyncio.to_thread(self._copy, progress)
        decide = begin_generation(
            self._clock.now(), manifest.backup_at, known=numbers, generation=generation
        )
        async with contextlib.AsyncExitStack() as stack:
            store = SqliteStore(self._staging, self._clock)
            try:
                await store.start(stack)
            except SchemaTooNew as fault:
                advice = "restore it with the release that wrote it, or a newer one"
                raise SetupError(f"the backup {fault}", advice) from fault
            apps = [app for number in await store.apps() if (app := await store.app(number))]
            refuse_another(self._keys, apps, "the key")
            restored = await store.begin_generation(decide)
            return restored, await erase_again(store, erased_names)

    def _erasures(self, backup_at: float) -> tuple[Mapping[int, Collection[str]], str]:
        """Hashes of the names erased since the backup, by app, and the path of their list."""
        path = self._plan.erasures or self._folder / ERASURES
        if not path.exists():
            if self._plan.erasures is not None:
                raise SetupError(f"the list of erasures {path} does not exist", "--erasures FILE")
            return {}, ""
        try:
            names: dict[int, set[str]] = {}
            for line in read_erasures(path):
                if line.at >= backup_at:
                    names.setdefault(line.app, set()).add(line.name)
        except (OSError, ValueError) as fault:
            raise SetupError(
                f"the list of erasures cannot be used: {fault}", "--erasures FILE"
            ) from fault
        return names, str(path)

    def _later_history(self) -> tuple[dict[int, dict[str, int]], int]:
        """The highest numbers and the last generation of every database that this folder had.

        The restored database goes on above them, so that no number is given twice.
        """
        numbers: dict[int, dict[str, int]] = {}
        generation = 0
        for path in (self._folder / DATABASE, *self._folder.glob(f"replaced-*/{DATABASE}")):
            if not path.exists():
                continue
            its_generation, its_numbers = known_numbers(path)
            generation = max(generation, its_generation)
            for app, last in its_numbers.items():
                before = numbers.get(app, last)
                numbers[app] = {noun: max(last[noun], before[noun]) for noun in GAPS}
        return numbers, generation

    def _copy(self, progress: Progress) -> None:
        if self._staging.exists():
            shutil.rmtree(self._staging)
        self._staging.mkdir(mode=0o700)
        sync(self._folder)
        source = self._plan.backup / DATABASE
        total, done = source.stat().st_size, 0
        with source.open("rb") as read, (self._staging / DATABASE).open("wb") as written:
            while part := read.read(COPY_BYTES):
                written.write(part)
                done += len(part)
                progress(done, total)
            written.flush()
            os.fsync(written.fileno())

    def _put_in_place(self, generation: int) -> str:
        """Move the former files aside, then rename the new database into its place."""
        left = [path.name for path in self._staging.glob(f"{DATABASE}-*")]
        assert not left, f"the database was not closed whole: {left}"
        folder, aside = self._folder, self._folder / f"replaced-{generation}"
        former = [folder / DATABASE, *folder.glob(f"{DATABASE}-*"), folder / INDEX]
        former = [path for path in former if path.exists()]
        if self._plan.keys:
            former += [path for path in (folder / KEY_FILE,) if path.exists()]
        if former:
            aside.mkdir(mode=0o700, exist_ok=True)
            for path in former:
                path.rename(aside / path.name)
            sync(aside)
        if self._plan.keys:
            write_keys(folder / KEY_FILE, self._keys)
        if self._plan.erasures is not None:
            add_erasures(folder / ERASURES, self._plan.erasures)
        (self._staging / DATABASE).rename(folder / DATABASE)
        sync(folder)
        shutil.rmtree(self._staging)
        return str(aside) if former else ""


async def erase_again(store: SqliteStore, erased_names: Mapping[int, Collection[str]]) -> int:
    """Deletes the accounts with these hashed names, by app, in one pass; answers their number."""
    key = await store.erasure_key()
    count = 0
    for app, hashes in erased_names.items():
        if await store.app(app) is None:
            continue
        after = 0
        while accounts := await store.scan_accounts(app, after, PAGE):
            after = accounts[-1].number
            erased = [it for it in accounts if erased_name(key, app, it.name) in hashes]
            if erased:
                numbers = BitMap([account.number for account in erased])
                # A user's device has an account of its own and is deleted with the user.
                devices = await store.devices_of(app, numbers)
                own = [device.registration_id for device in devices]
                names = list(dict.fromkeys([*(account.name for account in erased), *own]))
                await store.update_accounts(app, names, [], _deleting(names))
                count += len(erased)
    return count


def _deleting(names: Sequence[str]) -> Callable[[AccountsView], AccountsEdit]:
    """The decision of `account_delete`, also where the app no longer allows it: it did then."""
    decide = delete_accounts(names)

    def decided(view: AccountsView) -> AccountsEdit:
        app = msgspec.structs.replace(view.app, can_delete_accounts=True)
        return decide(msgspec.structs.replace(view, app=app))

    return decided
