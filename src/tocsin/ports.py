"""The waist of the house: every seam between the rules and the outside, on one page.

A port is owned by the side that uses it. Each verb states its promise: what is atomic, what may
be repeated, what a failure leaves behind. Adapters (`adapters/`), the online hub and the channel
driver fulfil these; only `wiring.py` knows which one is in use.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

# --- words of an HTTP conversation ---------------------------------------------------------


class Request(Struct, frozen=True):
    """One HTTP request to a vendor. Which HTTP version serves the origin is the adapter's work."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    origin: str
    """Scheme, host and port: `https://api.push.apple.com`."""
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    ca: str | None = None
    """PEM text of the only authorities to trust; None means the system's."""
    identity: str | None = None
    """PEM text of a client certificate with its key: it proves the connection, not the request."""
    http2: bool = False
    """True where the vendor speaks HTTP/2 only."""


class Response(Struct, frozen=True):
    """What the vendor answered. Header names are lower case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Fault(Struct, frozen=True):
    """No answer came. `unsent` is a promise that the vendor cannot have seen the request."""

    kind: Literal["unsent", "maybe_sent"]
    reason: str


class Http(Protocol):
    """Outgoing HTTP."""

    async def send(self, request: Request, deadline_s: float) -> Response | Fault:
        """Send one request. Never raises, never retries by itself, ends within `deadline_s`.

        Answers `Fault("unsent", …)` only when certain that no byte of the request was acted on; in
        doubt it says `maybe_sent`. Bodies over the adapter's `body_max_bytes` are cut off and the
        request becomes a `maybe_sent` fault. Many calls may be under way at once.
        """
        ...
