"""The name of a class stands for one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.rules_names import class_names_are_defined_once
from tests.architecture.tree import REPO


@pytest.mark.evidence(
    "the name of a class stands for one thing in the whole package",
    topic="Set-up and architecture",
    planted="a second `Router`",
)
def test_a_class_name_is_defined_once() -> None:
    breaches = class_names_are_defined_once(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))


@pytest.mark.parametrize(
    ("first", "second", "lines"),
    [
        ("class Router: ...", "class Router: ...", [1]),
        ("class Router: ...", "\n\ndef f():\n    class Router: ...", [4]),
        ("class Router: ...\nclass Router: ...", "", [2]),
        ("class _Router: ...", "class _Router: ...", []),
        ("class Router: ...", "class Routers: ...", []),
    ],
)
def test_a_second_class_of_a_name_is_caught(
    first: str, second: str, lines: list[int], tmp_path: Path
) -> None:
    for name, text in (("domain/a.py", first), ("pipeline/b.py", second)):
        path = tmp_path / "src/tocsin" / name
        path.parent.mkdir(parents=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert [breach.line for breach in class_names_are_defined_once(tmp_path)] == lines


def test_each_vendor_has_its_own_settings(tmp_path: Path) -> None:
    for name in ("channels/vendors/a.py", "channels/vendors/b.py", "api/c.py"):
        path = tmp_path / "src/tocsin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("class Settings: ...\n", encoding="utf-8")
    assert not class_names_are_defined_once(tmp_path)
