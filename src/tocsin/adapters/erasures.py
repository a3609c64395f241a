"""The list of erasures as a file beside the database: one JSON line for each erased account.

Names are hashed with a key that is in the database and so in each of its backups: the file alone
names nobody. It survives a restore, which replaces the database and not this file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tocsin.adapters.durable import sync
from tocsin.clock import Clock
from tocsin.domain.erasure import erased_name
from tocsin.errors import StoreError
from tocsin.ports import Erasures

FILE = "erasures.log"
SWEEP_EVERY_S = 86_400.0
"""How often entries that are too old are taken out."""
LINE_MAX_BYTES = 200


class Erasure(Struct, frozen=True, kw_only=True):
    """One line."""

    app: int
    name: str
    """Keyed hash of the account's name."""
    at: float
    """Unix seconds."""


class FileErasures:
    """`Erasures` in a file; what is older than `kept_s` seconds is taken out once a day."""

    def __init__(self, path: Path, key: bytes, clock: Clock, kept_s: float) -> None:
        self._path = path
        self._key = key
        self._clock = clock
        self._kept_s = kept_s
        self._swept_at = -SWEEP_EVERY_S
        self._one_at_a_time = asyncio.Lock()

    async def note(self, app: int, names: Sequence[str], at: float) -> None:
        if not names:
            return
        lines = [Erasure(app=app, name=erased_name(self._key, app, name), at=at) for name in names]
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._append, lines)
            except OSError as fault:
                raise StoreError(f"the erasure cannot be written down: {fault}") from fault

    def _append(self, lines: Iterable[Erasure]) -> None:
        now = self._clock.monotonic()
        if now - self._swept_at >= SWEEP_EVERY_S:
            self._sweep()
            self._swept_at = now
        _write(self._path, lines, os.O_APPEND)

    def _sweep(self) -> None:
        since = self._clock.now() - self._kept_s
        lines = read_erasures(self._path)
        kept = [line for line in lines if line.at >= since]
        if len(kept) == len(lines):
            return
        draft = self._path.with_name(f"{FILE}.new")
        _write(draft, kept, os.O_TRUNC)
        draft.replace(self._path)
        sync(self._path.parent)


def read_erasures(path: Path) -> list[Erasure]:
    """The list, without a last line that a crash has cut off; empty where there is no file.

    Raises `ValueError` for a file that is no such list.
    """
    erasures: list[Erasure] = []
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_MAX_BYTES):
                if line.endswith(b"\n"):
                    erasures.append(msgspec.json.decode(line, type=Erasure))
                elif len(line) >= LINE_MAX_BYTES:
                    raise ValueError(f"{path} is no list of erasures")
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as fault:
        raise ValueError(f"{path} is no list of erasures: {fault}") from fault
    return erasures


def add_erasures(path: Path, other: Path) -> None:
    """Add what another list says, durably: a later restore has to know it, too."""
    known = set(map(_told, read_erasures(path)))
    _write(path, [line for line in read_erasures(other) if _told(line) not in known], os.O_APPEND)


def _told(line: Erasure) -> tuple[int, str, float]:
    return line.app, line.name, line.at


def _write(path: Path, lines: Iterable[Erasure], how: int) -> None:
    is_new = not path.exists()
    number = os.open(path, os.O_RDWR | os.O_CREAT | how, 0o600)
    with os.fdopen(number, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size and how == os.O_APPEND:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                # A crash has cut the last line off: nobody was told that it was written.
                file.truncate(_end_of_lines(file.fileno(), size))
        file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)


def _end_of_lines(number: int, size: int) -> int:
    """Where the last whole line ends."""
    start = max(0, size - LINE_MAX_BYTES)
    return start + os.pread(number, size - start, start).rfind(b"\n") + 1


def _fits(erasures: FileErasures) -> Erasures:
    return erasures
