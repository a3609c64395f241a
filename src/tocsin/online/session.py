"""One connected device as a state machine without I/O: frames and times in, effects out.

Nothing here waits, reads a clock or touches a socket: `hub.py` carries the effects out. So a test
can go through every rule of the conversation by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from tocsin.domain.hello import Hello
from tocsin.domain.quota import Bucket
from tocsin.domain.task import Stage
from tocsin.errors import CallError
from tocsin.online.frames import (
    PING,
    PONG,
    AckedFrame,
    AckFrame,
    ByeFrame,
    ClickFrame,
    ClientFrame,
    DrainFrame,
    ErrorFrame,
    PingFrame,
    PongFrame,
    RegisteredFrame,
    RevokeFrame,
    decode,
    encode,
)

SHOWN_MAX = 500
"""Pushes that a session remembers, so that none is written to its connection twice."""


class SessionState(StrEnum):
    """The state of a session. `CLOSED` is terminal."""

    GREETING = "greeting"
    JOINING = "joining"
    OPEN = "open"
    CLOSED = "closed"


ALLOWED_FRAMES: dict[SessionState, tuple[type[ClientFrame], ...]] = {
    SessionState.GREETING: (Hello, PingFrame, PongFrame),
    SessionState.JOINING: (PingFrame, PongFrame),
    SessionState.OPEN: (AckFrame, ClickFrame, PingFrame, PongFrame, ByeFrame),
    SessionState.CLOSED: (),
}
"""The frames that a client may send in each state; any other ends the session."""


class CloseReason(Struct, frozen=True):
    """Why a connection is closed: a close code of RFC 6455, 7.4.2 and its text."""

    code: int
    reason: str


LEFT = CloseReason(1000, "bye")
GOING = CloseReason(1001, "going away")
TOO_LARGE = CloseReason(1009, "frame too large")
FULL = CloseReason(1013, "try again later")
BAD_FRAME = CloseReason(4000, "bad frame")
REPLACED = CloseReason(4001, "replaced by a newer connection")
REFUSED = CloseReason(4002, "refused")
KICKED = CloseReason(4003, "login is void")
SILENT = CloseReason(4004, "silent")
NO_HELLO = CloseReason(4006, "no hello")
TOO_MANY = CloseReason(4007, "too many frames")
GONE = CloseReason(4008, "device is not registered")


class SendFrame(Struct, frozen=True):
    """Write these bytes to the connection."""

    data: bytes


class RegisterDevice(Struct, frozen=True):
    """Register the device with the registrar; then call `joined`, or `end` where it refuses."""

    hello: Hello


class BookReport(Struct, frozen=True):
    """Book a report, an ack or a click; then call `booked` or `not_booked`."""

    id: str
    stage: Stage


class LeaveService(Struct, frozen=True):
    """Unregister the device or log its user out."""

    unregister: bool


class CloseConnection(Struct, frozen=True):
    """Close the connection once all earlier frames are written."""

    end: CloseReason


Effect = SendFrame | RegisterDevice | BookReport | LeaveService | CloseConnection


class SessionLimits(Struct, frozen=True, kw_only=True):
    """The times and rates that bound a session."""

    hello_s: float = 10.0
    """Seconds that a connection may stay without a hello."""
    idle_s: float = 60.0
    """Seconds of silence after which a connection is pinged."""
    reply_s: float = 20.0
    """Seconds that a client may take to answer a ping with any frame."""
    frames_per_s: float = 50.0
    frames_burst: float = 600.0


class Session:
    """The conversation with one connected device."""

    __slots__ = ("_bucket", "_heard_at", "_is_pinged", "_limits", "_opened_at", "shown", "state")

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self._limits = limits
        self._opened_at = now
        self._heard_at = now
        self._is_pinged = False
        self._bucket = Bucket(limits.frames_per_s, limits.frames_burst, now)
        self.state = SessionState.GREETING
        self.shown: dict[str, bool] = {}
        """Ids of pushes that were written or that the device has shown; true where acked."""

    # frames of the client

    def receive_frame(self, data: str | bytes, now: float) -> list[Effect]:
        """Take one frame of the client."""
        if self.state is SessionState.CLOSED:
            return []
        self._heard_at = now
        self._is_pinged = False
        if not self._bucket.take(now):
            return self.end(TOO_MANY, 60007)
        try:
            frame = decode(data)
        except CallError as fault:
            return self.end(TOO_LARGE if fault.code == 60002 else BAD_FRAME, fault.code, fault.info)
        if not isinstance(frame, ALLOWED_FRAMES[self.state]):
            return self.end(BAD_FRAME, 70402, f"not while {self.state}")
        return self._answer(frame)

    def _answer(self, frame: ClientFrame) -> list[Effect]:
        match frame:
            case Hello():
                self.state = SessionState.JOINING
                return [RegisterDevice(frame)]
            case AckFrame(id=name):
                return [BookReport(name, Stage.REACHED)]
            case ClickFrame(id=name):
                return [BookReport(name, Stage.CLICKED)]
            case PingFrame():
                return [SendFrame(PONG)]
            case PongFrame():
                return []
            case ByeFrame(unregister=unregister, logout=logout):
                leave: list[Effect] = [LeaveService(unregister)] if unregister or logout else []
                return [*leave, *self.end(LEFT)]

    # results and pushes of the service

    def joined(
        self, registration_id: str, secret: str, user: str, known: Iterable[str] = ()
    ) -> list[Effect]:
        """The registrar has registered the device."""
        if self.state is not SessionState.JOINING:
            return []
        self.state = SessionState.OPEN
        self.shown = dict.fromkeys(known, True)
        frame = RegisteredFrame(
            registration_id=registration_id,
            secret=secret,
            user=user,
            idle_s=self._limits.idle_s,
        )
        return [SendFrame(encode(frame))]

    def resume(self, known: Iterable[str]) -> None:
        """Open the session without a hello, for a poll over HTTP whose caller is authenticated."""
        self.state = SessionState.OPEN
        self.shown = dict.fromkeys(known, True)

    def push(self, name: str, data: bytes) -> list[Effect]:
        """Send a push, unless this connection has it already."""
        if self.state is not SessionState.OPEN or name in self.shown:
            return []
        self.shown[name] = False
        # No `BoundedCache`: there is one session for each connection, and a plain dictionary is
        # smaller.
        if len(self.shown) > SHOWN_MAX:
            del self.shown[next(iter(self.shown))]
        return [SendFrame(data)]

    def revoke(self, name: str) -> list[Effect]:
        """Tell the device that a push was recalled."""
        if self.state is not SessionState.OPEN:
            return []
        # A recalled push must not be written later.
        self.shown[name] = True
        return [SendFrame(encode(RevokeFrame(name, name)))]

    def booked(self, name: str, stage: Stage) -> list[Effect]:
        """Confirm an ack or click that is durable: the client may forget it now."""
        if self.state is not SessionState.OPEN:
            return []
        if name in self.shown:
            self.shown[name] = True
        return [SendFrame(encode(AckedFrame(id=name, stage=int(stage))))]

    def not_booked(self, name: str, stage: Stage, fault: CallError) -> list[Effect]:
        """Refuse an ack or click that will never count: the client may forget it, too."""
        if self.state is not SessionState.OPEN:
            return []
        frame = AckedFrame(id=name, stage=int(stage), code=fault.code, info=fault.info)
        return [SendFrame(encode(frame))]

    def drain(self, after_s: float) -> list[Effect]:
        """Ask the client to close and connect again after so many seconds."""
        return [SendFrame(encode(DrainFrame(after_s)))] if self.state is SessionState.OPEN else []

    def end(self, end: CloseReason, code: int = 0, info: str | None = None) -> list[Effect]:
        """Close the connection; with a code, an error frame goes first."""
        if self.state is SessionState.CLOSED:
            return []
        self.state = SessionState.CLOSED
        error: list[Effect] = []
        if code:
            fault = CallError(code, info)
            error = [SendFrame(encode(ErrorFrame(fault.code, fault.info)))]
        return [*error, CloseConnection(end)]

    # time

    def tick(self, now: float) -> list[Effect]:
        """Ping a silent connection; close one that does not answer."""
        limits = self._limits
        if self.state is SessionState.GREETING and now >= self._opened_at + limits.hello_s:
            return self.end(NO_HELLO)
        if self.state is not SessionState.OPEN:
            return []
        silent_s = now - self._heard_at
        if silent_s >= limits.idle_s + limits.reply_s:
            return self.end(SILENT)
        if silent_s >= limits.idle_s and not self._is_pinged:
            self._is_pinged = True
            return [SendFrame(PING)]
        return []

    def next_tick(self) -> float:
        """The earliest time at which `tick` has an effect, if no frame comes before."""
        if self.state is SessionState.OPEN:
            reply_s = self._limits.reply_s if self._is_pinged else 0.0
            return self._heard_at + self._limits.idle_s + reply_s
        return self._opened_at + self._limits.hello_s
