"""The files that vendors give credentials out in: JSON, .p8 and .pem, .p12."""

from __future__ import annotations

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

from tocsin.cli.screen import EXIT_USAGE, Fault

FILE_MAX_BYTES = 1 << 20
_KEY_NAME = re.compile(r"AuthKey_([A-Z0-9]{10})\.p8")
"""As Apple names it: the Key ID is nowhere in the file itself."""


def read_settings(path: Path, names: Collection[str], password: str) -> dict[str, Any]:
    """What a file says of the settings with these names, told by its content, not by its name."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as fault:
        raise _unusable(path, fault.strerror or "cannot be read") from fault
    if len(raw) > FILE_MAX_BYTES:
        raise _unusable(path, "is over a mebibyte: no credential is")
    if raw.lstrip().startswith(b"{"):
        told = _from_json(path, raw)
    elif b"-----BEGIN " in raw:
        told = _from_pem(path, raw)
    else:
        told = {"certificate": _from_pkcs12(path, raw, password)}
    found = {name: value for name, value in told.items() if name in names}
    if not found:
        raise _unusable(path, f"holds none of {', '.join(names)}")
    return found


def _from_json(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise _unusable(path, f"is no JSON object: {fault}") from fault


def _from_pem(path: Path, raw: bytes) -> dict[str, Any]:
    text = raw.decode("ascii", "replace")
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


def _unusable(path: Path, why: str) -> Fault:
    return Fault(f"{path} {why}", exit_code=EXIT_USAGE)
