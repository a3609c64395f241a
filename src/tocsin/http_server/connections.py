"""Counts open connections, so that clients cannot use up the process's open files.

When all places are taken, a new connection takes the place of a waiting one: first of the one that
has not sent a whole request for the longest time, then of the one that is idle between two
requests. Where every connection is working, a new one gets no place and may only check health.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import get_args

from tocsin.domain.bounded import network_of
from tocsin.http_server.bounds import Reason
from tocsin.log import get_logger
from tocsin.metrics import Metrics

NOTICE_EVERY_S = 60.0
"""The log gets one line a minute, with the number of closed connections."""
NOTICE_GATHER_S = 0.5
"""The first line waits so long, so that its number counts more than one connection."""
HEALTH_PLACES = 32
"""Connections beyond all places that may check health."""
FILES_ADVICE = (
    "raise the limit of open files (ulimit -n, LimitNOFILE= in a systemd unit) if these were "
    "clients of yours; `tocsin_connections_closed_total` counts them"
)
ADDRESS_ADVICE = (
    "raise server.connections_per_address_max if many devices share this address; name a proxy "
    "in server.trusted_proxies"
)

Abort = Callable[[], object]
CallLater = Callable[[float, Callable[[], None]], object]


class ConnectionPlace:
    """The place of one connection."""

    __slots__ = ("_connections", "_is_open", "is_cramped", "is_proven", "network")

    def __init__(
        self, connections: Connections, network: str = "", *, is_cramped: bool = False
    ) -> None:
        self._connections = connections
        self._is_open = True
        self.network = network
        self.is_cramped = is_cramped
        """The connection is beyond the places: only health checks are answered."""
        self.is_proven = False
        """A request of this connection was answered; unproven connections are closed first."""

    def wait(self, abort: Abort) -> None:
        """The client has to send bytes; `abort` closes the connection when its place is needed."""
        if self._is_open:
            self._connections.wait(self, abort)

    def work(self) -> None:
        """The server has to do something for the client."""
        self._connections.work(self)

    def leave(self) -> None:
        """The connection is closed. May be called again."""
        if self._is_open:
            self._is_open = False
            self._connections.leave(self)


class Connections:
    """The places of one server."""

    def __init__(
        self,
        places: int,
        *,
        metrics: Metrics | None = None,
        per_network_max: int = 0,
        is_proxy: Callable[[str], bool] = lambda _: False,
        call_later: CallLater | None = None,
    ) -> None:
        """`per_network_max` bounds the connections of one client address; 0 does not.

        Connections of a proxy are not counted by its own address: `is_proxy`.
        """
        self.places = places
        self._metrics = metrics
        self._per_network_max = per_network_max
        self._is_proxy = is_proxy
        self._call_later = call_later
        self._open = 0
        self._strangers: dict[ConnectionPlace, Abort] = {}
        self._idle: dict[ConnectionPlace, Abort] = {}
        self._cramped: dict[ConnectionPlace, Abort] = {}
        self._networks: Counter[str] = Counter()
        self._unlogged: Counter[Reason] = Counter()
        self._is_log_due = False
        self._logged_at = -NOTICE_EVERY_S
        self._log = get_logger(__name__)
        for reason in get_args(Reason):
            self._count(reason, 0)

    @property
    def count(self) -> int:
        """Connections that are open now."""
        return self._open

    def admit(self, host: str) -> ConnectionPlace | None:
        """A place for a connection from `host`; None: close the connection at once."""
        network = "" if self._is_proxy(host) else client_of(host)
        if not self.enter(network):
            return None
        place = ConnectionPlace(self, network)
        if self._open >= self.places and not self._evict(self._strangers, self._idle):
            place.is_cramped = True
            if len(self._cramped) >= HEALTH_PLACES:
                self._evict(self._cramped)
            self._cramped[place] = _nothing
        self._change(1)
        return place

    def enter(self, network: str) -> bool:
        """Count one more connection of a client address; False if the address is at its limit."""
        if not network:
            return True
        if self._per_network_max and self._networks[network] >= self._per_network_max:
            self.closed("address")
            return False
        self._networks[network] += 1
        return True

    def exit(self, network: str) -> None:
        """Count one connection less of a client address."""
        if network:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    def wait(self, place: ConnectionPlace, abort: Abort) -> None:
        """See `ConnectionPlace.wait`."""
        if place.is_cramped:
            self._cramped[place] = abort
        elif place.is_proven:
            self._idle[place] = abort
        else:
            self._strangers[place] = abort

    def work(self, place: ConnectionPlace) -> None:
        """See `ConnectionPlace.work`."""
        self._strangers.pop(place, None)
        self._idle.pop(place, None)

    def leave(self, place: ConnectionPlace) -> None:
        """See `ConnectionPlace.leave`."""
        self.work(place)
        self._cramped.pop(place, None)
        self.exit(place.network)
        self._change(-1)

    def closed(self, reason: Reason) -> None:
        """Count a connection that the server closed, and log it if places or files are scarce."""
        self._count(reason, 1)
        if reason not in ("files", "busy", "address"):
            return
        self._unlogged[reason] += 1
        if not self._is_log_due:
            self._is_log_due = True
            since_s = asyncio.get_running_loop().time() - self._logged_at
            later = self._call_later or asyncio.get_running_loop().call_later
            later(max(NOTICE_GATHER_S, NOTICE_EVERY_S - since_s), self._log_closed)

    def _log_closed(self) -> None:
        self._is_log_due = False
        self._logged_at = asyncio.get_running_loop().time()
        scarce = self._unlogged.pop("files", 0) + self._unlogged.pop("busy", 0)
        if scarce:
            self._log.warning(
                "connections were closed: open files are at their limit",
                closed=scarce,
                connections=self._open,
                places=self.places,
                advice=FILES_ADVICE,
            )
        if crowded := self._unlogged.pop("address", 0):
            self._log.warning(
                "connections were refused: one client address has too many",
                closed=crowded,
                per_address_max=self._per_network_max,
                advice=ADDRESS_ADVICE,
            )

    def _evict(self, *kinds: dict[ConnectionPlace, Abort]) -> bool:
        """Close the longest waiting connection of the first kind that has one."""
        for waiting in kinds:
            if waiting:
                place = next(iter(waiting))
                abort = waiting[place]
                # Free the place now: the transport reports the close only later.
                place.leave()
                abort()
                self.closed("files")
                return True
        return False

    def _change(self, by: int) -> None:
        self._open += by
        if self._metrics is not None:
            self._metrics.set("connections", self._open)

    def _count(self, reason: Reason, number: int) -> None:
        if self._metrics is not None:
            self._metrics.count("connections_closed", number, reason=reason)


def client_of(host: str) -> str:
    """The network that counts as one client address, as for the lock-out (`network_of`).

    Empty where no limit applies: for this machine, and for a text that is no address.
    """
    network = network_of(host)
    try:
        is_limited = not (ip_address(host).is_loopback or ip_network(network).is_loopback)
    except ValueError:
        is_limited = False
    return network if is_limited else ""


def _nothing() -> None:
    """Aborts nothing: the connection has no transport yet."""
