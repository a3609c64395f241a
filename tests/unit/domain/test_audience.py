"""Conditions and the index, held against plain Python sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from tocsin.domain.account import TAG, Change, TermKey
from tocsin.domain.audience import Condition, Index, expression

NUMBERS: dict[TermKey, int] = {
    (TAG, "a"): 1,
    (TAG, "b"): 2,
    (TAG, "c"): 3,
    ("attr0", "Oslo"): 4,
    ("attr0", "Rome"): 5,
    ("attr1", "pro"): 6,
}
ACCOUNTS = range(1, 12)
terms = st.sets(st.integers(1, 6))
worlds = st.dictionaries(st.sampled_from(list(ACCOUNTS)), terms)
tag_lists = st.lists(st.sampled_from(["a", "b", "c", "unknown"]), max_size=3).map(tuple)
pairs = st.lists(
    st.sampled_from([("attr0", "Oslo"), ("attr0", "Rome"), ("attr1", "pro"), ("attr1", "no")]),
    max_size=3,
).map(tuple)


def index_of(world: dict[int, set[int]]) -> Index:
    index = Index()
    rows = [Change(account, tuple(sorted(has)), (), 1) for account, has in world.items()]
    index.apply(1, rows)
    return index


def brute_force(world: dict[int, set[int]], asked: Condition) -> set[int]:
    def has(account: int, key: TermKey) -> bool:
        return NUMBERS.get(key, 0) in world[account]

    def fits(account: int) -> bool:
        tags_or = [(TAG, tag) for tag in asked.tags_or]
        both = [(TAG, tag) for tag in asked.tags_and] + list(asked.attrs_and)
        return (
            (not tags_or or any(has(account, key) for key in tags_or))
            and (not asked.attrs_or or any(has(account, key) for key in asked.attrs_or))
            and all(has(account, key) for key in both)
            and not any(has(account, (TAG, tag)) for tag in asked.tags_not)
        )

    return {account for account in world if fits(account)}


@pytest.mark.evidence("AND, OR and NOT mean what the documents say")
@given(worlds, tag_lists, tag_lists, tag_lists)
def test_tags_joined_by_and_minus_any_of_not(
    world: dict[int, set[int]],
    tags_or: tuple[str, ...],
    tags_and: tuple[str, ...],
    tags_not: tuple[str, ...],
) -> None:
    asked = Condition(tags_or=tags_or, tags_and=tags_and, tags_not=tags_not)
    found = index_of(world).evaluate(expression(asked), NUMBERS)
    assert set(found) == brute_force(world, asked)


@given(worlds, pairs, pairs)
def test_attributes_joined_by_and(
    world: dict[int, set[int]], attrs_or: tuple[TermKey, ...], attrs_and: tuple[TermKey, ...]
) -> None:
    asked = Condition(attrs_or=attrs_or, attrs_and=attrs_and)
    found = index_of(world).evaluate(expression(asked), NUMBERS)
    assert set(found) == brute_force(world, asked)


def test_nothing_asked_is_everyone_and_not_alone_everyone_else() -> None:
    index = index_of({1: {1}, 2: set(), 3: {2}})
    assert Condition().is_everyone
    assert set(index.evaluate(expression(Condition()), NUMBERS)) == {1, 2, 3}
    asked = Condition(tags_not=("a",))
    assert not asked.is_everyone
    assert set(index.evaluate(expression(asked), NUMBERS)) == {2, 3}


changes = st.lists(
    st.tuples(st.sampled_from(list(ACCOUNTS)), terms, st.booleans()), min_size=1, max_size=15
)


@given(changes)
def test_the_log_applied_in_order_equals_what_accounts_carry(
    rows: list[tuple[int, set[int], bool]],
) -> None:
    world: dict[int, set[int]] = {}
    index = Index()
    for position, (account, wanted, is_gone) in enumerate(rows, 1):
        before = world.get(account)
        has = set() if is_gone else wanted
        live = (not is_gone) - (before is not None)
        old = before or set()
        change = Change(account, tuple(has - old), tuple(old - has), live)
        index.apply(position, [change])
        index.apply(position, [change])  # a row taken in twice changes nothing
        world.pop(account, None)
        if not is_gone:
            world[account] = has
    assert set(index.live) == set(world)
    for term in range(1, 7):
        carriers = {account for account, has in world.items() if term in has}
        assert set(index.terms.get(term, BitMap())) == carriers


def test_an_answer_does_not_change_with_later_calls() -> None:
    index = index_of({1: {1}, 2: {1, 2}})
    frozen = BitMap(index.evaluate(expression(Condition(tags_or=("a",))), NUMBERS))
    index.apply(2, [Change(2, (), (1, 2), -1)])
    assert set(frozen) == {1, 2}
    assert index.dirty == {1, 2}
    index.forget(1)
    assert index.dirty == {2}
