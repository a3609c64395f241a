"""Accepts connections, and counts each one before a byte is read.

The event loop's own server accepts without a limit, counts no TLS handshake, and logs a traceback
each second while no descriptor is left.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial

from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import ConnectionPlace, Connections

ACCEPTS_AT_ONCE = 64
"""Connections accepted before the loop may do something else."""
STARVED_S = 1.0
"""Seconds without accepting after no descriptor was left."""
STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

CreateProtocol = Callable[[ConnectionPlace], asyncio.Protocol]


class ConnectionListener:
    """One listening socket, with those methods of an asyncio server that uvicorn calls."""

    def __init__(
        self,
        listening: socket.socket,
        create_protocol: CreateProtocol,
        connections: Connections,
        bounds: Bounds,
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """`context` is called per connection, so that a renewed certificate is used at once."""
        self._socket = listening
        self._create_protocol = create_protocol
        self._connections = connections
        self._bounds = bounds
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._accepted: dict[ConnectionPlace, socket.socket] = {}
        """Connections whose task has not begun: if the task is cancelled, `_opened` closes them."""
        self._is_open = True
        listening.settimeout(0)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more. May be called again."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket)
            self._socket.close()
            for task in self._opening:
                task.cancel()

    async def wait_closed(self) -> None:
        """Return once no handshake is under way."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as fault:
                if fault.errno not in STARVED:
                    raise
                self._connections.closed("files")
                self._loop.remove_reader(self._socket)
                self._loop.call_later(STARVED_S, self._accept_again)
                return
            place = self._connections.admit(peer[0] if isinstance(peer, tuple) else "")
            if place is None:
                connection.close()
                continue
            connection.settimeout(0)
            self._accepted[place] = connection
            task = self._loop.create_task(self._open(place))
            self._opening.add(task)
            place.wait(task.cancel)
            task.add_done_callback(partial(self._opened, place))

    def _accept_again(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._socket, self._accept)

    def _opened(self, place: ConnectionPlace, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        connection = self._accepted.pop(place, None)
        if connection is not None:
            connection.close()
            place.leave()

    async def _open(self, place: ConnectionPlace) -> None:
        connection = self._accepted.pop(place)
        context = self._context()
        limits = {}
        if context is not None:
            # By default a client that does not answer the TLS shutdown is waited for 30 s.
            limits = {
                "ssl_handshake_timeout": self._bounds.head_s,
                "ssl_shutdown_timeout": self._bounds.linger_s,
            }
        is_open = False
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._create_protocol(place), connection, ssl=context, **limits
            )
            is_open = True
        except (OSError, TimeoutError):
            # The client speaks no TLS, agrees to no version, is too slow, or has left.
            self._connections.closed("handshake")
        finally:
            if not is_open:
                place.leave()
