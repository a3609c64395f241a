"""libcurl's handles: groups of connections, and the transfer that is never repeated.

See `http.py` for the promise that these two keep.
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
from typing import Final, Literal

import pycurl
from msgspec import Struct

from tocsin.conversation import Fault, Request, Response
from tocsin.domain.proxy import Proxy

_STREAM: Final = b"HTTP/2 stream "
_REFUSED: Final = re.compile(rb"HTTP/2 stream \d+ refused by server")
"""How libcurl says that a server did not look at a stream: RST_STREAM with REFUSED_STREAM, or a
GOAWAY with a lower stream id. Both are promises that the request was not acted on (RFC 9113, 8.7).
"""
_TEXT: Final = 0
"""The kind of libcurl's own sentences among its debug messages (CURLINFO_TEXT)."""
_SUPPRESS_CONNECT_HEADERS: Final = 265
"""libcurl's number for an option that pycurl has no name for (curl.h)."""
_UNWANTED: Final = (b"Accept:", b"Content-Type:", b"Expect:")
"""Headers that libcurl leaves out when told so, unless the request names them itself."""


class HttpLimits(Struct, frozen=True, kw_only=True):
    """Bounds of the outgoing side."""

    body_max_bytes: int = 1_048_576
    """A longer answer is cut off and counts as none."""
    http2_connections: int = 2
    """Lanes to an origin that speaks HTTP/2 only; the least busy one takes the next request."""
    connections: int = 32
    """Connections to any other origin."""
    streams_max: int = 1_000
    """Requests under way on one connection; a lower limit of the server is obeyed."""
    connect_max_s: float = 10.0
    """Time for one connection to come up, within the request's deadline."""
    answer_max_s: float = math.inf
    """A request whose deadline is later ends after so long."""
    idle_max_s: int = 6 * 3_600
    """An idle connection is kept this long: vendors take frequent reconnects for an attack."""
    unacknowledged_max_s: float = 20.0
    """A connection whose peer acknowledges nothing for this long is given up."""
    groups_max: int = 256
    """Groups of connections with the same authorities to trust and the same identity to show."""
    spare_max: int = 2_048
    """Handles that a lane keeps for its next requests."""


class Tunnel(Struct, frozen=True):
    """The proxy that a pool's connections go through."""

    proxy: Proxy
    ca: str | None = None
    """PEM text of the authorities that a proxy with TLS is trusted by; None: the system's."""


_UNWRITABLE = (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)
"""Whatever the network does, libcurl will never send these."""


class Pool:
    """Connections by the same way that trust the same authorities and show the same identity.

    Where a vendor speaks HTTP/2 only, a pool is one lane: libcurl fills one connection before it
    opens another, so the load is spread over lanes. A lane may open one more connection: the
    successor of one that was told to go away and still drains.
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
        # Without a number libcurl keeps four connections for each handle it knows at the moment,
        # and so closes good ones whenever few requests are under way.
        self.multi.setopt(pycurl.M_MAXCONNECTS, 1_024)

    def take(self, request: Request, deadline_s: float, address: str | None = None) -> Transfer:
        """A transfer made ready for `request`; raises where that cannot be put on the wire.

        With an `address` it is connected to, whatever the origin's name means by then.
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
        """Let waiting requests look again, now that a new connection has told its protocol.

        They wait to share it, but libcurl does not tell them when it turns out to be HTTP/1.1, and
        one slow answer would hold all of them. Taking any handle away makes libcurl look.
        """
        if not self.multi.closed:
            self.multi.add_handle(self._waker).cancel()
            self.multi.remove_handle(self._waker)

    def _new_transfer(self) -> Transfer:
        proxy = "" if self._tunnel is None else self._tunnel.proxy.url
        return Transfer(self._new_handle(), self._limits, self._wake, proxy)

    def _new_handle(self) -> pycurl.Curl:
        """A handle with everything set that is the same for all requests of the pool."""
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
        self._set_way(handle)
        return handle

    def _set_way(self, handle: pycurl.Curl) -> None:
        # The environment does not decide where notifications go: `PROXY` and `NOPROXY` are set
        # in any case.
        handle.setopt(pycurl.NOPROXY, "")
        if self._tunnel is None:
            handle.setopt(pycurl.PROXY, "")
            return
        proxy = self._tunnel.proxy
        handle.setopt(pycurl.PROXY, proxy.url)
        handle.setopt(pycurl.HTTPPROXYTUNNEL, 1)
        # What the proxy answers to CONNECT is not what the vendor answers.
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
    """One libcurl handle and what came back on it; used for one request after another."""

    def __init__(
        self,
        handle: pycurl.Curl,
        limits: HttpLimits,
        on_connected: Callable[[], None],
        proxy: str = "",
    ) -> None:
        """`proxy` is the one that the handle goes through, as it may be named in a reason."""
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
        """Asked when the request would go onto the wire."""
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        handle.setopt(pycurl.PREREQFUNCTION, self._before_sending)
        handle.setopt(pycurl.DEBUGFUNCTION, self._overhear)
        # Whether a stream was refused stands only in libcurl's debug messages. They are on all the
        # time: a refusal may be read in the same step in which the request was written.
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
        """Connect to this address only. libcurl still asks the peer to prove the origin's name."""
        self._address = address
        # Both sides are left empty: whichever way the host is spelt, it is this address, and the
        # port is the origin's own. Never a name, so nothing is looked up a second time.
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
        """What a vendor can have seen of a request that got no answer."""
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
        """Let the first sending pass and stop every further one: libcurl's own repeats."""
        # Through a proxy the peer is the proxy, and the address is the one that CONNECT named.
        is_seen = bool(self._address) and not self._proxy
        if is_seen and ip_address(peer) != ip_address(self._address):
            return pycurl.PREREQFUNC_ABORT
        if self._sendings == 0 and self.may_begin is not None and not self.may_begin():
            return pycurl.PREREQFUNC_ABORT
        self._sendings += 1
        if self._sendings > 1:
            return pycurl.PREREQFUNC_ABORT
        if self._is_connecting:
            self._loop.call_soon(self._on_connected)
        return pycurl.PREREQFUNC_OK

    def _overhear(self, kind: int, text: bytes) -> None:
        """Note a refusal. The messages hold secrets: nothing else of them is kept."""
        if kind == _TEXT and text.startswith(_STREAM) and _REFUSED.match(text):
            self._is_refused = True

    def _set_socket(self, number: int, _purpose: int) -> int:
        """Let the kernel end a connection whose peer is gone without a word."""
        self._is_connecting = True
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            milliseconds = _milliseconds(self._limits.unacknowledged_max_s)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return pycurl.SOCKOPT_OK


def _system_authorities() -> str:
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.openssl_cafile


def _header_lines(request: Request) -> list[bytes]:
    """The headers as libcurl takes them, without those that it would add by itself."""
    # A header without a value is written with a semicolon; with a colon it would mean "leave out".
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
    text = "\n".join(lines)
    if text.count("\n") != max(len(lines) - 1, 0) or "\r" in text:
        raise ValueError("a header holds a line break")
    return [*text.encode().split(b"\n"), *_UNWANTED] if lines else list(_UNWANTED)


def _headers(lines: list[bytes]) -> dict[str, str]:
    """What libcurl was told, of the last answer: informational ones (1xx) come before it."""
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
