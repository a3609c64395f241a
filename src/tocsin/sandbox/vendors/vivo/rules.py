"""The bodies of vivo's send and save: which members exist, of which type, within which bounds.

vivo, "Server interface" (dev.vivo.com.cn/documentCenter/doc/362, read 2026-11). Which number of
10050 to 10067 stands for which member is not all on the page; the outcome is the same for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from tocsin.domain.message import utf16_units

TITLE_UNITS_MAX = 40
CONTENT_UNITS_MAX = 100
CUSTOM_UNITS_MAX = 1024
CUSTOM_PAIRS_MAX = 10
URL_UNITS_MAX = 1000
REQUEST_ID_UNITS_MAX = 64
CALLBACK_UNITS_MAX = 128
CALLBACK_PARAM_UNITS_MAX = 192
PROFILE_ID_UNITS_MAX = 64
TTL_S = (60, 86_400)
NOTIFY_ID_MAX = 2**31 - 1

CATEGORIES = {
    **dict.fromkeys(("IM", "ACCOUNT", "TODO", "DEVICE_REMINDER", "ORDER", "SUBSCRIPTION"), 1),
    **dict.fromkeys(("NEWS", "CONTENT", "MARKETING", "SOCIAL"), 0),
}
"""Category to the class it belongs to."""

EXTRAS = {
    "callback": CALLBACK_UNITS_MAX,
    "callback.id": CALLBACK_UNITS_MAX,
    "callback.param": CALLBACK_PARAM_UNITS_MAX,
}


class VivoFault(Struct, frozen=True):
    """Why a body is refused."""

    code: int
    text: str


AppId = Annotated[int, Meta(ge=1)] | Annotated[str, Meta(pattern="^[0-9]+$")]
"""A number in most clients, its text in some: vivo takes both, in every body."""


class VivoPush(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A message, with its device where it is for one."""

    app_id: AppId
    title: str = ""
    content: str = ""
    notify_type: int = 0
    reg_id: str = ""
    time_to_live: int = 86_400
    skip_type: int = 0
    skip_content: str = ""
    network_type: int | Literal["-1", "1"] = -1
    classification: int = 0
    category: str = ""
    client_custom_map: dict[str, str] = {}
    extra: dict[str, str] = {}
    request_id: str = ""
    push_mode: int = 0
    notify_id: int | None = None
    profile_id: str = ""
    send_online: bool = False
    foreground_show: bool = True
    add_badge: bool = False
    audit_review: list[dict[str, Any]] = []
    timed_display: dict[str, Any] = {}
    """When it is to be shown; here it is shown at once."""


class ListPush(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A list, and the number of what was saved for it."""

    task_id: str
    reg_ids: list[str]
    app_id: AppId
    request_id: str = ""


def read(body: bytes, *, is_saved: bool) -> VivoPush | VivoFault:
    """The message in a body, or the first thing that is wrong with it."""
    try:
        push = msgspec.json.decode(body, type=VivoPush)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        return VivoFault(10050, str(fault))
    return next(_faults(push, is_saved=is_saved), push)


def read_list(body: bytes) -> ListPush | VivoFault:
    """The list in a body, or the first thing that is wrong with it."""
    try:
        push = msgspec.json.decode(body, type=ListPush)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        return VivoFault(10150, str(fault))
    if not 2 <= len(push.reg_ids) <= 1000:
        return VivoFault(10152, "regIds: 2 to 1000")
    if len(set(push.reg_ids)) != len(push.reg_ids) or not all(push.reg_ids):
        return VivoFault(10153, "regIds: empty or repeated")
    if not 0 < utf16_units(push.request_id) <= REQUEST_ID_UNITS_MAX:
        return VivoFault(10154, "requestId: 1 to 64 characters")
    return push


def _faults(push: VivoPush, *, is_saved: bool) -> Iterator[VivoFault]:
    if bool(push.reg_id) == is_saved:
        yield VivoFault(10053, "regId: required for one device, absent for a list")
    if not push.title or not push.content:
        yield VivoFault(10055, "title and content are required")
    if utf16_units(push.title) > TITLE_UNITS_MAX:
        yield VivoFault(10056, "title: 40 characters at most")
    if utf16_units(push.content) > CONTENT_UNITS_MAX:
        yield VivoFault(10058, "content: 100 characters at most")
    if push.notify_type not in (1, 2, 3, 4):
        yield VivoFault(10054, "notifyType: 1 to 4")
    if not TTL_S[0] <= push.time_to_live <= TTL_S[1]:
        yield VivoFault(10059, "timeToLive: 60 to 86400")
    if not 0 < utf16_units(push.request_id) <= REQUEST_ID_UNITS_MAX:
        yield VivoFault(10066, "requestId: 1 to 64 characters")
    if push.notify_id is not None and not 1 <= push.notify_id <= NOTIFY_ID_MAX:
        yield VivoFault(10067, "notifyId: 1 to 2147483647")
    if str(push.network_type) not in ("-1", "1") or push.push_mode not in (0, 1):
        yield VivoFault(10063, "networkType: -1, 1; pushMode: 0, 1")
    if utf16_units(push.profile_id) > PROFILE_ID_UNITS_MAX:
        yield VivoFault(10063, "profileId: 64 characters at most")
    yield from _skip_faults(push)
    yield from _custom_faults(push)
    yield from _class_faults(push)


def _skip_faults(push: VivoPush) -> Iterator[VivoFault]:
    if push.skip_type not in (1, 2, 3, 4):
        yield VivoFault(10060, "skipType: 1 to 4")
    if push.skip_type in (2, 4) and not push.skip_content:
        yield VivoFault(10061, "skipContent is required")
    units_max = URL_UNITS_MAX if push.skip_type == 2 else CUSTOM_UNITS_MAX
    if utf16_units(push.skip_content) > units_max:
        yield VivoFault(10062, f"skipContent: {units_max} characters at most")


def _custom_faults(push: VivoPush) -> Iterator[VivoFault]:
    pairs = push.client_custom_map.items()
    units = sum(utf16_units(name) + utf16_units(value) for name, value in pairs)
    if len(pairs) > CUSTOM_PAIRS_MAX or units > CUSTOM_UNITS_MAX:
        yield VivoFault(10065, "clientCustomMap: 10 pairs, 1024 characters at most")
    for name, value in push.extra.items():
        if utf16_units(value) > EXTRAS.get(name, -1):
            yield VivoFault(10064, f"extra: {name}")
    if "callback" in push.extra and not _is_web(push.extra["callback"]):
        yield VivoFault(10064, "extra: callback is no address")
    if "callback.param" in push.extra and not {"callback", "callback.id"} & set(push.extra):
        yield VivoFault(10064, "extra: callback.param without callback")


def _class_faults(push: VivoPush) -> Iterator[VivoFault]:
    if push.classification not in (0, 1):
        yield VivoFault(10095, "classification: 0, 1")
    if push.category and push.category not in CATEGORIES:
        yield VivoFault(10096, "category is unknown")
    if CATEGORIES.get(push.category, push.classification) != push.classification:
        yield VivoFault(10097, "category and classification do not agree")


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
