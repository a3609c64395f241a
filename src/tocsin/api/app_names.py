"""Lists the RegistrationIDs that devices chose, and the UserIDs that begin with an app's prefix.

A RegistrationID that a device chose before the app had a prefix may be a name that a customer wants
as a UserID. The service cannot know which, so all of them are listed.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tocsin.domain.account import NAME_MAX_BYTES, REGISTRATION, Account
from tocsin.domain.names import is_made
from tocsin.store import Store

PAGE = 10_000
"""Accounts read at once."""
LISTED_MAX = 1000
"""Names of each kind that are listed; all are counted."""


class NameSurvey(Struct):
    """The names that a walk over the accounts has collected."""

    own: int = 0
    names: list[str] = []
    conflicts: int = 0
    users: list[str] = []

    def add(self, account: Account, prefix: str) -> None:
        """Add one account."""
        if account.type == REGISTRATION:
            if not is_made(account.name):
                self.own += 1
                self.names += [account.name] if len(self.names) < LISTED_MAX else []
        elif prefix and account.name.startswith(prefix):
            self.conflicts += 1
            self.users += [account.name] if len(self.users) < LISTED_MAX else []


async def find_names(store: Store, app: int, prefix: str) -> dict[str, Any]:
    """Walk over all accounts of an app; answers the counts, and the first names of each kind."""
    survey, last = NameSurvey(), 0
    while accounts := await store.scan_accounts(app, last, PAGE):
        last = accounts[-1].number
        for account in accounts:
            survey.add(account, prefix)
    return {
        "own": survey.own,
        "names": [await _shown(store, app, name, prefix) for name in survey.names],
        "conflicts": survey.conflicts,
        "user_ids": survey.users,
    }


async def _shown(store: Store, app: int, name: str, prefix: str) -> dict[str, Any]:
    device = await store.device(app, name)
    return {
        "registration_id": name,
        "has_prefix": bool(prefix) and name.startswith(prefix),
        "bars_user_id": len(name.encode()) <= NAME_MAX_BYTES,
        "user": "" if device is None else device.user_name,
        "seen_at": 0.0 if device is None else device.seen_at,
    }
