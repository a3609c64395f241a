"""The cache of account documents, stepped by hand through what two threads may do to it."""

from __future__ import annotations

import pytest

from tocsin.adapters.sqlite.cache import MISSING, AccountCache
from tocsin.domain.account import Account

OLD, NEW = Account(1, "ann"), Account(1, "ann", tags=("red",))


@pytest.mark.evidence(
    "what was read before a commit does not stand after it",
    topic="Books",
    planted="the version not compared",
)
def test_what_was_read_before_a_commit_is_not_taken_after_it() -> None:
    cache = AccountCache(10)
    version = cache.version
    # Here a reader reads OLD, and the writer commits before the reader fills it in.
    cache.commit([((1, "ann"), NEW)])
    cache.fill(version, 1, {"ann": OLD, "bob": None})
    assert cache.find(1, ["ann", "bob"]) == [NEW, MISSING]


def test_a_commit_replaces_what_was_filled_in_before_it() -> None:
    cache = AccountCache(10)
    cache.fill(cache.version, 1, {"ann": OLD, "bob": None})
    assert cache.find(1, ["bob", "ann"]) == [None, OLD]
    cache.commit([((1, "ann"), None), ((1, "bob"), NEW)])
    assert cache.find(1, ["ann", "bob"]) == [None, NEW]


def test_an_account_that_is_not_asked_for_goes_and_one_that_is_stays() -> None:
    cache = AccountCache(8)
    cache.fill(cache.version, 1, {"ann": OLD, "bob": OLD})
    for number in range(12):
        assert cache.find(1, ["ann"]) == [OLD]
        cache.fill(cache.version, 1, {f"name{number}": None})
    assert cache.find(1, ["ann", "bob"]) == [OLD, MISSING]
    assert len(cache._young) + len(cache._old) <= 8


def test_a_commit_reaches_the_older_generation_too() -> None:
    cache = AccountCache(4)
    cache.fill(cache.version, 1, {"ann": OLD, "x": None, "y": None})
    cache.commit([((1, "ann"), NEW)])
    assert cache.find(1, ["ann"]) == [NEW]


def test_apps_do_not_share_names() -> None:
    cache = AccountCache(10)
    cache.fill(cache.version, 1, {"ann": OLD})
    assert cache.find(2, ["ann"]) == [MISSING]
