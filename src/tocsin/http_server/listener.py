"""Accepts connections itself, because a server that is full has to know before it reads a byte.

The event loop's own server accepts without asking, counts no TLS handshake, and answers a lack of
descriptors with a traceback a second.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial

from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import Connections, Place

ACCEPTS_AT_ONCE = 64
"""Connections taken before the loop may do something else."""
STARVED_S = 1.0
"""How long nothing is accepted once no descriptor was left."""
STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

CreateProtocol = Callable[[Place], asyncio.Protocol]


class Listener:
    """One listening socket. It has the verbs of an asyncio server that uvicorn uses."""

    def __init__(
        self,
        listening: socket.socket,
        create_protocol: CreateProtocol,
        connections: Connections,
        bounds: Bounds,
        context: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """`context` is asked for each connection, so that a renewed certificate is used at once."""
        self._socket = listening
        self._create_protocol = create_protocol
        self._connections = connections
        self._bounds = bounds
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._accepted: dict[Place, socket.socket] = {}
        """Those whose task has not begun: nobody else closes them if it is cancelled."""
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

    def _opened(self, place: Place, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        connection = self._accepted.pop(place, None)
        if connection is not None:
            connection.close()
            place.leave()

    async def _open(self, place: Place) -> None:
        connection = self._accepted.pop(place)
        context = self._context()
        limits = {}
        if context is not None:
            # Whoever does not answer our farewell would be waited for half a minute.
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
            # No TLS, no agreement, or no answer in time; or it left.
            self._connections.closed("handshake")
        finally:
            if not is_open:
                place.leave()
