"""Counts open connections, so that no client and no number of clients uses up the open files.

When all places are taken, whoever keeps us waiting gives up a place: first the connection that has
not sent a whole request for the longest time, then the one that has been idle between two. Only
when every connection is at work does a new one get no place; it may then ask for health, nothing
else.
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
"""A flood is one line in the log a minute, with a number."""
NOTICE_GATHER_S = 0.5
"""The first line waits so long, for a number that says something."""
HEALTH_PLACES = 32
"""Connections beyond all places that may ask for health."""
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


class Place:
    """What one connection takes up."""

    __slots__ = ("_connections", "_is_open", "is_cramped", "is_proven", "network")

    def __init__(
        self, connections: Connections, network: str = "", *, is_cramped: bool = False
    ) -> None:
        self._connections = connections
        self._is_open = True
        self.network = network
        self.is_cramped = is_cramped
        """It is beyond the places: only health is answered."""
        self.is_proven = False
        """A request of it was answered; it is closed after those of which none was."""

    def wait(self, abort: Abort) -> None:
        """Its client is to send something; `abort` closes it when its place is needed."""
        if self._is_open:
            self._connections.wait(self, abort)

    def work(self) -> None:
        """We are to do something for it."""
        self._connections.work(self)

    def leave(self) -> None:
        """It is closed. May be called again."""
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
        self._strangers: dict[Place, Abort] = {}
        self._idle: dict[Place, Abort] = {}
        self._cramped: dict[Place, Abort] = {}
        self._networks: Counter[str] = Counter()
        self._untold: Counter[Reason] = Counter()
        self._is_telling = False
        self._told_at = -NOTICE_EVERY_S
        self._log = get_logger(__name__)
        for reason in get_args(Reason):
            self._count(reason, 0)

    @property
    def count(self) -> int:
        """Connections that are open now."""
        return self._open

    def admit(self, host: str) -> Place | None:
        """A place for a connection from `host`, or None: then it is to be closed at once."""
        network = "" if self._is_proxy(host) else client_of(host)
        if not self.enter(network):
            return None
        place = Place(self, network)
        if self._open >= self.places and not self._evict(self._strangers, self._idle):
            place.is_cramped = True
            if len(self._cramped) >= HEALTH_PLACES:
                self._evict(self._cramped)
            self._cramped[place] = _nothing
        self._change(1)
        return place

    def enter(self, network: str) -> bool:
        """Count one more of a client address; False, and not counted, if it has its share."""
        if not network:
            return True
        if self._per_network_max and self._networks[network] >= self._per_network_max:
            self.closed("address")
            return False
        self._networks[network] += 1
        return True

    def exit(self, network: str) -> None:
        """One less of a client address."""
        if network:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    def wait(self, place: Place, abort: Abort) -> None:
        """See `Place.wait`."""
        if place.is_cramped:
            self._cramped[place] = abort
        elif place.is_proven:
            self._idle[place] = abort
        else:
            self._strangers[place] = abort

    def work(self, place: Place) -> None:
        """See `Place.work`."""
        self._strangers.pop(place, None)
        self._idle.pop(place, None)

    def leave(self, place: Place) -> None:
        """See `Place.leave`."""
        self.work(place)
        self._cramped.pop(place, None)
        self.exit(place.network)
        self._change(-1)

    def closed(self, reason: Reason) -> None:
        """A connection is closed for a reason of ours: counted, and told if it is of scarcity."""
        self._count(reason, 1)
        if reason not in ("files", "busy", "address"):
            return
        self._untold[reason] += 1
        if not self._is_telling:
            self._is_telling = True
            since_s = asyncio.get_running_loop().time() - self._told_at
            later = self._call_later or asyncio.get_running_loop().call_later
            later(max(NOTICE_GATHER_S, NOTICE_EVERY_S - since_s), self._tell)

    def _tell(self) -> None:
        self._is_telling = False
        self._told_at = asyncio.get_running_loop().time()
        scarce = self._untold.pop("files", 0) + self._untold.pop("busy", 0)
        if scarce:
            self._log.warning(
                "connections were closed: open files are at their limit",
                closed=scarce,
                connections=self._open,
                places=self.places,
                advice=FILES_ADVICE,
            )
        if crowded := self._untold.pop("address", 0):
            self._log.warning(
                "connections were refused: one client address has too many",
                closed=crowded,
                per_address_max=self._per_network_max,
                advice=ADDRESS_ADVICE,
            )

    def _evict(self, *kinds: dict[Place, Abort]) -> bool:
        """Close the one that waits longest of the first kind that has any."""
        for waiting in kinds:
            if waiting:
                place = next(iter(waiting))
                abort = waiting[place]
                # Its place is free now; the transport says that it is closed later.
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
    """What counts as one client address, as the lock-out counts it (`network_of`).

    Empty for what is never limited: this machine, and what is no address.
    """
    network = network_of(host)
    try:
        is_limited = not (ip_address(host).is_loopback or ip_network(network).is_loopback)
    except ValueError:
        is_limited = False
    return network if is_limited else ""


def _nothing() -> None:
    """Nobody to abort yet."""
