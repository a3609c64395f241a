"""The embedded store: one folder, one writer, and readers that never wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import apsw
from msgspec import Struct
from pyroaring import BitMap

from tocsin.adapters.sqlite import (
    accounts,
    audiences,
    books,
    devices,
    queue,
    removal,
    restores,
    steps,
    tasks,
)
from tocsin.adapters.sqlite.cache import AccountCache, Missing
from tocsin.adapters.sqlite.folder import DATABASE, lock_folder, open_reader, open_writer
from tocsin.adapters.sqlite.queue import lease_jobs, wake_way
from tocsin.adapters.sqlite.tables import Tables
from tocsin.adapters.sqlite.writer import Rank, Writer, explained
from tocsin.clock import Clock
from tocsin.domain.account import USER, Account, AccountsEdit, AccountsView, Change, Term, TermKey
from tocsin.domain.app import App, Credential
from tocsin.domain.books import Lines
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.device import Device, DeviceEdit, DeviceRows, DeviceView, Route
from tocsin.domain.device_index import DeviceChanges, IndexedDevice
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    Job,
    Lane,
    RecallEdit,
    RecallView,
    Report,
    StepEdit,
    StepView,
    StepWant,
    Task,
)
from tocsin.domain.tokens import DevicesEdit, DevicesView
from tocsin.errors import StoreError
from tocsin.metrics import Metrics
from tocsin.store import LINES_MAX, PREFIXED_MAX, Head, RowsRemoved, Store

NEAR_MAX = 200
"""Rows read in the event loop's own thread; more are read in another."""
ROW_BYTES = 300
"""What a step is reckoned to weigh for each row it names while it waits."""
TRY_EVERY_S = 1.0
"""While nothing can be written, whoever asks has it tried again at most so often."""
_TRY_TO_WRITE = "INSERT OR REPLACE INTO write_trial (number, content) VALUES (1, zeroblob(65536))"
BULK_QUEUES = ("index", "fanout")

T = TypeVar("T")


class StoreOptions(Struct, frozen=True, kw_only=True):
    """How the embedded store uses its machine."""

    accounts_cached_max: int = 100_000
    """Account documents kept in memory, about 600 bytes each."""
    busy_s: float = 2.0
    """How long a step waits for a write lock that something else holds."""
    pages_max: int = 0
    """Pages of 4 KiB that the database may have; 0: as many as fit."""
    checkpoint_pages: int = 1000
    """Pages in the write-ahead log from which an idle writer copies them into the database."""
    vfs: str | None = None
    """SQLite's name for the file system to use; None: the machine's."""


class SqliteStore(restores.SqliteRestores):
    """A `Store` in one folder. `start` opens it, the exit stack closes it."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        metrics: Metrics | None = None,
        *,
        options: StoreOptions | None = None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._metrics = metrics
        self._options = options or StoreOptions()
        self._cache = AccountCache(self._options.accounts_cached_max)
        self._apps: dict[int, App] = {}
        self._app_version = 0
        self._broad: dict[int, tuple[int, list[int]]] = {}
        """App to the living tasks of many accounts, and the version of that list."""
        self._mark: CollapseMark
        self._for_writer: Tables
        self._tried_at = -TRY_EVERY_S
        self._writer: Writer
        self._near: Tables
        self._far: Tables
        self._far_thread: ThreadPoolExecutor

    async def start(self, stack: AsyncExitStack) -> None:
        """Open the folder. Raises `FolderInUse` if another process has it, else `StoreError`."""
        lock = await asyncio.to_thread(lock_folder, self._folder)
        stack.callback(lock.close)
        path, vfs = self._folder / DATABASE, self._options.vfs
        try:
            connection = open_writer(path, vfs=vfs, busy_s=self._options.busy_s)
            stack.callback(connection.close)
            if self._options.pages_max:
                connection.pragma("max_page_count", self._options.pages_max)
            for_writer = Tables(connection, self._cache)
            self._mark = steps.read_mark(for_writer)
            self._restored = restores.read_restored(for_writer)
            self._apps.update(steps.read_apps(for_writer))
            self._for_writer = for_writer
            with connection:
                for app in self._apps:
                    tasks.fill_inboxes(for_writer, app)
            self._near = self._reader(path, stack)
            self._far = self._reader(path, stack)
        except apsw.Error as error:
            raise explained(error) from error
        self._far_thread = ThreadPoolExecutor(1, "store-reader")
        stack.callback(self._far_thread.shutdown)
        pages = self._options.checkpoint_pages
        self._writer = Writer(for_writer, self._clock, self._metrics, checkpoint_pages=pages)
        self._writer.start()
        stack.push_async_callback(asyncio.to_thread, self._writer.stop)

    def _reader(self, path: Path, stack: AsyncExitStack) -> Tables:
        connection = open_reader(path, vfs=self._options.vfs)
        stack.callback(connection.close)
        return Tables(connection, self._cache)

    def _read(self, work: Callable[[Tables], T]) -> T:
        """Read a little, here and now."""
        try:
            return work(self._near)
        except apsw.Error as error:
            raise explained(error) from error

    async def _read_far(self, work: Callable[[Tables], T]) -> T:
        """Read much, in another thread, as of one moment."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._far_thread, self._at_one_moment, work)

    def _at_one_moment(self, work: Callable[[Tables], T]) -> T:
        try:
            with self._far.connection:
                found = work(self._far)
        except apsw.Error as error:
            raise explained(error) from error
        return found

    async def _read_sized(self, rows: int, work: Callable[[Tables], T]) -> T:
        return self._read(work) if rows <= NEAR_MAX else await self._read_far(work)

    async def _write(self, work: Callable[[Tables], T], rank: Rank = Rank.CALL, rows: int = 1) -> T:
        return await self._writer.write(rank, rows * ROW_BYTES, work)

    async def write_trouble(self) -> str:
        if not self._writer.trouble:
            return ""
        now = self._clock.monotonic()
        if now - self._tried_at >= TRY_EVERY_S:
            self._tried_at = now
            with contextlib.suppress(StoreError):
                await self._write(lambda tables: tables.run(_TRY_TO_WRITE))
        return self._writer.trouble

    async def between(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on the writing connection, between two commits. For copies of the database."""
        return await self._writer.between(work)

    async def collapse_mark(self) -> CollapseMark:
        return self._mark

    # apps and credentials

    async def app(self, app: int) -> App | None:
        return self._apps.get(app)

    async def apps(self) -> list[int]:
        return sorted(self._apps)

    @property
    def app_version(self) -> int:
        return self._app_version

    def _took_app(self, app: int, row: App | None) -> None:
        # The writer's thread does this: the row first, so that who sees the version finds it.
        if row is None:
            del self._apps[app]
        else:
            self._apps[app] = row
        self._app_version += 1

    async def update_app(self, app: int, change: Callable[[App | None], App]) -> App:
        def work(tables: Tables) -> App:
            row = steps.change_app(tables, app, change)
            tables.after_commit(lambda: self._took_app(app, row))
            return row

        return await self._write(work)

    async def reserve_prefix(
        self, app: int, prefix: str, change: Callable[[App, Sequence[str]], App]
    ) -> App:
        def work(tables: Tables) -> App:
            users = accounts.read_prefixed(tables, app, prefix, USER, PREFIXED_MAX)
            row = steps.change_app(tables, app, lambda _: change(tables.app(app), users))
            tables.after_commit(lambda: self._took_app(app, row))
            return row

        return await self._write(work)

    async def remove_rows(self, app: int, limit: int) -> RowsRemoved:
        return await self._write(lambda it: removal.remove_rows(it, app, limit), Rank.BULK, limit)

    async def remove_app(self, app: int) -> bool:
        def work(tables: Tables) -> bool:
            is_gone = removal.remove_app(tables, app)
            if is_gone:
                tables.after_commit(lambda: self._took_app(app, None))
            return is_gone

        return await self._write(work, Rank.BULK)

    async def credentials(self, app: int) -> list[Credential]:
        return self._read(lambda tables: steps.read_credentials(tables, app))

    async def update_credential(
        self, app: int, number: int, change: Callable[[Credential | None, int], Credential | None]
    ) -> Credential | None:
        return await self._write(
            lambda tables: steps.change_credential(tables, app, number, change)
        )

    # accounts

    async def accounts(self, app: int, names: Sequence[str]) -> list[Account | None]:
        version = self._cache.version
        found = self._cache.find(app, names)
        missing = [
            name for name, each in zip(names, found, strict=True) if isinstance(each, Missing)
        ]
        read: dict[str, Account] = {}
        if missing:
            read = self._read(lambda tables: accounts.read_accounts(tables, app, missing))
            self._cache.fill(version, app, {name: read.get(name) for name in missing})
        return [
            read.get(name) if isinstance(each, Missing) else each
            for name, each in zip(names, found, strict=True)
        ]

    async def account_names(self, app: int, numbers: BitMap) -> dict[int, str]:
        return await self._read_sized(
            len(numbers), lambda tables: accounts.read_names(tables, app, numbers)
        )

    async def update_accounts(
        self,
        app: int,
        names: Sequence[str],
        keys: Sequence[TermKey],
        change: Callable[[AccountsView], AccountsEdit],
    ) -> Any:
        def work(tables: Tables) -> Any:
            view = accounts.view_accounts(tables, app, names, keys)
            return steps.change_accounts(tables, app, view, change, self._clock.now())

        return await self._write(work, rows=len(names) + len(keys))

    async def scan_accounts(self, app: int, after: int, limit: int) -> list[Account]:
        return await self._read_far(
            lambda tables: accounts.scan_accounts(tables, app, after, limit)
        )

    async def terms(self, app: int, keys: Sequence[TermKey]) -> dict[TermKey, Term]:
        return await self._read_sized(
            len(keys), lambda tables: accounts.read_terms(tables, app, keys)
        )

    async def retire_terms(self, app: int, limit: int) -> list[int]:
        return await self._write(
            lambda tables: accounts.retire_terms(tables, app, limit), Rank.BULK
        )

    # the change log

    async def changes(self, app: int, after: int, limit: int) -> list[tuple[int, list[Change]]]:
        return await self._read_far(lambda tables: accounts.read_changes(tables, app, after, limit))

    async def last_change(self, app: int) -> int:
        return self._read(lambda tables: tables.read_tally(app).change)

    async def cut_changes(self, app: int, upto: int) -> None:
        await self._write(lambda tables: accounts.cut_changes(tables, app, upto), Rank.BULK)

    # snapshots of the index

    async def mark_snapshot(self, app: int, mark: bytes, position: int, keep: bytes) -> None:
        await self._write(
            lambda tables: accounts.mark_snapshot(tables, app, (mark, position), keep), Rank.BULK
        )

    async def marked_position(self, app: int, mark: bytes) -> int | None:
        return self._read(lambda tables: accounts.marked_position(tables, app, mark))

    # devices

    async def device(self, app: int, registration_id: str) -> Device | None:
        return self._read(lambda tables: devices.find_device(tables, app, registration_id))

    async def devices(self, app: int, numbers: BitMap) -> dict[int, Device]:
        return await self._read_sized(
            len(numbers), lambda tables: devices.devices_by_number(tables, app, numbers)
        )

    async def devices_at(self, app: int, numbers: BitMap) -> DeviceRows:
        return await self._read_sized(
            len(numbers), lambda tables: devices.devices_at(tables, app, numbers)
        )

    async def devices_of(self, app: int, accounts: BitMap) -> list[Device]:
        found = await self._read_sized(
            len(accounts), lambda tables: devices.devices_of(tables, app, accounts)
        )
        return list(found.values())

    async def scan_devices(self, app: int, after: int, limit: int) -> list[Device]:
        return await self._read_sized(
            limit, lambda tables: devices.scan_devices(tables, app, after, limit)
        )

    async def scan_indexed_devices(self, app: int, after: int, limit: int) -> list[IndexedDevice]:
        return await self._read_far(lambda tables: devices.scan_indexed(tables, app, after, limit))

    async def device_changes(self, app: int, after: int, limit: int) -> DeviceChanges:
        return await self._read_far(lambda tables: devices.read_changes(tables, app, after, limit))

    async def last_device_change(self, app: int) -> int:
        return self._read(lambda tables: devices.last_change(tables, app))

    async def token_owners(self, app: int, routes: Sequence[Route]) -> list[Device | None]:
        return await self._read_sized(
            len(routes), lambda tables: devices.find_token_owners(tables, app, routes)
        )

    async def update_device(
        self,
        app: int,
        registration_id: str,
        user: str,
        route: Route | None,
        change: Callable[[DeviceView], DeviceEdit],
    ) -> Any:
        def work(tables: Tables) -> Any:
            view = steps.view_device(tables, app, registration_id, user, route)
            return steps.change_device(tables, app, view, change, self._clock.now())

        return await self._write(work, rows=3)

    async def unchecked(self, app: int) -> int:
        return await self._read_far(lambda tables: devices.count_unchecked(tables, app))

    async def unchecked_devices(self, app: int, limit: int) -> list[Device]:
        return await self._read_far(lambda tables: devices.unchecked_devices(tables, app, limit))

    async def update_devices(
        self,
        app: int,
        numbers: Sequence[int],
        routes: Sequence[Route],
        change: Callable[[DevicesView], DevicesEdit],
    ) -> Any:
        def work(tables: Tables) -> Any:
            return steps.change_devices(tables, app, numbers, routes, change)

        return await self._write(work, Rank.BULK, len(numbers))

    # tasks

    async def accept(
        self,
        app: int,
        dedup: str,
        names: Sequence[str],
        decide: Callable[[AcceptView], AcceptEdit],
    ) -> Any:
        def work(tables: Tables) -> Any:
            return steps.accept(tables, app, (dedup, names), decide, self._clock.now())

        return await self._write(work, rows=len(names) + 10)

    async def recall(
        self, app: int, task_id: str, decide: Callable[[RecallView], RecallEdit]
    ) -> Any:
        return await self._write(
            lambda tables: tasks.recall(tables, app, task_id, decide, self._clock.now())
        )

    async def task(self, app: int, number: int) -> Task | None:
        return self._read(lambda tables: tasks.task_by_number(tables, app, number))

    async def task_by_id(self, app: int, task_id: str) -> Task | None:
        return self._read(lambda tables: tasks.find_task(tables, app, task_id))

    async def tasks(self, app: int, *, before: int = 0, limit: int = 100) -> list[Task]:
        return await self._read_sized(
            limit, lambda tables: tasks.latest_tasks(tables, app, before, limit)
        )

    async def last_task(self, app: int) -> int:
        return self._read(lambda tables: tables.read_tally(app).task)

    async def living(self, app: int) -> list[Task]:
        return self._read(lambda tables: tasks.living_tasks(tables, app))

    async def recalled(self, app: int, since: float) -> set[int]:
        return self._read(lambda tables: tasks.recalled_tasks(tables, app, since))

    async def audience(self, app: int, task: int) -> BitMap:
        return await self._read_far(lambda tables: audiences.read_audience(tables, app, task))

    async def inbox(self, app: int, accounts: Sequence[int]) -> list[Task]:
        return self._read(lambda tables: tasks.inbox_tasks(tables, app, accounts))

    async def broad(self, app: int) -> Sequence[int]:
        version = self._for_writer.broad_version
        known = self._broad.get(app)
        if known is None or known[0] != version:
            # The version first: what is committed while this reads makes the list old again.
            numbers = self._read(lambda tables: audiences.read_broad(tables, app))
            known = self._broad[app] = (version, numbers)
        return known[1]

    async def lines(
        self, app: int, task: int, after: int, *, limit: int = LINES_MAX, only_begun: bool = False
    ) -> Lines | None:
        def read(tables: Tables) -> Lines | None:
            return books.read_lines(tables, app, task, after, limit=limit, only_begun=only_begun)

        return await self._read_far(read)

    async def append_reports(self, app: int, reports: Sequence[Report]) -> None:
        await self._write(
            lambda tables: books.append_reports(tables, app, reports), rows=len(reports)
        )

    async def merge_ended(
        self, app: int, merge: Callable[[Sequence[Block]], list[Block]], limit: int
    ) -> bool:
        return await self._write(
            lambda tables: books.merge_ended(tables, app, merge, limit), Rank.BULK
        )

    async def forget_handles(self, app: int, before: float, limit: int) -> int:
        return await self._write(
            lambda tables: tasks.forget_handles(tables, app, before, limit), Rank.BULK
        )

    async def forget(self, app: int, before: float, limit: int) -> int:
        return await self._write(
            lambda tables: tasks.forget_tasks(tables, app, before, limit), Rank.BULK
        )

    # jobs

    async def heads(self, now: float) -> list[Head]:
        return self._read(lambda tables: queue.heads(tables, now))

    async def lease(
        self,
        app: int,
        queue: str,
        lane: Lane,
        *,
        lessee: str,
        limit: int,
        lease_s: float,
        ended: bool = False,
    ) -> list[Job]:
        place, grant = (app, queue, lane), (lessee, lease_s, ended)

        def work(tables: Tables) -> list[Job]:
            return lease_jobs(tables, place, limit, grant, self._clock.now())

        return await self._write(work, Rank.SEND, limit)

    async def wake(self, app: int, queue: str, way: str | None, limit: int) -> int:
        def work(tables: Tables) -> int:
            return wake_way(tables, (app, queue), way, limit, self._clock.now())

        return await self._write(work, Rank.SEND, limit)

    async def extend(self, app: int, jobs: Sequence[Job], *, lease_s: float) -> list[int]:
        def work(tables: Tables) -> list[int]:
            return queue.extend_leases(tables, app, jobs, self._clock.now() + lease_s)

        return await self._write(work, Rank.SEND, len(jobs))

    async def step(
        self, app: int, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
    ) -> Any:
        rank = Rank.BULK if job.queue in BULK_QUEUES else Rank.SEND
        return await self._write(
            lambda tables: steps.step_job(tables, app, job, want, decide), rank, 10
        )

    async def release(self, lessee: str) -> int:
        return await self._write(lambda tables: queue.release(tables, lessee), Rank.SEND)

    async def depth(self) -> dict[tuple[int, str], int]:
        return await self._read_far(queue.depth)


def _fits(store: SqliteStore) -> Store:
    return store
