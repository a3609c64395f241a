from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from tocsin.domain.outcome import (
    NEVER_AGAIN_S,
    POLICIES,
    REPEAT_WAITS_S,
    Attempt,
    BatchReceipts,
    Outcome,
    Past,
    Receipt,
    State,
    Verdict,
    accuses_us,
    backoff_s,
    judge,
)
from tocsin.domain.retry import LONGEST_WAIT_MAX_S, LONGEST_WAIT_S

NOW = 1000.0
FRESH = Past()
WAY = (Outcome.SERVER_ERROR, Outcome.THROTTLED, Outcome.UNSENT)
"""What says nothing of the device."""


def judged(
    *receipts: Receipt,
    number: int = 0,
    left_s: float = 3600,
    life_s: float = 3600,
    replaces: bool = True,
    doubted: frozenset[int] = frozenset(),
    past: Past = FRESH,
    scale: float = 1.0,
) -> Verdict:
    attempt = attempt_of(
        number=number,
        left_s=left_s,
        life_s=life_s,
        replaces=replaces,
        doubted=doubted,
        past=past,
        scale=scale,
    )
    return judge(receipts, attempt)


def attempt_of(
    *,
    number: int = 0,
    left_s: float = 3600,
    life_s: float = 3600,
    replaces: bool = True,
    doubted: frozenset[int] = frozenset(),
    past: Past = FRESH,
    scale: float = 1.0,
) -> Attempt:
    return Attempt(
        now=NOW,
        left_s=left_s,
        life_s=life_s,
        fraction=0.5,
        repeat_replaces=replaces,
        number=number,
        past=past,
        doubted=BitMap(doubted),
        scale=scale,
    )


def devices(verdict: Verdict) -> list[int]:
    return [device for later in verdict.again.values() for device in later.devices]


def receipt(device: int, outcome: Outcome, **facts: object) -> Receipt:
    return Receipt(device=device, outcome=outcome, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_policy_and_leads_somewhere(outcome: Outcome) -> None:
    verdict = judged(receipt(1, outcome))
    settled = [number for numbers in verdict.settled.values() for number in numbers]
    assert [*settled, *devices(verdict)] == [1]
    assert POLICIES[outcome].final is not State.OPEN


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.ACCEPTED, State.SENT),
        (Outcome.TOKEN_DEAD, State.FAILED),
        (Outcome.UNDELIVERABLE, State.FAILED),
        (Outcome.TOO_LARGE, State.FAILED),
        (Outcome.BAD_REQUEST, State.FAILED),
        (Outcome.BLOCKED_CONTENT, State.FAILED),
        (Outcome.NOT_PERMITTED, State.FAILED),
        (Outcome.EXPIRED, State.EXPIRED),
        (Outcome.RECALLED, State.RECALLED),
        (Outcome.MOVED, State.UNREACHABLE),
    ],
)
def test_what_ends_at_once_ends_in_its_state(outcome: Outcome, state: State) -> None:
    verdict = judged(receipt(1, outcome, code="7", info="why"))
    assert verdict.settled == {(state, "7", "why"): BitMap([1])}


@pytest.mark.evidence(
    "tries are spent only by answers about the device; waits grow for each cause, and their"
    " cap follows the life",
)
@pytest.mark.parametrize(
    "outcome", [*WAY, Outcome.HELD, Outcome.QUOTA_DAY, Outcome.CREDENTIALS_WRONG]
)
def test_what_is_no_answer_about_the_device_ends_with_the_pushs_life_alone(
    outcome: Outcome,
) -> None:
    past = Past(cause=outcome, tries=4)
    verdict = judged(receipt(1, outcome), left_s=1e9, life_s=1e9, number=10_000, past=past)
    assert devices(verdict) == [1]
    (later,) = verdict.again.values()
    assert later.past.tries == 4


@pytest.mark.evidence(
    "tries are spent only by answers about the device; waits grow for each cause, and their"
    " cap follows the life",
    topic="A push outlives every outage",
    planted="waits counted across causes; one cap for all lives",
)
def test_answers_about_the_device_spend_its_tries() -> None:
    """Whatever else has come in between."""
    tries_max = POLICIES[Outcome.OTHER_WAY].tries_max
    past = Past()
    for _ in range(tries_max - 1):
        for outcome in (*WAY, Outcome.OTHER_WAY):
            (later,) = judged(receipt(1, outcome), past=past).again.values()
            past = later.past
    last = judged(receipt(1, Outcome.OTHER_WAY), past=past)
    assert last.settled == {(State.FAILED, "0", ""): BitMap([1])}


def test_a_push_without_a_life_of_its_own_has_one_try() -> None:
    for outcome in (*WAY, Outcome.UNKNOWN, Outcome.OTHER_WAY):
        verdict = judged(receipt(1, outcome), life_s=0)
        assert list(verdict.settled) == [(POLICIES[outcome].final, "0", "")]
    assert devices(judged(receipt(1, Outcome.HELD), life_s=0)) == [1]


@pytest.mark.evidence(
    "tries are spent only by answers about the device; waits grow for each cause, and their"
    " cap follows the life",
)
def test_waits_grow_for_each_cause_by_itself_and_the_cap_follows_the_life() -> None:
    """Four times too fast says nothing of how long a server that fails needs."""
    past, number = Past(), 0
    for _ in range(12):
        (later,) = judged(
            receipt(1, Outcome.THROTTLED), past=past, number=number, life_s=1800
        ).again.values()
        past, number = later.past, later.attempt
    assert (later.after_s, number) == (1 + LONGEST_WAIT_S / 2, 12)
    (other,) = judged(receipt(1, Outcome.SERVER_ERROR), past=past, number=number).again.values()
    assert (other.after_s, other.attempt) == (0.25, 1)
    for life_s, longest_s in ((600, 60), (3600, 60), (7200, 120), (1e9, LONGEST_WAIT_MAX_S)):
        verdict = judged(
            receipt(1, Outcome.UNSENT),
            left_s=1e9,
            life_s=life_s,
            number=50,
            past=Past(cause=Outcome.UNSENT),
        )
        (later,) = verdict.again.values()
        assert later.after_s == longest_s / 2


def test_what_was_not_tried_keeps_its_cause_and_counts_nothing() -> None:
    past = Past(cause=Outcome.SERVER_ERROR, code="503", info="busy", tries=2)
    (later,) = judged(receipt(1, Outcome.HELD), past=past, number=3).again.values()
    assert (later.past, later.attempt) == (past, 3)


@pytest.mark.evidence(
    "what expires tells the last reason",
    topic="A push outlives every outage",
    planted="the reason forgotten at begin",
)
def test_what_expires_while_it_is_held_tells_the_last_reason() -> None:
    past = Past(cause=Outcome.SERVER_ERROR, code="503", info="busy")
    told = receipt(1, Outcome.HELD, code="-10", info="held back", retry_after_s=60.0)
    assert judged(told, past=past, left_s=10).settled == {
        (State.EXPIRED, "503", "busy"): BitMap([1])
    }
    assert judged(told, left_s=10).settled == {(State.EXPIRED, "-10", "held back"): BitMap([1])}


@pytest.mark.evidence(
    "who waits for a way is given up when its life ends, and not because the next wait is longer",
    topic="A push outlives every outage",
    planted="a wait past the life booked as expired at once",
)
def test_who_waits_for_the_way_is_given_up_when_its_life_ends_and_not_before() -> None:
    """The way may prove itself sooner than the wait is over, and wakes who is still there."""
    for outcome in (*WAY, Outcome.CREDENTIALS_WRONG, Outcome.HELD):
        told = receipt(1, outcome, code="503", info="busy", way="main")
        told = msgspec.structs.replace(told, retry_after_s=60.0)
        (later,) = judged(told, left_s=10).again.values()
        assert (later.devices, later.after_s, later.way) == (BitMap([1]), 10, "main")
        assert (later.past.code, later.past.info) == ("503", "busy"), "what it expires with"


def test_retry_after_is_obeyed_and_never_past_the_tasks_life() -> None:
    throttled = receipt(1, Outcome.THROTTLED, retry_after_s=90.0)
    (later,) = judged(throttled).again.values()
    assert later.after_s == 90.0
    assert judged(throttled, left_s=60).settled == {(State.EXPIRED, "0", ""): BitMap([1])}


@pytest.mark.parametrize("outcome", [*WAY, Outcome.HELD])
def test_what_waits_for_a_way_does_so_until_its_life_ends(outcome: Outcome) -> None:
    """It may be woken at any moment, however late it would have been tried by itself."""
    told = receipt(1, outcome, way="main", retry_after_s=30.0 if outcome is Outcome.HELD else None)
    past = Past(cause=outcome)
    (later,) = judged(told, left_s=5, number=20, past=past).again.values()
    assert later.after_s == 5
    assert next(iter(judged(told, left_s=0, past=past).settled))[0] is State.EXPIRED


def test_an_unknown_outcome_is_repeated_only_where_the_repeat_replaces() -> None:
    unknown = receipt(1, Outcome.UNKNOWN, way="main")
    (later,) = judged(unknown).again.values()
    assert (later.devices, later.after_s, later.way) == (BitMap([1]), 0.0, "main")
    assert (later.past.doubts, later.past.doubted_at) == (1, NOW)
    assert judged(unknown, replaces=False).settled == {(State.IN_DOUBT, "0", ""): BitMap([1])}


@pytest.mark.evidence(
    "at most four repeats over all causes, each later than the former, five showings at most",
    topic="A push outlives every outage",
    planted="a fifth repeat; later repeats woken by a proof",
)
def test_four_repeats_at_growing_waits_and_then_in_doubt_for_good() -> None:
    """Over all causes: a refusal in between neither counts as a repeat nor forgets one."""
    past, waits, ways = Past(), [], []
    doubted: frozenset[int] = frozenset()
    while True:
        verdict = judged(receipt(1, Outcome.UNKNOWN, way="main"), past=past, doubted=doubted)
        if not verdict.again:
            break
        (later,) = verdict.again.values()
        waits.append(later.after_s)
        ways.append(later.way)
        doubted = frozenset({1})
        for outcome in (Outcome.SERVER_ERROR, Outcome.HELD):
            verdict = judged(receipt(1, outcome), past=later.past, doubted=doubted)
            (later,) = verdict.again.values()
        past = later.past
    assert tuple(waits) == REPEAT_WAITS_S
    # Only the first one is due as soon as the way has proved itself.
    assert ways == ["main", "", "", ""]
    assert verdict.settled == {(State.IN_DOUBT, "0", ""): BitMap([1])}


@pytest.mark.evidence(
    "waits are scaled for tests alone, and what a vendor names is not",
    topic="Channels and sandbox",
    planted="a Retry-After scaled, too; a factor of 1.5 let in",
)
@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.AUTH_EXPIRED, Outcome.UNKNOWN])
def test_our_own_waits_are_scaled_and_what_a_vendor_names_is_not(outcome: Outcome) -> None:
    def wait_s(scale: float, **facts: object) -> float:
        told = receipt(1, outcome, **facts)
        verdict = judged(told, past=Past(doubts=1), doubted=frozenset({1}), scale=scale)
        (later,) = verdict.again.values()
        return later.after_s

    assert wait_s(0.1) == pytest.approx(wait_s(1.0) / 10)
    assert wait_s(0.1, retry_after_s=7.0) == 7.0


def test_no_repeat_comes_after_the_pushs_life() -> None:
    past = Past(doubts=2)
    verdict = judged(
        receipt(1, Outcome.UNKNOWN), past=past, doubted=frozenset({1}), left_s=REPEAT_WAITS_S[2]
    )
    assert verdict.settled == {(State.IN_DOUBT, "0", ""): BitMap([1])}


def test_who_was_sent_to_again_is_marked_and_who_was_not_is_not() -> None:
    doubted, past = frozenset({1, 2, 3}), Past(doubts=1)
    told = (
        receipt(1, Outcome.ACCEPTED),
        receipt(2, Outcome.HELD),
        receipt(3, Outcome.SERVER_ERROR),
        receipt(4, Outcome.ACCEPTED),
    )
    assert judged(*told, doubted=doubted, past=past).repeated == BitMap([1, 3])


@pytest.mark.parametrize("outcome", [Outcome.SERVER_ERROR, Outcome.BAD_REQUEST, Outcome.RECALLED])
def test_what_may_have_arrived_before_ends_in_doubt(outcome: Outcome) -> None:
    past = Past(doubts=1)
    verdict = judged(receipt(1, outcome), left_s=0, past=past, doubted=frozenset({1}))
    assert [state for state, _, _ in verdict.settled] == [State.IN_DOUBT]


def test_what_may_have_arrived_before_and_is_accepted_now_is_sent() -> None:
    verdict = judged(receipt(1, Outcome.ACCEPTED), doubted=frozenset({1}))
    assert [state for state, _, _ in verdict.settled] == [State.SENT]


def test_a_dead_token_beside_the_route_is_dropped_and_a_call_goes_another_way() -> None:
    gone = receipt(1, Outcome.OTHER_WAY, gone_token="voip")
    verdict = judged(gone, *(receipt(n, Outcome.ACCEPTED) for n in range(2, 9)))
    assert [item.device for item in verdict.suspects] == devices(verdict) == [1]
    accused = judged(*(receipt(n, Outcome.OTHER_WAY, gone_token="voip") for n in range(1, 9)))
    assert (accused.dead, accused.suspects, bool(accused.accusation)) == ([], [], True)


@pytest.mark.evidence(
    "what only a dead device yields is dropped whatever its share; the rest is guarded "
    "while the credential serves",
    topic="A push outlives every outage",
    planted="both guarded alike; a list of dead ones believed",
)
@pytest.mark.parametrize("count", [1, 5, 500])
def test_what_only_a_dead_device_yields_is_dropped_whatever_its_share(count: int) -> None:
    verdict = judged(*(receipt(n, Outcome.TOKEN_DEAD) for n in range(count)))
    assert [item.device for item in verdict.dead] == list(range(count))
    assert (verdict.breaker, verdict.accusation) == ("", "")


@pytest.mark.parametrize(
    ("suspect", "alive", "accused"), [(4, 0, False), (5, 0, True), (5, 20, False), (40, 20, True)]
)
def test_what_a_wrong_credential_yields_too_is_guarded_by_its_share(
    suspect: int, alive: int, accused: bool
) -> None:
    batch = [receipt(n, Outcome.TOKEN_MISMATCH) for n in range(suspect)]
    batch += [receipt(100 + n, Outcome.ACCEPTED) for n in range(alive)]
    assert accuses_us(batch) is accused
    verdict = judged(*batch)
    assert verdict.dead == []
    assert bool(verdict.suspects) is not accused
    # While others of the batch are accepted, the credential goes on serving.
    assert bool(verdict.accusation) is (accused and not alive)
    assert verdict.breaker == ""


def test_wrong_credentials_open_the_breaker_and_lose_nothing() -> None:
    verdict = judged(receipt(1, Outcome.CREDENTIALS_WRONG, code="403", info="InvalidProviderToken"))
    assert verdict.breaker == "403 InvalidProviderToken"
    assert devices(verdict) == [1]


@pytest.mark.evidence("one device's quota or wait holds back nobody else")
def test_nobody_waits_for_one_that_is_to_come_much_later() -> None:
    """Who answers for one device, a browser's push service say, may name any wait."""
    waits = {1: 1.9, 2: 1.0, 3: 40.0, 4: 60.0, 5: 57_600.0}
    for outcome in (Outcome.THROTTLED, Outcome.HELD):
        told = (receipt(device, outcome, retry_after_s=wait_s) for device, wait_s in waits.items())
        verdict = judged(*told, left_s=86_400)
        assert {tuple(it.devices): it.after_s for it in verdict.again.values()} == {
            (1, 2): 1.9,
            (3, 4): 60.0,
            (5,): 57_600.0,
        }


@pytest.mark.evidence("what may have been shown is not shown again for another device's quota")
def test_what_is_in_doubt_and_never_to_be_asked_again_stays_in_doubt() -> None:
    verdict = judged(receipt(1, Outcome.UNKNOWN, retry_after_s=NEVER_AGAIN_S))
    assert verdict.again == {}
    assert [state for state, _, _ in verdict.settled] == [State.IN_DOUBT]


@pytest.mark.evidence(
    "what lasts for a week is still tried, and absurd headers are no answer",
    topic="Trouble, vendor by vendor",
    planted="the two to the power of all attempts; a date of the year 99999999999",
)
def test_backoff_doubles_has_jitter_and_a_cap() -> None:
    assert [backoff_s(attempt, 1.0, 60) for attempt in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert backoff_s(3, 0.25, 60) == 1.0
    # A push that lives for a week may be tried ten thousand times.
    assert backoff_s(40, 1.0, 60) == backoff_s(10_000, 1.0, 60) == LONGEST_WAIT_S


# receipts of a batch


outcomes_of_few = st.sampled_from(
    (
        *(Outcome.ACCEPTED, Outcome.TOKEN_DEAD, Outcome.TOKEN_MISMATCH, Outcome.UNKNOWN),
        *(Outcome.SERVER_ERROR, Outcome.OTHER_WAY, Outcome.QUOTA_DAY, Outcome.HELD),
    )
)
receipts_of_few = st.builds(
    lambda outcome, code, wait_s, way: Receipt(
        device=0, outcome=outcome, code=code, retry_after_s=wait_s, way=way
    ),
    outcomes_of_few,
    st.sampled_from(("0", "7")),
    st.sampled_from((None, 5.0, 90.0)),
    st.sampled_from(("", "main")),
)


def place_of(verdict: Verdict, device: int) -> object:
    """Where a verdict has put a device."""
    settled = verdict.settled.items()
    places: list[object] = [key for key, members in settled if device in members]
    again = ((key, later) for key, later in verdict.again.items() if device in later.devices)
    places += [(*key, later.attempt, later.past) for key, later in again]
    assert len(places) == 1, places
    marks = (device in verdict.repeated, device in verdict.shortened)
    return places[0], marks


@given(receipts_of_few, st.dictionaries(st.integers(0, 11), receipts_of_few), st.data())
@pytest.mark.evidence(
    "a list judged as a set is judged as each of its devices would be",
    topic="Planning by sets",
    planted="devices in doubt were judged with the others",
)
def test_a_batch_is_judged_as_each_of_its_devices(
    rest: Receipt, exceptions: dict[int, Receipt], data: st.DataObject
) -> None:
    numbers = list(range(1, 13))
    placed = {
        at: msgspec.structs.replace(it, device=numbers[at], epoch=at)
        for at, it in exceptions.items()
    }
    batch = BatchReceipts(numbers, list(range(12)), rest, placed)
    assert [it.device for it in batch] == numbers
    assert batch == [placed.get(at, batch[at]) for at in range(12)]
    doubted = frozenset(data.draw(st.sets(st.sampled_from(numbers))))
    past = Past(cause=Outcome.UNKNOWN, doubts=1, doubted_at=NOW - 9) if doubted else FRESH
    verdict = judged(*batch, doubted=doubted, past=past, number=2)
    folded = judge(batch, attempt_of(doubted=doubted, past=past, number=2))
    for receipt in batch:
        alone = place_of(judged(receipt, doubted=doubted, past=past, number=2), receipt.device)
        assert place_of(verdict, receipt.device) == alone
        assert place_of(folded, receipt.device) == alone
    assert {it.device for it in verdict.dead} == {it.device for it in folded.dead}
    assert {it.device for it in verdict.suspects} == {it.device for it in folded.suspects}
    assert (verdict.accusation, bool(verdict.breaker)) == (folded.accusation, bool(folded.breaker))
    assert batch.counted() == Counter(it.outcome for it in batch)
