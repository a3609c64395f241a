"""Decides whether a request opens a WebSocket, before the WebSocket library sees the request.

A request without a proper handshake is an ordinary one: its Upgrade header is ignored, as HTTP
allows (RFC 9110, 7.8), and the application answers it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

HEADERS_MAX = 128
LINE_MAX_BYTES = 8_000
"""The library's own limits are 128 and 8,192; beyond them the library closes without an answer."""
KEY_BYTES = 16

Headers = Sequence[tuple[bytes, bytes]]


def is_handshake(headers: Headers) -> bool:
    """Whether these headers of a GET ask for a WebSocket as RFC 6455 (4.2.1) says."""
    if len(headers) > HEADERS_MAX or any(len(n) + len(v) > LINE_MAX_BYTES for n, v in headers):
        return False
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.strip())
    has_body = b"transfer-encoding" in values or values.get(b"content-length", [b"0"]) != [b"0"]
    return (
        not has_body
        and [each.lower() for each in values.get(b"upgrade", [])] == [b"websocket"]
        and values.get(b"sec-websocket-version") == [b"13"]
        and _is_key(values.get(b"sec-websocket-key", []))
    )


def _is_key(given: list[bytes]) -> bool:
    try:
        return len(given) == 1 and len(base64.b64decode(given[0], validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
