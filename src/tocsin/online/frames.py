"""The frames of the online channel: one JSON object each, distinguished by its member `type`.

`docs/frames.md` and `docs/frames.schema.json` are made from these types, with the sentence beside
each member. A frame as a whole has a bound, and so has each text that the service reads. Unknown
members are ignored, so that older and newer clients can talk to the service.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from tocsin.domain.hello import Hello, described
from tocsin.domain.message import Message
from tocsin.domain.task import Task
from tocsin.errors import CallError

FRAME_MAX_BYTES = 16 * 1024


class AckFrame(Struct, frozen=True, tag="ack"):
    """A push has arrived."""

    # Of any length: the answer says that this is no TaskId, and the client stops repeating it.
    id: Annotated[str, described("The `id` of the `push`.")]


class ClickFrame(Struct, frozen=True, tag="click"):
    """A person has opened a push."""

    id: Annotated[str, described("The `id` of the `push`.")]


class PingFrame(Struct, frozen=True, tag="ping"):
    """Checks that the other side is there, which answers with `pong`. Both sides may send it."""


class PongFrame(Struct, frozen=True, tag="pong"):
    """The answer to `ping`."""


class ByeFrame(Struct, frozen=True, tag="bye"):
    """The device ends the connection."""

    unregister: Annotated[
        bool, described("True: unregister the device; no push comes until its next hello.")
    ] = False
    logout: Annotated[
        bool, described("True: log the UserID out; the device itself stays registered.")
    ] = False


ClientFrame = Hello | AckFrame | ClickFrame | PingFrame | PongFrame | ByeFrame


class RegisteredFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="registered"):
    """The service has registered the device."""

    registration_id: Annotated[
        str, described("The RegistrationID of this device from now on: store it.")
    ]
    secret: Annotated[
        str,
        described(
            "The secret that proves this device, sent at its first registration only: store it."
        ),
    ] = ""
    user: Annotated[str, described("The UserID that is logged in on this device, if any.")] = ""
    idle_s: Annotated[
        float, described("Seconds of silence after which the service pings this connection.")
    ]


class PushFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="push"):
    """A push. The same id may come twice; it is shown once and acked each time."""

    id: Annotated[str, described("The same in every copy of a push, on every channel.")]
    task_id: Annotated[str, described("The push's TaskId, for `POST /v1/devices/report`.")]
    title: Annotated[str, described("Title, in the language of the device where it is there.")] = ""
    desc: Annotated[str, described("Text, in the language of the device where it is there.")] = ""
    ext: Annotated[
        str, described("`Ext` as the caller gave it, for the app when the push is clicked.")
    ] = ""
    sender: Annotated[str, described("The account that the push is from.")] = ""
    sent_at: Annotated[int, described("When the push was accepted, Unix seconds (UTC).")] = 0
    expires_at: Annotated[
        int, described("When the push expires, Unix seconds (UTC): do not show the push any later.")
    ] = 0
    badge_set: Annotated[
        int | None, described("The number to show on the app's icon; 0 removes the number.")
    ] = None
    badge_add: Annotated[
        int | None, described("What to add to the number on the app's icon, 1 to 99.")
    ] = None
    msg_body: Annotated[
        msgspec.Raw | None,
        described("MsgBody as the caller of the push gave it: message elements."),
    ] = None


class RevokeFrame(Struct, frozen=True, tag="revoke"):
    """The push with this id was recalled: remove it from the screen."""

    id: Annotated[str, described("The `id` of the push.")]
    task_id: Annotated[str, described("The TaskId of the push.")]


class AckedFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="acked"):
    """The answer to an ack or a click: booked durably, or refused."""

    id: Annotated[str, described("The `id` of the ack or click.")]
    stage: Annotated[int, described("The reported stage: 2 the push arrived, 3 it was clicked.")]
    code: Annotated[
        int,
        described(
            "Absent: the report is booked. Else it does not count, and a repeat changes nothing: "
            "90001 where `id` is no TaskId, 70402 for a push that did not go to this device over "
            "its connection."
        ),
    ] = 0
    info: Annotated[str, described("The meaning of the code here, for a log.")] = ""


class DrainFrame(Struct, frozen=True, tag="drain"):
    """This process of the service stops: close, and connect again after so many seconds."""

    after_s: Annotated[
        float, described("Seconds to wait before the next connection, different for each device.")
    ] = 0.0


class ErrorFrame(Struct, frozen=True, tag="error"):
    """Why the service closes the connection, by code (docs/errors.md)."""

    code: Annotated[int, described("An ErrorCode: what to do stands in docs/clients.md.")]
    info: Annotated[str, described("The meaning of the code here, for a log.")]


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
    """Decode a client's frame; `CallError` 60002, 60003 or 70402, without values of the frame."""
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
    """Encode a frame for the wire."""
    return msgspec.json.encode(frame)


PING = encode(PingFrame())
PONG = encode(PongFrame())


def push_of(task: Task, language: int) -> PushFrame:
    """The push of a task in one of its languages. The id is the TaskId, in every attempt."""
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
