"""Every test gets a service of its own."""

from __future__ import annotations

import pytest

from tests.unit.api.world import World


@pytest.fixture
async def world() -> World:
    """A service without limits, with accounts ann, bob and carl."""
    made = World()
    await made.open("unlimited", "ann", "bob", "carl")
    return made
