"""A backup in progress: one call on the admin socket begins it, others show its state."""

from __future__ import annotations

import asyncio
from typing import Any

from tocsin.api.operator import OperatorService
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger


class BackupRun:
    """Runs at most one backup at a time, and keeps the result of the last one."""

    def __init__(self, operator: OperatorService) -> None:
        self._operator = operator
        self._state: dict[str, Any] = {"state": "none"}
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger(__name__)

    def begin(self, folder: str) -> dict[str, Any]:
        """Begin a backup. Raises `CallError` 70402 while another one is running."""
        if self._task is not None and not self._task.done():
            raise CallError(70402, "a backup is under way already: wait until it is done")
        self._state = {"state": "running", "folder": folder, "done": 0, "total": 0}
        self._task = asyncio.create_task(self._run(folder))
        return self._state

    def show(self) -> dict[str, Any]:
        """`state` (none, running, done or failed) with pages `done` of `total`, or the result."""
        return self._state

    async def _run(self, folder: str) -> None:
        def progress(done: int, total: int) -> None:
            self._state.update(done=done, total=total)

        try:
            result = await self._operator.backup(folder, progress)
        except CallError as fault:
            self._fail(folder, fault.code, fault.info)
        except StoreError as fault:
            self._fail(folder, 91000, str(fault))
        else:
            self._state = {"state": "done", "result": result}
            self._log.info("backup written", **result)
        finally:
            if self._state["state"] == "running":
                self._fail(folder, 91000, "the backup ended unexpectedly: see the service's log")

    def _fail(self, folder: str, code: int, info: str) -> None:
        self._state = {"state": "failed", "code": code, "info": info}
        self._log.warning("backup failed", folder=folder, code=code, fault=info)
