"""Write docs/evidence.md from the markers at the tests, without importing a test.

A test that holds a promise says so in a marker, which says once where the promise belongs and which
fault was planted by hand to see the test fail; other tests of the same promise repeat its words:

    @pytest.mark.evidence("a kill loses no push", topic="Books", planted="commits not synced")
    @pytest.mark.evidence("a kill loses no push")
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MARKER = "pytest.mark.evidence"

TOPICS: dict[str, str] = {
    "Set-up and architecture": "",
    "The wire": "",
    "Books": "",
    "The laws": "The numbers are those of the [laws](ARCHITECTURE.md#laws).",
    "Channels and sandbox": "",
    "Vendors": "",
    "A push outlives every outage": "",
    "Trouble, vendor by vendor": "",
    "Receipts": "",
    "Recall at the vendors": "",
    "Credentials": "",
    "The data folder": "",
    "Backup and restore": "",
    "Online": "",
    "Command line and demo": "",
    "Settings, log and reload": "",
    "Daily verbs": "",
    "Foreign judges": """\
Judges are libraries that others wrote. They run unchanged against the sandbox: it shows what they
send, they understand what it refuses, and our requests differ from theirs only where a table in the
test says why ([ADR 10](adr/0010-foreign-judges.md)). HarmonyOS, Honor, Xiaomi, OPPO, vivo and Meizu
have no judge: no registry that we reach holds an SDK that runs.""",
    "Operations": "",
    "Strangers and browsers": "",
    "Clients": "",
    "Installing it": "",
    "Planning by sets": "",
    "Connections": "`make soak` pesters a served process for three minutes (`SECONDS=` for another "
    "time).",
}
"""Each topic in the order of the page, with what has to be known of it."""

ABOUT = """\
# Evidence

<!-- Made by `make docs` from the markers at the tests. Edit those instead. -->

One row per promise: the tests that hold it, and the fault that was planted by hand to see a test
fail. The rows are the `evidence` markers of the tests."""


class MarkerError(Exception):
    """A marker that the page cannot be made from: where it stands, and what to do."""


class Marker(NamedTuple):
    """One marker, and the test that it stands at."""

    path: str
    line: int
    test: str
    promise: str
    topic: str | None
    planted: str | None

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line} ({self.test})"


@dataclass
class Promise:
    """One row of the page."""

    first: Marker
    tests: list[str]

    def row(self) -> str:
        tests = ", ".join(f"`{name}`" for name in self.tests)
        cells = (self.first.promise, tests, self.first.planted or "none")
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page(root: Path = ROOT) -> str:
    """The page: topics in their order, promises in the order of their tests."""
    promises = list(read_promises(read_markers(root)))
    parts = [ABOUT]
    for topic, about in TOPICS.items():
        rows = [each.row() for each in promises if each.first.topic == topic]
        if rows:
            head = ["| Promise | Tests | Planted fault that they caught |", "|---|---|---|"]
            parts += [f"## {topic}", *([about] if about else []), "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def read_promises(markers: list[Marker]) -> Iterator[Promise]:
    """Each promise with all its tests, the one whose marker names the topic first."""
    firsts: dict[str, Marker] = {}
    for marker in markers:
        if marker.topic is None:
            continue
        if marker.topic not in TOPICS:
            raise MarkerError(f"{marker.place}: no topic {marker.topic!r} in scripts/evidence.py")
        if marker.promise in firsts:
            other = firsts[marker.promise].place
            raise MarkerError(f"{marker.place}: name the topic once; {other} does so already")
        firsts[marker.promise] = marker
    others: dict[str, list[str]] = {promise: [] for promise in firsts}
    for marker in markers:
        if marker.promise not in firsts:
            raise MarkerError(f"{marker.place}: no marker of this promise names its topic")
        if marker is not firsts[marker.promise]:
            others[marker.promise].append(f"{marker.path}::{marker.test}")
    for promise, first in firsts.items():
        own = f"{first.path}::{first.test}"
        yield Promise(first, list(dict.fromkeys([own, *others[promise]])))


def read_markers(root: Path) -> list[Marker]:
    """Every marker below `tests/`, in the order of paths and lines."""
    markers: list[Marker] = []
    for path in sorted((root / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if MARKER not in text:
            continue
        name = path.relative_to(root).as_posix()
        markers += [
            _read_marker(name, node, decorator)
            for node in _statements(ast.parse(text, name))
            for decorator in getattr(node, "decorator_list", ())
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == MARKER
        ]
    return sorted(markers, key=lambda marker: (marker.path, marker.line))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, whatever it stands in: what a marker can stand at, and no expression."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())


def _read_marker(path: str, node: ast.AST, call: ast.Call) -> Marker:
    test = str(getattr(node, "name", ""))
    place = f"{path}:{call.lineno} ({test})"
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not test.startswith("test_"):
        raise MarkerError(f"{place}: only a test holds a promise")
    try:
        (promise,) = [ast.literal_eval(each) for each in call.args]
        named = {each.arg or "**": ast.literal_eval(each.value) for each in call.keywords}
    except ValueError as fault:
        raise MarkerError(f"{place}: write one promise, topic= and planted= as texts") from fault
    if named.keys() not in ({"topic", "planted"}, set()):
        raise MarkerError(f"{place}: give both topic= and planted= (None: no fault), or neither")
    return Marker(path, call.lineno, test, promise, named.get("topic"), named.get("planted"))
