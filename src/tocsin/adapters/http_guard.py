"""Guards requests to origins that strangers choose: only public addresses, looked up once.

A customer's device names the server of its push service. Without a guard it could name a server
inside the operator's network, or a name that leads to another address a moment later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from tocsin.domain.bounded import BoundedCache

LookUp: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a host, in the order in which they should be tried; raises `OSError`."""

KEPT_S: Final = 60.0
"""Seconds that a public address is used, so that connections to it are used again."""
KEPT_MAX: Final = 1_024
LOOKING_UP_MAX: Final = 16
"""Names that are looked up at once: strangers' slow name servers must not take every thread."""

_SPECIAL_V4: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
"""Protocol assignments and the relay of 6to4, on which releases of `ipaddress` differ."""
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_TRANSLATED_V4: Final = IPv6Network("64:ff9b::/96")
"""IPv4 from a machine that has only IPv6 (RFC 6052): the last four bytes are the address."""
_TUNNELS: Final = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo: a foreign relay would connect to the IPv4 address inside."""


class NotAllowed(Exception):
    """The origin must not be connected to; the text says why."""


class NotFound(Exception):
    """The origin has no address now, but may have one later; the text says why."""


class Guard:
    """Looks up origins and remembers those with public addresses."""

    def __init__(self, look_up: LookUp, is_allowed: Callable[[str], bool]) -> None:
        self._look_up = look_up
        self._is_allowed = is_allowed
        self._kept: BoundedCache[str, tuple[float, str]] = BoundedCache(KEPT_MAX)
        self._slots = asyncio.Semaphore(LOOKING_UP_MAX)

    async def address_of(self, origin: str, deadline_s: float, now: float) -> str:
        """The address to connect to; `deadline_s` bounds the look-up, `now` is of any clock.

        Raises `NotAllowed`, or `NotFound` if a later look-up may find an address.
        """
        until, former = self._kept.get(origin) or (0.0, "")
        if now < until:
            return former
        addresses = await self._ask(origin, deadline_s)
        if not addresses:
            raise NotFound("the name has no address")
        # One private address is enough to refuse the name: no honest name mixes the two.
        if not all(map(self._is_allowed, addresses)):
            raise NotAllowed("the name leads to an address that is not public")
        address = former if former in addresses else addresses[0]
        self._kept.put(origin, (now + KEPT_S, address))
        return address

    async def _ask(self, origin: str, deadline_s: float) -> list[str]:
        try:
            parts = urlsplit(origin)
            host, port = parts.hostname, parts.port or 443
        except ValueError:
            raise NotAllowed("this is no address") from None
        if parts.scheme != "https" or not host:
            raise NotAllowed("only https is allowed")
        try:
            async with asyncio.timeout(deadline_s), self._slots:
                return await self._look_up(host, port)
        except TimeoutError:
            raise NotFound("the name was not looked up in time") from None
        except UnicodeError:
            raise NotAllowed("this is no name") from None
        except OSError:
            raise NotFound("the name cannot be looked up") from None


async def look_up(host: str, port: int) -> list[str]:
    """All addresses by the system's resolver, which also reads every spelling of an address."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG | socket.AI_NUMERICSERV
    )
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


def is_public(text: str) -> bool:
    """Whether an address is reached from everywhere and has no special meaning on this machine."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    return _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    # To `ipaddress`, shared address space (RFC 6598) is neither private nor global.
    if any(address in special for special in _SPECIAL_V4):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address in _TRANSLATED_V4:
        return _is_public_v4(IPv4Address(address.packed[-4:]))
    if address not in _GLOBAL_V6 or any(address in tunnel for tunnel in _TUNNELS):
        # Loopback, mapped IPv4, link-local, unique local, site-local, multicast and the rest.
        return False
    return address.is_global
