"""When to ask again: by a vendor's Retry-After, when its day is over, or ever more seldom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DAY_S = 86_400.0
CHINA_S = 8 * 3600
"""China's clocks are eight hours ahead of UTC all year, in all of the country."""
RETRY_AFTER_MAX_S = DAY_S
"""A vendor that names more than a day means "not today": the task's life decides then."""
GROWTHS_MAX = 30
LONGEST_WAIT_S = 60.0
"""Longest wait between two attempts of a push that lives for less than an hour."""
LONGEST_WAIT_MAX_S = 600.0


def longest_wait_s(life_s: float) -> float:
    """Longest wait between two attempts: a sixtieth of the push's life, from 1 to 10 minutes."""
    return min(LONGEST_WAIT_MAX_S, max(LONGEST_WAIT_S, life_s / 60))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks us to wait; None where it does not say, or not readably.

    RFC 9110, 10.2.3: a number of seconds, or a date. A date is measured against the answer's own
    Date header, so a clock of ours that is wrong does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_MAX_S)
    at, sent_at = _date(value), _date(headers.get("date", ""))
    if at is None or sent_at is None:
        return None
    return min(max(0.0, (at - sent_at).total_seconds()), RETRY_AFTER_MAX_S)


def grown_s(first_s: float, most_s: float, times: int, *, growth: float = 2.0) -> float:
    """A wait that grows each time, up to a most; what lasts for weeks grows past all floats."""
    return min(most_s, first_s * growth ** min(times, GROWTHS_MAX))


def until_hour_s(hour: int, now: float, offset_s: int) -> float:
    """Seconds until it is this hour again, where the clocks are so many seconds ahead of UTC."""
    return DAY_S - (now + offset_s - hour * 3600) % DAY_S


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
