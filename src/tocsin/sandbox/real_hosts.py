"""The vendors' real host names led to the sandbox, for SDKs that have them fixed.

Names that lead to the same vendors are one place: a listener that answers for all of them. A place
stands on port 443 of a loopback address of its own, where a hosts file finds it, or on any free
port, where only the CONNECT proxy does. Some names belong to two vendors: Huawei's serves Android
and HarmonyOS, Google's FCM and browsers; there the path tells which is meant.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from msgspec import Struct

from tocsin.errors import SetupError
from tocsin.sandbox.exchange import Call, Reply, Serve
from tocsin.sandbox.listener import Listener

LOOPBACK = "127.0.0.1"
HTTPS_PORT = 443
FIRST_ADDRESS = "127.0.0.11"

PATHS: dict[str, tuple[str, ...]] = {
    "harmony": ("/v3/",),
    "webpush": ("/push/", "/message/"),
}
"""How the paths begin that are this vendor's, on a host of two vendors; all others are the other's.
"""

ADVICE = {
    errno.EACCES: "root, or the right to low ports: sysctl net.ipv4.ip_unprivileged_port_start=443",
    errno.EPERM: "root, or the right to low ports: sysctl net.ipv4.ip_unprivileged_port_start=443",
    errno.EADDRNOTAVAIL: "give the loopback interface this address (macOS: ifconfig lo0 alias)",
    errno.EADDRINUSE: "end what listens there, another sandbox perhaps",
}
NO_ROOT = "--connect-proxy needs neither, where the SDK knows proxies"


class Place(Struct, frozen=True):
    """Host names, and the vendors that they all lead to."""

    names: tuple[str, ...]
    vendors: tuple[str, ...]


class HostLine(Struct, frozen=True):
    """One line of a hosts file."""

    address: str
    name: str
    vendors: tuple[str, ...]


def with_star(name: str) -> str:
    """The name with a `*` in the place of its first label, as certificates have it."""
    return f"*.{name.partition('.')[2]}"


def places_of(hosts: Mapping[str, tuple[str, ...]]) -> list[Place]:
    """The names of every vendor, put together where they lead to the same ones."""
    vendors: dict[str, list[str]] = {}
    for vendor, names in hosts.items():
        for name in names:
            vendors.setdefault(name, []).append(vendor)
    places: dict[tuple[str, ...], list[str]] = {}
    for name, served in vendors.items():
        places.setdefault(tuple(served), []).append(name)
    return [Place(tuple(names), served) for served, names in places.items()]


class RealHosts:
    """A listener for each place.

    `listen(vendors, serve)` makes one that speaks what these vendors speak.
    """

    def __init__(
        self,
        hosts: Mapping[str, tuple[str, ...]],
        desks: Mapping[str, Serve],
        listen: Callable[[tuple[str, ...], Serve], Listener],
    ) -> None:
        self._places = [
            (place, listen(place.vendors, _Shared({name: desks[name] for name in place.vendors})))
            for place in places_of(hosts)
        ]
        self._found = {name: listener for place, listener in self._places for name in place.names}
        self._addresses: list[str] = []

    async def start(self, stack: AsyncExitStack, *, port: int, first_address: str) -> None:
        """Listen: on `port` of addresses from the first one on, or where it is 0 on any free port
        of 127.0.0.1.
        """
        first = ipaddress.IPv4Address(first_address)
        addresses = [str(first + step) if port else LOOPBACK for step in range(len(self._places))]
        for (_, listener), address in zip(self._places, addresses, strict=True):
            try:
                await listener.start(address, port)
            except OSError as fault:
                if not port:
                    raise
                advice = f"{advice_of(fault)}; {NO_ROOT}"
                raise SetupError(f"cannot listen on {address}:{port}", advice) from fault
            stack.push_async_callback(listener.stop)
        if port:
            self._addresses = addresses

    def lines(self) -> list[HostLine]:
        """What a hosts file has to say, if anything; it cannot say names with a `*`."""
        return [
            HostLine(address, name, place.vendors)
            for (place, _), address in zip(self._places, self._addresses, strict=False)
            for name in place.names
            if not name.startswith("*.")
        ]

    def find(self, name: str) -> tuple[str, int] | None:
        """Where the server of this host name listens; None for every other name."""
        name = name.lower().rstrip(".")
        listener = self._found.get(name) or self._found.get(with_star(name))
        return None if listener is None else listener.address

    def drop_connections(self, vendor: str) -> int:
        """Drop the connections to places where this vendor is served."""
        return sum(
            listener.drop_connections()
            for place, listener in self._places
            if vendor in place.vendors
        )


class _Shared:
    """The counter of a place: hands each request to the vendor that its path means."""

    def __init__(self, desks: Mapping[str, Serve]) -> None:
        self._desks = desks
        self._main = next((name for name in desks if name not in PATHS), next(iter(desks)))

    def __call__(self, call: Call) -> Reply:
        for vendor, paths in PATHS.items():
            if vendor in self._desks and call.path.startswith(paths):
                return self._desks[vendor](call)
        return self._desks[self._main](call)


async def listen_on(port: int, start: Awaitable[None]) -> None:
    """Await what opens a port of 127.0.0.1. Raises `SetupError` where it cannot be had."""
    try:
        await start
    except OSError as fault:
        raise SetupError(f"cannot listen on {LOOPBACK}:{port}", advice_of(fault)) from fault


def advice_of(fault: OSError) -> str:
    """What to do about an address that cannot be listened on."""
    return ADVICE.get(fault.errno or 0, fault.strerror or str(fault))
