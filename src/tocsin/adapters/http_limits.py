"""Bounds of outgoing HTTP, and which proxy it goes through."""

from __future__ import annotations

import math

from msgspec import Struct

from tocsin.domain.proxy import Bypass, Proxy


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
    quiet_max_s: float = 10.0
    """Seconds of silence with HTTP/2 requests under way after which a PING asks for a sign of life;
    after as many more without one the connection ends."""
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
