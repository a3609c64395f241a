"""Checks everything that goes wrong in practice, for `tocsin doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tocsin.clock import Clock
from tocsin.domain.checkup import (
    Finding,
    Machine,
    judge_app,
    judge_backlog,
    judge_clocks,
    judge_credential,
    judge_disk,
    judge_files,
    judge_log,
    judge_writes,
)
from tocsin.store import Store

LookAtMachine = Callable[[], Machine]
Skews = Callable[[], Mapping[str, float]]
"""Seconds that our clock is ahead of vendors', by host."""
Shown = Mapping[str, Any]


class Doctor:
    """Checks the service, and changes nothing."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        look_at_machine: LookAtMachine | None = None,
        skews: Skews = dict,
    ) -> None:
        """Without `look_at_machine`, disk and files are not checked."""
        self._store = store
        self._clock = clock
        self._look_at_machine = look_at_machine
        self._skews = skews

    async def examine(
        self,
        apps: Mapping[int, Shown],
        credentials: Mapping[int, Sequence[Shown]],
        *,
        is_serving: bool,
    ) -> list[Finding]:
        """A finding for each check; `apps` and `credentials` by sdkappid, as they are shown."""
        findings = [
            judge_writes(await self._store.write_trouble()),
            *self._of_machine(is_serving=is_serving),
            await self._backlog(is_serving=is_serving),
        ]
        if not apps:
            todo = "tocsin app add 1400000001 --admin admin"
            findings.append(Finding(check="apps", level="warn", said="there is none", todo=todo))
        for sdkappid, app in apps.items():
            findings += judge_app(app)
            findings += [judge_credential(sdkappid, each) for each in credentials[sdkappid]]
        in_use = any(each["is_enabled"] for shown in credentials.values() for each in shown)
        return [*findings, *judge_clocks(self._skews(), has_credentials=in_use)]

    def _of_machine(self, *, is_serving: bool) -> list[Finding]:
        if self._look_at_machine is None:
            return []
        machine = self._look_at_machine()
        findings = [judge_disk(machine), judge_log(machine)]
        # The open files of a command say nothing about the service.
        return [*findings, judge_files(machine)] if is_serving else findings

    async def _backlog(self, *, is_serving: bool) -> Finding:
        waiting = sum((await self._store.depth()).values())
        now = self._clock.now()
        late_s = max((now - head.ready_at for head in await self._store.heads(now)), default=0.0)
        return judge_backlog(waiting, late_s, is_serving=is_serving)
