"""Rate limits as vendors keep them: so many in a window that begins with its first request."""

from __future__ import annotations

from tocsin.domain.retry import CHINA_S

BUCKETS_MAX = 100_000
DAY_S = 86_400


class Buckets:
    """One window per key. Google says of its own that the minute is not clock-aligned."""

    def __init__(self, limit: int | None, window_s: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str, now: float) -> bool:
        """Count one request; False when it is over the limit, and then it does not count."""
        if self.limit is None:
            return True
        began_at, used = self._windows.get(key, (now, 0))
        if now - began_at >= self._window_s:
            began_at, used = now, 0
        if used >= self.limit:
            return False
        if key not in self._windows and len(self._windows) >= BUCKETS_MAX:
            self._windows.clear()
        self._windows[key] = (began_at, used + 1)
        return True

    def opens_in_s(self, key: str, now: float) -> float:
        """Seconds until the window of `key` begins anew."""
        began_at, _ = self._windows.get(key, (now, 0))
        return max(0.0, began_at + self._window_s - now)


class Flow:
    """So many targets a second, for vendors whose lists may be longer than that.

    A list is taken while the last second is not used up, and what it is too long is paid off in the
    seconds after it.
    """

    def __init__(self, rate_per_s: int | None) -> None:
        self._rate = rate_per_s
        self._level = 0.0
        self._at = 0.0

    def take(self, count: int, now: float) -> bool:
        """Count a list of so many; False when it comes too early, and then it does not count."""
        if self._rate is None:
            return True
        self._level = max(0.0, self._level - (now - self._at) * self._rate)
        self._at = now
        if self._level >= self._rate:
            return False
        self._level += count
        return True


class DailyQuota:
    """So many targets in a calendar day of China, as vivo and OPPO count an app's pushes."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._day = 0
        self._used = 0

    def take(self, count: int, now: float) -> bool:
        """Count so many; False where they do not all fit in the day, and then none counts."""
        day = int((now + CHINA_S) // DAY_S)
        used = count + (self._used if day == self._day else 0)
        if self._limit is not None and used > self._limit:
            return False
        self._day, self._used = day, used
        return True
