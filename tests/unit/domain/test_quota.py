"""Quotas and buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.quota import (
    DAY_S,
    PROFILES,
    Bucket,
    PushUse,
    QuotaLimits,
    day_of,
    use_push,
    use_recall,
)

COMPATIBLE = PROFILES["compatible"]
NOON = 20_000 * DAY_S + DAY_S / 2


def test_the_gap_comes_before_the_quota() -> None:
    use = PushUse(day=day_of(NOON), count=100, last_at=NOON)
    assert use_push(use, COMPATIBLE, NOON + 0.999) == 90024
    assert use_push(use, COMPATIBLE, NOON + 1) == 90047


@pytest.mark.evidence("a hundred pushes a day until midnight UTC, batches not counted")
def test_the_quota_resets_at_midnight_utc() -> None:
    midnight = (day_of(NOON) + 1) * DAY_S
    use = PushUse(day=day_of(NOON), count=100, last_at=NOON)
    assert use_push(use, COMPATIBLE, midnight - 0.001) == 90047
    fresh = use_push(use, COMPATIBLE, midnight)
    assert isinstance(fresh, PushUse)
    assert (fresh.count, fresh.day) == (1, day_of(midnight))


def test_a_push_leaves_the_recalls_alone_and_the_other_way_round() -> None:
    use = PushUse(last_at=1.0, recall_at=2.0)
    pushed = use_push(use, COMPATIBLE, NOON)
    assert isinstance(pushed, PushUse)
    assert pushed.recall_at == 2.0
    recalled = use_recall(use, COMPATIBLE, NOON)
    assert isinstance(recalled, PushUse)
    assert (recalled.last_at, recalled.recall_at) == (1.0, NOON)
    assert use_recall(recalled, COMPATIBLE, NOON + 0.5) == 90051


def test_the_profile_unlimited_has_no_limit() -> None:
    use = PushUse(day=day_of(NOON), count=10**6, last_at=NOON, recall_at=NOON)
    assert isinstance(use_push(use, PROFILES["unlimited"], NOON), PushUse)
    assert isinstance(use_recall(use, PROFILES["unlimited"], NOON), PushUse)
    assert isinstance(use_push(use, QuotaLimits(pushes_per_day=0, push_gap_s=0), NOON), PushUse)


@given(st.lists(st.floats(0, 0.5), max_size=60), st.integers(1, 20))
def test_a_bucket_lets_through_its_burst_and_its_rate_and_no_more(
    waits: list[float], rate: int
) -> None:
    bucket = Bucket(rate, rate, 0.0)
    now, taken = 0.0, 0
    for wait in waits:
        now += wait
        taken += bucket.take(now)
    assert taken <= rate + now * rate + 1e-6


def test_a_bucket_says_how_long_to_wait() -> None:
    bucket = Bucket(10, 10, 0.0)
    assert all(bucket.take(0.0) for _ in range(10))
    assert not bucket.take(0.0)
    assert abs(bucket.wait_s(0.0) - 0.1) < 1e-9
    assert bucket.take(0.1)
    assert Bucket(0, 0, 0.0).take(0.0, 1000), "rate 0 means no limit"


def test_a_list_borrows_what_is_not_there_yet_and_the_next_one_waits() -> None:
    bucket = Bucket(rate=100.0, burst=25.0, now=0.0)
    assert bucket.borrow(0.0, 1000)
    assert not bucket.borrow(9.7, 1000)
    assert bucket.wait_s(9.7) == pytest.approx(0.06)
    assert bucket.borrow(9.77, 1)
    assert Bucket(rate=0.0, burst=1.0, now=0.0).borrow(0.0, 10**9)
