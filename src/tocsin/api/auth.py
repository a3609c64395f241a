"""Who calls: the URL's parameters and the UserSig, checked in the documented order.

Sources: trtc.io/document/34348 and 34385 (read 2026-11); the order of checks is ours where the
documents leave it open (docs/compatibility.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain import usersig
from tocsin.domain.account import Account
from tocsin.domain.app import App
from tocsin.errors import CallError
from tocsin.ports import Vault
from tocsin.store import Store

SDKAPPID_MAX = 2**32 - 1
FAILURES_MAX = 20
FAILURES_WITHIN_S = 60.0
LOCKED_S = 60.0
COUNTED = frozenset((70003, 70009, 70013, 70014))
"""Failed UserSig checks that count towards a lock-out; an expired or absent one is no attack."""
VERIFIED_MAX = 10_000
KEYS_MAX = 1000
CALLERS_MAX = 10_000


class Caller(Struct, frozen=True):
    """An administrator of an app, proven."""

    app: App
    identifier: str


class Locks:
    """Callers whose UserSigs failed too often.

    A caller is an identifier of an app at one client address, so that nobody can lock an
    administrator out from elsewhere.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[int, str, str], list[float]] = OrderedDict()
        self._until: OrderedDict[tuple[int, str, str], float] = OrderedDict()

    def is_locked(self, caller: tuple[int, str, str], now: float) -> bool:
        """Whether this caller has to wait."""
        until = self._until.get(caller)
        if until is not None and now >= until:
            del self._until[caller]
        return until is not None and now < until

    def note(self, caller: tuple[int, str, str], now: float) -> None:
        """Count a failed check; the last one allowed starts the lock."""
        recent = [at for at in self._failures.pop(caller, ()) if now - at < FAILURES_WITHIN_S]
        recent.append(now)
        if len(recent) < FAILURES_MAX:
            self._failures[caller] = recent
            _bound(self._failures, CALLERS_MAX)
        else:
            self._until[caller] = now + LOCKED_S
            _bound(self._until, CALLERS_MAX)


class Doorkeeper:
    """Checks who calls. What it has verified it remembers, so that a call costs microseconds."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._locks = Locks()
        self._keys: OrderedDict[tuple[int, bytes], str] = OrderedDict()
        self._verified: OrderedDict[tuple[int, bytes, str, str], usersig.UserSig] = OrderedDict()

    async def admit(self, query: Mapping[str, str], address: str, not_admin: int) -> Caller:
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
        """Check lock-out, UserSig and administrator's rights, in this order."""
        caller = (app.sdkappid, identifier, address)
        now = self._clock.now()
        if self._locks.is_locked(caller, now):
            raise CallError(70050)
        if token is None:
            raise CallError(60025)
        (account,) = await self._store.accounts(app.sdkappid, [identifier])
        try:
            self._verify(app, identifier, token, account)
        except CallError as error:
            if error.code in COUNTED:
                self._locks.note(caller, now)
            raise
        if identifier not in app.admins:
            raise CallError(not_admin)
        if account is None:
            raise CallError(70107)
        return Caller(app, identifier)

    def _verify(self, app: App, identifier: str, token: str, account: Account | None) -> None:
        now = self._clock.now()
        valid_after = 0 if account is None else account.sig_valid_after
        # The sealed keys are part of the name, so a changed key voids what it had proven.
        name = (app.sdkappid, app.key + app.former_key, identifier, token)
        known = self._verified.get(name)
        if known is not None and int(now) <= known.expires_at and known.issued_at >= valid_after:
            self._verified.move_to_end(name)
            return
        proven = usersig.verify(
            token,
            sdkappid=app.sdkappid,
            identifier=identifier,
            key=self._open_key(app.sdkappid, app.key) if token else "",
            former_key=self._open_key(app.sdkappid, app.former_key) if app.former_key else "",
            now=now,
            valid_after=valid_after,
        )
        self._verified[name] = proven
        _bound(self._verified, VERIFIED_MAX)

    def _open_key(self, sdkappid: int, sealed: bytes) -> str:
        if not sealed:
            raise CallError(70016)
        name = (sdkappid, sealed)
        key = self._keys.get(name)
        if key is None:
            key = self._vault.open(sealed, f"{sdkappid}/key").decode()
            self._keys[name] = key
            _bound(self._keys, KEYS_MAX)
        return key


def _bound(entries: OrderedDict[Any, Any], most: int) -> None:
    """Forget the oldest entries beyond `most`."""
    while len(entries) > most:
        entries.popitem(last=False)
