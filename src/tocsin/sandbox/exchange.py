"""The words between the servers, the vendors and the fault rules of the sandbox."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct


class Connection:
    """One client connection: the vendor may keep what it learnt about it in `state`."""

    __slots__ = ("alpn", "number", "peer_certificate", "state")

    def __init__(self, number: int, alpn: str, peer_certificate: dict[str, Any] | None) -> None:
        self.number = number
        self.alpn = alpn
        self.peer_certificate = peer_certificate
        self.state: object = None


class Call(Struct):
    """One complete request. Header names are lower case and may repeat."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: Connection
    stream: int = 0
    """The HTTP/2 stream; 0 over HTTP/1.1."""


class Effect(Struct, frozen=True):
    """What the server does to the connection or the answer, besides answering."""

    first_byte_s: float = 0.0
    """Wait so long before the first byte of the answer."""
    body_s: float = 0.0
    """Wait so long between the headers and the body."""
    silent: bool = False
    """Never answer."""
    drop: bool = False
    """Drop the connection without a word."""
    close: bool = False
    """Answer, then close the connection in good order."""
    reset_code: int | None = None
    """Answer with RST_STREAM of this code (HTTP/1.1: drop the connection)."""
    goaway: int | None = None
    """Send GOAWAY; last-stream-id is the current stream plus so many requests (-1: not even it)."""
    goaway_reason: str = "Shutdown"
    stream_limit: int | None = None
    """Announce a new MAX_CONCURRENT_STREAMS before the answer."""
    zero_window_s: float | None = None
    """Announce an initial window of zero, and the usual one again after so long (or never)."""
    mute_pings: bool = False
    """Leave PING frames of this connection without an answer from now on."""


class Reply(Struct):
    """What goes back over the wire."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    effect: Effect | None = None
    stream_limit: int | None = None
    """The number of concurrent streams that the vendor now allows on this connection."""


class Target(Struct, frozen=True):
    """One device of a list, and what became of it."""

    token: str
    accepted: bool
    reason: str = ""
    is_told_later: bool = False
    """Not accepted, but the answer hides it: only a receipt tells."""
    receipt_code: str = ""
    """What the receipt says of it, where that is not the state of its device."""


class Judgement(Struct):
    """A vendor's judgement of one call: the answer, and what the log wants to know."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    accepted: bool = False
    reason: str = ""
    token: str = ""
    targets: tuple[Target, ...] = ()
    """Every device of a list, each an entry in the log; empty where the call is for `token`."""
    message_id: str = ""
    """The id that the vendor answers with."""
    correlation: str = ""
    """The sender's own id of this delivery, where it gave one."""
    collapse: str = ""
    """What makes a repeat replace what is shown."""
    push_type: str = ""
    topic: str = ""
    receipt_to: str = ""
    """Where the vendor will report whom it reached: an address, or `console`; empty: nowhere."""
    receipt_types: int | None = None
    """The sum of the receipt codes that the push asks for, where the vendor lets it choose."""
    logged: bool = True
    """False for calls that are not pushes, such as asking for a bearer token."""
    stream_limit: int | None = None


class Serve(Protocol):
    """What a listener hands each complete request to."""

    def __call__(self, call: Call, /) -> Reply: ...


class VendorRules(Protocol):
    """One vendor's rules, without sockets."""

    name: str

    def token_of(self, call: Call) -> str:
        """The device token the call is meant for, or an empty text; for fault rules."""
        ...

    def judge(self, call: Call) -> Judgement:
        """Check the call as the vendor would, and take it if it is in order."""
        ...

    def refusal(self, code: str, call: Call) -> Judgement:
        """The answer this vendor gives with its own error `code`."""
        ...

    def opening_streams(self) -> int:
        """MAX_CONCURRENT_STREAMS of a new connection."""
        ...
