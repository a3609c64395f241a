"""Which of a push's texts a device gets, by the language that the device has told.

Unicode, "Locale Data Markup Language", 4.3 Likely Subtags, and its table likelySubtags.xml
(https://www.unicode.org/reports/tr35/#Likely_Subtags, read 2026-11): a language that is written in
several scripts is told apart by script, and the region says which one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tocsin.domain.message import Translation

SCRIPTS: dict[str, dict[str, str]] = {
    "az": {"": "latn", "iq": "arab", "ir": "arab", "ru": "cyrl"},
    "kk": {"": "cyrl", "af": "arab", "cn": "arab", "ir": "arab", "mn": "arab"},
    "ky": {"": "cyrl", "cn": "arab", "tr": "latn"},
    "mn": {"": "cyrl", "cn": "mong"},
    "pa": {"": "guru", "pk": "arab"},
    "sr": {"": "cyrl", "me": "latn", "ro": "latn", "tr": "latn"},
    "tg": {"": "cyrl", "pk": "arab"},
    "uz": {"": "latn", "af": "arab", "cn": "cyrl"},
    "yue": {"": "hant", "cn": "hans"},
    "zh": {
        "": "hans",
        **dict.fromkeys(("au", "bn", "gb", "gf", "hk", "id", "mo", "pa", "pf"), "hant"),
        **dict.fromkeys(("ph", "sr", "th", "tw", "us", "vn"), "hant"),
    },
}
"""Languages with several scripts: the script that a region writes, and everyone else."""

ALIASES = {
    "cmn": "zh",
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "no": "nb",
    "tl": "fil",
    "sh": "sr-latn",
    "zh-chs": "zh-hans",
    "zh-cht": "zh-hant",
}
"""Old spellings that phones and libraries still tell; Java's `iw` and `in` above all."""


def choose_language(translations: Sequence[Translation], device_language: str) -> int:
    """Which translation a device gets, or -1 for the message's own text.

    Exact first, then with the device's subtags dropped from the end: `zh-Hans-CN` takes `zh-Hans`
    before `zh`. What is in the device's script goes before all others: `zh-TW` takes `zh-Hant`, or
    `zh-HK`, before `zh`. Case and `_` do not matter.
    """
    if not translations:
        return -1
    known: dict[str, int] = {}
    for index, item in enumerate(translations):
        known.setdefault(_tag(item.language), index)
    wanted = _tag(device_language)
    language, script, region = _subtags(wanted)
    shorter = _shorter(wanted)
    if language in SCRIPTS:
        same = {tag: it for tag, it in known.items() if _subtags(tag)[:2] == (language, script)}
        spelt = (f"{language}-{script}-{region}", f"{language}-{region}", f"{language}-{script}")
        for tag in (*shorter, *spelt, *same):
            if tag in same:
                return same[tag]
    return next((known[tag] for tag in shorter if tag in known), -1)


def _shorter(tag: str) -> list[str]:
    """The tag, and the tag with ever more subtags dropped from its end."""
    parts = tag.split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _subtags(tag: str) -> tuple[str, str, str]:
    """Language, script and region; the script is the likely one where none is named."""
    language, *rest = tag.split("-")
    script = next((it for it in rest if re.fullmatch(r"[a-z]{4}", it)), "")
    region = next((it for it in rest if re.fullmatch(r"[a-z]{2}|[0-9]{3}", it)), "")
    likely = SCRIPTS.get(language, {"": ""})
    return language, script or likely.get(region, likely[""]), region


def _tag(language: str) -> str:
    """As BCP 47 writes it, in lower case: `zh_TW.UTF-8` and Java's `zh_TW_#Hant` are read, too."""
    bare = re.split(r"[.@]", language.strip().lower())[0]
    tag = bare.replace("_", "-").replace("#", "")
    tag = re.split(r"-[a-z0-9]-", tag)[0]
    head, dash, rest = tag.partition("-")
    return ALIASES.get(tag) or ALIASES.get(head, head) + dash + rest
