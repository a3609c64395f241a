"""The wire format of tags and attributes, in both families.

Sources: tencentcloud.com/document/product/1047/60562 to 60570 and, for the older family, 37167 to
37175 (read 2026-11). Client libraries differ in small ways where the meaning is plain;
docs/compatibility.md lists the other forms that are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import UNSET, Struct, UnsetType, field

from tocsin.api.wire import (
    Answer,
    FailedAccount,
    bad_field,
    is_integer,
    is_within,
    read_account,
    read_flag,
    read_object,
    read_text,
)
from tocsin.domain.account import REGISTRATION, USER
from tocsin.errors import CallError

ACCOUNTS_MAX = 100
TAGS_ADDED_MAX = 10
TAGS_REPLACED_MAX = 100
"""Tags in one entry: ten are added at most, a hundred replace (trtc.io/document/67821)."""
TAG_MAX_BYTES = 50
ATTR_MAX_BYTES = 50

Value = TypeVar("Value")
Entries = list[tuple[str, Value]]
"""Pairs of an account, as the caller named it, and its value, in the caller's order."""


class UserTags(Struct):
    """The tags of one account."""

    account: str = field(name="To_Account")
    tags: tuple[str, ...] = field(name="Tags")


class TagsAnswer(Answer, kw_only=True):
    """get_tag."""

    user_tags: list[UserTags] | UnsetType = field(name="UserTags", default=UNSET)
    failures: list[FailedAccount] | UnsetType = field(name="ErrorList", default=UNSET)


class UserAttrs(Struct):
    """The attributes of one account, by name."""

    account: str = field(name="To_Account")
    attrs: dict[str, str] = field(name="Attrs")


class AttrsAnswer(Answer, kw_only=True):
    """get_attr."""

    user_attrs: list[UserAttrs] | UnsetType = field(name="UserAttrs", default=UNSET)
    failures: list[FailedAccount] | UnsetType = field(name="ErrorList", default=UNSET)


class NamesAnswer(Answer, kw_only=True):
    """get_attr_name. The older family has no AttrTypes."""

    names: dict[str, str] | UnsetType = field(name="AttrNames", default=UNSET)
    types: dict[str, int] | UnsetType = field(name="AttrTypes", default=UNSET)


def read_accounts(body: dict[str, Any]) -> list[str]:
    """To_Account of the calls that read or clear."""
    accounts = _rows(body.get("To_Account"), "To_Account")
    if set(map(type, accounts)) != {str}:
        raise CallError(60015)
    return accounts


def read_added_tags(body: dict[str, Any], *, is_replacing: bool) -> Entries[list[str]]:
    """UserTags of add_tag."""
    tags_max = TAGS_REPLACED_MAX if is_replacing else TAGS_ADDED_MAX
    return _entries(body, "UserTags", "Tags", lambda tags: read_tags(tags, "Tags", tags_max))


def read_removed_tags(body: dict[str, Any]) -> Entries[list[str]]:
    """UserTags of remove_tag: an account has at most a hundred."""
    return read_added_tags(body, is_replacing=True)


def read_replace(body: dict[str, Any]) -> bool:
    """Replace of add_tag."""
    return read_flag(body, "Replace")


def read_tags(value: object, name: str, tags_max: int) -> list[str]:
    """A list of tags."""
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise bad_field(name)
    if len(value) > tags_max:
        raise CallError(90032)
    for tag in value:
        if not tag:
            raise CallError(90040)
        if not is_within(tag, TAG_MAX_BYTES):
            raise CallError(90020)
    return value


def read_set_attrs(body: dict[str, Any]) -> Entries[dict[str, str]]:
    """UserAttrs of set_attr."""
    return _entries(body, "UserAttrs", "Attrs", lambda attrs: read_attrs(attrs, "Attrs"))


def read_attrs(value: object, name: str) -> dict[str, str]:
    """Attributes by name. Numbers are kept as their text."""
    attrs = {}
    for attr, given in read_object(value, bad_field(name)).items():
        text = read_text(given)
        if text is None:
            raise bad_field(name)
        if not is_within(text, ATTR_MAX_BYTES):
            raise CallError(90033)
        attrs[attr] = text
    return attrs


def read_removed_attrs(body: dict[str, Any]) -> Entries[list[str]]:
    """UserAttrs of remove_attr: a list of names, or an object whose keys are the names."""

    def read(value: object) -> list[str]:
        if not isinstance(value, list | dict) or not all(isinstance(name, str) for name in value):
            raise bad_field("Attrs")
        return list(value)

    return _entries(body, "UserAttrs", "Attrs", read)


def read_attr_names(body: dict[str, Any]) -> dict[str, str]:
    """AttrNames: slot to name, or a list of names in the order of slots."""
    names = _by_slot(body, "AttrNames")
    if not all(isinstance(name, str) for name in names.values()):
        raise bad_field("AttrNames")
    return names


def read_attr_types(body: dict[str, Any]) -> dict[str, int]:
    """AttrTypes: slot to account type, or a list in the order of slots."""
    if "AttrTypes" not in body:
        return {}
    types = _by_slot(body, "AttrTypes")
    if not all(is_integer(each) and each in (USER, REGISTRATION) for each in types.values()):
        raise bad_field("AttrTypes")
    return types


def _by_slot(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if isinstance(value, list):
        return {str(slot): each for slot, each in enumerate(value) if each is not None}
    return read_object(value, bad_field(name))


def _rows(value: object, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise bad_field(name)
    if len(value) > ACCOUNTS_MAX:
        raise CallError(90018)
    return value


def _entries(
    body: dict[str, Any], wrapper: str, member: str, read: Callable[[object], Value]
) -> Entries[Value]:
    """The entries of a call with a value for each account."""
    rows = body.get(wrapper)
    if rows is None:
        rows = _other_rows(body, member)
    entries: Entries[Value] = []
    for row in _rows(rows, wrapper):
        if not isinstance(row, dict):
            raise bad_field(wrapper)
        if "To_Account" not in row:
            raise bad_field("To_Account")
        entries.append((read_account(row["To_Account"]), read(row.get(member))))
    return entries


def _other_rows(body: dict[str, Any], member: str) -> object:
    """The entries of a call without the documented wrapper.

    A call about one account may be flat; some libraries name the wrapper like its member.
    """
    if "To_Account" not in body:
        return body.get(member)
    accounts, value = body["To_Account"], body.get(member)
    if not isinstance(accounts, list):
        accounts = [accounts]
    return [{"To_Account": account, member: value} for account in accounts]
