"""A wheel, unpacked as an installation has it, and its command run where no checkout is near."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S

TOCSIN = ("-P", "-c", "from tocsin.cli.entry import main; main()")
"""What the console script does. `-P`: nothing is found in the folder where it is run."""


def build_wheel(folder: Path) -> Path:
    """What `make dist` makes, in a folder of its own; answers the wheel."""
    words = [sys.executable, str(REPO / "scripts/dist.py"), str(folder)]
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, site: Path) -> None:
    """Pure Python, so that installing it is unpacking it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def environment_of(site: Path, folder: Path) -> dict[str, str]:
    """The unpacked wheel before anything else, and nothing of this process's own settings."""
    return {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "HOME": str(folder)}


@asynccontextmanager
async def told_by(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A server, and the line by which it says that it listens; told to end with the block."""
    log = folder / "stderr.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=dict(environment),
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        assert line, log.read_text()
        yield process, msgspec.json.decode(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
