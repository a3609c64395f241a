"""Outgoing HTTP/1.1 over libcurl: many requests at once, none sent twice.

libcurl repeats a request by itself when a kept connection dies before the answer begins; no option
turns that off. But libcurl calls the pre-request hook before each sending, so the hook allows the
first sending and stops the second. `unsent` relies on the same hook: a request for which it was not
called has not been sent. Why this client was chosen: docs/adr/0003-http-client.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

import pycurl

from tocsin.adapters.http_limits import HttpLimits, Tunnel
from tocsin.conversation import Fault, Request, Response

_SUPPRESS_CONNECT_HEADERS: Final = 265
"""libcurl's number for an option that pycurl has no name for (curl.h)."""
_UNWANTED: Final = (b"Accept:", b"Content-Type:", b"Expect:")
"""Lines that keep libcurl from adding these headers; a request may have them itself."""
_UNWRITABLE = (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)
"""Errors of requests that libcurl can never send."""

_GroupKey: TypeAlias = tuple[str | None, str | None, str, bool, Tunnel | None]
"""Authorities, identity, the pool that the request names, whether the request is guarded
(connections to strangers' servers serve no other requests), and the proxy."""


class CurlHttp:
    """Sends requests over HTTP/1.1, from `start` until its stack closes.

    It belongs to one event loop and serves `OutgoingHttp`, which knows where a request may go.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._groups: dict[_GroupKey, ConnectionPool] = {}
        self._is_open = False

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Open until `stack` closes; requests that are under way then end as faults."""
        self._is_open = True
        stack.push_async_callback(self._close)

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None,
        address: str | None,
        tunnel: Tunnel | None,
    ) -> Response | Fault:
        """One request; it connects to `address` if one is given, and looks up no name then."""
        if deadline_s <= 0 or not self._is_open:
            return Fault("unsent", "no time was left for the request")
        pool = await self._pool(request, tunnel)
        if pool is None:
            return Fault("unsent", "too many different identities have requests under way")
        try:
            transfer = pool.take(request, deadline_s, address)
        except (pycurl.error, TypeError, ValueError) as error:
            return Fault("refused", f"this request cannot be written: {error}")
        transfer.may_begin = may_begin
        return await self._perform(pool, transfer)

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

    async def _pool(self, request: Request, tunnel: Tunnel | None) -> ConnectionPool | None:
        """The connections of the request's group; None if too many groups are busy."""
        key = (request.ca, request.identity, request.pool, request.is_guarded, tunnel)
        pool = self._groups.get(key)
        if pool is not None:
            return pool
        if len(self._groups) >= self._limits.groups_max and not await self._evict():
            return None
        self._groups[key] = pool = ConnectionPool(self._limits, request, tunnel)
        return pool

    async def _evict(self) -> bool:
        """Close an idle group of connections; answers whether there was one."""
        # No `BoundedCache`: a group with requests under way stays, however long ago it was used.
        for key, pool in self._groups.items():
            if not pool.under_way:
                del self._groups[key]
                await pool.multi.aclose()
                return True
        return False

    async def _close(self) -> None:
        self._is_open = False
        while self._groups:
            _, pool = self._groups.popitem()
            await pool.multi.aclose()


class ConnectionPool:
    """Connections that trust the same authorities, show one identity and use one proxy."""

    def __init__(self, limits: HttpLimits, request: Request, tunnel: Tunnel | None = None) -> None:
        self.under_way = 0
        self._tunnel = tunnel
        self._limits = limits
        self._ca = request.ca
        self._identity = request.identity
        self._spare: list[Transfer] = []
        self.multi = pycurl.AsyncCurlMulti()
        self.multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, limits.connections)
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

    def _new_transfer(self) -> Transfer:
        proxy = "" if self._tunnel is None else self._tunnel.proxy.url
        return Transfer(self._new_handle(), self._limits, proxy)

    def _new_handle(self) -> pycurl.Curl:
        """A handle with the options that all requests of the pool share."""
        limits = self._limits
        handle = pycurl.Curl()
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
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
        proxy: str = "",
    ) -> None:
        """`proxy` is the handle's proxy, without its password: reasons of faults name it."""
        self.handle = handle
        self._proxy = proxy
        self._limits = limits
        self._method = ""
        self._address = ""
        self._sendings = 0
        self.may_begin: Callable[[], bool] | None = None
        """Called before the request is sent; the request is not sent if the answer is false."""
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        handle.setopt(pycurl.PREREQFUNCTION, self._before_sending)
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
        self._head.clear()
        self._body.clear()

    def response(self) -> Response:
        status = int(self.handle.getinfo(pycurl.RESPONSE_CODE))
        return Response(status, _headers(self._head), b"".join(self._body))

    def kind(self) -> Literal["unsent", "maybe_sent"]:
        """Whether a vendor may have seen a request that got no answer."""
        return "maybe_sent" if self._sendings else "unsent"

    def fault(self, error: pycurl.error) -> Fault:
        code = error.args[0]
        if code in _UNWRITABLE:
            return Fault("refused", f"this request cannot be written (curl {code})")
        if code == pycurl.E_FILESIZE_EXCEEDED:
            reason = f"the answer is over {self._limits.body_max_bytes} bytes"
        elif self._sendings > 1:
            reason = "the connection died"
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
        return pycurl.PREREQFUNC_OK

    def _set_socket(self, number: int, _purpose: int) -> int:
        """Lets the kernel end a connection whose peer has vanished."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            milliseconds = _milliseconds(self._limits.unacknowledged_max_s)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return pycurl.SOCKOPT_OK


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
