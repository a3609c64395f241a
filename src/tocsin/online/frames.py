"""The frames of the online channel: one JSON object each, told apart by its member `type`.

`docs/online.md` publishes their schema, made from these types. Everything that is read has a
bound: a frame as a whole, and each text in it. Unknown members are ignored, so that older and
newer clients can talk to the service.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tocsin.domain.device import REGISTRATION_ID_MAX_BYTES, DeviceFacts, Route
from tocsin.domain.message import Message
from tocsin.domain.task import Task
from tocsin.domain.usersig import TOKEN_MAX_CHARS
from tocsin.errors import CallError
from tocsin.ports import Hello

FRAME_MAX_BYTES = 16 * 1024
KNOWN_MAX = 100
"""Ids of pushes that a resuming client may list."""

Word = Annotated[str, Meta(max_length=128)]
PushId = Annotated[str, Meta(min_length=1, max_length=160)]
Token = Annotated[str, Meta(max_length=1024)]
RegistrationId = Annotated[str, Meta(max_length=REGISTRATION_ID_MAX_BYTES)]
Secret = Annotated[str, Meta(max_length=128)]
SdkAppId = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class RouteAsk(Struct, frozen=True, kw_only=True):
    """A vendor's address of this device."""

    channel: Annotated[str, Meta(min_length=1, max_length=32)]
    credential: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    """Certificate ID."""
    token: Annotated[str, Meta(min_length=1, max_length=1024)]
    environment: Annotated[str, Meta(max_length=32)] = "production"


class Facts(Struct, frozen=True, kw_only=True):
    """What a device tells about itself; an absent member leaves what is stored."""

    language: Word | None = None
    platform: Word | None = None
    model: Word | None = None
    system_version: Word | None = None
    sdk_version: Word | None = None
    push_version: Word | None = None
    is_notify_on: bool | None = None
    badge: Annotated[int, Meta(ge=0, le=999_999)] | None = None


class HelloFrame(Struct, frozen=True, kw_only=True, tag="hello"):
    """The first frame: who the device is, by appKey, or by UserID and UserSig."""

    sdkappid: SdkAppId
    appkey: Annotated[str, Meta(max_length=256)] = ""
    user: Word = ""
    usersig: Annotated[str, Meta(max_length=TOKEN_MAX_CHARS)] = ""
    registration_id: RegistrationId = ""
    """Empty the first time; the service then makes one. A name of the device's own is taken only
    where the app allows it, with the app's prefix."""
    secret: Secret = ""
    """What the first `registered` said."""
    is_logout: bool = False
    """True: no UserID is logged in on this device any more."""
    route: RouteAsk | None = None
    voip_token: Token | None = None
    live_tokens: Annotated[dict[Word, Token], Meta(max_length=8)] = {}
    """Live Activity id to its push token; an empty token takes one away."""
    live_start_tokens: Annotated[dict[Word, Token], Meta(max_length=8)] = {}
    """Type of a Live Activity's attributes to its push-to-start token; empty takes one away."""
    facts: Facts = Facts()
    known: Annotated[tuple[PushId, ...], Meta(max_length=KNOWN_MAX)] = ()
    """Resume: ids of pushes that this device has shown already, the newest it remembers."""


class AckFrame(Struct, frozen=True, tag="ack"):
    """A push has arrived."""

    id: str
    """Of any length: what is no TaskId is answered so, and the client stops repeating it."""


class ClickFrame(Struct, frozen=True, tag="click"):
    """Somebody has opened a push."""

    id: str


class PingFrame(Struct, frozen=True, tag="ping"):
    """Are you there? Answered by `pong`, in both directions."""


class PongFrame(Struct, frozen=True, tag="pong"):
    """Yes."""


class ByeFrame(Struct, frozen=True, tag="bye"):
    """The device leaves."""

    unregister: bool = False
    """True: no pushes at all until it registers again."""
    logout: bool = False
    """True: its UserID is logged out; the device itself stays registered."""


ClientFrame = HelloFrame | AckFrame | ClickFrame | PingFrame | PongFrame | ByeFrame


class RegisteredFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="registered"):
    """The hello was good."""

    registration_id: str
    secret: str = ""
    """Told once, at the first registration."""
    user: str = ""
    """The UserID that is logged in on this device, if any."""
    idle_s: float
    """The service pings a connection that is silent for so long."""


class PushFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="push"):
    """A push. The same id may come twice; it is shown once and acked each time."""

    id: str
    task_id: str
    title: str = ""
    desc: str = ""
    ext: str = ""
    sender: str = ""
    sent_at: int = 0
    """Unix seconds at which the push was accepted."""
    expires_at: int = 0
    badge_set: int | None = None
    badge_add: int | None = None
    msg_body: msgspec.Raw | None = None
    """MsgBody as the caller of im_push gave it."""


class RevokeFrame(Struct, frozen=True, tag="revoke"):
    """The push with this id was recalled: take it off the screen."""

    id: str
    task_id: str


class AckedFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="acked"):
    """An ack or a click is done with: booked, so that it would survive a power cut, or refused."""

    id: str
    stage: int
    """2 reached, 3 clicked."""
    code: int = 0
    """Absent: it is in the books. Else it does not count, and repeating it changes nothing: 90001
    for what is no TaskId, 70402 for a push that did not go to this device over its connection."""
    info: str = ""
    """What the code means here."""


class DrainFrame(Struct, frozen=True, tag="drain"):
    """This process goes: close, and connect anew after so many seconds."""

    after_s: float = 0.0


class ErrorFrame(Struct, frozen=True, tag="error"):
    """Why the service closes the connection, by code (docs/errors.md)."""

    code: int
    info: str


ServerFrame = (
    RegisteredFrame
    | PushFrame
    | RevokeFrame
    | AckedFrame
    | PingFrame
    | PongFrame
    | DrainFrame
    | ErrorFrame
)

_DECODER: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)


def decode(data: str | bytes) -> ClientFrame:
    """A client's frame; raises `CallError` 60002, 60003 or 70402. Tells nothing of its values."""
    text = data.encode(errors="replace") if isinstance(data, str) else data
    if len(text) > FRAME_MAX_BYTES:
        raise CallError(60002, f"frame is over {FRAME_MAX_BYTES} bytes")
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as fault:
        raise CallError(70402, str(fault)) from fault
    except (msgspec.DecodeError, RecursionError) as fault:
        raise CallError(60003, "frame is not valid JSON") from fault


def encode(frame: ServerFrame) -> bytes:
    """A frame as it goes over the wire."""
    return msgspec.json.encode(frame)


PING = encode(PingFrame())
PONG = encode(PongFrame())


def route_of(ask: RouteAsk) -> Route:
    """The route that a device names."""
    return Route(ask.channel, ask.credential, ask.token, ask.environment)


def hello_of(frame: HelloFrame, address: str) -> Hello:
    """What the registrar is asked."""
    route = frame.route
    return Hello(
        sdkappid=frame.sdkappid,
        appkey=frame.appkey,
        user=frame.user,
        usersig=frame.usersig,
        registration_id=frame.registration_id,
        secret=frame.secret,
        is_logout=frame.is_logout,
        route=None if route is None else route_of(route),
        voip_token=frame.voip_token,
        live_tokens=dict(frame.live_tokens),
        live_start_tokens=dict(frame.live_start_tokens),
        facts=DeviceFacts(**msgspec.structs.asdict(frame.facts)),
        address=address,
    )


def push_of(task: Task, language: int) -> PushFrame:
    """A task's push in one of its languages. Its id is the TaskId: the same in every attempt."""
    message: Message = task.message.translated(language)
    return PushFrame(
        id=task.task_id,
        task_id=task.task_id,
        title=message.title,
        desc=message.desc,
        ext=message.ext,
        sender=task.sender,
        sent_at=int(task.accepted_at),
        expires_at=int(task.expires_at),
        badge_set=message.badge_set,
        badge_add=message.badge_add,
        msg_body=msgspec.Raw(task.msg_body) if task.msg_body else None,
    )


def schema() -> dict[str, Any]:
    """JSON schema of every frame, by who sends it: what `docs/online.md` publishes."""
    kinds = (ClientFrame, ServerFrame)
    (client, server), parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {"client": client, "server": server, "$defs": parts}
