"""The operator's verbs about accounts and devices: look, export, erase, unregister.

Lists are read page by page, so that an answer costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from tocsin.api.v1 import shown_device, shown_task
from tocsin.clock import Clock
from tocsin.domain.account import Account
from tocsin.domain.app import App
from tocsin.domain.books import TaskSets
from tocsin.domain.device import Device, unregister_unasked
from tocsin.domain.erasure import Kept, kind_of, receipt
from tocsin.domain.task import Report, Stage, Task
from tocsin.errors import CallError
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.erase import Erasing
from tocsin.pipeline.register import DEVICE, DeviceHint
from tocsin.ports import Bus, Presence
from tocsin.store import Store

LIST_MAX = 1000
"""Accounts or devices in one answer."""
EXPORT_PAGE = 50
"""Pushes that one answer of an export looks through."""


class AccountVerbs:
    """Each verb is durable when it answers, and in force at once."""

    _store: Store
    _clock: Clock
    _bus: Bus
    _erasing: Erasing
    _kept: Kept
    _books: BooksReader
    _keyed: Callable[[int, str], str]
    """A name as a receipt tells it."""
    _presence: Presence | None = None
    """Who is connected, where the service is running."""

    async def account_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """Accounts with numbers above `after`, and what to ask for `after` next; null at the end.

        `limit` is 1 to 1000. Each is told with its numbers of devices, and of those connected.
        """
        app = await self._found(sdkappid)
        rows = await self._store.scan_accounts(sdkappid, after, _limited(limit) + 1)
        page = rows[:limit]
        devices = await self._devices_of(app, page)
        connected = self._connected(sdkappid)
        accounts = []
        for row in page:
            own = [it for it in devices if row.number in (it.user, it.account)]
            here = sum(1 for it in own if it.number in connected)
            accounts.append({**_shown_account(app, row), "devices": len(own), "connected": here})
        return {"accounts": accounts, "next": page[-1].number if len(rows) > limit else None}

    async def account_show(self, sdkappid: int, name: str) -> dict[str, Any]:
        """One account with its tags, attributes and devices; raises `CallError` 70107."""
        app = await self._found(sdkappid)
        account = await self._account(app, name)
        devices = await self._devices_of(app, [account])
        return {**_shown_account(app, account), "devices": self._shown_devices(app, devices)}

    async def account_export(self, sdkappid: int, name: str, before: int = 0) -> dict[str, Any]:
        """Everything kept about an account, page by page: the newest pushes first.

        The first page (`before` 0) has the account and its devices, their tokens as they are. Each
        has `pushes`, and in `next` what to name in `before` for the next page; null at the end.
        What a device proves itself with is left out: we keep a hash of it, which says nothing.
        """
        app = await self._found(sdkappid)
        account = await self._account(app, name)
        devices = await self._devices_of(app, [account])
        tasks = await self._store.tasks(sdkappid, before=before, limit=EXPORT_PAGE)
        addresses = BitMap([account.number, *(it.account for it in devices)])
        pushes = [
            await self._push(task, devices)
            for task in tasks
            if addresses & await self._books.audience(sdkappid, task.number)
        ]
        page: dict[str, Any] = {
            "pushes": pushes,
            "next": tasks[-1].number if len(tasks) == EXPORT_PAGE else None,
        }
        if before:
            return page
        shown = {**_shown_account(app, account), "devices": self._shown_devices(app, devices)}
        return {"sdkappid": sdkappid, "exported_at": self._clock.now(), "account": shown, **page}

    async def _push(self, task: Task, devices: list[Device]) -> dict[str, Any]:
        """One push as an export has it: its message, and what became of it on these devices."""
        shown = {**shown_task(task), "message": task.message}
        books = await self._books.of(task.app, task.number)
        if books is None:
            return {**shown, "devices": []}
        sets = await self._books.sets(books)
        planned = [device for device in devices if device.number in sets.planned]
        numbers = BitMap([device.number for device in planned])
        reports = await self._books.reports(task.app, task.number, numbers)
        return {**shown, "devices": [_leg_of(sets, device, reports) for device in planned]}

    async def account_delete(self, sdkappid: int, name: str) -> dict[str, Any]:
        """Erase an account with its devices, and answer the receipt.

        Raises `CallError`: 70107 without such an account, 70402 of an administrator, 71000 where
        the app does not let accounts be deleted.
        """
        app = await self._found(sdkappid)
        erased = await self._erasing.erase(app, [name])
        for _, code in erased.failures:
            said = f"{name} is an administrator: name others first (tocsin app add --admin)"
            raise CallError(code, said if code == 70402 else "")
        return receipt(
            app,
            erased.accounts,
            erased.devices,
            name_hash=self._keyed(sdkappid, name),
            at=erased.at,
            kept=self._kept,
        )

    async def device_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """Devices with numbers above `after`, and what to ask for `after` next; null at the end.

        `limit` is 1 to 1000.
        """
        app = await self._found(sdkappid)
        rows = await self._store.scan_devices(sdkappid, after, _limited(limit) + 1)
        page = rows[:limit]
        return {
            "devices": self._shown_devices(app, page),
            "next": page[-1].number if len(rows) > limit else None,
        }

    async def device_show(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """One device with its tokens; raises `CallError` 70107."""
        app = await self._found(sdkappid)
        device = await self._store.device(sdkappid, registration_id)
        if device is None:
            raise CallError(70107, "no device with this RegistrationID")
        return self._shown_devices(app, [device])[0]

    async def device_unregister(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """Take a device's tokens and its user, and close its connection; answers it.

        It stays known, and may register again with its secret. Raises `CallError` 70107.
        """
        app = await self._found(sdkappid)
        decide = unregister_unasked(self._clock.now())
        gone = await self._store.update_device(sdkappid, registration_id, "", None, decide)
        assert isinstance(gone, Device)
        hint = DeviceHint(sdkappid, gone.number, 0, "", is_registered=False)
        self._bus.publish(DEVICE, msgspec.json.encode(hint))
        return {**self._shown_devices(app, [gone])[0], "is_connected": False}

    async def _found(self, sdkappid: int) -> App:
        app = await self._store.app(sdkappid)
        if app is None:
            raise CallError(70020)
        return app

    async def _account(self, app: App, name: str) -> Account:
        (account,) = await self._store.accounts(app.sdkappid, [name])
        if account is None:
            raise CallError(70107)
        return account

    async def _devices_of(self, app: App, accounts: list[Account]) -> list[Device]:
        numbers = BitMap([account.number for account in accounts])
        return await self._store.devices_of(app.sdkappid, numbers) if numbers else []

    def _connected(self, sdkappid: int) -> BitMap:
        return BitMap() if self._presence is None else self._presence.connected(sdkappid)

    def _shown_devices(self, app: App, devices: list[Device]) -> list[dict[str, Any]]:
        connected = self._connected(app.sdkappid)
        return [shown_device(it, is_connected=it.number in connected) for it in devices]


def _limited(limit: int) -> int:
    if not 1 <= limit <= LIST_MAX:
        raise CallError(70402, f"limit must be 1 to {LIST_MAX}")
    return limit


def _shown_account(app: App, account: Account) -> dict[str, Any]:
    attrs = account.attrs.items()
    return {
        "name": account.name,
        "number": account.number,
        "kind": kind_of(account),
        "is_admin": account.name in app.admins,
        "nick": account.nick,
        "face_url": account.face_url,
        "tags": list(account.tags),
        "attrs": {app.attr_names.get(slot, slot): value for slot, value in attrs},
        "sig_valid_after": account.sig_valid_after,
    }


def _leg_of(sets: TaskSets, device: Device, reports: Sequence[Report]) -> dict[str, Any]:
    number = device.number
    states = (state.value for state, members in sets.states.items() if number in members)
    shown = [
        {"stage": report.stage.name.lower(), "channel": report.channel, "at": report.at}
        for report in reports
        if report.stage is not Stage.SENT and number in BitMap.deserialize(report.members)
    ]
    return {
        "registration_id": device.registration_id,
        "state": next(states, ""),
        "channels": [name for name, members in sets.legs.items() if number in members],
        "reports": shown,
    }
