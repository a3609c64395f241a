"""The pages under `/v1/`: their application, JSON bodies, and refusals in the one envelope.

`/v1/` is ours and not Tencent's, so a refusal has the HTTP status that fits its code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from tocsin.api.http import json_response, receive_body
from tocsin.api.paths import DecodedParameters, routed_path
from tocsin.api.wire import Answer, refusal
from tocsin.errors import CallError, StoreError

BODY_MAX_BYTES = 1 << 20
NUMBER_MAX = 2**32 - 1
"""The largest number of an app, a credential, an account or a device."""

STATUSES = {
    60007: 429,
    60009: 404,
    60016: 403,
    70016: 403,
    70020: 404,
    70050: 429,
    70107: 404,
    90009: 403,
    90049: 404,
    91000: 503,
    800101: 401,
    800102: 429,
}
SIGNATURES = frozenset((70001, 70002, 70003, 70009, 70013, 70014, 70052))


def create(routes: Sequence[BaseRoute]) -> Starlette:
    """An application over these routes that answers every fault with the envelope."""
    for route in routes:
        if isinstance(route, Route):
            route.app = DecodedParameters(route.app)
    return _PageRouter(
        routes=routes,
        exception_handlers={
            CallError: _refuse,
            ClientDisconnect: _gone,
            StoreError: _store_failed,
            HTTPException: _no_page,
            Exception: _failed,
        },
    )


class _PageRouter(Starlette):
    """Matches paths before their encoded slashes are decoded."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__({**scope, "path": routed_path(scope)}, receive, send)


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body; an absent body is an empty object."""
    raw = await receive_body(request.receive, BODY_MAX_BYTES)
    try:
        body = msgspec.json.decode(raw) if raw else {}
    except (ValueError, RecursionError) as fault:
        raise CallError(90001) from fault
    if not isinstance(body, dict):
        raise CallError(90001)
    return body


def number(members: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number among the parameters, from 0 to `most`."""
    text = members.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most):
        raise CallError(70402, f"{name} must be 0 to {most}")
    return int(text)


def refused(error: CallError, status: int | None = None) -> Response:
    """The envelope of a refusal, with the HTTP status that fits its code."""
    if status is None:
        status = 401 if error.code in SIGNATURES else STATUSES.get(error.code, 400)
    return json_response(refusal(Answer, error), status)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, CallError)
    return refused(error)


async def _gone(_: Request, _error: Exception) -> Response:
    # The client left before the body was complete: nobody reads the answer.
    return Response(status_code=400)


async def _store_failed(_: Request, _error: Exception) -> Response:
    return refused(CallError(91000))


async def _no_page(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = 60002 if error.status_code == 405 else 60009
    return refused(CallError(code), error.status_code)


async def _failed(_: Request, _error: Exception) -> Response:
    # The server logs the exception, masked, when this answer is sent.
    return refused(CallError(91000), 500)
