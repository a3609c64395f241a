"""Limits of one connection to the HTTP server in bytes and seconds, and why one is closed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Reason = Literal[
    "address", "bad_request", "body_late", "busy", "files", "handshake", "head_late", "head_long"
]
"""Why the server closed a connection that its client would have kept: a label of the metric."""


class Bounds(Struct, frozen=True, kw_only=True):
    """The limits of one connection."""

    head_max_bytes: int = 65_536
    """Request line and headers together; more is answered 431."""
    headers_max: int = 256
    """Header fields of one request: each costs far more memory than its bytes."""
    head_s: float = 10.0
    """From the connection, or the first byte of a later request, to the end of its headers. The
    TLS handshake has as long again."""
    body_s: float = 10.0
    """Seconds that every body gets; a longer body must then come at `body_bytes_per_s` at least."""
    body_bytes_per_s: int = 4_096
    framing_max_bytes: int = 65_536
    """Bytes of chunk sizes, extensions and trailers, beyond eight for each byte of the body."""
    drained_max_bytes: int = 65_536
    """An unread body of at most this length is read to its end and dropped. Where the body is
    longer or of unknown length, the connection is closed after the answer."""
    answer_s: float = 30.0
    """Seconds that a client may leave an answer unread."""
    close_s: float = 5.0
    """Seconds that a client may take to answer the close frame of a WebSocket."""
    linger_s: float = 2.0
    """Seconds for which further bytes are dropped after the last answer, so that the client can
    read that answer."""
    linger_max_bytes: int = 1_048_576
    pipelined_max: int = 64
    """Requests that may wait on one connection for the answer to an earlier one."""
    cramped_s: float = 2.0
    """Instead of `head_s` while every place is taken: enough for one health check."""


class ServerAnswer(Struct, frozen=True):
    """An answer of the server itself; the application does not see the request."""

    status: int
    text: str
    reason: Reason


BAD_REQUEST = ServerAnswer(400, "Invalid HTTP request.", "bad_request")
HEAD_LATE = ServerAnswer(408, "The request headers took too long.", "head_late")
BODY_LATE = ServerAnswer(408, "The request body took too long.", "body_late")
HEAD_LONG = ServerAnswer(431, "Request line and headers are too long.", "head_long")
