"""Every code that a vendor may post in a receipt, from the push to the books."""

from __future__ import annotations

import pytest

from tests.sim.works import Works
from tests.unit.channels.kit import kit_of
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, report_of
from tocsin.domain.outcome import POLICIES, POSTED, Outcome
from tocsin.sandbox.faults import Rule

AnyVendor = SingleVendor | ListVendor

each_reporter = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if report_of(it)], ids=lambda vendor: vendor.NAME
)


def codes_of(vendor: AnyVendor) -> dict[str, Outcome]:
    """What each code in a receipt comes to; one that nobody has heard of stands for the rest."""
    kit = kit_of(vendor).receipts
    assert kit is not None
    rows = {code: it for (status, code), it in vendor.OUTCOMES.items() if status == POSTED}
    rows[kit.unheard_of] = rows.pop("")
    return rows


def clicks_of(vendor: AnyVendor) -> set[str]:
    """The codes that tell of a click."""
    kit, report = kit_of(vendor).receipts, report_of(vendor)
    assert kit is not None
    assert report is not None
    told = {code: report({}, kit.body(code)).receipts for code in codes_of(vendor)}
    return {code for code, receipts in told.items() if receipts[0].is_click}


@pytest.mark.evidence(
    "… from the push to the books, code by code",
    topic="Receipts",
    planted="every receipt booked as an arrival; tokens dropped by the codes that spare "
    "them; a click booked as an arrival; the code not looked at; vivo's losses read"
    " as arrivals",
)
@each_reporter
async def test_every_code_of_a_receipt_comes_into_the_books(vendor: AnyVendor) -> None:
    """One push to a device for each code; what it comes to is told, and nothing else changes."""
    codes = codes_of(vendor)
    works = await Works().open({vendor.NAME: len(codes) + 2}, with_receipts=True)
    numbers = {
        device.route.token: device.number
        for device in works.devices[vendor.NAME]
        if device.route is not None
    }
    by_code = dict(zip(codes, numbers, strict=False))
    for code, token in by_code.items():
        works.sandbox.faults.add(Rule(kind="receipt_code", token=token, code=code))
    task = await works.push()
    await works.go_on(5)
    ledger, fold = await works.ledger(task), await works.sets(task)
    assert ledger.faults == []
    assert ledger.states["sent"] == ledger.planned == len(numbers)
    assert ledger.failures == {}
    arrived = {code for code, it in codes.items() if it is Outcome.ACCEPTED}
    untouched = [number for token, number in numbers.items() if token not in by_code.values()]
    reached = {numbers[by_code[code]] for code in arrived}
    assert set(fold.reached) == reached | set(untouched)
    assert set(fold.clicked) == {numbers[by_code[code]] for code in clicks_of(vendor)}
    lost = {f"{vendor.NAME} {code}": {numbers[by_code[code]]} for code in codes.keys() - arrived}
    assert {key: set(members) for key, members in fold.undelivered.items()} == lost
    dead = {by_code[code] for code, it in codes.items() if POLICIES[it].drops_token}
    assert await works.routed(vendor.NAME) == numbers.keys() - dead
    assert works.sandbox.receipts.stats().refused == 0
