"""Injects faults that the service's laws forbid, so that `tocsin demo --break` sees them caught.

Each fault is injected by a wrapper around a real adapter; the rest of the service is unchanged.
Only `cli/faulty_service.py`, which the demo starts, imports this module (a test).
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
"""Receipts in one report that come from a vendor's list, not from a phone alone."""


def faulty_store(store: Store, name: str) -> Store:
    """Wraps the store if the fault called `name` is one of a store; otherwise answers `store`."""
    if name == LOST_RECEIPT:
        return cast(Store, _ReceiptLosingStore(store))
    spoil = {LOST_JOB: lose_job, WRONG_BITMAP: flip_account}.get(name)
    return store if spoil is None else cast(Store, _EditSpoilingStore(store, spoil))


def faulty_http(http: Http, name: str) -> Http:
    """Wraps the HTTP client if `name` is `double-send`; otherwise answers `http`."""
    return _RepeatingHttp(http) if name == DOUBLE_SEND else http


class _EditSpoilingStore:
    """A store that spoils one edit which a decision wants written: the first that it can."""

    def __init__(self, store: Store, spoil: Callable[[StepEdit], bool]) -> None:
        self._store = store
        self._spoil = spoil
        self._is_injected = False

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def step(
        self, app: int, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
    ) -> Any:
        def spoiled(view: StepView) -> StepEdit:
            edit = decide(view)
            if not self._is_injected:
                self._is_injected = self._spoil(edit)
            return edit

        return await self._store.step(app, job, want, spoiled)


def lose_job(edit: StepEdit) -> bool:
    """Drops a send job before it is queued: breaks conservation."""
    for job in edit.jobs:
        if isinstance(job.body, SendBody):
            edit.jobs.remove(job)
            return True
    return False


def flip_account(edit: StepEdit) -> bool:
    """Takes one account out of a frozen audience, which then no longer fits the condition."""
    if edit.audience is None:
        return False
    audience = BitMap.deserialize(edit.audience)
    if not audience:
        return False
    audience.discard(audience[len(audience) // 2])
    edit.audience = audience.serialize()
    return True


class _ReceiptLosingStore:
    """A store that loses every report about one device and one push."""

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


class _RepeatingHttp:
    """An HTTP client that sends one delivery to a vendor twice and answers once."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._is_injected = False

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        response = await self._http.send(request, deadline_s, may_begin)
        is_sent = isinstance(response, Response) and response.status == 200
        if is_sent and not self._is_injected and "/3/device/" in request.path:
            self._is_injected = True
            await self._http.send(request, deadline_s)
        return response
