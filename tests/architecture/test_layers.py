"""Arrows point down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.rules import LAYER_RULES
from tests.architecture.tree import REPO, Breach


@pytest.mark.parametrize("rule", LAYER_RULES)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))
