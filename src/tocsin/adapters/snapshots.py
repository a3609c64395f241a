"""Snapshots of the audience index, as files: whole and durable, or not there at all.

An app has a folder. Each save writes the bitmaps that have changed into one new file, a segment,
and then a manifest that names for every term the segment, the place in it and a checksum. The
manifest is what counts: it is written under another name, synced, and renamed over the old one.
A crash at any moment leaves the old manifest with the segments that it names, or the new one
with its own. Segments that hold little but old bitmaps are written anew with the next save.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tocsin.adapters.durable import sync
from tocsin.ports import Snapshot, Snapshots

MANIFEST = "manifest"
CHECKSUM_BYTES = 16
LIVE_SHARE_MIN = 0.5
"""A segment of which less is in use is written anew."""


class BitmapPlace(Struct, frozen=True, array_like=True):
    """Where a term's bitmap is."""

    segment: str
    offset: int
    length: int
    checksum: bytes


class SnapshotManifest(Struct, frozen=True, array_like=True):
    """What a snapshot consists of."""

    position: int = 0
    places: dict[int, BitmapPlace] = {}
    mark: bytes = b""


class FileSnapshots:
    """`Snapshots` below one folder. Reading and writing happen in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifests: dict[int, SnapshotManifest] = {}
        """The manifest that was found whole, or written, by app."""
        self._one_at_a_time = asyncio.Lock()

    async def load(self, app: int) -> Snapshot | None:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._load, app)

    async def save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._save, app, changes, gone)

    async def forget(self, app: int) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._forget, app)

    def _load(self, app: int) -> Snapshot | None:
        folder = self._folder / str(app)
        manifest = _read_manifest(folder)
        bitmaps = None if manifest is None else _read_bitmaps(folder, manifest)
        if manifest is None or bitmaps is None:
            self._manifests[app] = SnapshotManifest()
            return None
        self._manifests[app] = manifest
        return Snapshot(manifest.position, manifest.mark, bitmaps)

    def _save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        folder = self._folder / str(app)
        _make_folder(folder)
        if app not in self._manifests:
            self._load(app)
        before = self._manifests[app]
        kept = {
            term: place
            for term, place in before.places.items()
            if term not in changes.bitmaps and term not in gone
        }
        written = dict(changes.bitmaps)
        for term in _thinly_used(folder, kept):
            written[term] = _cut(folder, kept.pop(term))
        segment = _fresh_name(folder, changes.position)
        places = {**kept, **_write_segment(folder / segment, written)}
        manifest = SnapshotManifest(changes.position, places, changes.mark)
        _write_manifest(folder, manifest)
        self._manifests[app] = manifest
        _sweep(folder, manifest)

    def _forget(self, app: int) -> None:
        folder = self._folder / str(app)
        self._manifests[app] = SnapshotManifest()
        if (folder / MANIFEST).exists():
            (folder / MANIFEST).unlink()
            sync(folder)
        # Without their manifest they are nothing, but of somebody all the same.
        shutil.rmtree(folder, ignore_errors=True)


class MemorySnapshots:
    """`Snapshots` that forget when the process ends."""

    def __init__(self) -> None:
        self._apps: dict[int, Snapshot] = {}

    async def load(self, app: int) -> Snapshot | None:
        return self._apps.get(app)

    async def save(self, app: int, changes: Snapshot, gone: Collection[int]) -> None:
        before = self._apps[app].bitmaps if app in self._apps else {}
        kept = {term: bitmap for term, bitmap in before.items() if term not in gone}
        self._apps[app] = replace(changes, bitmaps={**kept, **changes.bitmaps})

    async def forget(self, app: int) -> None:
        self._apps.pop(app, None)


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECKSUM_BYTES).digest()


def _read_manifest(folder: Path) -> SnapshotManifest | None:
    """The manifest, or None where there is none or it is damaged."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    checksum, packed = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if _checksum(packed) != checksum:
        return None
    return msgspec.msgpack.decode(packed, type=SnapshotManifest)


def _write_manifest(folder: Path, manifest: SnapshotManifest) -> None:
    packed = msgspec.msgpack.encode(manifest)
    fresh = folder / f"{MANIFEST}.new"
    _write_synced(fresh, [_checksum(packed), packed])
    fresh.replace(folder / MANIFEST)
    sync(folder)


def _read_bitmaps(folder: Path, manifest: SnapshotManifest) -> dict[int, bytes] | None:
    """Every term's bitmap, or None if one of them is not what was written."""
    names = {place.segment for place in manifest.places.values()}
    try:
        segments = {name: (folder / name).read_bytes() for name in names}
    except FileNotFoundError:
        return None
    bitmaps = {}
    for term, place in manifest.places.items():
        bitmap = segments[place.segment][place.offset : place.offset + place.length]
        if _checksum(bitmap) != place.checksum:
            return None
        bitmaps[term] = bitmap
    return bitmaps


def _write_segment(path: Path, bitmaps: Mapping[int, bytes]) -> dict[int, BitmapPlace]:
    places = {}
    offset = 0
    for term, bitmap in bitmaps.items():
        places[term] = BitmapPlace(path.name, offset, len(bitmap), _checksum(bitmap))
        offset += len(bitmap)
    if bitmaps:
        _write_synced(path, bitmaps.values())
    return places


def _thinly_used(folder: Path, kept: Mapping[int, BitmapPlace]) -> list[int]:
    """The terms whose segments are mostly out of date."""
    used: Counter[str] = Counter()
    for place in kept.values():
        used[place.segment] += place.length
    thin = {
        name
        for name, size in used.items()
        if size < LIVE_SHARE_MIN * (folder / name).stat().st_size
    }
    return [term for term, place in kept.items() if place.segment in thin]


def _cut(folder: Path, place: BitmapPlace) -> bytes:
    with (folder / place.segment).open("rb") as segment:
        segment.seek(place.offset)
        bitmap = segment.read(place.length)
    if _checksum(bitmap) != place.checksum:
        raise OSError(f"{place.segment} has been damaged since it was loaded")
    return bitmap


def _fresh_name(folder: Path, position: int) -> str:
    """A name that no segment has: a crash may have left one of this position behind."""
    taken = {entry.name for entry in folder.iterdir()}
    tries = (f"segment-{position}-{number}" for number in range(len(taken) + 1))
    return next(name for name in tries if name not in taken)


def _sweep(folder: Path, manifest: SnapshotManifest) -> None:
    """Remove the segments that the durable manifest does not name."""
    named = {MANIFEST, *(place.segment for place in manifest.places.values())}
    for entry in folder.iterdir():
        if entry.name not in named:
            entry.unlink()


def _write_synced(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Make the folder so that its name, too, survives a power cut."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        sync(folder.parent.parent)
        sync(folder.parent)
        sync(folder)


def _files_fit(snapshots: FileSnapshots) -> Snapshots:
    return snapshots


def _memory_fits(snapshots: MemorySnapshots) -> Snapshots:
    return snapshots
