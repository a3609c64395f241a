"""Where a stranger may send us: names are looked up once, and only public addresses are good.

A customer's device names the server of its push service. Without a guard it could name one inside
the operator's own network, or a public one whose name means something else a moment later.
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
"""An address found good is used for so long: connections to it can then be used again."""
KEPT_MAX: Final = 1_024
LOOKING_UP_MAX: Final = 16
"""Names looked up at once: slow name servers of strangers must not take every thread."""

_SPECIAL_V4: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
"""Protocol assignments and the relay of 6to4: the library's own table has changed about them."""
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_TRANSLATED_V4: Final = IPv6Network("64:ff9b::/96")
"""How a machine without IPv4 reaches it (RFC 6052): the last four bytes are the address."""
_TUNNELS: Final = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo hold an IPv4 address that somebody else's relay would connect to."""


class NotAllowed(Exception):
    """This origin is not connected to; the text says why."""


class NotFound(Exception):
    """This origin's name leads nowhere now, but may do so later; the text says why."""


class Guard:
    """Looks up and judges; remembers what it found good."""

    def __init__(self, look_up: LookUp, is_allowed: Callable[[str], bool]) -> None:
        self._look_up = look_up
        self._is_allowed = is_allowed
        self._kept: BoundedCache[str, tuple[float, str]] = BoundedCache(KEPT_MAX)
        self._slots = asyncio.Semaphore(LOOKING_UP_MAX)

    async def address_of(self, origin: str, deadline_s: float, now: float) -> str:
        """The one address to connect to, `now` in seconds of any clock.

        Raises `NotAllowed`, or `NotFound` where asking again may help.
        """
        until, former = self._kept.get(origin) or (0.0, "")
        if now < until:
            return former
        found = await self._ask(origin, deadline_s)
        if not found:
            raise NotFound("the name has no address")
        # One address inside is enough to refuse the name: nobody honest mixes the two.
        if not all(self._is_allowed(address) for address in found):
            raise NotAllowed("the name leads to an address that is not public")
        address = former if former in found else found[0]
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
    """What the system says; numbers in any spelling are read as it would connect to them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG | socket.AI_NUMERICSERV
    )
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def is_public(text: str) -> bool:
    """Whether an address is one that anybody can reach, and means nothing special here."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    return _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    # Shared address space (RFC 6598) is neither private nor global to the library.
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
