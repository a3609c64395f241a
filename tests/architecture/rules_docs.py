"""Links between the pages of the project."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.rules_secrets import tracked_files
from tests.architecture.tree import Breach

LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+\s+(.+)$", re.MULTILINE)


def links_resolve(root: Path) -> list[Breach]:
    """Each relative link leads to a file of the tree, each anchor to one of its headings."""
    breaches = []
    for path in tracked_files(root):
        if path.suffix != ".md":
            continue
        text = _without_code(path.read_text(encoding="utf-8"))
        for found in LINK.finditer(text):
            target = found.group(1) or found.group(2)
            if not _leads_somewhere(path, target):
                line = text.count("\n", 0, found.start()) + 1
                breaches.append(Breach(path.relative_to(root).as_posix(), line, f"dead: {target}"))
    return breaches


def _without_code(text: str) -> str:
    # Lines stay where they are, so that a breach names the right one.
    return FENCED.sub(lambda found: "\n" * found.group().count("\n"), text)


def _leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    there = (page.parent / name) if name else page
    if not there.exists():
        return False
    return not anchor or anchor in _anchors(there)


def _anchors(page: Path) -> set[str]:
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
