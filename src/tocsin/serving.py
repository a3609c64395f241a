"""The servers behind the doors: where they listen, and what uvicorn is told.

The public door may speak TLS; the private one is a Unix socket in the data folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from tocsin.api.doors import Doors
from tocsin.config import Config
from tocsin.errors import SetupError
from tocsin.online.frames import FRAME_MAX_BYTES

SOCKET_NAME = "admin.sock"
METRICS_CALLERS_MAX = 16
METRICS_IDLE_S = 75


class Server(uvicorn.Server):
    """uvicorn that says when it listens and leaves signals to whoever started it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_open = asyncio.Event()
        # uvicorn makes it only at its start, which may fail.
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def refuse(self) -> None:
        """Take no more connections; those that are open stay."""
        for listening in self.servers:
            listening.close()

    def finish(self, patience_s: float) -> None:
        """End once the calls under way are answered, and without them after `patience_s`."""
        # uvicorn hands it to `asyncio.wait_for`, which takes fractions.
        self.config.timeout_graceful_shutdown = patience_s  # type: ignore[assignment]
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_open.set()


def public_server(doors: Doors, config: Config) -> uvicorn.Config:
    server = config.server
    settings = uvicorn.Config(
        doors,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=FRAME_MAX_BYTES,
        ws_ping_interval=None,
        # Compression would keep its windows, 50 KB and more, for every idle connection.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        # Query strings carry UserSigs: the server's own access log stays off.
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=list(server.trusted_proxies),
        timeout_keep_alive=server.keep_alive_s,
        ssl_certfile=server.tls_cert or None,
        ssl_keyfile=server.tls_key or None,
    )
    try:
        settings.load()
    except OSError as fault:
        raise SetupError(
            f"the TLS certificate {server.tls_cert} cannot be used: {fault.strerror or fault}",
            "name a PEM chain and its own key; `tocsin tls self-signed` makes both",
        ) from fault
    return settings


def private_server(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )


def metrics_server(app: Any) -> uvicorn.Config:
    """Plain HTTP for few callers: a scraper or two."""
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=METRICS_CALLERS_MAX,
        timeout_keep_alive=METRICS_IDLE_S,
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
