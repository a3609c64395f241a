"""docs/evidence.md has every promise that a test is marked with, each with its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.evidence import TOPICS, MarkerError, Promise, page, read_markers, read_promises
from tests.architecture.tree import REPO

FIRST = '@pytest.mark.evidence("no push is lost", topic="Books", planted="no sync")\n'
FURTHER = '@pytest.mark.evidence("no push is lost")\n'
TEST = "def test_{}(): ...\n"


def write_tests(root: Path, text: str) -> None:
    (root / "tests").mkdir()
    (root / "tests" / "test_it.py").write_text(text, encoding="utf-8")


def promises_of(root: Path) -> list[Promise]:
    return list(read_promises(read_markers(root)))


def test_the_page_has_hundreds_of_promises_and_each_topic_has_some() -> None:
    promises = promises_of(REPO)
    assert len(promises) > 400
    assert {each.first.topic for each in promises} == set(TOPICS)


def test_a_row_names_the_promise_its_tests_and_the_fault(tmp_path: Path) -> None:
    write_tests(
        tmp_path,
        FURTHER + TEST.format("a") + FIRST + "@pytest.mark.slow\nasync " + TEST.format("b"),
    )
    row = "| no push is lost | `tests/test_it.py::test_b`, `tests/test_it.py::test_a` | no sync |"
    assert row in page(tmp_path).splitlines()


def test_a_promise_may_have_no_fault_and_its_bars_break_no_table(tmp_path: Path) -> None:
    marker = '@pytest.mark.evidence("this|that", topic="Books", planted=None)\n'
    write_tests(tmp_path, marker + TEST.format("a"))
    assert "| this\\|that | `tests/test_it.py::test_a` | none |" in page(tmp_path).splitlines()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FURTHER + TEST.format("a"), "no marker of this promise names its topic"),
        (FIRST + TEST.format("a") + FIRST + TEST.format("b"), "name the topic once"),
        (FIRST.replace("Books", "Boks") + TEST.format("a"), "no topic 'Boks'"),
        (FIRST.replace(', planted="no sync"', "") + TEST.format("a"), "give both"),
        (FIRST.replace('"no sync"', "FAULT") + TEST.format("a"), "as texts"),
        (FIRST + "def helper(): ...\n", "only a test"),
        (FIRST + "class Helper: ...\n", "only a test"),
    ],
)
def test_a_marker_that_makes_no_row_is_refused_with_its_place(
    text: str, reason: str, tmp_path: Path
) -> None:
    write_tests(tmp_path, text)
    with pytest.raises(MarkerError, match=reason) as refused:
        promises_of(tmp_path)
    assert str(refused.value).startswith("tests/test_it.py:")
