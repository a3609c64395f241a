"""Ends first starts at their file operations, as kill -9 does, and starts each folder again.

Run by `test_first_start.py` in a process of its own, since each start is a fork: prints one line
for every point where the next start does not hold, and how many points there were.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from tocsin.config import load
from tocsin.service.opening import open_service

FILES = ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.chmod", "fcntl.flock")
KILLED = 9

Tick = Callable[[str], None]


class KillingVFS(apsw.VFS):
    """The database's files, told before each of their changes."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick
        super().__init__("killing", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> KillingFile:  # noqa: N802
        self.tick("database")
        return KillingFile(self.tick, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.tick("database")
        super().xDelete(name, sync)


class KillingFile(apsw.VFSFile):
    def __init__(self, tick: Tick, name: Any, flags: list[int]) -> None:
        self.tick = tick
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.tick("database")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.tick("database")
        super().xSync(flags)


async def open_once(folder: Path) -> bool:
    async with open_service(load(data=folder, environment={})) as service:
        return await service.store.apps() == []


def forked(work: Callable[[], int]) -> int:
    """What `work` answers in a process of its own."""
    child = os.fork()
    if not child:
        try:
            os._exit(work())
        finally:
            os._exit(100)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start(folder: Path, points: Path | None, at: int) -> int:
    """A first start that ends before its operation `at`; 0: it writes down what each concerns."""
    kinds: list[str] = []

    def tick(kind: str) -> None:
        kinds.append(kind)
        if len(kinds) == at:
            os._exit(KILLED)

    def hook(event: str, told: tuple[Any, ...]) -> None:
        if event in FILES and any(str(folder) in str(each) for each in told[:2]):
            tick("file")

    kept = KillingVFS(tick)
    sys.addaudithook(hook)
    is_open = asyncio.run(open_once(folder))
    assert kept.tick is tick
    if points is not None:
        points.write_text("\n".join(kinds))
    return 0 if is_open else 1


def main(every: int) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        assert forked(lambda: start(top / "0", top / "points", 0)) == 0
        kinds = (top / "points").read_text().split()
        chosen = [at for at, kind in enumerate(kinds, 1) if kind == "file" or at % every == 0]
        for at in chosen:
            folder = top / str(at)
            ended = forked(lambda folder=folder, at=at: start(folder, None, at))  # type: ignore[misc]
            again = forked(lambda folder=folder: int(not asyncio.run(open_once(folder))))  # type: ignore[misc]
            drafts = [path.name for path in folder.glob("secret.key.*")]
            if (ended, again, drafts) != (KILLED, 0, []):
                sys.stdout.write(f"{at} {kinds[at - 1]}: {ended} {again} {drafts}\n")
        sys.stdout.write(f"{len(chosen)} points\n")
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main(int(sys.argv[1]))
