"""The WebSocket at `/v4/online`: an ASGI callable between the HTTP server and the hub.

The URL has no parameters: the device identifies itself in its hello, so no query string can leak
its proofs. In the HTTP server keep-alive pings must be off (the sessions send their own),
compression off (each connection would keep its windows), and frames limited to `FRAME_MAX_BYTES`.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from tocsin.online.hub import Hub, OnlineConnection
from tocsin.online.outbox import Outbox
from tocsin.online.session import FULL

PATH = "/v4/online"


class OnlineSocket:
    """Serves one WebSocket in each call."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        if first["type"] != "websocket.connect":
            return
        try:
            await send({"type": "websocket.accept"})
            if self._hub.is_full:
                await send({"type": "websocket.close", "code": FULL.code, "reason": FULL.reason})
                return
        except OSError:
            # The client left during the handshake.
            return
        outbox = Outbox(send, lambda: _cut(receive), self._hub.settings.queued_bytes_max)
        client = scope.get("client")
        connection = self._hub.open(outbox, client[0] if client else "")
        try:
            await self._read(connection, receive)
        finally:
            self._hub.gone(connection)
        await outbox.flushed()

    async def _read(self, connection: OnlineConnection, receive: Receive) -> None:
        while connection.is_open:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("text")
            if data is None:
                data = message.get("bytes") or b""
            await self._hub.take(connection, data)


def _cut(receive: Receive) -> None:
    """Abort a connection whose client does not read.

    A close frame would wait behind the unread bytes for as long as the client likes. ASGI has no
    message for an abort; but `receive` of our server is a method of its protocol, which has the
    transport. With another server, the end of the task closes the socket.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
