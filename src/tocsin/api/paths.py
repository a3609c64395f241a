"""Decodes URL paths, in which `%2F` is part of a name and never a separator (RFC 3986, 2.2).

If a whole path were decoded at once, `/v4/timpush%2Fpush` would be a command, and an account
called `a/b` would be cut in two. So a path is matched with its encoded slashes, and the path
parameters are decoded afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send


def routed_path(scope: Mapping[str, Any]) -> str:
    """A request's path, decoded but for `%2F` and `%25`."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%" not in raw:
        path: str = scope.get("path", "")
        return path
    kept = raw.replace(b"%25", b"%2525").replace(b"%2F", b"%252F").replace(b"%2f", b"%252F")
    return unquote(kept.decode("latin-1"))


def decoded(part: str) -> str:
    """A part of such a path, fully decoded."""
    return part.replace("%2F", "/").replace("%25", "%")


class DecodedParameters:
    """Wraps the application of a route, and decodes its path parameters."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = {
            name: decoded(part) if isinstance(part, str) else part
            for name, part in scope["path_params"].items()
        }
        await self._app({**scope, "path_params": parts}, receive, send)
