"""Tick: the housekeeping that nobody asks for: snapshots, merged books, retirement, retention."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain.books import merge_blocks
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.pipeline.index import Indexer
from tocsin.ports import Channels
from tocsin.store import Store

DAY_S = 86_400.0
WARN_S = 30 * DAY_S
"""How long before a credential ends it is warned of."""


class Upkeep(Struct, frozen=True, kw_only=True):
    """How often, and how long things are kept."""

    every_s: float = 60.0
    log_kept_s: float = 7 * 86_400.0
    """Change log rows are kept at least so long, and never cut above the durable snapshot."""
    tasks_kept_s: float = 7 * 86_400.0
    """Ended tasks with their books, for records, loss and trace."""
    retire_max: int = 1000
    """Unused terms deleted in one round."""
    blocks_max: int = 1000
    """Blocks of ended tasks that are merged in one step."""
    forgotten_max: int = 200
    """Old tasks, or vendors' names of messages, that are deleted in one step."""


class Ticker:
    """Does one round of housekeeping for every app, again and again."""

    def __init__(
        self,
        store: Store,
        indexer: Indexer,
        channels: Channels,
        *,
        clock: Clock,
        metrics: Metrics,
        upkeep: Upkeep,
    ) -> None:
        self._store = store
        self._indexer = indexer
        self._channels = channels
        self._clock = clock
        self._metrics = metrics
        self._upkeep = upkeep
        self._positions: dict[int, list[tuple[float, int]]] = {}
        self._warned_at: dict[tuple[int, int], float] = {}
        self._log = get_logger(__name__)

    def change(self, upkeep: Upkeep) -> None:
        """Go on so after the next round."""
        self._upkeep = upkeep

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._clock.sleep(self._upkeep.every_s)
            try:
                await self.turn()
            except StoreError as fault:
                self._log.warning("tick put off", fault=str(fault))

    async def turn(self) -> None:
        """One round. A full disk puts an app's round off; it ends neither the others' nor us."""
        for app in await self._store.apps():
            try:
                await self._round(app)
            except (StoreError, OSError) as fault:
                self._log.warning("tick put off", app=app, fault=str(fault))
            except CallError as fault:
                # The app was removed while we looked after it.
                self._log.debug("tick put off", app=app, fault=str(fault))
            await asyncio.sleep(0)

    async def _round(self, app: int) -> None:
        behind = await self._store.last_change(app) - self._indexer.position(app)
        self._metrics.set("index_lag_positions", behind, app=app)
        await self._warn_of_expiry(app)
        await self._indexer.retire(app, self._upkeep.retire_max)
        durable = await self._indexer.snapshot(app)
        await self._cut_log(app, durable)
        await self._forget(app)

    async def _forget(self, app: int) -> None:
        """Merge what has ended and delete what is old, in steps that leave others their turns."""
        now, store, most = self._clock.now(), self._store, self._upkeep.forgotten_max
        is_left = True
        while is_left:
            is_left = await store.merge_ended(app, merge_blocks, self._upkeep.blocks_max)
        count = most
        while count == most:
            count = await store.forget_handles(app, now, most)
        count = most
        while count == most:
            count = await store.forget(app, now - self._upkeep.tasks_kept_s, most)

    async def _warn_of_expiry(self, app: int) -> None:
        """Once a day from a month before a credential ends: a new one takes time to get."""
        now = self._clock.now()
        for number, expires_at in (await self._channels.expiries(app)).items():
            left_s = expires_at - now
            self._metrics.set("credential_expires_seconds", left_s, credential=f"{app}:{number}")
            warned_at = self._warned_at.get((app, number), float("-inf"))
            if left_s <= WARN_S and now - warned_at >= DAY_S:
                self._warned_at[app, number] = now
                self._log.warning(
                    "credential expires" if left_s > 0 else "credential has expired",
                    app=app,
                    certificate=number,
                    days_left=int(left_s // DAY_S),
                    advice=f"get a new one, then: tocsin credential set {number} --file …",
                )

    async def _cut_log(self, app: int, durable: int) -> None:
        """Cut what is older than the time kept, as far as a snapshot seen then covers it.

        Positions carry no time of their own, so each round notes where the log stood; after a
        restart the time is counted anew, which only keeps more.
        """
        now = self._clock.now()
        seen = self._positions.setdefault(app, [])
        seen.append((now, durable))
        old = [position for at, position in seen if at <= now - self._upkeep.log_kept_s]
        if old:
            await self._store.cut_changes(app, min(old[-1], durable))
            self._positions[app] = seen[len(old) :]
