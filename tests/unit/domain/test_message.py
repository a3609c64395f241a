"""Text rules: cutting, languages, badges, templates."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.message import (
    ApplePart,
    Message,
    Translation,
    cut,
    next_badge,
    notify_id,
    render_template,
    utf16_units,
)


@pytest.mark.evidence(
    "text is cut by UTF-16 units, in whole graphemes",
    topic="Channels and sandbox",
    planted="length counted in characters; cut where the units end",
)
@given(st.text(), st.integers(3, 60))
def test_a_cut_text_fits_and_is_whole(text: str, units_max: int) -> None:
    short = cut(text, units_max)
    assert utf16_units(short) <= units_max
    # Encoding would fail on half a surrogate pair.
    assert len(short.encode("utf-16-le", "surrogatepass")) // 2 == utf16_units(short)
    if short != text:
        assert short.endswith("...")
        assert text.startswith(short[:-3])
        kept = regex.findall(r"\X", short[:-3])
        graphemes = regex.findall(r"\X", text)
        assert kept == graphemes[: len(kept)]
        following = graphemes[len(kept)]
        assert utf16_units(short) + utf16_units(following) > units_max, "it could be longer"


@pytest.mark.evidence("text is cut by UTF-16 units, in whole graphemes")
@pytest.mark.parametrize(
    ("text", "units_max", "expected"),
    [
        ("12345", 5, "12345"),
        ("123456", 5, "12..."),
        ("😀😀", 4, "😀😀"),
        ("😀😀😀", 5, "😀..."),
        ("a😀😀😀", 5, "a..."),
        ("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 14, "👨‍👩‍👧‍👦..."),
        ("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 13, "..."),
        ("🇨🇳🇨🇳", 7, "🇨🇳..."),
        ("🇨🇳🇨🇳", 6, "..."),
        ("abe\u0301fgh", 6, "ab..."),
        ("ab👍🏽👍🏽", 8, "ab..."),
    ],
)
def test_units_are_those_of_utf_16(text: str, units_max: int, expected: str) -> None:
    assert cut(text, units_max) == expected


TEXTS = (Translation("en", "en"), Translation("zh-hans", "zh-hans"))


def test_a_translated_message_has_the_chosen_text() -> None:
    message = Message(title="t", desc="d", translations=TEXTS)
    assert message.translated(-1) is message
    assert message.translated(1).title == "zh-hans"


@pytest.mark.parametrize(
    ("message", "badge", "expected"),
    [
        (Message(), 3, None),
        (Message(apple=ApplePart(counts_badge=True)), 3, 4),
        (Message(badge_add=5), 3, 8),
        (Message(badge_add=99), 950, 999),
        (Message(badge_set=0, badge_add=5), 3, 0),
    ],
)
def test_badges(message: Message, badge: int, expected: int | None) -> None:
    assert next_badge(message, badge) == expected


def test_templates_fill_what_is_known() -> None:
    assert render_template("{{a}} {{b}}", {"a": "x"}) == "x {{b}}"


def test_an_overwrite_number_is_positive_and_the_same_each_time() -> None:
    numbers = {notify_id(f"t{app:x}-{task:x}") for app in range(1, 9) for task in range(500)}
    assert len(numbers) == 4000
    assert all(0 < number < 2**31 for number in numbers)
    assert notify_id("t7-1") == 2068101715
