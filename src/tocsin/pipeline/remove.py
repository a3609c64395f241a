"""Remove: an app goes with everything that is kept of it, in steps that hold the writer shortly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from tocsin.domain.app import App, begin_removal
from tocsin.errors import CallError
from tocsin.ports import Bus
from tocsin.store import Store

APP_CLOSED = "app closed"
"""Bus subject: nobody may call or listen for an app any more. Payload: its sdkappid."""
ROWS_A_STEP = 1000
"""What one step deletes; others write between two steps."""
STEPS_A_CALL = 40
"""Steps before a call answers how far it has come."""

ForgetIndex = Callable[[int], Awaitable[None]]
"""Drops the audience index of an app, in memory and on disk."""


async def no_index(_: int) -> None:
    """There is none."""


class Removed(Struct, frozen=True, kw_only=True):
    """How far one call has come."""

    tasks: int
    devices: int
    accounts: int
    is_gone: bool
    """Whether nothing is left of the app. Else the next call goes on."""


class Removing:
    """Removes apps. What ends it half way leaves an app that nobody may use; it can go on."""

    def __init__(self, store: Store, bus: Bus, forget_index: ForgetIndex) -> None:
        self._store = store
        self._bus = bus
        self.forget_index = forget_index
        self.steps_max = STEPS_A_CALL

    async def remove(self, sdkappid: int) -> Removed:
        """Go on with the removal of an app, or begin it; call it again until `is_gone`.

        From the first call's first moment nobody may call, connections are closed and nothing more
        is sent. Raises `CallError` 70020 without such an app.
        """
        await self._store.update_app(sdkappid, _begin)
        self._bus.publish(APP_CLOSED, str(sdkappid).encode())
        tasks = devices = accounts = 0
        for _ in range(self.steps_max):
            step = await self._store.remove_rows(sdkappid, ROWS_A_STEP)
            tasks += step.tasks
            devices += step.devices
            accounts += step.accounts
            # The app's row goes last: while it is there, whatever ended us can be gone on with.
            if step.is_empty and await self._end(sdkappid):
                return Removed(tasks=tasks, devices=devices, accounts=accounts, is_gone=True)
        return Removed(tasks=tasks, devices=devices, accounts=accounts, is_gone=False)

    async def _end(self, sdkappid: int) -> bool:
        """Drop the index, then the app itself, unless something was written meanwhile."""
        await self.forget_index(sdkappid)
        return await self._store.remove_app(sdkappid)


def _begin(app: App | None) -> App:
    if app is None:
        raise CallError(70020)
    return begin_removal(app)
