"""One connected device as a state machine: frames and times in, steps out.

Nothing here waits, reads a clock or touches a socket: `hub.py` carries the steps out. So every
rule of the conversation can be stepped by hand in a test.
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
"""Pushes of a connection that are remembered, so that none is written to it twice."""


class State(StrEnum):
    """Where a session stands. `CLOSED` is terminal."""

    GREETING = "greeting"
    JOINING = "joining"
    OPEN = "open"
    CLOSED = "closed"


TAKES: dict[State, tuple[type[ClientFrame], ...]] = {
    State.GREETING: (Hello, PingFrame, PongFrame),
    State.JOINING: (PingFrame, PongFrame),
    State.OPEN: (AckFrame, ClickFrame, PingFrame, PongFrame, ByeFrame),
    State.CLOSED: (),
}
"""Which frames a client may send in which state; any other ends the session."""


class End(Struct, frozen=True):
    """Why a connection ends: a close code of RFC 6455, 7.4.2 and its reason."""

    code: int
    reason: str


LEFT = End(1000, "bye")
GOING = End(1001, "going away")
TOO_LARGE = End(1009, "frame too large")
FULL = End(1013, "try again later")
BAD_FRAME = End(4000, "bad frame")
REPLACED = End(4001, "replaced by a newer connection")
REFUSED = End(4002, "refused")
KICKED = End(4003, "login is void")
SILENT = End(4004, "silent")
NO_HELLO = End(4006, "no hello")
TOO_MANY = End(4007, "too many frames")
GONE = End(4008, "device is not registered")


class Send(Struct, frozen=True):
    """Write these bytes."""

    data: bytes


class Join(Struct, frozen=True):
    """Ask the registrar; then `joined` or `refused`."""

    hello: Hello


class Book(Struct, frozen=True):
    """Put an ack or a click into the books; then `booked`."""

    id: str
    stage: Stage


class Leave(Struct, frozen=True):
    """Unregister the device or log its user out."""

    unregister: bool


class Close(Struct, frozen=True):
    """Close the connection once everything before has been written."""

    end: End


Step = Send | Join | Book | Leave | Close


class Rhythm(Struct, frozen=True, kw_only=True):
    """The times and rates of a session."""

    hello_s: float = 10.0
    """How long a connection may stay without a hello."""
    idle_s: float = 60.0
    """A connection that is silent for so long is pinged."""
    reply_s: float = 20.0
    """How long it then has to say anything."""
    frames_per_s: float = 50.0
    frames_burst: float = 600.0


class Session:
    """What one connection knows of its device."""

    __slots__ = ("_bucket", "_heard_at", "_is_pinged", "_opened_at", "_rhythm", "shown", "state")

    def __init__(self, rhythm: Rhythm, now: float) -> None:
        self._rhythm = rhythm
        self._opened_at = now
        self._heard_at = now
        self._is_pinged = False
        self._bucket = Bucket(rhythm.frames_per_s, rhythm.frames_burst, now)
        self.state = State.GREETING
        self.shown: dict[str, bool] = {}
        """Ids written to this connection or known to the device, and whether they are acked."""

    # what the client says

    def take(self, data: str | bytes, now: float) -> list[Step]:
        """One frame from the client."""
        if self.state is State.CLOSED:
            return []
        self._heard_at = now
        self._is_pinged = False
        if not self._bucket.take(now):
            return self.end(TOO_MANY, 60007)
        try:
            frame = decode(data)
        except CallError as fault:
            return self.end(TOO_LARGE if fault.code == 60002 else BAD_FRAME, fault.code, fault.info)
        if not isinstance(frame, TAKES[self.state]):
            return self.end(BAD_FRAME, 70402, f"not while {self.state}")
        return self._answer(frame)

    def _answer(self, frame: ClientFrame) -> list[Step]:
        match frame:
            case Hello():
                self.state = State.JOINING
                return [Join(frame)]
            case AckFrame(id=name):
                return [Book(name, Stage.REACHED)]
            case ClickFrame(id=name):
                return [Book(name, Stage.CLICKED)]
            case PingFrame():
                return [Send(PONG)]
            case PongFrame():
                return []
            case ByeFrame(unregister=unregister, logout=logout):
                leave: list[Step] = [Leave(unregister)] if unregister or logout else []
                return [*leave, *self.end(LEFT)]

    # what the house says

    def joined(
        self, registration_id: str, secret: str, user: str, known: Iterable[str] = ()
    ) -> list[Step]:
        """The registrar has taken the hello."""
        if self.state is not State.JOINING:
            return []
        self.state = State.OPEN
        self.shown = dict.fromkeys(known, True)
        frame = RegisteredFrame(
            registration_id=registration_id,
            secret=secret,
            user=user,
            idle_s=self._rhythm.idle_s,
        )
        return [Send(encode(frame))]

    def resume(self, known: Iterable[str]) -> None:
        """Open without a hello: a poll over plain HTTP, whose caller is proven already."""
        self.state = State.OPEN
        self.shown = dict.fromkeys(known, True)

    def push(self, name: str, data: bytes) -> list[Step]:
        """A push; nothing if this connection has it already."""
        if self.state is not State.OPEN or name in self.shown:
            return []
        self.shown[name] = False
        if len(self.shown) > SHOWN_MAX:
            del self.shown[next(iter(self.shown))]
        return [Send(data)]

    def revoke(self, name: str) -> list[Step]:
        """A push was recalled."""
        if self.state is not State.OPEN:
            return []
        # Never to be written again, though it is off the screen.
        self.shown[name] = True
        return [Send(encode(RevokeFrame(name, name)))]

    def booked(self, name: str, stage: Stage) -> list[Step]:
        """An ack or click is durable: only now the client may forget it."""
        if self.state is not State.OPEN:
            return []
        if name in self.shown:
            self.shown[name] = True
        return [Send(encode(AckedFrame(id=name, stage=int(stage))))]

    def not_booked(self, name: str, stage: Stage, fault: CallError) -> list[Step]:
        """An ack or click does not count and never will: the client may forget it, too."""
        if self.state is not State.OPEN:
            return []
        frame = AckedFrame(id=name, stage=int(stage), code=fault.code, info=fault.info)
        return [Send(encode(frame))]

    def drain(self, after_s: float) -> list[Step]:
        """Ask the client to go elsewhere; it closes, or `end` does."""
        return [Send(encode(DrainFrame(after_s)))] if self.state is State.OPEN else []

    def end(self, end: End, code: int = 0, info: str | None = None) -> list[Step]:
        """Close, telling the client why where there is a code for it."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        told: list[Step] = []
        if code:
            fault = CallError(code, info)
            told = [Send(encode(ErrorFrame(fault.code, fault.info)))]
        return [*told, Close(end)]

    # what the clock says

    def tick(self, now: float) -> list[Step]:
        """Time has passed: ping the silent, close the dead."""
        rhythm = self._rhythm
        if self.state is State.GREETING and now >= self._opened_at + rhythm.hello_s:
            return self.end(NO_HELLO)
        if self.state is not State.OPEN:
            return []
        silent_s = now - self._heard_at
        if silent_s >= rhythm.idle_s + rhythm.reply_s:
            return self.end(SILENT)
        if silent_s >= rhythm.idle_s and not self._is_pinged:
            self._is_pinged = True
            return [Send(PING)]
        return []

    def next_tick(self) -> float:
        """When `tick` has something to do at the earliest, if nothing is heard before."""
        if self.state is State.OPEN:
            reply_s = self._rhythm.reply_s if self._is_pinged else 0.0
            return self._heard_at + self._rhythm.idle_s + reply_s
        return self._opened_at + self._rhythm.hello_s
