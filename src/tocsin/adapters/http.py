"""Outgoing HTTP over libcurl: HTTP/2 and HTTP/1.1, many requests at once, none sent twice.

libcurl repeats a request by itself when a reused connection dies before the answer begins, when a
stream is refused, and when a server asks for HTTP/1.1; no option turns that off. Before each
sending it must pass the pre-request hook, though, so the hook lets the first one through and stops
the second. The same hook is what `unsent` rests on: a request that never came to it has not left
us. Why this client, and what was measured: docs/adr/0003-http-client.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeAlias
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
from tocsin.adapters.http_pool import HttpLimits, Pool, Transfer, Tunnel
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.proxy import DIRECT, Bypass, parse_proxy
from tocsin.ports import Http

_GroupKey: TypeAlias = tuple[str | None, str | None, bool, str, bool, str]
"""Authorities, identity, whether the vendor speaks HTTP/2 only, the request's own pool, whether it
is guarded (connections to strangers serve nobody else), and the proxy's URL."""


class Proxies(Struct, frozen=True, kw_only=True):
    """Which proxy a request goes through that names none."""

    default: str = ""
    """A proxy's URL with its user and password; empty: none."""
    bypass: Bypass = Bypass()
    """Hosts that are reached without any proxy, also without one that a request names."""
    ca: str | None = None
    """PEM text of the authorities that proxies with TLS are trusted by; None: the system's."""


class CurlHttp:
    """The `Http` port. From `start` to the closing of its stack it belongs to one event loop."""

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
        self._groups: dict[_GroupKey, tuple[Pool, ...]] = {}
        self._is_open = False

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Open until `stack` closes; whatever is under way then ends as a fault."""
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
            lanes = await self._lanes(request)
        except ValueError as error:
            return Fault("unsent", f"there is no way to the vendor: {error}")
        if not lanes:
            return Fault("unsent", "too many different identities have requests under way")
        pool = lanes[0] if len(lanes) == 1 else min(lanes, key=_under_way)
        try:
            transfer = pool.take(request, deadline_s, address)
        except (pycurl.error, TypeError, ValueError) as error:
            return Fault("refused", f"this request cannot be written: {error}")
        transfer.may_begin = may_begin
        answer = await self._perform(pool, transfer)
        # A guarded request goes to anybody's server, whose clock says nothing.
        if self._dates is not None and isinstance(answer, Response) and not request.is_guarded:
            self._dates.note(request.origin, answer.headers)
        return answer

    async def _perform(self, pool: Pool, transfer: Transfer) -> Response | Fault:
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

    async def _lanes(self, request: Request) -> tuple[Pool, ...]:
        """The request's group of connections; raises `ValueError` for a proxy that is none."""
        proxy = self._proxy_of(request)
        kind = (request.ca, request.identity, request.http2, request.pool, request.is_guarded)
        key = (*kind, proxy)
        lanes = self._groups.get(key)
        if lanes is not None:
            return lanes
        tunnel = Tunnel(parse_proxy(proxy), self._proxies.ca) if proxy else None
        return await self._open_group(key, request, tunnel)

    def _proxy_of(self, request: Request) -> str:
        """The URL of the proxy to go through; empty: none."""
        proxy = request.proxy or self._proxies.default
        if not proxy or proxy == DIRECT:
            return ""
        return "" if self._proxies.bypass.covers(urlsplit(request.origin).hostname or "") else proxy

    async def _open_group(
        self, key: _GroupKey, request: Request, tunnel: Tunnel | None
    ) -> tuple[Pool, ...]:
        """New lanes for `key`; none where all the groups that there may be are busy."""
        if len(self._groups) >= self._limits.groups_max and not await self._evict():
            return ()
        count = self._limits.http2_connections if request.http2 else 1
        lanes = tuple(Pool(self._limits, request, tunnel) for _ in range(count))
        self._groups[key] = lanes
        return lanes

    async def _evict(self) -> bool:
        """Close one group of connections that is idle."""
        for key, lanes in self._groups.items():
            if not any(pool.under_way for pool in lanes):
                del self._groups[key]
                await _close_all(lanes)
                return True
        return False

    async def _close(self) -> None:
        self._is_open = False
        while self._groups:
            _, lanes = self._groups.popitem()
            await _close_all(lanes)


def _under_way(pool: Pool) -> int:
    return pool.under_way


async def _close_all(lanes: tuple[Pool, ...]) -> None:
    for pool in lanes:
        await pool.multi.aclose()


_fits_its_port: type[Http] = CurlHttp
