"""The gate that every vendor request passes: recalls, expiry, lost leases and a sick store."""

from __future__ import annotations

import asyncio

from tocsin.clock import Clock
from tocsin.conversation import Batch
from tocsin.domain.outcome import Outcome
from tocsin.domain.task import RECALL_WINDOW_S
from tocsin.errors import StoreError
from tocsin.store import Store

COPY_MAX_S = 0.8
"""Oldest copy of the recall set that a request may begin on: law 5 promises one second."""


class Health:
    """Whether the store's last write went through: if it did not, no vendor request begins."""

    def __init__(self) -> None:
        self.is_well = True


class _Copy:
    """One app's recalled tasks, as read at `read_at`."""

    def __init__(self) -> None:
        self.read_at = float("-inf")
        self.tasks: set[int] = set()
        self.lock = asyncio.Lock()


class RecallGate:
    """Answers whether a request of a batch may begin at this moment."""

    def __init__(self, store: Store, clock: Clock, health: Health) -> None:
        self._store = store
        self._clock = clock
        self._health = health
        self._copies: dict[int, _Copy] = {}
        self._lost: set[tuple[int, int]] = set()
        self._is_closed = False
        self._awaits_answers = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more begins, of any job, because the service stops."""
        return self._is_closed

    @property
    def awaits_answers(self) -> bool:
        return self._awaits_answers

    def close(self) -> None:
        """Let nothing more begin; requests under way are still awaited."""
        self._is_closed = True
        self._awaits_answers = True

    def give_up(self) -> None:
        """Await no answer any longer: requests that have none are possibly delivered."""
        self._awaits_answers = False

    def lose(self, app: int, job: int) -> None:
        """A job's lease could not be extended: begin nothing more of it."""
        self._lost.add((app, job))

    def forget(self, app: int, job: int) -> None:
        """The job is over for this worker."""
        self._lost.discard((app, job))

    async def may_begin(self, batch: Batch) -> Outcome | None:
        """None: begin. Else the outcome to book, with nothing sent."""
        if self._is_closed or not self._health.is_well or (batch.app, batch.job) in self._lost:
            return Outcome.HELD
        copy = self._copies.get(batch.app)
        if copy is None:
            copy = self._copies[batch.app] = _Copy()
        if self._clock.monotonic() - copy.read_at > COPY_MAX_S and not await self._read(
            batch.app, copy
        ):
            return Outcome.HELD
        if batch.task in copy.tasks:
            return Outcome.RECALLED
        if self._clock.now() >= batch.deliveries[0].expires_at:
            return Outcome.EXPIRED
        return None

    def still_may(self, batch: Batch) -> bool:
        if self._is_closed or not self._health.is_well or (batch.app, batch.job) in self._lost:
            return False
        copy = self._copies.get(batch.app)
        if copy is None or self._clock.monotonic() - copy.read_at > COPY_MAX_S:
            return False
        return batch.task not in copy.tasks and self._clock.now() < batch.deliveries[0].expires_at

    async def refresh(self, app: int) -> None:
        """Read the recall set anew, for requests that wait in a client's queue."""
        copy = self._copies.get(app)
        if copy is not None:
            await self._read(app, copy, older_s=0.0)

    async def _read(self, app: int, copy: _Copy, older_s: float = COPY_MAX_S) -> bool:
        async with copy.lock:
            asked_at = self._clock.monotonic()
            if asked_at - copy.read_at <= older_s:
                return True
            try:
                since = self._clock.now() - RECALL_WINDOW_S - 1
                copy.tasks = await self._store.recalled(app, since)
            except StoreError:
                return False
            copy.read_at = asked_at
            return True
