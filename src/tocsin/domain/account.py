"""Accounts, their tags and attributes, and what a call may do to them.

Every function here gets what the store read (`AccountsView`) and returns what it shall write
(`AccountsEdit`); the store makes it one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.domain.app import App
from tocsin.domain.names import is_reserved
from tocsin.errors import CallError

USER = 0
"""Account type of a UserID."""
REGISTRATION = 1
"""Account type of a RegistrationID (trtc.io/document/76551, read 2026-11)."""

TAG = "tag"
NAME_MAX_BYTES = 32
TAGS_OF_ACCOUNT_MAX = 100
TAGS_OF_APP_MAX = 1000
"""Limits of add_tag (trtc.io/document/67821, read 2026-11); only carried tags count."""

TermKey = tuple[str, str]
"""(kind, name): kind is `tag`, or `attr` and the slot (`attr3`), name the tag or the value."""


class Account(Struct, frozen=True, array_like=True):
    """One account as one compact document: the truth about its tags and attributes."""

    number: int
    """Dense per app, never reused."""
    name: str
    type: int = USER
    tags: tuple[str, ...] = ()
    """In the order first added."""
    attrs: dict[str, str] = {}
    """Slot to value."""
    nick: str = ""
    face_url: str = ""
    sig_valid_after: int = 0
    """UserSigs issued before this second are refused (kick)."""

    def term_keys(self) -> list[TermKey]:
        """The terms that this account carries."""
        keys = [(TAG, tag) for tag in self.tags]
        keys.extend((f"attr{slot}", value) for slot, value in self.attrs.items())
        return keys


class Term(Struct, frozen=True, array_like=True):
    """A tag or an attribute value of an app, by number."""

    number: int
    kind: str
    name: str
    account_type: int
    uses: int = 0
    """Accounts that carry it now."""


class Change(Struct, frozen=True, array_like=True):
    """What one call changed about one account: the unit of the change log."""

    account: int
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    live: int = 0
    """1 when the account came to be, -1 when it was deleted."""


class AccountsView(Struct, frozen=True):
    """What the store read for a call about accounts."""

    app: App
    accounts: Mapping[str, Account]
    """Those of the asked names that exist."""
    terms: Mapping[TermKey, Term]
    """The asked terms and those that the accounts carry, where they exist."""
    tags_carried: int
    """Different tags that somebody carries."""
    next_account: int
    next_term: int
    account_count: int = 0
    deleted_at: Mapping[str, float] = {}
    """When those of the asked names that do not exist were deleted."""


class AccountsEdit(Struct):
    """What the store shall write, and what the caller gets."""

    accounts: list[Account] = []
    deleted: list[Account] = []
    """Their devices go with them."""
    terms: list[Term] = []
    changes: list[Change] = []
    result: Any = None
    keeps_names: bool = True
    """Whether the names of deleted ones are kept with the time, for `AccountsView.deleted_at`."""


Failure = tuple[str, int]
"""(account as the caller named it, code): one row of ErrorList."""


class Draft:
    """The accounts of a call while it is applied, entry by entry."""

    def __init__(self, view: AccountsView) -> None:
        self.view = view
        self.accounts = dict(view.accounts)
        self._terms = dict(view.terms)
        self._tags_carried = view.tags_carried
        self._next_account = view.next_account
        self._next_term = view.next_term
        self._touched: dict[str, Account | None] = {}

    def create(self, name: str, account_type: int) -> Account:
        """A new account with the next number."""
        account = Account(self._next_account, name, account_type)
        self._next_account += 1
        self.put(account)
        return account

    def put(self, account: Account) -> None:
        """Take over a document whose terms are unchanged."""
        self._touch(account.name)
        self.accounts[account.name] = account

    def delete(self, account: Account) -> None:
        """Remove an account and give back its terms."""
        self._touch(account.name)
        self._hold(account.term_keys(), -1)
        del self.accounts[account.name]

    def refuse_terms(self, account: Account, keys: Iterable[TermKey]) -> int | None:
        """The code that forbids this account to carry these terms, or None."""
        new_tags = 0
        for key in keys:
            term = self._terms.get(key)
            if term is not None and term.account_type != account.type:
                return 90035
            if key[0] == TAG and (term is None or not term.uses):
                new_tags += 1
        too_many = new_tags and self._tags_carried + new_tags > TAGS_OF_APP_MAX
        return 90032 if too_many else None

    def change_terms(self, before: Account, after: Account) -> None:
        """Take over a document and count the uses of its terms."""
        self._touch(before.name)
        old, new = before.term_keys(), after.term_keys()
        self._hold([key for key in old if key not in new], -1)
        self._hold([key for key in new if key not in old], 1, before.type)
        self.accounts[after.name] = after

    def edit(self, result: Any) -> AccountsEdit:
        """Everything that has changed since the view was read."""
        edit = AccountsEdit(result=result)
        for name, before in self._touched.items():
            after = self.accounts.get(name)
            change = self._change(before, after)
            if change is not None:
                edit.changes.append(change)
            if after is None:
                if before is not None:
                    edit.deleted.append(before)
            elif after != before:
                edit.accounts.append(after)
        known = self.view.terms
        edit.terms = [term for key, term in self._terms.items() if known.get(key) != term]
        return edit

    def _touch(self, name: str) -> None:
        if name not in self._touched:
            self._touched[name] = self.accounts.get(name)

    def _hold(self, keys: Iterable[TermKey], step: int, account_type: int = USER) -> None:
        for key in keys:
            term = self._terms.get(key)
            if term is None:
                term = Term(self._next_term, key[0], key[1], account_type)
                self._next_term += 1
            counted = msgspec.structs.replace(term, uses=term.uses + step)
            self._terms[key] = counted
            if key[0] == TAG:
                self._tags_carried += (counted.uses > 0) - (term.uses > 0)

    def _change(self, before: Account | None, after: Account | None) -> Change | None:
        old = before.term_keys() if before else []
        new = after.term_keys() if after else []
        added = tuple(self._terms[key].number for key in new if key not in old)
        removed = tuple(self._terms[key].number for key in old if key not in new)
        live = (after is not None) - (before is not None)
        if before is not None and after is not None and before.number != after.number:
            raise AssertionError(before.name)
        if not (added or removed or live):
            return None
        account = after or before
        assert account is not None
        return Change(account.number, added, removed, live)


def change_tags(
    entries: Sequence[tuple[str, Sequence[str]]], how: Callable[[Account, Sequence[str]], Account]
) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that gives each named account the tags that `how` says."""

    def decide(view: AccountsView) -> AccountsEdit:
        draft = Draft(view)
        failures: list[Failure] = []
        for name, tags in entries:
            account = draft.accounts.get(name)
            code = 70107 if account is None else _retag(draft, account, how(account, tags))
            if code is not None:
                failures.append((name, code))
        return draft.edit(failures)

    return decide


def _retag(draft: Draft, account: Account, changed: Account) -> int | None:
    if len(changed.tags) > max(TAGS_OF_ACCOUNT_MAX, len(account.tags)):
        return 90032
    fresh = [(TAG, tag) for tag in changed.tags if tag not in account.tags]
    code = draft.refuse_terms(account, fresh)
    if code is None and changed.tags != account.tags:
        draft.change_terms(account, changed)
    return code


def with_tags_added(account: Account, tags: Sequence[str]) -> Account:
    """The account with these tags too; present ones keep their place."""
    return _with_tags(account, dict.fromkeys((*account.tags, *tags)))


def with_tags_replaced(account: Account, tags: Sequence[str]) -> Account:
    """The account with these tags only."""
    return _with_tags(account, dict.fromkeys(tags))


def with_tags_removed(account: Account, tags: Sequence[str]) -> Account:
    """The account without these tags."""
    return _with_tags(account, [tag for tag in account.tags if tag not in tags])


def _with_tags(account: Account, tags: Iterable[str]) -> Account:
    return msgspec.structs.replace(account, tags=tuple(tags))


def set_attrs(
    entries: Sequence[tuple[str, Mapping[str, str]]],
) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that sets the named attributes. An unknown name refuses the whole call."""

    def decide(view: AccountsView) -> AccountsEdit:
        slots = _slots(view.app, (name for _, attrs in entries for name in attrs))
        draft = Draft(view)
        failures: list[Failure] = []
        for name, attrs in entries:
            account = draft.accounts.get(name)
            wanted = {slots[attr]: value for attr, value in attrs.items()}
            code = 70107 if account is None else _reattr(draft, account, wanted)
            if code is not None:
                failures.append((name, code))
        return draft.edit(failures)

    return decide


def remove_attrs(
    entries: Sequence[tuple[str, Sequence[str]]],
) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that removes the named attributes' values. Absent values are no failure."""

    def decide(view: AccountsView) -> AccountsEdit:
        slots = _slots(view.app, (name for _, attrs in entries for name in attrs))
        draft = Draft(view)
        failures: list[Failure] = []
        for name, attrs in entries:
            account = draft.accounts.get(name)
            if account is None:
                failures.append((name, 70107))
                continue
            gone = {slots[attr] for attr in attrs}
            left = {slot: value for slot, value in account.attrs.items() if slot not in gone}
            if left != account.attrs:
                draft.change_terms(account, msgspec.structs.replace(account, attrs=left))
        return draft.edit(failures)

    return decide


def attr_keys(app: App, entries: Iterable[tuple[str, Mapping[str, str]]]) -> list[TermKey]:
    """The terms that a `set_attrs` call may need."""
    keys: dict[TermKey, None] = {}
    for _, attrs in entries:
        for name, value in attrs.items():
            slot = app.slot_of(name)
            if slot is not None:
                keys[(f"attr{slot}", value)] = None
    return list(keys)


def _reattr(draft: Draft, account: Account, wanted: Mapping[str, str]) -> int | None:
    types = draft.view.app.attr_types
    if any(types.get(slot, USER) != account.type for slot in wanted):
        return 90035
    changed = msgspec.structs.replace(account, attrs={**account.attrs, **wanted})
    if changed.attrs != account.attrs:
        draft.change_terms(account, changed)
    return None


def _slots(app: App, names: Iterable[str]) -> dict[str, str]:
    slots: dict[str, str] = {}
    for name in names:
        slot = app.slot_of(name)
        if slot is None:
            raise CallError(90033)
        slots[name] = slot
    return slots


class Profile(Struct, frozen=True):
    """What an import says of an account. None leaves what is stored."""

    name: str
    nick: str | None = None
    face_url: str | None = None


def import_accounts(
    profiles: Sequence[Profile], now: float
) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that makes the named UserIDs exist; present ones get the given profile.

    A new one whose name is kept for RegistrationIDs fails, as one that a device has. Its result is
    a list of failures; a caller with one account turns that into its answer.
    """

    def decide(view: AccountsView) -> AccountsEdit:
        draft = Draft(view)
        failures: list[Failure] = []
        count = view.account_count
        for profile in profiles:
            account = draft.accounts.get(profile.name)
            if account is None:
                code = _refuse_import(view, profile.name, count, now)
                if code is not None:
                    failures.append((profile.name, code))
                    continue
                account = draft.create(profile.name, USER)
                count += 1
            elif account.type != USER:
                failures.append((profile.name, 70402))
                continue
            draft.put(_with_profile(account, profile))
        return draft.edit(failures)

    return decide


def _refuse_import(view: AccountsView, name: str, count: int, now: float) -> int | None:
    if is_reserved(view.app, name):
        return 70402
    limit = view.app.limits.accounts_max
    if limit and count >= limit:
        return 70398
    deleted_at = view.deleted_at.get(name)
    wait_s = view.app.reimport_after_s
    if wait_s and deleted_at is not None and now < deleted_at + wait_s:
        return 70399
    return None


def _with_profile(account: Account, profile: Profile) -> Account:
    return msgspec.structs.replace(
        account,
        nick=account.nick if profile.nick is None else profile.nick,
        face_url=account.face_url if profile.face_url is None else profile.face_url,
    )


def delete_accounts(names: Sequence[str]) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that deletes the named UserIDs with their terms and devices."""

    def decide(view: AccountsView) -> AccountsEdit:
        if not view.app.can_delete_accounts:
            raise CallError(71000)
        draft = Draft(view)
        failures: list[Failure] = []
        for name in names:
            account = draft.accounts.get(name)
            if account is None:
                failures.append((name, 70107))
            else:
                draft.delete(account)
        return draft.edit(failures)

    return decide


def kick_account(name: str, now: float) -> Callable[[AccountsView], AccountsEdit]:
    """A decision that makes UserSigs issued before this second void (trtc.io/document/34957)."""

    def decide(view: AccountsView) -> AccountsEdit:
        draft = Draft(view)
        account = draft.accounts.get(name)
        if account is None:
            raise CallError(70107)
        draft.put(msgspec.structs.replace(account, sig_valid_after=int(now)))
        return draft.edit([])

    return decide


def strictly(
    decide: Callable[[AccountsView], AccountsEdit],
) -> Callable[[AccountsView], AccountsEdit]:
    """The same decision, where one account's fault other than 70107 refuses the whole call.

    So it is in the older family, whose answers cannot name the accounts that failed.
    """

    def strict(view: AccountsView) -> AccountsEdit:
        edit = decide(view)
        failures: list[Failure] = edit.result
        for _, code in failures:
            if code != 70107:
                raise CallError(code)
        return edit

    return strict
