"""The receipt of an erasure: what is gone, and what stays, why and until when."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from tocsin.domain.account import REGISTRATION, Account
from tocsin.domain.app import App
from tocsin.domain.device import Device


class RetentionTimes(Struct, frozen=True, kw_only=True):
    """How long numbers are kept that once stood for an account, s."""

    books_s: float = 604_800.0
    """After a push has ended."""
    change_log_s: float = 604_800.0


def keyed_name(secret: bytes, app: int, name: str) -> str:
    """A name as a receipt tells it: whoever has the secret can compare, nobody else can guess."""
    key = hmac.digest(secret, b"tocsin/erasure-receipt", hashlib.sha256)
    return "hmac-sha256:" + hmac.digest(key, f"{app}/{name}".encode(), hashlib.sha256).hex()


def erased_name(key: bytes, app: int, name: str) -> str:
    """A name as the list of erasures has it, which is kept outside of the database."""
    return hmac.digest(key, f"{app}/{name}".encode(), hashlib.sha256)[:16].hex()


def receipt(
    app: App,
    accounts: Sequence[Account],
    devices: Sequence[Device],
    *,
    name_hash: str,
    at: float,
    kept: RetentionTimes,
) -> dict[str, Any]:
    """What was erased of one account and of its devices' own ones. It names nobody."""
    return {
        "receipt": "erasure of an account",
        "sdkappid": app.sdkappid,
        "name_hash": name_hash,
        "erased_at": at,
        "erased": {
            "accounts": len(accounts),
            "tags": sum(len(account.tags) for account in accounts),
            "attributes": sum(len(account.attrs) for account in accounts),
            "devices": len(devices),
            "tokens": sum(map(_tokens, devices)),
        },
        "kept": _kept(app, kept),
    }


def kind_of(account: Account) -> str:
    """`user` or `device`: a UserID, or a RegistrationID."""
    return "device" if account.type == REGISTRATION else "user"


def _tokens(device: Device) -> int:
    route = int(device.route is not None)
    voip = int(bool(device.voip_token))
    return route + voip + len(device.live_tokens) + len(device.live_start_tokens)


def _kept(app: App, kept: RetentionTimes) -> list[dict[str, str]]:
    rows = [
        {
            "what": "books of earlier pushes, in which the account and its devices are numbers "
            "that nothing leads back to a name",
            "why": "statistics, and the sums of a push that add up",
            "until": f"{kept.books_s:.0f} s after each push has ended (setting keep.tasks_s)",
        },
        {
            "what": "titles and texts of earlier pushes, and the name of the administrator who "
            "sent each, as the back end gave them",
            "why": "they belong to the push, also where a text names the person",
            "until": f"{kept.books_s:.0f} s after each push has ended (setting keep.tasks_s)",
        },
        {
            "what": "the change log, in which the account is a number",
            "why": "the audience index is rebuilt from it",
            "until": f"about {kept.change_log_s:.0f} s (setting keep.change_log_s)",
        },
        {
            "what": "free pages of the database file, not yet written anew",
            "why": "SQLite uses pages again instead of blanking them",
            "until": "they are written anew",
        },
        {
            "what": "backups made before, by the operator",
            "why": "they lie outside of the service; who is erased here is erased again when one "
            "is restored within the setting keep.erasures_s",
            "until": "the operator deletes them",
        },
    ]
    if app.reimport_after_s:
        rows.append(
            {
                "what": "the account's name, and when it was deleted",
                "why": f"the app lets nobody import the name for {app.reimport_after_s} s",
                "until": "the name is imported again, or the app is removed",
            }
        )
    return rows
