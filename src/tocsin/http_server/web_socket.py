"""uvicorn's WebSocket protocol, with limits for clients that read slowly or do not close.

A connection can lose its place to a newer one until the application has sent it a frame, and again
once it is being closed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import ConnectionPlace


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection after its handshake."""

    _place: ConnectionPlace | None = None
    _bounds = Bounds()
    _stalled: asyncio.TimerHandle | None = None
    _is_stranger = True

    def take(self, place: ConnectionPlace, bounds: Bounds) -> None:
        """Take over the connection's place from the HTTP protocol."""
        self._place, self._bounds = place, bounds
        self.close_timeout = bounds.close_s
        place.wait(self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_stalled()
        if self._place is not None:
            self._place.leave()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._bound_the_end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_stalled()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_stalled()

    def handle_ping(self) -> None:
        # The library has made the answer already. A client that does not read gets none: not every
        # ping has to be answered (RFC 6455, 5.5.3), and unread answers would fill our memory.
        answer = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(answer))

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # The library refused the handshake: no close frame can be sent.
            self.transport.close()
        else:
            super().handle_parser_exception()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.close":
            self._is_stranger = True
            if self._place is not None:
                self._place.wait(self.transport.abort)
            if self.close_timer is not None:
                self.close_timer.cancel()
                self.close_timer = self.loop.call_later(self.close_timeout, self._close)
        elif self._is_stranger and message["type"] == "websocket.send":
            # The application has accepted this client: the connection keeps its place.
            self._is_stranger = False
            if self._place is not None:
                self._place.work()

    def shutdown(self) -> None:
        if self.writable.is_set():
            super().shutdown()
            self._bound_the_end()
        else:
            # The client does not read: waiting for it would take the whole time of the stop.
            self.transport.abort()

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _bound_the_end(self) -> None:
        """Bound the life of a closed transport whose last bytes the client does not read."""
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._set_stalled()

    def _set_stalled(self) -> None:
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._bounds.answer_s, self.transport.abort)

    def _unset_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
