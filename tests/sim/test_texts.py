"""A push with just one of title and text, or with none, at the sandbox of every vendor."""

from __future__ import annotations

import pytest

from tests.sim.works import Works
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.clock import ManualClock
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.domain.stats import Ledger
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

COUNTS = (1, 3)
"""Alone, and in a list where the vendor has lists."""
MORNING = 8

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1), ManualClock())


async def opened(sandbox: Sandbox, vendor: AnyVendor, count: int) -> Works:
    sandbox.reset()
    assert isinstance(sandbox.clock, ManualClock)
    works = Works(clock=sandbox.clock, sandbox=sandbox)
    return await works.open({vendor.NAME: count})


async def pushed(works: Works, title: str, desc: str) -> Ledger:
    """What came of a push on the next morning: a day has quotas, and vivo sleeps at night."""
    await works.clock.advance(until_hour_s(MORNING, works.clock.now(), CHINA_S))
    task = await works.push(title=title, desc=desc)
    await works.go_on(2)
    ledger = await works.ledger(task)
    assert ledger.faults == []
    return ledger


@each_vendor
@pytest.mark.parametrize("count", COUNTS)
async def test_one_text_is_enough(sandbox: Sandbox, vendor: AnyVendor, count: int) -> None:
    works = await opened(sandbox, vendor, count)
    for title, desc in (("Ring", ""), ("", "Ring"), ("Ring", " "), (" ", "Ring")):
        ledger = await pushed(works, title, desc)
        assert (ledger.failures, ledger.states["sent"]) == ({}, count)
        for device in sandbox.devices.all_of(vendor.NAME):
            latest = max(device.shown.values(), key=lambda it: it.at)
            assert works.clock.now() - latest.at < 3
            assert "Ring" in {latest.title, latest.body} <= {"Ring", title, desc}


@each_vendor
@pytest.mark.parametrize("count", COUNTS)
async def test_a_push_without_any_wakes_the_app_or_is_not_sent_at_all(
    sandbox: Sandbox, vendor: AnyVendor, count: int
) -> None:
    works = await opened(sandbox, vendor, count)
    for blank in ("", " "):
        ledger = await pushed(works, blank, blank)
        told = {*ledger.failures, *(it for it, many in ledger.states.items() if many)}
        asked = [it for it in sandbox.log.entries() if it.token]
        assert told == ({"sent"} if asked else {"failed", f"{vendor.NAME} -13 nothing to show"})
        assert not [it for it in asked if not it.accepted]
