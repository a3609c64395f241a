"""The one application that the public server is given: routes a request by its path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.api import pages
from tocsin.api.http import route, send_json
from tocsin.api.paths import routed_path
from tocsin.api.rest import RestApi
from tocsin.api.wire import Answer, refusal
from tocsin.errors import CallError
from tocsin.online.socket import PATH

Ready = Callable[[], Awaitable[str]]
"""What readiness still waits for; empty when the service can serve."""


class Router:
    """Routes `/v4/online` to the online channel, the rest of `/v4/` to the REST API, else pages."""

    def __init__(self, rest: RestApi, pages: Starlette, online: ASGIApp | None = None) -> None:
        """`online` takes WebSockets; without it there is no online channel."""
        self._rest = rest
        self._pages = pages
        self._online = online

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = routed_path(scope)
        if self._online is not None and path == PATH:
            if scope["type"] == "websocket":
                await self._online(scope, receive, send)
            else:
                await send_json(send, refusal(Answer, CallError(60002, "connect a WebSocket here")))
        elif scope["type"] == "http" and (path.startswith("/v4/") or path == "/v4"):
            scope["path"] = path
            await self._rest(scope, receive, send)
        else:
            await self._pages(scope, receive, send)


def create_pages(ready: Ready, routes: Sequence[BaseRoute]) -> Starlette:
    """The pages that do not lie under `/v4/`: health, and the given routes."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = await ready()
        return PlainTextResponse(f"{missing or 'ok'}\n", 503 if missing else 200)

    return pages.create([route("/healthz", healthz), route("/readyz", readyz), *routes])
