"""One listening port: TLS, the choice of protocol by ALPN or by the first bytes, and closing it."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable
from typing import cast

from tocsin.clock import Clock
from tocsin.sandbox.exchange import Connection, Serve
from tocsin.sandbox.hang_up import hang_up
from tocsin.sandbox.http1 import Http1
from tocsin.sandbox.http2 import Http2
from tocsin.sandbox.kept_port import keep_port

BACKLOG = 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first that speaks HTTP/2 without having offered it (RFC 9113, 3.3 and 3.4)."""


class Listener:
    """Serves one vendor (or the admin door) on one loopback port.

    `protocols` are the ALPN names it serves; with `h2` alone a client that speaks only HTTP/1.1
    loses the connection, as at Apple. A client that offers no ALPN at all is served by what it says
    first: some of Apple's senders speak HTTP/2 by prior knowledge. Without a TLS context it speaks
    plain HTTP/1.1.
    """

    def __init__(
        self,
        serve: Serve,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        protocols: tuple[str, ...] = ("http/1.1",),
        opening_streams: Callable[[], int] = lambda: 1000,
    ) -> None:
        self._serve = serve
        self._clock = clock
        self._tls = tls
        self._protocols = protocols
        self._opening_streams = opening_streams
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._kept: socket.socket | None = None
        self._open: set[_Door] = set()
        self._host = "127.0.0.1"
        self.port = 0
        self.connections_made = 0
        self.connections_refused = 0
        """Connections that offered or spoke no protocol of ours."""

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. The port is kept until `stop`."""
        self._host = host
        self._kept = keep_port(host, port)
        self.port = self._kept.getsockname()[1]
        try:
            await self._listen()
        except OSError:
            self._kept.close()
            raise

    async def stop(self) -> None:
        """Pause, and give the port back."""
        await self.pause()
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def pause(self) -> None:
        """Refuse new connections and drop the open ones; the port stays ours."""
        if self._server is None:
            return
        self._server.close()
        for door in list(self._open):
            door.abort()
        await self._server.wait_closed()
        self._server = None

    async def start_again(self) -> None:
        """Listen on the same port as before a `pause`."""
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Door(self), self._host, self.port, ssl=self._tls, backlog=BACKLOG
        )

    @property
    def address(self) -> tuple[str, int]:
        return self._host, self.port

    @property
    def is_listening(self) -> bool:
        return self._server is not None

    @property
    def connections_open(self) -> int:
        return len(self._open)

    def drop_connections(self) -> int:
        """Drop every open connection without a word, and go on listening."""
        doors = list(self._open)
        for door in doors:
            door.abort()
        return len(doors)

    def opened(self, door: _Door, transport: asyncio.Transport) -> str | None:
        """The protocol that TLS has agreed on for a new connection; None where it tells none."""
        self._open.add(door)
        tls = transport.get_extra_info("ssl_object")
        agreed = None if tls is None else tls.selected_alpn_protocol()
        if agreed is None and (tls is None or "h2" not in self._protocols):
            return "http/1.1"
        return cast(str | None, agreed)

    def protocol(self, alpn: str, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Who speaks this on a connection; None where it is none of ours."""
        if alpn not in self._protocols:
            self.connections_refused += 1
            return None
        self.connections_made += 1
        tls = transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert() or None
        connection = Connection(next(self._numbers), alpn, certificate)
        if alpn == "h2":
            return Http2(self._serve, connection, self._clock, self._opening_streams())
        return Http1(self._serve, connection, self._clock)

    def closed(self, door: _Door) -> None:
        self._open.discard(door)


class _Door(asyncio.Protocol):
    """Stands at the transport until it is known which protocol is spoken, then hands on to it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport
        self._inner: asyncio.Protocol | None = None
        self._first = b""
        self._is_known = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports fulfil the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)
        alpn = self._listener.opened(self, self._transport)
        if alpn is not None:
            self._begin(alpn)

    def data_received(self, data: bytes) -> None:
        if not self._is_known:
            self._first += data
            if len(self._first) < len(PREFACE) and PREFACE.startswith(self._first):
                return
            data, self._first = self._first, b""
            self._begin("h2" if data.startswith(PREFACE) else "http/1.1")
        if self._inner is not None:
            self._inner.data_received(data)

    def _begin(self, alpn: str) -> None:
        self._is_known = True
        self._inner = self._listener.protocol(alpn, self._transport)
        if self._inner is None:
            hang_up(self._transport)
        else:
            self._inner.connection_made(self._transport)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.closed(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def abort(self) -> None:
        hang_up(self._transport)
