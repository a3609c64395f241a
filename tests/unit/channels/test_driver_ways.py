"""The driver while the way to a vendor fails: breaker, pushes to nobody, repeats, steps."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import NOW, OpenGate, ScriptedHttp, batch, driver
from tests.unit.channels.test_driver import OK, outcomes, proven
from tocsin.channels.breaker import OPEN_S
from tocsin.channels.dead_tokens import SERVING_S
from tocsin.channels.driver import BEGUN_MIN, Driver
from tocsin.channels.vendors import apns, webpush
from tocsin.channels.way import MAIN, PLACES_MIN, PROBE_MAX_S
from tocsin.clock import ManualClock, settle_loop
from tocsin.conversation import ANY_WAY, Delivery, Fault, Request, Response
from tocsin.domain.outcome import Outcome
from tocsin.metrics import Metrics

ORIGIN = "https://push.example.com"
SUBSCRIPTION = webpush.nobody(ORIGIN).replace("nobody", "somebody")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.mark.evidence(
    "… in steps, and a way that fails now and then wakes nobody",
    topic="A push outlives every outage",
    planted="all places at once; each answer taken for an outage's end",
)
async def test_a_way_that_is_new_is_used_in_steps() -> None:
    """What has waited through an outage does not arrive all at once where it has ended."""
    door = asyncio.Event()

    async def slow() -> Response:
        await door.wait()
        return OK

    http = ScriptedHttp(lambda _: slow())
    one = driver(apns, http)
    assert one.room(NOW) == PLACES_MIN
    work = asyncio.create_task(one.deliver(batch(100), OpenGate()))
    await settle_loop()
    assert http.under_way == PLACES_MIN
    door.set()
    assert outcomes(await work) == {Outcome.ACCEPTED: 100}
    assert one.room(NOW) == PLACES_MIN + 100


@pytest.mark.evidence("no more is begun than what is on the wire keeps busy")
async def test_what_may_be_begun_follows_what_is_on_the_wire(clock: ManualClock) -> None:
    """What waits behind the requests under way is not begun: a crash would leave it in doubt."""
    http = ScriptedHttp(lambda _: OK)
    slow = asyncio.Event()

    async def wait() -> Response:
        await slow.wait()
        return OK

    one = await proven(http, clock=clock)
    http._answer = lambda _: wait()
    for count, expected in ((10, BEGUN_MIN), (60, 120), (150, 300), (500, 1000), (1, BEGUN_MIN)):
        await clock.advance(60)
        slow.clear()
        work = asyncio.create_task(one.deliver(batch(count), OpenGate()))
        await settle_loop()
        assert http.under_way == count
        slow.set()
        await work
        assert one.begun_max == expected


@pytest.mark.evidence("what has no place to begin goes on by itself")
async def test_no_more_is_begun_than_the_pace_lets_out(clock: ManualClock) -> None:
    http = ScriptedHttp(lambda _: OK)
    one = driver(apns, http, clock=clock, rate_per_s=100.0)
    # Many are on the wire where answers are slow, and the pace lets out no more for that.
    for _ in range(200):
        one._on_wire.rise(clock.now())
    assert one.begun_max == 200 + 25
    slow = driver(apns, http, clock=clock, rate_per_s=4.0)
    assert slow.begun_max == 2


async def tended(one: Driver, clock: ManualClock, span_s: float) -> list[str]:
    """The ways that prove themselves while so much time passes."""
    proofs = []
    for _ in range(round(span_s * 4)):
        await clock.advance(0.25)
        proofs += one.tend(clock.now())
    await settle_loop()
    return proofs + one.tend(clock.now())


@pytest.mark.evidence(
    "the end of an outage is noticed by a push to nobody, for one device alone too, and "
    "what waits is woken",
    topic="A push outlives every outage",
    planted="a device's token instead of nobody's; a leased job woken",
)
@pytest.mark.evidence(
    "only an answer to a push to nobody closes a breaker",
    topic="Trouble, vendor by vendor",
    planted="what the gate said told to the breaker; a window without an end",
)
async def test_an_outage_holds_the_rest_back_until_a_push_to_nobody_is_answered(
    clock: ManualClock,
) -> None:
    is_down = True

    def answer(_: Request) -> Response:
        return Response(503) if is_down else OK

    http, metrics = ScriptedHttp(answer), Metrics()
    one = driver(apns, http, clock=clock, metrics=metrics)
    assert one.tend(clock.now()) == [ANY_WAY]
    for _ in range(3):
        await one.deliver(batch(10), OpenGate())
        await clock.advance(1)
    assert 20 < len(http.requests) <= 30
    assert metrics.value("breaker_state", credential="7:11") == 2
    receipts = await one.deliver(batch(10), OpenGate())
    assert outcomes(receipts) == {Outcome.HELD: 10}
    assert {(it.way, it.retry_after_s) for it in receipts} == {(MAIN, OPEN_S - 1)}
    assert one.room(clock.now()) == 0

    http.requests.clear()
    assert await tended(one, clock, OPEN_S) == []
    # Whoever was refused last is not asked for: a probe costs no device anything.
    assert [request.path for request in http.requests] == [f"/3/device/{apns.NOBODY}"]
    stoppage = one.stoppage(clock.now())
    assert stoppage is not None
    assert (stoppage.state, "503" in stoppage.reason) == ("down", True)

    is_down = False
    one._ways.main._places = 500
    assert await tended(one, clock, 2 * OPEN_S) == [MAIN]
    assert one.room(clock.now()) <= PLACES_MIN + 1, "let out in steps"
    assert outcomes(await one.deliver(batch(10), OpenGate())) == {Outcome.ACCEPTED: 10}
    assert metrics.value("breaker_state", credential="7:11") == 0
    assert one.stoppage(clock.now()) is None


@pytest.mark.evidence(
    "a push to nobody that we could not make, or may not send, is no answer",
    topic="A push outlives every outage",
    planted="a fault of ours that closed the breaker; one that was tried again at every look",
)
async def test_a_push_to_nobody_that_we_could_not_make_proves_nothing(clock: ManualClock) -> None:
    """Nothing was asked, so nothing was answered; and it is not tried at every look."""
    http, made = ScriptedHttp(lambda _: Response(503)), []

    class Broken:
        """Fails where it is to make the push to nobody."""

        def __getattr__(self, name: str) -> object:
            return getattr(apns, name)

        def request(self, settings: Any, authority: Any, one: Delivery, now: float) -> Any:
            if one.token == apns.NOBODY:
                made.append(now)
                raise KeyError
            return apns.request(settings, authority, one, now)

    driven = driver(apns, http, clock=clock)
    driven._file = Broken()  # type: ignore[attr-defined]
    driven.tend(clock.now())
    for _ in range(3):
        await driven.deliver(batch(10), OpenGate())
        await clock.advance(1)
    assert await tended(driven, clock, 5 * PROBE_MAX_S) == []
    assert driven.room(clock.now()) == 0
    assert 0 < len(made) < 15


@pytest.mark.evidence("a push to nobody that we could not make, or may not send, is no answer")
async def test_a_server_that_moved_to_an_address_of_ours_holds_nobody_back(
    clock: ManualClock,
) -> None:
    """Whoever names it is told so at once, and does not wait for a proof that cannot come."""
    answer: Response | Fault = Response(503)
    http = ScriptedHttp(lambda _: answer)
    one = driver(apns, http, clock=clock)
    one.tend(clock.now())
    for _ in range(3):
        await one.deliver(batch(10), OpenGate())
        await clock.advance(1)
    answer = Fault("refused", "the name leads to an address that is not public")
    assert await tended(one, clock, OPEN_S) == [MAIN]
    assert outcomes(await one.deliver(batch(10), OpenGate())) == {Outcome.NOT_ALLOWED: 10}


@pytest.mark.evidence(
    "… also where the clock is put back meanwhile",
    topic="A push outlives every outage",
    planted="times kept as they were",
)
async def test_a_clock_that_is_put_back_shuts_no_way(clock: ManualClock) -> None:
    """The end of an outage is noticed in 30 seconds, whatever time it is said to be."""
    is_down, http = True, ScriptedHttp(lambda _: Response(503) if is_down else OK)
    one = driver(apns, http, clock=clock)
    one.tend(clock.now())
    for _ in range(3):
        await one.deliver(batch(10), OpenGate())
        await clock.advance(1)
    assert await tended(one, clock, 60) == []
    is_down = False
    clock._now -= 3600
    assert await tended(one, clock, PROBE_MAX_S) == [MAIN]
    assert one.room(clock.now()) > 0


@pytest.mark.evidence(
    "the end of an outage is noticed by a push to nobody, for one device alone too, and "
    "what waits is woken",
)
async def test_one_device_alone_has_its_way_probed_too(clock: ManualClock) -> None:
    """Too few failures for the breaker: still the end of the outage is noticed in 30 seconds."""
    is_down, http = True, ScriptedHttp(lambda _: Response(503) if is_down else OK)
    one = driver(apns, http, clock=clock)
    one.tend(clock.now())
    receipts = await one.deliver(batch(1), OpenGate())
    assert [it.way for it in receipts] == [MAIN]
    assert await tended(one, clock, 3600) == []
    assert len(http.requests) == pytest.approx(3600 / PROBE_MAX_S, abs=10)
    assert one.room(clock.now()) > 0
    is_down = False
    assert await tended(one, clock, PROBE_MAX_S) == [MAIN]


@pytest.mark.evidence(
    "a Retry-After is obeyed by pushes to nobody too",
    topic="A push outlives every outage",
    planted="pushes to nobody every thirty seconds whatever was asked",
)
async def test_a_retry_after_is_obeyed_by_pushes_to_nobody_too(clock: ManualClock) -> None:
    answer = Response(503, {"retry-after": "600"})
    http = ScriptedHttp(lambda _: answer)
    one = driver(webpush, http, clock=clock)
    one.tend(clock.now())
    await one.deliver(batch(1, token=SUBSCRIPTION), OpenGate())
    await tended(one, clock, 595)
    assert len(http.requests) == 1
    await tended(one, clock, 600)
    assert len(http.requests) == 2, "its own answer is obeyed likewise"
    answer = Response(404)
    assert await tended(one, clock, 10) == [ORIGIN]


@pytest.mark.evidence(
    "the breaker opens for the way and not for one device",
    topic="A push outlives every outage",
    planted="devices not counted; the credential's own way stopped beside that of the push service",
)
async def test_one_device_that_is_throttled_keeps_nobody_waiting(clock: ManualClock) -> None:
    """However often it is sent to: what it yields says nothing of the others."""
    http = ScriptedHttp(lambda it: Response(429) if it.path.endswith(f"{1:064x}") else OK)
    one = driver(apns, http, clock=clock)
    for _ in range(60):
        await one.deliver(batch(1), OpenGate())
        await clock.advance(0.25)
    assert one.room(clock.now()) > 0
    others = msgspec.structs.replace(batch(3), deliveries=batch(3).deliveries[1:])
    assert outcomes(await one.deliver(others, OpenGate())) == {Outcome.ACCEPTED: 2}


@pytest.mark.evidence("the breaker opens for the way and not for one device")
async def test_a_key_that_one_push_service_refuses_stops_no_other(clock: ManualClock) -> None:
    one = driver(webpush, ScriptedHttp(lambda _: OK), clock=clock)
    one.trip("403 BadJwtToken")
    assert one.stoppage(clock.now()) is None
    assert await tended(one, clock, 2 * OPEN_S) == [ANY_WAY]


@pytest.mark.evidence("… in steps, and a way that fails now and then wakes nobody")
async def test_what_fails_now_and_then_wakes_nobody_early(clock: ManualClock) -> None:
    """Half of the requests fail: each device's own wait stands, or all would be tried at once."""
    answers = itertools.cycle([Response(503), OK])
    one = driver(apns, ScriptedHttp(lambda _: next(answers)), clock=clock)
    one.tend(clock.now())
    for _ in range(100):
        await one.deliver(batch(2), OpenGate())
        await clock.advance(0.1)
        assert one.tend(clock.now()) == []


@pytest.mark.evidence(
    "a doubtful push is repeated only after the way has answered since, also after a restart",
    topic="A push outlives every outage",
    planted="the proof not asked for",
)
async def test_a_repeat_waits_until_the_way_has_proved_itself(clock: ManualClock) -> None:
    fault, http = True, ScriptedHttp(lambda _: Fault("maybe_sent", "reset") if fault else OK)
    one = driver(apns, http, clock=clock)
    one.tend(clock.now())
    assert outcomes(await one.deliver(batch(1), OpenGate())) == {Outcome.UNKNOWN: 1}
    doubted = msgspec.structs.replace(batch(1), doubted_at=clock.now())
    (receipt,) = await one.deliver(doubted, OpenGate())
    assert (receipt.outcome, receipt.way, len(http.requests)) == (Outcome.HELD, MAIN, 1)
    assert await tended(one, clock, 60) == []
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.HELD: 1}
    fault = False
    assert await tended(one, clock, PROBE_MAX_S) == [MAIN]
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.ACCEPTED: 1}


@pytest.mark.evidence(
    "a doubtful push is repeated only after the way has answered since, also after a restart",
)
async def test_after_a_restart_a_repeat_is_begun_by_one_push_to_nobody(clock: ManualClock) -> None:
    http = ScriptedHttp(lambda _: OK)
    one = driver(apns, http, clock=clock)
    doubted = msgspec.structs.replace(batch(1), doubted_at=clock.now() - 5)
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.HELD: 1}
    await tended(one, clock, 0.25)
    assert [request.path for request in http.requests] == [f"/3/device/{apns.NOBODY}"]
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.ACCEPTED: 1}


@pytest.mark.evidence(
    "repeats stop where most of them get no answer",
    topic="A push outlives every outage",
    planted="repeats not counted; those of all push services counted together",
)
async def test_repeats_stop_where_most_of_them_get_no_answer(clock: ManualClock) -> None:
    """Somebody takes every push and loses every answer, but answers for nobody."""

    def answer(request: Request) -> Response | Fault:
        is_nobody = request.path.endswith(apns.NOBODY)
        return OK if is_nobody else Fault("maybe_sent", "no answer")

    http = ScriptedHttp(answer)
    one = driver(apns, http, clock=clock)
    one.tend(clock.now())
    for _ in range(3):
        doubted = msgspec.structs.replace(batch(10), doubted_at=clock.now())
        await one.deliver(doubted, OpenGate())
        await tended(one, clock, 35)
        await one.deliver(doubted, OpenGate())
    stoppage = one.stoppage(clock.now())
    assert stoppage is not None
    assert stoppage.state == "doubtful"
    doubted = msgspec.structs.replace(batch(10), doubted_at=clock.now())
    await tended(one, clock, 35)
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.HELD: 10}
    # What is sent for the first time still is.
    assert outcomes(await one.deliver(batch(1), OpenGate())) == {Outcome.UNKNOWN: 1}


@pytest.mark.evidence("repeats stop where most of them get no answer")
async def test_a_server_that_loses_its_answers_stops_no_others_repeats(clock: ManualClock) -> None:
    """It answers for nobody, so that its way seems to work."""
    strange = SUBSCRIPTION.replace("push.example.com", "strange.example.org")

    def answer(request: Request) -> Response | Fault:
        is_lost = "strange" in request.origin and "somebody" in request.path
        return Fault("maybe_sent", "no answer") if is_lost else OK

    one = driver(webpush, ScriptedHttp(answer), clock=clock)
    one.tend(clock.now())
    for _ in range(4):
        doubted = msgspec.structs.replace(batch(8, token=strange), doubted_at=clock.now())
        await one.deliver(doubted, OpenGate())
        await tended(one, clock, 35)
        await one.deliver(doubted, OpenGate())
    stoppage = one.stoppage(clock.now())
    assert stoppage is not None
    assert stoppage.part == "https://strange.example.org"
    doubted = msgspec.structs.replace(batch(1, token=SUBSCRIPTION), doubted_at=clock.now())
    await one.deliver(doubted, OpenGate())
    await tended(one, clock, 35)
    assert outcomes(await one.deliver(doubted, OpenGate())) == {Outcome.ACCEPTED: 1}


@pytest.mark.evidence(
    "what we refuse to connect to is that device's alone, and final",
    topic="A push outlives every outage",
    planted="told as unsent",
)
async def test_what_is_refused_here_is_final_and_says_nothing_of_the_vendor() -> None:
    fault = Fault("refused", "the name leads to an address that is not public")
    one = driver(apns, ScriptedHttp(lambda _: fault))
    for _ in range(5):
        receipts = await one.deliver(batch(40), OpenGate())
        assert {(it.outcome, it.code, it.info) for it in receipts} == {
            (Outcome.NOT_ALLOWED, "-17", fault.reason)
        }
    assert one.room(NOW) > 0
    assert one.stoppage(NOW) is None


@pytest.mark.evidence(
    "what only a dead device yields is dropped whatever its share; the rest is guarded "
    "while the credential serves",
)
async def test_a_credential_is_not_stopped_while_others_are_accepted(clock: ManualClock) -> None:
    metrics = Metrics()
    one = driver(apns, ScriptedHttp(lambda _: OK), clock=clock, metrics=metrics)
    await one.deliver(batch(1), OpenGate())
    await clock.advance(SERVING_S - 1)
    one.accuse("most tokens of a batch look dead")
    assert one.room(clock.now()) > 0
    await clock.advance(1)
    one.accuse("most tokens of a batch look dead")
    assert one.room(clock.now()) == 0
    assert metrics.value("alarms", credential="7:11") == 2


async def test_a_probe_that_is_cut_short_does_not_outlive_its_driver(clock: ManualClock) -> None:
    never = asyncio.Event()

    async def hang() -> Response:
        await never.wait()
        return OK

    http = ScriptedHttp(lambda _: hang())
    one = driver(apns, http, clock=clock)
    one.trip("a test")
    await tended(one, clock, OPEN_S)
    assert http.under_way == 1
    await one.close()
    assert http.under_way == 0
