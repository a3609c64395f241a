"""Who calls: the URL's parameters and the UserSig, checked in the documented order.

Sources: trtc.io/document/34348 and 34385 (read 2026-11); the order of checks is ours where the
documents leave it open (docs/compatibility.md). Nothing is kept of a caller whose UserSig is
wrong but a count under a short key, and nothing is looked up for him but his app.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain import usersig
from tocsin.domain.account import NAME_MAX_BYTES
from tocsin.domain.app import App
from tocsin.domain.bounded import BoundedCache, network_of, short_key
from tocsin.errors import CallError
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.store import Store

SDKAPPID_MAX = 2**32 - 1
FAILURES_MAX = 20
FAILURES_WITHIN_S = 60.0
LOCKED_S = 60.0
COUNTED = frozenset((70003, 70009, 70013, 70014))
"""Failed UserSig checks that count towards a lock-out; an expired or absent one is no attack."""
VERIFIED_MAX = 10_000
"""UserSigs that are remembered: a third of a kilobyte each."""
CALLERS_MAX = 10_000
"""Callers whose failures are counted, and as many that are locked out: half a kilobyte each."""


class Caller(Struct, frozen=True):
    """An administrator of an app, proven."""

    app: App
    identifier: str


class VerifiedUserSig(Struct, frozen=True, gc=False):
    """What is remembered of a UserSig that was right."""

    issued_at: int
    expires_at: int


class LockOuts:
    """Callers whose UserSigs failed too often.

    A caller is an identifier of an app at one client address, so that nobody makes an
    administrator elsewhere wait. A lock only hides by which check a UserSig failed: a right one
    passes always, whoever tries wrong ones from the same address.
    """

    def __init__(self, callers_max: int = CALLERS_MAX) -> None:
        self._failures: BoundedCache[bytes, array[float]] = BoundedCache(callers_max)
        self._until: BoundedCache[bytes, float] = BoundedCache(callers_max)

    def refuses(self, app: int, identifier: str, address: str, now: float) -> bool:
        """Whether this caller is locked out; else one more failure of his is counted."""
        caller = short_key(app, identifier, network_of(address))
        until = self._until.get(caller)
        if until is not None and now < until:
            return True
        self._until.pop(caller)
        earlier = self._failures.pop(caller) or ()
        recent = array("d", [at for at in earlier if now - at < FAILURES_WITHIN_S])
        recent.append(now)
        if len(recent) < FAILURES_MAX:
            self._failures.put(caller, recent)
        else:
            self._until.put(caller, now + LOCKED_S)
        return False


class Authenticator:
    """Checks who calls. What it has verified it remembers, so that a call costs microseconds."""

    def __init__(
        self, store: Store, app_secrets: AppSecrets, clock: Clock, verified_max: int = VERIFIED_MAX
    ) -> None:
        self._store = store
        self._secrets = app_secrets
        self._clock = clock
        self._locks = LockOuts()
        self._verified: BoundedCache[bytes, VerifiedUserSig] = BoundedCache(verified_max)

    async def authenticate(self, query: Mapping[str, str], address: str, not_admin: int) -> Caller:
        """The administrator who calls under `/v4/`; else `CallError`."""
        app = await self.find_app(query.get("sdkappid", ""))
        if query.get("contenttype") != "json":
            raise CallError(60025)
        identifier = query.get("identifier", "")
        if not identifier:
            raise CallError(60025)
        token = query.get("usersig")
        return await self.check(app, identifier, token, address, not_admin)

    async def find_app(self, sdkappid: str) -> App:
        """The app of a URL, if it is there and enabled."""
        if not sdkappid:
            raise CallError(60012)
        if not (sdkappid.isascii() and sdkappid.isdigit()):
            raise CallError(60025)
        # Digits are counted first: a number without end is slow to read.
        is_possible = len(sdkappid) <= 20 and int(sdkappid) <= SDKAPPID_MAX
        app = await self._store.app(int(sdkappid)) if is_possible else None
        if app is None:
            raise CallError(70020)
        if not app.is_enabled:
            raise CallError(60016)
        return app

    async def check(
        self, app: App, identifier: str, token: str | None, address: str, not_admin: int
    ) -> Caller:
        """Check lengths, UserSig with its lock-out, and administrator's rights, in this order.

        The account is looked up last: before the UserSig is proven, the time that a look takes
        would tell strangers which accounts there are.
        """
        if len(identifier.encode()) > NAME_MAX_BYTES or token is None:
            raise CallError(60025)
        if len(token) > usersig.TOKEN_MAX_CHARS:
            raise CallError(70003)
        proven = self._prove(app, identifier, token, address)
        (account,) = await self._store.accounts(app.sdkappid, [identifier])
        if account is not None and proven.issued_at < account.sig_valid_after:
            raise CallError(70052)
        if identifier not in app.admins:
            raise CallError(not_admin)
        if account is None:
            raise CallError(70107)
        return Caller(app, identifier)

    def _prove(self, app: App, identifier: str, token: str, address: str) -> VerifiedUserSig:
        now = self._clock.now()
        try:
            return self._verify(app, identifier, token, now)
        except CallError as error:
            is_counted = error.code in COUNTED
            if is_counted and self._locks.refuses(app.sdkappid, identifier, address, now):
                raise CallError(70050) from error
            raise

    def _verify(self, app: App, identifier: str, token: str, now: float) -> VerifiedUserSig:
        # The sealed keys are part of the name, so a changed key voids what it had proven.
        name = short_key(app.sdkappid, app.key, app.former_key, identifier, token, size=32)
        known = self._verified.get(name)
        if known is not None and int(now) <= known.expires_at:
            return known
        found = usersig.verify(
            token,
            sdkappid=app.sdkappid,
            identifier=identifier,
            key=self._key(app) if token else "",
            former_key=self._secrets.former_key(app),
            now=now,
        )
        proven = VerifiedUserSig(found.issued_at, found.expires_at)
        self._verified.put(name, proven)
        return proven

    def _key(self, app: App) -> str:
        key = self._secrets.key(app)
        if not key:
            raise CallError(70016)
        return key
