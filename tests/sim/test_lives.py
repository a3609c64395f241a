"""A phone that is off is shown a push when it comes back, and never after the push has ended.

The real pipeline against the sandbox without sockets: a list that a vendor puts off goes out late
in the life of its push, and the sandbox tells until when it keeps it for a phone.
"""

from __future__ import annotations

import pytest

from tests.contract.test_savers import SAVERS
from tests.sandbox_keys import keys_folder
from tests.sim.works import Works
from tocsin.channels.lists import PREPARED_LIFE_S
from tocsin.channels.registry import VENDORS, ListVendor, takes_lists
from tocsin.clock import ManualClock
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.pipeline.dispatch import Pace
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

COUNT = 3
HOUR_S = 3600
MORNING = 8
CALM = Pace(poll_s=30.0, extend_every_s=600.0, lease_s=1800.0)
STEP_S = 5
GRAIN_S = {"meizu": HOUR_S}
"""What a vendor counts lives in; the last part is rounded up."""

each_list = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if takes_lists(it)], ids=lambda vendor: vendor.NAME
)
each_saver = pytest.mark.parametrize("vendor", SAVERS, ids=lambda vendor: vendor.NAME)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


async def opened(sandbox: Sandbox, vendor: ListVendor) -> Works:
    """In the morning, with phones that are off."""
    sandbox.reset()
    assert isinstance(sandbox.clock, ManualClock)
    works = Works(pace=CALM, clock=sandbox.clock, sandbox=sandbox)
    await works.clock.advance(until_hour_s(MORNING, works.clock.now(), CHINA_S))
    await works.open({vendor.NAME: COUNT})
    for token in sandbox.tokens(vendor.NAME, 0, COUNT):
        sandbox.devices.put(vendor.NAME, token, "off")
    return works


def kept_until(works: Works, vendor: ListVendor) -> list[float]:
    """Until when the vendor keeps what waits for each phone."""
    devices = works.sandbox.devices.all_of(vendor.NAME)
    return [ends_at or 0.0 for it in devices for _, ends_at in it.held]


@pytest.mark.evidence(
    "a list that goes late is kept for no phone longer than its push lives, but for the "
    "minute that a saved text is used",
    topic="Vendors",
    planted="a text used for half an hour; saved anew under the name of the old one",
)
@each_list
@pytest.mark.parametrize(("ttl_s", "late_s"), [(HOUR_S, 1700), (24 * HOUR_S, 14 * HOUR_S)])
async def test_a_list_that_goes_late_is_kept_no_longer_than_the_push_lives(
    sandbox: Sandbox, vendor: ListVendor, ttl_s: int, late_s: int
) -> None:
    works = await opened(sandbox, vendor)
    # Only what names a device: what is saved first is saved at once.
    late = Rule(
        vendor=vendor.NAME, token="?*", kind="status", status=429, retry_after_s=late_s, times=1
    )
    sandbox.faults.add(late)
    ends_at = works.clock.now() + ttl_s
    task = await works.push(ttl_s=ttl_s)
    await works.go_on(late_s, step_s=late_s / 100)
    assert kept_until(works, vendor) == []
    await works.go_on(120, step_s=STEP_S)
    assert (await works.ledger(task)).states["sent"] == COUNT
    kept = kept_until(works, vendor)
    assert len(kept) == COUNT
    assert min(kept) >= ends_at - STEP_S
    assert max(kept) < ends_at + GRAIN_S.get(vendor.NAME, 1)


@pytest.mark.evidence(
    "a list that goes late is kept for no phone longer than its push lives, but for the "
    "minute that a saved text is used",
)
@each_saver
async def test_a_saved_text_outlives_its_push_by_a_minute_at_most(
    sandbox: Sandbox, vendor: ListVendor
) -> None:
    """Two lists within the minute share one, and that is all that it may cost."""
    works = await opened(sandbox, vendor)
    late_s = PREPARED_LIFE_S - 2 * STEP_S
    late = Rule(
        vendor=vendor.NAME,
        token="?*",
        kind="status",
        status=429,
        retry_after_s=round(late_s),
        times=1,
    )
    sandbox.faults.add(late)
    ends_at = works.clock.now() + HOUR_S
    await works.push(ttl_s=HOUR_S)
    await works.go_on(PREPARED_LIFE_S, step_s=1)
    kept = kept_until(works, vendor)
    assert len(kept) == COUNT
    assert max(kept) <= ends_at + PREPARED_LIFE_S
    assert PREPARED_LIFE_S <= 60
