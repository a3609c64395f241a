"""Every decision in docs/compatibility.md names a test, and each of these tests exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
HERE = "tests/unit/api/"
NAMED = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    lines = PAGE.read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.endswith("| Test |")]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def missing(line: str) -> list[str]:
    found = NAMED.findall(line.rsplit("|", 2)[1])
    faults = [] if found else ["names no test"]
    for file, name in found:
        path = ROOT / (file if "/" in file else HERE + file)
        if not path.exists() or name not in names_in(path):
            faults.append(f"{file}::{name}")
    return faults


def test_every_row_names_tests_that_exist() -> None:
    assert len(rows()) > 60
    assert {line: missing(line) for line in rows() if missing(line)} == {}


def test_a_row_with_a_test_that_is_gone_is_found() -> None:
    assert missing("| a | b | `test_auth.py::test_nothing_of_the_kind` |")
    assert missing("| a | b | `test_nope.py::test_x` |")
    assert missing("| a | b | |")
