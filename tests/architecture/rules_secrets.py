"""What must not be in the tree: keys, and traces of the machine it was written on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.architecture.tree import Breach

BYTES_MAX = 2_000_000
"""Larger files are no text of ours, and none should be here."""

# Patterns and canaries are written so that they are no traces themselves.
TRACES = {
    "a private key": re.compile(
        r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[\s\\n\"']*(?:[A-Za-z0-9+/=]{32,}[\s\\n\"']*){2,}"
    ),
    "a package registry": re.compile(
        r"\b(?:pypi\.(?:org|io)|pythonhosted\.org|registry\.npmjs|crates\.io|rubygems\.org)"
        r"|--(?:extra-)?index-url|--trusted-host|--find-links",
        re.IGNORECASE,
    ),
    "somebody's home folder": re.compile(
        r"(?<![\w.])/(?:home|Users)/(?!user\b|you\b)[a-z][\w.-]*/|(?<![\w.])/[r]oot/"
    ),
    "a cloud's own key": re.compile(r"\b(?:AKIA[0-9A-Z]{16}|AIza[\w-]{35}|ghp_[A-Za-z0-9]{36})\b"),
}

NOT_KEPT = frozenset((".git", ".venv", "__pycache__", ".hypothesis", "data", "build", "dist"))
"""Folders that a checkout has beside the tracked files."""


def tracked_files(root: Path) -> list[Path]:
    """What git keeps of `root`, or all files where there is no git to ask."""
    git = shutil.which("git")
    if git and (root / ".git").exists():
        listed = subprocess.run(
            [git, "-C", str(root), "ls-files", "-z"], capture_output=True, check=False, text=True
        )
        if listed.returncode == 0:
            paths = [root / name for name in listed.stdout.split("\0") if name]
            return [path for path in paths if path.is_file()]
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not _is_beside(path.relative_to(root))
    ]


def _is_beside(path: Path) -> bool:
    return any(part in NOT_KEPT or part.endswith("_cache") for part in path.parts)


def nothing_private_is_kept(root: Path) -> list[Breach]:
    """No file of the tree holds a key, names a registry or a folder of somebody's machine."""
    breaches = []
    for path in tracked_files(root):
        name = path.relative_to(root).as_posix()
        if path.stat().st_size > BYTES_MAX:
            breaches.append(Breach(name, 1, f"over {BYTES_MAX} bytes"))
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for what, pattern in TRACES.items():
            for found in pattern.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                breaches.append(Breach(name, line, f"{what}: {found.group()[:40]}"))
    return breaches
