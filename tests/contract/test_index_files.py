"""The index on real files: a snapshot counts only for the database, and the history, it is of."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.rows import add_accounts, add_app, add_tags, remove_tags
from tocsin.adapters.snapshots import FileSnapshots
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.clock import ManualClock
from tocsin.domain.audience import Condition
from tocsin.pipeline.index import Indexer
from tocsin.ports import Snapshot

INDEX = "index"
IGNORED = "index snapshot ignored, index derived from the accounts"


class Watched:
    """A store that tells how often an index was derived from its accounts."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.derived = 0

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def scan_accounts(self, app: int, after: int, limit: int) -> Any:
        self.derived += after == 0
        return await self._store.scan_accounts(app, after, limit)


class Service:
    """A data folder while it is open."""

    def __init__(self, store: SqliteStore, snapshots: FileSnapshots) -> None:
        self.store = store
        self.watched: Any = Watched(store)
        self.indexer = Indexer(self.watched, snapshots)

    async def who(self, *tags: str, app: int = 1) -> set[str]:
        audience = await self.indexer.audience(app, Condition(tags_or=tags))
        return set((await self.store.account_names(app, audience)).values())

    @property
    def derived(self) -> int:
        count: int = self.watched.derived
        return count


@asynccontextmanager
async def opened(folder: Path, snapshots: FileSnapshots | None = None) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder, ManualClock())
        await store.start(stack)
        yield Service(store, snapshots or FileSnapshots(folder / INDEX))


async def filled(folder: Path) -> None:
    """Two apps; in the first, `ann` and `bob` are red, and there is a snapshot of that."""
    async with opened(folder) as service:
        for app in (1, 2):
            await add_app(service.store, app)
            await add_accounts(service.store, app, "ann", "bob", "cid")
        for name in ("ann", "bob"):
            await add_tags(service.store, 1, name, "red")
        await service.indexer.snapshot(1)


async def gone_on(folder: Path, steps: int = 3) -> None:
    """`cid` has become red and blue, the others are it no more; the snapshot says so."""
    async with opened(folder) as service:
        await add_tags(service.store, 1, "cid", "red", "blue")
        for name in ("ann", "bob")[: steps - 1]:
            await remove_tags(service.store, 1, name, "red")
        await service.indexer.snapshot(1)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """What the indexer has logged, with the app that it is about."""
    events: list[Any] = [record.msg for record in caplog.records]
    return [(event["event"], event["app"]) for event in events]


def copied(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.parent / name))


def with_index_of(folder: Path, other: Path) -> None:
    """Put another folder's index into the place of this one's."""
    shutil.rmtree(folder / INDEX)
    shutil.copytree(other / INDEX, folder / INDEX)


@pytest.fixture
async def older(tmp_path: Path) -> Path:
    await filled(tmp_path / "older")
    return tmp_path / "older"


@pytest.fixture
async def newer(older: Path) -> Path:
    """The same service, later."""
    folder = copied(older, "newer")
    await gone_on(folder)
    return folder


async def test_a_restart_loads_its_own_snapshot_and_asks_no_account(
    newer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(newer) as service:
        await add_tags(service.store, 1, "ann", "red")
    async with opened(newer) as service:
        assert await service.who("red") == {"ann", "cid"}
        assert service.derived == 0
    assert told(caplog) == []


async def test_an_older_database_beside_a_newer_index(
    older: Path, newer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_index_of(older, newer)
    async with opened(older) as service:
        assert await service.who("red") == {"ann", "bob"}
        assert await service.who("blue") == set()
    assert told(caplog) == [(IGNORED, 1)]


@pytest.mark.evidence(
    "a snapshot counts only for the database and the history that it is of",
    topic="Books",
    planted="the mark not compared; the position as the mark",
)
@pytest.mark.parametrize("behind", [0, 1, 2, 3, 5])
async def test_an_older_database_that_has_gone_on_another_way(
    older: Path, newer: Path, behind: int
) -> None:
    """Its own changes reach, meet and pass the position that the newer index is of."""
    with_index_of(older, newer)
    async with opened(older) as service:
        for number in range(behind):
            await add_tags(service.store, 1, "ann", f"other-{number}")
    async with opened(older) as service:
        assert await service.who("red") == {"ann", "bob"}
        assert await service.who("blue") == set()
        assert service.derived == 1


@pytest.mark.evidence(
    "nothing of an ignored snapshot comes back",
    topic="Books",
    planted="its manifest left in place",
)
async def test_no_term_of_a_foreign_index_comes_back_later(older: Path, newer: Path) -> None:
    """Its numbers are given anew: the next tag here has the number that `blue` has there."""
    with_index_of(older, newer)
    async with opened(older) as service:
        await service.indexer.snapshot(1)
    async with opened(older) as service:
        await add_tags(service.store, 1, "bob", "green")
        assert await service.who("green") == {"bob"}
        assert service.derived == 0


async def test_an_older_index_beside_a_newer_database(older: Path, newer: Path) -> None:
    with_index_of(newer, older)
    async with opened(newer) as service:
        assert await service.who("red") == {"cid"}
        assert await service.who("blue") == {"cid"}


@pytest.mark.evidence("a snapshot counts only for the database and the history that it is of")
async def test_two_services_that_began_as_copies(older: Path, newer: Path) -> None:
    """Both have the same past and the same positions; what came after is each one's own."""
    other = copied(older, "other")
    async with opened(other) as service:
        for name in ("one", "two", "three"):
            await add_tags(service.store, 1, "ann", name)
        assert service.derived == 0
        await service.indexer.snapshot(1)
    with_index_of(other, newer)
    async with opened(other) as service:
        assert await service.store.last_change(1) == 6
        assert await service.who("red") == {"ann", "bob"}
        assert await service.who("two") == {"ann"}
        assert service.derived == 1


async def test_an_empty_index_folder(newer: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(newer / INDEX)
    (newer / INDEX / "1").mkdir(parents=True)
    async with opened(newer) as service:
        assert await service.who("red") == {"cid"}
    assert told(caplog) == []


@pytest.mark.evidence("a snapshot counts only for the database and the history that it is of")
async def test_the_index_of_another_app(newer: Path) -> None:
    shutil.copytree(newer / INDEX / "1", newer / INDEX / "2")
    async with opened(newer) as service:
        assert await service.who("red", "blue", app=2) == set()
        await add_tags(service.store, 2, "ann", "first")
        assert await service.who("first", app=2) == {"ann"}
        assert service.derived == 1


@pytest.mark.evidence("a snapshot counts only for the database and the history that it is of")
async def test_the_index_of_a_folder_that_was_filled_alike(older: Path, tmp_path: Path) -> None:
    """The same calls, the same positions: still the mark of one is none of the other's."""
    await filled(tmp_path / "twin")
    with_index_of(older, tmp_path / "twin")
    async with opened(older) as service:
        assert await service.who("red") == {"ann", "bob"}
        assert service.derived == 1


class Full(FileSnapshots):
    """A disk that has no room for another snapshot."""

    async def save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        raise OSError("no space left on device")


@pytest.mark.evidence(
    "a crash between mark and files costs nothing",
    topic="Books",
    planted="the mark of the durable snapshot dropped too early",
)
async def test_a_crash_between_mark_and_files_leaves_the_snapshot_before(older: Path) -> None:
    for _ in range(3):
        async with opened(older, Full(older / INDEX)) as service:
            await add_tags(service.store, 1, "cid", "red")
            for _ in range(3):
                with pytest.raises(OSError, match="no space"):
                    await service.indexer.snapshot(1)
    async with opened(older) as service:
        assert await service.who("red") == {"ann", "bob", "cid"}
        assert service.derived == 0


async def test_the_index_of_an_earlier_release(
    older: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its manifest has no mark, so nobody can tell what it is of."""
    taken = await FileSnapshots(older / INDEX).load(1)
    assert taken is not None
    unmarked = msgspec.structs.replace(taken, mark=b"")
    await FileSnapshots(older / INDEX).save(1, unmarked, [])
    async with opened(older) as service:
        assert await service.who("red") == {"ann", "bob"}
        assert service.derived == 1
        await service.indexer.snapshot(1)
    async with opened(older) as service:
        await service.who("red")
        assert service.derived == 0
    assert told(caplog) == [(IGNORED, 1)]
