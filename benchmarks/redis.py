"""A Redis server of our own on a loopback port, and just enough of its protocol to ask it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence


class Redis:
    """One connection; `pipeline` sends many commands before it reads the answers."""

    def __init__(self, port: int) -> None:
        self.port = port
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
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
            redis = Redis(port)
            yield redis
            redis.close()
        finally:
            process.terminate()
            process.communicate()
