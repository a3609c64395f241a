"""Reads and checks the apps and credentials that the configuration declares.

For containers: `[[apps]]` has everything that `tocsin app add` and `tocsin credential add` take,
and names the files or variables that have the secrets.
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
    """One `[[apps.credentials]]` of the configuration file."""

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
    """Certificate ID of a stored credential to declare under this name; 0: found by the name."""
    facts: dict[str, Any]
    """The facts for `credential_set`, with every setting of the vendor."""


class DeclaredApp(Struct, frozen=True, kw_only=True):
    """An app of the configuration, ready to be stored."""

    sdkappid: int
    facts: dict[str, Any]
    """The facts for `app_add`."""
    credentials: tuple[DeclaredCredential, ...]


def read_apps(
    apps: Sequence[Mapping[str, Any]], environment: Mapping[str, str] = os.environ
) -> tuple[list[DeclaredApp], list[WrongSetting]]:
    """The declared apps with the values of their files and variables, and all faults."""
    reader = _Reader(environment)
    read = [reader.app(f"apps[{index}]", app) for index, app in enumerate(apps)]
    declared = [app for app in read if app is not None]
    numbers = [app.sdkappid for app in declared]
    for index, app in enumerate(declared):
        if app.sdkappid in numbers[:index]:
            reader.add_fault(f"apps[{index}].{SDKAPPID}", what=f"{app.sdkappid} is declared twice")
    return declared, reader.faults


class _Reader:
    """Reads the tables, and collects their faults."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.faults: list[WrongSetting] = []

    def add_fault(self, path: str, **fault: str) -> None:
        """Add a fault."""
        self.faults.append(WrongSetting(path=path, **fault))

    def app(self, path: str, app: Mapping[str, Any]) -> DeclaredApp | None:
        """Read one `[[apps]]`; None where its number is wrong."""
        self._check_members(path, app, APP_MEMBERS)
        facts: dict[str, Any] = {}
        for name in AppFacts.__struct_fields__:
            if name in app:
                self._fact(path, name, app[name], facts)
        key = self._key(path, app)
        if key is not None:
            self._fact(path, "key", key, facts)
        written = app.get(CREDENTIALS, [])
        if not isinstance(written, list) or not all(isinstance(table, dict) for table in written):
            self.add_fault(f"{path}.{CREDENTIALS}", what="is a list: write [[apps.credentials]]")
            written = []
        read = [
            self.credential(f"{path}.{CREDENTIALS}[{index}]", table)
            for index, table in enumerate(written)
        ]
        credentials = tuple(credential for credential in read if credential is not None)
        names = [credential.name for credential in credentials]
        for name in {name for name in names if names.count(name) > 1}:
            self.add_fault(f"{path}.{CREDENTIALS}", what=f"the name {name} is used twice")
        number = app.get(SDKAPPID)
        if type(number) is not int or not 1 <= number <= SDKAPPID_MAX:
            wrong = msgspec.json.encode(number, enc_hook=str).decode()
            allowed = f"a whole number from 1 to {SDKAPPID_MAX}"
            self.add_fault(f"{path}.{SDKAPPID}", value=wrong, allowed=allowed)
            return None
        return DeclaredApp(sdkappid=number, facts=facts, credentials=credentials)

    def credential(self, path: str, written: Mapping[str, Any]) -> DeclaredCredential | None:
        """Read one `[[apps.credentials]]`; None where anything is wrong."""
        count = len(self.faults)
        self._check_members(path, written, WrittenCredential.__struct_fields__)
        for field in msgspec.structs.fields(WrittenCredential):
            self._member(path, field, written)
        if len(self.faults) > count:
            return None
        credential = msgspec.convert(dict(written), WrittenCredential)
        vendors = {vendor.NAME: vendor for vendor in VENDORS}
        if credential.vendor not in vendors:
            allowed = f"one of {', '.join(vendors)}"
            self.add_fault(
                f"{path}.vendor",
                value=msgspec.json.encode(credential.vendor).decode(),
                allowed=allowed,
                near=near(credential.vendor, vendors, cutoff=0.5),
            )
            return None
        form = vendors[credential.vendor].Settings
        settings = self._settings(path, credential, form.__struct_fields__)
        ca = self._value(f"{path}.ca_file", file=credential.ca_file) if credential.ca_file else ""
        try:
            check_proxy(credential.proxy)
        except ValueError as fault:
            self.add_fault(f"{path}.proxy", value=MASK, allowed=str(fault))
        if len(self.faults) == count:
            try:
                plain = check_settings(credential.vendor, settings)
            except ValueError as fault:
                self.add_fault(path, what=_sentence(fault))
        if len(self.faults) > count:
            return None
        facts = {
            # With every setting named, a setting removed from the file gets its default again.
            "settings": msgspec.to_builtins(msgspec.json.decode(plain, type=form)),
            "origin": credential.origin,
            "auth_origin": credential.auth_origin,
            "ca": ca,
            "proxy": credential.proxy,
            "rate_per_s": credential.rate_per_s,
            "is_enabled": credential.is_enabled,
        }
        return DeclaredCredential(
            name=credential.name, vendor=credential.vendor, number=credential.number, facts=facts
        )

    def _check_members(self, path: str, table: Mapping[str, Any], members: Collection[str]) -> None:
        for name in table:
            if name not in members:
                self.add_fault(f"{path}.{name}", what="unknown setting", near=near(name, members))

    def _member(self, path: str, field: Any, written: Mapping[str, Any]) -> None:
        if field.name not in written:
            if field.required:
                self.add_fault(f"{path}.{field.name}", what="is needed")
            return
        try:
            msgspec.convert(written[field.name], field.type)
        except msgspec.ValidationError:
            self.add_fault(
                f"{path}.{field.name}", value=MASK, allowed=MEANINGS.get(field.name, "a text")
            )

    def _fact(self, path: str, name: str, value: Any, facts: dict[str, Any]) -> None:
        try:
            facts[name] = getattr(msgspec.convert({name: value}, AppFacts), name)
        except msgspec.ValidationError as fault:
            self.add_fault(f"{path}.{name}", what=_sentence(fault))
            return
        if name == "admins" and not _are_names(facts[name]):
            allowed = f"up to {ADMINS_MAX} names of 1 to 32 printable ASCII characters"
            self.add_fault(
                f"{path}.{name}", value=msgspec.json.encode(value).decode(), allowed=allowed
            )
        if name == "origins":
            try:
                facts[name] = normal_origins(facts[name])
            except CallError as fault:
                self.add_fault(f"{path}.{name}", what=fault.info)

    def _key(self, path: str, app: Mapping[str, Any]) -> str | None:
        named = [name for name in KEY_SOURCES if name in app]
        if len(named) != 1 or not isinstance(app[named[0]], str):
            self.add_fault(f"{path}.key", what=f"one of {', '.join(KEY_SOURCES)} is needed, a text")
            return None
        text: str = app[named[0]]
        if named[0] == "key":
            return None
        place = {"file": text} if named[0] == "key_file" else {"variable": text}
        count = len(self.faults)
        key = self._value(f"{path}.{named[0]}", **place).strip()
        return key if len(self.faults) == count else None

    def _settings(
        self, path: str, credential: WrittenCredential, names: Collection[str]
    ) -> dict[str, Any]:
        password = ""
        if credential.password_file:
            password = self._value(f"{path}.password_file", file=credential.password_file)
        settings: dict[str, Any] = {}
        try:
            if credential.file:
                settings.update(read_settings(Path(credential.file), names, password))
            if credential.variable:
                text = self._variable(credential.variable)
                settings.update(settings_in(credential.variable, text, names, password))
        except ValueError as fault:
            self.add_fault(f"{path}.{'file' if credential.file else 'variable'}", what=str(fault))
        for name, file in credential.files.items():
            settings[name] = self._value(f"{path}.files.{name}", file=file)
        for name, variable in credential.variables.items():
            settings[name] = self._value(f"{path}.variables.{name}", variable=variable)
        return {**settings, **credential.settings}

    def _value(self, path: str, *, file: str = "", variable: str = "") -> str:
        try:
            return plain_key(self._variable(variable)) if variable else read_value(Path(file))
        except ValueError as fault:
            self.add_fault(path, what=str(fault))
            return ""

    def _variable(self, name: str) -> str:
        text = self._environment.get(name, "")
        if not text:
            raise ValueError(f"the variable {name} is not set")
        return text


def _are_names(names: Sequence[str]) -> bool:
    return len(names) <= ADMINS_MAX and all(map(is_user_id, names))


def _sentence(fault: Exception) -> str:
    # The path before the text says where the fault is.
    return str(fault).partition(" - at `$")[0].replace("`", "")
