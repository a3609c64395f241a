"""Web pages of other origins: each app says which may call.

A browser asks before it calls (a preflight), and that question has no body: it is answered where
any app names the origin. The call itself is judged by its own app, and a page of an origin that
this app does not name can send it but never reads the answer. No answer allows cookies or other
credentials of the browser. Source: fetch.spec.whatwg.org, 3.2 (read 2026-12).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

from tocsin.api.http import Header
from tocsin.store import Store

MAX_AGE_S = 7200
"""How long a browser need not ask again: the most that Chromium keeps."""
ALLOWED_HEADERS = b"Content-Type, X-Requested-With"
"""What pages may send: the first is needed for JSON, the second is in the documents' sample."""
VARY = (b"vary", b"Origin")
"""In every answer that depends on the origin, also where it says nothing about it."""


def origin_of(asked: Iterable[Header]) -> bytes:
    """The origin of the page that sends these headers; empty where no page of another does."""
    for name, value in asked:
        if name == b"origin":
            return value
    return b""


class Cors:
    """Answers for the origins of all apps, from a copy that is as new as the apps' rows."""

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
        """What the answer to a call about this app says of the page that made it, if one did."""
        app = await self._store.app(sdkappid) if origin else None
        if app is None or origin.decode("latin-1") not in app.origins:
            return [VARY]
        return [(b"access-control-allow-origin", origin), VARY]

    async def _named(self) -> frozenset[str]:
        """The origins of all apps; rows are read anew only when one has changed."""
        version = self._store.app_version
        if version != self._version:
            apps = [await self._store.app(number) for number in await self._store.apps()]
            self._origins = frozenset(
                origin for app in apps if app is not None for origin in app.origins
            )
            self._version = version
        return self._origins
