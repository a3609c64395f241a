"""docs/evidence.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "evidence.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=["::".join(each) for each in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    source = (REPO / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"def {name}\b", source)


def test_the_page_names_many() -> None:
    assert len(NAMED) > 40
