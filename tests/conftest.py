"""What every kind of test shares: a clock that stands still, chance from a seed, absent servers."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tocsin.clock import Chance, ManualClock

# A slow machine is no fault of the code, and timed tests are none of ours: a failure is repeated
# from what hypothesis prints, on every machine alike.
settings.register_profile(
    "tocsin",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tocsin")
# Services of this run serve side by side, so none may insist on the default port.
os.environ["TOCSIN_METRICS_LISTEN"] = "127.0.0.1:0"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves only when the test says so."""
    return ManualClock()


@pytest.fixture
def chance() -> Chance:
    """Chance from a fixed seed, so that a failure repeats."""
    return Chance(seed=1)


@pytest.fixture(autouse=True, scope="module")
def _log_levels_as_they_were() -> Iterator[None]:
    """The same for what a whole file shares: a command in its fixture quietens our loggers."""
    loggers = (logging.getLogger(), logging.getLogger("tocsin"))
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Whatever a test has logging do ends with it: what it wrote to may be closed by then."""
    root, ours = logging.getLogger(), logging.getLogger("tocsin")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `server(name)` where that program is not installed."""
    for marker in item.iter_markers("server"):
        for name in marker.args:
            if shutil.which(name) is None:
                pytest.skip(f"{name} is not installed")
