"""The frames of the online channel: one JSON object each, told apart by its member `type`.

`docs/frames.md` and `docs/frames.schema.json` publish them, made from these types with the sentence
that stands beside each member. Everything that is read has a bound: a frame as a whole, and each
text in it. Unknown members are ignored, so that older and newer clients can talk to the service.
"""

from __future__ import annotations

from typing import Annotated

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


def said(sentence: str) -> Meta:
    """The sentence about a member that the published schema shows."""
    return Meta(description=sentence)


class RouteAsk(Struct, frozen=True, kw_only=True):
    """A vendor's address of this device."""

    channel: Annotated[
        str,
        Meta(min_length=1, max_length=32),
        said("Name of the vendor's channel: `apns`, `fcm`, `webpush` and so on."),
    ]
    credential: Annotated[
        int,
        Meta(ge=1, le=2**31 - 1),
        said("Certificate ID: the number that the credential of this app and channel was given."),
    ]
    token: Annotated[
        str,
        Meta(min_length=1, max_length=1024),
        said(
            "The vendor's token of this device; of Web Push the subscription as JSON text. At most "
            "1024 bytes."
        ),
    ]
    environment: Annotated[
        str,
        Meta(max_length=32),
        said(
            "Which of the vendor's services the token comes from: `production`, or `development` "
            "for an app that Xcode has started."
        ),
    ] = "production"


class Facts(Struct, frozen=True, kw_only=True):
    """What a device tells about itself; an absent member leaves what is stored."""

    language: Annotated[
        Word | None, said("Language of the person, a BCP 47 tag: chooses among a push's languages.")
    ] = None
    platform: Annotated[
        Word | None, said("`iPhone`, `iPad`, `Android`, `Web`, `PC` or `Mac`; any other is kept.")
    ] = None
    model: Annotated[Word | None, said("Model of the device, such as `iPhone17,1`.")] = None
    system_version: Annotated[
        Word | None, said("Version of the operating system, of a page that of the browser.")
    ] = None
    sdk_version: Annotated[
        Word | None, said("Version of the app's library for this service, if it has one.")
    ] = None
    push_version: Annotated[
        Word | None, said("Version of the vendor's library in the app, if it has one.")
    ] = None
    is_notify_on: Annotated[
        bool | None,
        said(
            "Whether the system lets the app show notifications. It is kept; pushes are sent all "
            "the same."
        ),
    ] = None
    badge: Annotated[
        Annotated[int, Meta(ge=0, le=999_999)] | None,
        said("The number on the app's icon now: what `BadgeAddNum` of later pushes adds to."),
    ] = None


class HelloFrame(Struct, frozen=True, kw_only=True, tag="hello"):
    """The first frame: who the device is, by appKey, or by UserID and UserSig."""

    sdkappid: Annotated[SdkAppId, said("The app.")]
    appkey: Annotated[
        str,
        Meta(max_length=256),
        said("The app's client key: the proof of a device on which no UserID logs in."),
    ] = ""
    user: Annotated[
        Word, said("UserID that logs in on this device, printable ASCII of at most 32 bytes.")
    ] = ""
    usersig: Annotated[
        str,
        Meta(max_length=TOKEN_MAX_CHARS),
        said("The UserSig of `user`, made by the app's own server: the proof of a login."),
    ] = ""
    registration_id: Annotated[
        RegistrationId,
        said(
            "Empty the first time: the service makes one. Later the one that was told. A name of "
            "the device's own is taken only where the app allows it, with the app's prefix."
        ),
    ] = ""
    secret: Annotated[
        Secret, said("What the first `registered` said; goes with `registration_id` ever after.")
    ] = ""
    is_logout: Annotated[
        bool,
        said(
            "True: no UserID is logged in on this device any more. False without `user`: whoever "
            "is logged in stays so."
        ),
    ] = False
    route: Annotated[
        RouteAsk | None, said("The vendor's token of this device; absent: what is stored stays.")
    ] = None
    voip_token: Annotated[
        Token | None,
        said("Apple's token for calls; an empty one takes it away, absent: what is stored stays."),
    ] = None
    live_tokens: Annotated[
        dict[Word, Token],
        Meta(max_length=8),
        said("Live Activity id to its push token; an empty token takes one away."),
    ] = {}
    live_start_tokens: Annotated[
        dict[Word, Token],
        Meta(max_length=8),
        said("Type of a Live Activity's attributes to its push-to-start token; empty takes away."),
    ] = {}
    facts: Annotated[Facts, said("What the device tells about itself.")] = Facts()
    known: Annotated[
        tuple[PushId, ...],
        Meta(max_length=KNOWN_MAX),
        said("Resume: ids of pushes that this device has shown, the newest that it remembers."),
    ] = ()


class AckFrame(Struct, frozen=True, tag="ack"):
    """A push has arrived."""

    # Of any length: what is no TaskId is answered so, and the client stops repeating it.
    id: Annotated[str, said("The `id` of the `push`.")]


class ClickFrame(Struct, frozen=True, tag="click"):
    """Somebody has opened a push."""

    id: Annotated[str, said("The `id` of the `push`.")]


class PingFrame(Struct, frozen=True, tag="ping"):
    """Are you there? Answered by `pong`, in both directions."""


class PongFrame(Struct, frozen=True, tag="pong"):
    """Yes."""


class ByeFrame(Struct, frozen=True, tag="bye"):
    """The device leaves."""

    unregister: Annotated[
        bool, said("True: no push at all comes until the device says hello again.")
    ] = False
    logout: Annotated[
        bool, said("True: its UserID is logged out; the device itself stays registered.")
    ] = False


ClientFrame = HelloFrame | AckFrame | ClickFrame | PingFrame | PongFrame | ByeFrame


class RegisteredFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="registered"):
    """The hello was good."""

    registration_id: Annotated[str, said("The name of this device from now on: store it.")]
    secret: Annotated[
        str, said("Proof of this device, told at its first registration only: store it.")
    ] = ""
    user: Annotated[str, said("The UserID that is logged in on this device, if any.")] = ""
    idle_s: Annotated[
        float, said("Seconds of silence after which the service pings this connection.")
    ]


class PushFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="push"):
    """A push. The same id may come twice; it is shown once and acked each time."""

    id: Annotated[str, said("Tells copies of one push, whichever way they come.")]
    task_id: Annotated[str, said("The push's TaskId: what `POST /v1/devices/report` wants.")]
    title: Annotated[str, said("Title, in the language of the device where it is there.")] = ""
    desc: Annotated[str, said("Text, in the language of the device where it is there.")] = ""
    ext: Annotated[str, said("`Ext` as the caller gave it; what a click hands to the app.")] = ""
    sender: Annotated[str, said("The account that the push is from.")] = ""
    sent_at: Annotated[int, said("When the push was accepted, Unix seconds (UTC).")] = 0
    expires_at: Annotated[
        int, said("When the push's life ends, Unix seconds (UTC): do not show it any later.")
    ] = 0
    badge_set: Annotated[
        int | None, said("The number that the app's icon shall show; 0 takes it away.")
    ] = None
    badge_add: Annotated[
        int | None, said("What to add to the number on the app's icon, 1 to 99.")
    ] = None
    msg_body: Annotated[
        msgspec.Raw | None, said("MsgBody as the caller of the push gave it: message elements.")
    ] = None


class RevokeFrame(Struct, frozen=True, tag="revoke"):
    """The push with this id was recalled: take it off the screen."""

    id: Annotated[str, said("The `id` of the push.")]
    task_id: Annotated[str, said("The TaskId of the push.")]


class AckedFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="acked"):
    """An ack or a click is done with: booked, so that it would survive a power cut, or refused."""

    id: Annotated[str, said("The `id` that the ack or click named.")]
    stage: Annotated[int, said("What was reported: 2 the push arrived, 3 it was clicked.")]
    code: Annotated[
        int,
        said(
            "Absent: it is in the books. Else it does not count, and repeating it changes nothing: "
            "90001 for what is no TaskId, 70402 for a push that did not go to this device over its "
            "connection."
        ),
    ] = 0
    info: Annotated[str, said("What the code means here, for a log.")] = ""


class DrainFrame(Struct, frozen=True, tag="drain"):
    """This process goes: close, and connect anew after so many seconds."""

    after_s: Annotated[
        float, said("Seconds to wait before the next connection; each device is told its own.")
    ] = 0.0


class ErrorFrame(Struct, frozen=True, tag="error"):
    """Why the service closes the connection, by code (docs/errors.md)."""

    code: Annotated[int, said("An ErrorCode: what to do stands in docs/clients.md.")]
    info: Annotated[str, said("What the code means here, for a log.")]


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
