from __future__ import annotations

import math

import pytest

from tocsin.channels.pace import (
    CALM_S,
    COUNT_MIN,
    OPEN_MAX_S,
    OPEN_S,
    SECONDS_MIN,
    WINDOW_S,
    Breaker,
    Mortality,
)
from tocsin.domain.outcome import Outcome

NOW = 1000.0
FAILURES = (Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.UNSENT, Outcome.THROTTLED)
ANSWERS = (Outcome.ACCEPTED, Outcome.TOKEN_DEAD, Outcome.BAD_REQUEST, Outcome.TOO_LARGE)


def record(breaker: Breaker, outcome: Outcome, count: int, now: float = NOW) -> list[str]:
    return [reason for _ in range(count) if (reason := breaker.record(outcome, now))]


@pytest.mark.parametrize("outcome", FAILURES)
def test_more_than_half_failing_opens_it(outcome: Outcome) -> None:
    breaker, later = Breaker(), NOW + 2
    assert record(breaker, Outcome.ACCEPTED, COUNT_MIN) == []
    assert record(breaker, outcome, COUNT_MIN - 2) == []
    assert record(breaker, outcome, 1, NOW + 1) == []
    assert record(breaker, outcome, 1, later) == []
    assert len(record(breaker, outcome, 1, later)) == 1
    assert (breaker.state(later), breaker.leave(later), breaker.room(later)) == ("open", "hold", 0)


def test_everything_on_one_connection_may_fail_at_once() -> None:
    breaker = Breaker()
    for second in range(SECONDS_MIN - 1):
        assert record(breaker, Outcome.UNSENT, 1000, NOW + second) == []
    assert len(record(breaker, Outcome.UNSENT, 1, NOW + SECONDS_MIN - 1)) == 1


@pytest.mark.parametrize("outcome", ANSWERS)
def test_what_the_vendor_answers_about_a_message_is_no_failure(outcome: Outcome) -> None:
    breaker = Breaker()
    assert record(breaker, outcome, 10 * COUNT_MIN) == []
    assert breaker.leave(NOW) == "go"


def test_a_few_failures_are_luck() -> None:
    breaker = Breaker()
    for second in range(COUNT_MIN - 1):
        assert record(breaker, Outcome.SERVER_ERROR, 1, NOW + second) == []
    assert len(record(breaker, Outcome.SERVER_ERROR, 1, NOW + COUNT_MIN)) == 1


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = Breaker()
    for second in range(COUNT_MIN - 1):
        record(breaker, Outcome.SERVER_ERROR, 1, NOW + second)
    assert record(breaker, Outcome.SERVER_ERROR, 1, NOW + WINDOW_S) == []
    assert breaker.state(NOW + WINDOW_S) == "closed"


def test_a_wrong_credential_opens_it_at_once() -> None:
    breaker = Breaker()
    assert record(breaker, Outcome.CREDENTIALS_WRONG, 1) == ["the vendor answers credentials_wrong"]
    assert breaker.state(NOW) == "open"


def opened() -> Breaker:
    breaker = Breaker()
    record(breaker, Outcome.CREDENTIALS_WRONG, 1)
    return breaker


def test_half_open_lets_one_probe_through_and_closes_when_it_is_answered() -> None:
    breaker, later = opened(), NOW + OPEN_S
    assert breaker.room(later) == 1
    assert [breaker.leave(later) for _ in range(3)] == ["probe", "hold", "hold"]
    assert breaker.room(later) == 0
    assert breaker.record_probe(Outcome.TOKEN_DEAD, later) == ""
    assert (breaker.state(later), breaker.leave(later)) == ("closed", "go")


def test_each_failed_probe_doubles_the_wait_up_to_a_limit() -> None:
    breaker, now, waits = opened(), NOW, []
    for _ in range(8):
        wait_s = breaker.wait_s(now)
        waits.append(wait_s)
        now += wait_s
        assert breaker.leave(now) == "probe"
        assert breaker.record_probe(Outcome.UNSENT, now)
    assert waits == [min(OPEN_MAX_S, OPEN_S * 2**n) for n in range(8)]


def test_after_a_calm_time_the_next_outage_is_a_first_one() -> None:
    breaker = opened()
    for calm_s, expected in ((CALM_S, 2 * OPEN_S), (CALM_S + 1, OPEN_S)):
        now = NOW + 10 * CALM_S * (1 if calm_s == CALM_S else 2)
        assert breaker.leave(now) == "probe"
        breaker.record_probe(Outcome.ACCEPTED, now)
        breaker.record(Outcome.CREDENTIALS_WRONG, now + calm_s)
        assert breaker.wait_s(now + calm_s) == expected


def test_a_probe_that_was_not_sent_is_given_back() -> None:
    breaker, later = opened(), NOW + OPEN_S
    assert breaker.leave(later) == "probe"
    breaker.release()
    assert breaker.leave(later) == "probe"


def test_stragglers_of_before_do_not_decide_for_the_probe() -> None:
    breaker, later = opened(), NOW + OPEN_S
    assert breaker.leave(later) == "probe"
    assert record(breaker, Outcome.ACCEPTED, 50, later) == []
    assert record(breaker, Outcome.CREDENTIALS_WRONG, 50, later) == []
    assert breaker.leave(later) == "hold"


def test_an_open_breaker_waits_as_long_as_the_vendor_asked() -> None:
    for asked_s, expected in ((120.0, 120.0), (1.0, OPEN_S), (1e9, OPEN_MAX_S)):
        breaker = Breaker()
        for second in range(3):
            for _ in range(10):
                breaker.record(Outcome.THROTTLED, NOW + second, asked_s)
        assert breaker.state(NOW + 2) == "open"
        first = NOW + 1  # With the twentieth outcome in the third second it opened.
        assert breaker.wait_s(first + 1) == pytest.approx(expected)
        later = NOW + 2 + expected
        assert breaker.leave(later) == "probe"
        breaker.record_probe(Outcome.SERVER_ERROR, later, 300.0)
        assert breaker.wait_s(later) == 300.0


def test_a_vendor_that_is_down_for_weeks_is_asked_every_ten_minutes() -> None:
    breaker = opened()
    breaker._level = 10_000
    later = NOW + OPEN_S
    assert breaker.leave(later) == "probe"
    breaker.record_probe(Outcome.SERVER_ERROR, later)
    assert breaker.wait_s(later) == OPEN_MAX_S


def test_what_one_answer_asked_long_ago_keeps_no_breaker_open() -> None:
    breaker = Breaker()
    breaker.record(Outcome.THROTTLED, NOW, 3600.0)
    for second in range(60, 63):
        for _ in range(10):
            breaker.record(Outcome.UNSENT, NOW + second)
    assert breaker.wait_s(NOW + 62) == pytest.approx(OPEN_S)
    assert breaker.state(NOW + 62) == "open"


def test_a_wait_that_is_not_the_vendors_own_word_keeps_no_breaker_open() -> None:
    breaker = Breaker()
    for second in range(3):
        for _ in range(10):
            breaker.record(Outcome.UNKNOWN, NOW + second, math.inf)
    assert breaker.wait_s(NOW + 2) == OPEN_S


def test_tripping_an_open_breaker_changes_nothing() -> None:
    breaker = Breaker()
    assert breaker.trip(NOW)
    assert not breaker.trip(NOW + 1)
    assert breaker.wait_s(NOW) == OPEN_S


def told(mortality: Mortality, *, accepted: int, dead: int, now: float = NOW) -> str:
    mortality.judge(accepted, 0, now)
    return mortality.tell_dead(dead, now)


def test_single_tokens_told_dead_are_believed_and_most_of_them_accuse_us() -> None:
    mortality = Mortality()
    assert told(mortality, accepted=100, dead=20) == "believe"
    assert told(mortality, accepted=0, dead=1) == "accuse"
    assert told(mortality, accepted=1000, dead=100) == "believe"


def test_a_few_are_believed_whatever_was_accepted() -> None:
    mortality = Mortality()
    assert [told(mortality, accepted=0, dead=1) for _ in range(4)] == ["believe"] * 4
    # After a restart nobody knows of how many they are: neither dropped nor held against us.
    assert told(mortality, accepted=0, dead=1) == "keep"
    assert told(mortality, accepted=4, dead=0) == "keep"
    assert told(mortality, accepted=1, dead=0) == "accuse"


def test_what_was_more_than_an_hour_ago_is_forgotten() -> None:
    mortality = Mortality()
    assert told(mortality, accepted=100, dead=15) == "believe"
    assert told(mortality, accepted=0, dead=5, now=NOW + 3500) == "believe"
    assert told(mortality, accepted=0, dead=0, now=NOW + 3660) == "keep"
