"""The Date that every answer carries, as the vendors' do (RFC 9110, 6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache


def http_date(now: float) -> str:
    """A time, to the second, as a header says it."""
    return _of_second(int(now))


@lru_cache(maxsize=4)
def _of_second(second: int) -> str:
    return formatdate(second, usegmt=True)
