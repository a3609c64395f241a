"""The files that vendors give credentials out in: JSON, .p8 and .pem, .p12.

Editors put a byte order mark before a text, shells write it in UTF-16, and pipelines carry it in
base64: what is meant is taken.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from tocsin.channels.shared_keys import decoded, plain_key

FILE_MAX_BYTES = 1 << 20
_KEY_NAME = re.compile(r"AuthKey_([A-Z0-9]{10})\.p8")
"""As Apple names it: the Key ID is nowhere in the file itself."""


class UnusableFile(ValueError):
    """A file that holds nothing of what is looked for: a sentence that quotes nothing of it."""


def read_settings(path: Path, names: Collection[str], password: str) -> dict[str, Any]:
    """What a file says of the settings with these names, told by its content, not by its name."""
    told = _told(path, _read(path), password)
    found = {name: value for name, value in told.items() if name in names}
    if not found:
        raise _unusable(path, f"holds none of {', '.join(names)}")
    return found


def settings_in(name: str, text: str, names: Collection[str], password: str) -> dict[str, Any]:
    """The same of what stands in a variable of this name, in base64 where it is no text."""
    path = Path(name)
    found = {it: value for it, value in _told(path, text.encode(), password).items() if it in names}
    if not found:
        raise _unusable(path, f"holds none of {', '.join(names)}")
    return found


def read_value(path: Path) -> str:
    """A value that stands in a file of its own; the line break at its end is the file's."""
    try:
        return plain_key(_read(path).decode()).rstrip("\r\n")
    except UnicodeDecodeError:
        why = "is no text: give what a vendor hands out by --file"
        raise _unusable(path, why) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as fault:
        raise _unusable(path, fault.strerror or "cannot be read") from fault
    if len(raw) > FILE_MAX_BYTES:
        raise _unusable(path, "is over a mebibyte: no credential is")
    return _unmarked(path, raw)


def _unmarked(path: Path, raw: bytes) -> bytes:
    """The bytes in UTF-8 and without a byte order mark."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16").encode()
        except UnicodeDecodeError:
            raise _unusable(path, "begins as UTF-16 and is not") from None
    return raw.removeprefix(codecs.BOM_UTF8)


def _told(path: Path, raw: bytes, password: str) -> dict[str, Any]:
    if raw.lstrip().startswith(b"{"):
        return _from_json(path, raw)
    if b"-----BEGIN " in raw:
        return _from_pem(path, raw)
    inner = decoded(raw.decode("ascii", "replace"))
    if inner is not None:
        return _told(path, _unmarked(path, inner), password)
    key = plain_key(base64.b64encode(raw).decode())
    if "-----BEGIN" in key:
        return {"private_key": key}
    return {"certificate": _from_pkcs12(path, raw, password)}


def _from_json(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise _unusable(path, f"is no JSON object: {fault}") from fault


def _from_pem(path: Path, raw: bytes) -> dict[str, Any]:
    text = plain_key(raw.decode("utf-8", "replace"))
    if "BEGIN CERTIFICATE" in text:
        return {"certificate": text}
    named = _KEY_NAME.fullmatch(path.name)
    return {"private_key": text} | ({"key_id": named[1]} if named else {})


def _from_pkcs12(path: Path, raw: bytes, password: str) -> str:
    try:
        bag = pkcs12.load_pkcs12(raw, password.encode() or None)
    except ValueError:
        why = "is neither JSON, PEM nor PKCS 12, or its --password is another"
        raise _unusable(path, why) from None
    if bag.key is None or bag.cert is None:
        raise _unusable(path, "lacks the certificate or its private key: export both together")
    chain = (it.certificate for it in (bag.cert, *bag.additional_certs))
    parts = [it.public_bytes(Encoding.PEM) for it in chain]
    key = bag.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return b"".join([*parts, key]).decode()


def _unusable(path: Path, why: str) -> UnusableFile:
    return UnusableFile(f"{path} {why}")
