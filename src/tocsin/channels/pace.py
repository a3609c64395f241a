"""How fast a credential may send, when it may not send at all, and what it is believed.

Pure: every question takes `now`, so a test walks through an hour of outage without waiting.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from msgspec import Struct

from tocsin.domain.outcome import Outcome, is_too_dead
from tocsin.domain.retry import grown_s

WINDOW_S = 30.0
"""Outcomes of so many seconds are looked at together."""
SHARE_MAX = 0.5
COUNT_MIN = 20
"""Fewer outcomes than this are luck, not a share."""
SECONDS_MIN = 3
"""Failures must have come in so many different seconds: one connection that dies or is told to go
away takes everything on it along, all at once, and the next connection works."""
OPEN_S = 15.0
"""How long the breaker stays open at first; each failed probe doubles it."""
OPEN_MAX_S = 600.0
CALM_S = 300.0
"""After so long without opening, the next outage counts as a first one again."""

FAILING = frozenset((Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.UNSENT, Outcome.THROTTLED))
"""The vendor is down, or the way to it, or it wants most of what we send later."""
PAUSING = frozenset((Outcome.SERVER_ERROR, Outcome.THROTTLED))
"""Those by which the vendor itself may ask for a pause."""
OURS = frozenset((Outcome.RECALLED, Outcome.EXPIRED, Outcome.HELD))
"""Nothing was asked of the vendor, so they say nothing about it."""
ACCUSING = frozenset((Outcome.AUTH_EXPIRED, Outcome.CREDENTIALS_WRONG))
"""One of these opens the breaker at once: the next request would fare no better."""

MEMORY_S = 3600
"""Dead tokens are held against what was judged within so long; most receipts come in minutes."""
SLICE_S = 60

State = Literal["closed", "half_open", "open"]
Leave = Literal["go", "probe", "hold"]


class Second(Struct):
    """What the requests that ended in one second came to."""

    at: int
    count: int = 0
    failures: int = 0
    asked_until: float = 0.0
    """The latest time that the vendor named when it asked us to wait."""


class Breaker:
    """Closed it lets everything through, open nothing, and half open one probe."""

    def __init__(self) -> None:
        self._open_until = 0.0
        self._is_open = False
        self._is_probing = False
        self._level = 0
        self._closed_at = 0.0
        self._seconds: deque[Second] = deque()
        """Those of the window, oldest first."""
        self._count = 0
        self._failures = 0

    def state(self, now: float) -> State:
        """Where it stands."""
        if not self._is_open:
            return "closed"
        return "open" if now < self._open_until else "half_open"

    def leave(self, now: float) -> Leave:
        """May a request begin? A probe must be followed by `record_probe` or `release`."""
        if not self._is_open:
            return "go"
        if now < self._open_until or self._is_probing:
            return "hold"
        self._is_probing = True
        return "probe"

    def room(self, now: float) -> int | None:
        """How many may begin as far as the breaker is concerned; None: any number."""
        if not self._is_open:
            return None
        return 0 if now < self._open_until or self._is_probing else 1

    def wait_s(self, now: float) -> float:
        """How long whoever is held should wait before asking again."""
        return max(1.0, self._open_until - now) if self._is_open else 1.0

    def release(self) -> None:
        """The probe was not sent after all: the next request may be it."""
        self._is_probing = False

    def record(self, outcome: Outcome, now: float, asked_s: float = 0.0) -> str:
        """Take in what a request came to; answers why that opened it, or nothing.

        `asked_s` is how long the vendor wants us to wait. It may mean one device only, so it is
        no reason to open; but if the breaker opens, it stays open so long.
        """
        if self._is_open:
            # An answer to what had begun before it opened: it says nothing new.
            return ""
        if outcome in ACCUSING:
            return self._open(now, f"the vendor answers {outcome}")
        self._add(int(now), is_bad=outcome in FAILING)
        if outcome in PAUSING:
            last = self._seconds[-1]
            last.asked_until = max(last.asked_until, now + asked_s)
        if self._is_failing():
            asked_until = max(it.asked_until for it in self._seconds)
            why = f"{self._failures} of {self._count} requests failed"
            return self._open(now, why, asked_until)
        return ""

    def record_probe(self, outcome: Outcome, now: float, asked_s: float = 0.0) -> str:
        """Take in what the probe came to: it closes the breaker, or opens it for longer."""
        self._is_probing = False
        if outcome in ACCUSING or outcome in FAILING:
            asked_until = now + asked_s if outcome in PAUSING else 0.0
            return self._open(now, f"the probe came to {outcome}", asked_until)
        self._is_open = False
        self._closed_at = now
        return ""

    def trip(self, now: float) -> bool:
        """Open it from outside; False if it was not closed."""
        if self._is_open:
            return False
        self._open(now, "")
        return True

    def _is_failing(self) -> bool:
        if self._count < COUNT_MIN or self._failures <= SHARE_MAX * self._count:
            return False
        return sum(1 for it in self._seconds if it.failures) >= SECONDS_MIN

    def _open(self, now: float, reason: str, asked_until: float = 0.0) -> str:
        if not self._is_open and now - self._closed_at > CALM_S:
            self._level = 0
        self._is_open = True
        open_s = max(grown_s(OPEN_S, OPEN_MAX_S, self._level), asked_until - now)
        self._open_until = now + min(OPEN_MAX_S, open_s)
        self._level += 1
        self._seconds.clear()
        self._count = self._failures = 0
        return reason

    def _add(self, second: int, *, is_bad: bool) -> None:
        if not self._seconds or self._seconds[-1].at != second:
            self._seconds.append(Second(second))
            while self._seconds[0].at <= second - WINDOW_S:
                gone = self._seconds.popleft()
                self._count -= gone.count
                self._failures -= gone.failures
        self._seconds[-1].count += 1
        self._seconds[-1].failures += is_bad
        self._count += 1
        self._failures += is_bad


class Mortality:
    """How many of the deliveries that the vendor judged lately have met dead tokens.

    A vendor's receipts come one by one or sorted by what they tell, and pushes to single accounts
    are batches of one: nothing of this can be judged by itself as the answer to a list is.
    """

    def __init__(self) -> None:
        self._slices: deque[list[int]] = deque()
        """[minute, judged, dead] of the memory, oldest first."""

    def judge(self, judged: int, dead: int, now: float) -> None:
        """Count deliveries that the vendor took, may have taken, or refused for `dead` tokens."""
        slice_ = self._slice(now)
        slice_[1] += judged
        slice_[2] += dead

    def tell_dead(self, count: int, now: float) -> Literal["believe", "keep", "accuse"]:
        """Count more tokens told dead: are such to be dropped?

        `keep` is said where fewer were judged than are told dead: after a restart, nobody knows
        of how many these are.
        """
        self._slice(now)[2] += count
        judged = sum(it[1] for it in self._slices)
        dead = sum(it[2] for it in self._slices)
        if not is_too_dead(dead, judged):
            return "believe"
        return "accuse" if dead <= judged else "keep"

    def _slice(self, now: float) -> list[int]:
        minute = int(now // SLICE_S)
        while self._slices and self._slices[0][0] <= minute - MEMORY_S // SLICE_S:
            self._slices.popleft()
        if not self._slices or self._slices[-1][0] != minute:
            self._slices.append([minute, 0, 0])
        return self._slices[-1]
