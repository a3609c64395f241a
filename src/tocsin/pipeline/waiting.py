"""Waiting: devices that nothing can reach now, and the online leg beside a vendor's job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from tocsin.domain.device import is_addressed
from tocsin.domain.message import next_badge
from tocsin.domain.outcome import State
from tocsin.domain.plan import ChannelFacts
from tocsin.domain.retry import grown_s
from tocsin.domain.task import (
    RESTORED,
    NewJob,
    OnlineBody,
    SendBody,
    StepEdit,
    StepView,
    WaitBody,
    closes,
)
from tocsin.pipeline.begin import Settlement

SEND_MAX = 200
"""Devices in a send job made here; every channel's batch holds as many."""
WAIT_GROWTH = 1.5
WAIT_MAX_S = 60.0
"""Longest time between two looks at devices that wait for a connection."""


def decide_online(now: float) -> Callable[[StepView], StepEdit]:
    """An online leg has been tried: the vendor job beside it owns the devices."""

    def decide(view: StepView) -> StepEdit:
        assert isinstance(view.job.body, OnlineBody)
        return Settlement(view, now, "online").done()

    return decide


def decide_wait(
    now: float, audience: BitMap, credentials: Mapping[int, ChannelFacts]
) -> Callable[[StepView], StepEdit]:
    """Look at devices that wait for a connection: acked, over, given a route, or still waiting.

    `credentials` are the enabled ones: a device that came by a route is planned for it, badge and
    all.
    """

    def decide(view: StepView) -> StepEdit:
        body = view.job.body
        assert isinstance(body, WaitBody)
        settlement = Settlement(view, now, "online")
        acked = [number for number in body.devices if number in view.acked]
        settlement.settle(State.SENT, acked)
        left = [number for number in body.devices if number not in view.acked]
        over = closes(view.task, now)
        if over is not None:
            _settle_over(settlement, view, over, left)
            return settlement.done()
        here = [number for number in left if _is_here(settlement, view, number, audience)]
        routed = {} if view.task.message.is_online_only else _routed(view, here, credentials)
        _hand_over(settlement, view, body.language, routed, now)
        waiting = [number for number in here if number not in routed]
        if waiting:
            settlement.requeue(_next_look(view, body, waiting, now))
        return settlement.done()

    return decide


def _settle_over(
    settlement: Settlement, view: StepView, over: State, devices: Sequence[int]
) -> None:
    if over is State.EXPIRED and view.task.restored == "settled":
        settlement.settle(over, devices, code=RESTORED[0], info=RESTORED[1])
    else:
        settlement.settle(over, devices, code="0" if over is State.RECALLED else "-2")


def _is_here(settlement: Settlement, view: StepView, number: int, audience: BitMap) -> bool:
    device = view.devices.get(number)
    if device is None or not device.is_registered:
        settlement.settle(State.UNREACHABLE, [number], code="-5", info="device gone")
        return False
    if not is_addressed(device, audience):
        settlement.settle(State.UNREACHABLE, [number], code="-6", info="moved to another account")
        return False
    return True


def _routed(
    view: StepView, numbers: Sequence[int], credentials: Mapping[int, ChannelFacts]
) -> dict[int, ChannelFacts]:
    """Those devices that have come by a route that is in use."""
    found: dict[int, ChannelFacts] = {}
    for number in numbers:
        route = view.devices[number].route
        facts = credentials.get(route.credential) if route is not None else None
        if facts is not None:
            found[number] = facts
    return found


def _hand_over(
    settlement: Settlement,
    view: StepView,
    language: int,
    routed: Mapping[int, ChannelFacts],
    now: float,
) -> None:
    """Queue send jobs for devices with a route; a badge is counted here as fanout would."""
    parts: dict[tuple[str, int, bool], tuple[list[int], list[int]]] = {}
    for number, facts in routed.items():
        device = view.devices[number]
        assert device.route is not None
        badge = next_badge(view.task.message, device.badge) if facts.counts_badge_here else None
        if badge is not None and badge != device.badge:
            settlement.edit.devices.append(msgspec.structs.replace(device, badge=badge))
        key = (facts.channel, device.route.credential, badge is not None)
        numbers, badges = parts.setdefault(key, ([], []))
        numbers.append(number)
        if badge is not None:
            badges.append(badge)
    for (channel, credential, _), (numbers, badges) in parts.items():
        for start in range(0, len(numbers), SEND_MAX):
            end = start + SEND_MAX
            some, theirs = tuple(numbers[start:end]), tuple(badges[start:end])
            body = SendBody(channel, credential, language, some, theirs)
            settlement.requeue(_send_job(view, body, now))


def _send_job(view: StepView, body: SendBody, now: float) -> NewJob:
    return NewJob(
        task=view.task.number,
        queue=f"{body.channel}:{body.credential}",
        lane=view.job.lane,
        body=body,
        not_before=now,
    )


def _next_look(view: StepView, body: WaitBody, waiting: list[int], now: float) -> NewJob:
    first_s = max(1, view.app.ack_s)
    wait_s = grown_s(first_s, WAIT_MAX_S, view.job.attempt, growth=WAIT_GROWTH)
    return NewJob(
        task=view.task.number,
        queue="wait",
        lane=view.job.lane,
        body=WaitBody(body.language, tuple(waiting), is_offered=True),
        not_before=min(now + wait_s, view.task.expires_at),
        attempt=view.job.attempt + 1,
    )
