"""The body of Huawei's `messages:send` v3: which members exist, and within which bounds.

Huawei, "Scenario-based messages" (developer.huawei.com harmonyos-references, read 2026-11). Served
are alerts and badges (push type 0) and background pushes (6). The page names no code for each
member; that one which it does not know is refused is our reading, as is how many lines make an
inbox. A fault carries Huawei's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tocsin.sandbox.app_data import members

TOKENS_MAX = 1000
PAYLOAD_BYTES_MAX = 4096
TTL_S_MAX = 15 * 86_400
DAY_S = 86_400
BI_TAG_BYTES_MAX = 64
ALERT, BACKGROUND = "0", "6"
MARKETING = "MARKETING"

BAD_PARAMETER = "80100001"
BAD_STRUCTURE = "80100003"
BAD_TTL = "80100004"
TOO_LARGE = "80300008"
BAD_TOKENS = "80300010"

# PLAY_VOICE is for voice broadcasts (push type 2) only.
Category = Literal[
    "IM",
    "VOIP",
    "MISS_CALL",
    "SUBSCRIPTION",
    "TRAVEL",
    "HEALTH",
    "WORK",
    "ACCOUNT",
    "EXPRESS",
    "FINANCE",
    "DEVICE_REMINDER",
    "MAIL",
    "MARKETING",
]
Text = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Line = Annotated[str, Meta(max_length=1024)]


class _Part(Struct, rename="camel", forbid_unknown_fields=True):
    """An object of Huawei's: what it does not know, it refuses."""


class HarmonyClickAction(_Part):
    # 3 (clear) and 5 (dial) are for live views only.
    action_type: Literal[0, 1]
    action: Text | UnsetType = UNSET
    uri: Text | UnsetType = UNSET
    data: dict[str, Any] | UnsetType = UNSET

    @property
    def leads_somewhere(self) -> bool:
        return self.action_type == 0 or (self.action, self.uri) != (UNSET, UNSET)


class HarmonyBadge(_Part):
    add_num: Annotated[int, Meta(ge=1, le=99)] | UnsetType = UNSET
    set_num: Annotated[int, Meta(ge=0, le=99)] | UnsetType = UNSET


class HarmonyDrawn(_Part):
    category: Category | UnsetType = UNSET
    title: Text | UnsetType = UNSET
    body: Text | UnsetType = UNSET
    click_action: HarmonyClickAction | UnsetType = UNSET
    image: Text | UnsetType = UNSET
    style: Literal[0, 1, 3] | UnsetType = UNSET
    big_title: Text | UnsetType = UNSET
    big_body: Text | UnsetType = UNSET
    inbox_content: Annotated[list[Line], Meta(min_length=1, max_length=3)] | UnsetType = UNSET
    badge: HarmonyBadge | UnsetType = UNSET
    sound: Text | UnsetType = UNSET
    sound_duration: Annotated[int, Meta(ge=1, le=60)] | UnsetType = UNSET
    notify_id: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | UnsetType = UNSET
    app_message_id: Id | UnsetType = UNSET
    foreground_show: bool | UnsetType = UNSET
    profile_id: Id | UnsetType = UNSET

    @property
    def is_badge(self) -> bool:
        """Whether it shows nothing and only counts."""
        return (self.category, self.title, self.body) == (UNSET, UNSET, UNSET) and (
            self.badge is not UNSET
        )

    @property
    def collapse(self) -> str:
        """What replaces on the screen; with -1 Huawei makes the number itself."""
        number = self.notify_id
        return str(number) if isinstance(number, int) and number >= 0 else ""


class Payload(_Part):
    notification: HarmonyDrawn | UnsetType = UNSET
    extra_data: Text | UnsetType = UNSET
    proxy_data: Literal["ENABLE"] | UnsetType = UNSET


class HarmonyOptions(_Part):
    test_message: bool | UnsetType = UNSET
    ttl: Annotated[int, Meta(ge=1, le=TTL_S_MAX)] | UnsetType = UNSET
    bi_tag: Text | UnsetType = UNSET
    receipt_id: Text | UnsetType = UNSET
    collapse_key: Annotated[int, Meta(ge=-1, le=100)] | UnsetType = UNSET
    background_mode: Literal[0, 1] | UnsetType = UNSET


class HarmonyTarget(_Part):
    token: list[Text]


class HarmonyRequest(_Part):
    payload: Payload
    target: HarmonyTarget
    push_options: HarmonyOptions | UnsetType = UNSET

    @property
    def drawn(self) -> HarmonyDrawn:
        shown = self.payload.notification
        return shown if isinstance(shown, HarmonyDrawn) else HarmonyDrawn()

    @property
    def app_data(self) -> dict[str, Any]:
        """What the app is handed: by a click, or when it is woken."""
        click = self.drawn.click_action
        if isinstance(click, HarmonyClickAction) and isinstance(click.data, dict):
            return click.data
        return members(self.payload.extra_data, "extraData")

    @property
    def options(self) -> HarmonyOptions:
        return (
            self.push_options if isinstance(self.push_options, HarmonyOptions) else HarmonyOptions()
        )


class HarmonyFault(Struct, frozen=True):
    """What is wrong: Huawei's code and a sentence."""

    code: str
    text: str


_DECODER = msgspec.json.Decoder(HarmonyRequest)
_PLACES = {
    "`$.target": BAD_TOKENS,
    "`$.pushOptions.ttl`": BAD_TTL,
    "`$.pushOptions": BAD_PARAMETER,
}
"""Where a member stands to the code that a wrong one gets; anywhere else it is the structure."""


def read(body: bytes, push_type: str) -> HarmonyRequest | HarmonyFault:
    """The message, or the first thing that is wrong with it."""
    try:
        send = _DECODER.decode(body)
    except msgspec.ValidationError as fault:
        text = str(fault)
        found = (code for place, code in _PLACES.items() if place in text)
        return HarmonyFault(next(found, BAD_STRUCTURE), f"Illegal payload, {text}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return HarmonyFault(BAD_STRUCTURE, "Illegal payload, no JSON")
    return next(_faults(send, push_type), send)


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _faults(send: HarmonyRequest, push_type: str) -> Iterator[HarmonyFault]:
    """Everything wrong with a message whose members have the right types, the first thing first."""
    if push_type not in (ALERT, BACKGROUND):
        yield HarmonyFault(BAD_STRUCTURE, "Illegal push-type")
    tokens = send.target.token
    if not 1 <= len(tokens) <= TOKENS_MAX or len(set(tokens)) < len(tokens):
        yield HarmonyFault(BAD_TOKENS, "token count should within 1 and 1000")
    rest: dict[str, Struct] = {"payload": send.payload}
    if isinstance(send.push_options, HarmonyOptions):
        rest["pushOptions"] = send.push_options
    if len(msgspec.json.encode(rest)) > PAYLOAD_BYTES_MAX:
        yield HarmonyFault(TOO_LARGE, "Push message size is too long.")
    if push_type == BACKGROUND and send.payload.extra_data is UNSET:
        yield HarmonyFault(BAD_STRUCTURE, "Illegal payload, extraData")
    if push_type == ALERT:
        for name in _wrong(send.drawn):
            yield HarmonyFault(BAD_STRUCTURE, f"Illegal payload, {name}")
    for name in _wrong_options(send.options, push_type):
        yield HarmonyFault(BAD_PARAMETER, f"Check Parameter Error, {name}")


def _wrong(drawn: HarmonyDrawn) -> Iterator[str]:
    """The members of a notification that do not go with each other, or are missing."""
    if drawn.is_badge:
        if drawn != HarmonyDrawn(badge=drawn.badge):
            yield "a badge message has nothing but its badge"
        return
    for name in ("category", "title", "body", "click_action"):
        if getattr(drawn, name) is UNSET:
            yield name
    click = drawn.click_action
    if isinstance(click, HarmonyClickAction) and not click.leads_somewhere:
        yield "clickAction"
    if not (text(drawn.image) or "https://").startswith("https://"):
        yield "image"
    if drawn.style == 1 and UNSET in (drawn.big_title, drawn.big_body):
        yield "style 1 without bigTitle and bigBody"
    if drawn.style == 3 and drawn.inbox_content is UNSET:
        yield "style 3 without inboxContent"
    if drawn.sound is UNSET and drawn.sound_duration is not UNSET:
        yield "soundDuration without sound"
    if drawn.sound is not UNSET and drawn.category == MARKETING:
        yield "sound of a marketing message"


def _wrong_options(options: HarmonyOptions, push_type: str) -> Iterator[str]:
    if len(text(options.bi_tag).encode()) > BI_TAG_BYTES_MAX:
        yield "biTag"
    if push_type != ALERT and options.collapse_key is not UNSET:
        yield "collapseKey of a background push"
    if push_type != BACKGROUND and options.background_mode is not UNSET:
        yield "backgroundMode of an alert"
