"""Seeds that once found a fault stay here, with what they found."""

from __future__ import annotations

import pytest

from tests.sim.test_seeds import test_a_random_world_comes_to_rest_with_its_books_right as rests

FOUND = {
    324: "a job begun by a worker that died was booked as recalled, though it had been served",
}


@pytest.mark.evidence("all of them in random worlds")
@pytest.mark.parametrize("seed", FOUND)
async def test_what_a_seed_once_found_stays_mended(seed: int) -> None:
    await rests(seed)
