"""Settings as fields of structs: what each says of itself, and what is wrong with a value.

Every value is judged by itself, so that one look tells all that is wrong. The tree of settings is
in `config.py`; this file knows none of them.
"""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Meta, Struct

ENVIRONMENT = "TOCSIN_"
MASK = "***"
SHOWN_MAX = 80
"""Characters of a wrong value that are shown."""

Check = Callable[[Any], None]
"""Raises `ValueError` with what is allowed, in words that quote nothing secret."""


class Setting(Struct, frozen=True, kw_only=True):
    """One field of the tree, as its documentation and its judge need it."""

    path: str
    """Dotted: `server.port`."""
    kind: str
    default: Any
    sentence: str
    hint: Any
    """Its type with bounds, for the judge."""
    is_secret: bool = False
    is_proxy: bool = False
    """Whether it is a proxy's URL, of which only the password is secret."""
    is_reloadable: bool = False
    """Whether a running service takes a change of it."""
    check: Check | None = None
    """What must hold beside type and bounds."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT + self.path.upper().replace(".", "_")

    @property
    def is_list(self) -> bool:
        """Whether it holds several texts, in the environment with commas between."""
        return self.kind == LIST


class WrongSetting(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: where, with which value, and what would be right."""

    path: str
    """Dotted path, or the name of a variable that is none."""
    what: str = ""
    """What is wrong, where it is not the value."""
    value: str = ""
    """The wrong value as JSON; masked where it is secret."""
    allowed: str = ""
    near: str = ""
    """The nearest path, variable or value that is right."""
    source: str = ""
    """The variable that says it; empty: the file or the command line."""

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        what = self.what or f"{self.value} is wrong: {self.allowed}"
        near = f"; did you mean {self.near}?" if self.near else ""
        return f"{self.path}{source}: {what}{near}"


class ConfigError(ValueError):
    """All that is wrong with the settings, one line a fault, each beginning with its path."""

    def __init__(self, faults: list[WrongSetting]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class WrongValue(ValueError):
    """A value that is not allowed: what is, and what was meant perhaps."""

    def __init__(self, allowed: str, near: str = "") -> None:
        super().__init__(allowed)
        self.near = near


def says(
    sentence: str,
    *,
    is_secret: bool = False,
    is_proxy: bool = False,
    is_reloadable: bool = False,
    check: Check | None = None,
) -> Meta:
    """What a field says of itself, to stand in its annotation."""
    extra = {
        "is_secret": is_secret,
        "is_proxy": is_proxy,
        "is_reloadable": is_reloadable,
        "check": check,
    }
    return Meta(description=sentence, extra=extra)


def settings_of(form: type[Struct], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a tree of structs, in its order; fields that say nothing are none."""
    hints = typing.get_type_hints(form, include_extras=True)
    for field in msgspec.structs.fields(form):
        hint = hints[field.name]
        path = prefix + field.name
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from settings_of(hint, f"{path}.")
            continue
        said = [it for it in getattr(hint, "__metadata__", ()) if it.description]
        if said:
            yield Setting(
                path=path,
                kind=_kind(hint.__origin__),
                default=field.default,
                sentence=said[-1].description,
                hint=hint,
                **said[-1].extra,
            )


def judge(setting: Setting, value: Any) -> Any:
    """The value in its type; raises `WrongValue`. Texts that read as numbers are numbers."""
    if setting.is_list and isinstance(value, str):
        value = split(value)
    try:
        right = msgspec.convert(value, setting.hint, strict=False)
    except msgspec.ValidationError:
        raise WrongValue(allowed(setting), near_value(setting, value)) from None
    if isinstance(right, float) and not math.isfinite(right):
        raise WrongValue(allowed(setting))
    if setting.check is not None:
        try:
            setting.check(right)
        except ValueError as fault:
            raise WrongValue(str(fault)) from None
    return right


def shown(setting: Setting, value: Any) -> str:
    """A value as it may be told: secrets are masked, long ones cut."""
    if setting.is_secret or setting.is_proxy:
        return MASK
    is_endless = isinstance(value, float) and not math.isfinite(value)
    text = str(value) if is_endless else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def allowed(setting: Setting) -> str:
    """What a setting may be, in words: `a whole number from 0 to 65535`."""
    if choices := choices_of(setting):
        return f"one of {', '.join(choices)}"
    least, most = "", ""
    for meta in setting.hint.__metadata__:
        if meta.ge is not None:
            least = f"from {meta.ge}"
        if meta.gt is not None:
            least = f"above {meta.gt}"
        if meta.le is not None:
            most = f"to {meta.le}" if least.startswith("from") else f"up to {meta.le}"
    bounds = " ".join(it for it in (least, most) if it)
    return f"a {setting.kind} {bounds}".rstrip()


def choices_of(setting: Setting) -> tuple[str, ...]:
    """The words that a setting is one of; none where it is no choice."""
    kind = setting.hint.__origin__
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def near_value(setting: Setting, value: Any) -> str:
    """The choice that was meant perhaps."""
    return near(value, choices_of(setting), cutoff=0.5) if isinstance(value, str) else ""


def near(name: str, known: Collection[str], *, cutoff: float = 0.0) -> str:
    """The known name that is most like this one; empty where none is."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def split(text: str) -> list[str]:
    """The parts of a text with commas between."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    return LIST if typing.get_origin(hint) is tuple else str(_KINDS[hint])


LIST = "list of texts"
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
