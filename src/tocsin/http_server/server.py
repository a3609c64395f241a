"""uvicorn's server with our own listeners and protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import ConnectionPlace, Connections
from tocsin.http_server.descriptors import OPERATOR_PLACES
from tocsin.http_server.listener import ConnectionListener
from tocsin.http_server.protocol import HttpProtocol


class HttpServer(uvicorn.Server):
    """Reports when it listens (`is_open`), and leaves signals to the process that runs it."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections | None = None,
        *,
        bounds: Bounds | None = None,
        socket_paths: frozenset[bytes] = frozenset(),
    ) -> None:
        """`socket_paths` are the URL paths where a WebSocket may be opened."""
        super().__init__(config)
        self.is_open = asyncio.Event()
        # uvicorn makes this list only at its start, which may fail.
        self.servers: list[Any] = []
        self._places = connections or Connections(OPERATOR_PLACES)
        self._bounds = bounds or Bounds()
        self._socket_paths = socket_paths

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def refuse(self) -> None:
        """Take no more connections; those that are open stay."""
        for listening in self.servers:
            listening.close()

    def finish(self, patience_s: float) -> None:
        """End once the calls under way are answered, and without them after `patience_s`."""
        # uvicorn passes the value to `asyncio.wait_for`, which takes fractions.
        self.config.timeout_graceful_shutdown = patience_s  # type: ignore[assignment]
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = [
            ConnectionListener(
                listening,
                self._create_protocol,
                self._places,
                self._bounds,
                lambda: self.config.ssl,
            )
            for listening in sockets or ()
        ]
        self.started = True
        self.is_open.set()

    def _create_protocol(self, place: ConnectionPlace) -> HttpProtocol:
        return HttpProtocol(
            self.config,
            self.server_state,
            place=place,
            connections=self._places,
            bounds=self._bounds,
            socket_paths=self._socket_paths,
        )
