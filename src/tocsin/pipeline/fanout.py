"""Fanout: walks a frozen audience in pages; each page, its cursor and its jobs are one step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Clock
from tocsin.domain.app import App
from tocsin.domain.outcome import State
from tocsin.domain.plan import (
    PAGE_ACCOUNTS,
    ChannelFacts,
    PageInput,
    PlanView,
    badge_devices,
    plan_page,
)
from tocsin.domain.reach import Page, Reach
from tocsin.domain.task import (
    FanoutBody,
    Job,
    NewJob,
    SendBody,
    StepEdit,
    StepView,
    StepWant,
    Task,
    end,
)
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.off_loop import off_loop
from tocsin.pipeline.settle import decide_give_back
from tocsin.ports import Channels, Presence
from tocsin.store import Store

OVERWRITE_WAIT_S = 0.5
"""How long an overwrite waits before it looks again whether the recalled task has settled, at
first; a vendor that is held back may take its time."""
OVERWRITE_WAIT_MAX_S = 5.0


Write = Callable[[Job, StepWant, Callable[[StepView], StepEdit]], Awaitable[Any]]
"""One step of a leased job, as the worker writes it."""


class Walk(Struct):
    """What a walk knows from its first page to its last."""

    audience: BitMap
    only: BitMap | None
    planned: BitMap


class Fanout:
    """Carries out fanout jobs, a page at a time."""

    def __init__(
        self,
        *,
        store: Store,
        channels: Channels,
        presence: Presence,
        books: BooksReader,
        indexer: Indexer,
        clock: Clock,
        write: Write,
        is_stopping: Callable[[], bool] = lambda: False,
        page_accounts: int = PAGE_ACCOUNTS,
    ) -> None:
        self._store = store
        self._channels = channels
        self._presence = presence
        self._books = books
        self._indexer = indexer
        self._clock = clock
        self._write = write
        self._is_stopping = is_stopping
        self._page_accounts = page_accounts

    async def run(self, job: Job) -> None:
        """Walk to the end, or to the end of a page where the service stops.

        Raises `Stale` when another worker took the job over.
        """
        task = await self._task(job)
        only = None
        if task.overwrites is not None:
            only = await self._reached(job.app, task.overwrites)
            if only is None:
                await self._look_again(job)
                return
        audience = await self._books.audience(job.app, job.task)
        body = job.body if isinstance(job.body, FanoutBody) else None
        walk = Walk(audience, only, await self._planned(job))
        while body is not None:
            if self._is_stopping():
                await self._write(job, StepWant(), decide_give_back)
                return
            facts = await self._channels.facts(job.app)
            body = await self._page(job, body, walk, facts)

    async def _page(
        self,
        job: Job,
        body: FanoutBody,
        walk: Walk,
        facts: Mapping[int, ChannelFacts],
    ) -> FanoutBody | None:
        audience = walk.audience
        start = audience.rank(body.cursor)
        accounts = audience[start : start + self._page_accounts]
        app, task = await self._app(job.app), await self._task(job)
        page = Page(
            accounts=accounts,
            live=await self._indexer.existing(job.app, accounts),
            audience=audience,
            policy=app.device_policy,
            only=walk.only,
        )
        reach = await self._indexer.devices.reach(job.app, page)
        page_input = PageInput(
            last_account=accounts[-1] if accounts else 0,
            is_last=start + len(accounts) >= len(audience),
            connected=self._presence.connected(job.app),
            credentials=facts,
            planned=walk.planned,
            now=self._clock.now(),
        )
        planned = None
        badges = badge_devices(reach, task.message, facts)
        if not badges:
            view = PlanView(app, task, job.number, {})
            edit = await off_loop(len(reach.devices), plan_page, view, reach, body, page_input)
            planned = PlannedPage(view, edit)
        want = StepWant(devices=tuple(badges))
        edit = await self._write(job, want, decide_page(body, reach, page_input, planned))
        assert isinstance(edit, StepEdit)
        walk.planned |= reach.devices
        assert edit.body is None or isinstance(edit.body, FanoutBody)
        return edit.body

    async def _planned(self, job: Job) -> BitMap:
        """Devices of the pages that an earlier holder walked."""
        has_pages = isinstance(job.body, FanoutBody) and job.body.cursor > 0
        books = await self._books.of(job.app, job.task) if has_pages else None
        return BitMap() if books is None else BitMap((await self._books.sets(books)).planned)

    async def _reached(self, app: int, recalled: int) -> BitMap | None:
        """Devices that a vendor may have shown a recalled task; None while some is under way.

        Those that got it over a connection alone have been told by `revoke`: a notification that
        they never had must not appear to be withdrawn.
        """
        books = await self._books.of(app, recalled)
        if books is None:
            return BitMap()
        if any(isinstance(job.body, SendBody) or job.queue in WALK for job in books.jobs):
            return None
        sets = await self._books.sets(books)
        by_vendor = [legs for channel, legs in sets.legs.items() if channel != "online"]
        shown = BitMap.union(BitMap(), *by_vendor) & sets.states[State.SENT]
        return shown | sets.states[State.IN_DOUBT]

    async def _look_again(self, job: Job) -> None:
        """As a new job: this one would come to be taken for one that breaks its workers."""
        wait_s = min(OVERWRITE_WAIT_MAX_S, OVERWRITE_WAIT_S * (job.attempt + 1))
        later = NewJob(
            task=job.task,
            queue=job.queue,
            lane=job.lane,
            body=job.body,
            not_before=self._clock.now() + wait_s,
            attempt=job.attempt + 1,
        )
        await self._write(job, StepWant(), lambda _: StepEdit(is_done=True, jobs=[later]))

    async def _app(self, number: int) -> App:
        app = await self._store.app(number)
        assert app is not None, f"app {number} has a job and no row"
        return app

    async def _task(self, job: Job) -> Task:
        task = await self._store.task(job.app, job.task)
        assert task is not None, f"job {job.number} of app {job.app} has no task"
        return task


WALK = frozenset({"index", "fanout"})


class PlannedPage(Struct, frozen=True):
    """A page that was planned before its step."""

    view: PlanView
    edit: StepEdit


def decide_page(
    body: FanoutBody, reach: Reach, page_input: PageInput, planned: PlannedPage | None
) -> Callable[[StepView], StepEdit]:
    """Write one page's plan; the walk's end is the task's end where nothing is left to deliver.

    What was `planned` before the step is written if app and task are still the same. A recall, or
    a badge that we count, has the page planned here, from what the step reads.
    """

    def decide(view: StepView) -> StepEdit:
        plan_view = PlanView(view.app, view.task, view.job.number, view.devices)
        if planned is not None and planned.view == plan_view:
            edit = msgspec.structs.replace(planned.edit)
        else:
            edit = plan_page(plan_view, reach, body, page_input)
        edit.result = edit
        if edit.is_done and not edit.jobs and not view.has_other_jobs:
            edit.task = end(view.task, page_input.now)
        return edit

    return decide
