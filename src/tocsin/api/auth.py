"""Authenticates callers: checks the URL's parameters and the UserSig in the documented order.

Sources: trtc.io/document/34348 and 34385 (read 2026-11); the order of checks is ours where the
documents leave it open (docs/compatibility.md). For a caller with a wrong UserSig, only the app is
read, and only a count under a short key is kept.
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
"""Verified UserSigs in the cache: a third of a kilobyte each."""
CALLERS_MAX = 10_000
"""Callers whose failures are counted, and as many that are locked out: half a kilobyte each."""


class Caller(Struct, frozen=True):
    """An administrator of an app, whose UserSig is verified."""

    app: App
    identifier: str


class VerifiedUserSig(Struct, frozen=True, gc=False):
    """The times of a UserSig whose signature is right."""

    issued_at: int
    expires_at: int


class LockOuts:
    """Locks out callers whose UserSigs failed too often.

    A caller is an identifier of an app at one client address, so that nobody can lock out an
    administrator at another address. A lock-out only hides which check a UserSig failed: a right
    UserSig always passes.
    """

    def __init__(self, callers_max: int = CALLERS_MAX) -> None:
        self._failures: BoundedCache[bytes, array[float]] = BoundedCache(callers_max)
        self._until: BoundedCache[bytes, float] = BoundedCache(callers_max)

    def refuses(self, app: int, identifier: str, address: str, now: float) -> bool:
        """Whether this caller is locked out; else count one more failure."""
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
    """Authenticates administrators. Verified UserSigs are cached: a call costs microseconds."""

    def __init__(
        self, store: Store, app_secrets: AppSecrets, clock: Clock, verified_max: int = VERIFIED_MAX
    ) -> None:
        self._store = store
        self._secrets = app_secrets
        self._clock = clock
        self._locks = LockOuts()
        self._verified: BoundedCache[bytes, VerifiedUserSig] = BoundedCache(verified_max)

    async def authenticate(self, query: Mapping[str, str], address: str, not_admin: int) -> Caller:
        """The administrator who calls under `/v4/`; raises `CallError` for anybody else."""
        app = await self.find_app(query.get("sdkappid", ""))
        if query.get("contenttype") != "json":
            raise CallError(60025)
        identifier = query.get("identifier", "")
        if not identifier:
            raise CallError(60025)
        token = query.get("usersig")
        return await self.check(app, identifier, token, address, not_admin)

    async def find_app(self, sdkappid: str) -> App:
        """The app of a URL; raises `CallError` 60012, 60025, 70020 or 60016."""
        if not sdkappid:
            raise CallError(60012)
        if not (sdkappid.isascii() and sdkappid.isdigit()):
            raise CallError(60025)
        # Digits are counted first: a very long number is slow to read.
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

        The account is read last. Before the UserSig is verified, the time of the read would show
        strangers which accounts exist.
        """
        if len(identifier.encode()) > NAME_MAX_BYTES or token is None:
            raise CallError(60025)
        if len(token) > usersig.TOKEN_MAX_CHARS:
            raise CallError(70003)
        verified = self._verify_or_lock(app, identifier, token, address)
        (account,) = await self._store.accounts(app.sdkappid, [identifier])
        if account is not None and verified.issued_at < account.sig_valid_after:
            raise CallError(70052)
        if identifier not in app.admins:
            raise CallError(not_admin)
        if account is None:
            raise CallError(70107)
        return Caller(app, identifier)

    def _verify_or_lock(
        self, app: App, identifier: str, token: str, address: str
    ) -> VerifiedUserSig:
        now = self._clock.now()
        try:
            return self._verify(app, identifier, token, now)
        except CallError as error:
            is_counted = error.code in COUNTED
            if is_counted and self._locks.refuses(app.sdkappid, identifier, address, now):
                raise CallError(70050) from error
            raise

    def _verify(self, app: App, identifier: str, token: str, now: float) -> VerifiedUserSig:
        # The sealed keys are part of the cache key, so a changed key voids earlier results.
        name = short_key(app.sdkappid, app.key, app.former_key, identifier, token, size=32)
        cached = self._verified.get(name)
        if cached is not None and int(now) <= cached.expires_at:
            return cached
        claims = usersig.verify(
            token,
            sdkappid=app.sdkappid,
            identifier=identifier,
            key=self._key(app) if token else "",
            former_key=self._secrets.former_key(app),
            now=now,
        )
        verified = VerifiedUserSig(claims.issued_at, claims.expires_at)
        self._verified.put(name, verified)
        return verified

    def _key(self, app: App) -> str:
        key = self._secrets.key(app)
        if not key:
            raise CallError(70016)
        return key
