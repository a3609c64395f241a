"""The operator's side: the running service's admin socket in its data folder.

Whoever may read the data folder is the operator; there is no password on the socket.
"""

from __future__ import annotations

import stat
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tocsin.client.wire import Wire

SOCKET_NAME = "admin.sock"


def admin_socket(data: Path) -> Path | None:
    """The admin socket of a data folder, if a service has left one there."""
    path = data / SOCKET_NAME
    try:
        return path if stat.S_ISSOCK(path.stat().st_mode) else None
    except OSError:
        return None


class AdminSocket:
    """The operator's verbs, carried out by the running service and in force at once."""

    def __init__(self, path: Path) -> None:
        self._wire = Wire("http://tocsin", unix_socket=path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._wire.close()

    async def do(self, verb: str, **told: Any) -> Any:
        """One verb with its arguments; raises `Refused` with the reason."""
        return (await self._wire.ask("POST", f"/{verb}", told)).get("result")
