"""Which of a push's texts a device gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.language import choose_language
from tocsin.domain.message import Translation

TEXTS = tuple(Translation(name, name) for name in ("en", "zh-hans", "zh", "pt_BR", "EN"))


@pytest.mark.evidence("a device gets its language")
@pytest.mark.parametrize(
    ("device", "index"),
    [
        ("en", 0),
        ("en-GB", 0),
        ("EN_us", 0),
        ("zh-Hans-CN", 1),
        ("zh-Hant", 2),
        ("pt-br", 3),
        ("pt", -1),
        ("", -1),
        ("fr", -1),
    ],
)
def test_the_language_is_the_nearest_known(device: str, index: int) -> None:
    assert choose_language(TEXTS, device) == index


def texts(names: str) -> tuple[Translation, ...]:
    return tuple(Translation(name, name) for name in names.split())


def chosen(device: str, names: str) -> str:
    """The name of the text that is chosen; empty for the message's own."""
    index = choose_language(texts(names), device)
    return "" if index < 0 else names.split()[index]


@pytest.mark.evidence("a device gets its language")
@pytest.mark.parametrize(
    ("device", "names", "expected"),
    [
        ("zh-TW", "zh zh-Hant", "zh-Hant"),
        ("zh-HK", "zh zh-Hant", "zh-Hant"),
        ("zh-MO", "zh zh-Hant", "zh-Hant"),
        ("zh_TW", "zh-Hant zh", "zh-Hant"),
        ("zh-Hant-HK", "zh zh-Hant", "zh-Hant"),
        ("zh-Hant-HK", "zh zh-HK zh-TW", "zh-HK"),
        ("zh-Hant-HK", "zh zh-TW", "zh-TW"),
        ("zh-HK", "zh-CN zh-TW", "zh-TW"),
        ("zh-HK", "zh-TW zh-HK zh-Hant", "zh-HK"),
        ("zh-Hant", "zh zh-TW", "zh-TW"),
        ("zh-Hans-HK", "zh-HK zh", "zh"),
        ("zh-Hans-TW", "zh-TW zh-Hans", "zh-Hans"),
        ("zh-CN", "zh-Hant zh-Hans", "zh-Hans"),
        ("zh-SG", "zh-Hant zh-Hans", "zh-Hans"),
        ("zh", "zh-Hant zh-CN", "zh-CN"),
        ("zh-Hans", "zh-Hant zh", "zh"),
        # Nothing in its script: the nearest by name, as for every language.
        ("zh-TW", "zh en", "zh"),
        ("zh-TW", "zh-Hans en", ""),
        ("zh-CN", "zh-TW en", ""),
        # As phones and libraries spell it.
        ("zh_TW_#Hant", "zh zh-Hant", "zh-Hant"),
        ("zh-Hant-TW-u-nu-hanidec", "zh zh-Hant", "zh-Hant"),
        ("zh_TW.UTF-8", "zh zh-Hant", "zh-Hant"),
        ("zh-CHT", "zh zh-Hant", "zh-Hant"),
        ("cmn-Hant-TW", "zh zh-Hant", "zh-Hant"),
        ("yue-HK", "zh yue", "yue"),
        # Other languages of several scripts.
        ("sr-Latn-RS", "sr sr-Latn", "sr-Latn"),
        ("sr-ME", "sr sr-Latn", "sr-Latn"),
        ("sr-RS", "sr-Latn sr-Cyrl", "sr-Cyrl"),
        ("sr-Latn", "sr", "sr"),
        ("sh", "sr sr-Latn", "sr-Latn"),
        ("uz-UZ", "uz-Cyrl uz-Latn", "uz-Latn"),
        ("pa-PK", "pa pa-Arab", "pa-Arab"),
        # Old codes, either way.
        ("iw-IL", "en he", "he"),
        ("he", "en iw", "iw"),
        ("in-ID", "en id", "id"),
        # One script: a region's text is for that region.
        ("pt-PT", "pt-BR en", ""),
        ("en-GB", "en-US en", "en"),
        ("", "zh zh-Hant", ""),
        ("-", "zh", ""),
    ],
)
def test_a_device_gets_the_text_in_its_script(device: str, names: str, expected: str) -> None:
    assert chosen(device, names) == expected


@given(st.lists(st.text(max_size=12), max_size=5), st.text(max_size=20))
def test_whatever_a_device_tells_there_is_an_answer(names: list[str], device: str) -> None:
    translations = tuple(Translation(name) for name in names)
    assert -1 <= choose_language(translations, device) < max(1, len(names))
