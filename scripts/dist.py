"""Make dist/: the wheel, the source archive, and what an installation needs beside them.

    make dist

What is in it is built from this folder alone, with the locked build tool and no network; built
twice from one commit it has the same bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from flit_core import buildapi

REPO = Path(__file__).resolve().parents[1]
BESIDE = (
    "requirements.lock",
    "tocsin.example.toml",
    "deploy/tocsin.service",
    "Containerfile",
    "compose.yaml",
)
"""Copied as they are: exact versions with their hashes, every setting, and ways to run it."""


def build(target: Path) -> list[Path]:
    """Fill the folder; answers its files."""
    target.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _committed_at())
    os.chdir(REPO)
    names = [buildapi.build_wheel(str(target)), buildapi.build_sdist(str(target))]
    for path in BESIDE:
        copied = shutil.copy(REPO / path, target)
        names.append(Path(copied).name)
    return [target / name for name in names]


def _committed_at() -> str:
    """When the present commit was made, in seconds; outside of git when zip files begin, 1980."""
    words = ["git", "-C", str(REPO), "log", "-1", "--format=%ct"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        told = ""
    return told or "315619200"


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else REPO / "dist"
    for made in build(folder):
        print(made)
