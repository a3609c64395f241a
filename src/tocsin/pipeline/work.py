"""Work: one leased job, from its begin in the books to its settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Chance, Clock
from tocsin.domain.device import DeviceRows
from tocsin.domain.outcome import Receipt
from tocsin.domain.task import (
    Job,
    OnlineBody,
    SendBody,
    StepEdit,
    StepView,
    StepWant,
    Task,
    WaitBody,
    closes,
)
from tocsin.errors import StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.pipeline.begin import BegunJob, batch_of, decide_begin
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.fanout import Fanout
from tocsin.pipeline.gate import Health, RecallGate
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.settle import (
    decide_give_back,
    decide_give_up,
    decide_settle,
    handles_of,
    judge_batch,
)
from tocsin.pipeline.waiting import decide_online, decide_wait
from tocsin.pipeline.window import Window
from tocsin.ports import Channel, Channels, Presence
from tocsin.store import Store

SETTLE_RETRY_S = 0.5
GENERATIONS_MAX = 32
"""A job leased more often than this breaks whoever runs it: it is a dead letter."""
BEGUN_GENERATIONS_MAX = 5
"""The same for one that has begun: each lease may show its devices another copy."""

READ_IN_STEP_MAX = 8
"""Devices whose rows are read in the step that begins their job; those of more are read before it,
and the step looks only at what has changed since."""


class Tools(Struct, frozen=True, kw_only=True):
    """What a worker works with."""

    store: Store
    channels: Channels
    presence: Presence
    clock: Clock
    chance: Chance
    indexer: Indexer
    metrics: Metrics
    correlation_key: bytes
    """Proves that a vendor's correlation id was made here."""
    books: BooksReader | None = None
    """Those that others read too; None: the worker's own."""
    wait_scale: float = 1.0
    """Factor on the waits between attempts; below 1 only for tests on real sockets."""


class Worker:
    """Carries out leased jobs. Every write goes through the job's lease."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store
        self._channels = tools.channels
        self._presence = tools.presence
        self._clock = tools.clock
        self._books = tools.books or BooksReader(tools.store, tools.clock)
        self._fanout = Fanout(
            store=tools.store,
            channels=tools.channels,
            presence=tools.presence,
            books=self._books,
            indexer=tools.indexer,
            clock=tools.clock,
            write=self._write,
            is_stopping=lambda: self.gate.is_closed,
        )
        self._window = Window()
        self._health = Health()
        self.gate = RecallGate(tools.store, tools.clock, self._health)
        self._log = get_logger(__name__)

    async def run(self, job: Job) -> None:
        """Carry out one job. Raises `Stale` or `StoreError`; the lease then decides.

        While the service stops, the job is given back instead.
        """
        if self.gate.is_closed:
            await self._write(job, StepWant(), decide_give_back)
            return
        generations_max = GENERATIONS_MAX if job.begun_at is None else BEGUN_GENERATIONS_MAX
        if job.generation > generations_max:
            await self._write(job, StepWant(), decide_give_up(self._clock.now()))
            self._tools.metrics.count("jobs_given_up", channel=channel_of(job))
            self._log.error("job given up", app=job.app, job=job.number, queue=job.queue)
            return
        match job.body:
            case SendBody():
                await self._send(job, job.body)
            case OnlineBody() | WaitBody():
                await self._push_online(job, job.body)
            case _ if job.queue == "index":
                await self._write(job, StepWant(), await self._tools.indexer.freeze(job))
            case _:
                await self._fanout.run(job)

    def look(self) -> None:
        """Begin what waits for the window of its credential and fits by now."""
        self._window.look()

    async def _send(self, job: Job, body: SendBody) -> None:
        channel = await self._channels.channel(job.app, body.credential)
        place = (job.app, body.credential)

        def begun_max() -> int:
            return channel.begun_max if channel is not None else 0

        async with self._window.of(place, job.lane, len(body.devices), begun_max) as count:
            if self.gate.is_closed:
                # The stop came while the job waited for its place in the window.
                await self._write(job, StepWant(), decide_give_back)
            else:
                await self._send_begun(job, body, channel, count)

    async def _send_begun(
        self, job: Job, body: SendBody, channel: Channel | None, count: int
    ) -> None:
        begun = await self._begin(job, body, channel, count)
        if begun is None:
            return
        self._tools.metrics.count("jobs_begun", channel=channel_of(job))
        assert channel is not None
        batch = batch_of(
            begun,
            job.number,
            self._tools.correlation_key,
            self._clock.now(),
            mark=await self._store.collapse_mark(),
            names_deliveries=channel.names_deliveries,
        )
        receipts = await channel.deliver(batch, self.gate)
        await self._settle(job, begun, channel, receipts)

    async def _begin(
        self, job: Job, body: SendBody, channel: Channel | None, count: int
    ) -> BegunJob | None:
        audience = await self._books.audience(job.app, job.task)
        replaces = channel.repeat_replaces if channel is not None else None
        read: DeviceRows | None = None
        if len(body.devices) > READ_IN_STEP_MAX:
            read = await self._store.devices_at(job.app, BitMap(body.devices))
        now = self._clock.now()
        stoppage = channel.stoppage(now) if channel is not None else None
        stopped = stoppage.reason if stoppage is not None and not stoppage.part else ""
        decide = decide_begin(
            now,
            audience,
            repeat_replaces=replaces,
            devices=None if read is None else read.devices,
            stopped=stopped,
            count_max=count,
            scale=self._tools.wait_scale,
        )
        want = StepWant(
            devices=body.devices,
            changed_after=0 if read is None else read.position,
            with_acked=body.waits_for_ack,
            with_handles=True,
        )
        begun = await self._write(job, want, decide)
        assert begun is None or isinstance(begun, BegunJob)
        return begun

    async def _settle(
        self, job: Job, begun: BegunJob, channel: Channel, receipts: Sequence[Receipt]
    ) -> None:
        now = self._clock.now()
        verdict = judge_batch(
            receipts,
            begun,
            number=job.attempt,
            now=now,
            fraction=self._tools.chance.fraction(),
            repeat_replaces=channel.repeat_replaces(begun.task.message),
            scale=self._tools.wait_scale,
        )
        if verdict.breaker:
            channel.trip(verdict.breaker)
        if verdict.accusation:
            channel.accuse(verdict.accusation)
        if verdict.suspects and channel.believes_answers():
            # A batch of one is no evidence; many of them, all dead, are evidence against us.
            verdict.dead.extend(verdict.suspects)
        want = StepWant(devices=tuple(receipt.device for receipt in verdict.dead))
        decide = decide_settle(verdict, begun.body, now, handles_of(begun, receipts))
        await self._write_until_it_holds(job, want, decide)
        if verdict.dead:
            channel_name = channel_of(job)
            self._tools.metrics.count("tokens_dropped", len(verdict.dead), channel=channel_name)
        self._tools.metrics.count("jobs_settled", channel=channel_of(job))

    async def _push_online(self, job: Job, body: OnlineBody | WaitBody) -> None:
        task = await self._task(job)
        audience = await self._books.audience(job.app, job.task)
        is_offered = isinstance(body, WaitBody) and body.is_offered
        if not is_offered and closes(task, self._clock.now()) is None:
            await self._presence.push(task, body.language, body.devices)
        now = self._clock.now()
        if isinstance(body, OnlineBody):
            await self._write(job, StepWant(), decide_online(now))
            return
        facts = await self._channels.facts(job.app)
        want = StepWant(devices=body.devices, with_acked=True)
        await self._write(job, want, decide_wait(now, audience, facts))

    async def _write(self, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]) -> Any:
        """One step; remembers whether the store is well, which every request depends on."""
        try:
            result = await self._store.step(job.app, job, want, decide)
        except StoreError:
            self._health.is_well = False
            raise
        self._health.is_well = True
        return result

    async def _write_until_it_holds(
        self, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
    ) -> None:
        """Settle, however long the store is sick: the outcome is known nowhere else."""
        while True:
            try:
                await self._write(job, want, decide)
            except StoreError as fault:
                self._log.warning("settle waits", job=job.number, fault=str(fault))
                await self._clock.sleep(SETTLE_RETRY_S)
            else:
                return

    async def _task(self, job: Job) -> Task:
        task = await self._store.task(job.app, job.task)
        assert task is not None, f"job {job.number} of app {job.app} has no task"
        return task


def channel_of(job: Job) -> str:
    """The label of a job in the metrics: its channel, or its queue."""
    return job.queue.partition(":")[0]
