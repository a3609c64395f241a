"""The driver of list vendors, tried with Huawei and with a vendor that saves before it sends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

import msgspec
import pytest

from tests.unit.channels import kit_huawei
from tests.unit.channels.kit import (
    NOW,
    OpenGate,
    ScriptedHttp,
    batch,
    driver,
    message,
)
from tests.unit.channels.kit_huawei import answer, partial
from tocsin.channels.breaker import OPEN_S
from tocsin.channels.lists import PREPARED_LIFE_S, PREPARED_MAX, ListDriver
from tocsin.channels.vendors import huawei
from tocsin.channels.way import MAIN
from tocsin.clock import ManualClock, settle_loop
from tocsin.conversation import (
    ANY_WAY,
    Authority,
    Batch,
    Denied,
    Fault,
    Request,
    Response,
    Unanswered,
)
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt
from tocsin.metrics import Metrics

OK = kit_huawei.KIT.accepted
STALE = answer(401, "80200003", "OAuth token expired")


def outcomes(receipts: Sequence[Receipt]) -> Counter[Outcome]:
    return Counter(receipt.outcome for receipt in receipts)


def size_of(request: Request) -> int:
    return len(msgspec.json.decode(request.body)["message"]["token"])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


# one list


async def test_a_list_is_one_request_with_one_leave_and_one_receipt_a_device() -> None:
    gate, http = OpenGate(), ScriptedHttp(lambda _: partial(f"{7:064x}", success=999))
    receipts = await driver(huawei, http).deliver(batch(1000), gate)
    assert [receipt.device for receipt in receipts] == list(range(1, 1001))
    assert outcomes(receipts) == {Outcome.ACCEPTED: 999, Outcome.TOKEN_DEAD: 1}
    assert {receipt.epoch for receipt in receipts} == {3}
    assert (gate.asked, len(http.requests)) == (1, 1)


async def test_a_batch_longer_than_the_vendor_takes_is_cut_into_lists() -> None:
    http = ScriptedHttp(lambda _: OK)
    receipts = await driver(huawei, http, rate_per_s=1e6).deliver(batch(2300), OpenGate())
    assert [receipt.device for receipt in receipts] == list(range(1, 2301))
    assert [size_of(request) for request in http.requests] == [1000, 1000, 300]


@pytest.mark.parametrize(
    ("kind", "outcome"), [("unsent", Outcome.UNSENT), ("maybe_sent", Outcome.UNKNOWN)]
)
async def test_no_answer_is_told_of_the_whole_list(kind: str, outcome: Outcome) -> None:
    metrics = Metrics()
    fault = msgspec.convert({"kind": kind, "reason": "gone"}, Fault)
    one = driver(huawei, ScriptedHttp(lambda _: fault), metrics=metrics)
    assert outcomes(await one.deliver(batch(30), OpenGate())) == {outcome: 30}
    assert metrics.value("faults", channel="huawei", kind=kind) == 1
    assert metrics.value("deliveries", channel="huawei", outcome=outcome) == 30


@pytest.mark.parametrize("outcome", [Outcome.RECALLED, Outcome.EXPIRED, Outcome.HELD])
async def test_what_the_gate_says_is_booked_for_the_whole_list(outcome: Outcome) -> None:
    http = ScriptedHttp(lambda _: OK)
    one = driver(huawei, http)
    receipts = await one.deliver(batch(30), OpenGate(outcome))
    assert (outcomes(receipts), http.requests) == ({outcome: 30}, [])
    assert one.room(NOW) > 0


async def test_too_large_is_never_sent() -> None:
    http = ScriptedHttp(lambda _: OK)
    receipts = await driver(huawei, http).deliver(
        batch(30, message=message(ext="x" * 5000)), OpenGate()
    )
    assert (outcomes(receipts), http.requests) == ({Outcome.TOO_LARGE: 30}, [])


# authority


async def test_a_stale_authority_is_renewed_and_the_list_goes_again() -> None:
    answers = iter([STALE, OK])
    http, gate = ScriptedHttp(lambda _: next(answers)), OpenGate()
    receipts = await driver(huawei, http).deliver(batch(30), gate)
    assert outcomes(receipts) == {Outcome.ACCEPTED: 30}
    assert (len(http.requests), http.bearers, gate.asked) == (2, 2, 2)


async def test_stale_twice_is_a_wrong_credential_and_opens_the_breaker() -> None:
    http = ScriptedHttp(lambda _: STALE)
    one = driver(huawei, http)
    receipts = await one.deliver(batch(30), OpenGate())
    assert outcomes(receipts) == {Outcome.CREDENTIALS_WRONG: 30}
    assert (len(http.requests), one.room(NOW)) == (2, 0)


async def test_a_recall_reaches_a_list_that_was_refused() -> None:
    http = ScriptedHttp(lambda _: STALE)
    receipts = await driver(huawei, http).deliver(batch(30), OpenGate(None, Outcome.RECALLED))
    assert (outcomes(receipts), len(http.requests)) == ({Outcome.RECALLED: 30}, 1)


# pace


async def test_the_pace_counts_targets_and_not_requests(clock: ManualClock) -> None:
    """2000 a second: a list every half, and never more than one list and a burst too early."""
    http = ScriptedHttp(lambda _: OK)
    one = driver(huawei, http, clock=clock, rate_per_s=2000.0)
    taken = 0
    for _ in range(100):
        work = asyncio.create_task(one.deliver(batch(1000), OpenGate()))
        taken += outcomes(await settled(work, clock))[Outcome.ACCEPTED]
        allowed = 2000 * (clock.now() - NOW)
        assert taken <= allowed + 1500
        await clock.advance(0.1)
    assert taken == 1000 * len(http.requests) >= 2000 * (clock.now() - NOW) - 1500


async def settled(work: asyncio.Task[BatchReceipts], clock: ManualClock) -> Sequence[Receipt]:
    while not work.done():
        await clock.advance(0.01)
    return work.result()


async def test_room_counts_the_devices_of_the_lists_that_can_begin(clock: ManualClock) -> None:
    one = driver(huawei, ScriptedHttp(lambda _: OK), clock=clock, rate_per_s=8000.0)
    assert one.room(NOW) == 4000
    await one.deliver(batch(1000), OpenGate())
    assert one.room(NOW) == 3000
    one.trip("a test")
    assert one.room(NOW) == 0


async def test_an_outage_opens_the_breaker_and_a_list_of_nobody_probes(clock: ManualClock) -> None:
    is_down = True
    http = ScriptedHttp(lambda _: Response(500) if is_down else OK)
    one = driver(huawei, http, clock=clock)
    assert one.tend(clock.now()) == [ANY_WAY]
    for _ in range(3):
        for _ in range(10):
            await one.deliver(batch(2), OpenGate())
        await clock.advance(1)
    seen = len(http.requests)
    assert outcomes(await one.deliver(batch(30), OpenGate())) == {Outcome.HELD: 30}
    assert one.tend(clock.now()) == []
    await clock.advance(OPEN_S)
    is_down = False
    one.tend(clock.now())
    await settle_loop()
    assert one.tend(clock.now()) == [MAIN]
    assert len(http.requests) == seen + 1
    assert msgspec.json.decode(http.requests[-1].body)["message"]["token"] == [huawei.NOBODY]
    assert outcomes(await one.deliver(batch(30), OpenGate())) == {Outcome.ACCEPTED: 30}
    assert one.room(clock.now()) > 1000


@pytest.mark.evidence(
    "what only a dead device yields is dropped whatever its share; the rest is guarded "
    "while the credential serves",
)
@pytest.mark.parametrize(("accepted", "outcome"), [(1, "token_dead"), (0, "token_mismatch")])
async def test_a_list_of_which_nobody_was_taken_may_be_another_apps(
    accepted: int, outcome: str
) -> None:
    """Dead tokens beside accepted ones are dead; a list of dead ones alone may accuse us."""
    tokens = [it.token for it in batch(6).deliveries]
    told = {"success": accepted, "failure": 6 - accepted, "illegal_tokens": tokens[accepted:]}
    said = answer(200, "80100000", msgspec.json.encode(told).decode())
    receipts = await driver(huawei, ScriptedHttp(lambda _: said)).deliver(batch(6), OpenGate())
    assert outcomes(receipts) == Counter({outcome: 6 - accepted, "accepted": accepted})


# a vendor that saves first


class Saving:
    """A vendor made up: `/save` answers a number, `/send` names it."""

    NAME = "huawei"
    NOBODY = huawei.NOBODY
    LIMITS = huawei.LIMITS
    Settings = huawei.Settings
    OUTCOMES = huawei.OUTCOMES
    HINTS = huawei.HINTS
    HOSTS = huawei.HOSTS

    def normal_token(self, token: str) -> str | None:
        return token

    def replaces(self, settings: Any, message: Any) -> bool:
        return True

    def authorize(self, settings: Any, now: float) -> Generator[Request, Response, Authority]:
        yield from ()
        return Authority("proof", now + 60, now + 600)

    def prepare(
        self, settings: Any, credential: Authority, batch: Batch, now: float
    ) -> Generator[Request, Response, str | Denied]:
        if len(batch.deliveries) == 1:
            return ""
        response = yield Request("POST", "https://vendor.example", "/save")
        if response.status != 200:
            return Denied(Outcome.BLOCKED_CONTENT, str(response.status), "not this text")
        return response.body.decode()

    def deliver(
        self, settings: Any, credential: Authority, batch: Batch, now: float
    ) -> Generator[Request, Response, BatchReceipts]:
        """In two requests, half of the list each."""
        receipts: list[Receipt] = []
        half = len(batch.deliveries) // 2
        for part in (batch.deliveries[:half], batch.deliveries[half:]):
            body = f"{batch.prepared}:{len(part)}".encode()
            try:
                yield Request("POST", "https://vendor.example", "/send", (), body)
                denied = Denied(Outcome.ACCEPTED, "0", "")
            except Unanswered as fault:
                denied = fault.denied
            receipts += [
                Receipt(device=it.device, outcome=denied.outcome, code=denied.code) for it in part
            ]
        return BatchReceipts.each(receipts)


class SavingHttp(ScriptedHttp):
    def __init__(self, status: int = 200) -> None:
        super().__init__(self._reply)
        self.status = status
        self.door = asyncio.Event()
        self.door.set()
        self.saves = 0
        self.sends: list[bytes] = []

    async def _reply(self, request: Request) -> Response | Fault:
        if request.path == "/save":
            self.saves += 1
            number = self.saves
            await self.door.wait()
            return Response(self.status, {}, b"saved-%d" % number)
        self.sends.append(request.body)
        return Response(200)


@pytest.mark.evidence(
    "what is saved is saved once a task and language",
    topic="Vendors",
    planted="saved a job; no lock around the saving; its age counted from the answer",
)
async def test_a_text_is_saved_once_for_all_batches_that_wait_for_it() -> None:
    http = SavingHttp()
    http.door.clear()
    one = driver(Saving(), http)
    works = [asyncio.create_task(one.deliver(batch(4), OpenGate())) for _ in range(5)]
    await settle_loop()
    assert (http.saves, http.sends) == (1, [])
    http.door.set()
    done = await asyncio.gather(*works)
    assert [outcomes(receipts) for receipts in done] == [{Outcome.ACCEPTED: 4}] * 5
    assert (http.saves, http.sends) == (1, [b"saved-1:2"] * 10)


@pytest.mark.evidence("what is saved is saved once a task and language")
async def test_each_task_and_language_is_saved_by_itself_and_anew_when_it_is_old(
    clock: ManualClock,
) -> None:
    http = SavingHttp()
    one = driver(Saving(), http, clock=clock)
    for task, language in ((1, -1), (1, 0), (2, -1), (1, -1)):
        given = msgspec.structs.replace(batch(2), task=task, language=language)
        await one.deliver(given, OpenGate())
    assert http.saves == 3
    await clock.advance(PREPARED_LIFE_S)
    await one.deliver(batch(2), OpenGate())
    assert http.saves == 4


@pytest.mark.evidence("a repeat is silent")
async def test_the_silent_text_of_a_repeat_is_saved_by_itself(clock: ManualClock) -> None:
    http = SavingHttp()
    one = driver(Saving(), http, clock=clock)
    await one.deliver(batch(2), OpenGate())
    await clock.advance(1)
    await one.deliver(batch(2), OpenGate())
    repeat = msgspec.structs.replace(batch(2), doubted_at=NOW)
    await one.deliver(repeat, OpenGate())
    assert (http.saves, http.sends[-1]) == (2, b"saved-2:1")


@pytest.mark.evidence("what is saved is saved once a task and language")
async def test_a_text_is_as_old_as_the_life_that_was_saved_with_it(clock: ManualClock) -> None:
    """A save that takes its time brings what was left when it began."""
    http = SavingHttp()
    http.door.clear()
    one = driver(Saving(), http, clock=clock)
    work = asyncio.create_task(one.deliver(batch(2), OpenGate()))
    await clock.advance(5)
    http.door.set()
    await work
    await clock.advance(PREPARED_LIFE_S - 6)
    await one.deliver(batch(2), OpenGate())
    assert http.saves == 1
    await clock.advance(1)
    await one.deliver(batch(2), OpenGate())
    assert http.saves == 2


@pytest.mark.evidence(
    "one device alone leaves the lists their saved text",
    topic="Vendors",
    planted="the empty text kept",
)
async def test_one_device_that_needs_nothing_saved_leaves_the_lists_their_own_text() -> None:
    http = SavingHttp()
    one = driver(Saving(), http)
    for count in (1, 4, 4):
        await one.deliver(batch(count), OpenGate())
    assert (http.saves, http.sends[2:]) == (1, [b"saved-1:2"] * 4)


async def test_no_more_is_kept_than_the_limit_says() -> None:
    http = SavingHttp()
    one = driver(Saving(), http, rate_per_s=1e6)
    assert isinstance(one, ListDriver)
    for task in range(PREPARED_MAX + 5):
        await one.deliver(msgspec.structs.replace(batch(2), task=task), OpenGate())
    assert len(one._saved) == PREPARED_MAX


async def test_a_text_that_cannot_be_saved_is_not_sent_and_is_tried_again() -> None:
    http = SavingHttp(status=403)
    one = driver(Saving(), http)
    receipts = await one.deliver(batch(4), OpenGate())
    assert (outcomes(receipts), http.sends) == ({Outcome.BLOCKED_CONTENT: 4}, [])
    http.status = 200
    assert outcomes(await one.deliver(batch(4), OpenGate())) == {Outcome.ACCEPTED: 4}
    assert http.saves == 2


async def test_a_save_without_an_answer_leaves_no_doubt_about_any_device() -> None:
    http = ScriptedHttp(lambda _: Fault("maybe_sent", "gone"))
    receipts = await driver(Saving(), http).deliver(batch(4), OpenGate())
    assert outcomes(receipts) == {Outcome.UNSENT: 4}


async def test_the_gate_is_asked_before_each_request_but_one_it_was_just_asked_for() -> None:
    gate, http = OpenGate(), SavingHttp()
    await driver(Saving(), http).deliver(batch(4), gate)
    assert (gate.asked, http.saves + len(http.sends)) == (3, 3)


async def test_a_recall_in_the_middle_stops_the_rest_of_the_conversation() -> None:
    gate, http = OpenGate(None, None, Outcome.RECALLED), SavingHttp()
    receipts = await driver(Saving(), http).deliver(batch(4), gate)
    assert [it.outcome for it in receipts] == [Outcome.ACCEPTED] * 2 + [Outcome.RECALLED] * 2
    assert len(http.sends) == 1


# faults of ours


class Broken(Saving):
    """Fails at its n-th step."""

    def __init__(self, step: int) -> None:
        self._step = step

    prepare = None  # type: ignore[assignment]

    def deliver(
        self, settings: Any, credential: Authority, batch: Batch, now: float
    ) -> Generator[Request, Response, BatchReceipts]:
        if self._step == 0:
            raise ZeroDivisionError
        yield Request("POST", "https://vendor.example", "/send")
        if self._step == 1:
            raise ZeroDivisionError
        return BatchReceipts.each([])


@pytest.mark.parametrize(
    ("step", "outcome"), [(0, Outcome.BAD_REQUEST), (1, Outcome.UNKNOWN), (2, Outcome.UNKNOWN)]
)
async def test_a_fault_of_ours_is_doubt_once_something_was_sent(
    step: int, outcome: Outcome
) -> None:
    metrics = Metrics()
    one = driver(Broken(step), ScriptedHttp(lambda _: Response(200)), metrics=metrics)
    assert outcomes(await one.deliver(batch(4), OpenGate())) == {outcome: 4}
    assert metrics.value("loop_errors", loop="channel") == 1
    assert one.room(NOW) > 0


async def test_leaving_in_the_middle_gives_the_place_back() -> None:
    never = asyncio.Event()

    async def hang() -> Response:
        await never.wait()
        return OK

    one = driver(huawei, ScriptedHttp(lambda _: hang()))
    full = one.room(NOW)
    work = asyncio.create_task(one.deliver(batch(1), OpenGate()))
    await settle_loop()
    assert one._taken == 1
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (one._taken, one.room(NOW)) == (0, full - 1)
