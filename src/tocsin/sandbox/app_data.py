"""What an app is handed of a push, beside what its device shows: read as its phone reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec


def members(text: object, name: str) -> dict[str, Any]:
    """The members of a JSON object that came as text; any other text is one member, `name`."""
    if not isinstance(text, str) or not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {name: text}
    return found if isinstance(found, dict) else {name: text}


def extras(intent: object) -> dict[str, str]:
    """The text extras of an Android intent URI, which the opened page is handed."""
    if not isinstance(intent, str):
        return {}
    parts = intent.partition("#Intent")[2].split(";")
    named = (part.removeprefix("S.").partition("=") for part in parts if part.startswith("S."))
    return {unquote(name): unquote(text) for name, _, text in named}
