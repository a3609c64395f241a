"""Where settings come from: a TOML file and the environment, as one tree of plain values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tocsin.settings import ENVIRONMENT, MASK, Setting, WrongSetting, near

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
"""Members of an app and its credentials that are shown; whatever else there is is masked."""


def from_file(
    file: Path, known: Sequence[Setting], former: Mapping[str, str], faults: list[WrongSetting]
) -> dict[str, Any]:
    """The tree that a TOML file says; what it says of no known setting is a fault."""
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
    """What `[[apps]]` or the variable says, as a list of tables; nothing of it is judged."""
    told, source = tree.get(APPS, []), ""
    if text := environment.get(APPS_VARIABLE):
        source = APPS_VARIABLE
        try:
            told = msgspec.json.decode(text)
        except msgspec.DecodeError as fault:
            faults.append(WrongSetting(path=APPS, what=f"is no JSON: {fault}", source=source))
            return []
    if not isinstance(told, list) or not all(isinstance(app, dict) for app in told):
        what = "is a list of apps: write [[apps]], in the variable a JSON array of objects"
        faults.append(WrongSetting(path=APPS, what=what, source=source))
        return []
    return told


def masked_app(app: Mapping[str, Any]) -> dict[str, Any]:
    """An app with its credentials as it may be shown."""
    shown: dict[str, Any] = {}
    for name, value in app.items():
        if name == "credentials" and isinstance(value, list):
            shown[name] = [masked_app(it) if isinstance(it, dict) else MASK for it in value]
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
    """Put the environment's values into the tree; answers by path which variable says it."""
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
    """Set the value at a dotted path."""
    *sections, name = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a path; None where there is none."""
    value: Any = tree
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value
