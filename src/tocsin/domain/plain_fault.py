"""What a validator says of a value, in words for whoever told it: which member, and what it may be.

The texts are msgspec's (0.19 to 0.20); one that is not known here is passed on as it is.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_RULES: tuple[tuple[str, str], ...] = (
    (r"Expected `str(?: \| null)?` of length >= (\d+)", r"at least \1 characters"),
    (r"Expected `str(?: \| null)?` of length <= (\d+)", r"at most \1 characters"),
    (r"Expected `(?:int|float)(?: \| null)?` >= (\S+?)(?:\.0)?", r"must be at least \1"),
    (r"Expected `(?:int|float)(?: \| null)?` <= (\S+?)(?:\.0)?", r"must be at most \1"),
    (r"Expected `(?:int|float)(?: \| null)?` > (\S+?)(?:\.0)?", r"must be above \1"),
    (r"Expected `int(?: \| null)?`, got .*", "must be a whole number"),
    (r"Expected `float(?: \| null)?`, got .*", "must be a number"),
    (r"Expected `str(?: \| null)?`, got .*", "must be a text"),
    (r"Expected `bool(?: \| null)?`, got .*", "must be true or false"),
)
_MEMBER: tuple[tuple[str, str], ...] = (
    (r"Object missing required field `(.*)`", "is needed"),
    (r"Object contains unknown field `(.*)`", "is not known here"),
)


def said_plainly(text: str) -> str:
    """`key: at least 8 characters`, from ``Expected `str` of length >= 8 - at `$.key` ``."""
    found = _PLACE.fullmatch(text)
    assert found is not None
    what, path = found["what"], (found["path"] or "").lstrip(".")
    for pattern, words in _MEMBER:
        if member := re.fullmatch(pattern, what):
            path, what = ".".join(filter(None, (path, member[1]))), words
    for pattern, words in _RULES:
        if rule := re.fullmatch(pattern, what):
            what = rule.expand(words)
    return f"{path}: {what}" if path else what
