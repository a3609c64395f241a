"""Settle: outcomes, dead tokens, the follow-up job and the job's ack, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from pyroaring import BitMap

from tocsin.domain.books import owned_devices
from tocsin.domain.device import Device, without_route, without_token
from tocsin.domain.outcome import (
    Attempt,
    BatchReceipts,
    Later,
    Receipt,
    State,
    Verdict,
    chosen,
    judge,
)
from tocsin.domain.task import (
    Handle,
    NewJob,
    SendBody,
    StepEdit,
    StepView,
    closes,
)
from tocsin.pipeline.begin import BegunJob, Settlement, narrowed


def judge_batch(
    receipts: Sequence[Receipt],
    begun: BegunJob,
    *,
    number: int,
    now: float,
    fraction: float,
    repeat_replaces: bool,
    scale: float = 1.0,
) -> Verdict:
    """Judges what a begun job's deliveries came to; `number` is the job's attempt."""
    task, body = begun.task, begun.body
    assert _devices(receipts) == tuple(body.devices)
    attempt = Attempt(
        now=now,
        left_s=task.expires_at - now,
        life_s=task.ttl_s,
        fraction=fraction,
        repeat_replaces=repeat_replaces,
        number=number,
        past=body.past,
        doubted=BitMap(body.doubted),
        scale=scale,
    )
    return judge(receipts, attempt)


def _devices(receipts: Sequence[Receipt]) -> tuple[int, ...]:
    if isinstance(receipts, BatchReceipts):
        return tuple(receipts.devices)
    return tuple(receipt.device for receipt in receipts)


def handles_of(begun: BegunJob, receipts: Sequence[Receipt]) -> list[Handle]:
    """The vendor's names of what it took; nobody takes back an overwrite."""
    if begun.task.overwrites is not None:
        return []
    return [Handle(it.device, it.handle) for it in chosen(receipts, lambda it: bool(it.handle))]


def decide_settle(
    verdict: Verdict, begun: SendBody, now: float, handles: Sequence[Handle] = ()
) -> Callable[[StepView], StepEdit]:
    """The decision that takes a batch's verdict into the books and acks its job."""

    def decide(view: StepView) -> StepEdit:
        settlement = Settlement(view, now, begun.channel)
        settlement.edit.handles.extend(handles)
        for (state, code, info), devices in verdict.settled.items():
            settlement.settle(state, devices, code=code, info=info)
        settlement.shorten(verdict.shortened)
        if verdict.repeated:
            settlement.repeat(verdict.repeated)
        for later in verdict.again.values():
            settlement.requeue(_follow_up(view, later, begun, now))
        settlement.edit.devices.extend(_without_dead_tokens(view, verdict))
        return settlement.done()

    return decide


def _follow_up(view: StepView, later: Later, begun: SendBody, now: float) -> NewJob:
    left = [at for at, number in enumerate(begun.devices) if number in later.devices]
    rest = narrowed(begun, left)
    # All devices of a follow-up have the same past.
    doubted = rest.devices if later.past.doubts else ()
    # A recall that was answered meanwhile must not wait for this job's turn.
    wait_s = 0.0 if closes(view.task, now) else later.after_s
    return NewJob(
        task=view.task.number,
        queue=view.job.queue,
        lane=view.job.lane,
        body=msgspec.structs.replace(rest, doubted=doubted, past=later.past),
        not_before=now + wait_s,
        attempt=later.attempt,
        way=later.way,
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


def decide_give_back(view: StepView) -> StepEdit:
    """Give a lease up early: the job is ready at once, at its old place, and counts no try."""
    return StepEdit(not_before=view.job.not_before)


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
        settlement = Settlement(view, now, channel)
        settlement.settle(State.IN_DOUBT, doubted, code="-12", info="given up")
        settlement.settle(State.FAILED, owned - doubted, code="-12", info="given up")
        return settlement.done()

    return decide
