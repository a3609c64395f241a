"""The drivers while there is nothing to prove us with, a single vendor's and a list vendor's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.unit.channels.kit import NOW, OpenGate, ScriptedHttp, batch, driver, kit_of, refusal
from tests.unit.channels.kit_shape import bearer
from tocsin.channels.authority import DENIED_WAIT_S
from tocsin.channels.registry import ListVendor, SingleVendor
from tocsin.channels.vendors import fcm, huawei
from tocsin.clock import ManualClock
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.outcome import Outcome, Receipt

AnyVendor = SingleVendor | ListVendor

STALE = {
    "fcm": refusal(fcm, 401, "UNAUTHENTICATED"),
    "huawei": refusal(huawei, 401, "80200003"),
}
WRONG = Response(400, {}, b'{"error":"invalid_grant"}')

each_form = pytest.mark.parametrize("vendor", [fcm, huawei], ids=lambda vendor: vendor.NAME)


class Office(ScriptedHttp):
    """A token service that answers as it is told, and a vendor that does."""

    def __init__(self, vendor: AnyVendor) -> None:
        super().__init__(lambda _: self.said)
        (self._path,) = kit_of(vendor).authority
        self.said = kit_of(vendor).accepted
        self.given: Response | Fault = bearer("good")

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.path == self._path:
            self.bearers += 1
            return self.given
        return await super().send(request, deadline_s, may_begin)


def outcomes(receipts: Sequence[Receipt]) -> Counter[Outcome]:
    return Counter(receipt.outcome for receipt in receipts)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@each_form
async def test_a_credential_that_the_token_service_refuses_is_wrong(vendor: AnyVendor) -> None:
    http = Office(vendor)
    http.given = WRONG
    one = driver(vendor, http)
    receipts = await one.deliver(batch(100), OpenGate())
    assert receipts[0].outcome is Outcome.CREDENTIALS_WRONG
    assert set(outcomes(receipts)) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
    assert (http.requests, http.bearers) == ([], 1)
    assert one.room(NOW) == 0


@pytest.mark.evidence(
    "while a token service is in trouble everything waits, and no attempt is counted",
)
@each_form
@pytest.mark.parametrize(
    ("given", "least_s"),
    [
        (Response(500), DENIED_WAIT_S),
        (Response(503, {"retry-after": "40"}), 40),
        (Response(429, {"retry-after": "900"}), 900),
        (Fault("unsent", "refused"), DENIED_WAIT_S),
        (Fault("maybe_sent", "no answer"), DENIED_WAIT_S),
    ],
)
async def test_while_nobody_proves_us_everything_waits(
    clock: ManualClock, vendor: AnyVendor, given: Response | Fault, least_s: float
) -> None:
    """Nothing was sent: it is no attempt, and no failure that the breaker would hear of."""
    http = Office(vendor)
    http.given = given
    one = driver(vendor, http, clock=clock)
    for tries in range(1, 8):
        for _ in range(20):
            receipts = await one.deliver(batch(3), OpenGate())
            found = {(it.outcome, it.code, it.way) for it in receipts}
            assert found == {(Outcome.HELD, "-10", "main")}
            assert {it.retry_after_s for it in receipts} == {receipts[0].retry_after_s}
        wait_s = receipts[0].retry_after_s
        assert wait_s is not None
        assert wait_s >= least_s
        assert (http.requests, http.bearers, one.room(clock.now())) == ([], tries, 0)
        await clock.advance(wait_s)
    http.given = bearer("good")
    assert outcomes(await one.deliver(batch(3), OpenGate())) == {Outcome.ACCEPTED: 3}


@pytest.mark.evidence(
    "while a token service is in trouble everything waits, and no attempt is counted",
)
@each_form
async def test_what_was_refused_for_its_age_waits_until_there_is_a_newer_one(
    clock: ManualClock, vendor: AnyVendor
) -> None:
    http = Office(vendor)
    one = driver(vendor, http, clock=clock)
    await one.deliver(batch(1), OpenGate())
    http.said, http.given = STALE[vendor.NAME], Response(500)
    receipts = await one.deliver(batch(1), OpenGate())
    assert [(it.outcome, it.retry_after_s) for it in receipts] == [(Outcome.HELD, DENIED_WAIT_S)]
    assert one.room(clock.now()) == 0
    await clock.advance(DENIED_WAIT_S)
    http.said, http.given = kit_of(vendor).accepted, bearer("newer")
    assert outcomes(await one.deliver(batch(1), OpenGate())) == {Outcome.ACCEPTED: 1}


@each_form
async def test_the_end_of_a_token_services_outage_is_noticed_by_a_push_to_nobody(
    clock: ManualClock, vendor: AnyVendor
) -> None:
    http = Office(vendor)
    http.given = Response(500)
    one = driver(vendor, http, clock=clock)
    one.tend(clock.now())
    await one.deliver(batch(1), OpenGate())
    for _ in range(1000):
        await clock.advance(1)
        assert one.tend(clock.now()) == []
    stoppage = one.stoppage(clock.now())
    assert stoppage is not None
    assert (stoppage.state, "500" in stoppage.reason) == ("down", True)
    http.given = bearer("good")
    proofs = []
    for _ in range(60):
        await clock.advance(1)
        proofs += one.tend(clock.now())
    assert proofs == ["main"]
