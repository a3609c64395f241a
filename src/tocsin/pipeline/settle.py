"""Settle: outcomes, dead tokens, the follow-up job and the job's ack, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import msgspec
from pyroaring import BitMap

from tocsin.domain.device import Device, is_addressed, without_route
from tocsin.domain.outcome import Receipt, State, Verdict, judge
from tocsin.domain.task import (
    NewJob,
    OnlineBody,
    SendBody,
    StepEdit,
    StepView,
    WaitBody,
    closes,
)
from tocsin.pipeline.begin import Settlement, narrowed

SEND_MAX = 200
"""Devices in a send job made here; every channel's batch holds as many."""
WAIT_GROWTH = 1.5
WAIT_MAX_S = 60.0
"""Longest time between two looks at devices that wait for a connection."""


def judge_batch(
    receipts: Sequence[Receipt],
    begun: SendBody,
    *,
    attempt: int,
    left_s: float,
    fraction: float,
    repeat_replaces: bool,
) -> Verdict:
    """The verdict on what a begun job's deliveries came to."""
    assert [receipt.device for receipt in receipts] == list(begun.devices)
    return judge(
        receipts,
        attempt=attempt,
        left_s=left_s,
        fraction=fraction,
        repeat_replaces=repeat_replaces,
        doubted=frozenset(begun.doubted),
    )


def decide_settle(verdict: Verdict, begun: SendBody, now: float) -> Callable[[StepView], StepEdit]:
    """The decision that takes a batch's verdict into the books and acks its job."""

    def decide(view: StepView) -> StepEdit:
        books = Settlement(view, now, begun.channel)
        for (state, code, info), devices in verdict.settled.items():
            books.settle(state, devices, code=code, info=info)
        if verdict.repeats:
            books.repeat(verdict.repeats)
        if verdict.again:
            books.requeue(_follow_up(view, verdict, begun, now))
        if verdict.held:
            books.requeue(_put_off(view, verdict, begun, now))
        books.edit.devices.extend(_without_dead_tokens(view, verdict))
        return books.done()

    return decide


def _follow_up(view: StepView, verdict: Verdict, begun: SendBody, now: float) -> NewJob:
    rest = _only(begun, verdict.again)
    doubted = tuple(sorted({*rest.doubted, *verdict.repeats}))
    body = msgspec.structs.replace(rest, doubted=doubted)
    return _later(view, body, now, wait_s=verdict.again_after_s, attempt=view.job.attempt + 1)


def _put_off(view: StepView, verdict: Verdict, begun: SendBody, now: float) -> NewJob:
    """The job of devices that were not tried: pace and breaker cost them no attempt."""
    body = _only(begun, verdict.held)
    return _later(view, body, now, wait_s=verdict.held_after_s, attempt=view.job.attempt)


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
        if device is None or device.route is None or device.epoch != receipt.epoch:
            continue
        if receipt.died_at is not None and receipt.died_at < device.route_at:
            continue
        dropped.append(without_route(device))
    return dropped


def decide_give_up(now: float) -> Callable[[StepView], StepEdit]:
    """The decision on a dead letter: its devices end, in doubt if a request may have left."""

    def decide(view: StepView) -> StepEdit:
        body = view.job.body
        assert isinstance(body, SendBody | WaitBody)
        channel, doubted = "online", frozenset[int]()
        if isinstance(body, SendBody):
            channel = body.channel
            has_begun = view.job.begun_at is not None
            doubted = frozenset(body.devices if has_begun else body.doubted)
        books = Settlement(view, now, channel)
        books.settle(State.IN_DOUBT, doubted, code="-12", info="given up")
        sure = [number for number in body.devices if number not in doubted]
        books.settle(State.FAILED, sure, code="-12", info="given up")
        return books.done()

    return decide


def decide_online(now: float) -> Callable[[StepView], StepEdit]:
    """An online leg has been tried: the vendor job beside it owns the devices."""

    def decide(view: StepView) -> StepEdit:
        assert isinstance(view.job.body, OnlineBody)
        return Settlement(view, now, "online").done()

    return decide


def decide_wait(
    now: float, audience: BitMap, credentials: Container[int]
) -> Callable[[StepView], StepEdit]:
    """Look at devices that wait for a connection: acked, over, given a route, or still waiting.

    `credentials` are the enabled certificate IDs: a device that came by a route is sent to.
    """

    def decide(view: StepView) -> StepEdit:
        body = view.job.body
        assert isinstance(body, WaitBody)
        books = Settlement(view, now, "online")
        acked = [number for number in body.devices if number in view.acked]
        books.settle(State.SENT, acked)
        left = [number for number in body.devices if number not in view.acked]
        over = closes(view.task, now)
        if over is not None:
            books.settle(over, left, code="0" if over is State.RECALLED else "-2")
            return books.done()
        here = [number for number in left if _is_here(books, view, number, audience)]
        routes = {} if view.task.message.is_online_only else _routes(view, here, credentials)
        for (channel, credential), numbers in routes.items():
            for start in range(0, len(numbers), SEND_MAX):
                part = tuple(numbers[start : start + SEND_MAX])
                sent = SendBody(channel, credential, body.language, part)
                books.requeue(_send_job(view, sent, now))
        routed = {number for numbers in routes.values() for number in numbers}
        waiting = [number for number in here if number not in routed]
        if waiting:
            books.requeue(_next_look(view, body, waiting, now))
        return books.done()

    return decide


def _is_here(books: Settlement, view: StepView, number: int, audience: BitMap) -> bool:
    device = view.devices.get(number)
    if device is None or not device.is_registered:
        books.settle(State.UNREACHABLE, [number], code="-5", info="device gone")
        return False
    if not is_addressed(device, audience):
        books.settle(State.UNREACHABLE, [number], code="-6", info="moved to another account")
        return False
    return True


def _routes(
    view: StepView, numbers: Sequence[int], credentials: Container[int]
) -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for number in numbers:
        route = view.devices[number].route
        if route is not None and route.credential in credentials:
            found.setdefault((route.channel, route.credential), []).append(number)
    return found


def _send_job(view: StepView, body: SendBody, now: float) -> NewJob:
    return NewJob(
        task=view.task.number,
        queue=f"{body.channel}:{body.credential}",
        lane=view.job.lane,
        body=body,
        not_before=now,
    )


def _next_look(view: StepView, body: WaitBody, waiting: list[int], now: float) -> NewJob:
    wait_s = min(WAIT_MAX_S, max(1, view.app.ack_s) * WAIT_GROWTH**view.job.attempt)
    return NewJob(
        task=view.task.number,
        queue="wait",
        lane=view.job.lane,
        body=WaitBody(body.language, tuple(waiting), is_offered=True),
        not_before=min(now + wait_s, view.task.expires_at),
        attempt=view.job.attempt + 1,
    )
