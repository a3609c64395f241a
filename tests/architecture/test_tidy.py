"""Budgets and banned words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.rules_tidy import BROAD_EXCEPT_PLACES, TIDY_RULES
from tests.architecture.tree import REPO, Breach


@pytest.mark.evidence(
    "budgets, banned words, no dead files",
    topic="Set-up and architecture",
    planted="a `print` in the domain; a file that nothing imports",
)
@pytest.mark.evidence(
    "every cache is bounded in entries, and in bytes where it says so, by one class"
)
@pytest.mark.evidence(
    "an app's secrets are opened in one module, once each, and anew when they change"
)
@pytest.mark.parametrize("rule", TIDY_RULES)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[Breach]]) -> None:
    breaches = rule(REPO)
    assert not breaches, "\n" + "\n".join(map(str, breaches))


def test_at_most_four_places_catch_everything() -> None:
    assert len(BROAD_EXCEPT_PLACES) <= 4
