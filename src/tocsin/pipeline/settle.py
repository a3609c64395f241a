"""Settle: outcomes, dead tokens, the follow-up job and the job's ack, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from pyroaring import BitMap

from tocsin.domain.device import Device, without_route, without_token
from tocsin.domain.outcome import Later, Receipt, State, Verdict, judge
from tocsin.domain.stats import owned_devices
from tocsin.domain.task import (
    Handle,
    NewJob,
    SendBody,
    StepEdit,
    StepView,
    closes,
)
from tocsin.pipeline.begin import Settlement, narrowed


def judge_batch(
    receipts: Sequence[Receipt],
    begun: SendBody,
    *,
    attempt: int,
    left_s: float,
    fraction: float,
    repeat_replaces: bool,
    is_one_try: bool = False,
) -> Verdict:
    """The verdict on what a begun job's deliveries came to."""
    assert [receipt.device for receipt in receipts] == list(begun.devices)
    return judge(
        receipts,
        attempt=attempt,
        left_s=left_s,
        fraction=fraction,
        repeat_replaces=repeat_replaces,
        is_one_try=is_one_try,
        doubted=frozenset(begun.doubted),
    )


def decide_settle(
    verdict: Verdict, begun: SendBody, now: float, handles: Sequence[Handle] = ()
) -> Callable[[StepView], StepEdit]:
    """The decision that takes a batch's verdict into the books and acks its job."""

    def decide(view: StepView) -> StepEdit:
        books = Settlement(view, now, begun.channel)
        books.edit.handles.extend(handles)
        for (state, code, info), devices in verdict.settled.items():
            books.settle(state, devices, code=code, info=info)
        if verdict.repeats:
            books.repeat(verdict.repeats)
        for later in verdict.again.values():
            books.requeue(_follow_up(view, later, verdict.repeats, begun, now))
        for later in verdict.held.values():
            books.requeue(_put_off(view, later, begun, now))
        books.edit.devices.extend(_without_dead_tokens(view, verdict))
        return books.done()

    return decide


def _follow_up(
    view: StepView, later: Later, repeats: Sequence[int], begun: SendBody, now: float
) -> NewJob:
    rest = _only(begun, later.devices)
    doubted = {*rest.doubted, *repeats}.intersection(later.devices)
    body = msgspec.structs.replace(rest, doubted=tuple(sorted(doubted)))
    return _later(view, body, now, wait_s=later.after_s, attempt=view.job.attempt + 1)


def _put_off(view: StepView, later: Later, begun: SendBody, now: float) -> NewJob:
    """The job of devices that were not tried: pace and breaker cost them no attempt."""
    body = _only(begun, later.devices)
    return _later(view, body, now, wait_s=later.after_s, attempt=view.job.attempt)


def _only(begun: SendBody, devices: Sequence[int]) -> SendBody:
    wanted = frozenset(devices)
    return narrowed(begun, [at for at, number in enumerate(begun.devices) if number in wanted])


def _later(view: StepView, body: SendBody, now: float, *, wait_s: float, attempt: int) -> NewJob:
    # A recall that was answered meanwhile must not wait for this job's turn.
    return NewJob(
        task=view.task.number,
        queue=view.job.queue,
        lane=view.job.lane,
        body=body,
        not_before=now + (0.0 if closes(view.task, now) else wait_s),
        attempt=attempt,
    )


def _without_dead_tokens(view: StepView, verdict: Verdict) -> list[Device]:
    dropped = []
    for receipt in verdict.dead:
        device = view.devices.get(receipt.device)
        if device is not None and receipt.gone_token:
            dropped.append(without_token(device, receipt.gone_token))
            continue
        if device is None or device.route is None or device.epoch != receipt.epoch:
            continue
        if receipt.died_at is not None and receipt.died_at < device.route_at:
            continue
        dropped.append(without_route(device))
    return dropped


def decide_give_up(now: float) -> Callable[[StepView], StepEdit]:
    """The decision on a dead letter: its devices end, in doubt if a request may have left.

    A walk that is given up leaves accounts unbooked, and the ledger says so.
    """

    def decide(view: StepView) -> StepEdit:
        owned = owned_devices(view.job)
        channel, doubted = "online", BitMap()
        if isinstance(view.job.body, SendBody):
            channel = view.job.body.channel
            has_begun = view.job.begun_at is not None
            doubted = owned if has_begun else BitMap(view.job.body.doubted)
        books = Settlement(view, now, channel)
        books.settle(State.IN_DOUBT, doubted, code="-12", info="given up")
        books.settle(State.FAILED, owned - doubted, code="-12", info="given up")
        return books.done()

    return decide
