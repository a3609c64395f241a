"""Erase: accounts go with everything that is kept under their names, whoever asks for it.

The REST command `account_delete` and the operator's `tocsin account delete` both come through
here, so that connections are cut in either case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.account import (
    Account,
    AccountsEdit,
    AccountsView,
    Failure,
    delete_accounts,
)
from tocsin.domain.app import App
from tocsin.domain.device import Device
from tocsin.pipeline.register import DEVICE, DeviceHint
from tocsin.ports import Bus, Erasures
from tocsin.store import Store

KICKED = "kicked"
"""Bus subject: a UserID's earlier logins are void. Payload: `<sdkappid>/<UserID>`."""


class Erased(Struct, frozen=True, kw_only=True):
    """What an erasure came to."""

    at: float
    """Unix time, s."""
    failures: list[Failure]
    """Names that were not erased: 70107 without such an account, 70402 of an administrator."""
    accounts: list[Account]
    """With those of the devices that were logged in as one of them."""
    devices: list[Device]
    """Those that went with the accounts, as they were read just before."""


class Erasing:
    """Deletes accounts with their devices."""

    def __init__(
        self, store: Store, bus: Bus, clock: Clock, erasures: Erasures | None = None
    ) -> None:
        """`erasures` is where it is written down who is gone, if anywhere."""
        self._store = store
        self._erasures = erasures
        self._bus = bus
        self._clock = clock

    async def erase(self, app: App, names: Sequence[str]) -> Erased:
        """Delete the named accounts and their devices, and close the connections of both.

        Durable when it returns. Raises `CallError` 71000 where the app forbids it; then nothing
        has changed. Without its account an administrator could not call any more: none is deleted.
        """
        doomed = list(dict.fromkeys(name for name in names if name not in app.admins))
        devices = await self._devices_of(app, doomed)
        # A device that goes with its user has an account of its own, which would stay behind.
        own = [device.registration_id for device in devices]
        everyone = list(dict.fromkeys([*doomed, *own]))
        failures, accounts = await self._store.update_accounts(
            app.sdkappid, everyone, [], _told(everyone)
        )
        for account in accounts:
            self._bus.publish(KICKED, f"{app.sdkappid}/{account.name}".encode())
        for device in devices:
            hint = DeviceHint(app.sdkappid, device.number, 0, "", is_registered=False)
            self._bus.publish(DEVICE, msgspec.json.encode(hint))
        at = self._clock.now()
        if self._erasures is not None:
            # After the deletion: a list that names who was not deleted would delete them later.
            # With those that are not there: a call that deleted and then failed is made again.
            gone = [*(account.name for account in accounts), *(name for name, _ in failures)]
            await self._erasures.note(app.sdkappid, list(dict.fromkeys(gone)), at)
        refused = [(name, 70402) for name in dict.fromkeys(names) if name in app.admins]
        return Erased(
            at=at,
            failures=[*((name, code) for name, code in failures if name in doomed), *refused],
            accounts=accounts,
            devices=devices,
        )

    async def _devices_of(self, app: App, names: Sequence[str]) -> list[Device]:
        accounts = await self._store.accounts(app.sdkappid, names)
        numbers = BitMap([account.number for account in accounts if account is not None])
        return await self._store.devices_of(app.sdkappid, numbers) if numbers else []


def _told(names: Sequence[str]) -> Callable[[AccountsView], AccountsEdit]:
    """The decision of `delete_accounts`, whose result also names the accounts that are deleted."""
    decide = delete_accounts(names)

    def told(view: AccountsView) -> AccountsEdit:
        edit = decide(view)
        edit.result = (edit.result, list(edit.deleted))
        # The time is kept for the wait before a re-import: without one it would serve nothing.
        edit.keeps_names = view.app.reimport_after_s > 0
        return edit

    return told
