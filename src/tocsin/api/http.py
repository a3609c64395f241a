"""The edge that all HTTP of `api/` shares: endpoints, bounded bodies, JSON, the caller's address.

The types of ASGI are Starlette's (`starlette.types`). The envelope stands in `wire.py`, the answers
to web pages of other origins in `cors.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tocsin.errors import CallError

JSON_TYPE = "application/json"
JSON = (b"content-type", JSON_TYPE.encode())

Header = tuple[bytes, bytes]

Endpoint = Callable[[Request], Awaitable[Any]]
"""Answers a body, which is sent as JSON with status 200, or a `Response`, which is sent unchanged.
Raises `CallError` to refuse."""

_encode = msgspec.json.Encoder().encode


def route(path: str, endpoint: Endpoint, *methods: str) -> Route:
    """A route to an endpoint; GET (and HEAD) where no methods are named."""

    async def respond(request: Request) -> Response:
        answer = await endpoint(request)
        return answer if isinstance(answer, Response) else json_response(answer)

    return Route(path, respond, methods=list(methods) or None)


def check_content_length(scope: Scope, bytes_max: int) -> None:
    """Refuse a body that is announced too long before it is read; raises `CallError` 60002."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # Blanks around a value are not part of the value (RFC 9110, 5.5).
            length = value.strip()
            if not length.isdigit() or int(length[:20]) > bytes_max:
                raise CallError(60002)


async def receive_body(receive: Receive, bytes_max: int, info: str | None = None) -> bytes:
    """The body of a request.

    Raises `CallError` 60002, with this `info`, as soon as more than `bytes_max` bytes were read,
    and `ClientDisconnect` if the caller leaves before the body is complete.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise CallError(60002, info)
        if part:
            parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def client_address(scope: Scope) -> str:
    """The IP address that a request comes from; empty on a Unix socket."""
    client = scope.get("client")
    return client[0] if client else ""


def json_response(body: Any, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A JSON answer of a page."""
    response = Response(_encode(body), status, media_type=JSON_TYPE)
    response.raw_headers.extend(headers)
    return response


async def send_json(send: Send, body: Any, headers: Sequence[Header] = ()) -> None:
    """Send a JSON answer with status 200 without a `Response`, for the calls that must be fast."""
    encoded = _encode(body)
    length = (b"content-length", str(len(encoded)).encode())
    start = {"type": "http.response.start", "status": 200, "headers": [JSON, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": encoded})
