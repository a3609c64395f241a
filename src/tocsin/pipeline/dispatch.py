"""Dispatch: leases what can begin now and gives it to the worker, lane by lane."""

from __future__ import annotations

import asyncio
import contextlib

from msgspec import Struct

from tocsin.conversation import ANY_WAY
from tocsin.domain.task import Job, Lane
from tocsin.errors import Stale, StoreError
from tocsin.log import get_logger
from tocsin.pipeline.accept import WORK
from tocsin.pipeline.work import Tools, Worker, channel_of
from tocsin.ports import Bus
from tocsin.store import Head

URGENT_SHARE = 8
"""One in so many of a worker's places is kept for urgent work, whoever's bulk fills the rest."""
REFRESH_S = 0.4
"""How often the recall set is read while jobs are under way: half of what a copy may be old."""
SETTLE_S = 2.0
"""Time to settle what was given up at the end of a stop; then the leases decide."""

WAKE_JOBS = 256
"""Jobs woken in one step when a way has proved itself; the others follow in the next turns."""


class Pace(Struct, frozen=True, kw_only=True):
    """How much a dispatcher has under way, and how long it holds it."""

    lease_s: float = 30.0
    extend_every_s: float = 10.0
    poll_s: float = 0.25
    """Longest wait when no hint of new work comes."""
    jobs_max: int = 64
    """Jobs under way at once in this process."""
    queue_jobs_max: int = 8
    """Jobs of one queue under way at once."""
    lane_jobs_max: int = 7
    """Jobs of one lane of a queue: urgent work always finds room, and bulk keeps its tenth."""


class Dispatcher:
    """One worker: serves every app's queues until it is told to stop."""

    def __init__(self, lessee: str, tools: Tools, bus: Bus, pace: Pace) -> None:
        self._holder = lessee
        self._store = tools.store
        self._channels = tools.channels
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._bus = bus
        self._pace = pace
        self._worker = Worker(tools)
        self._held: dict[tuple[int, int], Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._extended_at = float("-inf")
        self._refreshed_at = float("-inf")
        self._turns = 0
        self._proofs: set[tuple[int, str, str]] = set()
        """(app, queue, way) whose waiting jobs are not all woken yet."""
        self._hint = asyncio.Event()
        self._drain_s: float | None = None
        """Set once the service stops: how long answers are awaited."""
        self.unsettled = 0
        """Jobs that `run` left begun and not settled when it ended."""
        self._log = get_logger(__name__)

    async def run(self) -> None:
        """Serve until told to `stop`; what is under way when cancelled is left to its lease."""
        stop = self._bus.subscribe(WORK, lambda _: self._hint.set())
        extender = asyncio.create_task(self._extend_leases())
        try:
            while self._drain_s is None:
                wait_s = await self._guarded_turn()
                if self._drain_s is None:
                    await self._rest(wait_s)
            await self._drain(self._drain_s)
        finally:
            self.unsettled = len(self._tasks)
            stop()
            extender.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(extender, *self._tasks, return_exceptions=True)

    def stop(self, drain_s: float) -> None:
        """Lease nothing more and let no request begin; `run` returns once all is settled.

        Answers to what has begun are awaited for `drain_s` seconds. What has none by then is
        settled as possibly delivered, and jobs that have not begun are given back.
        """
        self._drain_s = drain_s
        self._worker.gate.close()
        self._hint.set()

    async def turn(self) -> float:
        """Lease and start what can begin now; answers the seconds until the next look."""
        now = self._clock.now()
        # What we hold may have lapsed while the store was sick or the machine slept. We would lease
        # it again from ourselves, send it twice, and refuse our own settle.
        if self._held and now - self._extended_at >= self._pace.extend_every_s:
            await self.extend()
        await self._keep_gate_fresh()
        self._worker.look()
        wait_s = self._pace.poll_s
        heads = await self._store.heads(now)
        await self._tend(heads)
        for head in self._in_turn(heads):
            if head.ready_at > now:
                wait_s = min(wait_s, head.ready_at - now)
            elif self._drain_s is None and len(self._tasks) < self._pace.jobs_max:
                await self._serve(head)
        return wait_s

    def _in_turn(self, heads: list[Head]) -> list[Head]:
        """Urgent heads first; within a lane each turn begins with another one."""
        self._turns += 1
        start = self._turns % len(heads) if heads else 0
        return sorted(heads[start:] + heads[:start], key=lambda head: head.lane)

    async def _keep_gate_fresh(self) -> None:
        """Requests that wait for a stream begin only on a young copy of the recall set."""
        now = self._clock.monotonic()
        if now - self._refreshed_at < REFRESH_S:
            return
        self._refreshed_at = now
        for app in {app for app, _ in self._held}:
            await self._worker.gate.refresh(app)

    async def _drain(self, drain_s: float) -> None:
        await self._settled(drain_s)
        self._worker.gate.give_up()
        await self._settled(SETTLE_S)

    async def _settled(self, patience_s: float) -> None:
        """Wait until nothing is under way, but no longer than this."""
        waiting = asyncio.ensure_future(self._clock.sleep(patience_s))
        try:
            while self._tasks and not waiting.done():
                await asyncio.wait({waiting, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _guarded_turn(self) -> float:
        try:
            return await self.turn()
        except StoreError as fault:
            self._log.warning("store cannot be read", fault=str(fault))
            return 1.0

    async def _rest(self, wait_s: float) -> None:
        self._hint.clear()
        sleeping = asyncio.ensure_future(self._clock.sleep(wait_s))
        hinted = asyncio.ensure_future(self._hint.wait())
        try:
            await asyncio.wait({sleeping, hinted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also where we are told to stop: a task that nobody awaits would outlive its loop.
            for waiting in (sleeping, hinted):
                waiting.cancel()

    async def _serve(self, head: Head) -> None:
        """Lease as many jobs of a queue as can begin at once, and start them."""
        places = self._places(head)
        if places <= 0:
            return
        allowed = await self._allowed(head)
        # While a credential is held back, what was recalled or has expired is still settled.
        ended = allowed <= 0
        jobs = await self._store.lease(
            head.app,
            head.queue,
            head.lane,
            lessee=self._holder,
            limit=places if ended else min(places, allowed),
            lease_s=self._pace.lease_s,
            ended=ended,
        )
        for job in jobs:
            self._start(job)

    def _places(self, head: Head) -> int:
        """How many jobs of this queue and lane this worker has places for."""
        busy = [
            job for job in self._held.values() if (job.app, job.queue) == (head.app, head.queue)
        ]
        in_lane = sum(1 for job in busy if job.lane == head.lane)
        reserved = 0 if head.lane is Lane.URGENT else self._pace.jobs_max // URGENT_SHARE
        return min(
            self._pace.jobs_max - reserved - len(self._tasks),
            self._pace.queue_jobs_max - len(busy),
            self._pace.lane_jobs_max - in_lane,
        )

    async def _allowed(self, head: Head) -> int:
        """How many jobs of this queue its channel can begin now."""
        if ":" not in head.queue:
            return self._pace.jobs_max
        credential = int(head.queue.partition(":")[2])
        channel = await self._channels.channel(head.app, credential)
        facts = (await self._channels.facts(head.app)).get(credential)
        if channel is None or facts is None:
            return self._pace.jobs_max
        devices = channel.room(self._clock.now())
        return -(-devices // facts.batch_max)

    async def _tend(self, heads: list[Head]) -> None:
        """Have each channel with waiting jobs look at its ways, and wake what waits for them."""
        now = self._clock.now()
        for app, queue in {(head.app, head.queue) for head in heads if ":" in head.queue}:
            channel = await self._channels.channel(app, int(queue.partition(":")[2]))
            if channel is None:
                continue
            self._proofs.update((app, queue, way) for way in channel.tend(now))
        for proof in list(self._proofs):
            app, queue, way = proof
            name = None if way == ANY_WAY else way
            woken = await self._store.wake(app, queue, name, WAKE_JOBS)
            if woken < WAKE_JOBS:
                self._proofs.discard(proof)

    def _start(self, job: Job) -> None:
        key = (job.app, job.number)
        self._held[key] = job
        self._metrics.count("jobs_leased", channel=channel_of(job))
        task = asyncio.create_task(self._guarded(job))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._held.get((job.app, job.number)) is job:
            del self._held[job.app, job.number]
            self._worker.gate.forget(job.app, job.number)
        self._hint.set()

    async def _guarded(self, job: Job) -> None:
        """Run one job; a failure of ours is logged with its job and left to the lease."""
        try:
            await self._worker.run(job)
        except Stale:
            self._metrics.count("jobs_stale", channel=channel_of(job))
            self._log.info("lease lost", app=job.app, job=job.number, queue=job.queue)
        except StoreError as fault:
            self._log.warning("store refused", app=job.app, job=job.number, fault=str(fault))
        except Exception:  # noqa: BLE001 - one broken job must not stop the others
            self._metrics.count("loop_errors", loop="dispatch")
            self._log.exception("job failed", app=job.app, job=job.number, queue=job.queue)

    async def _extend_leases(self) -> None:
        while True:
            await self._clock.sleep(self._pace.extend_every_s)
            with contextlib.suppress(StoreError):
                await self.extend()

    async def extend(self) -> None:
        """Extend every lease; what could not be extended begins nothing more."""
        now = self._clock.now()
        is_well = True
        by_app: dict[int, list[Job]] = {}
        for job in self._held.values():
            by_app.setdefault(job.app, []).append(job)
        for app, jobs in by_app.items():
            try:
                ours = set(await self._store.extend(app, jobs, lease_s=self._pace.lease_s))
            except StoreError:
                ours, is_well = set(), False
            for job in jobs:
                if job.number not in ours and (app, job.number) in self._held:
                    self._worker.gate.lose(app, job.number)
        if is_well:
            self._extended_at = now
