"""What is shown or carried: OfflinePushInfo in our own names, and the rules about its text.

Field meanings: trtc.io/document/77715 (read 2026-11). Wire spellings live in `api/wire.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import regex
from msgspec import Struct

ELLIPSIS = "..."
NO_SOUND = "push.no_sound"
"""In the place of a sound's name: no sound, and no vibration (the client SDKs' constant)."""
DEFAULT_SOUNDS = ("push.default_sound", "default")
"""In the place of a sound's name: what the phone plays by itself."""


NOTHING_SHOWN = ("-13", "nothing to show")
"""Code and words in the books for devices that are not sent a push, since it has nothing for them.
"""


class Translation(Struct, frozen=True):
    """Title and text for one device language."""

    language: str
    title: str = ""
    desc: str = ""


class LiveActivity(Struct, frozen=True, kw_only=True):
    """What happens to an iOS Live Activity."""

    id: str
    event: str
    """`start`, `update` or `end`."""
    content_state: dict[str, Any] = {}
    dismissal_at: int | None = None
    """Unix seconds; only for `end`."""
    attributes_type: str = ""
    """Name of the app's type of attributes; only for `start`, whose tokens are by it."""
    attributes: dict[str, Any] = {}
    """What never changes of the activity; only for `start`."""
    stale_at: int | None = None
    """Unix seconds from which iOS calls it out of date."""


class AndroidPart(Struct, frozen=True, kw_only=True):
    """AndroidInfo. None or empty: the credential's default, else the vendor's."""

    sound: str = ""
    is_big_text: bool = False
    huawei_channel_id: str = ""
    huawei_importance: str = ""
    huawei_category: str = ""
    huawei_image: str = ""
    huawei_ext_as_intent: bool = False
    honor_importance: str = ""
    honor_image: str = ""
    xiaomi_channel_id: str = ""
    oppo_channel_id: str = ""
    oppo_category: str = ""
    oppo_notify_level: int | None = None
    oppo_template_id: str = ""
    oppo_title_params: dict[str, str] = {}
    oppo_content_params: dict[str, str] = {}
    vivo_classification: int | None = None
    vivo_category: str = ""
    vivo_notify_type: int | None = None
    google_channel_id: str = ""
    google_image: str = ""
    google_priority: str = ""
    meizu_message_type: int | None = None


class ApplePart(Struct, frozen=True, kw_only=True):
    """ApnsInfo."""

    counts_badge: bool = False
    """BadgeMode 0. Push calls do not count unless asked to."""
    title: str = ""
    subtitle: str = ""
    image: str = ""
    is_mutable: bool = False
    sound: str = ""
    interruption_level: str = ""
    is_silent: bool = False
    is_voip: bool = False
    live_activity: LiveActivity | None = None


class HarmonyPart(Struct, frozen=True, kw_only=True):
    """HarmonyInfo."""

    title: str = ""
    category: str = ""
    image: str = ""
    sound: str = ""
    sound_duration_s: int | None = None


class Message(Struct, frozen=True, kw_only=True):
    """One OfflinePushInfo."""

    is_online_only: bool = False
    """PushFlag 1: never a vendor."""
    title: str = ""
    desc: str = ""
    translations: tuple[Translation, ...] = ()
    ext: str = ""
    badge_add: int | None = None
    badge_set: int | None = None
    android: AndroidPart = AndroidPart()
    apple: ApplePart = ApplePart()
    harmony: HarmonyPart = HarmonyPart()
    template_id: str = ""
    template_params: dict[str, str] = {}

    def translated(self, language: int) -> Message:
        """The message with the title and text of translation number `language`; -1: its own."""
        if language < 0:
            return self
        chosen = self.translations[language]
        return msgspec.structs.replace(self, title=chosen.title, desc=chosen.desc)

    def silenced(self) -> Message:
        """The message without sound and vibration, wherever a channel can say so."""
        replace = msgspec.structs.replace
        return replace(
            self,
            android=replace(self.android, sound=NO_SOUND),
            apple=replace(self.apple, sound=NO_SOUND),
            harmony=replace(self.harmony, sound=NO_SOUND),
        )


def is_empty(message: Message) -> bool:
    """Whether there is nothing in it for any screen and any app, whatever the channel.

    How it would look or sound is not looked at, but for a sound of its own on Apple's devices,
    which is heard without a text.
    """
    apple = message.apple
    texts = (message.title, message.desc, apple.title, apple.subtitle, message.harmony.title)
    return (
        not any(text.strip() for text in texts)
        and not message.ext
        and message.badge_set is None
        and message.badge_add is None
        and not (apple.counts_badge or apple.is_silent or apple.is_voip)
        and apple.live_activity is None
        and apple.sound in ("", NO_SOUND)
    )


def utf16_units(text: str) -> int:
    """Length as vendors count it: UTF-16 code units."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def cut(text: str, units_max: int) -> str:
    """The text within `units_max` UTF-16 units, `...` included, in whole graphemes."""
    if utf16_units(text) <= units_max:
        return text
    left, end = units_max - len(ELLIPSIS), 0
    for char in text:
        left -= 2 if ord(char) > 0xFFFF else 1
        if left < 0:
            break
        end += 1
    return cut_at(text, end)


def cut_at(text: str, end: int) -> str:
    """The text's first `end` characters at most, and `...`.

    What a reader takes for one letter (a grapheme, UAX #29) is kept whole or left out: an emoji of
    several people, a flag, a letter with its accents.
    """
    border = 0
    for grapheme in _GRAPHEME.finditer(text):
        if grapheme.end() > end:
            break
        border = grapheme.end()
    return text[:border] + ELLIPSIS


_GRAPHEME = regex.compile(r"\X")


def sound_file(sound: str) -> str:
    """The file that is named; empty where none is, or one of the constants stands there."""
    return "" if sound == NO_SOUND or sound in DEFAULT_SOUNDS else sound


def notify_id(collapse: str) -> int:
    """The collapse text as a positive 31-bit number, for vendors whose overwrite ids are one."""
    return int.from_bytes(hashlib.sha256(collapse.encode()).digest()[:4]) & 0x7FFF_FFFF or 1


def next_badge(message: Message, badge: int) -> int | None:
    """The absolute badge a device with this counter shall show, or None to leave it alone.

    Set beats add; with neither, BadgeMode decides. Only APNs needs this: the others count
    on the device.
    """
    if message.badge_set is not None:
        return message.badge_set
    if message.badge_add is not None:
        return min(badge + message.badge_add, 999)
    if message.apple.counts_badge:
        return min(badge + 1, 999)
    return None


def render_template(text: str, params: Mapping[str, str]) -> str:
    """Fill `{{Name}}` variables; unknown ones stay as they are."""
    for name, value in params.items():
        text = text.replace("{{" + name + "}}", value)
    return text
