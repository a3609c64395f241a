"""Sockets that carry HTTP/2: how they are opened, and the thin shell around the state.

A way to an origin may lead through a proxy (CONNECT) and to an address that was checked before: no
name is looked up then, and the peer must still prove the origin's name.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from msgspec import Struct

from tocsin.adapters.http2.connection import Http2Connection
from tocsin.adapters.http_limits import HttpLimits, Tunnel

CONNECT_ANSWER_BYTES_MAX: Final = 16_384
ADDRESS_MAX_S: Final = 2.0
"""Seconds for one of several addresses of a name, before the next one is tried."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15}


class SpeaksHttp1(Exception):
    """The peer has chosen HTTP/1.1; nothing was said to it."""


class TunnelFault(Exception):
    """The proxy has not opened the tunnel; the text says why."""


class OriginWay(Struct, frozen=True, kw_only=True):
    """How an origin is reached."""

    origin: str
    tls: ssl.SSLContext | None
    """None: HTTP/2 without TLS, by prior knowledge."""
    address: str | None = None
    """The only address to connect to; None: look the name up."""
    tunnel: Tunnel | None = None
    """The proxy to go through."""


class Http2Socket(asyncio.Protocol):
    """Carries an `Http2Connection`: reads, writes once a turn, and watches its peer's silence."""

    def __init__(
        self, connection: Http2Connection, limits: HttpLimits, on_change: Callable[[], None]
    ) -> None:
        """`on_change` is called when requests have ended or may begin, and at the end."""
        self.connection = connection
        self.is_paused = False
        self._limits = limits
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done when requests may begin; fails if the connection ends before that."""
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self.used_at = self._loop.time()

    # --- the transport's side --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports fulfil the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.connection.lose("the peer speaks no HTTP/2")
            self._fail(SpeaksHttp1("the server does not speak HTTP/2"))
            self._transport.close()
            return
        self._watch()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        connection = self.connection
        connection.receive(data)
        if connection.is_ready and not self.ready.done():
            self.ready.set_result(None)
        self.flush()
        self._on_change()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._on_change()

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f"the connection ended: {exc}" if exc else "the peer closed the connection"
        self.connection.lose(reason)
        self._fail(ConnectionError(reason))
        if self._timer is not None:
            self._timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_change()

    # --- our side --------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether requests can begin on it now or later."""
        return not self.connection.is_draining

    def flush(self) -> None:
        """Write what the connection has to say."""
        transport = self._transport
        if transport is None:
            return
        if self.connection.has_data_to_send and not transport.is_closing():
            transport.write(self.connection.data_to_send())
        if self.connection.is_over:
            transport.close()

    def close(self, reason: str) -> None:
        """End it in good order; what is under way is in doubt."""
        self.connection.close(reason)
        self.flush()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, fault: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(fault)
            # Nobody may be waiting for it any more.
            self.ready.exception()

    def _watch(self) -> None:
        """Ask a silent peer for a sign of life, and end the connection if there is none."""
        quiet_s, now = self._limits.quiet_max_s, self._loop.time()
        connection = self.connection
        is_quiet = now - self._heard_at >= quiet_s
        if is_quiet and connection.is_pinging:
            connection.lose("the peer did not answer a PING")
            self.abort()
            return
        if is_quiet and connection.under_way:
            connection.ping()
            self.flush()
        elif not connection.under_way and (
            connection.is_draining or now - self.used_at >= self._limits.idle_max_s
        ):
            self.close("the connection was idle")
        self._timer = self._loop.call_later(quiet_s, self._watch)


async def open_socket(
    way: OriginWay, make: Callable[[], Http2Socket], limits: HttpLimits
) -> Http2Socket:
    """An open connection whose peer has said its SETTINGS.

    Raises `SpeaksHttp1`, `TunnelFault`, `OSError` or `TimeoutError`: no request was sent then.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(way.origin)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = host if way.tls is not None else None
    opened: list[Http2Socket] = []

    def remember() -> Http2Socket:
        opened.append(make())
        return opened[0]

    with contextlib.ExitStack() as unwanted:
        unwanted.callback(_abort_all, opened)
        async with asyncio.timeout(limits.connect_max_s):
            if way.tunnel is None:
                raw = await _connect(way.address or host, port, limits)
                await loop.create_connection(remember, sock=raw, ssl=way.tls, server_hostname=name)
            else:
                await _open_through(way, _authority(way.address or host, port), remember, limits)
            await opened[0].ready
        unwanted.pop_all()
    return opened[0]


def _abort_all(sockets: list[Http2Socket]) -> None:
    for half_open in sockets:
        half_open.abort()


async def _open_through(
    way: OriginWay, target: str, make: Callable[[], Http2Socket], limits: HttpLimits
) -> None:
    """Open a tunnel through the proxy, and carry the connection through it."""
    assert way.tunnel is not None
    loop = asyncio.get_running_loop()
    parts = urlsplit(way.tunnel.proxy.url)
    host = parts.hostname or ""
    raw = await _connect(host, parts.port or 0, limits)
    is_tls = parts.scheme == "https"
    tls = make_context(way.tunnel.ca, None, ()) if is_tls else None
    outer, asking = await loop.create_connection(
        lambda: _Asking(way.tunnel, target),
        sock=raw,
        ssl=tls,
        server_hostname=host if tls else None,
    )
    with contextlib.ExitStack() as unwanted:
        unwanted.callback(outer.abort)
        await asking.opened
        inner: asyncio.BaseTransport | None = outer
        protocol = make()
        if way.tls is not None:
            name = urlsplit(way.origin).hostname
            inner = await loop.start_tls(outer, protocol, way.tls, server_hostname=name)
        else:
            outer.set_protocol(protocol)
        assert inner is not None
        protocol.connection_made(inner)
        if asking.surplus:
            protocol.data_received(bytes(asking.surplus))
        unwanted.pop_all()


class _Asking(asyncio.Protocol):
    """Asks a proxy with CONNECT."""

    def __init__(self, tunnel: Tunnel | None, target: str) -> None:
        assert tunnel is not None
        self._proxy = tunnel.proxy
        self._target = target
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.surplus = bytearray()
        """What came behind the proxy's answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}", "User-Agent: tocsin"]
        if self._proxy.user:
            pair = f"{self._proxy.user}:{self._proxy.password}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
        cast(asyncio.Transport, transport).write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        self.surplus += data
        head, mark, surplus = bytes(self.surplus).partition(b"\r\n\r\n")
        if self.opened.done():
            return
        if not mark:
            if len(self.surplus) > CONNECT_ANSWER_BYTES_MAX:
                self._fail("the proxy's answer is too long")
            return
        self.surplus = bytearray(surplus)
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) > 1 and words[0].startswith("HTTP/1.") and words[1][:1] == "2":
            self.opened.set_result(None)
        else:
            status = words[1] if len(words) > 1 and words[1].isdecimal() else "no status"
            self._fail(f"the proxy opened no tunnel and answered {status}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the proxy closed the connection{f': {exc}' if exc else ''}")

    def _fail(self, text: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(TunnelFault(text))
            self.opened.exception()


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _connect(host: str, port: int, limits: HttpLimits) -> socket.socket:
    """A connected socket; the name's addresses are tried in their order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    fault: OSError = OSError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found, start=1):
        with contextlib.ExitStack() as unwanted:
            raw = unwanted.enter_context(socket.socket(family, kind, protocol))
            raw.settimeout(0)
            _set_options(raw, limits)
            try:
                async with asyncio.timeout(None if number == len(found) else ADDRESS_MAX_S):
                    await loop.sock_connect(raw, address)
            except OSError as error:
                fault = error
                continue
            unwanted.pop_all()
            return raw
    raise fault


def _set_options(raw: socket.socket, limits: HttpLimits) -> None:
    """Let the kernel end a connection whose peer has vanished."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    named = {**_KEEPALIVE, "TCP_USER_TIMEOUT": int(limits.unacknowledged_max_s * 1_000)}
    for option, value in named.items():
        if hasattr(socket, option):
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def make_context(ca: str | None, identity: str | None, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """Whom to trust, and who we are; raises `OSError` or `ValueError` for a text that is no PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca)
    if identity is not None:
        _load_identity(context, identity)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _load_identity(context: ssl.SSLContext, identity: str) -> None:
    """OpenSSL reads keys from files alone: this one is in memory, or at once removed."""
    with contextlib.ExitStack() as stack:
        if hasattr(os, "memfd_create"):
            number = os.memfd_create("identity")
            stack.callback(os.close, number)
            path = f"/proc/self/fd/{number}"
        else:
            path = stack.enter_context(tempfile.NamedTemporaryFile()).name
        Path(path).write_text(identity)
        # An encrypted key would be asked for at the terminal.
        context.load_cert_chain(path, password="")
