"""The vault: secrets are sealed with AES-256-GCM before the store sees them.

The key file holds one key; while a rotation is under way two, the new one first. Whatever crash
ends it, both are there until nothing is sealed with the former any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.adapters.durable import sync
from tocsin.clock import secret_bytes
from tocsin.errors import CallError
from tocsin.ports import Keyring, Vault

KEY_BYTES = 32
KEY_VARIABLE = "TOCSIN_SECRET_KEY"
"""Environment variable that stands in for the key file: 64 hexadecimal digits."""
FORMER_VARIABLE = "TOCSIN_SECRET_FORMER_KEY"
"""The one that was there before it, while what it sealed is sealed anew."""

_FORMAT = b"\x01"
"""First byte of everything sealed, so that a later format can be told apart."""
_NONCE_BYTES = 12


class AesVault:
    """Seals with the first key and opens with any. A fresh nonce per secret; the context is
    authenticated with it.
    """

    def __init__(self, *keys: bytes) -> None:
        self._ciphers: tuple[AESGCM, ...]
        self.use(*keys)

    def use(self, *keys: bytes) -> None:
        """Seal with the first of these keys from now on, and open with these only."""
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"the secret key has {len(key)} bytes, not {KEY_BYTES}")
        self._ciphers = tuple(AESGCM(key) for key in keys)

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = secret_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + self._ciphers[0].encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        start = len(_FORMAT)
        nonce, text = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
        if not sealed.startswith(_FORMAT) or len(nonce) != _NONCE_BYTES:
            raise ValueError(f"nothing sealed by this vault: {context}")
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(nonce, text, context.encode())
        raise ValueError(f"wrong secret key or damaged secret: {context}")


class FileKeyring:
    """The keys of a key file, and how they are changed for another one."""

    def __init__(self, path: Path, keys: Sequence[bytes], vault: AesVault) -> None:
        self._path = path
        self._keys = list(keys)
        self._vault = vault

    def begin(self) -> None:
        if len(self._keys) == 1:
            self._change([secret_bytes(KEY_BYTES), *self._keys])

    def finish(self) -> None:
        self._change(self._keys[:1])

    def _change(self, keys: list[bytes]) -> None:
        draft = _draft(self._path, keys)
        draft.replace(self._path)
        sync(self._path.parent)
        self._keys = keys
        self._vault.use(*keys)


class GivenKeyring:
    """Keys that the environment gives: whoever sets it puts the new one before the former."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def begin(self) -> None:
        if len(self._keys) == 1:
            raise CallError(
                70402,
                f"the key is given by {KEY_VARIABLE}: set that to a new one and"
                f" {FORMER_VARIABLE} to this one, restart, then rotate",
            )

    def finish(self) -> None:
        """Nothing to write: the former may be taken out of the environment now."""


def has_key(path: Path, environment: Mapping[str, str]) -> bool:
    """Whether there is a secret key: in the environment, else in the file."""
    return KEY_VARIABLE in environment or path.exists()


def load_keys(path: Path, environment: Mapping[str, str]) -> list[bytes]:
    """The secret key, and the former one behind it while a rotation is under way.

    From the environment, else from the file. Raises `ValueError` for a key of the wrong form and
    for a file that others may read, `OSError` where there is none.
    """
    if KEY_VARIABLE in environment:
        names = [name for name in (KEY_VARIABLE, FORMER_VARIABLE) if name in environment]
        return [_parse(environment[name], name) for name in names]
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} may be read by others: set its mode to 0600")
    return parse_keys(path.read_text(), str(path))


def key_id(key: bytes) -> str:
    """What tells keys apart and says nothing of them: it stands in backups, whose key is apart."""
    return hmac.digest(key, b"tocsin/key-id", hashlib.sha256)[:8].hex()


def create_key(path: Path) -> None:
    """Write a new key durably. A file that somebody else made meanwhile stays as it is."""
    draft = _draft(path, [secret_bytes(KEY_BYTES)])
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync(path.parent)


def remove_drafts(path: Path) -> None:
    """Remove what a process that died left of a key file which it had not put in its place yet."""
    for draft in path.parent.glob(f"{path.name}.*.new"):
        draft.unlink(missing_ok=True)


def parse_keys(text: str, where: str) -> list[bytes]:
    """The keys of a key file's text; raises `ValueError` for what is none."""
    return [_parse(line, where) for line in text.splitlines() or [""]]


def write_keys(path: Path, keys: Sequence[bytes]) -> None:
    """Put a key file in its place, durably."""
    _draft(path, keys).replace(path)
    sync(path.parent)


def _draft(path: Path, keys: Sequence[bytes]) -> Path:
    """A file beside the key file with these keys, durable but not yet in its place."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(key.hex() + "\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    return draft


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError(f"{where} does not hold hexadecimal digits") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{where} holds {len(key)} bytes, not {KEY_BYTES}")
    return key


def _fits(vault: AesVault, file: FileKeyring, given: GivenKeyring) -> list[Vault | Keyring]:
    return [vault, file, given]
