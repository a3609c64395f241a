from __future__ import annotations

import math

import pytest

from tocsin.channels.breaker import (
    CALM_S,
    COUNT_MIN,
    OPEN_MAX_S,
    OPEN_S,
    REFUSED_MAX_S,
    REPEATS_MIN,
    REPEATS_S,
    SECONDS_MIN,
    THROTTLED_MAX_S,
    WINDOW_S,
    Breaker,
    Repeats,
)
from tocsin.channels.dead_tokens import DeadTokenMonitor
from tocsin.domain.outcome import Outcome

NOW = 1000.0
FAILURES = (Outcome.SERVER_ERROR, Outcome.UNKNOWN, Outcome.UNSENT, Outcome.THROTTLED)
ANSWERS = (
    Outcome.ACCEPTED,
    Outcome.TOKEN_DEAD,
    Outcome.TOKEN_MISMATCH,
    Outcome.BAD_REQUEST,
    Outcome.TOO_LARGE,
)


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
    assert (breaker.state, breaker.is_refused) == ("open", False)
    assert breaker.until == later + OPEN_S


def test_everything_on_one_connection_may_fail_at_once() -> None:
    breaker = Breaker()
    for second in range(SECONDS_MIN - 1):
        assert record(breaker, Outcome.UNSENT, 1000, NOW + second) == []
    assert len(record(breaker, Outcome.UNSENT, 1, NOW + SECONDS_MIN - 1)) == 1


@pytest.mark.parametrize("outcome", ANSWERS)
def test_what_the_vendor_answers_about_a_message_is_no_failure(outcome: Outcome) -> None:
    breaker = Breaker()
    for second in range(SECONDS_MIN + 1):
        assert record(breaker, outcome, 10 * COUNT_MIN, NOW + second) == []
    assert not breaker.is_open


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
    assert not breaker.is_open


@pytest.mark.evidence(
    "a wrong credential opens the breaker at once",
    topic="Trouble, vendor by vendor",
    planted="counted like any other failure",
)
def test_a_wrong_credential_opens_it_at_once() -> None:
    breaker = Breaker()
    assert record(breaker, Outcome.CREDENTIALS_WRONG, 1) == ["the vendor answers credentials_wrong"]
    assert breaker.is_open
    assert breaker.is_refused


def opened(outcome: Outcome = Outcome.SERVER_ERROR) -> Breaker:
    breaker = Breaker()
    for second in range(SECONDS_MIN):
        record(breaker, outcome, COUNT_MIN, NOW + second - SECONDS_MIN)
    assert breaker.is_open
    return breaker


@pytest.mark.evidence("what lasts for a week is still tried, and absurd headers are no answer")
@pytest.mark.parametrize(
    ("outcome", "longest_s"),
    [
        (Outcome.SERVER_ERROR, OPEN_MAX_S),
        (Outcome.UNKNOWN, OPEN_MAX_S),
        (Outcome.UNSENT, OPEN_MAX_S),
        (Outcome.THROTTLED, THROTTLED_MAX_S),
        (Outcome.CREDENTIALS_WRONG, REFUSED_MAX_S),
    ],
)
def test_each_failed_probe_doubles_the_wait_up_to_the_limit_of_its_cause(
    outcome: Outcome, longest_s: float
) -> None:
    """An outage that has ended is noticed within 30 seconds, however long it was."""
    breaker, waits, now = opened(outcome), [], NOW
    for _ in range(40):
        now = breaker.until
        assert breaker.record_probe(outcome, now)
        waits.append(breaker.until - now)
    assert waits == [min(longest_s, OPEN_S * 2 ** (n + 1)) for n in range(40)]


@pytest.mark.evidence(
    "a breaker closes when a push to nobody is answered, and the next outage soon after counts on",
    topic="Channels and sandbox",
    planted="the level forgotten at each closing",
)
def test_an_answer_closes_it_and_after_a_calm_time_the_next_outage_is_a_first_one() -> None:
    breaker, now = opened(Outcome.CREDENTIALS_WRONG), NOW
    for calm_s, expected in ((CALM_S, 2 * OPEN_S), (CALM_S + 1, OPEN_S)):
        now += 1000
        assert breaker.close(now)
        assert not breaker.close(now)
        now += calm_s
        breaker.record(Outcome.CREDENTIALS_WRONG, now)
        assert breaker.until == now + expected


def test_stragglers_of_before_say_nothing_new() -> None:
    breaker = opened()
    until = breaker.until
    assert record(breaker, Outcome.ACCEPTED, 50, NOW + 1) == []
    assert record(breaker, Outcome.CREDENTIALS_WRONG, 50, NOW + 1) == []
    assert (breaker.is_open, breaker.until) == (True, until)


def test_a_probe_that_fails_opens_a_closed_breaker_only_if_we_are_refused() -> None:
    breaker = Breaker()
    assert breaker.record_probe(Outcome.SERVER_ERROR, NOW) == ""
    assert breaker.record_probe(Outcome.CREDENTIALS_WRONG, NOW)
    assert breaker.is_refused


@pytest.mark.evidence("a vendor's own pause is obeyed, by the credential or by the breaker")
@pytest.mark.parametrize("asked_s", [120.0, 1.0, 86_400.0])
def test_an_open_breaker_waits_in_full_as_long_as_the_vendor_asked(asked_s: float) -> None:
    breaker = Breaker()
    for second in range(3):
        for _ in range(10):
            breaker.record(Outcome.THROTTLED, NOW + second, asked_s)
    # With the first outcome in the third second it opened.
    assert breaker.until == NOW + 2 + max(OPEN_S, asked_s)
    breaker.record_probe(Outcome.SERVER_ERROR, NOW + 10, asked_s)
    assert breaker.until == NOW + 10 + max(2 * OPEN_S, asked_s)


@pytest.mark.evidence("only an answer to a push to nobody closes a breaker")
def test_what_one_answer_asked_long_ago_keeps_no_breaker_open() -> None:
    breaker = Breaker()
    breaker.record(Outcome.THROTTLED, NOW, 3600.0)
    for second in range(60, 63):
        for _ in range(10):
            breaker.record(Outcome.UNSENT, NOW + second)
    assert breaker.until == NOW + 62 + OPEN_S


def test_a_wait_that_is_not_the_vendors_own_word_keeps_no_breaker_open() -> None:
    breaker = Breaker()
    for second in range(3):
        for _ in range(10):
            breaker.record(Outcome.UNKNOWN, NOW + second, math.inf)
    assert breaker.until == NOW + 2 + OPEN_S


def test_tripping_an_open_breaker_changes_nothing() -> None:
    breaker = Breaker()
    assert breaker.trip(NOW, "why")
    assert not breaker.trip(NOW + 1, "another")
    assert (breaker.until, breaker.why) == (NOW + OPEN_S, "why")


def test_repeats_stop_while_most_of_them_stay_without_an_answer() -> None:
    repeats = Repeats()
    repeats.record(REPEATS_MIN - 1, REPEATS_MIN - 1, NOW)
    assert repeats.stopped_until(NOW) is None
    repeats.record(1, 1, NOW + 1)
    assert repeats.stopped_until(NOW + 1) == NOW + REPEATS_S
    assert repeats.stopped_until(NOW + REPEATS_S) is None


def test_repeats_go_on_while_half_of_them_are_answered() -> None:
    repeats = Repeats()
    for second in range(100):
        repeats.record(10, 5, NOW + second)
    assert repeats.stopped_until(NOW + 100) is None


def told(monitor: DeadTokenMonitor, *, accepted: int, dead: int, now: float = NOW) -> str:
    monitor.judge(accepted, 0, now)
    return monitor.tell_dead(dead, now)


def test_single_tokens_told_dead_are_believed_and_most_of_them_accuse_us() -> None:
    monitor = DeadTokenMonitor()
    assert told(monitor, accepted=100, dead=20) == "believe"
    assert told(monitor, accepted=0, dead=1) == "accuse"
    assert told(monitor, accepted=1000, dead=100) == "believe"


def test_a_few_are_believed_whatever_was_accepted() -> None:
    monitor = DeadTokenMonitor()
    assert [told(monitor, accepted=0, dead=1) for _ in range(4)] == ["believe"] * 4
    # After a restart nobody knows of how many they are: neither dropped nor held against us.
    assert told(monitor, accepted=0, dead=1) == "keep"
    assert told(monitor, accepted=4, dead=0) == "keep"
    assert told(monitor, accepted=1, dead=0) == "accuse"


def test_what_was_more_than_an_hour_ago_is_forgotten() -> None:
    monitor = DeadTokenMonitor()
    assert told(monitor, accepted=100, dead=15) == "believe"
    assert told(monitor, accepted=0, dead=5, now=NOW + 3500) == "believe"
    assert told(monitor, accepted=0, dead=0, now=NOW + 3660) == "keep"
