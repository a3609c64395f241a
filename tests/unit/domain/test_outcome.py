from __future__ import annotations

import pytest

from tocsin.domain.outcome import (
    BACKOFF_MAX_S,
    NEVER_AGAIN_S,
    POLICIES,
    Later,
    Outcome,
    Receipt,
    State,
    Verdict,
    accuses_us,
    backoff_s,
    judge,
)


def judged(
    *receipts: Receipt,
    attempt: int = 0,
    left_s: float = 3600,
    replaces: bool = True,
    doubted: frozenset[int] = frozenset(),
) -> Verdict:
    return judge(
        receipts,
        attempt=attempt,
        left_s=left_s,
        fraction=0.5,
        repeat_replaces=replaces,
        doubted=doubted,
    )


def devices(waiting: dict[int, Later]) -> list[int]:
    return [device for later in waiting.values() for device in later.devices]


def receipt(device: int, outcome: Outcome, **facts: object) -> Receipt:
    return Receipt(device=device, outcome=outcome, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_policy_and_leads_somewhere(outcome: Outcome) -> None:
    verdict = judged(receipt(1, outcome))
    settled = [number for numbers in verdict.settled.values() for number in numbers]
    assert [*settled, *devices(verdict.again), *devices(verdict.held)] == [1]
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
    assert verdict.settled == {(state, "7", "why"): [1]}


@pytest.mark.parametrize(
    "outcome",
    [Outcome.SERVER_ERROR, Outcome.THROTTLED, Outcome.UNSENT, Outcome.HELD, Outcome.QUOTA_DAY],
)
def test_what_passes_is_tried_again(outcome: Outcome) -> None:
    verdict = judged(receipt(1, outcome), left_s=1e9)
    assert [*devices(verdict.again), *devices(verdict.held)] == [1]
    assert verdict.repeats == []


def test_a_server_error_ends_after_its_last_try() -> None:
    last = POLICIES[Outcome.SERVER_ERROR].tries_max - 1
    assert judged(receipt(1, Outcome.SERVER_ERROR), attempt=last - 1).again
    assert not judged(receipt(1, Outcome.SERVER_ERROR), attempt=last).again


def test_retry_after_is_obeyed_and_never_past_the_tasks_life() -> None:
    throttled = receipt(1, Outcome.THROTTLED, retry_after_s=90.0)
    (later,) = judged(throttled).again.values()
    assert later.after_s == 90.0
    assert judged(throttled, left_s=60).settled == {(State.EXPIRED, "0", ""): [1]}


def test_an_unknown_outcome_is_repeated_only_where_the_repeat_replaces() -> None:
    unknown = receipt(1, Outcome.UNKNOWN)
    assert judged(unknown).repeats == [1]
    assert judged(unknown, replaces=False).settled == {(State.IN_DOUBT, "0", ""): [1]}


@pytest.mark.parametrize("outcome", [Outcome.SERVER_ERROR, Outcome.BAD_REQUEST, Outcome.RECALLED])
def test_what_may_have_arrived_before_ends_in_doubt(outcome: Outcome) -> None:
    verdict = judged(receipt(1, outcome), attempt=9, doubted=frozenset({1}))
    assert [state for state, _, _ in verdict.settled] == [State.IN_DOUBT]


def test_what_may_have_arrived_before_and_is_accepted_now_is_sent() -> None:
    verdict = judged(receipt(1, Outcome.ACCEPTED), doubted=frozenset({1}))
    assert [state for state, _, _ in verdict.settled] == [State.SENT]


def test_a_dead_token_beside_the_route_is_dropped_and_a_call_goes_another_way() -> None:
    gone = receipt(1, Outcome.OTHER_WAY, gone_token="voip")
    verdict = judged(gone, *(receipt(n, Outcome.ACCEPTED) for n in range(2, 9)))
    assert [item.device for item in verdict.dead] == devices(verdict.again) == [1]
    accused = judged(*(receipt(n, Outcome.OTHER_WAY, gone_token="voip") for n in range(1, 9)))
    assert (accused.dead, bool(accused.breaker)) == ([], True)


def test_one_dead_token_is_dropped() -> None:
    batch = [receipt(1, Outcome.TOKEN_DEAD), *(receipt(n, Outcome.ACCEPTED) for n in range(2, 9))]
    verdict = judged(*batch)
    assert [item.device for item in verdict.dead] == [1]
    assert verdict.breaker == ""


@pytest.mark.parametrize(
    ("dead", "alive", "accused"), [(4, 0, False), (5, 0, True), (5, 20, False)]
)
def test_a_share_of_dead_tokens_accuses_us(dead: int, alive: int, accused: bool) -> None:
    batch = [receipt(n, Outcome.TOKEN_DEAD) for n in range(dead)]
    batch += [receipt(100 + n, Outcome.ACCEPTED) for n in range(alive)]
    assert accuses_us(batch) is accused
    verdict = judged(*batch)
    assert bool(verdict.breaker) is accused
    assert bool(verdict.dead) is not accused


def test_wrong_credentials_open_the_breaker_and_lose_nothing() -> None:
    verdict = judged(receipt(1, Outcome.CREDENTIALS_WRONG, code="403", info="InvalidProviderToken"))
    assert verdict.breaker == "403 InvalidProviderToken"
    assert devices(verdict.again) == [1]


def test_nobody_waits_for_one_that_is_to_come_much_later() -> None:
    """Who answers for one device, a browser's push service say, may name any wait."""
    waits = {1: 1.9, 2: 1.0, 3: 40.0, 4: 60.0, 5: 57_600.0}
    for outcome in (Outcome.THROTTLED, Outcome.HELD):
        told = (receipt(device, outcome, retry_after_s=wait_s) for device, wait_s in waits.items())
        verdict = judged(*told, left_s=86_400)
        waiting = verdict.held if outcome is Outcome.HELD else verdict.again
        assert {tuple(it.devices): it.after_s for it in waiting.values()} == {
            (1, 2): 1.9,
            (3, 4): 60.0,
            (5,): 57_600.0,
        }


def test_what_is_in_doubt_and_never_to_be_asked_again_stays_in_doubt() -> None:
    verdict = judged(receipt(1, Outcome.UNKNOWN, retry_after_s=NEVER_AGAIN_S))
    assert verdict.again == {}
    assert [state for state, _, _ in verdict.settled] == [State.IN_DOUBT]


def test_backoff_doubles_has_jitter_and_a_cap() -> None:
    assert [backoff_s(attempt, 1.0) for attempt in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert backoff_s(3, 0.25) == 1.0
    # A push that lives for a week may be tried ten thousand times.
    assert backoff_s(40, 1.0) == backoff_s(10_000, 1.0) == BACKOFF_MAX_S
