"""A file system that keeps a record of what a power cut would leave behind.

SQLite writes through it to ordinary files. Beside them it keeps, for each file, the content that
was synced, and the writes and truncations since. A cut leaves the synced content and any part of
what came after it: nothing, everything, or a random selection, in units of disk sectors, since a
disk orders its writes as it likes. Each sync is a moment at which the power might go.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import apsw
from msgspec import Struct

SECTOR = 512

Loose = Literal["lost", "kept", "some"]
"""What becomes of writes that were not synced."""

Edit = tuple[int, bytes] | int
"""A write at an offset, or a truncation to a size."""


class Disk(Struct):
    """Synced contents by file name, and what has been asked since."""

    synced: dict[str, bytes] = {}
    loose: dict[str, tuple[Edit, ...]] = {}

    def copy(self) -> Disk:
        return Disk(dict(self.synced), dict(self.loose))

    def after_cut(self, folder: Path, what: Loose, rng: random.Random) -> None:
        """Write the files as they are found when the power returns."""
        folder.mkdir()
        for name in {*self.synced, *self.loose}:
            content = bytearray(self.synced.get(name, b""))
            edits = self.loose.get(name, ())
            if name not in self.synced and what == "lost":
                continue
            for edit in edits:
                for part in _sectors(edit):
                    if what == "kept" or (what == "some" and rng.random() < 0.5):
                        _apply(content, part)
            (folder / name).write_bytes(content)


def _sectors(edit: Edit) -> list[Edit]:
    if isinstance(edit, int):
        return [edit]
    offset, data = edit
    return [(offset + at, data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)]


def _apply(content: bytearray, edit: Edit) -> None:
    if isinstance(edit, int):
        del content[edit:]
        return
    offset, data = edit
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class ForgetfulVFS(apsw.VFS):
    """The file system. `moment` is called before and after each sync."""

    def __init__(self, name: str, moment: Callable[[Disk], None]) -> None:
        self.vfs_name = name
        self.disk = Disk()
        self.moment = moment
        super().__init__(name, "")

    def xOpen(  # noqa: N802 - the library's name, as are the others
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> ForgetfulFile:
        return ForgetfulFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        self.disk.synced.pop(name, None)
        self.disk.loose.pop(name, None)


class ForgetfulFile(apsw.VFSFile):
    def __init__(
        self, vfs: ForgetfulVFS, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._name = Path(path).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._note((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._note(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        disk = self._vfs.disk
        self._vfs.moment(disk)
        super().xSync(flags)
        content = bytearray(disk.synced.get(self._name, b""))
        for edit in disk.loose.pop(self._name, ()):
            _apply(content, edit)
        disk.synced[self._name] = bytes(content)
        self._vfs.moment(disk)

    def _note(self, edit: Edit) -> None:
        loose = self._vfs.disk.loose
        loose[self._name] = (*loose.get(self._name, ()), edit)
