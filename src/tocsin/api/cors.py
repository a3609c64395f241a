"""CORS: each app names the origins whose web pages may call.

A preflight names no app, so it is allowed where any app names the origin. The answer to the call
itself is readable only for the origins that its own app names. No answer allows cookies or other
credentials of the browser. Source: fetch.spec.whatwg.org, 3.2 (read 2026-12).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

from tocsin.api.http import Header
from tocsin.store import Store

MAX_AGE_S = 7200
"""How long a browser may keep a preflight's answer: the longest time that Chromium allows."""
ALLOWED_HEADERS = b"Content-Type, X-Requested-With"
"""The headers that pages may send: for JSON, and from the documents' sample."""
VARY = (b"vary", b"Origin")
"""In every answer that depends on the origin, also where no other header does."""


def origin_of(headers: Iterable[Header]) -> bytes:
    """The origin of the web page that calls; empty where the caller is no page."""
    for name, value in headers:
        if name == b"origin":
            return value
    return b""


class Cors:
    """Answers preflights and calls, from a cache of the origins of all apps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._origins: frozenset[str] = frozenset()
        self._version = -1

    async def preflight(self, scope: Scope) -> Response | None:
        """The answer to a preflight from an origin that some app names; else None."""
        if scope["method"] != "OPTIONS":
            return None
        # Of a header that comes twice, the last: no browser sends one twice.
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        if not origin or b"access-control-request-method" not in headers:
            return None
        if origin.decode("latin-1") not in await self._named():
            return None
        response = Response(status_code=204)
        response.raw_headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", str(MAX_AGE_S).encode()),
            VARY,
        ]
        return response

    async def of_call(self, origin: bytes, sdkappid: int) -> list[Header]:
        """The CORS headers of the answer to a call about this app."""
        app = await self._store.app(sdkappid) if origin else None
        if app is None or origin.decode("latin-1") not in app.origins:
            return [VARY]
        return [(b"access-control-allow-origin", origin), VARY]

    async def _named(self) -> frozenset[str]:
        """The origins of all apps; the rows are read again only when one has changed."""
        version = self._store.app_version
        if version != self._version:
            apps = [await self._store.app(number) for number in await self._store.apps()]
            self._origins = frozenset(
                origin for app in apps if app is not None for origin in app.origins
            )
            self._version = version
        return self._origins
