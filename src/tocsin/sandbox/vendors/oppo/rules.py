"""OPPO's notifications: which members exist, of which type, within which bounds.

OPPO's page on notifications (open.oppomobile.com/documentation/page/info?id=11236, read 2026-11 in
a copy). A lifetime over ten days is taken as ten days. The page gives no code for each rule: 40 is
used for what is missing, 41 for what is wrong, 67 for category and alert. That a channel and a
template must be known, and that the loud alert is the private class's, is our reading. What is to
be shown at a time is shown at once, and badges are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from tocsin.sandbox.app_data import members

TITLE_CHARS_MAX = 50
SUBTITLE_CHARS_MAX = 10
CONTENT_CHARS_MAX = {1: 50, 2: 128, 3: 50}
"""By style: usual, long text, picture."""
CUSTOM_CHARS_MAX = 4000
ACTIVITY_CHARS_MAX = 500
URL_CHARS_MAX = 2000
CALLBACK_CHARS_MAX = 200
CALLBACK_PARAMETER_CHARS_MAX = 100
OFF_LINE_MAX_S = 10 * 86_400
NOTIFY_ID_MAX = 2**31 - 1
STRONG = 16
FIX_SPEED_RATES = range(1000, 10_001)
"""Messages a second (a transcription of the page: modood/pushapi, oppopush/message.go)."""
MILLISECONDS_MIN = 10**12
"""A time of thirteen digits."""

CATEGORIES = {
    **dict.fromkeys(("IM", "ACCOUNT", "TODO", "DEVICE_REMINDER", "ORDER", "SUBSCRIPTION"), True),
    **dict.fromkeys(("NEWS", "CONTENT", "MARKETING", "SOCIAL"), False),
}
"""Category to whether it is of the private class."""


class OppoFault(Struct, frozen=True):
    """Why a call is refused."""

    code: int
    text: str


class OppoRules(Struct, frozen=True):
    """What the app is allowed."""

    channels: tuple[str, ...]
    templates: tuple[str, ...]
    requires_channel: bool
    requires_template: bool
    sensitive_words: tuple[str, ...]


class OppoNotification(Struct, frozen=True, forbid_unknown_fields=True):
    """A message, without whom it is for."""

    title: str = ""
    content: str = ""
    sub_title: str = ""
    app_message_id: str = ""
    style: int = 1
    big_picture_id: str = ""
    small_picture_id: str = ""
    click_action_type: int = 0
    click_action_activity: str = ""
    click_action_url: str = ""
    action_parameters: str = ""
    off_line: bool = True
    off_line_ttl: int = 3600
    push_time_type: int = 0
    """1: to everybody at a time, `push_start_time` in `time_zone`."""
    push_start_time: int | None = None
    time_zone: str = ""
    fix_speed: bool | Literal[0, 1] = False
    """Broadcasts only: so many a second as `fix_speed_rate` says; here they all come at once."""
    fix_speed_rate: int | None = None
    show_ttl: int = 0
    show_time_type: int = 0
    show_start_time: int | None = None
    show_end_time: int | None = None
    network_type: int = 0
    call_back_url: str = ""
    call_back_parameter: str = ""
    channel_id: str = ""
    notify_id: int | None = None
    category: str = ""
    notify_level: int | None = None
    private_msg_template_id: str = ""
    private_title_parameters: str = ""
    private_content_parameters: str = ""
    badge_operation_type: int | None = None
    """0 sets the badge, 1 adds to it."""
    badge_message_count: int | None = None
    audit_response: Any = field(name="auditResponse", default=None)
    """What a third party found of the message: an object, in a form its JSON text."""

    @property
    def is_private(self) -> bool:
        return CATEGORIES.get(self.category, False)

    @property
    def app_data(self) -> dict[str, Any]:
        """What the app is handed by a click."""
        return members(self.action_parameters, "action_parameters")

    @property
    def life_s(self) -> int:
        """How long it is kept for a phone that is off."""
        return min(self.off_line_ttl, OFF_LINE_MAX_S) if self.off_line else 0


class Single(Struct, frozen=True, forbid_unknown_fields=True):
    """One device, and what it is sent."""

    target_type: int | str
    target_value: str
    notification: dict[str, Any]
    verify_registration_id: bool = False


class OppoPush(Struct, frozen=True):
    """The same, read."""

    token: str
    notification: OppoNotification


class Broadcast(Struct, frozen=True):
    """Several devices, and the id of what was saved for them."""

    message_id: str
    tokens: list[str]


def read(
    members: Mapping[str, Any], rules: OppoRules, *, is_form: bool
) -> OppoNotification | OppoFault:
    """The notification in these members, or the first thing that is wrong with it."""
    try:
        found = msgspec.convert(members, OppoNotification, strict=not is_form)
    except msgspec.ValidationError as fault:
        return OppoFault(41, f"Invalid Arguments: {fault}")
    return next(_faults(found, rules), found)


def read_singles(text: str, rules: OppoRules) -> list[OppoPush] | OppoFault:
    """The single pushes in a JSON list, or the first thing that is wrong with one."""
    try:
        singles = msgspec.json.decode(text, type=list[Single])
    except (msgspec.DecodeError, UnicodeError) as fault:
        return OppoFault(41, f"Invalid Arguments: {fault}")
    pushes = []
    for it in singles:
        if str(it.target_type) != "2":
            return OppoFault(41, "Invalid Arguments: target_type")
        found = read(it.notification, rules, is_form=False)
        if isinstance(found, OppoFault):
            return found
        pushes.append(OppoPush(it.target_value, found))
    return pushes


def read_broadcast(form: Mapping[str, str], targets_max: int) -> Broadcast | OppoFault:
    """The list in a form, or the first thing that is wrong with it."""
    for name in ("message_id", "target_type", "target_value"):
        if not form.get(name):
            return OppoFault(40, f"Missing Required Arguments: {name}")
    if form["target_type"] != "2" or len(form) > 3:
        return OppoFault(41, "Invalid Arguments: target_type")
    tokens = form["target_value"].split(";")
    if not all(tokens) or len(tokens) > targets_max:
        return OppoFault(41, "Invalid Arguments: target_value")
    return Broadcast(form["message_id"], tokens)


def _faults(it: OppoNotification, rules: OppoRules) -> Iterator[OppoFault]:
    if not it.title or not it.content:
        yield OppoFault(40, "Missing Required Arguments: title, content")
    if it.style not in CONTENT_CHARS_MAX or (it.style == 3 and not it.big_picture_id):
        yield _wrong("style")
    yield from _length_faults(it)
    yield from _click_faults(it)
    if it.off_line_ttl < 1 or it.show_ttl not in range(86_401) or it.network_type not in (0, 1):
        yield _wrong("off_line_ttl, show_ttl, network_type")
    yield from _time_faults(it)
    if it.badge_operation_type not in (None, 0, 1) or (it.badge_message_count or 0) < 0:
        yield _wrong("badge_operation_type, badge_message_count")
    if not _is_object(it.audit_response):
        yield _wrong("auditResponse")
    if it.notify_id is not None and not 0 <= it.notify_id <= NOTIFY_ID_MAX:
        yield _wrong("notify_id")
    if it.call_back_url and not _is_web(it.call_back_url):
        yield _wrong("call_back_url")
    yield from _class_faults(it, rules)
    if any(word in f"{it.title} {it.content}" for word in rules.sensitive_words):
        yield _wrong("sensitive words")


def _length_faults(it: OppoNotification) -> Iterator[OppoFault]:
    """Every character counts one, whatever it is."""
    limits = {
        "title": TITLE_CHARS_MAX,
        "sub_title": SUBTITLE_CHARS_MAX,
        "content": CONTENT_CHARS_MAX.get(it.style, 0),
        "action_parameters": CUSTOM_CHARS_MAX,
        "click_action_activity": ACTIVITY_CHARS_MAX,
        "click_action_url": URL_CHARS_MAX,
        "call_back_url": CALLBACK_CHARS_MAX,
        "call_back_parameter": CALLBACK_PARAMETER_CHARS_MAX,
    }
    for name, limit in limits.items():
        if len(getattr(it, name)) > limit:
            yield _wrong(f"{name} length")


def _click_faults(it: OppoNotification) -> Iterator[OppoFault]:
    if it.click_action_type not in (0, 1, 2, 4, 5):
        yield _wrong("click_action_type")
    if it.click_action_type in (1, 4) and not it.click_action_activity:
        yield OppoFault(40, "Missing Required Arguments: click_action_activity")
    if it.click_action_type in (2, 5) and not it.click_action_url:
        yield OppoFault(40, "Missing Required Arguments: click_action_url")
    if it.action_parameters and not _is_json(it.action_parameters, dict[str, Any]):
        yield _wrong("action_parameters")


def _time_faults(it: OppoNotification) -> Iterator[OppoFault]:
    """When it is to be shown: at once, or from one time to another, in milliseconds."""
    if it.show_time_type not in (0, 1):
        yield _wrong("show_time_type")
    if it.show_time_type == 1:
        if it.show_start_time is None or it.show_end_time is None:
            yield OppoFault(40, "Missing Required Arguments: show_start_time, show_end_time")
        elif not MILLISECONDS_MIN <= it.show_start_time < it.show_end_time < 10 * MILLISECONDS_MIN:
            yield _wrong("show_start_time, show_end_time")
    if it.push_time_type not in (0, 1):
        yield _wrong("push_time_type")
    if it.push_time_type == 1 and it.push_start_time is None:
        yield OppoFault(40, "Missing Required Arguments: push_start_time")
    if it.fix_speed and it.fix_speed_rate is None:
        yield OppoFault(40, "Missing Required Arguments: fix_speed_rate")
    if it.fix_speed and it.fix_speed_rate not in FIX_SPEED_RATES:
        yield _wrong("fix_speed_rate")


def _class_faults(it: OppoNotification, rules: OppoRules) -> Iterator[OppoFault]:
    if it.channel_id not in rules.channels and (it.channel_id or rules.requires_channel):
        yield _wrong("channel_id")
    if it.category and it.category not in CATEGORIES:
        yield OppoFault(67, "Category error")
    if it.notify_level is not None:
        is_known = bool(it.category) and it.notify_level in (1, 2, STRONG)
        if not is_known or (it.notify_level == STRONG and not it.is_private):
            yield OppoFault(67, "Category error/Private classify channel notify_level invalid")
    if it.is_private and rules.requires_template and not it.private_msg_template_id:
        yield OppoFault(54, "private_msg_template_id is null")
    if it.private_msg_template_id and it.private_msg_template_id not in rules.templates:
        yield _wrong("private_msg_template_id")
    for name in ("private_title_parameters", "private_content_parameters"):
        text = getattr(it, name)
        if text and not _is_json(text, dict[str, str]):
            yield _wrong(name)


def _wrong(what: str) -> OppoFault:
    return OppoFault(41, f"Invalid Arguments: {what}")


def _is_object(told: Any) -> bool:
    if isinstance(told, str):
        return _is_json(told, dict[str, Any])
    return told is None or isinstance(told, dict)


def _is_json(text: str, kind: Any) -> bool:
    try:
        msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
