"""Accept: a push call becomes a task row, its first jobs and its use of quota, in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.clock import Chance, Clock
from tocsin.domain.account import Failure
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.domain.message import Message, is_empty
from tocsin.domain.plan import ChannelFacts, PageInput, PlanView, plan_page
from tocsin.domain.quota import PushUse, use_push, use_recall
from tocsin.domain.reach import Page, reach_of
from tocsin.domain.task import (
    OVERWRITE_SUFFIX,
    RECALL_WINDOW_S,
    SENDER_ID,
    AcceptEdit,
    AcceptView,
    FanoutBody,
    IndexBody,
    Lane,
    NewJob,
    Phase,
    RecallEdit,
    RecallView,
    Task,
    end,
    expiry,
    make_task_id,
)
from tocsin.errors import CallError
from tocsin.metrics import Metrics
from tocsin.ports import Bus, Channels, Presence
from tocsin.store import Store

WORK = "work"
"""Bus subject: new jobs were committed."""


class PushAsk(Struct, frozen=True, kw_only=True):
    """A push call with every field checked."""

    kind: Literal["push", "batch", "im_push"]
    identifier: str
    """The administrator who calls."""
    sender: str = ""
    """From_Account; empty: the identifier."""
    msg_random: int
    message: Message
    condition: Condition = Condition()
    accounts: tuple[str, ...] = ()
    """Batch only: as the caller named them."""
    data_id: str = ""
    msg_body: bytes = b""
    ttl_s: int | None = None
    """None: the app's default."""


class Accepted(Struct, frozen=True):
    """What a push call is answered."""

    task_id: str
    failures: tuple[Failure, ...] = ()


class Accepting:
    """Takes in push calls and recalls. What it answered is durable."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        presence: Presence,
        channels: Channels,
        *,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._bus = bus
        self._presence = presence
        self._channels = channels
        self._clock = clock
        self._chance = chance
        self._metrics = metrics

    async def push(self, app: App, ask: PushAsk) -> Accepted:
        """Accept a push. Raises `CallError` 90024, 90045 or 90047 and then changes nothing."""
        if not app.is_push_enabled:
            raise CallError(90045)
        who = ask.sender or ask.identifier
        dedup = f"{ask.kind}/{who}/{ask.msg_random}"
        now = self._clock.now()
        credentials = await self._channels.facts(app.sdkappid) if ask.kind == "batch" else {}
        known = PlanHints(self._presence.connected(app.sdkappid), credentials)
        decide = decide_push(ask, now, self._chance.bits(32), known)
        accepted = await self._store.accept(app.sdkappid, dedup, ask.accounts, decide)
        self._metrics.count("tasks_accepted", command=ask.kind)
        self._bus.publish(WORK)
        assert isinstance(accepted, Accepted)
        return accepted

    async def recall(self, app: App, task_id: str, message: Message | None) -> None:
        """Recall a task: raises `CallError` 90049 to 90053 and then changes nothing."""
        facts = await self._channels.facts(app.sdkappid)
        takes_back = any(it.takes_back for it in facts.values())
        decide = decide_recall(message, self._clock.now(), takes_back=takes_back)
        task = await self._store.recall(app.sdkappid, task_id, decide)
        self._metrics.count("recalls")
        self._bus.publish(WORK)
        await self._presence.revoke(task)


class PlanHints(Struct, frozen=True):
    """What a batch is planned with, besides what the store reads."""

    connected: BitMap
    """Devices believed connected."""
    credentials: Mapping[int, ChannelFacts]


def decide_push(
    ask: PushAsk, now: float, number: int, known: PlanHints
) -> Callable[[AcceptView], AcceptEdit]:
    """The decision behind `Accepting.push`; `number` is chance, for the TaskId.

    A batch names its accounts, so it is planned in the same step: it needs no fanout.
    """

    def decide(view: AcceptView) -> AcceptEdit:
        if view.earlier is not None:
            return AcceptEdit(result=Accepted(view.earlier.task_id, _unknown(ask, view)))
        use: PushUse | int = view.use
        if ask.kind != "batch":
            use = use_push(view.use, view.app.limits, now)
            if isinstance(use, int):
                raise CallError(use)
        task = _new_task(ask, view, now, number)
        if ask.kind == "batch":
            edit = _planned(task, view, known, now)
        else:
            body = IndexBody()
            job = NewJob(task=task.number, queue="index", lane=task.lane, body=body, not_before=now)
            edit = AcceptEdit(task=task, jobs=[job])
        edit.use = use if isinstance(use, PushUse) else None
        edit.result = Accepted(task.task_id, _unknown(ask, view))
        return edit

    return decide


def _planned(task: Task, view: AcceptView, known: PlanHints, now: float) -> AcceptEdit:
    """The whole audience as one page."""
    audience = BitMap([account.number for account in view.accounts.values()])
    task = msgspec.structs.replace(task, phase=Phase.RUNNING, audience_size=len(audience))
    policy = view.app.device_policy
    page = Page(accounts=audience, live=audience, audience=audience, policy=policy)
    reach = reach_of(page, view.devices.values())
    page_input = PageInput(
        is_last=True, connected=known.connected, credentials=known.credentials, now=now
    )
    plan = plan_page(PlanView(view.app, task, 0, view.devices), reach, FanoutBody(), page_input)
    return AcceptEdit(
        task=task if plan.jobs else end(task, now),
        audience=audience.serialize(),
        jobs=plan.jobs,
        blocks=plan.blocks,
        devices=plan.devices,
    )


def _unknown(ask: PushAsk, view: AcceptView) -> tuple[Failure, ...]:
    names = dict.fromkeys(ask.accounts)
    return tuple((name, 70107) for name in names if name not in view.accounts)


def _new_task(ask: PushAsk, view: AcceptView, now: float, number: int) -> Task:
    ttl_s = view.app.ttl_s if ask.ttl_s is None else ask.ttl_s
    sender = SENDER_ID + view.next_task
    parts = (int(now), view.app.sdkappid, sender, number, ask.msg_random)
    return Task(
        app=view.app.sdkappid,
        number=view.next_task,
        task_id=make_task_id(ask.kind, parts),
        kind=ask.kind,
        sender=ask.sender or ask.identifier,
        message=ask.message,
        condition=None if ask.kind == "batch" else ask.condition,
        data_id=ask.data_id,
        msg_random=ask.msg_random,
        msg_body=ask.msg_body,
        accepted_at=now,
        ttl_s=ttl_s,
        expires_at=expiry(now, ttl_s),
        lane=Lane.URGENT if ask.kind == "batch" else Lane.BULK,
    )


def decide_recall(
    message: Message | None, now: float, *, takes_back: bool = False
) -> Callable[[RecallView], RecallEdit]:
    """The decision behind `Accepting.recall`. Its order of checks is 90051 first.

    `takes_back` is whether a vendor of the app can withdraw what it was given: then there is
    something to do even where nothing is to be shown instead.
    """

    def decide(view: RecallView) -> RecallEdit:
        use = use_recall(view.use, view.app.limits, now)
        if isinstance(use, int):
            raise CallError(use)
        task = view.task
        if task is None or task.overwrites is not None:
            raise CallError(90049)
        if task.is_recalled:
            raise CallError(90050)
        if now - task.accepted_at > RECALL_WINDOW_S:
            raise CallError(90052)
        if message is None:
            raise CallError(90053)
        recalled = msgspec.structs.replace(task, recalled_at=now)
        edit = RecallEdit(task=recalled, wakes_jobs=True, use=use, result=recalled)
        is_withdrawal = message.is_online_only or is_empty(message)
        if takes_back or not is_withdrawal:
            shown = msgspec.structs.replace(message, is_online_only=is_withdrawal)
            edit.overwrite = _overwrite(task, shown, view.next_task, now)
            edit.jobs.append(
                NewJob(
                    task=view.next_task,
                    queue="fanout",
                    lane=Lane.URGENT,
                    body=FanoutBody(),
                    not_before=now,
                )
            )
        return edit

    return decide


def _overwrite(task: Task, message: Message, number: int, now: float) -> Task:
    return msgspec.structs.replace(
        task,
        number=number,
        task_id=f"{task.task_id}{OVERWRITE_SUFFIX}",
        kind="overwrite",
        message=message,
        accepted_at=now,
        expires_at=expiry(now, task.ttl_s),
        lane=Lane.URGENT,
        phase=Phase.RUNNING,
        overwrites=task.number,
    )
