"""Account documents kept in memory, bounded, and never older than what was answered."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from tocsin.domain.account import Account

Key = tuple[int, str]


ABSENT_MAX_CHARS = 64
"""Of a name that is kept as not existing: no account has a longer one, and callers choose it."""


class Missing:
    """Not cached; None means cached as not existing."""


MISSING = Missing()


class AccountCache:
    """Two generations of documents: what is not asked for through a whole generation goes.

    A hit costs one look into a dictionary and no lock, since a dictionary's own operations are
    atomic; only moving between generations and writing are locked. A reader that fills in what it
    has read names the version it began at: if the writer has committed since, its documents may
    be old by now and are not taken.
    """

    def __init__(self, accounts_max: int) -> None:
        self._half = max(1, accounts_max // 2)
        self._young: dict[Key, Account | None] = {}
        self._old: dict[Key, Account | None] = {}
        self._lock = threading.Lock()
        self.version = 0

    def find(self, app: int, names: Sequence[str]) -> list[Account | Missing | None]:
        """The cached documents, in the order asked."""
        young = self._young
        found = [young.get((app, name), MISSING) for name in names]
        if MISSING in found and self._old:
            with self._lock:
                for place, name in enumerate(names):
                    if found[place] is MISSING:
                        found[place] = self._promote((app, name))
        return found

    def _promote(self, key: Key) -> Account | Missing | None:
        found = self._young.get(key, MISSING)
        if isinstance(found, Missing) and key in self._old:
            account = self._old.pop(key)
            self._put(key, account)
            return account
        return found

    def fill(self, version: int, app: int, read: Mapping[str, Account | None]) -> None:
        """Take what was read, unless a commit has come between."""
        with self._lock:
            if version == self.version:
                for name, account in read.items():
                    if account is not None or len(name) <= ABSENT_MAX_CHARS:
                        self._put((app, name), account)

    def commit(self, changed: Iterable[tuple[Key, Account | None]]) -> None:
        """Take what the writer has just committed."""
        with self._lock:
            self.version += 1
            for key, account in changed:
                self._old.pop(key, None)
                self._put(key, account)

    def _put(self, key: Key, account: Account | None) -> None:
        self._young[key] = account
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
