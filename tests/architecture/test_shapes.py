"""Every vendor's file has the shape of its family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.rules_shapes import SHAPE_RULES
from tests.architecture.tree import REPO, Breach


@pytest.mark.parametrize("rule", SHAPE_RULES)
def test_the_family_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))
