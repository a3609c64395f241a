"""A server's side of HTTP/2 that says whatever a test wants, and reads what we have said."""

from __future__ import annotations

from collections.abc import Iterable

import hpack
from msgspec import Struct

from tocsin.adapters.http2.connection import Exchange, Http2Connection
from tocsin.adapters.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    PREFACE,
    frame,
    read_head,
    settings_frame,
)
from tocsin.conversation import Request

BODY_MAX = 1_000


class Said(Struct, frozen=True):
    """One frame of ours."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def read_frames(data: bytes) -> list[Said]:
    """What we have said, frame by frame."""
    data = data.removeprefix(PREFACE)
    frames = []
    while data:
        upper, lower, kind, flags, stream = read_head(data, 0)
        end = HEAD_BYTES + (upper << 16 | lower)
        assert len(data) >= end
        frames.append(Said(kind, flags, stream, data[HEAD_BYTES:end]))
        data = data[end:]
    return frames


def said(connection: Http2Connection, kind: int) -> list[Said]:
    """The frames of this kind that are to be sent now; all others are taken away."""
    return [it for it in read_frames(connection.data_to_send()) if it.kind == kind]


def connected(*, streams_max: int = 100, settings: dict[int, int] | None = None) -> Http2Connection:
    """A connection whose peer has said its SETTINGS, and to whom we owe nothing."""
    connection = Http2Connection(
        "https://api.example:8443", streams_max=streams_max, body_max_bytes=BODY_MAX
    )
    connection.receive(settings_frame(settings or {}))
    connection.data_to_send()
    return connection


def request(
    path: str = "/3/device/abc", body: bytes = b"hello", headers: Iterable[tuple[str, str]] = ()
) -> Request:
    return Request("POST", "https://api.example:8443", path, tuple(headers), body)


def begun(connection: Http2Connection, asked: Request | None = None) -> Exchange:
    """An exchange that has begun."""
    exchange = Exchange(asked or request())
    connection.request(exchange)
    return exchange


def answer_head(
    stream: int, *, is_end: bool = False, encoder: hpack.Encoder | None = None, status: str = "200"
) -> bytes:
    block = (encoder or hpack.Encoder()).encode([(":status", status), ("x-name", "value")])
    return frame(HEADERS, END_HEADERS | (END_STREAM if is_end else 0), stream, block)


def answer(stream: int, body: bytes = b"ok") -> bytes:
    """A whole answer that leaves the table of headers as it is."""
    head = frame(HEADERS, END_HEADERS, stream, b"\x88")
    return head + frame(DATA, END_STREAM, stream, body)


def decoded(decoder: hpack.Decoder, block: bytes) -> list[tuple[str, str]]:
    """Headers as another implementation reads them."""
    return [(str(field[0]), str(field[1])) for field in decoder.decode(block)]
