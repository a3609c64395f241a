"""The machine that we run on: disk, and open files."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

from tocsin.domain.checkup import Machine

DESCRIPTORS = (Path("/proc/self/fd"), Path("/dev/fd"))
"""Folders with an entry for each open file of this process: Linux, and others."""


def look_at_machine(folder: Path, database: str) -> Machine:
    """What there is now for a data folder and its database."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Machine(
        disk_free_bytes=shutil.disk_usage(folder).free,
        database_bytes=_size(folder / database),
        log_bytes=_size(folder / f"{database}-wal"),
        files_used=_open_files(),
        files_max=2**20 if soft == resource.RLIM_INFINITY else soft,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _open_files() -> int:
    folder = next((it for it in DESCRIPTORS if it.is_dir()), None)
    return 0 if folder is None else sum(1 for _ in folder.iterdir())
