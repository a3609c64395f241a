"""Every vendor at its worst, over real sockets: one suite over the registry.

What each fault means is one table: a list vendor says in its body whom it took, a single vendor in
its status. Beside the expected outcome, `Scene` holds each receipt against the vendor's log.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.channels.kit import kit_of
from tests.wire.scene import Scene, scene
from tocsin.channels.registry import VENDORS, find, takes_lists
from tocsin.domain.outcome import Outcome

each_vendor = pytest.mark.parametrize("vendor", [vendor.NAME for vendor in VENDORS])

LISTS = {vendor.NAME: takes_lists(vendor) for vendor in VENDORS}

TOLD = {vendor.NAME: kit_of(vendor).sandbox for vendor in VENDORS}
WRONG = {vendor.NAME: kit_of(vendor).wrong for vendor in VENDORS if kit_of(vendor).wrong}

FAULTS: dict[str, tuple[dict[str, Any], Outcome, Outcome]] = {
    # kind: what a single push comes to, what a list does
    "html_page": ({}, Outcome.SERVER_ERROR, Outcome.SERVER_ERROR),
    "status": ({"status": 500}, Outcome.SERVER_ERROR, Outcome.SERVER_ERROR),
    "truncated": ({}, Outcome.ACCEPTED, Outcome.UNKNOWN),
    "wrong_content_type": ({}, Outcome.ACCEPTED, Outcome.ACCEPTED),
    "slow_first_byte": ({"delay_s": 0.1}, Outcome.ACCEPTED, Outcome.ACCEPTED),
    "slow_body": ({"delay_s": 0.1}, Outcome.ACCEPTED, Outcome.ACCEPTED),
    "reset_before": ({}, Outcome.UNKNOWN, Outcome.UNKNOWN),
    "reset_after": ({}, Outcome.UNKNOWN, Outcome.UNKNOWN),
    "never": ({}, Outcome.UNKNOWN, Outcome.UNKNOWN),
}


DEADLINES = {"never": 1.0}
"""Faults that only the deadline ends. Others must not meet one, however slow the machine is."""

LATER = frozenset(
    (Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.UNSENT, Outcome.SERVER_ERROR, Outcome.HELD)
)
"""What pushes may come to after the very first request, a token's maybe, went wrong: a token
service that failed is left alone for a while, and who waits for it is held."""


async def primed(it: Scene) -> None:
    """After two devices it has its authority, and what is saved once is saved."""
    assert await it.send(range(1000, 1002)) == {Outcome.ACCEPTED: 2}


@pytest.mark.evidence(
    "truncated JSON, HTML, wrong types, slow bodies, resets before and after: each is told "
    "as what it is, nobody twice",
    topic="Trouble, vendor by vendor",
    planted="vivo's unreadable 200 taken as accepted, or as not taken",
)
@each_vendor
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_of_the_wire_is_told_as_what_it_is(vendor: str, kind: str) -> None:
    shape, single, listed = FAULTS[kind]
    outcome, count = (listed, 4) if LISTS[vendor] else (single, 1)
    async with scene(vendor, TOLD[vendor]) as it:
        await primed(it)
        it.fault(kind=kind, times=1, **shape)
        with it.deadline(DEADLINES.get(kind)):
            assert await it.send(range(count)) == {outcome: count}
        assert await it.send(range(4, 8)) == {Outcome.ACCEPTED: 4}


@pytest.mark.evidence(
    "truncated JSON, HTML, wrong types, slow bodies, resets before and after: each is told "
    "as what it is, nobody twice",
)
@each_vendor
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_of_the_first_request_doubles_nothing(vendor: str, kind: str) -> None:
    async with scene(vendor, TOLD[vendor]) as it:
        it.fault(kind=kind, times=1, **FAULTS[kind][0])
        with it.deadline(DEADLINES.get(kind)):
            for numbers in (range(4), range(4, 8)):
                assert set(await it.send(numbers)) <= LATER


@each_vendor
async def test_a_vendor_that_asks_for_a_pause_is_told_apart(vendor: str) -> None:
    async with scene(vendor, TOLD[vendor]) as it:
        await primed(it)
        it.fault(kind="status", status=429, retry_after_s=7, times=1)
        receipts = await it.receipts(range(1))
        assert [(one.outcome, one.retry_after_s) for one in receipts] == [(Outcome.THROTTLED, 7)]


@each_vendor
async def test_a_server_that_is_not_there_has_taken_nothing(vendor: str) -> None:
    """Where its token service is not there either, nothing is even tried."""
    file = find(vendor)
    assert file is not None
    outcome = Outcome.HELD if kit_of(file).authority else Outcome.UNSENT
    async with scene(vendor, TOLD[vendor]) as it:
        await it.sandbox.listeners[vendor].pause()
        assert await it.send(range(5)) == {outcome: 5}


@pytest.mark.evidence(
    "a wrong credential stops its channel",
    topic="Trouble, vendor by vendor",
    planted="the breaker not told",
)
@pytest.mark.parametrize("vendor", WRONG)
async def test_a_wrong_credential_stops_the_channel(vendor: str) -> None:
    async with scene(vendor, TOLD[vendor], settings=WRONG[vendor]) as it:
        got = await it.send(range(20))
        assert got[Outcome.CREDENTIALS_WRONG] > 0
        assert set(got) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
        assert it.driver.room(it.sandbox.clock.now()) == 0


@pytest.mark.evidence(
    "a batch that looks mostly dead by codes that a wrong credential yields, too, deletes nothing",
)
@each_vendor
async def test_every_dead_token_is_named(vendor: str) -> None:
    async with scene(vendor, TOLD[vendor]) as it:
        for number in range(60):
            it.put(number, "dead")
        # Of a list of which nobody is taken it is not known whether it is another app's.
        is_list = vendor not in ("apns", "fcm", "webpush")
        outcome = Outcome.TOKEN_MISMATCH if is_list else Outcome.TOKEN_DEAD
        assert await it.send(range(60)) == {outcome: 60}
        it.put(0, "live")
        assert await it.send(range(60)) == {Outcome.ACCEPTED: 1, Outcome.TOKEN_DEAD: 59}
