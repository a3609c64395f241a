"""Divides the process's limit of open files among connections, vendors and its own files."""

from __future__ import annotations

import resource

from msgspec import Struct

from tocsin.errors import SetupError
from tocsin.http_server.connections import HEALTH_PLACES

DEVICES_MAX = 100_000
"""Devices connected at once where no setting says otherwise."""
OWN_FILES = 128
"""Database, index, log, listening sockets, and the scrapers of the metrics."""
OPERATOR_PLACES = 64
"""Connections to the operator's socket."""
VENDORS = 8
"""Vendors that the calculation takes to have all their connections open at once."""
CALLS = 128
"""Connections left for API calls when every device is connected."""
SOFT_MAX = 1 << 20


class FilePlan(Struct, frozen=True, kw_only=True):
    """How many open files the parts of the process may use."""

    limit: int
    places: int
    """Connections to the public server, devices and calls together."""
    devices_max: int
    """Devices connected at once."""


def raise_limit() -> int:
    """Raise this process's limit of open files as far as allowed; answers the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOFT_MAX if hard == resource.RLIM_INFINITY else min(hard, SOFT_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # Some systems have a lower bound that they do not report.
            return soft
        return wanted
    return SOFT_MAX if soft == resource.RLIM_INFINITY else soft


def plan_files(limit: int, *, devices_max: int, vendor_connections: int) -> FilePlan:
    """Divide `limit` open files; `devices_max` 0 takes all that are left, at most `DEVICES_MAX`.

    Raises `SetupError` if so many devices cannot be connected at once.
    """
    reserve = OWN_FILES + OPERATOR_PLACES + HEALTH_PLACES + VENDORS * vendor_connections
    # With very few files the service still serves: vendors then wait for a connection.
    places = limit - min(reserve, limit // 2)
    available = max(1, places - min(CALLS, places // 4))
    if devices_max > available:
        needed = devices_max + CALLS + reserve
        raise SetupError(
            f"devices.connections_max is {devices_max}; that takes {needed} open files, and this "
            f"process may have {limit}",
            f"ulimit -n {needed} before the start (LimitNOFILE={needed} in a systemd unit, "
            f"--ulimit nofile={needed} for a container), or devices.connections_max = 0, which "
            f"takes what there is: {min(available, DEVICES_MAX)}",
        )
    return FilePlan(
        limit=limit, places=places, devices_max=devices_max or min(available, DEVICES_MAX)
    )
