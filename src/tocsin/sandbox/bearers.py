"""The bearer tokens that a vendor gives out, and which of them are still good."""

from __future__ import annotations

from typing import NamedTuple

from tocsin.clock import Chance

BEARERS_MAX = 10_000
STALE = 0.0


class _Grant(NamedTuple):
    ends_at: float
    owner: str


class Bearers:
    """Bearer tokens by their text. Beyond `BEARERS_MAX` those that have ended are forgotten."""

    def __init__(self, prefix: str, chance: Chance) -> None:
        self._prefix = prefix
        self._chance = chance
        self._grants: dict[str, _Grant] = {}

    def give(self, now: float, life_s: float, owner: str = "") -> str:
        """A new bearer token of an owner, good for so many seconds."""
        if len(self._grants) >= BEARERS_MAX:
            grants = self._grants.items()
            self._grants = {bearer: grant for bearer, grant in grants if now < grant.ends_at}
        bearer = f"{self._prefix}{self._chance.bits(160):040x}"
        self._grants[bearer] = _Grant(now + life_s, owner)
        return bearer

    def owner(self, bearer: str, now: float) -> str | None:
        """Whose bearer token this is; None where it is unknown, or no longer good."""
        grant = self._grants.get(bearer)
        return grant.owner if grant is not None and now < grant.ends_at else None

    def is_good(self, bearer: str, now: float) -> bool:
        return self.owner(bearer, now) is not None

    def is_known(self, bearer: str) -> bool:
        """Whether the bearer token was given out, good or stale."""
        return bearer in self._grants

    def expire_all(self) -> int:
        """Make every bearer token stale; answers how many were not before."""
        count = sum(1 for grant in self._grants.values() if grant.ends_at != STALE)
        self._grants = {
            bearer: _Grant(STALE, grant.owner) for bearer, grant in self._grants.items()
        }
        return count
