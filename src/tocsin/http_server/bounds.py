"""What one connection to our HTTP server may cost: bytes, seconds, and why it is closed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Reason = Literal[
    "address", "bad_request", "body_late", "busy", "files", "handshake", "head_late", "head_long"
]
"""Why the server closed a connection that its client would have kept, as the metric names it."""


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
    """What every body gets, however short; then `body_bytes_per_s` is the least it must come at."""
    body_bytes_per_s: int = 4_096
    framing_max_bytes: int = 65_536
    """Bytes of chunk sizes, extensions and trailers, beyond eight for each byte of the body."""
    drained_max_bytes: int = 65_536
    """A body that nobody wants is read to its end up to this length; before a longer one, or one
    of unknown length, the connection is closed after the answer."""
    answer_s: float = 30.0
    """How long a client may read nothing of an answer that waits for it."""
    close_s: float = 5.0
    """How long a client may take to answer the close frame of a WebSocket."""
    linger_s: float = 2.0
    """How long what still comes is thrown away after the last answer, so that it arrives."""
    linger_max_bytes: int = 1_048_576
    pipelined_max: int = 64
    """Requests that may wait on one connection for the answer to an earlier one."""
    cramped_s: float = 2.0
    """Instead of `head_s` while every place is taken: time for one question about health."""


class Refusal(Struct, frozen=True):
    """An answer of the server itself, before or without a request for the application."""

    status: int
    text: str
    reason: Reason


BAD_REQUEST = Refusal(400, "Invalid HTTP request.", "bad_request")
HEAD_LATE = Refusal(408, "The request headers took too long.", "head_late")
BODY_LATE = Refusal(408, "The request body took too long.", "body_late")
HEAD_LONG = Refusal(431, "Request line and headers are too long.", "head_long")
