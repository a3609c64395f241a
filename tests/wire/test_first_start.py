"""A first start that is killed is simply started again, wherever it was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EVERY = 16
"""Of the database's own writes one in so many; of the other files' changes each."""


@pytest.mark.evidence(
    "a folder that has lost its database is not begun anew, and a first start that was killed is",
)
def test_a_first_start_that_is_killed_anywhere_starts_again() -> None:
    command = [sys.executable, "-m", "tests.wire.killed_start", str(EVERY)]
    top = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *broken, count = done.stdout.splitlines()
    assert broken == []
    assert int(count.split()[0]) > 15
