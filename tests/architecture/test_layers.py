"""Arrows point down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.rules import LAYER_RULES
from tests.architecture.tree import REPO, Breach


@pytest.mark.evidence(
    "imports go to lower layers, packages of one layer never import each other, no circles",
    topic="Set-up and architecture",
    planted="a channel that imports the pipeline; two files of the domain that import each "
    "other; each rule has one more in test_canaries.py",
)
@pytest.mark.evidence(
    "`tocsin serve` can inject no fault, whatever its settings and its environment are"
)
@pytest.mark.parametrize("rule", LAYER_RULES)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))
