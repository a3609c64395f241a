"""The operator's actions, carried out by the running service or by this process.

Where a service runs on the data folder, the actions go through its admin socket and apply at once.
Where none runs, this process opens the folder itself, under the same lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.config import load
from tocsin.log import configure
from tocsin.service.opening import open_service

DEFAULT_DATA = Path("data")

Data = Annotated[
    Path,
    typer.Option(
        "--data", envvar="TOCSIN_DATA", help="The service's data folder.", file_okay=False
    ),
]


class OperatorActions(Protocol):
    """Every action of an operator; a refusal is raised with its code and reason."""

    async def doctor(self) -> list[dict[str, Any]]:
        """A finding for each check: `check`, `level`, `said` and `todo`."""
        ...

    async def backup(
        self, folder: str, progress: Callable[[int, int], None] = ...
    ) -> dict[str, Any]:
        """Write a backup into a new folder; the service goes on."""
        ...

    async def hold_end(self, how: str) -> dict[str, Any]:
        """Settle or resume the pushes of before a restored backup."""
        ...

    async def secret_rotate(self) -> dict[str, Any]:
        """Change the key that seals the store's secrets; answers how many were sealed anew."""
        ...

    async def app_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Create an app, or change one: members not named in `facts` stay.

        Answers the app, and in `done` whether it was "added" or "changed".
        """
        ...

    async def app_list(self) -> list[dict[str, Any]]:
        """Every app, without its keys."""
        ...

    async def app_show(self, sdkappid: int) -> dict[str, Any]:
        """One app, with its client key for devices."""
        ...

    async def app_remove(self, sdkappid: int) -> dict[str, Any]:
        """Go on with the removal of an app, or begin it; ask again until `is_gone`."""
        ...

    async def app_names(self, sdkappid: int, prefix: str = "") -> dict[str, Any]:
        """RegistrationIDs that devices chose, and the UserIDs that begin with a prefix."""
        ...

    async def usersig(self, sdkappid: int, name: str, expire_s: int) -> str:
        """A UserSig for any name of the app."""
        ...

    async def app_key_rotate(self, sdkappid: int, key: str = "") -> dict[str, Any]:
        """Give an app a new key; the former one verifies until it is dropped."""
        ...

    async def app_key_drop_former(self, sdkappid: int) -> dict[str, Any]:
        """End the overlap: the former key verifies nothing any more."""
        ...

    async def credential_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add a vendor credential; answers it with its certificate ID, without its secrets."""
        ...

    async def credential_list(self, sdkappid: int) -> list[dict[str, Any]]:
        """The app's credentials, without their secrets."""
        ...

    async def credential_show(self, sdkappid: int, number: int) -> dict[str, Any]:
        """One credential, without its secrets, with its state and its public half."""
        ...

    async def credential_set(
        self, sdkappid: int, number: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a credential: members and single `settings` that are not named stay."""
        ...

    async def credential_check(self, sdkappid: int, number: int) -> dict[str, Any]:
        """Ask the vendor about a credential: `verdict`, `code`, `said` and `advice`."""
        ...

    async def client_config(self, sdkappid: int, numbers: Sequence[int] = ()) -> dict[str, str]:
        """The client's `timpush-configs.json`, from these credentials or each vendor's newest."""
        ...

    async def credential_delete(self, sdkappid: int, number: int) -> None:
        """Delete a credential; its devices have no way to the vendor any more."""
        ...

    async def account_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """A page of accounts, and what to ask for `after` next; null at the end."""
        ...

    async def account_show(self, sdkappid: int, name: str) -> dict[str, Any]:
        """One account with its tags, attributes and devices."""
        ...

    async def account_export(self, sdkappid: int, name: str, before: int = 0) -> dict[str, Any]:
        """A page of everything that is kept about an account, the newest pushes first."""
        ...

    async def account_delete(self, sdkappid: int, name: str) -> dict[str, Any]:
        """Erase an account with its devices; answers the receipt."""
        ...

    async def device_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """A page of devices, and what to ask for `after` next; null at the end."""
        ...

    async def device_show(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """One device with its tokens."""
        ...

    async def device_unregister(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """Take a device's tokens and its user, and close its connection; answers it."""
        ...


@asynccontextmanager
async def operator_of(data: Path, *, makes: bool = False) -> AsyncIterator[OperatorActions]:
    """The operator of a data folder, which is created only if `makes` says so."""
    path = admin_socket(data)
    if path is not None:
        async with AdminSocket(path) as admin:
            yield admin
        return
    # The command itself prints the result.
    configure("critical", json=False, stream=sys.stderr)
    async with open_service(load(data=data, environment=os.environ), makes=makes) as service:
        yield service.operator
