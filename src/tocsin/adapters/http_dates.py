"""What the vendors' answers say of the time, to hold our own clock against."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from tocsin.clock import Clock

ORIGINS_MAX = 64
"""Servers whose newest answer is remembered."""


class SeenDates:
    """The Date of each server's newest answer (RFC 9110, 6.6.1), and when it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def note(self, origin: str, headers: Mapping[str, str]) -> None:
        """An answer has come. Costs next to nothing: it is read only when somebody asks."""
        date = headers.get("date")
        if date:
            self._seen[origin] = (date, self._clock.now())
            if len(self._seen) > ORIGINS_MAX:
                self._seen.popitem(last=False)

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
