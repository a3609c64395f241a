"""Every figure counted is in the table, and every row of the table is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.rules_metrics import (
    METRIC_RULES,
    every_row_is_counted,
    figures_are_in_the_table,
)
from tests.architecture.tree import REPO, Breach
from tocsin.metrics import TABLE


@pytest.mark.parametrize("rule", METRIC_RULES)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))


def plant(root: Path, text: str) -> None:
    (root / "src" / "tocsin").mkdir(parents=True)
    (root / "src" / "tocsin" / "x.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "metrics.count('inventions')",
        "self._metrics.count('calls', command='push')",
        "self._tools.metrics.count('acks', 3, channel='online')",
        "metrics.set('acks', 3)",
    ],
)
def test_a_wrong_figure_is_caught(text: str, tmp_path: Path) -> None:
    plant(tmp_path, text)
    assert figures_are_in_the_table(tmp_path)


def test_a_row_that_nothing_counts_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "self._metrics.count('acks', 3)\n'calls'.count('l')\n")
    assert figures_are_in_the_table(tmp_path) == []
    assert len(every_row_is_counted(tmp_path)) == len(TABLE) - 1
