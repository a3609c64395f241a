"""What follows a batch: who is tried again, who was not tried, who may not be tried elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from pyroaring import BitMap

from tocsin.domain.app import App
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.device import Device, Route
from tocsin.domain.message import NO_SOUND, Message
from tocsin.domain.outcome import BatchReceipts, Outcome, Past, Receipt, State
from tocsin.domain.task import Block, Handle, Job, Lane, SendBody, StepView, Task, WaitBody
from tocsin.pipeline.begin import BegunJob, batch_of, decide_begin
from tocsin.pipeline.settle import decide_settle, handles_of, judge_batch
from tocsin.pipeline.waiting import WAIT_MAX_S, _next_look

NOW = 1_767_225_600.0
SENT = SendBody("apns", 1, -1, (1, 2, 3))
ROUTE = Route("apns", 1, "token")


def begun() -> BegunJob:
    return BegunJob(view().task, SENT, ())


def view(*devices: Device, begun_at: float | None = NOW - 60, attempt: int = 0) -> StepView:
    task = Task(
        app=7,
        number=1,
        task_id="t",
        kind="push",
        sender="admin",
        message=Message(title="t"),
        ttl_s=3600,
        expires_at=NOW + 3600,
    )
    job = Job(
        app=7,
        number=3,
        task=1,
        queue="apns:1",
        lane=Lane.BULK,
        body=SENT,
        begun_at=begun_at,
        attempt=attempt,
    )
    known = {device.number: device for device in devices}
    app = App(sdkappid=7, key=b"", appkey=b"", admins=("admin",))
    return StepView(app, task, job, devices=known)


def test_who_was_not_tried_loses_no_attempt_and_waits_for_nobody_who_was() -> None:
    """A paced credential puts most of a batch off many times before its turn comes."""
    receipts = [
        Receipt(device=1, outcome=Outcome.HELD, retry_after_s=0.5),
        Receipt(device=2, outcome=Outcome.SERVER_ERROR, code="503"),
        Receipt(device=3, outcome=Outcome.THROTTLED, code="429", retry_after_s=600.0),
    ]
    verdict = judge_batch(receipts, begun(), number=2, now=NOW, fraction=0.5, repeat_replaces=True)
    edit = decide_settle(verdict, SENT, NOW)(view(attempt=2))
    bodies = {job.body.devices: job for job in edit.jobs if isinstance(job.body, SendBody)}
    assert bodies.keys() == {(1,), (2,), (3,)}
    assert (bodies[1,].attempt, bodies[1,].not_before) == (2, NOW + 0.5)
    # It waits for a server that fails for the first time.
    assert (bodies[2,].attempt, bodies[2,].not_before) == (1, NOW + 0.25)
    assert (bodies[3,].attempt, bodies[3,].not_before) == (1, NOW + 600.0)


@pytest.mark.evidence("one device's quota or wait holds back nobody else")
def test_each_follow_up_knows_its_own_who_may_have_been_reached() -> None:
    receipts = [
        Receipt(device=1, outcome=Outcome.UNKNOWN, code="-8"),
        Receipt(device=2, outcome=Outcome.UNKNOWN, code="-8", retry_after_s=600.0),
        Receipt(device=3, outcome=Outcome.THROTTLED, code="429", retry_after_s=600.0),
    ]
    verdict = judge_batch(receipts, begun(), number=0, now=NOW, fraction=0.5, repeat_replaces=True)
    edit = decide_settle(verdict, SENT, NOW)(view())
    bodies = [job.body for job in edit.jobs if isinstance(job.body, SendBody)]
    assert {it.devices: it.doubted for it in bodies} == {(1,): (1,), (2,): (2,), (3,): ()}
    assert [it.past.doubts for it in bodies] == [1, 1, 0]


@pytest.mark.evidence(
    "what has no place to begin goes on by itself",
    topic="A push outlives every outage",
    planted="the rest of a job forgotten; parts as long as what is free; the pace left out",
)
def test_what_has_no_place_to_begin_goes_on_in_a_job_of_its_own() -> None:
    """At the old place in its queue, and knowing whom an earlier attempt may have reached."""
    devices = [
        Device(number=number, registration_id=f"R{number}", account=number, route=ROUTE)
        for number in SENT.devices
    ]
    body = msgspec.structs.replace(SENT, doubted=(2, 3), past=Past(doubts=1), badges=(7, 8, 9))
    seen = view(*devices, begun_at=None, attempt=2)
    seen = msgspec.structs.replace(
        seen, job=msgspec.structs.replace(seen.job, body=body, not_before=NOW - 5)
    )
    decide = decide_begin(NOW, BitMap(SENT.devices), repeat_replaces=lambda _: True, count_max=2)
    edit = decide(seen)
    assert isinstance(edit.result, BegunJob)
    assert (edit.result.body.devices, edit.result.body.doubted) == ((1, 2), (2,))
    assert [device.number for device in edit.result.devices] == [1, 2]
    (job,) = edit.jobs
    assert isinstance(job.body, SendBody)
    assert (job.body.devices, job.body.doubted, job.body.badges) == ((3,), (3,), (9,))
    assert (job.body.past, job.not_before, job.attempt) == (Past(doubts=1), NOW - 5, 2)
    assert (job.queue, job.lane) == (seen.job.queue, seen.job.lane)


@pytest.mark.evidence("what expires tells the last reason")
def test_what_has_expired_tells_the_last_reason_and_what_was_recalled_none() -> None:
    past = Past(cause=Outcome.SERVER_ERROR, code="503", info="busy")
    late = msgspec.structs.replace(SENT, past=past)
    for change, code, info in (
        ({"expires_at": NOW - 1}, "503", "busy"),
        ({"recalled_at": NOW - 1}, "0", ""),
    ):
        seen = view(begun_at=None)
        seen = msgspec.structs.replace(
            seen,
            task=msgspec.structs.replace(seen.task, **change),
            job=msgspec.structs.replace(seen.job, body=late),
        )
        edit = decide_begin(NOW, BitMap(), repeat_replaces=lambda _: True)(seen)
        assert [(block.code, block.info) for block in edit.blocks] == [(code, info)]


def test_a_job_that_lapsed_too_often_is_in_doubt() -> None:
    """Each lapse may have shown its devices another copy."""
    devices = [
        Device(number=number, registration_id=f"R{number}", account=number, route=ROUTE)
        for number in SENT.devices
    ]
    decide = decide_begin(NOW, BitMap(SENT.devices), repeat_replaces=lambda _: True)
    for doubts, is_over in ((3, False), (4, True)):
        seen = view(*devices, begun_at=NOW - 600)
        body = msgspec.structs.replace(SENT, past=Past(doubts=doubts))
        seen = msgspec.structs.replace(seen, job=msgspec.structs.replace(seen.job, body=body))
        edit = decide(seen)
        assert edit.is_done is is_over
        if not is_over:
            assert isinstance(edit.body, SendBody)
            assert (edit.body.doubted, edit.body.past.doubts) == (SENT.devices, doubts + 1)
            assert edit.body.past.doubted_at == NOW - 600


@pytest.mark.evidence(
    "… also where crashes interrupt the repeats",
    topic="A push outlives every outage",
    planted="the next repeat at once",
)
def test_a_repeat_that_a_crash_interrupted_is_followed_by_one_in_its_time() -> None:
    """Two crashes within a second are no reason to show the push three times within a second."""
    devices = [
        Device(number=number, registration_id=f"R{number}", account=number, route=ROUTE)
        for number in SENT.devices
    ]
    decide = decide_begin(NOW, BitMap(SENT.devices), repeat_replaces=lambda _: True)
    for doubts, wait_s in ((0, 0), (1, 30), (2, 120), (3, 600)):
        seen = view(*devices, begun_at=NOW - 1)
        body = msgspec.structs.replace(SENT, past=Past(doubts=doubts))
        seen = msgspec.structs.replace(seen, job=msgspec.structs.replace(seen.job, body=body))
        edit = decide(seen)
        assert edit.is_done is (wait_s > 0)
        for job in edit.jobs:
            assert isinstance(job.body, SendBody)
            assert job.not_before == NOW - 1 + wait_s
            assert (job.body.doubted, job.body.past.doubts) == (SENT.devices, doubts + 1)
        assert len(edit.jobs) == (wait_s > 0)


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
def test_who_may_have_been_reached_stands_in_the_books_while_the_repeat_waits() -> None:
    """They may report before it begins, and their report counts for a leg that has begun."""
    receipts = [
        Receipt(device=1, outcome=Outcome.UNKNOWN, code="-8"),
        Receipt(device=2, outcome=Outcome.UNKNOWN, code="-8", retry_after_s=600.0),
        Receipt(device=3, outcome=Outcome.THROTTLED, code="429", retry_after_s=600.0),
    ]
    verdict = judge_batch(receipts, begun(), number=0, now=NOW, fraction=0.5, repeat_replaces=True)
    edit = decide_settle(verdict, SENT, NOW)(view())
    doubted = [it for it in edit.blocks if it.kind == "doubted"]
    assert [(it.channel, members(it)) for it in doubted] == [("apns", {1, 2})]


@pytest.mark.parametrize("route", [None, Route("fcm", 2, "another")])
def test_who_may_have_been_reached_is_not_tried_by_another_way(route: Route | None) -> None:
    """Nothing there replaces the first copy, and no book would tell of a second one."""
    devices = [
        Device(number=number, registration_id=f"R{number}", account=number, route=route)
        for number in SENT.devices
    ]
    decide = decide_begin(NOW, BitMap(SENT.devices), repeat_replaces=lambda _: True)
    edit = decide(view(*devices))
    assert edit.jobs == []
    assert [(block.state, members(block)) for block in edit.blocks] == [
        (State.IN_DOUBT, set(SENT.devices))
    ]


@pytest.mark.parametrize("route", [None, Route("fcm", 2, "another")])
def test_an_overwrite_looks_for_no_other_way(route: Route | None) -> None:
    """What it is to take back went the way that is closed; waiting for another shows nothing."""
    devices = [
        Device(number=number, registration_id=f"R{number}", account=number, route=route)
        for number in SENT.devices
    ]
    seen = view(*devices, begun_at=None)
    seen = msgspec.structs.replace(
        seen, task=msgspec.structs.replace(seen.task, kind="overwrite", overwrites=9)
    )
    edit = decide_begin(NOW, BitMap(SENT.devices), repeat_replaces=lambda _: True)(seen)
    assert edit.jobs == []
    assert [(block.state, members(block)) for block in edit.blocks] == [
        (State.UNREACHABLE, set(SENT.devices))
    ]


@pytest.mark.evidence(
    "a repeat is silent",
    topic="A push outlives every outage",
    planted="one saved text for both",
)
@pytest.mark.parametrize("doubted", [(), SENT.devices])
def test_a_repeat_of_what_may_have_been_shown_is_silent(doubted: tuple[int, ...]) -> None:
    devices = tuple(
        Device(number=number, registration_id=f"R{number}", account=number, route=ROUTE)
        for number in SENT.devices
    )
    body = msgspec.structs.replace(SENT, doubted=doubted, past=Past(doubted_at=NOW))
    given = BegunJob(view().task, body, devices)
    batch = batch_of(given, 3, bytes(32), NOW, mark=CollapseMark(bytes(16)))
    parts = [(it.message.android, it.message.apple, it.message.harmony) for it in batch.deliveries]
    sounds = {part.sound for found in parts for part in found}
    assert sounds == ({NO_SOUND} if doubted else {""})
    assert batch.doubted_at == (NOW if doubted else None)


def members(block: Block) -> set[int]:
    return set(BitMap.deserialize(block.members))


@pytest.mark.evidence("what lasts for a week is still tried, and absurd headers are no answer")
def test_who_has_waited_for_days_is_still_looked_at() -> None:
    later = _next_look(view(attempt=10_000), WaitBody(-1, (1,)), [1], NOW)
    assert NOW < later.not_before <= NOW + WAIT_MAX_S


class Columns(BatchReceipts):
    """Receipts that nobody may look at one by one."""

    def __iter__(self) -> Iterator[Receipt]:
        raise AssertionError("a receipt was made for each device")


def test_a_list_is_settled_without_a_receipt_for_each_device() -> None:
    refused = Receipt(device=2, outcome=Outcome.TOKEN_DEAD, epoch=1, handle="m2")
    taken = Receipt(device=0, outcome=Outcome.ACCEPTED)
    receipts = Columns(SENT.devices, (1, 1, 1), taken, {1: refused})
    verdict = judge_batch(receipts, begun(), number=0, now=NOW, fraction=0.5, repeat_replaces=True)
    assert verdict.settled[State.SENT, "0", ""] == BitMap([1, 3])
    assert verdict.dead == [refused]
    assert handles_of(begun(), receipts) == [Handle(2, "m2")]
