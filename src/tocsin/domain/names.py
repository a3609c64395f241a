"""Names of accounts: which are RegistrationIDs, which UserIDs, so that the two never meet.

The service makes RegistrationIDs in a form that no UserID has. An app may let its devices choose
their own; these begin with a prefix of the app, with which no UserID begins.
"""

from __future__ import annotations

import re

from tocsin.domain.app import App
from tocsin.errors import CallError

_MADE = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{2,16}")


def is_made(name: str) -> bool:
    """Whether a name has the form of a RegistrationID that the service makes.

    An upper-case UUID of 36 bytes, as Tencent's (trtc.io/document/76551, read 2026-11).
    """
    return _MADE.fullmatch(name) is not None


def may_be_own(app: App, name: str) -> bool:
    """Whether a device of this app may register under a name that it chose itself."""
    prefix = app.own_registration_ids
    is_longer = len(name) > len(prefix)
    return bool(prefix) and name.startswith(prefix) and is_longer and not is_made(name)


def is_reserved(app: App, name: str) -> bool:
    """Whether a name is kept for RegistrationIDs, so that no UserID may be called so."""
    prefix = app.own_registration_ids
    return is_made(name) or (bool(prefix) and name.startswith(prefix))


def refuse_reserved(app: App, name: str) -> None:
    """Raise `CallError` 70402 for a new UserID whose name is kept for RegistrationIDs."""
    if is_made(name):
        raise CallError(70402, "UserID has the form of a RegistrationID")
    if is_reserved(app, name):
        prefix = app.own_registration_ids
        raise CallError(70402, f"UserID begins with {prefix}, as RegistrationIDs of this app do")


def check_prefix(prefix: str) -> None:
    """Raise `CallError` 70402 for what can be no prefix of own RegistrationIDs; empty is none."""
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise CallError(
            70402, "own_registration_ids: 2 to 16 letters, digits or . _ : - (empty: off)"
        )
