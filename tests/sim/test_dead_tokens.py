"""Law 6 in the real pipeline, where each push goes to one account and no batch is any evidence."""

from __future__ import annotations

import pytest

from tests.sim.works import Works
from tocsin.domain.outcome import DEAD_BATCH_MIN

PUSHES = 20


@pytest.mark.evidence(
    "pushes to one account each empty no book either",
    topic="Trouble, vendor by vendor",
    planted="answers always believed; dead tokens of answers not counted, nor those beside "
    "the route; counted against receipts too",
)
@pytest.mark.parametrize("vendor", ["fcm", "huawei", "harmony"])
async def test_another_apps_credential_empties_no_book_one_push_at_a_time(vendor: str) -> None:
    """These vendors say of such a device what they say of one that is gone."""
    works = await Works().open({vendor: PUSHES})
    for token in works.sandbox.tokens(vendor, 0, PUSHES):
        works.sandbox.devices.put(vendor, token, state="other_app")
    for number in range(PUSHES):
        await works.push(accounts=(f"{vendor}-{number}",))
        await works.go_on(0.5)
    assert len(await works.routed(vendor)) == PUSHES - (DEAD_BATCH_MIN - 1)
    assert works.metrics.value("alarms", credential=f"7:{works.numbers[vendor]}") > 0


@pytest.mark.evidence("pushes to one account each empty no book either")
async def test_tokens_that_die_among_living_ones_are_dropped_one_push_at_a_time() -> None:
    works = await Works().open({"fcm": PUSHES})
    dead = works.sandbox.tokens("fcm", 0, PUSHES)[4::7]
    for token in dead:
        works.sandbox.devices.put("fcm", token, state="dead")
    for number in range(PUSHES):
        await works.push(accounts=(f"fcm-{number}",))
        await works.go_on(0.5)
    assert len(await works.routed("fcm")) == PUSHES - len(dead)
