"""A client for operators: it speaks to the admin socket in a running service's data folder.

Whoever may read the data folder is an operator; the socket has no password.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tocsin.client.json_http import JsonHttp, Method, Refused
from tocsin.clock import SystemClock

SOCKET_NAME = "admin.sock"


def admin_socket(data: Path) -> Path | None:
    """The admin socket of a data folder, if a service listens there."""
    path = data / SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            # A killed service leaves its socket file behind, and nobody answers there.
            return None
    return path


LOOK_S = 0.2
"""Seconds between two looks at a backup under way."""
TIMEOUT_S = 90.0
"""A check of a credential waits for the vendor's token service, then for the vendor."""


class AdminSocket:
    """The operator's actions. The running service carries them out, and they apply at once."""

    def __init__(self, path: Path) -> None:
        self._http = JsonHttp("http://tocsin", unix_socket=path, timeout_s=TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def status(self) -> dict[str, Any]:
        """Where the running service listens (`url`), its `pid` and `version`."""
        return await self._http.ask("GET", "/v1/status")

    async def reload(self) -> dict[str, Any]:
        """Let the service read settings, certificate and credential files again.

        Answers lists of texts: changes that were `taken`, settings that wait for a restart
        (`needs_restart`), and `wrong` settings.
        """
        return await self._http.ask("POST", "/v1/reload")

    async def doctor(self) -> list[dict[str, Any]]:
        """A finding for each check: `check`, `level`, `said` and `todo`."""
        return list((await self._http.ask("GET", "/v1/doctor"))["findings"])

    async def backup(
        self, folder: str, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> dict[str, Any]:
        """Write a backup into a new folder; returns when it is whole. The service goes on."""
        state = await self._http.ask("POST", "/v1/backup", {"folder": folder})
        while state["state"] == "running":
            progress(state["done"], state["total"])
            await SystemClock().sleep(LOOK_S)
            state = await self._http.ask("GET", "/v1/backup")
        if state["state"] == "failed":
            raise Refused(state["code"], state["info"], "backup")
        return dict(state["result"])

    async def hold_end(self, how: str) -> dict[str, Any]:
        """Settle or resume the pushes of before a restored backup, and let the service send."""
        return await self._http.ask("POST", "/v1/restore/end_hold", {"how": how})

    async def secret_rotate(self) -> dict[str, Any]:
        """Change the key that seals the store's secrets; answers how many were sealed anew."""
        return await self._http.ask("POST", "/v1/secret/rotate")

    async def app_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Create an app, or change one: members not named in `facts` stay.

        Answers the app, and in `done` whether it was "added" or "changed".
        """
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}", facts)

    async def app_list(self) -> list[dict[str, Any]]:
        """Every app, without its keys."""
        return list((await self._http.ask("GET", "/v1/apps"))["apps"])

    async def app_show(self, sdkappid: int) -> dict[str, Any]:
        """One app, with its client key for devices."""
        return await self._http.ask("GET", f"/v1/apps/{sdkappid}")

    async def app_remove(self, sdkappid: int) -> dict[str, Any]:
        """Go on with the removal of an app, or begin it; ask again until `is_gone`."""
        return await self._http.ask("DELETE", f"/v1/apps/{sdkappid}")

    async def app_names(self, sdkappid: int, prefix: str = "") -> dict[str, Any]:
        """RegistrationIDs that devices chose, and the UserIDs that begin with a prefix."""
        asked = {"prefix": prefix} if prefix else None
        return await self._http.ask("GET", f"/v1/apps/{sdkappid}/names", params=asked)

    async def usersig(self, sdkappid: int, name: str, expire_s: int) -> str:
        """A UserSig for any name of the app."""
        body = {"name": name, "expire_s": expire_s}
        return str((await self._http.ask("POST", f"/v1/apps/{sdkappid}/usersig", body))["usersig"])

    async def app_key_rotate(self, sdkappid: int, key: str = "") -> dict[str, Any]:
        """Give an app a new key; the former one verifies until it is dropped."""
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}/key/rotate", {"key": key})

    async def app_key_drop_former(self, sdkappid: int) -> dict[str, Any]:
        """End the overlap: the former key verifies nothing any more."""
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}/key/drop_former", {})

    async def credential_add(self, sdkappid: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add a vendor credential; answers it with its certificate ID, without its secrets."""
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}/credentials", facts)

    async def credential_list(self, sdkappid: int) -> list[dict[str, Any]]:
        """The app's credentials, without their secrets."""
        answer = await self._http.ask("GET", f"/v1/apps/{sdkappid}/credentials")
        return list(answer["credentials"])

    async def credential_show(self, sdkappid: int, number: int) -> dict[str, Any]:
        """One credential, without its secrets, with its state and its public half."""
        return await self._http.ask("GET", f"/v1/apps/{sdkappid}/credentials/{number}")

    async def credential_set(
        self, sdkappid: int, number: int, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a credential: members and single `settings` that are not named stay."""
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}/credentials/{number}", facts)

    async def client_config(self, sdkappid: int, numbers: Sequence[int] = ()) -> dict[str, str]:
        """The client's `timpush-configs.json`, from these credentials or each vendor's newest."""
        asked = {"numbers": list(numbers)}
        answer = await self._http.ask("POST", f"/v1/apps/{sdkappid}/client_config", asked)
        return dict(answer["config"])

    async def credential_check(self, sdkappid: int, number: int) -> dict[str, Any]:
        """Ask the vendor about a credential: `verdict`, `code`, `said` and `advice`."""
        return await self._http.ask("POST", f"/v1/apps/{sdkappid}/credentials/{number}/check", {})

    async def credential_delete(self, sdkappid: int, number: int) -> None:
        """Delete a credential; its devices have no way to the vendor any more."""
        await self._http.ask("DELETE", f"/v1/apps/{sdkappid}/credentials/{number}")

    async def account_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """A page of accounts, and what to ask for `after` next; null at the end."""
        asked = {"after": str(after), "limit": str(limit)}
        return await self._http.ask("GET", f"/v1/apps/{sdkappid}/accounts", params=asked)

    async def account_show(self, sdkappid: int, name: str) -> dict[str, Any]:
        """One account with its tags, attributes and devices."""
        return await self._about("GET", sdkappid, "account", name=name)

    async def account_export(self, sdkappid: int, name: str, before: int = 0) -> dict[str, Any]:
        """A page of everything that is kept about an account, the newest pushes first."""
        return await self._about("GET", sdkappid, "account/export", name=name, before=str(before))

    async def account_delete(self, sdkappid: int, name: str) -> dict[str, Any]:
        """Erase an account with its devices; answers the receipt."""
        return await self._about("DELETE", sdkappid, "account", name=name)

    async def device_list(self, sdkappid: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """A page of devices, and what to ask for `after` next; null at the end."""
        asked = {"after": str(after), "limit": str(limit)}
        return await self._http.ask("GET", f"/v1/apps/{sdkappid}/devices", params=asked)

    async def device_show(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """One device with its tokens."""
        return await self._about("GET", sdkappid, "device", name=registration_id)

    async def device_unregister(self, sdkappid: int, registration_id: str) -> dict[str, Any]:
        """Take a device's tokens and its user, and close its connection; answers it."""
        return await self._about("POST", sdkappid, "device/unregister", name=registration_id)

    async def _about(
        self, method: Method, sdkappid: int, path: str, **asked: str
    ) -> dict[str, Any]:
        return await self._http.ask(method, f"/v1/apps/{sdkappid}/{path}", params=asked)
