"""What a call may do to accounts, tags and attributes; stepped by hand without any store."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.account import (
    REGISTRATION,
    TAG,
    TAGS_OF_APP_MAX,
    USER,
    Account,
    AccountsEdit,
    AccountsView,
    Change,
    Profile,
    Term,
    TermKey,
    attr_keys,
    change_tags,
    delete_accounts,
    import_accounts,
    kick_account,
    remove_attrs,
    set_attrs,
    strictly,
    with_tags_added,
    with_tags_removed,
    with_tags_replaced,
)
from tocsin.domain.app import App
from tocsin.errors import CallError

ANN = Account(1, "ann")
PHONE = Account(2, "REG", REGISTRATION)
NAMED = App(
    sdkappid=1,
    key=b"",
    appkey=b"",
    attr_names={"0": "city", "1": "plan"},
    attr_types={"0": USER, "1": REGISTRATION},
)


def view(*accounts: Account, terms: tuple[Term, ...] = (), app: App = NAMED) -> AccountsView:
    return AccountsView(
        app=app,
        accounts={each.name: each for each in accounts},
        terms={(term.kind, term.name): term for term in terms},
        tags_carried=sum(term.kind == TAG and term.uses > 0 for term in terms),
        next_account=10,
        next_term=100,
        account_count=len(accounts),
    )


def by_name(edit: AccountsEdit) -> dict[str, Account]:
    return {each.name: each for each in edit.accounts}


def code_of(decide: Callable[[AccountsView], AccountsEdit], seen: AccountsView) -> int:
    with pytest.raises(CallError) as caught:
        decide(seen)
    return caught.value.code


def test_a_new_tag_makes_a_term_and_one_change() -> None:
    edit = change_tags([("ann", ["a", "b"])], with_tags_added)(view(ANN))
    assert by_name(edit)["ann"].tags == ("a", "b")
    assert edit.terms == [Term(100, TAG, "a", USER, 1), Term(101, TAG, "b", USER, 1)]
    assert edit.changes == [Change(1, (100, 101))]
    assert edit.result == []


def test_nothing_changes_where_nothing_is_new() -> None:
    has = msgspec.structs.replace(ANN, tags=("a",))
    seen = view(has, terms=(Term(5, TAG, "a", USER, 1),))
    edit = change_tags([("ann", ["a"])], with_tags_added)(seen)
    assert (edit.accounts, edit.terms, edit.changes) == ([], [], [])


def test_entries_apply_in_order_and_their_sum_is_one_change() -> None:
    entries = [("ann", ["a"]), ("ann", ["b"]), ("ann", ["a"])]
    edit = change_tags(entries, with_tags_replaced)(view(ANN))
    assert by_name(edit)["ann"].tags == ("a",)
    assert edit.changes == [Change(1, (100,))]
    assert {term.name: term.uses for term in edit.terms} == {"a": 1, "b": 0}


def test_removing_gives_the_term_back() -> None:
    has = msgspec.structs.replace(ANN, tags=("a", "b"))
    seen = view(has, terms=(Term(5, TAG, "a", USER, 3), Term(6, TAG, "b", USER, 1)))
    edit = change_tags([("ann", ["b", "nope"])], with_tags_removed)(seen)
    assert edit.terms == [Term(6, TAG, "b", USER, 0)]
    assert edit.changes == [Change(1, (), (6,))]


def test_a_term_keeps_its_account_type() -> None:
    seen = view(ANN, PHONE, terms=(Term(5, TAG, "a", REGISTRATION, 1),))
    edit = change_tags([("ann", ["a"]), ("REG", ["a"])], with_tags_added)(seen)
    assert edit.result == [("ann", 90035)]
    assert by_name(edit).keys() == {"REG"}


def test_the_first_of_a_call_fixes_the_type_for_the_rest() -> None:
    edit = change_tags([("REG", ["a"]), ("ann", ["a"])], with_tags_added)(view(ANN, PHONE))
    assert edit.result == [("ann", 90035)]


def test_only_carried_tags_count_for_the_app() -> None:
    full = tuple(Term(number, TAG, f"t{number}", USER, 1) for number in range(1, TAGS_OF_APP_MAX))
    empty = Term(2000, TAG, "empty", USER, 0)
    entries = [("ann", ["empty"]), ("ann", ["t5"]), ("ann", ["one more"])]
    edit = change_tags(entries, with_tags_added)(view(ANN, terms=(*full, empty)))
    assert edit.result == [("ann", 90032)]
    assert by_name(edit)["ann"].tags == ("empty", "t5")


def test_a_user_over_the_limit_may_still_lose_tags() -> None:
    many = msgspec.structs.replace(ANN, tags=tuple(str(number) for number in range(120)))
    terms = tuple(Term(number + 1, TAG, str(number), USER, 1) for number in range(120))
    edit = change_tags([("ann", ["0"])], with_tags_removed)(view(many, terms=terms))
    assert edit.result == []


def test_attributes_are_kept_by_slot_with_their_terms() -> None:
    edit = set_attrs([("ann", {"city": "Oslo"}), ("REG", {"plan": "pro"})])(view(ANN, PHONE))
    assert by_name(edit)["ann"].attrs == {"0": "Oslo"}
    assert [(term.kind, term.account_type) for term in edit.terms] == [
        ("attr0", USER),
        ("attr1", REGISTRATION),
    ]
    keys = attr_keys(NAMED, [("ann", {"city": "Oslo"}), ("bob", {"city": "Oslo", "no": "x"})])
    assert keys == [("attr0", "Oslo")]


def test_another_value_gives_the_old_one_back() -> None:
    has = msgspec.structs.replace(ANN, attrs={"0": "Oslo"})
    seen = view(has, terms=(Term(5, "attr0", "Oslo", USER, 1),))
    edit = set_attrs([("ann", {"city": "Rome"})])(seen)
    assert edit.changes == [Change(1, (100,), (5,))]
    edit = remove_attrs([("ann", ["city", "plan"]), ("ghost", ["city"])])(seen)
    assert edit.changes == [Change(1, (), (5,))]
    assert edit.result == [("ghost", 70107)]


def test_an_unknown_attribute_refuses_the_call_and_a_wrong_type_the_account() -> None:
    assert code_of(set_attrs([("ann", {"city": "x"}), ("ann", {"no": "x"})]), view(ANN)) == 90033
    assert code_of(remove_attrs([("ann", ["no"])]), view(ANN)) == 90033
    edit = set_attrs([("ann", {"plan": "x"}), ("ghost", {"city": "x"})])(view(ANN))
    assert edit.result == [("ann", 90035), ("ghost", 70107)]
    assert edit.accounts == []


def test_import_creates_once_and_updates() -> None:
    profiles = [Profile("new", "N"), Profile("new", None, "F"), Profile("ann", "A")]
    edit = import_accounts(profiles, 0)(view(ANN))
    made = by_name(edit)
    assert (made["new"].number, made["new"].nick, made["new"].face_url) == (10, "N", "F")
    assert made["ann"].nick == "A"
    assert edit.changes == [Change(10, live=1)]


def test_deleting_gives_everything_back() -> None:
    has = msgspec.structs.replace(ANN, tags=("a",), attrs={"0": "Oslo"})
    terms = (Term(5, TAG, "a", USER, 1), Term(6, "attr0", "Oslo", USER, 2))
    edit = delete_accounts(["ann", "ghost", "ann"])(view(has, terms=terms))
    assert edit.deleted == [has]
    assert edit.changes == [Change(1, (), (5, 6), -1)]
    assert {term.number: term.uses for term in edit.terms} == {5: 0, 6: 1}
    assert edit.result == [("ghost", 70107), ("ann", 70107)]


def test_kick_sets_the_second() -> None:
    edit = kick_account("ann", 5.9)(view(ANN))
    assert by_name(edit)["ann"].sig_valid_after == 5
    assert edit.changes == []
    assert code_of(kick_account("ghost", 5), view(ANN)) == 70107


def test_strictly_forgives_the_unknown_only() -> None:
    decide = change_tags([("ghost", ["a"]), ("ann", ["a"])], with_tags_added)
    assert strictly(decide)(view(ANN)).result == [("ghost", 70107)]
    seen = view(ANN, terms=(Term(5, TAG, "a", REGISTRATION, 1),))
    assert code_of(strictly(decide), seen) == 90035


TAGS = ["a", "b", "c", "d"]
steps = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "ghost"]),
        st.lists(st.sampled_from(TAGS), max_size=4),
        st.sampled_from([with_tags_added, with_tags_removed, with_tags_replaced]),
    ),
    max_size=8,
)


@given(steps)
def test_holders_and_changes_always_equal_what_accounts_carry(
    row: list[tuple[str, list[str], Callable[..., Account]]],
) -> None:
    """Fold the edits as a store and an index would, and compare with the accounts' own words."""
    accounts = {"ann": ANN, "bob": Account(2, "bob")}
    terms: dict[TermKey, Term] = {}
    index: dict[int, set[int]] = {}
    for name, tags, how in row:
        seen = AccountsView(
            app=NAMED,
            accounts=dict(accounts),
            terms=dict(terms),
            tags_carried=sum(term.uses > 0 for term in terms.values()),
            next_account=3,
            next_term=len(terms) + 1,
        )
        edit = change_tags([(name, tags), (name, tags[:1])], how)(seen)
        accounts.update(by_name(edit))
        terms.update({(term.kind, term.name): term for term in edit.terms})
        for change in edit.changes:
            for number in change.added:
                index.setdefault(number, set()).add(change.account)
            for number in change.removed:
                index[number].remove(change.account)
    for (_, tag), term in terms.items():
        carriers = {each.number for each in accounts.values() if tag in each.tags}
        assert term.uses == len(carriers)
        assert index.get(term.number, set()) == carriers
