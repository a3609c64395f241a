"""Keeps what proves us to a vendor: fetched once for all who wait, renewed before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tocsin.channels.pace import ACCUSING
from tocsin.clock import Chance, Clock
from tocsin.domain.retry import grown_s
from tocsin.ports import Authority, Denied

Fetch = Callable[[], Awaitable[Authority | Denied]]

JITTER_SHARE = 0.05
"""Renewals of many credentials made at the same moment drift apart by this share of their life."""
DENIED_WAIT_S = 5.0
"""After a failure nothing is fetched for so long; each further failure doubles it."""
DENIED_WAIT_MAX_S = 30.0
"""Longest wait while the token service fails: so soon its end is noticed."""
REFUSED_WAIT_MAX_S = 600.0
"""Longest wait while it refuses us: only an operator ends that."""


class Keeper:
    """One credential's authority."""

    def __init__(self, fetch: Fetch, clock: Clock, chance: Chance, scale: float = 1.0) -> None:
        """`scale` is a factor on the waits after failures, for tests on real sockets."""
        self._fetch = fetch
        self._clock = clock
        self._chance = chance
        self._scale = scale
        self._current: Authority | None = None
        self._renew_at = 0.0
        self._denied: Denied | None = None
        self._denied_until = 0.0
        self._failures = 0
        self._fetching: asyncio.Task[None] | None = None

    async def get(self) -> Authority | Denied:
        """An authority that is good now; one that ages is renewed behind the caller's back."""
        now = self._clock.now()
        current = self._current
        if current is not None and now < current.expires_at:
            if now >= self._renew_at and now >= self._denied_until:
                _ = self._start()
            return current
        return await self._wait()

    async def renew(self, refused: Authority) -> Authority | Denied:
        """Another authority than the refused one; all who were refused share one fetch."""
        if self._current is refused:
            self._current = None
            self._denied_until = 0.0
        return await self.get()

    def is_denied(self, now: float) -> bool:
        """Whether there is none, and none is asked for yet: nothing can be sent meanwhile."""
        return self._current is None and now < self._denied_until

    def denial(self, now: float) -> Denied | None:
        """Why there is none, with what is left of the wait; None while there is one."""
        if self._denied is None or not self.is_denied(now):
            return None
        return _still(self._denied, self._denied_until - now)

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _wait(self) -> Authority | Denied:
        self._current = None
        now = self._clock.now()
        if self._denied is not None and now < self._denied_until:
            return _still(self._denied, self._denied_until - now)
        # One caller that is cancelled must not take the others' fetch with it.
        await asyncio.shield(self._start())
        if self._current is not None:
            return self._current
        assert self._denied is not None
        return _still(self._denied, self._denied_until - self._clock.now())

    def _start(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._run())
        return self._fetching

    async def _run(self) -> None:
        found = await self._fetch()
        now = self._clock.now()
        if isinstance(found, Authority):
            life_s = found.expires_at - now
            drift_s = (self._chance.fraction() * 2 - 1) * JITTER_SHARE * life_s
            self._current = found
            self._renew_at = found.renew_at + drift_s
            self._denied = None
            self._denied_until = 0.0
            self._failures = 0
            return
        most_s = REFUSED_WAIT_MAX_S if found.outcome in ACCUSING else DENIED_WAIT_MAX_S
        wait_s = grown_s(DENIED_WAIT_S, most_s, self._failures) * self._scale
        if found.retry_after_s is not None:
            wait_s = max(wait_s, found.retry_after_s)
        self._denied = found
        self._denied_until = now + wait_s
        self._failures += 1


def _still(denied: Denied, wait_s: float) -> Denied:
    """The same denial with what is left of its wait."""
    return Denied(denied.outcome, denied.code, denied.info, max(0.0, wait_s))
