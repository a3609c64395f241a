"""Apps, credentials, accounts, terms and the change log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    NOW,
    add_accounts,
    add_app,
    add_device,
    add_tags,
    delete,
    peek,
    remove_tags,
)
from tocsin.clock import ManualClock
from tocsin.domain.account import (
    TAG,
    Account,
    AccountsEdit,
    AccountsView,
    Change,
    Profile,
    Term,
    delete_accounts,
    import_accounts,
    kick_account,
    set_attrs,
)
from tocsin.domain.app import App, Credential
from tocsin.errors import CallError
from tocsin.store import PREFIXED_MAX, Store


async def test_an_app_is_created_changed_and_listed(store: Store) -> None:
    assert await store.app(3) is None
    created = await add_app(store, 3, admins=("admin",))
    assert await store.app(3) == created
    seen: list[App | None] = []

    def rename(row: App | None) -> App:
        seen.append(row)
        assert row is not None
        return msgspec.structs.replace(row, attr_names={"0": "sex"})

    changed = await store.update_app(3, rename)
    assert seen == [created]
    assert changed.attr_names == {"0": "sex"}
    assert await store.app(3) == changed
    assert await store.apps() == [1, 2, 3]


@pytest.mark.evidence("a prefix that UserIDs have is refused in the step that would set it")
async def test_a_prefix_is_shown_the_first_user_ids_that_begin_so(store: Store) -> None:
    users = [f"de{number}" for number in range(6, 0, -1)]
    await add_accounts(store, 1, *users, "d", "df", "DE1", "dé")
    await add_device(store, 1, "de0")
    await add_accounts(store, 2, "de9")
    seen: list[tuple[str, ...]] = []

    def reserve(row: App, names: Sequence[str]) -> App:
        seen.append(tuple(names))
        return msgspec.structs.replace(row, own_registration_ids="de")

    row = await store.reserve_prefix(1, "de", reserve)
    assert seen == [tuple(sorted(users)[:PREFIXED_MAX])]
    assert row.own_registration_ids == "de"
    await store.reserve_prefix(1, "de6", reserve)
    assert seen[1:] == [("de6",)]
    assert await store.app(1) == row
    # The next step of the same app goes by it.
    decide = import_accounts([Profile("de9")], NOW)
    assert await store.update_accounts(1, ["de9"], [], decide) == [("de9", 70402)]

    def refuse(row: App, names: Sequence[str]) -> App:
        raise CallError(70402)

    with pytest.raises(CallError):
        await store.reserve_prefix(1, "d", refuse)
    assert await store.app(1) == row
    with pytest.raises(CallError) as unknown:
        await store.reserve_prefix(9, "d", reserve)
    assert unknown.value.code == 70020
    assert await store.apps() == [1, 2]


async def test_a_decision_about_an_app_that_nobody_added_is_refused(store: Store) -> None:
    with pytest.raises(CallError) as refused:
        await add_accounts(store, 9, "ann")
    assert refused.value.code == 70020
    assert await store.apps() == [1, 2]


def credential(number: int, app: int = 1, **facts: object) -> Credential:
    return msgspec.convert(
        {"app": app, "number": number, "channel": "apns", "settings": b"", **facts}, Credential
    )


async def test_credential_numbers_are_never_reused(store: Store) -> None:
    for _ in range(2):
        await store.update_credential(1, 0, lambda _, number: credential(number))
    assert await store.credentials(1) == [credential(1), credential(2)]
    assert await store.update_credential(1, 2, lambda _, __: None) is None
    third = await store.update_credential(1, 0, lambda _, number: credential(number))
    assert third == credential(3)
    assert await store.credentials(1) == [credential(1), credential(3)]


async def test_a_credential_is_changed_in_place(store: Store) -> None:
    await store.update_credential(1, 0, lambda _, number: credential(number))
    seen: list[Credential | None] = []

    def disable(row: Credential | None, number: int) -> Credential:
        seen.append(row)
        assert number == 2
        return credential(1, is_enabled=False)

    assert await store.update_credential(1, 1, disable) == credential(1, is_enabled=False)
    assert seen == [credential(1)]
    assert await store.credentials(1) == [credential(1, is_enabled=False)]


async def test_accounts_come_in_the_order_asked_with_gaps(store: Store) -> None:
    await add_accounts(store, 1, "ann", "bob")
    found = await store.accounts(1, ["bob", "nobody", "ann", "bob"])
    assert [each and each.name for each in found] == ["bob", None, "ann", "bob"]
    assert [each and each.number for each in found] == [2, None, 1, 2]
    assert await store.accounts(1, []) == []


async def test_numbers_are_dense_and_not_reused_after_deletion(store: Store) -> None:
    assert await add_accounts(store, 1, "ann", "bob") == [1, 2]
    await delete(store, 1, "bob")
    assert await store.account_names(1, BitMap([1, 2, 3])) == {1: "ann"}
    assert await add_accounts(store, 1, "bob") == [3]
    assert await store.account_names(1, BitMap([1, 2, 3])) == {1: "ann", 3: "bob"}


async def test_scan_goes_through_accounts_in_rising_order(store: Store) -> None:
    await add_accounts(store, 1, "dan", "ann", "bob", "cid")
    await delete(store, 1, "ann")
    first = await store.scan_accounts(1, 0, 2)
    assert [each.name for each in first] == ["dan", "bob"]
    assert [each.name for each in await store.scan_accounts(1, first[-1].number, 9)] == ["cid"]
    assert await store.scan_accounts(1, 4, 9) == []


async def test_a_view_shows_accounts_terms_and_counters(store: Store) -> None:
    await add_accounts(store, 1, "ann", "bob", "cid")
    await add_tags(store, 1, "ann", "red", "blue")
    await add_tags(store, 1, "bob", "red", "green")
    await delete(store, 1, "cid")
    view = await peek(store, 1, ["ann", "cid", "nobody"])
    assert view.app == await store.app(1)
    assert list(view.accounts) == ["ann"]
    assert view.accounts["ann"] == Account(1, "ann", tags=("red", "blue"))
    assert dict(view.terms) == {
        (TAG, "red"): Term(1, TAG, "red", 0, uses=2),
        (TAG, "blue"): Term(2, TAG, "blue", 0, uses=1),
    }
    assert (view.tags_carried, view.account_count) == (3, 2)
    assert (view.next_account, view.next_term) == (4, 4)
    assert dict(view.deleted_at) == {"cid": NOW}


async def test_a_view_shows_the_asked_terms_that_exist(store: Store) -> None:
    await add_accounts(store, 1, "ann")
    await add_tags(store, 1, "ann", "red")
    asked = [(TAG, "red"), (TAG, "other"), ("attr0", "red")]
    view = await store.update_accounts(1, [], asked, lambda view: AccountsEdit(result=view))
    assert isinstance(view, AccountsView)
    assert dict(view.terms) == {(TAG, "red"): Term(1, TAG, "red", 0, uses=1)}
    assert await store.terms(1, asked) == dict(view.terms)


async def test_holders_and_carried_tags_follow_each_change(store: Store) -> None:
    await add_app(store, 1, attr_names={"0": "sex"}, attr_types={"0": 0})
    await add_accounts(store, 1, "ann", "bob")
    await add_tags(store, 1, "ann", "red")
    await add_tags(store, 1, "bob", "red")
    await store.update_accounts(1, ["ann"], [("attr0", "f")], set_attrs([("ann", {"sex": "f"})]))
    assert (await peek(store, 1)).tags_carried == 1
    await remove_tags(store, 1, "ann", "red")
    assert (await store.terms(1, [(TAG, "red")]))[TAG, "red"].uses == 1
    await delete(store, 1, "bob")
    assert (await store.terms(1, [(TAG, "red")]))[TAG, "red"].uses == 0
    assert (await store.terms(1, [("attr0", "f")]))["attr0", "f"].uses == 1
    assert (await peek(store, 1)).tags_carried == 0


async def test_when_an_account_went_is_remembered_until_it_returns(
    store: Store, clock: ManualClock
) -> None:
    await add_accounts(store, 1, "ann")
    await clock.advance(7)
    await delete(store, 1, "ann")
    assert dict((await peek(store, 1, ["ann"])).deleted_at) == {"ann": NOW + 7}
    await add_accounts(store, 1, "ann")
    assert dict((await peek(store, 1, ["ann"])).deleted_at) == {}


async def test_deleting_an_account_deletes_its_devices(store: Store) -> None:
    await add_accounts(store, 1, "ann", "bob")
    await add_device(store, 1, "phone", user="ann", token="t1")
    await add_device(store, 1, "pad", user="ann", token="t2")
    await add_device(store, 1, "other", user="bob", token="t3")
    await delete(store, 1, "ann")
    assert await store.device(1, "phone") is None
    assert await store.device(1, "pad") is None
    assert set(await store.devices(1, BitMap([1, 2, 3]))) == {3}
    again = await add_device(store, 1, "phone", user="bob", token="t1")
    assert again.number == 4
    await delete(store, 1, "phone")
    assert await store.device(1, "phone") is None
    assert await store.accounts(1, ["phone"]) == [None]


@pytest.mark.evidence(
    "a tag that nobody carries is retired, and its number never comes again",
    topic="Books",
    planted="retired terms left in memory; not one told as retired",
)
async def test_terms_that_nobody_carries_retire_and_keep_their_number(store: Store) -> None:
    await add_accounts(store, 1, "ann")
    await add_tags(store, 1, "ann", "red", "blue", "green")
    await remove_tags(store, 1, "ann", "red", "green")
    assert await store.retire_terms(1, 1) == [1]
    assert await store.retire_terms(1, 9) == [3]
    assert await store.retire_terms(1, 9) == []
    keys = [(TAG, "red"), (TAG, "blue"), (TAG, "green")]
    assert set(await store.terms(1, keys)) == {(TAG, "blue")}
    await add_tags(store, 1, "ann", "red")
    assert (await store.terms(1, keys))[TAG, "red"].number == 4


async def test_each_call_that_changes_something_is_one_row_of_the_log(store: Store) -> None:
    assert await store.last_change(1) == 0
    await add_accounts(store, 1, "ann", "bob")
    await add_tags(store, 1, "ann", "red")
    await add_tags(store, 1, "ann", "red")
    await store.update_accounts(1, ["ann"], [], kick_account("ann", NOW))
    await delete(store, 1, "ann")
    assert await store.changes(1, 0, 10) == [
        (1, [Change(1, live=1), Change(2, live=1)]),
        (2, [Change(1, added=(1,))]),
        (3, [Change(1, removed=(1,), live=-1)]),
    ]
    assert await store.last_change(1) == 3


@pytest.mark.evidence("the log is cut only where an old enough snapshot stood")
async def test_the_log_is_read_in_pages_and_cut(store: Store) -> None:
    for number in range(5):
        await add_accounts(store, 1, f"name{number}")
    assert [position for position, _ in await store.changes(1, 1, 2)] == [2, 3]
    await store.cut_changes(1, 3)
    assert [position for position, _ in await store.changes(1, 0, 9)] == [4, 5]
    await store.cut_changes(1, 9)
    assert await store.changes(1, 0, 9) == []
    assert await store.last_change(1) == 5
    await add_accounts(store, 1, "more")
    assert [position for position, _ in await store.changes(1, 0, 9)] == [6]


async def test_calls_side_by_side_each_get_a_position_of_their_own(store: Store) -> None:
    names = [f"name{number}" for number in range(40)]
    await asyncio.gather(*(add_accounts(store, 1, name) for name in names))
    rows = await store.changes(1, 0, 100)
    assert [position for position, _ in rows] == list(range(1, 41))
    born = [change.account for _, changes in rows for change in changes]
    assert born == list(range(1, 41))
    found = await store.accounts(1, names)
    assert sorted(each.number for each in found if each) == born


@pytest.mark.evidence(
    "a receipt names nobody, and a name is kept only where its re-import has to wait",
)
async def test_a_name_that_shall_not_be_kept_is_not(store: Store) -> None:
    await add_accounts(store, 1, "ann")
    decide = delete_accounts(["ann"])

    def forgetting(view: AccountsView) -> AccountsEdit:
        edit = decide(view)
        edit.keeps_names = False
        return edit

    await store.update_accounts(1, ["ann"], [], forgetting)
    assert await store.accounts(1, ["ann"]) == [None]
    assert dict((await peek(store, 1, ["ann"])).deleted_at) == {}
