"""Keeps each app's device index beside the store, and answers what a page of accounts leads to."""

from __future__ import annotations

import asyncio

from tocsin.domain.device_index import DeviceIndex
from tocsin.domain.reach import Page, Reach, reach_of
from tocsin.pipeline.off_loop import off_loop
from tocsin.store import Store

CHANGES_PAGE = 1_000
"""Device changes read at once."""
DEVICES_PAGE = 4_096
"""Devices read at once when an index is derived anew."""
ROWS_MAX = 4_096
"""Accounts of an audience that is planned from device rows while the index is not there yet."""


class DeviceIndexer:
    """Holds each app's device index."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._indexes: dict[int, DeviceIndex] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def reach(self, app: int, page: Page) -> Reach:
        """What a page leads to, with every change of a device that was answered before the call."""
        lock = self._locks.setdefault(app, asyncio.Lock())
        if app not in self._indexes and len(page.audience) <= ROWS_MAX:
            return await self._reach_by_rows(app, page)
        async with lock:
            index = await self._caught_up(app)
            return await off_loop(len(page.accounts), index.reach, page)

    async def load(self, app: int) -> None:
        """Derive an app's index, unless it is there already."""
        async with self._locks.setdefault(app, asyncio.Lock()):
            await self._caught_up(app)

    def forget(self, app: int) -> None:
        """Drop an app's index from memory."""
        self._indexes.pop(app, None)

    async def _reach_by_rows(self, app: int, page: Page) -> Reach:
        devices = await self._store.devices_of(app, page.live)
        return await off_loop(len(devices), reach_of, page, devices)

    async def _caught_up(self, app: int) -> DeviceIndex:
        index = self._indexes.get(app)
        if index is None:
            index = self._indexes[app] = await self._derive(app)
        while True:
            changes = await self._store.device_changes(app, index.position, CHANGES_PAGE)
            if changes.position == index.position:
                return index
            await off_loop(len(changes.devices), index.apply, changes)

    async def _derive(self, app: int) -> DeviceIndex:
        """Build the index from the device rows, which are the truth.

        The position is read first: what changes meanwhile is taken in once more, as it is then.
        """
        index = DeviceIndex(await self._store.last_device_change(app))
        after = 0
        while True:
            devices = await self._store.scan_indexed_devices(app, after, DEVICES_PAGE)
            if not devices:
                return index
            await off_loop(len(devices), index.put, devices)
            after = devices[-1].number
