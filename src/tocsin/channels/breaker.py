"""When a credential may send: its breaker, its repeats, and how much was under way at once.

Pure: every question takes `now`, so a test walks through an hour of outage without waiting.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from msgspec import Struct

from tocsin.domain.outcome import Outcome
from tocsin.domain.retry import grown_s

WINDOW_S = 30.0
"""Outcomes of so many seconds are looked at together."""
SHARE_MAX = 0.5
COUNT_MIN = 20
"""Fewer outcomes than this are luck, not a share."""
SECONDS_MIN = 3
"""Failures must have come in so many different seconds: one connection that dies or is told to go
away takes everything on it along, all at once, and the next connection works."""
DEVICES_MIN = 5
"""Failures must have come of so many different devices: what one device yields, however often it
is sent to, says nothing of the others. Where fewer wait, the pushes to nobody do without it."""
OPEN_S = 15.0
"""How long the breaker stays open at first; each failed probe doubles it."""
OPEN_MAX_S = 30.0
"""Longest time between two probes in an outage: so soon its end is noticed."""
THROTTLED_MAX_S = 60.0
"""The same where the vendor wants less of us and does not say when."""
REFUSED_MAX_S = 600.0
"""The same where the vendor refuses the credential: only an operator ends that."""
CALM_S = 300.0
"""After so long without opening, the next outage counts as a first one again."""

FAILING = frozenset((Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.UNSENT, Outcome.THROTTLED))
"""The vendor is down, or the way to it, or it wants most of what we send later."""
PAUSING = frozenset((Outcome.SERVER_ERROR, Outcome.THROTTLED))
"""Those by which the vendor itself may ask for a pause."""
ACCUSING = frozenset((Outcome.AUTH_EXPIRED, Outcome.CREDENTIALS_WRONG))
"""One of these opens the breaker at once: the next request would fare no better."""

PEAK_S = 10.0
REPEATS_S = 600.0
"""Repeats of so long are looked at together."""
REPEATS_MIN = 20
REPEATS_SHARE_MAX = 0.5

State = Literal["closed", "open"]


class Second(Struct):
    """What the requests that ended in one second came to."""

    at: int
    count: int = 0
    failures: int = 0
    asked_until: float = 0.0
    """The latest time that the vendor named when it asked us to wait."""
    failed: set[int] = set()
    """Devices of the failures, as many as count."""
    is_of_many: bool = False
    """Whether a failure was that of a whole list."""


class Breaker:
    """Closed it lets everything through; open it lets nothing through but pushes to nobody.

    It opens for what accuses the credential or the way to the vendor, never for one device.
    """

    def __init__(self, scale: float = 1.0) -> None:
        """`scale` is a factor on its waits, for tests on real sockets."""
        self.is_open = False
        self.is_refused = False
        """Whether it is open because the vendor refuses the credential."""
        self.until = 0.0
        """While it is open: when the next probe is due, Unix seconds."""
        self.why = ""
        self._scale = scale
        self._level = 0
        self._closed_at = 0.0
        self._seconds: deque[Second] = deque()
        """Those of the window, oldest first."""
        self._count = 0
        self._failures = 0

    @property
    def state(self) -> State:
        """Where it stands."""
        return "open" if self.is_open else "closed"

    def record(
        self,
        outcome: Outcome,
        now: float,
        asked_s: float = 0.0,
        said: str = "",
        *,
        device: int | None = None,
    ) -> str:
        """Take in what a request came to; answers why that opened it, or nothing.

        `device` is whom the request was for; None: for many.
        `asked_s` is how long the vendor wants us to wait. It may mean one device only, so it is
        no reason to open; but if the breaker opens, it stays open so long.
        """
        if self.is_open:
            # An answer to what had begun before it opened: it says nothing new.
            return ""
        if outcome in ACCUSING:
            return self._open(now, outcome, f"the vendor answers {said or outcome}")
        self._add(int(now), is_bad=outcome in FAILING)
        if outcome in FAILING:
            self._blame(self._seconds[-1], device)
        if outcome in PAUSING:
            last = self._seconds[-1]
            last.asked_until = max(last.asked_until, now + asked_s)
        if self._is_failing():
            asked_until = max(second.asked_until for second in self._seconds)
            why = f"{self._failures} of {self._count} requests failed, the last with {said}"
            return self._open(now, outcome, why, asked_until)
        return ""

    def record_probe(
        self, outcome: Outcome, now: float, asked_s: float = 0.0, said: str = ""
    ) -> str:
        """Take in that the probe failed, too: an open breaker stays open for longer."""
        if outcome in ACCUSING or self.is_open:
            asked_until = now + asked_s if outcome in PAUSING else 0.0
            why = f"a push to nobody came to {said or outcome}"
            return self._open(now, outcome, why, asked_until)
        return ""

    def close(self, now: float) -> bool:
        """The way has proved itself; answers whether it was open."""
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._closed_at = now
        return was_open

    def put_off(self, until: float) -> None:
        """The next probe is not due before that."""
        self.until = max(self.until, until)

    def put_back(self, by_s: float) -> None:
        """The clock was put back by so much."""
        self.until -= by_s
        self._closed_at -= by_s
        for second in self._seconds:
            second.at -= round(by_s)
            second.asked_until -= by_s

    def trip(self, now: float, reason: str) -> bool:
        """Open it from outside; False if it was open."""
        if self.is_open:
            return False
        self._open(now, Outcome.CREDENTIALS_WRONG, reason)
        return True

    def _is_failing(self) -> bool:
        if self._count < COUNT_MIN or self._failures <= SHARE_MAX * self._count:
            return False
        bad = [second for second in self._seconds if second.failures]
        if len(bad) < SECONDS_MIN:
            return False
        devices = set().union(*(second.failed for second in bad))
        return len(devices) >= DEVICES_MIN or any(second.is_of_many for second in bad)

    def _blame(self, second: Second, device: int | None) -> None:
        if device is None:
            second.is_of_many = True
        elif len(second.failed) < DEVICES_MIN:
            second.failed.add(device)

    def _open(self, now: float, cause: Outcome, reason: str, asked_until: float = 0.0) -> str:
        if not self.is_open and now - self._closed_at > CALM_S:
            self._level = 0
        self.is_open = True
        self.is_refused = cause in ACCUSING
        self.why = reason
        open_s = grown_s(OPEN_S, _longest_s(cause), self._level) * self._scale
        # What the vendor asks for is obeyed in full.
        self.until = max(now + open_s, asked_until)
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


def _longest_s(cause: Outcome) -> float:
    if cause in ACCUSING:
        return REFUSED_MAX_S
    return THROTTLED_MAX_S if cause is Outcome.THROTTLED else OPEN_MAX_S


class Repeats:
    """Whether pushes that may have been shown are repeated: not while most repeats stay so, too."""

    def __init__(self, scale: float = 1.0) -> None:
        """`scale` is a factor on its waits, for tests on real sockets."""
        self._window_s = REPEATS_S * scale
        self._recent: deque[tuple[float, int, int]] = deque()
        """(time, repeats, those without an answer) of the window, oldest first."""

    def record(self, count: int, unanswered: int, now: float) -> None:
        """Count repeats, and those of them that may or may not have been shown."""
        if not count:
            return
        if self._recent and int(self._recent[-1][0]) == int(now):
            _, earlier, lost = self._recent.pop()
            count, unanswered = earlier + count, lost + unanswered
        self._recent.append((now, count, unanswered))

    def stopped_until(self, now: float) -> float | None:
        """When they go on, Unix seconds; None: they are not stopped."""
        while self._recent and self._recent[0][0] <= now - self._window_s:
            self._recent.popleft()
        count = sum(row[1] for row in self._recent)
        unanswered = sum(row[2] for row in self._recent)
        if count < REPEATS_MIN or unanswered <= REPEATS_SHARE_MAX * count:
            return None
        return self._recent[0][0] + self._window_s


class Peak:
    """The most of something that was under way at once lately."""

    def __init__(self) -> None:
        self._level = 0
        self._highest = 0
        self._former = 0
        self._until = float("-inf")

    def rise(self, now: float) -> None:
        """One more is under way."""
        self._level += 1
        if now >= self._until:
            # What was long ago counts no more; a pause shorter than that changes nothing.
            is_next = now < self._until + PEAK_S
            self._former = self._highest if is_next else 0
            self._highest, self._until = 0, now + PEAK_S
        self._highest = max(self._highest, self._level)

    def fall(self) -> None:
        """One less is."""
        self._level -= 1

    @property
    def most(self) -> int:
        """The most of the last ten to twenty seconds in which anything was begun."""
        return max(self._highest, self._former)
