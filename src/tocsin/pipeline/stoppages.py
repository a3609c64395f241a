"""Tells the log and the metrics which credentials do not send all that waits for them, and why."""

from __future__ import annotations

from math import isfinite

from tocsin.clock import Clock
from tocsin.conversation import Stoppage
from tocsin.errors import StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.ports import Channels
from tocsin.store import Store

LOOK_EVERY_S = 2.0
"""A stoppage that is over sooner may not be told."""


class StoppageWatch:
    """Looks at the channels of every app, again and again; says what has become different."""

    def __init__(self, store: Store, channels: Channels, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._metrics = metrics
        self._known: dict[tuple[int, int], Stoppage] = {}
        self._log = get_logger(__name__)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.turn()
            except StoreError as fault:
                self._log.warning("stoppages not looked at", fault=str(fault))
            await self._clock.sleep(LOOK_EVERY_S)

    async def turn(self) -> None:
        """One look at every app."""
        found: dict[tuple[int, int], Stoppage] = {}
        for app in await self._store.apps():
            for number, stoppage in (await self._channels.stoppages(app)).items():
                found[app, number] = stoppage
        for key in self._known.keys() - found.keys():
            self._tell_end(key)
        for key, stoppage in found.items():
            self._tell(key, stoppage)
        self._known = found

    def _tell(self, key: tuple[int, int], stoppage: Stoppage) -> None:
        (app, number), known = key, self._known.get(key)
        name = f"{app}:{number}"
        if known is not None and known.state != stoppage.state:
            self._metrics.set("credential_stopped", 0, credential=name, state=known.state)
        self._metrics.set("credential_stopped", 1, credential=name, state=stoppage.state)
        self._metrics.set("credential_tried_at_seconds", _until(stoppage) or 0, credential=name)
        # Each trial that fails puts the time off: that alone is no news.
        if known is not None and _what(known) == _what(stoppage):
            return
        until = _until(stoppage)
        self._log.warning(
            "credential stopped",
            app=app,
            certificate=number,
            state=stoppage.state,
            reason=stoppage.reason,
            detail=stoppage.detail,
            part=stoppage.part,
            seconds=None if until is None else max(0, round(until - self._clock.now())),
        )

    def _tell_end(self, key: tuple[int, int]) -> None:
        (app, number), known = key, self._known[key]
        name = f"{app}:{number}"
        self._metrics.set("credential_stopped", 0, credential=name, state=known.state)
        self._metrics.set("credential_tried_at_seconds", 0, credential=name)
        self._log.info("credential sends again", app=app, certificate=number, was=known.state)


def _what(stoppage: Stoppage) -> tuple[str, str, str]:
    """What makes it another one; details may differ at each trial."""
    return stoppage.state, stoppage.reason, stoppage.part


def _until(stoppage: Stoppage) -> float | None:
    return stoppage.until if stoppage.until is not None and isfinite(stoppage.until) else None
