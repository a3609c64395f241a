"""Provides the authority that proves us to a vendor, fetched once, renewed before it expires.

An authority belongs to what it is made of, a signing key for instance, and not to the driver that
uses it: a changed rate or topic, another app with the same key, a check and a restart go on with
the same authority. Apple refuses every push of a sender whose tokens change more than once in 20
minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from tocsin.channels.breaker import ACCUSING
from tocsin.clock import Chance, Clock
from tocsin.conversation import Authority, Denied
from tocsin.domain.retry import grown_s
from tocsin.ports import Authorities

Fetch = Callable[[], Awaitable[Authority | Denied]]

JITTER_SHARE = 0.05
"""Renewals of many credentials made at the same moment drift apart by this share of their life."""
DENIED_WAIT_S = 5.0
"""After a failure nothing is fetched for so long; each further failure doubles it."""
DENIED_WAIT_MAX_S = 30.0
"""Longest wait while the token service fails: so soon its end is noticed."""
REFUSED_WAIT_MAX_S = 600.0
"""Longest wait while it refuses us: only an operator ends that."""
AHEAD_MAX_S = 300.0
"""What was made later than this from now was made while the clock was wrong, and is no good."""


class AuthorityEntry:
    """The authority that is made of one thing, for everybody who uses it."""

    def __init__(self, name: str, durable: Authorities | None) -> None:
        self._name = name
        self._durable = durable
        self._is_loaded = durable is None
        self.lock = asyncio.Lock()
        """Held while one is loaded or fetched."""
        self.current: Authority | None = None
        self.renew_at = 0.0

    async def load(self, now: float) -> Authority | None:
        """The one of a former process, asked for once."""
        if self._durable is None or self._is_loaded:
            return None
        self._is_loaded = True
        found = await self._durable.load(self._name)
        return found if found is not None and _is_good(found, now) else None

    async def save(self, authority: Authority) -> None:
        """Keep it for later processes, where the vendor minds how often one is made."""
        if self._durable is not None and authority.hold_s:
            await self._durable.save(self._name, authority)


class AuthorityCache:
    """Every authority of this process, by what it is made of."""

    def __init__(self, durable: Authorities | None = None) -> None:
        self._durable = durable
        self._kept: dict[str, AuthorityEntry] = {}

    def kept(self, made_of: tuple[str, ...]) -> AuthorityEntry:
        """The one place of what is made of this."""
        name = hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()
        if name not in self._kept:
            self._kept[name] = AuthorityEntry(name, self._durable)
        return self._kept[name]


class TokenProvider:
    """One driver's hold on its authority. That is shared; what kept us from one is its own."""

    def __init__(
        self,
        fetch: Fetch,
        clock: Clock,
        chance: Chance,
        scale: float = 1.0,
        *,
        kept: AuthorityEntry | None = None,
    ) -> None:
        """`scale` is a factor on the waits after failures, for tests on real sockets."""
        self._fetch = fetch
        self._clock = clock
        self._chance = chance
        self._scale = scale
        self._kept = kept or AuthorityEntry("", None)
        self._denied: Denied | None = None
        self._denied_until = 0.0
        self._failures = 0
        self._fetching: asyncio.Task[Authority | Denied] | None = None

    async def get(self) -> Authority | Denied:
        """An authority that is good now; one that ages is renewed behind the caller's back."""
        now = self._clock.now()
        current = self._kept.current
        if current is not None and _is_good(current, now):
            if now >= self._kept.renew_at and now >= self._denied_until:
                _ = self._start()
            return current
        return await self._wait()

    async def renew(self, refused: Authority) -> Authority | Denied:
        """Another authority than the refused one; all who were refused share one fetch.

        While the vendor would take no other one it is the refused one again.
        """
        current, now = self._kept.current, self._clock.now()
        if current is not None and current.value == refused.value:
            if current.made_at <= now < current.made_at + current.hold_s:
                return current
            self._kept.current = None
            self._denied_until = 0.0
        return await self.get()

    def is_denied(self, now: float) -> bool:
        """Whether there is none, and none is asked for yet: nothing can be sent meanwhile."""
        current = self._kept.current
        return now < self._denied_until and (current is None or not _is_good(current, now))

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
        now = self._clock.now()
        if self._denied is not None and now < self._denied_until:
            return _still(self._denied, self._denied_until - now)
        # One caller that is cancelled must not take the others' fetch with it.
        found = await asyncio.shield(self._start())
        if isinstance(found, Authority):
            return found
        return _still(found, self._denied_until - self._clock.now())

    def _start(self) -> asyncio.Task[Authority | Denied]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._run(self._kept.current))
        return self._fetching

    async def _run(self, former: Authority | None) -> Authority | Denied:
        """Another authority than `former`: what somebody made meanwhile, or a new one."""
        kept = self._kept
        async with kept.lock:
            now = self._clock.now()
            current = kept.current
            if current is not None and current is not former and _is_good(current, now):
                return current
            found: Authority | Denied | None = await kept.load(now)
            if found is None:
                found = await self._fetch()
                if isinstance(found, Authority):
                    # Durable before it is used: whoever dies between the two makes no second one.
                    await kept.save(found)
            if isinstance(found, Authority):
                self._take(found)
            else:
                self._note(found)
        return found

    def _take(self, found: Authority) -> None:
        life_s = found.expires_at - self._clock.now()
        drift_s = (self._chance.fraction() * 2 - 1) * JITTER_SHARE * life_s
        self._kept.current = found
        self._kept.renew_at = found.renew_at + drift_s
        self._denied = None
        self._denied_until = 0.0
        self._failures = 0

    def _note(self, found: Denied) -> None:
        most_s = REFUSED_WAIT_MAX_S if found.outcome in ACCUSING else DENIED_WAIT_MAX_S
        wait_s = grown_s(DENIED_WAIT_S, most_s, self._failures) * self._scale
        if found.retry_after_s is not None:
            wait_s = max(wait_s, found.retry_after_s)
        self._denied = found
        self._denied_until = self._clock.now() + wait_s
        self._failures += 1


def _is_good(authority: Authority, now: float) -> bool:
    return authority.made_at - AHEAD_MAX_S <= now < authority.expires_at


def _still(denied: Denied, wait_s: float) -> Denied:
    """The same denial with what is left of its wait."""
    return Denied(denied.outcome, denied.code, denied.info, max(0.0, wait_s))
