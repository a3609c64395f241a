"""The one application that the server is given: which door a request came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.api import pages
from tocsin.api.app import RestApi
from tocsin.api.paths import routed_path

ONLINE = "/v4/online"

Ready = Callable[[], Awaitable[str]]
"""What the service still waits for; empty when it can serve."""


class Doors:
    """`/v4/online` is the online channel's, the rest of `/v4/` the REST API's, all else pages."""

    def __init__(self, rest: RestApi, rooms: Starlette, online: ASGIApp | None = None) -> None:
        self._rest = rest
        self._rooms = rooms
        self._online = online

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = routed_path(scope)
        if self._online is not None and path == ONLINE:
            await self._online(scope, receive, send)
        elif scope["type"] == "http" and (path.startswith("/v4/") or path == "/v4"):
            scope["path"] = path
            await self._rest(scope, receive, send)
        else:
            await self._rooms(scope, receive, send)


def create_rooms(ready: Ready, routes: Sequence[BaseRoute]) -> Starlette:
    """Everything that is not under `/v4/`: health, and the given routes."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = await ready()
        return PlainTextResponse(f"{missing or 'ok'}\n", 503 if missing else 200)

    own = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    return pages.create([*own, *routes])
