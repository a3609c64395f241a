"""Remembers the dates in vendors' answers, to compare this machine's clock with theirs."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from tocsin.clock import Clock
from tocsin.domain.bounded import BoundedCache

ORIGINS_MAX = 64
"""Servers whose last date is remembered."""


class SeenDates:
    """The Date header of each server's last answer (RFC 9110, 6.6.1), and when it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: BoundedCache[str, tuple[str, float]] = BoundedCache(ORIGINS_MAX)

    def note(self, origin: str, headers: Mapping[str, str]) -> None:
        """Remembers the date of an answer; only `skews` parses it, because answers are many."""
        date = headers.get("date")
        if date:
            self._seen.put(origin, (date, self._clock.now()))

    def skews(self) -> dict[str, float]:
        """Seconds that our clock is ahead of each server's, to about a second, by host."""
        skews = {}
        for origin, (date, at) in self._seen.items():
            try:
                sent_at = parsedate_to_datetime(date).timestamp()
            except (ValueError, OverflowError):
                continue
            # The date is cut to whole seconds: half a second is the mean of what was cut off.
            skews[urlsplit(origin).hostname or origin] = at - (sent_at + 0.5)
        return skews
