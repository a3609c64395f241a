"""QuotaLimits of an app and the arithmetic of quotas."""

from __future__ import annotations

import msgspec
from msgspec import Struct

DAY_S = 86_400


class QuotaLimits(Struct, frozen=True, kw_only=True):
    """QuotaLimits of one app. A zero means: no limit."""

    pushes_per_day: int = 100
    """Accepted push calls (all, tag, attribute) a day; resets at 00:00 UTC."""
    push_gap_s: float = 1.0
    """Seconds that must lie between two accepted pushes."""
    batch_per_s: int = 30
    """Calls of batch a second: standard edition (trtc.io/document/67553)."""
    recall_gap_s: float = 1.0
    scale: float = 1.0
    """Multiplies every other command's calls a second; 0 lifts them."""
    accounts_max: int = 0
    """Accounts an app may have."""


PROFILES: dict[str, QuotaLimits] = {
    "compatible": QuotaLimits(),
    "unlimited": QuotaLimits(
        pushes_per_day=0, push_gap_s=0, batch_per_s=0, recall_gap_s=0, scale=0, accounts_max=0
    ),
}


class PushUse(Struct, frozen=True, kw_only=True):
    """What an app has used of its push quota; one row per app."""

    day: int = 0
    """Days since the epoch, UTC."""
    count: int = 0
    last_at: float = 0.0
    recall_at: float = 0.0
    """When the last recall was let through."""


def day_of(now: float) -> int:
    """Days since the epoch, UTC: quotas reset when it changes."""
    return int(now // DAY_S)


def use_push(use: PushUse, limits: QuotaLimits, now: float) -> PushUse | int:
    """Count one more push: the new row, or the code that refuses it (90024 before 90047)."""
    if limits.push_gap_s and now - use.last_at < limits.push_gap_s:
        return 90024
    count = use.count if use.day == day_of(now) else 0
    if limits.pushes_per_day and count >= limits.pushes_per_day:
        return 90047
    return msgspec.structs.replace(use, day=day_of(now), count=count + 1, last_at=now)


def use_recall(use: PushUse, limits: QuotaLimits, now: float) -> PushUse | int:
    """Count one more recall: the new row, or the code that refuses it."""
    if limits.recall_gap_s and now - use.recall_at < limits.recall_gap_s:
        return 90051
    return msgspec.structs.replace(use, recall_at=now)


class Bucket:
    """A token bucket: `rate` units a second, at most `burst` saved up. Rate 0 means no limit."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def available(self, now: float) -> float:
        """Units that may be taken now."""
        if not self.rate:
            return float("inf")
        self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.rate)
        self._at = now
        return self._level

    def take(self, now: float, units: float = 1.0) -> bool:
        """Take `units`, or nothing when there are too few."""
        if self.available(now) < units:
            return False
        if self.rate:
            self._level -= units
        return True

    def borrow(self, now: float, units: float) -> bool:
        """Take `units` as soon as one is there, the rest as a debt that later takers wait for.

        What travels in one call cannot be sent in parts: over time the rate holds all the same.
        """
        if self.available(now) < 1:
            return False
        if self.rate:
            self._level -= units
        return True

    def wait_s(self, now: float, units: float = 1.0) -> float:
        """Seconds until `units` can be taken."""
        missing = units - self.available(now)
        return max(0.0, missing / self.rate) if self.rate else 0.0
