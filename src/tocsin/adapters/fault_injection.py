"""Faults planted on purpose: `tocsin demo --break` shows that its checks can fail.

Each fault is one that the laws forbid. They sit around real adapters, so that everything else is
the service as it is; nothing but the setting TOCSIN_BREAK ever puts them there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from msgspec.structs import replace
from pyroaring import BitMap

from tocsin.conversation import Fault, Request, Response
from tocsin.domain.task import Job, Report, SendBody, StepEdit, StepView, StepWant
from tocsin.ports import Http
from tocsin.store import Store

LOST_JOB = "lost-job"
DOUBLE_SEND = "double-send"
WRONG_BITMAP = "wrong-bitmap"
LOST_RECEIPT = "lost-receipt"
NAMES = (LOST_JOB, DOUBLE_SEND, WRONG_BITMAP, LOST_RECEIPT)
LIST_MIN = 5
"""Receipts that come together: then they are a vendor's, and not a phone's own report."""


def planted_store(store: Store, name: str) -> Store:
    """The store, with a fault if `name` is one of a store's."""
    if name == LOST_RECEIPT:
        return cast(Store, _DeafStore(store))
    spoil = {LOST_JOB: lose_job, WRONG_BITMAP: flip_account}.get(name)
    return store if spoil is None else cast(Store, _PlantedStore(store, spoil))


def planted_http(http: Http, name: str) -> Http:
    """The client, sending one request twice if `name` asks for that."""
    return _TwiceSending(http) if name == DOUBLE_SEND else http


class _PlantedStore:
    """A store whose `step` spoils what a decision wants written, until it has done so once."""

    def __init__(self, store: Store, spoil: Callable[[StepEdit], bool]) -> None:
        self._store = store
        self._spoil = spoil
        self._is_done = False

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def step(
        self, app: int, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
    ) -> Any:
        def spoiled(view: StepView) -> StepEdit:
            edit = decide(view)
            if not self._is_done:
                self._is_done = self._spoil(edit)
            return edit

        return await self._store.step(app, job, want, spoiled)


def lose_job(edit: StepEdit) -> bool:
    """Drop a send job on its way to the queue: breaks conservation."""
    for job in edit.jobs:
        if isinstance(job.body, SendBody):
            edit.jobs.remove(job)
            return True
    return False


def flip_account(edit: StepEdit) -> bool:
    """Take one account out of a frozen audience: the condition is no longer what was asked."""
    if edit.audience is None:
        return False
    audience = BitMap.deserialize(edit.audience)
    if not audience:
        return False
    audience.discard(audience[len(audience) // 2])
    edit.audience = audience.serialize()
    return True


class _DeafStore:
    """A store that forgets whatever is reported of one device and one push."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task = 0
        self._device = 0

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def append_reports(self, app: int, reports: Sequence[Report]) -> None:
        kept = [self._spoiled(report) for report in reports]
        await self._store.append_reports(app, kept)

    def _spoiled(self, report: Report) -> Report:
        members = BitMap.deserialize(report.members)
        is_of_vendor = report.channel != "online" and report.code == "0"
        if not self._device and is_of_vendor and len(members) >= LIST_MIN:
            self._task, self._device = report.task, members.max()
        if report.task != self._task or self._device not in members:
            return report
        members.discard(self._device)
        return replace(report, members=members.serialize())


class _TwiceSending:
    """A client that repeats one delivery to a vendor without a word."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._is_done = False

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        answer = await self._http.send(request, deadline_s, may_begin)
        is_sent = isinstance(answer, Response) and answer.status == 200
        if is_sent and not self._is_done and "/3/device/" in request.path:
            self._is_done = True
            await self._http.send(request, deadline_s)
        return answer
