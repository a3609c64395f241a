"""The wire format that all commands share: the URL, the envelope, and the readers of bodies.

Members are spelled as the documents spell them (trtc.io/document/34620, read 2026-11). Each other
`wire_*` file has the format of one family of commands. Only these files use wire spellings.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from tocsin.domain.account import NAME_MAX_BYTES, Failure
from tocsin.domain.usersig import TOKEN_MAX_CHARS
from tocsin.errors import CallError

DEPTH_MAX = 32
"""Levels of nesting in values that are stored unchanged (ContentState, MsgBody)."""

OK = "OK"
FAIL = "FAIL"

# --- answers --------------------------------------------------------------------------------


class Answer(Struct, kw_only=True):
    """The envelope of every answer."""

    status: str = field(name="ActionStatus", default=OK)
    info: str = field(name="ErrorInfo", default="")
    code: int = field(name="ErrorCode", default=0)


class FailedAccount(Struct):
    """One row of ErrorList, without ErrorInfo, as in the documents' samples."""

    code: int = field(name="ErrorCode")
    account: str = field(name="To_Account")


class ListedAnswer(Answer, kw_only=True):
    """An answer that may list failed accounts."""

    failures: list[FailedAccount] | UnsetType = field(name="ErrorList", default=UNSET)


def refusal(form: type[Answer], error: CallError) -> Answer:
    """The answer to a refused call, in the form of its command's answers."""
    return form(status=FAIL, info=error.info, code=error.code)


def error_list(failures: list[Failure]) -> list[FailedAccount] | UnsetType:
    """ErrorList, absent when nothing failed."""
    if not failures:
        return UNSET
    return [FailedAccount(code, account) for account, code in failures]


# --- the URL --------------------------------------------------------------------------------


QUERY_MAX_BYTES = 32 * 1024
"""A UserSig of 8 KiB with every asterisk escaped, and room for the rest."""
PARAMETERS_MAX = 64
PARAMETERS: dict[str, tuple[int, int]] = {
    "sdkappid": (20, 60025),
    "identifier": (NAME_MAX_BYTES, 60025),
    "usersig": (TOKEN_MAX_CHARS, 70003),
    "contenttype": (32, 60025),
    "random": (64, 60025),
}
"""The parameters of a URL: the most bytes of each, and the code of a longer one."""
ESCAPED = 3
"""The most bytes that one byte of a parameter takes in the URL."""


def read_query(query: bytes) -> dict[str, str]:
    """The known parameters of a URL; of one that is given twice, the first.

    Lengths are checked before a text is decoded: `CallError` 60002 for the whole query, or the code
    of the parameter.
    """
    if len(query) > QUERY_MAX_BYTES:
        raise CallError(60002, f"query string is over {QUERY_MAX_BYTES} bytes")
    if query.count(b"&") >= PARAMETERS_MAX:
        raise CallError(60002, f"query string has over {PARAMETERS_MAX} parameters")
    params: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if name in PARAMETERS and name not in params:
            params[name] = _read_parameter(name, value)
    return params


def _read_parameter(name: str, value: str) -> str:
    bytes_max, code = PARAMETERS[name]
    if len(value) <= bytes_max * ESCAPED:
        # Nearly every call escapes the asterisks of its UserSig and nothing else.
        value = value.replace("%2A", "*")
        if "%" in value or "+" in value:
            value = unquote(value.replace("+", " "))
        if is_within(value, bytes_max):
            return value
    raise CallError(code, f"{name} is over {bytes_max} bytes")


# --- bodies ---------------------------------------------------------------------------------


def read_body(raw: bytes, bad_json: int, *, is_fieldless: bool = False) -> dict[str, Any]:
    """The JSON object of a call, without its null members; else `CallError` `bad_json`.

    Of a command without fields, `[]` is read as an empty object, which PHP cannot write.
    """
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as fault:
        raise CallError(bad_json) from fault
    if is_fieldless and body == []:
        return {}
    if not isinstance(body, dict):
        raise CallError(bad_json)
    return present(body)


def present(members: dict[str, Any]) -> dict[str, Any]:
    """The members that are not null: several client libraries send null for absent members."""
    if None in members.values():
        return {name: value for name, value in members.items() if value is not None}
    return members


def bad_field(name: str) -> CallError:
    """The refusal of a malformed field, in the words of the documents' sample."""
    return CallError(90001, f"Invalid format of {name}")


def is_integer(value: object) -> bool:
    """Whether a JSON value is an integer; `true` is none."""
    return type(value) is int


def read_flag(members: dict[str, Any], name: str) -> bool:
    """A member that is 0 or 1, or absent."""
    value = members.get(name, 0)
    if not is_integer(value) or value not in (0, 1):
        raise bad_field(name)
    return bool(value)


def read_object(value: object, wrong: CallError) -> dict[str, Any]:
    """A JSON object without its null members; `[]` is an empty one."""
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise wrong
    return present(value)


def read_account(value: object) -> str:
    """An account in a body."""
    if not isinstance(value, str):
        raise CallError(60015)
    return value


def read_text(value: object) -> str | None:
    """A text, or a number as text; None for any other value."""
    if isinstance(value, str):
        return value
    if is_integer(value) or isinstance(value, float):
        return msgspec.json.encode(value).decode()
    return None


def is_within(text: str, bytes_max: int) -> bool:
    """Whether a text has at most so many bytes as UTF-8."""
    return len(text) <= bytes_max and (text.isascii() or len(text.encode()) <= bytes_max)


def is_shallow(value: object, levels: int = DEPTH_MAX) -> bool:
    """Whether a JSON value is nested at most `levels` deep, so that it can be encoded again."""
    if not isinstance(value, dict | list):
        return True
    if not levels:
        return False
    parts = value.values() if isinstance(value, dict) else value
    return all(is_shallow(part, levels - 1) for part in parts)
