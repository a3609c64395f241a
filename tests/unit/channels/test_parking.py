"""What a vendor will not take yet: quotas of the day, closed hours, and pauses that it names."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import (
    NOW,
    OpenGate,
    ScriptedHttp,
    delivery,
    driver,
    given,
    heard,
    kit_of,
    refusal,
)
from tocsin.channels.registry import VENDORS, takes_lists
from tocsin.channels.vendors import huawei, meizu, vivo, xiaomi
from tocsin.clock import ManualClock
from tocsin.conversation import Batch, Request, Response
from tocsin.domain.outcome import POSTED, Outcome, Receipt
from tocsin.domain.retry import CHINA_S, until_hour_s

HOUR_S = 3600.0
MIDNIGHT_S = 16 * HOUR_S
"""`NOW` is eight o'clock in the morning in China."""


def other_task(vendor: Any, count: int = 3) -> Batch:
    return msgspec.structs.replace(given(vendor, count), task=2)


class Scene:
    """A credential whose vendor says no until it is told otherwise."""

    def __init__(self, vendor: Any, no: Response) -> None:
        self.vendor = vendor
        self.clock = ManualClock(NOW)
        self.answer: Response = no
        self.http = ScriptedHttp(self._answer)
        self.driver = driver(vendor, self.http, clock=self.clock)

    def _answer(self, _: Request) -> Response:
        return self.answer

    async def send(self, what: Batch | None = None) -> Receipt:
        """The receipt that all devices of a list have alike."""
        given_batch = given(self.vendor, 3) if what is None else what
        receipts = await self.driver.deliver(given_batch, OpenGate())
        first = receipts[0]
        alike = {msgspec.structs.replace(it, device=0) for it in receipts}
        assert alike == {msgspec.structs.replace(first, device=0)}
        return first

    async def asked(self, what: Batch | None = None) -> bool:
        """Whether the vendor heard of a list at all."""
        before = len(self.http.requests)
        await self.send(what)
        return len(self.http.requests) > before


LISTS = [vendor for vendor in VENDORS if takes_lists(vendor)]

QUOTAS = [
    pytest.param(vendor, status, reason, id=f"{vendor.NAME} {reason}")
    for vendor in LISTS
    for (status, reason), outcome in vendor.OUTCOMES.items()
    if outcome is Outcome.QUOTA_DAY and status != POSTED
    if heard(vendor, refusal(vendor, status, reason), (delivery(),))[0].is_of_all
]
"""Those that are said of the app; a single device's own quota parks nobody else."""


@pytest.mark.evidence(
    "a day's quota and closed hours park the task, a named pause the credential",
    topic="Trouble, vendor by vendor",
    planted="neither parked; the pause not kept",
)
@pytest.mark.parametrize(("vendor", "status", "reason"), QUOTAS)
async def test_a_quota_of_the_day_is_not_asked_about_again_before_midnight(
    vendor: Any, status: int, reason: str
) -> None:
    """Each further question may lower tomorrow's quota, and none would be answered otherwise."""
    scene = Scene(vendor, refusal(vendor, status, reason))
    first = await scene.driver.deliver(given(vendor, 1), OpenGate())
    assert first[0].outcome is Outcome.QUOTA_DAY
    assert first[0].retry_after_s == MIDNIGHT_S
    await scene.clock.advance(HOUR_S)
    held = await scene.send()
    assert (held.outcome, held.retry_after_s) == (Outcome.HELD, MIDNIGHT_S - HOUR_S)
    assert held.code == first[0].code
    scene.answer = kit_of(vendor).accepted
    await scene.clock.advance(MIDNIGHT_S - HOUR_S)
    assert (await scene.send()).outcome is Outcome.ACCEPTED


async def test_another_push_asks_for_itself() -> None:
    """It may be of another class, which has a quota of its own."""
    scene = Scene(vivo, refusal(vivo, 200, "10070"))
    assert await scene.asked()
    assert not await scene.asked()
    assert await scene.asked(other_task(vivo))
    assert not await scene.asked(other_task(vivo))


@pytest.mark.evidence("a day's quota and closed hours park the task, a named pause the credential")
async def test_closed_hours_wait_for_the_opening() -> None:
    scene = Scene(vivo, refusal(vivo, 200, "10071"))
    assert (await scene.send()).retry_after_s == 23 * HOUR_S
    assert not await scene.asked()
    await scene.clock.advance(23 * HOUR_S)
    assert await scene.asked()


@pytest.mark.evidence("a day's quota and closed hours park the task, a named pause the credential")
async def test_a_pause_that_the_vendor_names_is_the_credentials() -> None:
    scene = Scene(huawei, Response(503, {"retry-after": "30"}))
    assert (await scene.send()).outcome is Outcome.THROTTLED
    now = scene.clock.now()
    assert scene.driver.room(now) == 0
    assert not await scene.asked(other_task(huawei))
    await scene.clock.advance(29)
    assert not await scene.asked()
    await scene.clock.advance(1)
    assert scene.driver.room(scene.clock.now()) > 0
    scene.answer = kit_of(huawei).accepted
    assert await scene.asked(other_task(huawei))


@pytest.mark.evidence(
    "a vendor's own pause is obeyed, by the credential or by the breaker",
    topic="Trouble, vendor by vendor",
    planted="a pause of a 503 forgotten; the breaker open for its usual time",
)
@pytest.mark.parametrize("vendor", LISTS, ids=lambda vendor: vendor.NAME)
@pytest.mark.parametrize("status", [429, 503])
async def test_every_vendors_own_pause_is_obeyed(vendor: Any, status: int) -> None:
    scene = Scene(vendor, Response(status, {"retry-after": "120"}))
    assert (await scene.send()).retry_after_s == 120
    assert not await scene.asked(other_task(vendor))
    assert scene.driver.room(scene.clock.now()) == 0
    await scene.clock.advance(120)
    assert await scene.asked(other_task(vendor))


@pytest.mark.evidence(
    "a vendor's pause is obeyed in full",
    topic="Trouble, vendor by vendor",
    planted="a pause of any length",
)
async def test_a_pause_is_as_long_as_the_vendor_asks() -> None:
    """What ends behind it is settled all the same; see `tests/sim/test_held_back.py`."""
    scene = Scene(huawei, Response(503, {"retry-after": "7200"}))
    assert (await scene.send()).retry_after_s == 7200
    assert not await scene.asked(other_task(huawei))
    await scene.clock.advance(7199)
    assert scene.driver.room(scene.clock.now()) == 0
    stoppage = scene.driver.stoppage(scene.clock.now())
    assert stoppage is not None
    assert (stoppage.state, stoppage.until) == ("paused", NOW + 7200)
    await scene.clock.advance(1)
    assert scene.driver.room(scene.clock.now()) > 0
    assert await scene.asked(other_task(huawei))


async def test_without_a_pause_named_only_the_list_itself_waits() -> None:
    scene = Scene(huawei, Response(503))
    assert (await scene.send()).retry_after_s is None
    assert await scene.asked(other_task(huawei))


SATURATED = {
    "meizu": {"code": "200", "value": {"110011": [given(meizu, 1).deliveries[0].token]}},
    "xiaomi": {"code": 0, "result": "ok", "data": {"channel_exceed_quota": "no_channel:1"}},
}
"""The first device of a list has had enough for today."""


@pytest.mark.evidence(
    "one device's quota or wait holds back nobody else",
    topic="Trouble, vendor by vendor",
    planted="a list of one parking its task; one follow-up for every wait; doubts of "
    "another follow-up",
)
@pytest.mark.parametrize("vendor", [meizu, xiaomi], ids=lambda vendor: vendor.NAME)
async def test_a_device_over_its_own_quota_parks_nobody_else(vendor: Any) -> None:
    """It may be alone in its list, being the only one of its language."""
    scene = Scene(vendor, Response(200, {}, msgspec.json.encode(SATURATED[vendor.NAME])))
    (receipt,) = await scene.driver.deliver(given(vendor, 1), OpenGate())
    assert (receipt.outcome, receipt.retry_after_s) == (Outcome.QUOTA_DAY, MIDNIGHT_S)
    scene.answer = kit_of(vendor).accepted
    assert (await scene.send()).outcome is Outcome.ACCEPTED


async def test_the_others_of_its_list_are_taken() -> None:
    scene = Scene(meizu, Response(200, {}, msgspec.json.encode(SATURATED["meizu"])))
    receipts = await scene.driver.deliver(given(meizu, 3), OpenGate())
    assert [it.outcome for it in receipts] == [Outcome.QUOTA_DAY, *[Outcome.ACCEPTED] * 2]


@pytest.mark.parametrize(
    ("hour", "now", "wait_s"),
    [
        (0, NOW, 16 * HOUR_S),
        (0, NOW + 15.5 * HOUR_S, 0.5 * HOUR_S),
        (0, NOW + 16 * HOUR_S, 24 * HOUR_S),
        (7, NOW, 23 * HOUR_S),
        (7, NOW - 2 * HOUR_S, 1 * HOUR_S),
    ],
)
def test_the_hours_until_an_hour(hour: int, now: float, wait_s: float) -> None:
    assert until_hour_s(hour, now, CHINA_S) == wait_s
