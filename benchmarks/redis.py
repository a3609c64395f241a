"""A Redis server of our own on a loopback port, and just enough of its protocol to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from tocsin.sandbox.kept_port import keep_port


class Redis:
    """One connection; `pipeline` sends many commands before it reads the answers."""

    def __init__(self, port: int, process: int) -> None:
        self.port = port
        self.process = process
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str) -> object:
        """One command and its answer."""
        self._socket.sendall(command(*words))
        return self._answer()

    def pipeline(self, commands: bytes, count: int) -> list[object]:
        """Many commands at once."""
        self._socket.sendall(commands)
        return [self._answer() for _ in range(count)]

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def _answer(self) -> object:
        line = self._file.readline().rstrip()
        kind, rest = line[:1], line[1:]
        if kind in {b"*", b"~"}:
            return [self._answer() for _ in range(int(rest))]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest


def command(*words: str) -> bytes:
    """A command as Redis reads it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(parts)


@contextlib.contextmanager
def redis_server(*settings: str) -> Iterator[Redis | None]:
    """A server for the time of a benchmark; None where redis-server is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with keep_port("127.0.0.1") as kept, tempfile.TemporaryDirectory() as folder:
        port = kept.getsockname()[1]
        words: Sequence[str] = (
            program,
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", ""),
            *settings,
        )
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "Ready to accept" in line:
                    break
            redis = Redis(port, process.pid)
            yield redis
            redis.close()
        finally:
            process.terminate()
            process.communicate()


_SMEMBERS = b"*2\r\n$8\r\nSMEMBERS\r\n$%d\r\n%s\r\n"
"""With a name of ASCII letters."""


class AsyncRedis:
    """One connection on an event loop: pipelines take turns."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, port: int) -> AsyncRedis:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))

    async def members(self, names: Sequence[str]) -> list[list[str]]:
        """SMEMBERS of each of these sets, as one pipeline."""
        asked = b"".join([_SMEMBERS % (len(name), name.encode()) for name in names])
        async with self._turn:
            self._writer.write(asked)
            return await self._sets(len(names))

    async def lines(self, commands: bytes, count: int) -> list[bytes]:
        """The answers of many commands that answer one line each."""
        async with self._turn:
            self._writer.write(commands)
            read = b""
            while read.count(b"\n") < count:
                read += await self._reader.read(1 << 16)
            return read.split(b"\r\n")[:count]

    def close(self) -> None:
        self._writer.close()

    async def _sets(self, count: int) -> list[list[str]]:
        """So many arrays of texts, read in as few pieces as they come."""
        read, found, place = b"", list[list[str]](), 0
        while True:
            read += await self._reader.read(1 << 16)
            lines = read.decode().split("\r\n")
            # The last piece is what follows the last line break: a line that is not whole yet.
            last = len(lines) - 1
            while len(found) < count:
                if place >= last:
                    break
                after = place + 1 + 2 * int(lines[place][1:])
                if after > last:
                    break
                found.append(lines[place + 2 : after : 2])
                place = after
            if len(found) == count:
                return found
