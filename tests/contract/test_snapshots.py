"""Snapshots of the index: whole or absent, whatever happens to the files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tocsin.adapters.snapshots import MANIFEST, FileSnapshots, MemorySnapshots
from tocsin.ports import Snapshot, Snapshots


def taken(position: int, bitmaps: dict[int, bytes]) -> Snapshot:
    """A snapshot of this position, whose mark tells it too."""
    return Snapshot(position, b"mark %d" % position, bitmaps)


@pytest.fixture(params=["memory", "files"])
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshots:
    return MemorySnapshots() if request.param == "memory" else FileSnapshots(tmp_path / "index")


async def test_an_app_without_a_snapshot_has_none(snapshots: Snapshots) -> None:
    assert await snapshots.load(1) is None


async def test_what_was_saved_is_loaded(snapshots: Snapshots) -> None:
    await snapshots.save(1, taken(7, {0: b"live", 3: b"three", 4: b""}), [])
    assert await snapshots.load(1) == taken(7, {0: b"live", 3: b"three", 4: b""})
    assert await snapshots.load(2) is None


@pytest.mark.evidence("a save that ends half way leaves the old snapshot")
async def test_a_save_changes_some_terms_and_keeps_the_others(snapshots: Snapshots) -> None:
    await snapshots.save(1, taken(7, {0: b"live", 3: b"three", 4: b"four"}), [])
    await snapshots.save(2, taken(1, {0: b"other app"}), [])
    await snapshots.save(1, taken(9, {0: b"more alive", 5: b"five"}), [4, 99])
    assert await snapshots.load(1) == taken(9, {0: b"more alive", 3: b"three", 5: b"five"})
    assert await snapshots.load(2) == taken(1, {0: b"other app"})


async def test_a_save_with_nothing_new_moves_the_position(snapshots: Snapshots) -> None:
    await snapshots.save(1, taken(7, {3: b"three"}), [])
    await snapshots.save(1, taken(8, {}), [])
    assert await snapshots.load(1) == taken(8, {3: b"three"})


async def test_what_was_forgotten_is_in_no_later_snapshot(snapshots: Snapshots) -> None:
    await snapshots.save(1, taken(7, {0: b"live", 3: b"three"}), [])
    await snapshots.save(2, taken(1, {0: b"other app"}), [])
    await snapshots.forget(1)
    await snapshots.forget(9)
    assert await snapshots.load(1) is None
    await snapshots.save(1, taken(2, {0: b"derived"}), [])
    assert await snapshots.load(1) == taken(2, {0: b"derived"})
    assert await snapshots.load(2) == taken(1, {0: b"other app"})


async def test_what_was_forgotten_stays_so_after_a_restart(tmp_path: Path) -> None:
    await FileSnapshots(tmp_path).save(1, taken(7, {0: b"live", 3: b"three"}), [])
    await FileSnapshots(tmp_path).forget(1)
    assert await FileSnapshots(tmp_path).load(1) is None


async def test_another_process_finds_it_and_goes_on(tmp_path: Path) -> None:
    await FileSnapshots(tmp_path).save(1, taken(7, {0: b"live", 3: b"three"}), [])
    await FileSnapshots(tmp_path).save(1, taken(8, {3: b"3"}), [])
    assert await FileSnapshots(tmp_path).load(1) == taken(8, {0: b"live", 3: b"3"})


async def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    snapshots = FileSnapshots(tmp_path)
    await snapshots.save(1, taken(1, dict.fromkeys(range(100), b"x" * 100)), [])
    (first,) = [path for path in (tmp_path / "1").iterdir() if path.name != MANIFEST]
    await snapshots.save(1, taken(2, {5: b"y" * 100}), [])
    sizes = {
        path.name: path.stat().st_size
        for path in (tmp_path / "1").iterdir()
        if path.name != MANIFEST
    }
    assert sizes.pop(first.name) == 10_000
    assert list(sizes.values()) == [100]


async def test_old_bitmaps_do_not_pile_up(tmp_path: Path) -> None:
    snapshots = FileSnapshots(tmp_path)
    for position in range(1, 60):
        changed = {term: bytes([position]) * 100 for term in (position % 7, 9)}
        await snapshots.save(1, taken(position, changed), [])
    paths = [path for path in (tmp_path / "1").iterdir() if path.name != MANIFEST]
    assert sum(path.stat().st_size for path in paths) <= 2 * 8 * 100
    loaded = await FileSnapshots(tmp_path).load(1)
    assert loaded is not None
    assert loaded.bitmaps[9] == bytes([59]) * 100
    assert len(loaded.bitmaps) == 8


@pytest.mark.evidence(
    "snapshots are whole or not there",
    topic="Books",
    planted="checksum not compared",
)
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
async def test_a_damaged_snapshot_is_no_snapshot(tmp_path: Path, harm: str) -> None:
    """Every file, damaged in every way: never a wrong bitmap, and the next save is whole."""
    await FileSnapshots(tmp_path / "a").save(1, taken(6, {0: b"live", 3: b"three", 4: b"four"}), [])
    await FileSnapshots(tmp_path / "a").save(1, taken(7, {3: b"33333"}), [])
    names = [path.name for path in (tmp_path / "a/1").iterdir()]
    assert len(names) == 3
    for number, name in enumerate(names):
        root = tmp_path / f"b{number}"
        shutil.copytree(tmp_path / "a", root)
        _harm(root / "1" / name, harm)
        snapshots = FileSnapshots(root)
        assert await snapshots.load(1) is None
        await snapshots.save(1, taken(8, {0: b"derived"}), [])
        assert await FileSnapshots(root).load(1) == taken(8, {0: b"derived"})


def _harm(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "remove":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


async def test_a_crash_between_segment_and_manifest_leaves_the_old_snapshot(
    tmp_path: Path,
) -> None:
    """What a save had written so far is the new segment, whole or in part, and no manifest."""
    snapshots = FileSnapshots(tmp_path)
    await snapshots.save(1, taken(7, {0: b"live", 3: b"three"}), [])
    before = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    await snapshots.save(1, taken(8, {0: b"later", 3: b"3"}), [])
    after = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    fresh = [name for name in after if name not in before]
    assert fresh
    for part in (0, 3, 99):
        shutil.rmtree(tmp_path / "1")
        (tmp_path / "1").mkdir()
        for name, content in before.items():
            (tmp_path / "1" / name).write_bytes(content)
        for name in fresh:
            (tmp_path / "1" / name).write_bytes(after[name][:part])
        (tmp_path / "1" / f"{MANIFEST}.new").write_bytes(after[MANIFEST][:part])
        again = FileSnapshots(tmp_path)
        assert await again.load(1) == taken(7, {0: b"live", 3: b"three"})
        await again.save(1, taken(8, {3: b"again"}), [])
        assert await FileSnapshots(tmp_path).load(1) == taken(8, {0: b"live", 3: b"again"})


@pytest.mark.evidence(
    "a save that ends half way leaves the old snapshot",
    topic="Books",
    planted="old segments swept before the new manifest; terms that are gone kept",
)
async def test_a_save_that_ends_half_way_leaves_the_old_snapshot(tmp_path: Path) -> None:
    """Nothing of the old one goes before the new manifest is in its place."""
    snapshots = FileSnapshots(tmp_path)
    await snapshots.save(1, taken(7, {0: b"live", 3: b"three"}), [])
    draft = tmp_path / "1" / f"{MANIFEST}.new"
    draft.symlink_to(tmp_path / "no such folder" / "manifest")
    with pytest.raises(FileNotFoundError):
        await snapshots.save(1, taken(8, {0: b"later", 3: b"3"}), [])
    assert await FileSnapshots(tmp_path).load(1) == taken(7, {0: b"live", 3: b"three"})
    draft.unlink()
    await snapshots.save(1, taken(9, {3: b"again"}), [])
    assert await FileSnapshots(tmp_path).load(1) == taken(9, {0: b"live", 3: b"again"})
