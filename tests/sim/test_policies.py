"""Every outcome that a vendor's answer may lead to, followed to its end in the real pipeline.

The sandbox says one code of each outcome in each vendor's table, to a push of three devices. What
has to follow stands in `domain/outcome.py`, for all vendors alike.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.test_codes import rule_of
from tests.sandbox_keys import keys_folder
from tests.sim.works import APP, Works
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, takes_lists
from tocsin.clock import ManualClock
from tocsin.domain.message import Message
from tocsin.domain.outcome import POLICIES, POSTED, Outcome, State
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.pipeline.dispatch import Pace
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

COUNT = 3
CALM = Pace(poll_s=30.0, extend_every_s=600.0, lease_s=1800.0)
"""A dispatcher that seldom looks for what is due: hours pass in these tests."""
DAY_S = 86_400
MORNING = 8
LONG_S = 1800
TROUBLE_S = 45
"""So long the sandbox says it, where it does not say it for good."""


def each_outcome(is_meant: Callable[[int], bool]) -> pytest.MarkDecorator:
    """A row of each vendor for each outcome that is tried so often; a word is for one device.

    What accuses us is none: beside devices that were taken it would be about that device.
    """
    found: dict[tuple[str, Outcome], Any] = {}
    for vendor in VENDORS:
        for (status, reason), it in sorted(
            vendor.OUTCOMES.items(), key=lambda row: -len(row[0][1])
        ):
            if reason.isalpha() and takes_lists(vendor) and POLICIES[it].opens_breaker:
                continue
            if status != POSTED and is_meant(POLICIES[it].tries_max):
                row = pytest.param(vendor, status, reason, id=f"{vendor.NAME} {it} {reason}")
                found.setdefault((vendor.NAME, it), row)
    return pytest.mark.parametrize(("vendor", "status", "reason"), found.values())


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


class Push:
    """A push to three devices of one vendor, while the sandbox says one code."""

    def __init__(self, sandbox: Sandbox, vendor: AnyVendor, status: int, reason: str) -> None:
        self.vendor = vendor
        self.outcome = vendor.OUTCOMES[status, reason]
        self.policy = POLICIES[self.outcome]
        assert isinstance(sandbox.clock, ManualClock)
        self.works = Works(pace=CALM, clock=sandbox.clock, sandbox=sandbox)
        self._task = 0
        rule = rule_of(vendor, status, reason)
        # Only what names a device: who proves us, and who saves a message, goes on as ever.
        self._rule = Rule(vendor=vendor.NAME, token="?*", **rule)

    async def begin(self, ttl_s: int = DAY_S) -> None:
        """On a new day, an hour after vivo has opened."""
        self.works.sandbox.reset()
        clock = self.works.clock
        await clock.advance(until_hour_s(MORNING, clock.now(), CHINA_S))
        await self.works.open({self.vendor.NAME: COUNT})
        if self.outcome is not Outcome.ACCEPTED:
            for token in self._meant():
                self.works.sandbox.faults.add(msgspec.structs.replace(self._rule, token=token))
        self._task = await self.works.push(ttl_s=ttl_s)
        await self.works.go_on(1)

    def _meant(self) -> list[str]:
        """Whom the code is said of: what may have arrived is repeated only once the way has proved
        itself, so nobody's token is left out there."""
        if self.outcome is Outcome.UNKNOWN:
            return sorted(self.tokens(self.everybody()))
        return ["?*"]

    async def states(self) -> dict[State, BitMap]:
        """Devices by state, once more after a look at the books."""
        ledger, fold = await self.works.ledger(self._task), await self.works.sets(self._task)
        assert ledger.faults == []
        assert ledger.planned == COUNT
        return {state: members for state, members in fold.states.items() if members}

    def calls(self) -> list[float]:
        """When a request came for the devices that the sandbox has said the code of."""
        begun: dict[int, float] = {}
        ours = self.tokens(self.everybody())
        for entry in self.works.sandbox.log.entries():
            # A push to nobody asks whether the way carries: it is about none of them.
            if entry.token in ours and (entry.fault or not takes_lists(self.vendor)):
                begun.setdefault(entry.request, entry.at)
        times = list(begun.values())
        return times if takes_lists(self.vendor) else times[::COUNT]

    def taken(self) -> BitMap:
        """The devices that the sandbox has taken a push for."""
        accepted = [it.token for it in self.works.sandbox.log.entries() if it.accepted]
        assert len(accepted) == len(set(accepted))
        return BitMap([number for number, token in self._numbered() if token in accepted])

    def everybody(self) -> BitMap:
        return BitMap([number for number, _ in self._numbered()])

    def tokens(self, devices: BitMap) -> set[str]:
        return {token for number, token in self._numbered() if number in devices}

    def _numbered(self) -> list[tuple[int, str]]:
        registered = self.works.devices[self.vendor.NAME]
        return [(it.number, it.route.token) for it in registered if it.route is not None]

    async def may_repeat(self) -> bool:
        """Whether a second push of the same takes the place of the first."""
        channel = await self.works.channels.channel(APP, self.works.numbers[self.vendor.NAME])
        assert channel is not None
        return channel.repeat_replaces(Message(title="t", desc="d"))

    def alarms(self) -> bool:
        return b"tocsin_alarms_total{" in self.works.metrics.render()


@pytest.mark.evidence(
    "each outcome of each vendor leads to its end: booked once, tried so often, waited for,"
    " or expired",
    topic="Channels and sandbox",
    planted="one try more; the least wait left out, and the vendor's midnight; a dead token"
    " kept; waiting beyond the push's life",
)
@each_outcome(lambda tries: tries == 1)
async def test_what_is_final_is_booked_at_once_and_never_asked_again(
    sandbox: Sandbox, vendor: AnyVendor, status: int, reason: str
) -> None:
    """Of the three only those that the code is said of; a dead one loses its token, no other."""
    push = Push(sandbox, vendor, status, reason)
    await push.begin()
    calls = push.calls()
    taken = push.taken()
    hit = push.everybody() - taken
    assert bool(hit) == (push.outcome is not Outcome.ACCEPTED)
    expected = {push.policy.final: hit} | ({State.SENT: taken} if taken else {})
    assert await push.states() == expected
    lost = hit if push.policy.drops_token else BitMap()
    assert await push.works.routed(vendor.NAME) == push.tokens(push.everybody() - lost)
    assert not push.alarms()
    await push.works.go_on(600, step_s=60)
    # A list whose refusal names nobody may be asked about once more, device by device.
    assert push.calls() == calls
    assert calls[-1:] <= [calls[0] + 1] if calls else push.outcome is Outcome.ACCEPTED


@pytest.mark.evidence(
    "each outcome of each vendor leads to its end: booked once, tried so often, waited for,"
    " or expired",
)
@each_outcome(lambda tries: tries > 1)
async def test_what_may_pass_is_tried_so_often_and_no_more(
    sandbox: Sandbox, vendor: AnyVendor, status: int, reason: str
) -> None:
    push = Push(sandbox, vendor, status, reason)
    await push.begin()
    await push.works.go_on(1800, step_s=60)
    tries = push.policy.tries_max
    if push.outcome is Outcome.UNKNOWN and not await push.may_repeat():
        tries = 1
    assert len(push.calls()) == tries
    assert await push.states() == {push.policy.final: push.everybody()}


@pytest.mark.evidence(
    "each outcome of each vendor leads to its end: booked once, tried so often, waited for,"
    " or expired",
)
@each_outcome(lambda tries: tries == 0)
async def test_what_waits_is_sent_when_the_trouble_is_over(
    sandbox: Sandbox, vendor: AnyVendor, status: int, reason: str
) -> None:
    """Nothing is booked meanwhile, and nobody is asked sooner than the outcome lets us."""
    push = Push(sandbox, vendor, status, reason)
    await push.begin()
    await push.works.go_on(TROUBLE_S, step_s=1)
    calls = push.calls()
    assert (await push.states()).get(State.OPEN, BitMap()) == push.everybody() - push.taken()
    waits = [later - earlier for earlier, later in pairwise(calls)]
    # With an expired authority the same is asked once more, with a new one.
    at_once = 1 if push.outcome is Outcome.AUTH_EXPIRED else 0
    assert not [it for it in waits if at_once <= it < push.policy.wait_s]
    assert push.alarms() == push.policy.opens_breaker
    push.works.sandbox.faults.clear()
    over_at = push.works.clock.now()
    is_long = push.policy.wait_s >= LONG_S
    await push.works.go_on(DAY_S - 600 if is_long else 600, step_s=600)
    assert await push.states() == {State.SENT: push.everybody()}
    sent_at = [it.at for it in push.works.sandbox.log.entries() if it.accepted and it.at > over_at]
    assert min(sent_at) - calls[-1] >= push.policy.wait_s
    if push.outcome is Outcome.QUOTA_DAY:
        # Asked again before its midnight, a vendor may grant less on the next day.
        day_s = until_hour_s(0, calls[-1], vendor.LIMITS.clock_offset_s)
        assert min(sent_at) - calls[-1] >= day_s
    assert await push.works.routed(vendor.NAME) == push.tokens(push.everybody())


@pytest.mark.evidence(
    "each outcome of each vendor leads to its end: booked once, tried so often, waited for,"
    " or expired",
)
@each_outcome(lambda tries: tries == 0)
async def test_what_waits_longer_than_the_push_lives_has_expired(
    sandbox: Sandbox, vendor: AnyVendor, status: int, reason: str
) -> None:
    push = Push(sandbox, vendor, status, reason)
    await push.begin(ttl_s=150)
    await push.works.go_on(300, step_s=30)
    left = push.everybody() - push.taken()
    assert (await push.states())[State.EXPIRED] == left
    assert left
