"""Counts requests that come through a proxy by the client address that the proxy names.

A proxy's own connections are not limited as those of one client. So each request and each WebSocket
is counted for its client while it lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tocsin.http_server.connections import Connections, client_of

PEER = "tocsin.peer"
TRY_LATER = {"type": "websocket.close", "code": 1013, "reason": "try again later"}
TEXT = b"Too many connections from this address.\n"


def proxy_check(proxies: Sequence[str]) -> Callable[[str], bool]:
    """A check whether an address is one of these proxies or networks."""

    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None: ...

    return ProxyHeadersMiddleware(nothing, list(proxies)).trusted_hosts.__contains__


class ForwardedClients:
    """Wraps an ASGI application, so that `scope["client"]` is the client and not the proxy."""

    def __init__(self, app: ASGIApp, connections: Connections, proxies: Sequence[str]) -> None:
        self._app = app
        self._connections = connections
        # uvicorn's types of ASGI name each message, Starlette's none.
        counted: Any = self._counted
        self._proxied: Any = ProxyHeadersMiddleware(counted, list(proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = scope.get("client")
        await self._proxied(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client is None or client == scope[PEER]:
            await self._app(scope, receive, send)
            return
        network = client_of(client[0])
        if not self._connections.enter(network):
            await _refuse(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._connections.exit(network)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send(TRY_LATER)
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(TEXT))]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": TEXT})
