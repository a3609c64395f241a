"""The gate has the last word, also about requests that wait in the client for a stream."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.channels.kit import OpenGate, ScriptedHttp, batch, driver
from tocsin.channels.vendors import apns
from tocsin.clock import ManualClock
from tocsin.conversation import Batch, Request, Response
from tocsin.domain.outcome import Outcome

OK = Response(200)


class ClosingGate(OpenGate):
    """Once closed, it refuses what asks anew."""

    async def may_begin(self, batch: Batch) -> Outcome | None:
        return None if self.is_open else Outcome.RECALLED


async def test_a_request_asks_the_gate_again_as_it_goes_onto_the_wire() -> None:
    """It may have waited for a stream: the client asks, and a closed gate makes it no request."""
    gate = OpenGate()
    gate.is_open = False
    http = ScriptedHttp(lambda _: OK)
    receipts = await driver(apns, http).deliver(batch(3), gate)
    assert {receipt.outcome for receipt in receipts} == {Outcome.HELD}
    assert http.requests == []


@pytest.mark.evidence(
    "a request that waits for a stream begins only if the gate is still open",
    topic="The laws",
    planted="as it stood before: 83 of 200 requests began up to nine seconds after a recall",
)
async def test_what_a_library_may_still_hold_is_given_up_when_the_gate_closes(
    clock: ManualClock,
) -> None:
    """Law 5: behind a stream limit a request that was handed over begins only later."""
    held: list[asyncio.Future[Response]] = []

    async def hold(_: Request) -> Response:
        held.append(asyncio.get_running_loop().create_future())
        return await held[-1]

    gate = ClosingGate()
    one = driver(apns, ScriptedHttp(hold), clock=clock)
    delivering = asyncio.create_task(one.deliver(batch(3), gate))
    await clock.advance(5)
    assert not delivering.done()
    gate.is_open = False
    await clock.advance(0.5)
    receipts = await delivering
    assert [receipt.outcome for receipt in receipts] == [Outcome.UNKNOWN] * 3
    assert all(waiting.cancelled() for waiting in held)


@pytest.mark.evidence(
    "when the drain ends, only what has no answer is in doubt",
    topic="The laws",
    planted="answers awaited for ever",
)
async def test_a_stop_awaits_answers_and_then_gives_up_those_that_are_missing(
    clock: ManualClock,
) -> None:
    waiting: list[asyncio.Future[Response]] = []

    async def wait(_: Request) -> Response:
        waiting.append(asyncio.get_running_loop().create_future())
        return await waiting[-1]

    gate = ClosingGate()
    one = driver(apns, ScriptedHttp(wait), clock=clock)
    delivering = asyncio.create_task(one.deliver(batch(3), gate))
    await clock.advance(1)
    gate.is_open, gate.awaits_answers = False, True
    await clock.advance(5)
    assert not any(answer.cancelled() for answer in waiting)
    waiting[0].set_result(OK)
    await clock.advance(1)
    gate.awaits_answers = False
    await clock.advance(0.5)
    outcomes = [receipt.outcome for receipt in await delivering]
    assert outcomes == [Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.UNKNOWN]
