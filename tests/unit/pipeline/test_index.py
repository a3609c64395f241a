from __future__ import annotations

from typing import Any

import pytest
from pyroaring import BitMap

from tests.sim.world import APP, World
from tocsin.domain.account import change_tags, delete_accounts, with_tags_removed
from tocsin.domain.audience import Condition
from tocsin.pipeline.index import Indexer
from tocsin.ports import Snapshot


async def names(world: World, indexer: Indexer, **asked: tuple[str, ...]) -> set[str]:
    audience = await indexer.audience(APP, Condition(**asked))  # type: ignore[arg-type]
    found = await world.store.account_names(APP, audience)
    return {name for name in found.values() if name.startswith("u")}


@pytest.fixture
async def world() -> World:
    world = await World().open()
    people = await world.people(12)
    await world.tag(people[:6], "a")
    await world.tag(people[3:9], "b")
    await world.tag(people[8:], "c")
    return world


@pytest.mark.evidence(
    "AND, OR and NOT mean what the documents say",
    topic="Books",
    planted="NOT taking away only who has all of them",
)
async def test_lists_are_joined_by_and_and_not_takes_away_whoever_has_any(world: World) -> None:
    indexer = world.indexer
    assert await names(world, indexer, tags_or=("a", "b")) == {f"u{n}" for n in range(1, 10)}
    assert await names(world, indexer, tags_and=("a", "b")) == {"u4", "u5", "u6"}
    assert await names(world, indexer, tags_or=("a", "c"), tags_and=("b",)) == {
        "u4",
        "u5",
        "u6",
        "u9",
    }
    assert await names(world, indexer, tags_not=("a", "c")) == {"u7", "u8"}
    assert await names(world, indexer, tags_and=("nobody",)) == set()
    assert len(await names(world, indexer)) == 12


@pytest.mark.evidence(
    "the index survives restarts, with and without its log",
    topic="Books",
    planted="the log's end taken for the snapshot's position; nothing derived where there "
    "is no snapshot",
)
async def test_a_restart_loads_the_snapshot_and_replays_the_tail(world: World) -> None:
    await world.indexer.snapshot(APP)
    await world.tag(["u12"], "a")
    await world.store.update_accounts(APP, ["u1"], [], delete_accounts(["u1"]))
    restarted = Indexer(world.store, world.snapshots)
    expected = {f"u{n}" for n in (2, 3, 4, 5, 6, 12)}
    assert await names(world, restarted, tags_or=("a",)) == expected
    assert await names(world, world.indexer, tags_or=("a",)) == expected
    snapshot = await world.snapshots.load(APP)
    assert snapshot is not None
    await world.store.cut_changes(APP, snapshot.position)
    again = Indexer(world.store, world.snapshots)
    assert await names(world, again, tags_or=("a",)) == expected


@pytest.mark.evidence("the index survives restarts, with and without its log")
async def test_without_snapshot_or_log_the_index_is_derived_from_the_accounts(
    world: World,
) -> None:
    await world.store.cut_changes(APP, await world.store.last_change(APP))
    derived = Indexer(world.store, type(world.snapshots)())
    assert await names(world, derived, tags_or=("b",)) == {f"u{n}" for n in range(4, 10)}
    assert len(await names(world, derived)) == 12


@pytest.mark.evidence("a tag that nobody carries is retired, and its number never comes again")
async def test_a_tag_that_nobody_carries_is_retired_and_may_come_again(world: World) -> None:
    people = [f"u{n}" for n in range(9, 13)]
    decide = change_tags([(name, ["c"]) for name in people], with_tags_removed)
    await world.store.update_accounts(APP, people, [("tag", "c")], decide)
    assert await world.indexer.retire(APP, 10) == 1
    assert await names(world, world.indexer, tags_or=("c",)) == set()
    await world.tag(["u2"], "c")
    assert await names(world, world.indexer, tags_or=("c",)) == {"u2"}


async def test_a_snapshot_older_than_the_log_is_not_believed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An older index folder beside a database whose log has been cut since."""
    await world.indexer.snapshot(APP)
    older = await world.snapshots.load(APP)
    assert older is not None
    await world.tag(["u12"], "a")
    await world.store.cut_changes(APP, await world.store.last_change(APP))
    fresh = Indexer(world.store, world.snapshots)
    assert "u12" in await names(world, fresh, tags_or=("a",))
    assert [line["reason"] for line in told(caplog)] == [
        "the change log does not go on where it ends"
    ]


async def test_a_snapshot_without_a_mark_is_not_believed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A release that bound none to its database has written it."""
    position = await world.indexer.snapshot(APP)
    await world.snapshots.save(APP, Snapshot(position, b"", {1: BitMap([12]).serialize()}), [])
    fresh = Indexer(world.store, world.snapshots)
    assert "u12" not in await names(world, fresh, tags_or=("a",))
    assert [line["event"] for line in told(caplog)] == [
        "index snapshot ignored, index derived from the accounts"
    ]


def told(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.msg for record in caplog.records]
