"""Outgoing HTTP over libcurl: HTTP/2 and HTTP/1.1, many requests at once, none sent twice.

libcurl repeats a request by itself when a reused connection dies before the answer begins, when a
stream is refused, and when a server asks for HTTP/1.1; no option turns that off. But libcurl calls
the pre-request hook before each sending, so the hook allows the first sending and stops the second.
`unsent` relies on the same hook: a request for which it was not called has not been sent. Why this
client was chosen, with figures: docs/adr/0003-http-client.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import pycurl
from msgspec import Struct

from tocsin.adapters.http_dates import SeenDates
from tocsin.adapters.http_guard import (
    Guard,
    LookUp,
    NotAllowed,
    NotFound,
    is_public,
    look_up,
)
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.proxy import DIRECT, Bypass, Proxy, parse_proxy
from tocsin.ports import Http

_STREAM: Final = b"HTTP/2 stream "
_REFUSED: Final = re.compile(rb"HTTP/2 stream \d+ refused by server")
"""libcurl's message for RST_STREAM with REFUSED_STREAM and a GOAWAY with a lower stream id: both
promise that the server has not processed the request (RFC 9113, 8.7)."""
_TEXT: Final = 0
"""The kind of debug message that is text of libcurl itself (CURLINFO_TEXT)."""
_SUPPRESS_CONNECT_HEADERS: Final = 265
"""libcurl's number for an option that pycurl has no name for (curl.h)."""
_UNWANTED: Final = (b"Accept:", b"Content-Type:", b"Expect:")
"""Lines that keep libcurl from adding these headers; a request may have them itself."""
_UNWRITABLE = (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)
"""Errors of requests that libcurl can never send."""

_GroupKey: TypeAlias = tuple[str | None, str | None, bool, str, bool, str]
"""Authorities, identity, whether the vendor speaks only HTTP/2, the pool that the request names,
whether the request is guarded (connections to strangers' servers serve no other requests), and the
proxy's URL."""


class HttpLimits(Struct, frozen=True, kw_only=True):
    """Bounds of outgoing requests and connections."""

    body_max_bytes: int = 1_048_576
    """A longer answer is a fault."""
    http2_connections: int = 2
    """Connections to an origin that speaks only HTTP/2; the least busy one is used next."""
    connections: int = 32
    """Connections to any other origin."""
    streams_max: int = 1_000
    """Requests under way on one connection; a lower limit of the server applies instead."""
    connect_max_s: float = 10.0
    """Seconds that opening a connection may take, within the request's deadline."""
    answer_max_s: float = math.inf
    """Seconds after which a request ends, if its deadline is later."""
    idle_max_s: int = 6 * 3_600
    """Seconds that an idle connection is kept: vendors take frequent reconnects for an attack."""
    unacknowledged_max_s: float = 20.0
    """Seconds after which a connection ends whose peer acknowledges no packet."""
    groups_max: int = 256
    """Groups of connections, one for each `_GroupKey`."""
    spare_max: int = 2_048
    """Handles that a pool keeps for its next requests."""


class Tunnel(Struct, frozen=True):
    """The proxy of a pool's connections."""

    proxy: Proxy
    ca: str | None = None
    """PEM text of the authorities for a proxy that speaks TLS; None: the system's."""


class Proxies(Struct, frozen=True, kw_only=True):
    """The proxy of requests that name none."""

    default: str = ""
    """A proxy's URL with its user and password; empty: none."""
    bypass: Bypass = Bypass()
    """Hosts that are reached without a proxy, even if a request names one."""
    ca: str | None = None
    """PEM text of the authorities for proxies that speak TLS; None: the system's."""


class CurlHttp:
    """The `Http` port. It belongs to one event loop, from `start` until its stack closes."""

    def __init__(
        self,
        limits: HttpLimits | None = None,
        look_up: LookUp = look_up,
        is_allowed: Callable[[str], bool] = is_public,
        proxies: Proxies | None = None,
        dates: SeenDates | None = None,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._proxies = proxies or Proxies()
        self._dates = dates
        self._guard = Guard(look_up, is_allowed)
        self._groups: dict[_GroupKey, tuple[ConnectionPool, ...]] = {}
        self._is_open = False

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Open until `stack` closes; requests that are under way then end as faults."""
        self._is_open = True
        stack.push_async_callback(self._close)

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if not self._is_open:
            return Fault("unsent", "the HTTP client is not open")
        deadline_s = min(deadline_s, self._limits.answer_max_s)
        if deadline_s <= 0:
            return Fault("unsent", "the deadline had passed before sending")
        address: str | None = None
        if request.is_guarded:
            clock = asyncio.get_running_loop().time
            asked_at = clock()
            try:
                address = await self._guard.address_of(request.origin, deadline_s, asked_at)
            except NotAllowed as refusal:
                return Fault("refused", str(refusal))
            except NotFound as failure:
                return Fault("unsent", str(failure))
            deadline_s -= clock() - asked_at
            if deadline_s <= 0 or not self._is_open:
                return Fault("unsent", "no time was left when the name had been looked up")
        try:
            pools = await self._pools(request)
        except ValueError as error:
            return Fault("unsent", f"there is no way to the vendor: {error}")
        if not pools:
            return Fault("unsent", "too many different identities have requests under way")
        pool = pools[0] if len(pools) == 1 else min(pools, key=_under_way)
        try:
            transfer = pool.take(request, deadline_s, address)
        except (pycurl.error, TypeError, ValueError) as error:
            return Fault("refused", f"this request cannot be written: {error}")
        transfer.may_begin = may_begin
        answer = await self._perform(pool, transfer)
        # A guarded request goes to a stranger's server, whose clock proves nothing.
        if self._dates is not None and isinstance(answer, Response) and not request.is_guarded:
            self._dates.note(request.origin, answer.headers)
        return answer

    async def _perform(self, pool: ConnectionPool, transfer: Transfer) -> Response | Fault:
        answer: Response | Fault
        try:
            await pool.multi.add_handle(transfer.handle)
            answer = transfer.response()
        except pycurl.error as error:
            answer = transfer.fault(error)
        except asyncio.CancelledError:
            # Closing cancels the transfers under way, but their callers were not cancelled.
            task = asyncio.current_task()
            if self._is_open or task is None or task.cancelling():
                raise
            return Fault(transfer.kind(), "the HTTP client was closed")
        finally:
            pool.under_way -= 1
        pool.give_back(transfer)
        return answer

    async def _pools(self, request: Request) -> tuple[ConnectionPool, ...]:
        """The pools of the request's group; raises `ValueError` for a proxy's URL that is wrong."""
        proxy = self._proxy_of(request)
        kind = (request.ca, request.identity, request.http2, request.pool, request.is_guarded)
        key = (*kind, proxy)
        pools = self._groups.get(key)
        if pools is not None:
            return pools
        tunnel = Tunnel(parse_proxy(proxy), self._proxies.ca) if proxy else None
        return await self._open_group(key, request, tunnel)

    def _proxy_of(self, request: Request) -> str:
        """The URL of the request's proxy; empty: none."""
        proxy = request.proxy or self._proxies.default
        if not proxy or proxy == DIRECT:
            return ""
        return "" if self._proxies.bypass.covers(urlsplit(request.origin).hostname or "") else proxy

    async def _open_group(
        self, key: _GroupKey, request: Request, tunnel: Tunnel | None
    ) -> tuple[ConnectionPool, ...]:
        """The pools of a new group; none if `groups_max` groups have requests under way."""
        if len(self._groups) >= self._limits.groups_max and not await self._evict():
            return ()
        count = self._limits.http2_connections if request.http2 else 1
        pools = tuple(ConnectionPool(self._limits, request, tunnel) for _ in range(count))
        self._groups[key] = pools
        return pools

    async def _evict(self) -> bool:
        """Close an idle group of connections; answers whether there was one."""
        # No `BoundedCache`: a group with requests under way stays, however long ago it was used.
        for key, pools in self._groups.items():
            if not any(pool.under_way for pool in pools):
                del self._groups[key]
                await _close_all(pools)
                return True
        return False

    async def _close(self) -> None:
        self._is_open = False
        while self._groups:
            _, pools = self._groups.popitem()
            await _close_all(pools)


class ConnectionPool:
    """Connections that trust the same authorities, show one identity and use one proxy.

    If the vendor speaks only HTTP/2, a pool has one connection, and a second one only while the
    first has got a GOAWAY and still drains. libcurl fills one connection before it opens another,
    so the load is spread over several pools.
    """

    def __init__(self, limits: HttpLimits, request: Request, tunnel: Tunnel | None = None) -> None:
        self.under_way = 0
        self._tunnel = tunnel
        self._limits = limits
        self._ca = request.ca
        self._identity = request.identity
        self._is_http2 = request.http2
        self._spare: list[Transfer] = []
        self._waker = pycurl.Curl()
        per_origin = 2 if request.http2 else limits.connections
        self.multi = pycurl.AsyncCurlMulti()
        self.multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self.multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, limits.streams_max)
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, per_origin)
        # By default libcurl keeps four connections for each present handle, and so closes good
        # connections whenever few requests are under way.
        self.multi.setopt(pycurl.M_MAXCONNECTS, 1_024)

    def take(self, request: Request, deadline_s: float, address: str | None = None) -> Transfer:
        """A transfer that is ready to send `request`; raises if the request cannot be written.

        The transfer connects to `address` if one is given, and looks up no name.
        """
        spare = self._spare
        transfer = spare.pop() if spare else self._new_transfer()
        transfer.load(request, deadline_s)
        if address is not None:
            transfer.pin(address)
        self.under_way += 1
        return transfer

    def give_back(self, transfer: Transfer) -> None:
        if len(self._spare) < self._limits.spare_max:
            transfer.clear()
            self._spare.append(transfer)

    def _wake(self) -> None:
        """Make libcurl look at waiting requests again, now that a new connection is up.

        They wait to share the connection, but libcurl does not wake them if it turns out to be
        HTTP/1.1, and one slow answer would hold all of them. Removing a handle makes libcurl look.
        """
        if not self.multi.closed:
            self.multi.add_handle(self._waker).cancel()
            self.multi.remove_handle(self._waker)

    def _new_transfer(self) -> Transfer:
        proxy = "" if self._tunnel is None else self._tunnel.proxy.url
        return Transfer(self._new_handle(), self._limits, self._wake, proxy)

    def _new_handle(self) -> pycurl.Curl:
        """A handle with the options that all requests of the pool share."""
        limits = self._limits
        handle = pycurl.Curl()
        version = (
            pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
            if self._is_http2
            else pycurl.CURL_HTTP_VERSION_2TLS
        )
        handle.setopt(pycurl.HTTP_VERSION, version)
        handle.setopt(pycurl.PIPEWAIT, 1)
        handle.setopt(pycurl.PATH_AS_IS, 1)
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        handle.setopt(pycurl.USERAGENT, "tocsin")
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(limits.connect_max_s))
        handle.setopt(pycurl.MAXAGE_CONN, limits.idle_max_s)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, limits.body_max_bytes)
        handle.setopt(pycurl.TCP_KEEPALIVE, 1)
        handle.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        self._set_trust(handle)
        self._set_proxy(handle)
        return handle

    def _set_proxy(self, handle: pycurl.Curl) -> None:
        # `PROXY` and `NOPROXY` are always set, so that libcurl ignores the environment's proxies.
        handle.setopt(pycurl.NOPROXY, "")
        if self._tunnel is None:
            handle.setopt(pycurl.PROXY, "")
            return
        proxy = self._tunnel.proxy
        handle.setopt(pycurl.PROXY, proxy.url)
        handle.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        # Keep the proxy's answer to CONNECT apart from the vendor's answer.
        handle.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        if proxy.user:
            handle.setopt(pycurl.PROXYAUTH, pycurl.HTTPAUTH_BASIC)
            handle.setopt(pycurl.PROXYUSERNAME, proxy.user)
            handle.setopt(pycurl.PROXYPASSWORD, proxy.password)
        if self._tunnel.ca is not None:
            handle.setopt(pycurl.PROXY_CAINFO_BLOB, self._tunnel.ca)
        else:
            handle.setopt(pycurl.PROXY_CAINFO, _system_authorities())

    def _set_trust(self, handle: pycurl.Curl) -> None:
        if self._ca is not None:
            handle.setopt(pycurl.CAINFO_BLOB, self._ca)
        else:
            handle.setopt(pycurl.CAINFO, _system_authorities())
        if self._identity is not None:
            handle.setopt(pycurl.SSLCERT_BLOB, self._identity)
            handle.setopt(pycurl.SSLKEY_BLOB, self._identity)


class Transfer:
    """A libcurl handle with the answer to its request; used for one request after another."""

    def __init__(
        self,
        handle: pycurl.Curl,
        limits: HttpLimits,
        on_connected: Callable[[], None],
        proxy: str = "",
    ) -> None:
        """`proxy` is the handle's proxy, without its password: reasons of faults name it."""
        self.handle = handle
        self._proxy = proxy
        self._limits = limits
        self._on_connected = on_connected
        self._is_connecting = False
        self._loop = asyncio.get_running_loop()
        self._method = ""
        self._address = ""
        self._sendings = 0
        self._is_refused = False
        self.may_begin: Callable[[], bool] | None = None
        """Called before the request is sent; the request is not sent if the answer is false."""
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        handle.setopt(pycurl.PREREQFUNCTION, self._before_sending)
        handle.setopt(pycurl.DEBUGFUNCTION, self._read_debug)
        # Only libcurl's debug messages say that a stream was refused. They are always on: libcurl
        # may read a refusal in the same step in which it writes the request.
        handle.setopt(pycurl.VERBOSE, 1)
        handle.setopt(pycurl.SOCKOPTFUNCTION, self._set_socket)
        handle.setopt(pycurl.HEADERFUNCTION, self._head.append)
        handle.setopt(pycurl.WRITEFUNCTION, self._body.append)

    def load(self, request: Request, deadline_s: float) -> None:
        """Make the handle ready to send `request`."""
        handle = self.handle
        if not request.path.isprintable():
            raise ValueError("the path holds a line break or another control character")
        handle.setopt(pycurl.URL, request.origin + request.path)
        if request.body or request.method in ("POST", "PUT"):
            handle.setopt(pycurl.POSTFIELDS, request.body)
        else:
            handle.setopt(pycurl.HTTPGET, 1)
        if request.method != self._method:
            handle.setopt(pycurl.CUSTOMREQUEST, request.method)
            self._method = request.method
        handle.setopt(pycurl.HTTPHEADER, _header_lines(request))
        handle.setopt(pycurl.TIMEOUT_MS, _milliseconds(deadline_s))

    def pin(self, address: str) -> None:
        """Connect to this address only; the peer's certificate must still be the origin's."""
        self._address = address
        # Host and ports are left empty: the address applies however the host is spelt, and the
        # port is the origin's. An address, not a name, so that no name is looked up again.
        literal = f"[{address}]" if ":" in address else address
        self.handle.setopt(pycurl.CONNECT_TO, [f"::{literal}:"])

    def clear(self) -> None:
        self._address = ""
        self.may_begin = None
        self._sendings = 0
        self._is_refused = False
        self._is_connecting = False
        self._head.clear()
        self._body.clear()

    def response(self) -> Response:
        status = int(self.handle.getinfo(pycurl.RESPONSE_CODE))
        return Response(status, _headers(self._head), b"".join(self._body))

    def kind(self) -> Literal["unsent", "maybe_sent"]:
        """Whether a vendor may have seen a request that got no answer."""
        if self._sendings == 0 or (self._is_refused and not self._head):
            return "unsent"
        return "maybe_sent"

    def fault(self, error: pycurl.error) -> Fault:
        code = error.args[0]
        if code in _UNWRITABLE:
            return Fault("refused", f"this request cannot be written (curl {code})")
        if code == pycurl.E_FILESIZE_EXCEEDED:
            reason = f"the answer is over {self._limits.body_max_bytes} bytes"
        elif self._sendings > 1 or self._is_refused:
            reason = "the server refused the stream" if self._is_refused else "the connection died"
        else:
            reason = self.handle.errstr() or pycurl.easy_strerror(int(code))
        way = f", through the proxy {self._proxy}" if self._proxy else ""
        return Fault(self.kind(), f"{reason} (curl {code}){way}")

    def _before_sending(self, peer: str, *_: object) -> int:
        """Allows the first sending and stops further ones, which are libcurl's own repeats."""
        # The peer of a connection through a proxy is the proxy; CONNECT has named the address.
        is_checked = bool(self._address) and not self._proxy
        if is_checked and ip_address(peer) != ip_address(self._address):
            return pycurl.PREREQFUNC_ABORT
        if self._sendings == 0 and self.may_begin is not None and not self.may_begin():
            return pycurl.PREREQFUNC_ABORT
        self._sendings += 1
        if self._sendings > 1:
            return pycurl.PREREQFUNC_ABORT
        if self._is_connecting:
            self._loop.call_soon(self._on_connected)
        return pycurl.PREREQFUNC_OK

    def _read_debug(self, kind: int, text: bytes) -> None:
        """Notes a refused stream. The messages hold secrets, so nothing else of them is kept."""
        if kind == _TEXT and text.startswith(_STREAM) and _REFUSED.match(text):
            self._is_refused = True

    def _set_socket(self, number: int, _purpose: int) -> int:
        """Lets the kernel end a connection whose peer has vanished."""
        self._is_connecting = True
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            milliseconds = _milliseconds(self._limits.unacknowledged_max_s)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return pycurl.SOCKOPT_OK


def _under_way(pool: ConnectionPool) -> int:
    return pool.under_way


async def _close_all(pools: tuple[ConnectionPool, ...]) -> None:
    for pool in pools:
        await pool.multi.aclose()


def _system_authorities() -> str:
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.openssl_cafile


def _header_lines(request: Request) -> list[bytes]:
    """The headers in libcurl's form, without those that libcurl would add by itself."""
    # libcurl writes an empty header if a semicolon follows its name; after a colon it omits it.
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
    text = "\n".join(lines)
    if text.count("\n") != max(len(lines) - 1, 0) or "\r" in text:
        raise ValueError("a header holds a line break")
    return [*text.encode().split(b"\n"), *_UNWANTED] if lines else list(_UNWANTED)


def _headers(lines: list[bytes]) -> dict[str, str]:
    """The headers of the last answer; informational answers (1xx) come before it."""
    headers: dict[str, str] = {}
    for line in b"".join(lines).decode("latin-1").split("\r\n"):
        name, mark, value = line.partition(":")
        if mark:
            key, text = name.lower(), value.strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        elif line.startswith("HTTP/"):
            headers.clear()
    return headers


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1_000))


_fits_its_port: type[Http] = CurlHttp
