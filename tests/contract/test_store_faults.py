"""Full disk, held lock, failing writes and syncs: the caller is told, nothing has changed, and
work goes on when the fault is gone.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract.rows import (
    add_accounts,
    add_app,
    add_device,
    add_tags,
    add_task,
    lease,
    new_job,
    write,
)
from tests.contract.test_atomic import everything
from tests.task_books import read_books
from tocsin.adapters.sqlite.folder import DATABASE, FolderInUse
from tocsin.adapters.sqlite.store import SqliteStore, StoreOptions
from tocsin.adapters.sqlite.writer import GROUP_BYTES_MAX, PASSED_OVER_MAX, Rank
from tocsin.clock import ManualClock
from tocsin.domain.account import AccountsEdit, AccountsView
from tocsin.domain.device import DeviceEdit, DeviceView
from tocsin.domain.task import StepEdit
from tocsin.errors import CallError, StoreError
from tocsin.metrics import Metrics
from tocsin.store import Store


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, ManualClock(), options=StoreOptions(**options))
        await store.start(stack)
        yield store


async def set_pages(store: SqliteStore, pages: int) -> None:
    def work(tables: Any) -> None:
        tables.connection.pragma("max_page_count", pages)

    await store._writer.write(Rank.CALL, 1, work)


@pytest.mark.evidence(
    "full disk and held lock: refused, nothing changed, goes on",
    topic="Books",
    planted="futures resolved before the commit; a commit that failed told as done",
)
async def test_a_full_disk_refuses_and_space_makes_it_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_app(store, 1)
        await add_accounts(store, 1, "ann")
        await add_task(store, 1, jobs=[new_job], text="t")
        (job,) = await lease(store)
        await set_pages(store, 1)
        before = await seen(store)
        calls = [
            add_accounts(store, 1, *(f"name{number}" for number in range(2000))),
            add_task(store, 1, audience=range(0, 2_000_000, 17), text="u"),
            write(store, job, StepEdit(is_done=True, audience=bytes(100_000))),
        ]
        for call in calls:
            with pytest.raises(StoreError):
                await call
        assert await seen(store) == before
        await set_pages(store, 1_000_000)
        assert await add_accounts(store, 1, "bob") == [2]
        await write(store, job, StepEdit(is_done=True))
    async with opened(tmp_path) as store:
        assert [account.name for account in await store.scan_accounts(1, 0, 9)] == ["ann", "bob"]


async def seen(store: Store) -> list[Any]:
    """What can be read without writing."""
    return [
        await store.scan_accounts(1, 0, 5000),
        await store.tasks(1),
        await store.changes(1, 0, 100),
        await read_books(store, 1, 1),
        await store.depth(),
        await store.accounts(1, ["ann", "name1"]),
    ]


async def test_a_step_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    """Steps of one commit: the others are written although one of them found the disk full."""
    async with opened(tmp_path) as store:
        await add_app(store, 1)
        await set_pages(store, 60)
        big = add_accounts(store, 1, *(f"name{number}" for number in range(5000)))
        answers = await asyncio.gather(
            add_accounts(store, 1, "ann"),
            big,
            add_accounts(store, 1, "bob"),
            return_exceptions=True,
        )
        assert isinstance(answers[1], StoreError)
        names = [account.name for account in await store.scan_accounts(1, 0, 9)]
        fine = [answer for answer in (answers[0], answers[2]) if isinstance(answer, list)]
        assert len(names) == len(fine)
        assert fine


@pytest.mark.evidence("full disk and held lock: refused, nothing changed, goes on")
async def test_a_held_write_lock_refuses_and_its_end_makes_it_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path, busy_s=0.05) as store:
        await add_app(store, 1)
        await add_accounts(store, 1, "ann")
        other = apsw.Connection(str(tmp_path / DATABASE))
        other.execute("BEGIN IMMEDIATE")
        calls = [add_accounts(store, 1, f"name{number}") for number in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, StoreError) for answer in answers)
        assert [account.name for account in await store.scan_accounts(1, 0, 9)] == ["ann"]
        other.execute("ROLLBACK")
        other.close()
        assert await add_accounts(store, 1, "bob") == [2]


class FaultyVFS(apsw.VFS):
    """Fails the n-th write or sync, once."""

    def __init__(self, name: str, nth: int) -> None:
        self.left = nth
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> FaultyFile:  # noqa: N802
        return FaultyFile(self, name, flags)

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise apsw.IOError("planted")


class FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._vfs.count()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.count()
        super().xSync(flags)


async def play(store: Store, folder: Path, copy: Path) -> tuple[set[str], set[str]]:
    """Some calls one by one: names whose call was answered, and those refused.

    The moment a call is refused the files are copied, as a process that dies then leaves them.
    """
    answered, refused = set[str](), set[str]()
    for number in range(12):
        name = f"name{number}"
        try:
            await add_accounts(store, 1, name)
            answered.add(name)
        except StoreError:
            refused.add(name)
            copy_files(folder, copy)
            await found(copy, answered, refused)
    return answered, refused


def copy_files(folder: Path, copy: Path) -> None:
    copy.mkdir()
    for name in (DATABASE, f"{DATABASE}-wal"):
        shutil.copy(folder / name, copy / name)


async def found(folder: Path, answered: set[str], refused: set[str]) -> None:
    async with opened(folder) as store:
        names = {account.name for account in await store.scan_accounts(1, 0, 99)}
        assert names == answered
        assert not names & refused


@pytest.mark.evidence(
    "every write and sync may fail",
    topic="Books",
    planted="a commit whose sync failed left in the log, to be found by the next recovery",
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_each_write_and_sync_may_fail(tmp_path: Path) -> None:
    """Fail the first, then the second, and so on, until a run meets no failure."""
    async with opened(tmp_path / "seed") as store:
        await add_app(store, 1)
    met, nth = 0, 0
    while True:
        nth += 1
        folder = tmp_path / f"{nth}"
        shutil.copytree(tmp_path / "seed", folder)
        vfs = FaultyVFS(f"faulty-{nth}", nth)
        async with opened(folder, vfs=f"faulty-{nth}", checkpoint_pages=4) as store:
            answered, refused = await play(store, folder, tmp_path / f"{nth}-copy")
        vfs.unregister()
        await found(folder, answered, refused)
        met += bool(refused)
        if vfs.left > 0:
            break
    assert met > 20


@pytest.mark.evidence("one process opens a folder", topic="Books", planted="the lock not taken")
async def test_only_one_process_opens_the_folder(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from contextlib import AsyncExitStack\n"
        "from tocsin.adapters.sqlite.store import SqliteStore\n"
        "from tocsin.clock import SystemClock\n"
        "async def main():\n"
        "    async with AsyncExitStack() as stack:\n"
        "        await SqliteStore(pathlib.Path(sys.argv[1]), SystemClock()).start(stack)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    async with opened(tmp_path):
        with pytest.raises(FolderInUse, match="only one process"):
            async with opened(tmp_path):
                pass
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "is in use by process" in done.stderr
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError):
        async with opened(tmp_path):
            pass


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_app(store, 1)
        await add_accounts(store, 1, "ann")
        await add_tags(store, 1, "ann", "red")
        await add_device(store, 1, "phone", user="ann", token="t1")
        await add_task(store, 1, jobs=[new_job], audience=[1, 2], dedup="d", text="t")
        before = await everything(store)
    async with opened(tmp_path) as store:
        assert await everything(store) == before
        assert await add_accounts(store, 1, "bob") == [3]


@pytest.mark.evidence(
    "urgent work overtakes pages of fanout, and pages get their turn",
    topic="Books",
    planted="the ranks reversed; no turn kept for pages",
)
async def test_urgent_steps_overtake_pages(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_app(store, 1)
        order: list[str] = []

        def note(name: str) -> Any:
            return lambda _: order.append(name)

        gate = apsw.Connection(str(tmp_path / DATABASE))
        gate.execute("BEGIN IMMEDIATE")
        writer = store._writer
        first = asyncio.ensure_future(writer.write(Rank.CALL, 1, note("first")))
        await asyncio.sleep(0)
        waiting = [
            asyncio.ensure_future(writer.write(rank, 1, note(rank.name)))
            for rank in (Rank.BULK, Rank.SEND, Rank.CALL, Rank.BULK, Rank.CALL)
        ]
        await asyncio.sleep(0)
        gate.execute("ROLLBACK")
        gate.close()
        await asyncio.gather(first, *waiting)
        assert order == ["first", "CALL", "CALL", "SEND", "BULK", "BULK"]


@pytest.mark.evidence("urgent work overtakes pages of fanout, and pages get their turn")
async def test_pages_get_a_turn_although_calls_never_stop(tmp_path: Path) -> None:
    """Each call fills a commit of its own, and all of them wait before the page does."""
    order: list[str] = []

    def call(tables: Any) -> None:
        tables.bytes_written += GROUP_BYTES_MAX
        order.append("call")

    async with opened(tmp_path) as store:
        calls = [asyncio.ensure_future(store._writer.write(Rank.CALL, 1, call)) for _ in range(40)]
        await asyncio.sleep(0)
        await store._writer.write(Rank.BULK, 1, lambda _: order.append("page"))
        await asyncio.gather(*calls)
    assert order.index("page") <= PASSED_OVER_MAX + 2


async def test_a_cancelled_call_leaves_the_writer_at_work(tmp_path: Path) -> None:
    async with opened(tmp_path, busy_s=5) as store:
        await add_app(store, 1)
        gate = apsw.Connection(str(tmp_path / DATABASE))
        gate.execute("BEGIN IMMEDIATE")
        first = asyncio.ensure_future(add_accounts(store, 1, "ann"))
        second = asyncio.ensure_future(add_accounts(store, 1, "bob"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        gate.execute("ROLLBACK")
        gate.close()
        assert await first == [1]
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await add_accounts(store, 1, "cid") == [2]


async def test_a_decision_that_fails_unexpectedly_reaches_its_caller(tmp_path: Path) -> None:
    def accounts(view: AccountsView) -> AccountsEdit:
        raise ZeroDivisionError

    def device(view: DeviceView) -> DeviceEdit:
        raise KeyError(view.next_device)

    async with opened(tmp_path) as store:
        await add_app(store, 1)
        with pytest.raises(ZeroDivisionError):
            await store.update_accounts(1, [], [], accounts)
        with pytest.raises(KeyError):
            await store.update_device(1, "phone", "", None, device)
        assert await add_accounts(store, 1, "ann") == [1]


async def test_the_log_is_copied_and_measured(tmp_path: Path) -> None:
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        options = StoreOptions(checkpoint_pages=20)
        store = SqliteStore(tmp_path, ManualClock(), metrics, options=options)
        await store.start(stack)
        await add_app(store, 1)
        for number in range(100):
            await add_accounts(store, 1, *(f"name{number}-{each}" for each in range(20)))
        size = (tmp_path / f"{DATABASE}-wal").stat().st_size
        assert size < 20 * 32 * 4096
        assert metrics.value("store_commit_seconds") >= 100
        assert 0 <= metrics.value("store_wal_bytes") <= size


async def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_app(store, 1)
    with pytest.raises(StoreError):
        await add_accounts(store, 1, "ann")


async def test_reads_see_every_write_answered_before(tmp_path: Path) -> None:
    async with opened(tmp_path, accounts_cached_max=8) as store:
        await add_app(store, 1)
        await add_accounts(store, 1, *(f"name{number}" for number in range(8)))

        async def tag(name: str) -> None:
            for number in range(12):
                await add_tags(store, 1, name, f"tag{number}")
                (account,) = await store.accounts(1, [name])
                assert account is not None
                assert len(account.tags) == number + 1
                (term,) = (await store.terms(1, [("tag", f"tag{number}")])).values()
                assert term.uses >= 1

        await asyncio.gather(*(tag(f"name{number}") for number in range(8)))


@pytest.mark.evidence(
    "`/readyz` is 503 with the reason while nothing can be written, and heals by itself",
)
async def test_whoever_asks_is_told_why_nothing_can_be_written_until_it_can(
    tmp_path: Path,
) -> None:
    metrics, clock = Metrics(), ManualClock()
    async with AsyncExitStack() as stack:
        store = SqliteStore(tmp_path, clock, metrics)
        await store.start(stack)
        await add_app(store, 1)
        assert await store.write_trouble() == ""
        await set_pages(store, 1)
        with pytest.raises(StoreError, match="FullError: database or disk is full"):
            await add_accounts(store, 1, *(f"name{number}" for number in range(2000)))
        assert "database or disk is full" in await store.write_trouble()
        assert "tocsin_store_failing 1.0" in metrics.render().decode()
        await set_pages(store, 1_000_000)
        await add_accounts(store, 1, "ann")
        assert await store.write_trouble() == ""
        assert "tocsin_store_failing 0.0" in metrics.render().decode()


@pytest.mark.evidence(
    "`/readyz` is 503 with the reason while nothing can be written, and heals by itself",
)
async def test_asking_finds_out_at_most_once_a_second_that_it_can(tmp_path: Path) -> None:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        store = SqliteStore(tmp_path, clock, options=StoreOptions(busy_s=0.01))
        await store.start(stack)
        await add_app(store, 1)
        other = apsw.Connection(str(tmp_path / DATABASE))
        stack.callback(other.close)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            await add_accounts(store, 1, "ann")
        assert "BusyError" in await store.write_trouble()
        other.execute("ROLLBACK")
        assert "BusyError" in await store.write_trouble()
        await clock.advance(1.0)
        assert await store.write_trouble() == ""


async def test_a_call_that_is_refused_is_no_trouble(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(CallError):
            await add_accounts(store, 7, "ann")
        assert await store.write_trouble() == ""
