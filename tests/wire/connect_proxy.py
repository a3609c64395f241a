"""A small HTTP CONNECT proxy on 127.0.0.1 that misbehaves exactly as a test tells it to.

It leads every name to where the test says, so that a vendor's real name can stand in a request:
hosts on loopback are never asked of a proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator

from msgspec import Struct

from tocsin.sandbox.kept_port import keep_port

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nX-Proxy: here\r\n\r\n"


class Asked(Struct, frozen=True):
    """One CONNECT: for which host and port, with what headers, in lower case."""

    target: str
    headers: dict[str, str]


class ConnectProxy:
    """Takes CONNECT and nothing else."""

    def __init__(self) -> None:
        self.target_port = 0
        """Where every tunnel leads to, on 127.0.0.1."""
        self.user = ""
        """`name:password` that is asked for; empty: nobody is."""
        self.refusal = ""
        """The status line's words that every CONNECT is answered with instead."""
        self.is_silent = False
        """Whether CONNECT is read and never answered."""
        self.is_dropping = False
        """Whether the connection ends instead of an answer to CONNECT."""
        self.asked: list[Asked] = []
        self._served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._listener: asyncio.Server | None = None
        self._kept = keep_port("127.0.0.1")
        self.port = self._kept.getsockname()[1]
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def with_user(self, user: str) -> str:
        return f"http://{user}@127.0.0.1:{self.port}"

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Begin to listen, or again on the same port after `die`."""
        self._tls = tls or self._tls
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )

    async def die(self) -> None:
        """End every connection without a word and listen no more; the port stays its own."""
        assert self._listener is not None
        self._listener.close()
        for writer in self._served.values():
            writer.transport.abort()
        if self._served:
            await asyncio.wait(set(self._served))

    def give_back_port(self) -> None:
        self._kept.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served[task] = writer
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            del self._served[task]
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = [line.partition(":") for line in head[1:] if line]
        self.asked.append(Asked(target, {name.lower(): value.strip() for name, _, value in pairs}))
        if self.is_dropping:
            writer.transport.abort()
        elif self.is_silent:
            await reader.read()
        elif method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        elif self.refusal:
            writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
        elif not self._knows(self.asked[-1]):
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
            )
        else:
            await self._tunnel(reader, writer)

    def _knows(self, asked: Asked) -> bool:
        proof = base64.b64encode(self.user.encode()).decode()
        return not self.user or asked.headers.get("proxy-authorization") == f"Basic {proof}"

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        writer.write(ESTABLISHED)
        ways = [
            asyncio.create_task(_pass_on(reader, far_writer)),
            asyncio.create_task(_pass_on(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.close()
            for way in ways:
                way.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def connect_proxy(
    target_port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ConnectProxy]:
    """A proxy whose tunnels lead to this port of 127.0.0.1."""
    proxy = ConnectProxy()
    proxy.target_port = target_port
    await proxy.listen(tls)
    try:
        yield proxy
    finally:
        await proxy.die()
        proxy.give_back_port()
