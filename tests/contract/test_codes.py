"""Every code of every vendor's table, as the sandbox says it and as the vendor's file reads it.

`test_channel.py` reads the answers that the tests' own kits make up. Here the sandbox makes them,
so the two sides, each written from the vendor's pages, are held against each other.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest

from tests.direct import DirectHttp, address, facts_of
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import batch, kit_of
from tocsin.channels.registry import (
    VENDORS,
    ListVendor,
    SingleVendor,
    prepare_of,
    takes_lists,
    takes_one,
)
from tocsin.clock import ManualClock
from tocsin.conversation import Authority, Batch, Denied, Request, Response, StaleCredential
from tocsin.domain.outcome import POSTED, Outcome, Receipt
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

NOBODY_KNOWS = "99999"
"""A code that no vendor has; which outcome it leads to is a row of its own."""
BLAME = {
    **dict.fromkeys((400, 401, 403, 404), Outcome.CREDENTIALS_WRONG),
    429: Outcome.THROTTLED,
    **dict.fromkeys((500, 502), Outcome.SERVER_ERROR),
}
"""The status of a token service's refusal (RFC 6749, 5.2), and whose fault it tells of when the
body is the service's own."""

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
each_list = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if takes_lists(it)], ids=lambda vendor: vendor.NAME
)
each_with_a_service = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if kit_of(it).authority], ids=lambda vendor: vendor.NAME
)


class Wire:
    """The sandbox and the vendors' files, with nothing between them but the words of both."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sandbox = Sandbox(SandboxSettings(seed=1, folder=keys_folder()), self.clock)
        self.http = DirectHttp(self.sandbox, self.clock)
        self._settings: dict[str, Any] = {}
        self._authorities: dict[str, Authority] = {}

    async def open(self, vendor: AnyVendor) -> None:
        """Get what proves us, before any fault."""
        if vendor.NAME not in self._authorities:
            told = facts_of(vendor.NAME, self.sandbox)["settings"]
            settings = self._settings[vendor.NAME] = msgspec.convert(told, vendor.Settings)
            found = await self._spoken(vendor, vendor.authorize(settings, self.clock.now()))
            assert isinstance(found, Authority)
            self._authorities[vendor.NAME] = found

    async def send(self, vendor: AnyVendor, count: int, **rule: Any) -> Sequence[Receipt]:
        """Deliver to so many devices, while the sandbox answers by this rule."""
        self.sandbox.reset()
        await self.open(vendor)
        settings, authority = self._settings[vendor.NAME], self._authorities[vendor.NAME]
        given = self._batch(vendor, count)
        now = self.clock.now()
        prepare = prepare_of(vendor) if takes_lists(vendor) else None
        if prepare is not None:
            prepared = await self._spoken(vendor, prepare(settings, authority, given, now))
            given = msgspec.structs.replace(given, prepared=prepared)
        if rule:
            self.sandbox.faults.add(Rule(vendor=vendor.NAME, **rule))
        try:
            return await self._delivered(vendor, given)
        except StaleCredential as stale:
            return given.came_to(Denied(Outcome.AUTH_EXPIRED, stale.code, stale.info))

    async def _delivered(self, vendor: AnyVendor, given: Batch) -> Sequence[Receipt]:
        known = (self._settings[vendor.NAME], self._authorities[vendor.NAME])
        now = self.clock.now()
        if takes_lists(vendor):
            talk = vendor.deliver(*known, given, now)
            receipts: Sequence[Receipt] = await self._spoken(vendor, talk)
            return receipts
        assert takes_one(vendor)
        requests = [vendor.request(*known, it, now) for it in given.deliveries]
        answers = [await self._answer(vendor, it) for it in requests]
        return [
            vendor.read(it, answer) for it, answer in zip(given.deliveries, answers, strict=True)
        ]

    async def refused(self, vendor: AnyVendor, **rule: Any) -> Denied:
        """Ask for an authority, while the sandbox answers by this rule."""
        self.sandbox.reset()
        await self.open(vendor)
        self.sandbox.faults.add(Rule(vendor=vendor.NAME, **rule))
        talk = vendor.authorize(self._settings[vendor.NAME], self.clock.now())
        denied = await self._spoken(vendor, talk)
        assert isinstance(denied, Denied)
        return denied

    def taken(self) -> list[bool]:
        """Which devices the sandbox's log calls accepted, in the order of their numbers."""
        return [entry.accepted for entry in self.sandbox.log.entries()]

    def _batch(self, vendor: AnyVendor, count: int) -> Batch:
        tokens = self.sandbox.tokens(vendor.NAME, 0, count)
        made, expires_at = batch(count), self.clock.now() + 3600
        deliveries = tuple(
            msgspec.structs.replace(it, token=token, expires_at=expires_at)
            for it, token in zip(made.deliveries, tokens, strict=True)
        )
        return msgspec.structs.replace(made, deliveries=deliveries)

    async def _spoken(self, vendor: AnyVendor, talk: Generator[Request, Response, Any]) -> Any:
        try:
            request = next(talk)
            while True:
                request = talk.send(await self._answer(vendor, request))
        except StopIteration as end:
            return end.value

    async def _answer(self, vendor: AnyVendor, request: Request | Receipt) -> Response:
        assert isinstance(request, Request)
        there = msgspec.structs.replace(request, origin=address(vendor.NAME))
        answer = await self.http.send(there, 10.0)
        assert isinstance(answer, Response)
        return answer


@pytest.fixture(scope="module")
def wire() -> Wire:
    """One for all rows: the keys of ten vendors take a while."""
    return Wire()


def rule_of(vendor: AnyVendor, status: int, reason: str) -> dict[str, Any]:
    """What makes the sandbox answer by a row of the vendor's table."""
    if not reason and (status != 200 or vendor.OUTCOMES[200, ""] is not Outcome.BAD_REQUEST):
        return {"kind": "status", "status": status}
    return {"kind": "vendor_code", "code": reason or NOBODY_KNOWS, "status": status}


@pytest.mark.evidence(
    "… as the sandbox says it, with the whole table of each vendor",
    topic="Channels and sandbox",
    planted="Huawei's code not looked at; vivo's status of a device taken for another; any "
    "argument that FCM refuses taken for the token; what OPPO says of one device "
    "said of all; a HarmonyOS word without its row",
)
@each_vendor
async def test_every_code_is_read_as_the_sandbox_says_it(
    wire: Wire, vendor: AnyVendor, subtests: pytest.Subtests
) -> None:
    for status, reason in vendor.OUTCOMES:
        if status != POSTED:
            with subtests.test(f"{status} {reason}".strip()):
                await is_read_as_said(wire, vendor, status, reason)


async def is_read_as_said(wire: Wire, vendor: AnyVendor, status: int, reason: str) -> None:
    """One row of the vendor's table, as the sandbox says it and as the vendor's file reads it."""
    outcome, rule = vendor.OUTCOMES[status, reason], rule_of(vendor, status, reason)
    (receipt,) = await wire.send(vendor, 1, **rule)
    assert (receipt.outcome, receipt.device) == (outcome, 1)
    if outcome is not Outcome.ACCEPTED:
        # A list vendor's code is its own, a single vendor's the status.
        own = rule.get("code") if takes_lists(vendor) else None
        assert receipt.code == (own or str(status))
        assert reason in f"{receipt.code} {receipt.info}"
    (entry,) = wire.sandbox.log.entries()
    assert entry.status == status
    # Only of a device that has it already a code is no refusal.
    assert entry.accepted == (reason == "520")


@pytest.mark.evidence("… as the sandbox says it, with the whole table of each vendor")
@each_list
async def test_a_code_of_one_device_says_nothing_of_the_others(
    wire: Wire, vendor: ListVendor
) -> None:
    """Where the sandbox has a code for one device of a list, it takes the others."""
    for (status, reason), outcome in vendor.OUTCOMES.items():
        if status == POSTED or not reason or outcome is Outcome.ACCEPTED:
            continue
        rule = rule_of(vendor, status, reason)
        receipts = await wire.send(vendor, 3, **rule)
        assert [it.device for it in receipts] == [1, 2, 3]
        outcomes = [it.outcome for it in receipts]
        taken = wire.taken() if any(wire.taken()) else [False] * 3
        assert [it is Outcome.ACCEPTED for it in outcomes] == taken, reason
        if any(taken):
            # What took the others is no wrong credential.
            is_ours = outcome is Outcome.CREDENTIALS_WRONG
            expected = Outcome.NOT_PERMITTED if is_ours else outcome
            assert (outcomes[0], taken) == (expected, [False, True, True]), reason


@pytest.mark.evidence(
    "only a token service that refuses us accuses the credential",
    topic="Channels and sandbox",
    planted='an internal error that comes as `{"error": …}` blamed on the key; "too fast" '
    "taken for a wrong key; a proxy's page taken for the service's word, of bearers"
    " and of codes",
)
@each_with_a_service
async def test_only_a_token_service_that_refuses_us_accuses_the_credential(
    wire: Wire, vendor: AnyVendor, subtests: pytest.Subtests
) -> None:
    """A service in trouble may say so in the form of a refusal."""
    rule = {"kind": "status", "body": '{"error":"trouble"}'}
    for status in [*BLAME, 503]:
        with subtests.test(str(status)):
            denied = await wire.refused(vendor, **rule, status=status)
            assert denied.outcome is BLAME.get(status, vendor.OUTCOMES[503, ""])
            assert denied.code == str(status)


@pytest.mark.evidence("only a token service that refuses us accuses the credential")
@each_with_a_service
async def test_what_stands_before_a_token_service_accuses_nobody(
    wire: Wire, vendor: AnyVendor, subtests: pytest.Subtests
) -> None:
    """A proxy's page is not the service's word; 401 alone is meant for us in any case."""
    for status, kind in product(BLAME, ("html_page", "status")):
        with subtests.test(f"{status} {kind}"):
            denied = await wire.refused(vendor, kind=kind, status=status)
            expected = BLAME[status]
            if expected is Outcome.CREDENTIALS_WRONG and status != 401:
                expected = Outcome.SERVER_ERROR
            assert (denied.outcome, denied.code) == (expected, str(status))


@pytest.mark.evidence("only a token service that refuses us accuses the credential")
@each_with_a_service
async def test_a_token_service_that_says_codes_is_read_by_the_same_table(
    wire: Wire, vendor: AnyVendor
) -> None:
    """Whatever it says besides trouble and "too fast", it does not know us."""
    for (status, code), outcome in vendor.OUTCOMES.items():
        if (status, code.isdigit()) == (200, True) and outcome is not Outcome.ACCEPTED:
            denied = await wire.refused(vendor, kind="vendor_code", code=code)
            is_passing = outcome in (Outcome.SERVER_ERROR, Outcome.THROTTLED)
            if denied.code != code:
                # It has words of its own for a refusal, and a status.
                assert denied.code == "400"
                is_passing = False
            assert denied.outcome is (outcome if is_passing else Outcome.CREDENTIALS_WRONG), code
