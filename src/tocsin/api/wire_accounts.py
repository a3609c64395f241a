"""The wire format of accounts and their presence.

Sources: trtc.io/document/34953 to 34957 and 35477, cloud.tencent.com/document/product/269/2566
(read 2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from tocsin.api.wire import Answer, FailedAccount, bad_field, is_within, read_account, read_flag
from tocsin.domain.account import NAME_MAX_BYTES, Profile
from tocsin.errors import CallError

ACCOUNTS_MAX = 100
ASKED_MAX = 500
PROFILE_MAX_BYTES = 500
"""The most bytes of a nickname or of a picture's address."""

NO_ACCOUNT_INFO = "Err_TLS_PT_Open_Login_Account_Not_Exist"
"""ResultInfo of an unknown account, from the documents' sample (trtc.io/document/34955)."""

_USER_ID = re.compile(rf"[\x20-\x7e]{{1,{NAME_MAX_BYTES}}}")


class ImportAnswer(Answer, kw_only=True):
    """multiaccount_import."""

    failed: list[str] | UnsetType = field(name="FailAccounts", default=UNSET)


class ResultItem(Struct, kw_only=True):
    """The result for one account of a call."""

    code: int = field(name="ResultCode", default=0)
    info: str = field(name="ResultInfo", default="")
    name: str = field(name="UserID")
    status: str | UnsetType = field(name="AccountStatus", default=UNSET)


class ResultAnswer(Answer, kw_only=True):
    """account_delete and account_check."""

    items: list[ResultItem] | UnsetType = field(name="ResultItem", default=UNSET)


class PlatformStatus(Struct, kw_only=True):
    """The state of one device."""

    platform: str = field(name="Platform")
    status: str = field(name="Status")
    instance: int | UnsetType = field(name="Instid", default=UNSET)


class OnlineStatus(Struct, kw_only=True):
    """The state of one account; querystate, retired by the vendor, calls it `State`."""

    account: str = field(name="To_Account")
    status: str | UnsetType = field(name="Status", default=UNSET)
    state: str | UnsetType = field(name="State", default=UNSET)
    detail: list[PlatformStatus] | UnsetType = field(name="Detail", default=UNSET)


class OnlineAnswer(Answer, kw_only=True):
    """query_online_status. Its ErrorList is there even when it is empty."""

    results: list[OnlineStatus] | UnsetType = field(name="QueryResult", default=UNSET)
    failures: list[FailedAccount] | UnsetType = field(name="ErrorList", default=UNSET)


class OnlineRequest(Struct, frozen=True):
    """A request for the online state of accounts."""

    accounts: list[str]
    with_detail: bool
    with_instance: bool


def is_user_id(name: str) -> bool:
    """Whether a text may be a UserID: 1 to 32 printable ASCII characters."""
    return _USER_ID.fullmatch(name) is not None


def read_user_id(body: dict[str, Any]) -> str:
    """UserID of a call about one account; older pages and libraries name it Identifier."""
    value = body.get("UserID", body.get("Identifier"))
    if value is None:
        raise CallError(70402, "UserID is missing")
    name = read_account(value)
    if not is_user_id(name):
        raise CallError(70402, "UserID must be 1 to 32 printable ASCII characters")
    return name


def read_profile(body: dict[str, Any]) -> Profile:
    """The account of account_import."""
    profile = Profile(read_user_id(body), _picked(body, "Nick"), _picked(body, "FaceUrl"))
    if not is_fitting(profile):
        raise CallError(40601)
    return profile


def read_profiles(body: dict[str, Any]) -> list[Profile]:
    """The accounts of multiaccount_import, in its old form (names) or its new one (objects)."""
    if "AccountList" in body:
        rows = _rows(body, "AccountList")
        return [Profile(_named(row), _picked(row, "Nick"), _picked(row, "FaceUrl")) for row in rows]
    return [Profile(read_account(name)) for name in _rows(body, "Accounts")]


def is_fitting(profile: Profile) -> bool:
    """Whether nickname and picture are short enough for a profile."""
    texts = (profile.nick or "", profile.face_url or "")
    return all(is_within(text, PROFILE_MAX_BYTES) for text in texts)


def read_items(body: dict[str, Any], name: str) -> list[str]:
    """DeleteItem or CheckItem."""
    return [_named(row) for row in _rows(body, name)]


def read_online_request(body: dict[str, Any]) -> OnlineRequest:
    """The accounts whose state is requested, and how much of it."""
    accounts = body.get("To_Account")
    if not isinstance(accounts, list):
        raise CallError(90003)
    if not accounts:
        raise bad_field("To_Account")
    if len(accounts) > ASKED_MAX:
        raise CallError(90011)
    return OnlineRequest(
        [read_account(account) for account in accounts],
        read_flag(body, "IsNeedDetail"),
        read_flag(body, "IsReturnInstid"),
    )


def _rows(body: dict[str, Any], name: str) -> list[Any]:
    rows = body.get(name)
    if not isinstance(rows, list) or not 1 <= len(rows) <= ACCOUNTS_MAX:
        raise CallError(70402, f"{name} must be an array of 1 to {ACCOUNTS_MAX}")
    return rows


def _named(row: object) -> str:
    if not isinstance(row, dict) or row.get("UserID") is None:
        raise CallError(70402, "UserID is missing")
    return read_account(row["UserID"])


def _picked(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise CallError(70402, f"{name} is not a string")
    return value
