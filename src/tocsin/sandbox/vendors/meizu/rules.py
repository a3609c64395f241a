"""Meizu's messageJson: which members it has, of which type, within which bounds.

MEIZUPUSH/PushAPI, "message structure" (read 2026-11). Unknown members are let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

TITLE_CHARS_MAX = 32
CONTENT_CHARS_MAX = 100
SUBTITLE_CHARS_MAX = 16
MESSAGE_BYTES_MAX = 4096
"""Meizu names no figure."""
VALID_HOURS_MAX = 72
CALLBACK_BYTES_MAX = 128
CALLBACK_PARAM_BYTES_MAX = 64

_NOTIFY_KEY = re.compile(r"[0-9A-Za-z_-]{0,8}")
_WHERE = re.compile(r"`\$\.?(?P<path>[^`]*)`")

Switch = Literal[0, 1] | bool
"""Meizu's own SDK writes `true` and `false`, its page 0 and 1."""
Choice = Literal[0, 1]


class NoticeBar(Struct):
    title: str
    content: str
    noticeMsgType: Choice = 0  # noqa: N815 - Meizu's spelling
    noticeBarType: Literal[0, 2] = 0  # noqa: N815 - Meizu's spelling


class NoticeExpand(Struct):
    noticeExpandType: Literal[0, 1, 2] = 0  # noqa: N815 - Meizu's spelling
    noticeExpandContent: str = ""  # noqa: N815 - Meizu's spelling
    noticeExpandImgUrl: str = ""  # noqa: N815 - Meizu's spelling


class ClickType(Struct):
    # Type 3, the app's own, was withdrawn.
    clickType: Literal[0, 1, 2] = 0  # noqa: N815 - Meizu's spelling
    url: str = ""
    parameters: dict[str, Any] = {}
    activity: str = ""


class PushTime(Struct):
    offLine: Switch = 1  # noqa: N815 - Meizu's spelling
    validTime: int = 24  # noqa: N815 - Meizu's spelling


class NotificationType(Struct, frozen=True):
    vibrate: Switch = 1
    lights: Switch = 1
    sound: Switch = 1


class Advance(Struct):
    suspend: Switch = 1
    clearNoticeBar: Switch = 1  # noqa: N815 - Meizu's spelling
    notificationType: NotificationType = NotificationType()  # noqa: N815 - Meizu's spelling
    notifyKey: str = ""  # noqa: N815 - Meizu's spelling


class Vip(Struct):
    subtitle: str = ""


class Extra(Struct):
    callback: str = ""
    callback_param: str = field(name="callback.param", default="")
    callback_type: Literal[1, 2, 3, "1", "2", "3"] | UnsetType = field(
        name="callback.type", default=UNSET
    )

    @property
    def types(self) -> int:
        """The sum of the receipt types that are asked for; both where none is named."""
        return 3 if self.callback_type is UNSET else int(self.callback_type)


class MeizuMessage(Struct):
    noticeBarInfo: NoticeBar  # noqa: N815 - Meizu's spelling
    noticeExpandInfo: NoticeExpand = field(default_factory=NoticeExpand)  # noqa: N815
    clickTypeInfo: ClickType = field(default_factory=ClickType)  # noqa: N815
    pushTimeInfo: PushTime = field(default_factory=PushTime)  # noqa: N815
    advanceInfo: Advance = field(default_factory=Advance)  # noqa: N815
    vipInfo: Vip = field(default_factory=Vip)  # noqa: N815
    extra: Extra = field(default_factory=Extra)


class Wrong(Struct, frozen=True):
    """A rule that was broken, by the member's way."""

    where: str


def read(text: str) -> MeizuMessage | Wrong:
    """The message, or the first rule that it breaks."""
    if len(text.encode()) > MESSAGE_BYTES_MAX:
        return Wrong("messageJson")
    try:
        message = msgspec.json.decode(text, type=MeizuMessage)
    except msgspec.ValidationError as fault:
        found = _WHERE.search(str(fault))
        return Wrong(found["path"] if found else "messageJson")
    except (msgspec.DecodeError, UnicodeError):
        return Wrong("messageJson")
    where = next(_faults(message), "")
    return Wrong(where) if where else message


def _faults(message: MeizuMessage) -> Iterator[str]:
    bar, expand, click = message.noticeBarInfo, message.noticeExpandInfo, message.clickTypeInfo
    if not bar.title.strip() or _units(bar.title) > TITLE_CHARS_MAX:
        yield "noticeBarInfo.title"
    if not bar.content.strip() or _units(bar.content) > CONTENT_CHARS_MAX:
        yield "noticeBarInfo.content"
    if expand.noticeExpandType == 1 and not expand.noticeExpandContent:
        yield "noticeExpandInfo.noticeExpandContent"
    if expand.noticeExpandType == 2 and not _is_web(expand.noticeExpandImgUrl):
        yield "noticeExpandInfo.noticeExpandImgUrl"
    if click.clickType == 1 and not click.activity:
        yield "clickTypeInfo.activity"
    if click.clickType == 2 and not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", click.url):
        yield "clickTypeInfo.url"
    if not 1 <= message.pushTimeInfo.validTime <= VALID_HOURS_MAX:
        yield "pushTimeInfo.validTime"
    if not _NOTIFY_KEY.fullmatch(message.advanceInfo.notifyKey):
        yield "advanceInfo.notifyKey"
    if _units(message.vipInfo.subtitle) > SUBTITLE_CHARS_MAX:
        yield "vipInfo.subtitle"
    extra = message.extra
    too_long = len(extra.callback.encode()) > CALLBACK_BYTES_MAX
    if extra.callback and (too_long or not _is_web(extra.callback)):
        yield "extra.callback"
    if not extra.callback and (extra.callback_param or extra.callback_type is not UNSET):
        yield "extra.callback"
    if len(extra.callback_param.encode()) > CALLBACK_PARAM_BYTES_MAX:
        yield "extra.callback.param"


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _units(text: str) -> int:
    """Characters as Java counts them."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
