"""Apps and credentials that the configuration declares, read from where it says and judged.

For containers: everything that `tocsin app add` and `tocsin credential add` would say stands in
`[[apps]]`, and secrets in files or variables that are named there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tocsin.api.operator import ADMINS_MAX, SDKAPPID_MAX, AppFacts
from tocsin.api.wire_accounts import is_user_id
from tocsin.channels.credential_files import read_settings, read_value, settings_in
from tocsin.channels.credentials import check_settings
from tocsin.channels.registry import VENDORS
from tocsin.channels.shared_keys import plain_key
from tocsin.domain.origin import normal_origins
from tocsin.domain.proxy import check_proxy
from tocsin.errors import CallError
from tocsin.settings import MASK, WrongSetting, near

SDKAPPID = "sdkappid"
CREDENTIALS = "credentials"
KEY_SOURCES = ("key", "key_file", "key_variable")
APP_MEMBERS = (SDKAPPID, CREDENTIALS, *KEY_SOURCES[1:], *AppFacts.__struct_fields__)


class WrittenCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[apps.credentials]]` as it is written."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    vendor: str
    number: Annotated[int, Meta(ge=0)] = 0
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}
    variables: dict[str, str] = {}
    file: str = ""
    variable: str = ""
    password_file: str = ""
    origin: str = ""
    auth_origin: str = ""
    ca_file: str = ""
    proxy: str = ""
    rate_per_s: Annotated[float, Meta(ge=0)] = 0.0
    is_enabled: bool = True


MEANINGS = {
    "name": "a name of 1 to 64 of A-Z a-z 0-9 . _ -",
    "number": "a whole number from 0: the certificate ID of one that a command made",
    "settings": "a table of the vendor's settings",
    "files": "a table: setting = file with its value",
    "variables": "a table: setting = variable with its value",
    "rate_per_s": "a number from 0",
    "is_enabled": "true or false",
}


class DeclaredCredential(Struct, frozen=True, kw_only=True):
    """A credential of the configuration, ready to be stored."""

    name: str
    vendor: str
    number: int
    """Certificate ID of the credential to adopt under this name; 0: the name finds it."""
    facts: dict[str, Any]
    """As `credential_set` takes them, every setting of the vendor named."""


class DeclaredApp(Struct, frozen=True, kw_only=True):
    """An app of the configuration, ready to be stored."""

    sdkappid: int
    facts: dict[str, Any]
    """As `app_add` takes them."""
    credentials: tuple[DeclaredCredential, ...]


def read_apps(
    apps: Sequence[Mapping[str, Any]], environment: Mapping[str, str] = os.environ
) -> tuple[list[DeclaredApp], list[WrongSetting]]:
    """The declared apps with what their files and variables hold, and all that is wrong."""
    reader = _Reader(environment)
    read = [reader.app(f"apps[{index}]", app) for index, app in enumerate(apps)]
    found = [app for app in read if app is not None]
    numbers = [app.sdkappid for app in found]
    for index, app in enumerate(found):
        if app.sdkappid in numbers[:index]:
            reader.tell(f"apps[{index}].{SDKAPPID}", what=f"{app.sdkappid} is declared twice")
    return found, reader.faults


class _Reader:
    """Reads what is written, and gathers what is wrong."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.faults: list[WrongSetting] = []

    def tell(self, path: str, **fault: str) -> None:
        """One more thing that is wrong."""
        self.faults.append(WrongSetting(path=path, **fault))

    def app(self, path: str, app: Mapping[str, Any]) -> DeclaredApp | None:
        """One `[[apps]]`; None where its number is wrong."""
        self._known(path, app, APP_MEMBERS)
        facts: dict[str, Any] = {}
        for name in AppFacts.__struct_fields__:
            if name in app:
                self._fact(path, name, app[name], facts)
        key = self._key(path, app)
        if key is not None:
            self._fact(path, "key", key, facts)
        written = app.get(CREDENTIALS, [])
        if not isinstance(written, list) or not all(isinstance(it, dict) for it in written):
            self.tell(f"{path}.{CREDENTIALS}", what="is a list: write [[apps.credentials]]")
            written = []
        read = [self.credential(f"{path}.{CREDENTIALS}[{i}]", it) for i, it in enumerate(written)]
        credentials = tuple(it for it in read if it is not None)
        names = [it.name for it in credentials]
        for name in {name for name in names if names.count(name) > 1}:
            self.tell(f"{path}.{CREDENTIALS}", what=f"the name {name} is used twice")
        number = app.get(SDKAPPID)
        if type(number) is not int or not 1 <= number <= SDKAPPID_MAX:
            wrong = msgspec.json.encode(number, enc_hook=str).decode()
            allowed = f"a whole number from 1 to {SDKAPPID_MAX}"
            self.tell(f"{path}.{SDKAPPID}", value=wrong, allowed=allowed)
            return None
        return DeclaredApp(sdkappid=number, facts=facts, credentials=credentials)

    def credential(self, path: str, written: Mapping[str, Any]) -> DeclaredCredential | None:
        """One `[[apps.credentials]]`; None where anything is wrong."""
        count = len(self.faults)
        self._known(path, written, WrittenCredential.__struct_fields__)
        for field in msgspec.structs.fields(WrittenCredential):
            self._member(path, field, written)
        if len(self.faults) > count:
            return None
        told = msgspec.convert(dict(written), WrittenCredential)
        vendors = {vendor.NAME: vendor for vendor in VENDORS}
        if told.vendor not in vendors:
            allowed = f"one of {', '.join(vendors)}"
            self.tell(
                f"{path}.vendor",
                value=msgspec.json.encode(told.vendor).decode(),
                allowed=allowed,
                near=near(told.vendor, vendors, cutoff=0.5),
            )
            return None
        form = vendors[told.vendor].Settings
        settings = self._settings(path, told, form.__struct_fields__)
        ca = self._value(f"{path}.ca_file", file=told.ca_file) if told.ca_file else ""
        try:
            check_proxy(told.proxy)
        except ValueError as fault:
            self.tell(f"{path}.proxy", value=MASK, allowed=str(fault))
        if len(self.faults) == count:
            try:
                plain = check_settings(told.vendor, settings)
            except ValueError as fault:
                self.tell(path, what=_sentence(fault))
        if len(self.faults) > count:
            return None
        facts = {
            # With every setting named, one that is taken out of the file is its default again.
            "settings": msgspec.to_builtins(msgspec.json.decode(plain, type=form)),
            "origin": told.origin,
            "auth_origin": told.auth_origin,
            "ca": ca,
            "proxy": told.proxy,
            "rate_per_s": told.rate_per_s,
            "is_enabled": told.is_enabled,
        }
        return DeclaredCredential(
            name=told.name, vendor=told.vendor, number=told.number, facts=facts
        )

    def _known(self, path: str, table: Mapping[str, Any], members: Collection[str]) -> None:
        for name in table:
            if name not in members:
                self.tell(f"{path}.{name}", what="unknown setting", near=near(name, members))

    def _member(self, path: str, field: Any, written: Mapping[str, Any]) -> None:
        if field.name not in written:
            if field.required:
                self.tell(f"{path}.{field.name}", what="is needed")
            return
        try:
            msgspec.convert(written[field.name], field.type)
        except msgspec.ValidationError:
            self.tell(
                f"{path}.{field.name}", value=MASK, allowed=MEANINGS.get(field.name, "a text")
            )

    def _fact(self, path: str, name: str, value: Any, facts: dict[str, Any]) -> None:
        try:
            facts[name] = getattr(msgspec.convert({name: value}, AppFacts), name)
        except msgspec.ValidationError as fault:
            self.tell(f"{path}.{name}", what=_sentence(fault))
            return
        if name == "admins" and not _are_names(facts[name]):
            allowed = f"up to {ADMINS_MAX} names of 1 to 32 printable ASCII characters"
            self.tell(f"{path}.{name}", value=msgspec.json.encode(value).decode(), allowed=allowed)
        if name == "origins":
            try:
                facts[name] = normal_origins(facts[name])
            except CallError as fault:
                self.tell(f"{path}.{name}", what=fault.info)

    def _key(self, path: str, app: Mapping[str, Any]) -> str | None:
        named = [name for name in KEY_SOURCES if name in app]
        if len(named) != 1 or not isinstance(app[named[0]], str):
            self.tell(f"{path}.key", what=f"one of {', '.join(KEY_SOURCES)} is needed, a text")
            return None
        text: str = app[named[0]]
        if named[0] == "key":
            return None
        place = {"file": text} if named[0] == "key_file" else {"variable": text}
        count = len(self.faults)
        key = self._value(f"{path}.{named[0]}", **place).strip()
        return key if len(self.faults) == count else None

    def _settings(
        self, path: str, told: WrittenCredential, names: Collection[str]
    ) -> dict[str, Any]:
        password = ""
        if told.password_file:
            password = self._value(f"{path}.password_file", file=told.password_file)
        settings: dict[str, Any] = {}
        try:
            if told.file:
                settings.update(read_settings(Path(told.file), names, password))
            if told.variable:
                text = self._variable(told.variable)
                settings.update(settings_in(told.variable, text, names, password))
        except ValueError as fault:
            self.tell(f"{path}.{'file' if told.file else 'variable'}", what=str(fault))
        for name, file in told.files.items():
            settings[name] = self._value(f"{path}.files.{name}", file=file)
        for name, variable in told.variables.items():
            settings[name] = self._value(f"{path}.variables.{name}", variable=variable)
        return {**settings, **told.settings}

    def _value(self, path: str, *, file: str = "", variable: str = "") -> str:
        try:
            return plain_key(self._variable(variable)) if variable else read_value(Path(file))
        except ValueError as fault:
            self.tell(path, what=str(fault))
            return ""

    def _variable(self, name: str) -> str:
        text = self._environment.get(name, "")
        if not text:
            raise ValueError(f"the variable {name} is not set")
        return text


def _are_names(names: Sequence[str]) -> bool:
    return len(names) <= ADMINS_MAX and all(map(is_user_id, names))


def _sentence(fault: Exception) -> str:
    # Where it is stands before it.
    return str(fault).partition(" - at `$")[0].replace("`", "")
