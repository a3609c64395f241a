"""Listens: the sockets of the public address, the metrics and the operator, and their servers.

The public server may speak TLS; the operator's socket is a Unix socket in the data folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from tocsin.config import DEFAULT_METRICS, Config
from tocsin.domain.allowed import place_of
from tocsin.errors import SetupError
from tocsin.http_server.connections import Connections
from tocsin.http_server.descriptors import DEVICES_MAX, FilePlan, plan_files, raise_limit
from tocsin.http_server.forwarded import ForwardedClients, proxy_check
from tocsin.http_server.server import HttpServer
from tocsin.http_server.web_socket import WebSocketProtocol
from tocsin.log import Logger, get_logger
from tocsin.metrics import Metrics
from tocsin.online.frames import FRAME_MAX_BYTES
from tocsin.online.socket import PATH
from tocsin.service.tls import unusable

LISTEN_ADVICE = {
    errno.EADDRINUSE: "another --port, or 0 for any free one",
    errno.EACCES: "a --port above 1023, or 0 for any free one",
}
METRICS_ADVICE = "metrics.listen names an address of this machine and a free port, or is empty"
ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - named by the operator
TRIES = 20
"""Free ports that are tried until one is free on every address."""
SOCKET_NAME = "admin.sock"
METRICS_CALLERS_MAX = 16
METRICS_IDLE_S = 75


def listen(config: Config) -> list[socket.socket]:
    """Sockets that listen, one for each address, all on one port; port 0 takes a free one.

    Raises `SetupError` if an address cannot be used; then no socket is open.
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
    """The socket of the metrics; None where metrics are not served.

    Where the default address is in use, the service logs a warning and runs without metrics, so
    that a second service can run on the machine. Where the operator named the address, the fault
    is a `SetupError`.
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
    """The base URLs of the public port, one for each address."""
    scheme = "https" if config.server.tls_cert else "http"
    return [f"{scheme}://{place(*each.getsockname()[:2])}" for each in sockets]


def place(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Busy(Exception):
    """One of the addresses cannot be used."""

    def __init__(self, host: str, fault: OSError) -> None:
        super().__init__(host)
        self.host = host
        self.fault = fault


def _addresses(hosts: Sequence[str]) -> list[str]:
    """The addresses to listen on. `::` alone means every address of the machine, IPv4 too.

    IPv4 gets a socket of its own, so that the lock-out and `server.trusted_proxies` see a caller's
    IPv4 address and not the same address mapped into IPv6.
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
    # An answer is written in two parts. Without this option the second part waits 40 ms for the
    # caller's ack of the first. Accepted connections inherit the option.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def plan_connections(config: Config) -> FilePlan:
    """Raises this process's limit of open files, and divides it among the kinds of connections.

    Raises `SetupError` if the limit does not suffice for `devices.connections_max`.
    """
    return plan_files(
        raise_limit(),
        devices_max=config.devices.connections_max,
        vendor_connections=config.http.connections,
    )


def log_plan(config: Config, plan: FilePlan, log: Logger) -> None:
    """Logs that open files allow fewer devices than `DEVICES_MAX`, if they do."""
    if not config.devices.connections_max and plan.devices_max < DEVICES_MAX:
        log.info(
            "open files decide how many devices may be connected",
            connections_max=plan.devices_max,
            open_files=plan.limit,
            advice="raise the hard limit (ulimit -Hn, LimitNOFILE=) for more",
        )


def public_server(app: Any, config: Config, plan: FilePlan, metrics: Metrics) -> HttpServer:
    """The server of calls and devices. Raises `SetupError` if its certificate cannot be used."""
    server = config.server
    connections = Connections(
        plan.places,
        metrics=metrics,
        per_network_max=server.connections_per_address_max or max(1, plan.devices_max // 4),
        is_proxy=proxy_check(server.trusted_proxies),
    )
    settings = uvicorn.Config(
        ForwardedClients(app, connections, server.trusted_proxies),
        http="httptools",
        ws=WebSocketProtocol,
        ws_max_size=FRAME_MAX_BYTES,
        ws_ping_interval=None,
        # Compression would keep its windows, 50 KB and more, for every idle connection.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        # Query strings carry UserSigs, so the server's own access log stays off.
        access_log=False,
        server_header=False,
        # `ForwardedClients` reads those headers, because it also counts connections.
        proxy_headers=False,
        timeout_keep_alive=server.keep_alive_s,
        ssl_certfile=server.tls_cert or None,
        ssl_keyfile=server.tls_key or None,
    )
    try:
        settings.load()
    except OSError as fault:
        raise unusable(Path(server.tls_cert), fault) from fault
    return HttpServer(settings, connections, socket_paths=frozenset((PATH.encode(),)))


def private_server(app: Any) -> HttpServer:
    """The server of the operator's socket, with the bounds of the public server."""
    return HttpServer(_plain(app))


def metrics_server(app: Any) -> HttpServer:
    """The server of the metrics: plain HTTP for a few scrapers."""
    return HttpServer(
        _plain(app, timeout_keep_alive=METRICS_IDLE_S), Connections(METRICS_CALLERS_MAX)
    )


def _plain(app: Any, **more: Any) -> uvicorn.Config:
    """Settings of a server without WebSockets, TLS and forwarded addresses."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **more,
    )


@contextlib.contextmanager
def admin_socket(folder: Path) -> Iterator[socket.socket]:
    """The operator's socket, which only its owner may open: whoever opens it is the operator."""
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        former = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError as fault:
            raise SetupError(
                f"cannot listen on {path}: {fault.strerror or fault}",
                "use a data folder on a local disk, with a path shorter than 100 characters",
            ) from fault
        finally:
            os.umask(former)
        listening.listen(64)
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)
