from __future__ import annotations

import asyncio
import io
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from tests.unit.channels.kit import NOW, OpenGate, ScriptedHttp, batch, driver, message, refusal
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_fcm import fcm_settings
from tests.unit.channels.kit_shape import bearer
from tests.unit.channels.test_unproven import WRONG, Office
from tocsin.channels.driver import Driver
from tocsin.channels.vendors import apns, fcm
from tocsin.clock import ManualClock, settle_loop
from tocsin.conversation import Batch, Delivery, Fault, Request, Response
from tocsin.domain.message import ApplePart, LiveActivity
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.log import configure
from tocsin.metrics import Metrics

OK = Response(200)
STALE = refusal(apns, 403, "ExpiredProviderToken")
ALIEN = (400, "BadDeviceToken")


def outcomes(receipts: Sequence[Receipt]) -> Counter[Outcome]:
    return Counter(receipt.outcome for receipt in receipts)


def number_of(request: Request) -> int:
    """Which device a request of the kit's is for."""
    return int(request.path.rsplit("/", 1)[1], 16)


def bearer_of(request: Request) -> str:
    return dict(request.headers)["authorization"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


async def proven(http: ScriptedHttp, **facts: object) -> Driver:
    """A driver of APNs whose way has carried enough to be used in full."""
    one = driver(apns, http, **facts)  # type: ignore[arg-type]
    await one.deliver(batch(1000), OpenGate())
    http.requests.clear()
    http.under_way_max = 0
    return one


# receipts


async def test_one_receipt_a_device_in_the_batchs_order() -> None:
    def answer(request: Request) -> Response:
        return refusal(apns, 410, "Unregistered") if number_of(request) % 3 == 0 else OK

    receipts = await driver(apns, ScriptedHttp(answer)).deliver(batch(50), OpenGate())
    assert [receipt.device for receipt in receipts] == list(range(1, 51))
    dead = [receipt.device for receipt in receipts if receipt.outcome is Outcome.TOKEN_DEAD]
    assert dead == list(range(3, 51, 3))
    assert {receipt.epoch for receipt in receipts} == {3}


async def test_slow_answers_do_not_hold_the_others() -> None:
    door = asyncio.Event()

    def answer(request: Request) -> Response | Awaitable[Response]:
        return slow() if number_of(request) == 1 else OK

    async def slow() -> Response:
        await door.wait()
        return OK

    http = ScriptedHttp(answer)
    work = asyncio.create_task(driver(apns, http).deliver(batch(200), OpenGate()))
    await settle_loop()
    assert (len(http.requests), http.under_way) == (200, 1)
    door.set()
    assert outcomes(await work) == {Outcome.ACCEPTED: 200}


async def test_no_more_under_way_than_the_vendor_bears() -> None:
    door = asyncio.Event()

    async def slow() -> Response:
        await door.wait()
        return OK

    http = ScriptedHttp(lambda _: slow() if is_slow else OK)
    is_slow = False
    one = await proven(http)
    is_slow = True
    works = [asyncio.create_task(one.deliver(batch(400), OpenGate())) for _ in range(3)]
    await settle_loop(60)
    assert http.under_way == apns.LIMITS.in_flight_max == 1000
    assert one.room(NOW) == 0
    door.set()
    await asyncio.gather(*works)
    assert (http.under_way_max, len(http.requests)) == (1000, 1200)
    assert one.room(NOW) == 1000


@pytest.mark.parametrize(
    ("kind", "outcome"), [("unsent", Outcome.UNSENT), ("maybe_sent", Outcome.UNKNOWN)]
)
async def test_no_answer_is_told_by_what_the_vendor_can_have_seen(
    kind: str, outcome: Outcome
) -> None:
    metrics = Metrics()
    fault = msgspec.convert({"kind": kind, "reason": "gone"}, Fault)
    receipts = await driver(apns, ScriptedHttp(lambda _: fault), metrics=metrics).deliver(
        batch(3), OpenGate()
    )
    assert outcomes(receipts) == {outcome: 3}
    assert metrics.value("faults", channel="apns", kind=kind) == 3
    assert metrics.value("in_flight", channel="apns") == 0


async def test_too_large_is_never_sent() -> None:
    http = ScriptedHttp(lambda _: OK)
    receipts = await driver(apns, http).deliver(
        batch(2, message=message(ext="x" * 5000)), OpenGate()
    )
    assert (outcomes(receipts), http.requests) == ({Outcome.TOO_LARGE: 2}, [])


async def test_a_fault_of_ours_costs_one_delivery() -> None:
    def answer(request: Request) -> Response:
        if number_of(request) == 2:
            raise ZeroDivisionError
        return OK

    metrics = Metrics()
    one = driver(apns, ScriptedHttp(answer), metrics=metrics)
    receipts = await one.deliver(batch(3), OpenGate())
    assert [receipt.outcome for receipt in receipts] == [
        Outcome.ACCEPTED,
        Outcome.UNKNOWN,
        Outcome.ACCEPTED,
    ]
    assert metrics.value("loop_errors", loop="channel") == 1
    assert one._taken == 0


async def test_leaving_in_the_middle_gives_every_place_back() -> None:
    never = asyncio.Event()

    async def hang() -> Response:
        await never.wait()
        return OK

    http = ScriptedHttp(lambda _: hang() if hangs else OK)
    hangs = False
    one = await proven(http)
    hangs = True
    work = asyncio.create_task(one.deliver(batch(100), OpenGate()))
    await settle_loop()
    assert one.room(NOW) == 900
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (one.room(NOW), http.under_way) == (1000, 0)


# the gate


async def test_the_gate_is_asked_before_each_request() -> None:
    gate = OpenGate(None, None, Outcome.RECALLED, Outcome.EXPIRED, Outcome.HELD)
    http = ScriptedHttp(lambda _: OK)
    one = driver(apns, http)
    receipts = await one.deliver(batch(6), gate)
    assert [receipt.outcome for receipt in receipts] == [
        Outcome.ACCEPTED,
        Outcome.ACCEPTED,
        Outcome.RECALLED,
        Outcome.EXPIRED,
        Outcome.HELD,
        Outcome.ACCEPTED,
    ]
    assert (gate.asked, len(http.requests)) == (6, 3)
    assert one._taken == 0


async def test_nothing_is_awaited_between_the_gate_and_the_request(clock: ManualClock) -> None:
    """Each request begins in the very turn of the loop in which its leave was given."""
    order: list[str] = []

    class Telling:
        async def may_begin(self, batch: Batch) -> Outcome | None:
            order.append("leave")
            return None

        awaits_answers = False

        def still_may(self, batch: Batch) -> bool:
            return True

    def answer(_: Request) -> Response:
        order.append("request")
        return OK

    await driver(apns, ScriptedHttp(answer), clock=clock).deliver(batch(1), Telling())
    assert order == ["leave", "request"]


# stale authority


async def test_a_stale_authority_is_renewed_once_for_all_and_only_the_refused_go_again() -> None:
    refused = set[int]()

    def answer(request: Request) -> Response:
        if bearer_of(request).endswith("bearer-1") and device_of(request) % 2:
            refused.add(device_of(request))
            return refusal(fcm, 401, "UNAUTHENTICATED")
        return OK

    http = ScriptedHttp(answer)
    gate = OpenGate()
    receipts = await driver(fcm, http).deliver(batch(20), gate)
    assert outcomes(receipts) == {Outcome.ACCEPTED: 20}
    sent = Counter(device_of(request) for request in http.requests)
    assert sent == {number: 2 if number in refused else 1 for number in range(1, 21)}
    assert refused
    assert http.bearers == 2
    assert gate.asked == 20 + len(refused)


def device_of(request: Request) -> int:
    return int(msgspec.json.decode(request.body)["message"]["token"], 16)


async def test_stale_twice_is_a_wrong_credential_and_opens_the_breaker() -> None:
    http = ScriptedHttp(lambda _: STALE)
    one = driver(apns, http)
    receipts = await one.deliver(batch(10), OpenGate())
    assert outcomes(receipts)[Outcome.CREDENTIALS_WRONG] >= 1
    assert set(outcomes(receipts)) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
    assert one.room(NOW) == 0
    assert max(Counter(number_of(request) for request in http.requests).values()) == 2


async def test_a_recall_reaches_those_that_were_refused() -> None:
    gate = OpenGate(None, Outcome.RECALLED)
    http = ScriptedHttp(lambda _: STALE)
    receipts = await driver(apns, http).deliver(batch(1), gate)
    assert (outcomes(receipts), len(http.requests)) == ({Outcome.RECALLED: 1}, 1)


# pace


async def test_the_pace_is_kept_within_a_quarter_of_a_second(clock: ManualClock) -> None:
    http = ScriptedHttp(lambda _: OK)
    one = driver(apns, http, clock=clock, rate_per_s=40.0)
    work = asyncio.create_task(one.deliver(batch(60), OpenGate()))
    await clock.advance(0)
    assert len(http.requests) == 10
    await clock.advance(0.1251)
    assert len(http.requests) == 15
    await clock.advance(0.2)
    receipts = await work
    assert outcomes(receipts) == {Outcome.ACCEPTED: 20, Outcome.HELD: 40}
    assert all(it.retry_after_s for it in receipts if it.outcome is Outcome.HELD)


async def test_room_is_what_can_begin_in_the_window(clock: ManualClock) -> None:
    one = driver(apns, ScriptedHttp(lambda _: OK), clock=clock, rate_per_s=8.0)
    assert one.room(NOW) == 4
    assert (await proven(ScriptedHttp(lambda _: OK))).room(NOW) == 1000


async def test_the_pace_holds_for_all_batches_together(clock: ManualClock) -> None:
    http = ScriptedHttp(lambda _: OK)
    one = driver(apns, http, clock=clock, rate_per_s=40.0)
    works = [asyncio.create_task(one.deliver(batch(60), OpenGate())) for _ in range(3)]
    await clock.advance(1.0)
    done = await asyncio.gather(*works)
    accepted = sum(outcomes(receipts)[Outcome.ACCEPTED] for receipts in done)
    assert accepted == len(http.requests) <= 20


# the breaker


async def test_a_trip_stops_requests_that_wait_for_their_pace(clock: ManualClock) -> None:
    http, metrics = ScriptedHttp(lambda _: OK), Metrics()
    one = driver(apns, http, clock=clock, metrics=metrics, rate_per_s=40.0)
    work = asyncio.create_task(one.deliver(batch(15), OpenGate()))
    await clock.advance(0)
    one.trip("most tokens of a batch look dead")
    await clock.advance(1)
    assert outcomes(await work) == {Outcome.ACCEPTED: 10, Outcome.HELD: 5}
    assert one.room(clock.now()) == 0
    assert metrics.value("alarms", credential="7:11") == 1


@pytest.mark.evidence("pushes to one account each empty no book either")
async def test_dead_tokens_one_by_one_are_no_more_believed_than_in_a_batch() -> None:
    """Of another app's devices every one looks dead, and each push may be to one of them."""
    metrics = Metrics()
    one = driver(apns, ScriptedHttp(lambda _: refusal(apns, *ALIEN)), metrics=metrics)
    believed = []
    for _ in range(10):
        await one.deliver(batch(1), OpenGate())
        believed.append(one.believes_answers())
    assert believed == [True] * 4 + [False] * 6
    assert metrics.value("alarms", credential="7:11") == 1
    assert one.room(NOW) > 0


@pytest.mark.evidence("pushes to one account each empty no book either")
async def test_dead_tokens_that_answers_told_are_not_held_against_receipts() -> None:
    """Else one batch of them would have every receipt of the hour stop the channel."""
    one = driver(apns, ScriptedHttp(lambda _: refusal(apns, *ALIEN)))
    await one.deliver(batch(30), OpenGate())
    assert not one.believes_answers()
    assert one.believes_dead(1)
    assert one.room(NOW) > 0


@pytest.mark.evidence("pushes to one account each empty no book either")
async def test_tokens_beside_the_route_are_no_more_believed_one_by_one(
    clock: ManualClock,
) -> None:
    told = refusal(apns, 410, "Unregistered")
    live = message(apple=ApplePart(live_activity=LiveActivity(id="a", event="update")))
    one = driver(apns, ScriptedHttp(lambda _: told), clock=clock)
    believed = []
    for _ in range(10):
        (receipt,) = await one.deliver(batch(1, message=live, live_token="a1" * 32), OpenGate())
        assert receipt.gone_token
        believed.append(one.believes_answers())
    assert believed == [True] * 4 + [False] * 6


async def test_a_few_dead_tokens_among_many_are_believed_one_by_one() -> None:
    answers = itertools.cycle([refusal(apns, 410, "Unregistered"), OK, OK, OK, OK])
    one = driver(apns, ScriptedHttp(lambda _: next(answers)))
    for _ in range(50):
        await one.deliver(batch(1), OpenGate())
    assert one.believes_answers()


# where it goes


async def test_a_credentials_addresses_and_authorities_take_the_vendors_place() -> None:
    seen: list[Request] = []

    class Watching(ScriptedHttp):
        async def send(
            self,
            request: Request,
            deadline_s: float,
            may_begin: Callable[[], bool] | None = None,
        ) -> Response | Fault:
            seen.append(request)
            return bearer("b") if request.path == "/token" else OK

    one = driver(
        fcm,
        Watching(lambda _: OK),
        origin="https://127.0.0.1:1",
        auth_origin="https://127.0.0.1:2",
        ca="PEM",
    )
    await one.deliver(batch(1), OpenGate())
    assert [(it.origin, it.ca) for it in seen] == [
        ("https://127.0.0.1:2", "PEM"),
        ("https://127.0.0.1:1", "PEM"),
    ]
    seen.clear()
    await driver(fcm, Watching(lambda _: OK)).deliver(batch(1), OpenGate())
    assert [(it.origin, it.ca) for it in seen] == [
        ("https://oauth2.googleapis.com", None),
        ("https://fcm.googleapis.com", None),
    ]


def test_whether_a_repeat_replaces_is_asked_of_the_vendor() -> None:
    http = ScriptedHttp(lambda _: OK)
    assert driver(apns, http).repeat_replaces(message())
    assert not driver(apns, http).repeat_replaces(message(apple=ApplePart(is_silent=True)))
    assert driver(fcm, http).repeat_replaces(message())
    data = fcm_settings(mode="data")
    assert not driver(fcm, http, settings=data).repeat_replaces(message())


# secrets


async def test_no_secret_token_or_text_is_ever_logged() -> None:
    stream = io.StringIO()
    configure("debug", json=True, stream=stream)
    await everything_that_is_logged()
    told = stream.getvalue()
    assert all(event in told for event in ("no answer", "breaker opened", "our fault"))
    for canary in ("CANARY", "BEGIN", "bearer ey", apns_settings().private_key[40:80]):
        assert canary not in told


def always(answer: Response | Fault) -> ScriptedHttp:
    return ScriptedHttp(lambda _: answer)


async def everything_that_is_logged() -> None:
    canary = {"token": "CANARYtoken", "message": message(title="CANARY title", desc="CANARY")}
    answers: list[Response | Fault] = [
        Fault("maybe_sent", "the connection died"),
        Response(503),
        refusal(apns, 403, "Forbidden"),
    ]
    for answer in answers:
        await driver(apns, always(answer)).deliver(batch(30, **canary), OpenGate())

    def broken(request: Request) -> Response:
        raise ValueError(f"what is this: {request}")

    await driver(apns, ScriptedHttp(broken)).deliver(batch(1, **canary), OpenGate())
    refusing = Office(fcm)
    refusing.given = WRONG
    await driver(fcm, refusing).deliver(batch(1, **canary), OpenGate())


def test_the_kit_gives_what_the_tests_count_on() -> None:
    first: Delivery = batch(3).deliveries[0]
    assert int(first.token, 16) == first.device
