"""The body of Honor's `sendMessage`: which fields it takes, of which type, within which bounds.

Honor, "Push service server" (developer.honor.com/cn/docs/11002, read 2026-11), and where that is
silent the same fields of Huawei's, whose twin it is. Members that it does not know are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.sandbox.app_data import extras, members

PAYLOAD_BYTES_MAX = 4096
TOKENS_MAX = 1000
TTL_S_MAX = 15 * 86_400
BUTTONS_MAX = 3
BADGE_MAX = 99

BAD_REQUEST = "80100003"
TOKEN_EMPTY = "10300"  # noqa: S105 - an error code
TOKEN_TWICE = "80300006"  # noqa: S105 - an error code
TOKEN_COUNT = "80300010"  # noqa: S105 - an error code
TOO_LARGE = "80300008"
IMAGE_IN_MARKETING = "80200050"

_TTL = re.compile(r"([0-9]{1,9})s")
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z")


class HonorFault(Struct, frozen=True):
    """What is wrong, as Honor's code and a sentence."""

    code: str
    text: str


class HonorPush(Struct, frozen=True):
    """What one request says, as far as the sandbox needs it."""

    tokens: tuple[str, ...]
    ttl_s: int = 86_400
    title: str = ""
    body: str = ""
    is_shown: bool = False
    is_test: bool = False
    importance: str = ""
    notify_id: int | None = None
    tag: str = ""
    bi_tag: str = ""
    data: dict[str, Any] = {}
    """What the app is handed: the data, and the extras of the intent that a click opens."""


def read(body: bytes) -> HonorPush | HonorFault:
    """The push, or the first thing that is wrong with it."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return HonorFault(BAD_REQUEST, "the body is not JSON")
    if not isinstance(told, dict):
        return HonorFault(BAD_REQUEST, "the body is not an object")
    tokens: Any = told.get("token")
    fault = _token_fault(tokens)
    if fault is not None:
        return fault
    rest = {name: value for name, value in told.items() if name != "token"}
    if len(msgspec.json.encode(rest)) > PAYLOAD_BYTES_MAX:
        return HonorFault(
            TOO_LARGE, f"the message is over {PAYLOAD_BYTES_MAX} bytes without tokens"
        )
    try:
        return _read(rest, tuple(tokens))
    except _Wrong as wrong:
        return HonorFault(wrong.code, str(wrong))


class _Wrong(Exception):
    def __init__(self, text: str, code: str = BAD_REQUEST) -> None:
        super().__init__(text)
        self.code = code


def _token_fault(tokens: Any) -> HonorFault | None:
    if not isinstance(tokens, list) or not tokens:
        return HonorFault(TOKEN_EMPTY, "token is empty")
    if not all(isinstance(token, str) and token for token in tokens):
        return HonorFault(TOKEN_EMPTY, "a token is empty or no text")
    if len(tokens) > TOKENS_MAX:
        return HonorFault(TOKEN_COUNT, f"over {TOKENS_MAX} tokens")
    if len(set(tokens)) < len(tokens):
        return HonorFault(TOKEN_TWICE, "a token stands there twice")
    return None


def _read(told: Mapping[str, Any], tokens: tuple[str, ...]) -> HonorPush:
    android = _object(told, "android")
    top, own = _object(told, "notification"), _object(android, "notification")
    data = _text(android, "data") or _text(told, "data")
    push = HonorPush(
        tokens=tokens,
        ttl_s=_ttl_s(android),
        is_test=_one_of(android, "targetUserType", 0, 1) == 1,
        bi_tag=_text(android, "biTag"),
        data=members(data, "data"),
    )
    if "notification" not in told and "notification" not in android:
        if not (told.get("data") or android.get("data")):
            raise _Wrong("neither data nor notification")
        return push
    for fields in (top, own):
        _https(fields, "image")
    title = _text(own, "title") or _text(top, "title")
    body = _text(own, "body") or _text(top, "body")
    if not title or not body:
        raise _Wrong("a notification has a title and a body")
    _check_click(own)
    _check_badge(own)
    _check_style(own, title, body)
    _check_rest(own)
    if data and members(data, "") == {"": data}:
        raise _Wrong("data beside a notification is a JSON object as text")
    importance = str(_one_of(own, "importance", "LOW", "NORMAL") or "")
    if importance == "LOW" and (own.get("image") or top.get("image")):
        raise _Wrong("no image in marketing messages", IMAGE_IN_MARKETING)
    return msgspec.structs.replace(
        push,
        title=title,
        body=body,
        is_shown=True,
        importance=importance,
        notify_id=_integer(own, "notifyId", 0, 2**31 - 1),
        tag=_text(own, "tag"),
        data=push.data | extras(own["clickAction"].get("intent")),
    )


def _check_click(own: Mapping[str, Any]) -> None:
    click = own.get("clickAction")
    if not isinstance(click, dict):
        raise _Wrong("clickAction is missing")
    match click.get("type"):
        case 1:
            if not (_text(click, "intent") or _text(click, "action")):
                raise _Wrong("clickAction of type 1 has an intent or an action")
        case 2:
            if not _https(click, "url"):
                raise _Wrong("clickAction of type 2 has a url")
        case 3:
            pass
        case _:
            raise _Wrong("clickAction.type is 1, 2 or 3")


def _check_badge(own: Mapping[str, Any]) -> None:
    if "badge" not in own:
        return
    badge = _object(own, "badge")
    if not _text(badge, "badgeClass"):
        raise _Wrong("a badge has a badgeClass")
    _integer(badge, "addNum", 1, BADGE_MAX)
    _integer(badge, "setNum", 0, BADGE_MAX)


def _check_style(own: Mapping[str, Any], title: str, body: str) -> None:
    style = _one_of(own, "style", 0, 1)
    if style == 1 and (_text(own, "bigTitle"), _text(own, "bigBody")) != (title, body):
        raise _Wrong("bigTitle and bigBody are those of the notification")


def _check_rest(own: Mapping[str, Any]) -> None:
    _text(own, "group")
    when = _text(own, "when")
    if when and not _WHEN.fullmatch(when):
        raise _Wrong("when is a time in UTC with nanoseconds")
    buttons = own.get("buttons", [])
    if not isinstance(buttons, list) or len(buttons) > BUTTONS_MAX:
        raise _Wrong(f"buttons is a list of {BUTTONS_MAX} at most")


def _ttl_s(android: Mapping[str, Any]) -> int:
    if "ttl" not in android:
        return 86_400
    match = _TTL.fullmatch(_text(android, "ttl"))
    if match is None or not 1 <= int(match[1]) <= TTL_S_MAX:
        raise _Wrong("ttl is a text of 1s to 1296000s")
    return int(match[1])


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name, {})
    if not isinstance(found, dict):
        raise _Wrong(f"{name} is an object")
    return found


def _text(told: Mapping[str, Any], name: str) -> str:
    found = told.get(name, "")
    if not isinstance(found, str):
        raise _Wrong(f"{name} is a text")
    return found


def _https(told: Mapping[str, Any], name: str) -> str:
    found = _text(told, name)
    if found and not found.startswith("https://"):
        raise _Wrong(f"{name} is an https address")
    return found


def _one_of(told: Mapping[str, Any], name: str, *known: Any) -> Any:
    found = told.get(name)
    if found is not None and (isinstance(found, bool) or found not in known):
        raise _Wrong(f"{name} is one of {known}")
    return found


def _integer(told: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    found = told.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise _Wrong(f"{name} is a number from {low} to {high}")
    return found
