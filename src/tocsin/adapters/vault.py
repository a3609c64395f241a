"""The vault: secrets are sealed with AES-256-GCM before the store sees them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.clock import secret_bytes
from tocsin.ports import Vault

KEY_BYTES = 32
KEY_VARIABLE = "TOCSIN_SECRET_KEY"
"""Environment variable that stands in for the key file: 64 hexadecimal digits."""

_FORMAT = b"\x01"
"""First byte of everything sealed, so that a later format can be told apart."""
_NONCE_BYTES = 12


class AesVault:
    """Seals with one key. A fresh nonce per secret; the context is authenticated with it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the secret key has {len(key)} bytes, not {KEY_BYTES}")
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = secret_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        start = len(_FORMAT)
        nonce, text = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
        if not sealed.startswith(_FORMAT) or len(nonce) != _NONCE_BYTES:
            raise ValueError(f"nothing sealed by this vault: {context}")
        try:
            return self._cipher.decrypt(nonce, text, context.encode())
        except InvalidTag:
            raise ValueError(f"wrong secret key or damaged secret: {context}") from None


def load_key(path: Path, environment: Mapping[str, str]) -> bytes:
    """The secret key: from the environment, else from the file, else made and written there.

    Raises `ValueError` for a key of the wrong form and for a file that others may read.
    """
    text = environment.get(KEY_VARIABLE)
    if text is not None:
        return _parse(text, KEY_VARIABLE)
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} may be read by others: set its mode to 0600")
    return _parse(path.read_text(), str(path))


def _create(path: Path) -> None:
    """Write a new key durably. A file that somebody else made meanwhile stays as it is."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret_bytes(KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError(f"{where} does not hold hexadecimal digits") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{where} holds {len(key)} bytes, not {KEY_BYTES}")
    return key


def _fits(vault: AesVault) -> Vault:
    return vault
