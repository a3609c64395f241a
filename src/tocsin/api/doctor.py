"""Looks at everything that goes wrong in practice, for `tocsin doctor`."""

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
    """Looks, and changes nothing."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        look_at_machine: LookAtMachine | None = None,
        skews: Skews = dict,
    ) -> None:
        """Without `look_at_machine` nothing is said of disk and files."""
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
        """A line for each thing; apps and their credentials as they are shown, by sdkappid."""
        found = [
            judge_writes(await self._store.write_trouble()),
            *self._of_machine(is_serving=is_serving),
            await self._backlog(is_serving=is_serving),
        ]
        if not apps:
            todo = "tocsin app add 1400000001 --admin admin"
            found.append(Finding(check="apps", level="warn", said="there is none", todo=todo))
        for sdkappid, app in apps.items():
            found += judge_app(app)
            found += [judge_credential(sdkappid, it) for it in credentials[sdkappid]]
        in_use = any(it["is_enabled"] for each in credentials.values() for it in each)
        return [*found, *judge_clocks(self._skews(), has_credentials=in_use)]

    def _of_machine(self, *, is_serving: bool) -> list[Finding]:
        if self._look_at_machine is None:
            return []
        machine = self._look_at_machine()
        found = [judge_disk(machine), judge_log(machine)]
        # A command has few files of its own open, which says nothing of the service.
        return [*found, judge_files(machine)] if is_serving else found

    async def _backlog(self, *, is_serving: bool) -> Finding:
        waiting = sum((await self._store.depth()).values())
        now = self._clock.now()
        late_s = max((now - head.ready_at for head in await self._store.heads(now)), default=0.0)
        return judge_backlog(waiting, late_s, is_serving=is_serving)
