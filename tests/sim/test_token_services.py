"""A token service in trouble: as long as nobody proves us, nothing is sent and no attempt counts.

The real pipeline against the sandbox without sockets, on the manual clock.
"""

from __future__ import annotations

import pytest

from tests.sandbox_keys import keys_folder
from tests.sim.works import Works
from tests.unit.channels.kit import kit_of
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.clock import ManualClock
from tocsin.pipeline.dispatch import Pace
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

COUNT = 30
HOUR_S = 3600
OUTAGE_S = 180
WAIT_S = 700
"""What a service asks for that is asked too often."""
CALM = Pace(poll_s=30.0, extend_every_s=600.0, lease_s=1800.0)

each_with_a_service = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if kit_of(it).authority], ids=lambda vendor: vendor.NAME
)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


async def opened(sandbox: Sandbox, vendor: AnyVendor, rule: Rule | None) -> Works:
    sandbox.reset()
    assert isinstance(sandbox.clock, ManualClock)
    works = Works(pace=CALM, clock=sandbox.clock, sandbox=sandbox)
    await works.open({vendor.NAME: COUNT})
    if rule is not None:
        sandbox.faults.add(rule)
    return works


def trouble(vendor: AnyVendor, status: int, **parts: float) -> Rule:
    """The token service answers with this status; the rest of the vendor is well."""
    (path,) = kit_of(vendor).authority
    return Rule(vendor=vendor.NAME, path=path, kind="status", status=status, **parts)  # type: ignore[arg-type]


@pytest.mark.evidence(
    "while a token service is in trouble everything waits, and no attempt is counted",
    topic="Channels and sandbox",
    planted="the service's outcome booked for the devices, before a send and in the middle "
    "of one; its failures told to the breaker; the renewal's failure taken for a "
    "probe that succeeded",
)
@each_with_a_service
async def test_an_outage_of_the_token_service_is_waited_for(
    sandbox: Sandbox, vendor: AnyVendor
) -> None:
    works = await opened(sandbox, vendor, trouble(vendor, 500, until_s=OUTAGE_S))
    task = await works.push(ttl_s=HOUR_S)
    await works.go_on(OUTAGE_S, step_s=5)
    # A service that is down is asked ever more seldom, and the vendor nothing at all.
    assert 3 < works.http.requests[vendor.NAME] <= 10
    assert not [it for it in works.sandbox.log.entries() if it.token]
    assert await states(works, task) == {"open": COUNT}
    await works.go_on(OUTAGE_S + 60, step_s=5)
    assert await states(works, task) == {"sent": COUNT}


@pytest.mark.evidence(
    "while a token service is in trouble everything waits, and no attempt is counted",
)
@each_with_a_service
async def test_a_token_service_that_is_asked_too_often_is_left_alone(
    sandbox: Sandbox, vendor: AnyVendor
) -> None:
    too_fast = trouble(vendor, 429, times=1, retry_after_s=WAIT_S)
    works = await opened(sandbox, vendor, too_fast)
    task = await works.push(ttl_s=HOUR_S)
    await works.go_on(WAIT_S - 10, step_s=5)
    assert (works.http.requests[vendor.NAME], await states(works, task)) == (1, {"open": COUNT})
    await works.go_on(60, step_s=5)
    assert await states(works, task) == {"sent": COUNT}


@each_with_a_service
async def test_an_outage_that_outlasts_a_push_lets_it_expire(
    sandbox: Sandbox, vendor: AnyVendor
) -> None:
    works = await opened(sandbox, vendor, trouble(vendor, 500))
    task = await works.push(ttl_s=OUTAGE_S)
    await works.go_on(2 * OUTAGE_S, step_s=5)
    assert await states(works, task) == {"expired": COUNT}


async def states(works: Works, task: int) -> dict[str, int]:
    """Devices by state, after a look at the books."""
    ledger = await works.ledger(task)
    assert ledger.faults == []
    return {state: count for state, count in ledger.states.items() if count}
