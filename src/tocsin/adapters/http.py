"""Outgoing HTTP: our own HTTP/2, and libcurl where a server speaks HTTP/1.1.

An https origin is greeted with both protocols in the TLS handshake. If it chooses HTTP/1.1, the
request goes to libcurl instead; nothing of it was written before. One that may only be sent over
HTTP/2 (`Request.http2`) is not, then. Why our own: docs/adr/0014-own-http2.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from tocsin.adapters.http1 import CurlHttp
from tocsin.adapters.http2.pool import SPEAKS_HTTP1, OriginPool
from tocsin.adapters.http2.transport import OriginWay, make_context
from tocsin.adapters.http_dates import SeenDates
from tocsin.adapters.http_guard import Guard, LookUp, NotAllowed, NotFound, is_public, look_up
from tocsin.adapters.http_limits import HttpLimits, Proxies, Tunnel
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.proxy import DIRECT, parse_proxy
from tocsin.ports import Http

ORIGINS_MAX: Final = 1_024
"""Origins that a group has connections to."""
CONTEXTS_MAX: Final = 64

_GroupKey: TypeAlias = tuple[str | None, str | None, bool, str, bool, str]
"""Authorities, identity, whether only HTTP/2 is spoken, the pool that the request names, whether it
is guarded, and the proxy's URL. Connections to strangers' servers serve no other requests."""
_Origins: TypeAlias = dict[tuple[str, str | None], OriginPool]
"""The connections of a group, by origin and checked address."""


class OutgoingHttp:
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
        self._http1 = CurlHttp(self._limits)
        self._groups: dict[_GroupKey, _Origins] = {}
        self._contexts: BoundedCache[tuple[str | None, str | None, bool], ssl.SSLContext] = (
            BoundedCache(CONTEXTS_MAX)
        )
        self._is_open = False

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Open until `stack` closes; requests that are under way then end as faults."""
        self._is_open = True
        await self._http1.start(stack)
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
        clock = asyncio.get_running_loop().time
        deadline_at = clock() + deadline_s
        address: str | None = None
        if request.is_guarded:
            try:
                address = await self._guard.address_of(request.origin, deadline_s, clock())
            except NotAllowed as refusal:
                return Fault("refused", str(refusal))
            except NotFound as failure:
                return Fault("unsent", str(failure))
            if deadline_at <= clock() or not self._is_open:
                return Fault("unsent", "no time was left when the name had been looked up")
        answer = await self._send(request, deadline_at, may_begin, address)
        # A guarded request goes to a stranger's server, whose clock proves nothing.
        if self._dates is not None and isinstance(answer, Response) and not request.is_guarded:
            self._dates.note(request.origin, answer.headers)
        return answer

    async def _send(
        self,
        request: Request,
        deadline_at: float,
        may_begin: Callable[[], bool] | None,
        address: str | None,
    ) -> Response | Fault:
        """Over HTTP/2, unless the server chooses HTTP/1.1 or cannot be asked."""
        proxy = self._proxy_of(request)
        if request.http2 or request.origin.startswith("https:"):
            pool = self._origins(request, proxy).get((request.origin, address))
            if pool is None:
                opened = await self._open(request, proxy, address)
                if isinstance(opened, Fault):
                    return opened
                pool = opened
            answer = await pool.send(request, deadline_at, may_begin)
            if request.http2 or answer is not SPEAKS_HTTP1:
                return answer
        left_s = deadline_at - asyncio.get_running_loop().time()
        try:
            tunnel = self._tunnel(proxy)
        except ValueError as error:
            return _no_way(error)
        return await self._http1.send(request, left_s, may_begin, address, tunnel)

    def _proxy_of(self, request: Request) -> str:
        """The URL of the request's proxy; empty: none."""
        proxy = request.proxy or self._proxies.default
        if not proxy or proxy == DIRECT:
            return ""
        return "" if self._proxies.bypass.covers(urlsplit(request.origin).hostname or "") else proxy

    def _tunnel(self, proxy: str) -> Tunnel | None:
        """Raises `ValueError` for a URL that is no proxy's."""
        return Tunnel(parse_proxy(proxy), self._proxies.ca) if proxy else None

    def _origins(self, request: Request, proxy: str) -> _Origins:
        """The connections of the request's group."""
        return self._groups.get(_key(request, proxy), {})

    async def _open(self, request: Request, proxy: str, address: str | None) -> OriginPool | Fault:
        """Connections for this request."""
        limits = self._limits
        try:
            tunnel = self._tunnel(proxy)
            tls = self._context(request) if request.origin.startswith("https:") else None
        except (OSError, ValueError) as error:
            return _no_way(error)
        key = _key(request, proxy)
        if not await self._make_room(key):
            return Fault("unsent", "too many different identities have requests under way")
        if not self._is_open:
            return Fault("unsent", "the HTTP client was closed")
        origins = self._groups.setdefault(key, {})
        place = (request.origin, address)
        if place not in origins:
            way = OriginWay(origin=request.origin, tls=tls, address=address, tunnel=tunnel)
            lanes = limits.http2_connections if request.http2 else 1
            lanes_max = lanes if request.http2 else limits.connections
            origins[place] = OriginPool(way, limits, lanes=lanes, lanes_max=lanes_max)
        return origins[place]

    def _context(self, request: Request) -> ssl.SSLContext:
        key = (request.ca, request.identity, request.http2)
        context = self._contexts.get(key)
        if context is None:
            alpn = ("h2",) if request.http2 else ("h2", "http/1.1")
            context = make_context(request.ca, request.identity, alpn)
            self._contexts.put(key, context)
        return context

    async def _make_room(self, key: _GroupKey) -> bool:
        """Close idle connections while there are too many; false if there are none."""
        # Others may open some while these are closed, so it is looked at again.
        while key not in self._groups and len(self._groups) >= self._limits.groups_max:
            idle = [it for it, group in self._groups.items() if not _load(group.values())]
            if not idle:
                return False
            await _close_all(self._groups.pop(idle[0]).values())
        while len(origins := self._groups.get(key, {})) >= ORIGINS_MAX:
            unused = [place for place, pool in origins.items() if not pool.load]
            if not unused:
                return False
            await _close_all([origins.pop(unused[0])])
        return True

    async def _close(self) -> None:
        self._is_open = False
        pools = [pool for origins in self._groups.values() for pool in origins.values()]
        self._groups.clear()
        await _close_all(pools)


def _key(request: Request, proxy: str) -> _GroupKey:
    kind = (request.ca, request.identity, request.http2, request.pool, request.is_guarded)
    return (*kind, proxy)


def _no_way(error: Exception) -> Fault:
    return Fault("unsent", f"there is no way to the vendor: {error}")


def _load(pools: Iterable[OriginPool]) -> int:
    return sum(pool.load for pool in pools)


async def _close_all(pools: Iterable[OriginPool]) -> None:
    await asyncio.gather(*(pool.close("the HTTP client was closed") for pool in pools))


_fits_its_port: type[Http] = OutgoingHttp
