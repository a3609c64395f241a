"""Credentials that send test messages only, of which a vendor may take fewer devices at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.works import Works
from tests.unit.channels.kit import settings_of
from tocsin.channels.registry import VENDORS, ListVendor, devices_max_of, takes_lists
from tocsin.domain.books import Ledger

COUNT = 25

with_tests = pytest.mark.parametrize(
    "vendor",
    [it for it in VENDORS if takes_lists(it) and "target_user" in it.Settings.__struct_fields__],
    ids=lambda vendor: vendor.NAME,
)


async def pushed(vendor: ListVendor, target_user: str) -> tuple[Ledger, int]:
    """What came of a push, and how many requests it took."""
    changed: dict[str, dict[str, Any]] = {vendor.NAME: {"target_user": target_user}}
    works = await Works().open({vendor.NAME: COUNT}, changed=changed)
    task = await works.push()
    await works.go_on(3)
    requests = {it.request for it in works.sandbox.log.entries() if it.token}
    return await works.ledger(task), len(requests)


@pytest.mark.evidence(
    "test messages reach every device, in lists as long as the vendor lets them be",
    topic="Channels and sandbox",
    planted="the settings not asked; eleven devices in one of HarmonyOS's; ten in each of "
    "its lists",
)
@with_tests
@pytest.mark.parametrize("target_user", ["formal", "test"])
async def test_test_messages_reach_everybody_in_as_few_lists_as_the_vendor_lets_them(
    vendor: ListVendor, target_user: str
) -> None:
    ledger, requests = await pushed(vendor, target_user)
    assert (ledger.faults, ledger.failures, ledger.states["sent"]) == ([], {}, COUNT)
    is_split = (vendor.NAME, target_user) == ("harmony", "test")
    assert requests == (3 if is_split else 1)


@pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if takes_lists(it)], ids=lambda vendor: vendor.NAME
)
def test_settings_only_lower_what_a_call_takes(vendor: ListVendor) -> None:
    assert 1 <= devices_max_of(vendor, settings_of(vendor)) <= vendor.LIMITS.devices_max
