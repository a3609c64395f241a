"""What the vendors' answers say of the time, to hold our own clock against."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from tocsin.clock import Clock
from tocsin.domain.bounded import BoundedCache

ORIGINS_MAX = 64
"""Servers whose newest answer is remembered."""


class SeenDates:
    """The Date of each server's newest answer (RFC 9110, 6.6.1), and when it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: BoundedCache[str, tuple[str, float]] = BoundedCache(ORIGINS_MAX)

    def note(self, origin: str, headers: Mapping[str, str]) -> None:
        """An answer has come. Costs next to nothing: it is read only when somebody asks."""
        date = headers.get("date")
        if date:
            self._seen.put(origin, (date, self._clock.now()))

    def skews(self) -> dict[str, float]:
        """Seconds that our clock is ahead of each server's, to about a second, by host."""
        found = {}
        for origin, (date, at) in self._seen.items():
            try:
                told = parsedate_to_datetime(date).timestamp()
            except (ValueError, OverflowError):
                continue
            # Its second had begun, and nobody knows how long ago.
            found[urlsplit(origin).hostname or origin] = at - (told + 0.5)
        return found
