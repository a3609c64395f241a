"""What every benchmark shares: medians of interleaved rounds, and one table of ratios.

A figure alone says little on a busy machine, so each stands beside something that ran in turn with
it, round by round, and the ratio is what is quoted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from msgspec import Struct

Round = Callable[[], float]
"""Runs once and answers its figure."""


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    measure: str
    ours: float
    unit: str
    beside: str
    """What ran beside it."""
    other: float
    target: str
    more_is_better: bool = True

    @property
    def ratio(self) -> float:
        """How many times as good as what ran beside it."""
        better, worse = (self.ours, self.other) if self.more_is_better else (self.other, self.ours)
        return better / worse if worse else float("inf")


def in_turn(ours: Round, other: Round, rounds: int) -> tuple[float, float]:
    """Medians of both, run in turn after one warm-up of each."""
    ours()
    other()
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        mine.append(ours())
        theirs.append(other())
    return statistics.median(mine), statistics.median(theirs)


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, averaged over `times` calls."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times
