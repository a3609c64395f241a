"""The servers behind the doors: where they listen, and what uvicorn is told.

The public door may speak TLS; the private one is a Unix socket in the data folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from tocsin.config import Config
from tocsin.errors import SetupError
from tocsin.http_server.connections import Connections
from tocsin.http_server.descriptors import DEVICES_MAX, FilePlan, plan_files, raise_limit
from tocsin.http_server.forwarded import ForwardedClients, proxy_check
from tocsin.http_server.server import HttpServer
from tocsin.http_server.web_socket import WebSocketProtocol
from tocsin.log import Logger
from tocsin.metrics import Metrics
from tocsin.online.frames import FRAME_MAX_BYTES
from tocsin.online.socket import PATH
from tocsin.service.tls import unusable

SOCKET_NAME = "admin.sock"
METRICS_CALLERS_MAX = 16
METRICS_IDLE_S = 75


def plan_connections(config: Config) -> FilePlan:
    """Raise this process's limit of open files, and divide it.

    Raises `SetupError` if it does not suffice for `devices.connections_max`.
    """
    return plan_files(
        raise_limit(),
        devices_max=config.devices.connections_max,
        vendor_connections=config.http.connections,
    )


def tell_plan(config: Config, plan: FilePlan, log: Logger) -> None:
    """Log when open files allow fewer devices than there might be."""
    if not config.devices.connections_max and plan.devices_max < DEVICES_MAX:
        log.info(
            "open files decide how many devices may be connected",
            connections_max=plan.devices_max,
            open_files=plan.limit,
            advice="raise the hard limit (ulimit -Hn, LimitNOFILE=) for more",
        )


def public_server(app: Any, config: Config, plan: FilePlan, metrics: Metrics) -> HttpServer:
    """The server of calls and devices. Raises `SetupError` if its certificate is of no use."""
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
        # Query strings carry UserSigs: the server's own access log stays off.
        access_log=False,
        server_header=False,
        # `ForwardedClients` does it, because it counts too.
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
    """The server of the operator's socket, bounded as the public one is."""
    return HttpServer(_plain(app))


def metrics_server(app: Any) -> HttpServer:
    """Plain HTTP for few callers: a scraper or two."""
    return HttpServer(
        _plain(app, timeout_keep_alive=METRICS_IDLE_S), Connections(METRICS_CALLERS_MAX)
    )


def _plain(app: Any, **more: Any) -> uvicorn.Config:
    """HTTP without WebSockets, for callers whose addresses do not matter."""
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
    """The operator's socket: whoever may open it is the operator, so only its owner may."""
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        former = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError as fault:
            raise SetupError(
                f"cannot listen on {path}: {fault.strerror or fault}",
                "a data folder of our own on a local disk, its path shorter than 100 characters",
            ) from fault
        finally:
            os.umask(former)
        listening.listen(64)
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)
