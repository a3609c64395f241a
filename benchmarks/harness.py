"""What every benchmark shares: medians of interleaved rounds, and rows of ratios.

A figure alone says little on a busy machine, so each stands beside something that ran in turn with
it, round by round, and the ratio is what is quoted. Rates are quoted per second of CPU where a
process can be charged for it: what else the machine does shows less there than in wall seconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

Sample = tuple[float, ...]
Round = Callable[[], Sample]
"""Runs once and answers its figures."""

Tell = Callable[[str], None]
"""Says what is being done now; each call is a step of the progress bar."""


class Size(Struct, frozen=True, kw_only=True):
    """How much is measured."""

    accounts: int
    """Accounts of the tag and audience benchmarks."""
    devices: int
    """Devices of one push."""
    rounds: int
    seconds: float
    """How long one round of calls takes."""


FULL = Size(accounts=1_000_000, devices=10_000, rounds=5, seconds=2.0)
SMALL = Size(accounts=5_000, devices=400, rounds=1, seconds=0.2)


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    measure: str
    ours: float
    unit: str
    beside: str
    """What ran beside it."""
    other: float
    target: str = "-"
    goal: float | None = None
    """The least ratio that meets the target; None: there is none."""
    more_is_better: bool = True

    @property
    def ratio(self) -> float:
        """How many times as good as what ran beside it."""
        better, worse = (self.ours, self.other) if self.more_is_better else (self.other, self.ours)
        return better / worse if worse else float("inf")


class Found(Struct):
    """What a benchmark came to."""

    rows: list[Row] = []
    remarks: list[str] = []
    """What was left out, and what a reader must know."""


def in_turn(
    sides: Mapping[str, Round], rounds: int, tell: Tell = lambda _: None
) -> dict[str, Sample]:
    """The medians of each side's figures, run in turn after one warm-up of each."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            tell(f"{name}: {f'round {number} of {rounds}' if number else 'warm-up'}")
            sample = run()
            if number:
                samples[name].append(sample)
    return {
        name: tuple(statistics.median(column) for column in zip(*taken, strict=True))
        for name, taken in samples.items()
    }


def seconds_of(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, averaged over `times` calls."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def cpu_of(process: int) -> float:
    """Seconds of CPU that all threads of a process have had."""
    total = 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9
