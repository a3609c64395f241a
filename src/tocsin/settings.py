"""Settings as fields of structs: their documentation, the check of a value, and their sources.

The sources are a TOML file and the environment, read as one tree of plain values. Every value is
checked by itself, so that one run reports every fault. The settings themselves are in `config.py`.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Meta, Struct

ENVIRONMENT = "TOCSIN_"
MASK = "***"
SHOWN_MAX = 80
"""Characters of a wrong value that are shown."""
FILE_MAX_BYTES = 4 << 20
APPS = "apps"
APPS_VARIABLE = f"{ENVIRONMENT}APPS"
OPEN_MEMBERS = frozenset(
    (
        *("sdkappid", "admins", "profile", "name", "vendor", "file", "files", "variable"),
        *("variables", "key_file", "key_variable", "password_file", "ca_file", "number"),
        *("origin", "auth_origin", "rate_per_s", "is_enabled"),
    )
)
"""Members of an app and its credentials that are shown; all others are masked."""

Check = Callable[[Any], None]
"""Raises `ValueError` with what is allowed, in words that quote nothing secret."""


class Setting(Struct, frozen=True, kw_only=True):
    """One field of the tree, with its documentation and its check."""

    path: str
    """Dotted: `server.port`."""
    kind: str
    default: Any
    sentence: str
    hint: Any
    """The field's type with its bounds."""
    is_secret: bool = False
    is_proxy: bool = False
    """Whether the value is a proxy's URL, of which only the password is secret."""
    is_reloadable: bool = False
    """Whether a reload applies a change."""
    check: Check | None = None
    """A check beside type and bounds."""

    @property
    def variable(self) -> str:
        """The setting's environment variable."""
        return ENVIRONMENT + self.path.upper().replace(".", "_")

    @property
    def is_list(self) -> bool:
        """Whether the value is several texts, separated by commas in the environment."""
        return self.kind == LIST


class WrongSetting(Struct, frozen=True, kw_only=True):
    """One fault of the settings: its place, the wrong value and the allowed ones."""

    path: str
    """Dotted path, or the name of an unknown variable."""
    what: str = ""
    """The fault, if it is not the value."""
    value: str = ""
    """The wrong value as JSON; masked if it is secret."""
    allowed: str = ""
    near: str = ""
    """The nearest known path or variable, or allowed value."""
    source: str = ""
    """The environment variable with the value; empty: the file or the command line."""

    def __str__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        what = self.what or f"{self.value} is wrong: {self.allowed}"
        near = f"; did you mean {self.near}?" if self.near else ""
        return f"{self.path}{source}: {what}{near}"


class ConfigError(ValueError):
    """Every fault of the settings, one a line, each beginning with its path."""

    def __init__(self, faults: list[WrongSetting]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class WrongValue(ValueError):
    """A value that is not allowed, with the allowed ones and the nearest of them."""

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
    """A field's documentation and check, as a part of its annotation."""
    extra = {
        "is_secret": is_secret,
        "is_proxy": is_proxy,
        "is_reloadable": is_reloadable,
        "check": check,
    }
    return Meta(description=sentence, extra=extra)


def settings_of(form: type[Struct], prefix: str = "") -> Iterator[Setting]:
    """Every setting of a tree of structs, in order; a field without `says` is no setting."""
    hints = typing.get_type_hints(form, include_extras=True)
    for field in msgspec.structs.fields(form):
        hint = hints[field.name]
        path = prefix + field.name
        if isinstance(hint, type) and issubclass(hint, Struct):
            yield from settings_of(hint, f"{path}.")
            continue
        metas = [meta for meta in getattr(hint, "__metadata__", ()) if meta.description]
        if metas:
            yield Setting(
                path=path,
                kind=_kind(hint.__origin__),
                default=field.default,
                sentence=metas[-1].description,
                hint=hint,
                **metas[-1].extra,
            )


def checked(setting: Setting, value: Any) -> Any:
    """The value in the setting's type; raises `WrongValue`. A numeral becomes a number."""
    if setting.is_list and isinstance(value, str):
        value = split(value)
    try:
        converted = msgspec.convert(value, setting.hint, strict=False)
    except msgspec.ValidationError:
        raise WrongValue(allowed(setting), near_value(setting, value)) from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise WrongValue(allowed(setting))
    if setting.check is not None:
        try:
            setting.check(converted)
        except ValueError as fault:
            raise WrongValue(str(fault)) from None
    return converted


def shown(setting: Setting, value: Any) -> str:
    """A value as it may be shown: secrets are masked, long values cut."""
    if setting.is_secret or setting.is_proxy:
        return MASK
    is_endless = isinstance(value, float) and not math.isfinite(value)
    text = str(value) if is_endless else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def allowed(setting: Setting) -> str:
    """The allowed values in words: `a whole number from 0 to 65535`."""
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
    bounds = " ".join(filter(None, (least, most)))
    return f"a {setting.kind} {bounds}".rstrip()


def choices_of(setting: Setting) -> tuple[str, ...]:
    """The words that the setting allows; none if it is no choice of words."""
    kind = setting.hint.__origin__
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def near_value(setting: Setting, value: Any) -> str:
    """The allowed word that is nearest to a wrong one."""
    return near(value, choices_of(setting), cutoff=0.5) if isinstance(value, str) else ""


def near(name: str, known: Collection[str], *, cutoff: float = 0.0) -> str:
    """The known name that is most like this one; empty if none is like it."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else ""


def split(text: str) -> list[str]:
    """The parts of a text that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(typing.get_args(hint))
    return LIST if typing.get_origin(hint) is tuple else str(_KINDS[hint])


LIST = "list of texts"
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def from_file(
    file: Path, known: Sequence[Setting], former: Mapping[str, str], faults: list[WrongSetting]
) -> dict[str, Any]:
    """The tree of a TOML file; an unknown setting is a fault."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_MAX_BYTES + 1)
        if len(raw) > FILE_MAX_BYTES:
            faults.append(WrongSetting(path=str(file), what="is over four mebibytes"))
            return {}
        tree = tomllib.loads(raw.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        faults.append(WrongSetting(path=str(file), what=str(fault)))
        return {}
    paths = [setting.path for setting in known]
    sections = {path.rpartition(".")[0] for path in paths} - {""}
    for path, value in list(_leaves(tree, "", sections)):
        if path == APPS:
            continue
        if path in sections and not isinstance(value, dict):
            faults.append(WrongSetting(path=path, what=f"is a section: write [{path}]"))
            del tree[path]
        elif path not in paths and path not in sections:
            faults.append(_unknown(path, paths, former))
    return tree


def take_apps(
    tree: Mapping[str, Any], environment: Mapping[str, str], faults: list[WrongSetting]
) -> list[dict[str, Any]]:
    """The tables of `[[apps]]`, or of the environment variable instead; they are not checked."""
    apps, source = tree.get(APPS, []), ""
    if text := environment.get(APPS_VARIABLE):
        source = APPS_VARIABLE
        try:
            apps = msgspec.json.decode(text)
        except msgspec.DecodeError as fault:
            faults.append(WrongSetting(path=APPS, what=f"is no JSON: {fault}", source=source))
            return []
    if not isinstance(apps, list) or not all(isinstance(app, dict) for app in apps):
        what = "is a list of apps: write [[apps]], in the variable a JSON array of objects"
        faults.append(WrongSetting(path=APPS, what=what, source=source))
        return []
    return apps


def masked_app(app: Mapping[str, Any]) -> dict[str, Any]:
    """An app with its credentials, secrets masked."""
    shown: dict[str, Any] = {}
    for name, value in app.items():
        if name == "credentials" and isinstance(value, list):
            shown[name] = [
                masked_app(credential) if isinstance(credential, dict) else MASK
                for credential in value
            ]
        else:
            shown[name] = value if name in OPEN_MEMBERS else MASK
    return shown


def _leaves(tree: Mapping[str, Any], prefix: str, sections: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        path = prefix + name
        if isinstance(value, dict) and (value or path in sections):
            yield from _leaves(value, f"{path}.", sections)
        else:
            yield path, value


def take_environment(
    tree: dict[str, Any],
    environment: Mapping[str, str],
    known: Sequence[Setting],
    former: Mapping[str, str],
    faults: list[WrongSetting],
) -> dict[str, str]:
    """Puts the environment's values into the tree; answers the variable of each path."""
    by_variable = {setting.variable: setting for setting in known}
    heads = {setting.path.partition(".")[0] for setting in known if "." in setting.path}
    sections = tuple(f"{ENVIRONMENT}{head.upper()}_" for head in (*heads, *former))
    sources = {}
    for name, text in environment.items():
        setting = by_variable.get(name)
        if setting is not None:
            put(tree, setting.path, text)
            sources[setting.path] = name
        elif name.startswith(sections):
            faults.append(_unknown(name, list(by_variable), former))
    return sources


def _unknown(name: str, known: list[str], formers: Mapping[str, str]) -> WrongSetting:
    what = "unknown setting"
    for former, present in formers.items():
        for written in (f"{former}.", f"{ENVIRONMENT}{former.upper()}_"):
            now = written.replace(former, present).replace(former.upper(), present.upper())
            now += name.removeprefix(written)
            if name.startswith(written) and now in known:
                return WrongSetting(path=name, what=f"{what}; it is called {now} now")
    return WrongSetting(path=name, what=what, near=near(name, known))


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path."""
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    value: Any = tree
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value
