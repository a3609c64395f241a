"""The bearer tokens of a vendor: good until their end, or until all are made stale."""

from __future__ import annotations

from tocsin.clock import Chance
from tocsin.domain.retry import CHINA_S
from tocsin.sandbox.bearers import BEARERS_MAX, Bearers
from tocsin.sandbox.buckets import DAY_S, DailyQuota

NOW = 1_000_000.0


def test_a_bearer_token_is_good_for_its_life_and_for_its_owner() -> None:
    bearers = Bearers("it-", Chance(1))
    bearer = bearers.give(NOW, 60, "one")
    assert bearer.startswith("it-")
    assert [bearers.owner(bearer, at) for at in (NOW, NOW + 59.9, NOW + 60)] == ["one", "one", None]
    assert bearers.owner("it-unknown", NOW) is None


def test_all_can_be_made_stale_once_and_stay_known() -> None:
    bearers = Bearers("it-", Chance(1))
    first, second = bearers.give(NOW, 60), bearers.give(NOW, 60)
    assert bearers.expire_all() == 2
    third = bearers.give(NOW, 60)
    assert [bearers.is_good(it, NOW) for it in (first, second, third)] == [False, False, True]
    assert [bearers.is_known(it) for it in (first, second, "it-")] == [True, True, False]
    assert bearers.expire_all() == 1


def test_ended_bearer_tokens_are_forgotten_where_there_are_too_many() -> None:
    bearers = Bearers("it-", Chance(1))
    ended = [bearers.give(NOW, 1) for _ in range(BEARERS_MAX - 1)]
    living = bearers.give(NOW, 60)
    bearers.give(NOW + 1, 60)
    assert not any(map(bearers.is_known, ended))
    assert bearers.is_good(living, NOW + 1)


def test_a_days_quota_begins_anew_at_midnight_in_china() -> None:
    midnight = 20_000 * DAY_S - CHINA_S
    quota = DailyQuota(3)
    assert [quota.take(count, midnight - 1) for count in (2, 2, 1, 1, 0)] == [
        *(True, False, True, False, True)
    ]
    assert [quota.take(count, midnight) for count in (3, 1)] == [True, False]
    assert DailyQuota(None).take(1_000_000, midnight)
