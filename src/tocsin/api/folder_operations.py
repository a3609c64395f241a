"""The operator's operations on the data folder as a whole: backup, and the end of a hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tocsin.domain.restore import How
from tocsin.errors import CallError
from tocsin.pipeline.hold import Hold
from tocsin.ports import Backups

HOWS: tuple[How, ...] = ("settle", "resume")


class FolderOperations:
    """Each operation is durable when it returns."""

    _hold: Hold | None = None
    _backups: Backups | None = None

    async def backup(
        self, folder: str, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> dict[str, Any]:
        """Write a backup into a new folder, while the service goes on; see `Backups.write`."""
        if self._backups is None:
            raise CallError(70402, "this store keeps nothing: there is nothing to back up")
        return dict(await self._backups.write(folder, progress))

    async def hold_end(self, how: str) -> dict[str, Any]:
        """Decide about the pushes from before a restored backup; see `Hold.end`.

        `how` is `settle` or `resume`. Raises `CallError` 70402 for another word, and where there is
        no hold.
        """
        for allowed in HOWS:
            if how == allowed and self._hold is not None:
                return msgspec.structs.asdict(await self._hold.end(allowed))
        raise CallError(70402, f"how is one of {', '.join(HOWS)}")
