"""Sockets to listen on: one or several addresses, IPv4 and IPv6 together."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from tocsin.config import DEFAULT_METRICS, Config
from tocsin.domain.allowed import place_of
from tocsin.errors import SetupError
from tocsin.log import get_logger

LISTEN_ADVICE = {
    errno.EADDRINUSE: "another --port, or 0 for any free one",
    errno.EACCES: "a --port above 1023, or 0 for any free one",
}
METRICS_ADVICE = "metrics.listen names an address of this machine and a free port, or is empty"
ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - named by the operator
TRIES = 20
"""Free ports that are tried, where several addresses shall have the same one."""


def listen(config: Config) -> list[socket.socket]:
    """Listening sockets, one an address, all on one port; port 0 takes a free one.

    Raises `SetupError` if one cannot be had; none is open then.
    """
    server = config.server
    hosts = _addresses(server.host)
    for left in reversed(range(TRIES)):
        try:
            return _listen_all(hosts, server.port)
        except _Busy as busy:
            if server.port or not left or len(hosts) == 1:
                fault = busy.fault
                raise SetupError(
                    f"cannot listen on {place(busy.host, server.port)}: {fault.strerror or fault}",
                    LISTEN_ADVICE.get(fault.errno or 0, "a --host that this machine has"),
                ) from fault
    raise AssertionError


def listen_for_metrics(config: Config) -> socket.socket | None:
    """The socket of the metrics; None where they are switched off.

    The default address is not insisted on: a second service on the machine goes on without its
    metrics, and says so. An address that the operator named is had, or `SetupError` is raised.
    """
    if not config.metrics.listen:
        return None
    host, port = place_of(config.metrics.listen)
    try:
        return _listen(host, port)
    except OSError as fault:
        what = f"cannot listen on {config.metrics.listen} for metrics: {fault.strerror or fault}"
        if config.metrics.listen != DEFAULT_METRICS:
            raise SetupError(what, METRICS_ADVICE) from fault
        get_logger(__name__).warning("metrics are not served", why=what, advice=METRICS_ADVICE)
        return None


def urls_of(config: Config, sockets: Sequence[socket.socket]) -> list[str]:
    """The base URLs of the public port, one an address."""
    scheme = "https" if config.server.tls_cert else "http"
    return [f"{scheme}://{place(*it.getsockname()[:2])}" for it in sockets]


def place(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Busy(Exception):
    """One of several addresses cannot be had."""

    def __init__(self, host: str, fault: OSError) -> None:
        super().__init__(host)
        self.host = host
        self.fault = fault


def _addresses(hosts: Sequence[str]) -> list[str]:
    """The addresses to listen on. `::` alone means every address of the machine, IPv4 too.

    IPv4 has a socket of its own there, so that callers are known by their IPv4 address, to the
    lock-out and to `server.trusted_proxies`, and not by one mapped into IPv6.
    """
    is_any = ANY_IPV6 in hosts and all(":" in host for host in hosts)
    return [*hosts, ANY_IPV4] if is_any else list(hosts)


def _listen_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for host in hosts:
            try:
                sockets.append(stack.enter_context(_listen(host, port)))
            except OSError as fault:
                raise _Busy(host, fault) from fault
            port = sockets[0].getsockname()[1]
        stack.pop_all()
        return sockets


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    # An answer is written in two parts; without this the second waits for the caller's ack of the
    # first, 40 ms. Accepted connections inherit it.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
