"""A WebSocket connection: uvicorn's, which gives its place back when it is closed."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tocsin.http_server.connections import Place


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection after its handshake."""

    _place: Place | None = None

    def take(self, place: Place) -> None:
        """From now on the place is this protocol's to give back."""
        self._place = place
        place.work()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._place is not None:
            self._place.leave()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # No handshake that the library takes: there is nobody to send a close frame to.
            self.transport.close()
        else:
            super().handle_parser_exception()
