"""Where what proves us to vendors outlives a process: one small file, every row sealed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from tocsin.clock import Clock
from tocsin.conversation import Authority
from tocsin.log import get_logger
from tocsin.ports import Authorities, Vault

FILE_MAX_BYTES = 4_194_304
"""A longer file was not written by us."""


class AuthorityRow(Struct, frozen=True, array_like=True):
    """One authority, and when it is of no use any more, Unix seconds."""

    until: float
    sealed: bytes


class FileAuthorities:
    """The file of one data folder. Whoever opens it holds the folder's lock."""

    def __init__(self, path: Path, vault: Vault, clock: Clock) -> None:
        self._path = path
        self._vault = vault
        self._clock = clock
        self._lock = asyncio.Lock()
        self._log = get_logger(__name__)

    async def load(self, name: str) -> Authority | None:
        row = (await asyncio.to_thread(self._read)).get(name)
        if row is None or self._clock.now() >= row.until:
            return None
        try:
            plain = self._vault.open(row.sealed, _context(name))
            return msgspec.msgpack.decode(plain, type=Authority)
        except (ValueError, msgspec.MsgspecError) as fault:
            self._log.warning("a saved authority cannot be read", why=str(fault))
            return None

    async def save(self, name: str, authority: Authority) -> None:
        row = self._sealed(name, authority)
        async with self._lock:
            await asyncio.to_thread(self._change, {name: row})

    async def seal_anew(self) -> None:
        async with self._lock:
            rows = await asyncio.to_thread(self._read)
            fresh = {}
            for name in rows:
                authority = await self.load(name)
                if authority is not None:
                    fresh[name] = self._sealed(name, authority)
            await asyncio.to_thread(self._change, fresh)

    def _sealed(self, name: str, authority: Authority) -> AuthorityRow:
        plain = msgspec.msgpack.encode(authority)
        return AuthorityRow(authority.expires_at, self._vault.seal(plain, _context(name)))

    def _read(self) -> dict[str, AuthorityRow]:
        try:
            with self._path.open("rb") as file:
                text = file.read(FILE_MAX_BYTES)
            return msgspec.msgpack.decode(text, type=dict[str, AuthorityRow])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as fault:
            self._log.warning("the saved authorities cannot be read", why=str(fault))
            return {}

    def _change(self, changed: dict[str, AuthorityRow]) -> None:
        """Write these rows beside those that are still good, whole or not at all."""
        now = self._clock.now()
        rows = {name: row for name, row in self._read().items() if now < row.until} | changed
        draft = self._path.with_name(f"{self._path.name}.new")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.msgpack.encode(rows))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as fault:
            self._log.error(
                "an authority cannot be saved: the next start makes another one",
                why=str(fault),
            )


class MemoryAuthorities:
    """The same for a service that forgets at its end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, Authority] = {}

    async def load(self, name: str) -> Authority | None:
        found = self._rows.get(name)
        return found if found is not None and self._clock.now() < found.expires_at else None

    async def save(self, name: str, authority: Authority) -> None:
        self._rows[name] = authority

    async def seal_anew(self) -> None:
        """Nothing here is sealed."""


def _context(name: str) -> str:
    return f"authority/{name}"


def _fits(file: FileAuthorities, memory: MemoryAuthorities) -> list[Authorities]:
    return [file, memory]
