"""The operator's operations on accounts and devices: list, show, export, delete, unregister.

Lists are read page by page, so that an answer costs the same for any number of rows.
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
from tocsin.domain.erasure import RetentionTimes, kind_of, receipt
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
"""Pushes that one answer of an export reads."""


class AccountOperations:
    """Each operation is durable when it returns, and in force at once."""

    _store: Store
    _clock: Clock
    _bus: Bus
    _erasing: Erasing
    _kept: RetentionTimes
    _books: BooksReader
    _keyed: Callable[[int, str], str]
    """Hashes the name of an account for the receipt of its erasure."""
    _presence: Presence | None = None
    """Knows the connected devices; None in a process that does not serve."""

    async def account_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """Accounts with numbers above `after`, and in `next` the next `after`; null at the end.

        `limit` is 1 to 1000. Each account has its number of devices, and of connected devices.
        """
        app = await self._app(sdkappid)
        rows = await self._store.scan_accounts(sdkappid, after, _limited(limit) + 1)
        page = rows[:limit]
        devices = await self._devices_of(app, page)
        connected = self._connected(sdkappid)
        accounts = []
        for row in page:
            own = [device for device in devices if row.number in (device.user, device.account)]
            online = sum(1 for device in own if device.number in connected)
            accounts.append({**_shown_account(app, row), "devices": len(own), "connected": online})
        return {"accounts": accounts, "next": page[-1].number if len(rows) > limit else None}

    async def account_show(self, sdkappid: int, name: str) -> dict[str, Any]:
        """One account with its tags, attributes and devices; raises `CallError` 70107."""
        app = await self._app(sdkappid)
        account = await self._account(app, name)
        devices = await self._devices_of(app, [account])
        return {**_shown_account(app, account), "devices": self._shown_devices(app, devices)}

    async def account_export(self, sdkappid: int, name: str, before: int = 0) -> dict[str, Any]:
        """Everything kept about an account, page by page: the newest pushes first.

        The first page (`before` 0) has the account and its devices with their tokens. Each page
        has `pushes`, and in `next` the `before` of the next page; null at the end. The secrets of
        devices are left out: only their hashes are stored.
        """
        app = await self._app(sdkappid)
        account = await self._account(app, name)
        devices = await self._devices_of(app, [account])
        tasks = await self._store.tasks(sdkappid, before=before, limit=EXPORT_PAGE)
        addresses = BitMap([account.number, *(device.account for device in devices)])
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
        """One push of an export: its message, and its state on these devices."""
        shown = {**shown_task(task), "message": task.message}
        books = await self._books.of(task.app, task.number)
        if books is None:
            return {**shown, "devices": []}
        sets = await self._books.sets(books)
        planned = [device for device in devices if device.number in sets.planned]
        numbers = BitMap([device.number for device in planned])
        reports = await self._books.reports(task.app, task.number, numbers)
        return {**shown, "devices": [_state_of(sets, device, reports) for device in planned]}

    async def account_delete(self, sdkappid: int, name: str) -> dict[str, Any]:
        """Erase an account with its devices; answers the receipt of the erasure.

        Raises `CallError`: 70107 without such an account, 70402 for an administrator, 71000 where
        the app does not allow deletion.
        """
        app = await self._app(sdkappid)
        erased = await self._erasing.erase(app, [name])
        for _, code in erased.failures:
            advice = f"{name} is an administrator: name others first (tocsin app add --admin)"
            raise CallError(code, advice if code == 70402 else "")
        return receipt(
            app,
            erased.accounts,
            erased.devices,
            name_hash=self._keyed(sdkappid, name),
            at=erased.at,
            kept=self._kept,
        )

    async def device_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """Devices with numbers above `after`, and in `next` the next `after`; null at the end.

        `limit` is 1 to 1000.
        """
        app = await self._app(sdkappid)
        rows = await self._store.scan_devices(sdkappid, after, _limited(limit) + 1)
        page = rows[:limit]
        return {
            "devices": self._shown_devices(app, page),
            "next": page[-1].number if len(rows) > limit else None,
        }

    async def device_show(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """One device with its tokens; raises `CallError` 70107."""
        app = await self._app(sdkappid)
        device = await self._store.device(sdkappid, registration_id)
        if device is None:
            raise CallError(70107, "no device with this RegistrationID")
        return self._shown_devices(app, [device])[0]

    async def device_unregister(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """Remove a device's tokens and its user, and close its connection; answers the device.

        The device stays stored, and may register again with its secret. Raises `CallError` 70107.
        """
        app = await self._app(sdkappid)
        decide = unregister_unasked(self._clock.now())
        unregistered = await self._store.update_device(sdkappid, registration_id, "", None, decide)
        assert isinstance(unregistered, Device)
        hint = DeviceHint(sdkappid, unregistered.number, 0, "", is_registered=False)
        self._bus.publish(DEVICE, msgspec.json.encode(hint))
        return {**self._shown_devices(app, [unregistered])[0], "is_connected": False}

    async def _app(self, sdkappid: int) -> App:
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
        return [shown_device(device, is_connected=device.number in connected) for device in devices]


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


def _state_of(sets: TaskSets, device: Device, reports: Sequence[Report]) -> dict[str, Any]:
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
