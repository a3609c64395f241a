"""Peers that lie: each fault of a peer ends as much as it must, with the code that names it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.unit.adapters.http2.peer import (
    BODY_MAX,
    answer,
    answer_head,
    begun,
    connected,
    request,
    said,
)
from tocsin.adapters.http2.connection import (
    BLOCK_FRAMES_MAX,
    CONNECTION_WINDOW,
    IDLE_FRAMES_MAX,
    Exchange,
    Http2Connection,
)
from tocsin.adapters.http2.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    frame,
    reset_frame,
    settings_frame,
    window_frame,
)
from tocsin.adapters.http2.hpack import LIST_BYTES_MAX
from tocsin.conversation import Fault, Response


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last, code))


def bomb() -> bytes:
    """A table entry of almost 4 KiB, named a hundred times by one byte each."""
    name, value = b"x-bomb", b"v" * 3_900
    length = bytes((0x7F, (3_900 - 127) & 127 | 128, (3_900 - 127) >> 7))
    entry = b"\x40" + bytes((len(name),)) + name + length + value
    assert LIST_BYTES_MAX < 100 * 3_900
    return frame(HEADERS, END_HEADERS, 1, b"\x88" + entry + b"\xbe" * 100)


def flood_of_continuations() -> bytes:
    pieces = [frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")] * BLOCK_FRAMES_MAX
    return frame(HEADERS, 0, 1, b"\x88") + b"".join(pieces)


def long_continuations() -> bytes:
    piece = frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 3_000)
    return frame(HEADERS, 0, 1, b"\x88") + piece * 5


def window_overrun() -> bytes:
    """More bytes than the connection's window, in frames that each fit."""
    count = CONNECTION_WINDOW // 16_000 + 1
    # Of a stream that has ended nothing is kept, but its bytes count, and only so much is given
    # back at a time as was read.
    return b"".join([frame(DATA, 0, 3, b"x" * 16_000)] * count)


CONNECTION_LIES: dict[str, tuple[bytes, int]] = {
    "a frame that is too long": (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", FRAME_SIZE_ERROR),
    "settings on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "settings of a wrong length": (frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (frame(SETTINGS, ACK, 0, b"123456"), FRAME_SIZE_ERROR),
    "a first window over the bound": (
        settings_frame({INITIAL_WINDOW_SIZE: WINDOW_MAX + 1}),
        FLOW_CONTROL_ERROR,
    ),
    "a frame size under the bound": (settings_frame({MAX_FRAME_SIZE: 16_383}), PROTOCOL_ERROR),
    "a frame size over the bound": (settings_frame({MAX_FRAME_SIZE: 1 << 24}), PROTOCOL_ERROR),
    "a server that asks for pushes": (settings_frame({ENABLE_PUSH: 1}), PROTOCOL_ERROR),
    "settings without end": (settings_frame({}) * (IDLE_FRAMES_MAX + 1), ENHANCE_YOUR_CALM),
    "a push": (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x88"), PROTOCOL_ERROR),
    "a ping on a stream": (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    "a ping of a wrong length": (frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    "pings without end": (frame(PING, 0, 0, b"12345678") * 10_001, ENHANCE_YOUR_CALM),
    "unknown frames without end": (frame(99, 0, 0) * 10_001, ENHANCE_YOUR_CALM),
    "empty data without end": (
        answer_head(1) + frame(DATA, 0, 1) * 10_001,
        ENHANCE_YOUR_CALM,
    ),
    "resets of an ended stream without end": (
        reset_frame(1, CANCEL) * (IDLE_FRAMES_MAX + 2),
        ENHANCE_YOUR_CALM,
    ),
    "interim answers without end": (
        frame(HEADERS, END_HEADERS, 1, b"\x08\x03103") * 10_001,
        ENHANCE_YOUR_CALM,
    ),
    "a goaway on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    "a goaway of a wrong length": (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "a goaway that takes streams back": (goaway(3) + goaway(5), PROTOCOL_ERROR),
    "a window that does not grow": (window_frame(0, 0), PROTOCOL_ERROR),
    "a window that is too large": (window_frame(0, WINDOW_MAX), FLOW_CONTROL_ERROR),
    "a window frame of a wrong length": (frame(WINDOW_UPDATE, 0, 0, b"123"), FRAME_SIZE_ERROR),
    "windows without end": (window_frame(0, 1) * 10_001, ENHANCE_YOUR_CALM),
    "a window of a stream that is not open": (window_frame(99, 1), PROTOCOL_ERROR),
    "a reset of a wrong length": (frame(RST_STREAM, 0, 1, b"123"), FRAME_SIZE_ERROR),
    "a reset of a stream that is not open": (reset_frame(99, CANCEL), PROTOCOL_ERROR),
    "a reset of the connection": (reset_frame(0, CANCEL), PROTOCOL_ERROR),
    "an answer on a stream that is not open": (answer(99), PROTOCOL_ERROR),
    "an answer on a stream of the server's": (answer(2), PROTOCOL_ERROR),
    "an answer on no stream": (answer(0), PROTOCOL_ERROR),
    "data on no stream": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "data on a stream that is not open": (frame(DATA, 0, 99, b"x"), PROTOCOL_ERROR),
    "more data than the window allowed": (window_overrun(), FLOW_CONTROL_ERROR),
    "more padding than the frame holds": (
        answer_head(1) + frame(DATA, PADDED, 1, b"\x05abcd"),
        PROTOCOL_ERROR,
    ),
    "padding without its length": (answer_head(1) + frame(DATA, PADDED, 1), PROTOCOL_ERROR),
    "headers without their priority": (
        frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"1234"),
        FRAME_SIZE_ERROR,
    ),
    "a priority of no stream": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, END_HEADERS, 1, b"\x88"), PROTOCOL_ERROR),
    "a continuation of another stream": (
        frame(HEADERS, 0, 1, b"\x88") + frame(CONTINUATION, END_HEADERS, 3),
        PROTOCOL_ERROR,
    ),
    "headers that are not continued": (
        frame(HEADERS, 0, 1, b"\x88") + frame(PING, 0, 0, bytes(8)),
        PROTOCOL_ERROR,
    ),
    "a flood of continuations": (flood_of_continuations(), ENHANCE_YOUR_CALM),
    "continuations that are long together": (long_continuations(), ENHANCE_YOUR_CALM),
    "headers that swell when they are read": (bomb(), ENHANCE_YOUR_CALM),
    "an index that is not in the table": (
        frame(HEADERS, END_HEADERS, 1, b"\xfe"),
        COMPRESSION_ERROR,
    ),
    "a table that is larger than we allow": (
        frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f\x88"),
        COMPRESSION_ERROR,
    ),
    "a number without end": (
        frame(HEADERS, END_HEADERS, 1, b"\xff" * 30),
        COMPRESSION_ERROR,
    ),
    "headers that end too early": (frame(HEADERS, END_HEADERS, 1, b"\x88\x00"), COMPRESSION_ERROR),
    "a string that ends too early": (
        frame(HEADERS, END_HEADERS, 1, b"\x00\x05ab"),
        COMPRESSION_ERROR,
    ),
}


@pytest.mark.evidence(
    "an HTTP/2 peer that lies loses its connection, with the code that names its fault, and what "
    "was under way is in doubt",
    topic="Channels and sandbox",
    planted="the bound of continuations, of idle frames, of header lists and of the window not "
    "looked at; the decoder's panic let through",
)
@pytest.mark.parametrize("lie", CONNECTION_LIES)
def test_a_peer_that_breaks_the_protocol_loses_the_connection(lie: str) -> None:
    data, code = CONNECTION_LIES[lie]
    connection = connected()
    exchanges = [begun(connection) for _ in range(3)]
    connection.receive(answer(5))
    if lie == "more data than the window allowed":
        connection.cancel(exchanges[1], "cancelled")
        swallow_window_updates(connection)
    connection.data_to_send()
    connection.receive(data)
    assert connection.is_over
    assert said_code(connection) == code
    kinds = [it.answer.kind for it in exchanges[:2] if isinstance(it.answer, Fault)]
    assert kinds == ["maybe_sent"] * 2
    assert exchanges[2].answer == Response(200, {}, b"ok")
    # Whatever comes behind it is not read.
    connection.receive(answer(1))
    assert not connection.has_data_to_send


def swallow_window_updates(connection: Http2Connection) -> None:
    """As if the windows that we grant had not come to the peer, who sends all the same."""
    connection._grant = lambda count: None  # type: ignore[method-assign]


def said_code(connection: Http2Connection) -> int:
    (goodbye,) = said(connection, GOAWAY)
    last, code = struct.unpack(">LL", goodbye.payload)
    assert last == 0
    return int(code)


STREAM_LIES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a body before its headers": (
        lambda: frame(DATA, 0, 1, b"x"),
        PROTOCOL_ERROR,
        "a body before its headers",
    ),
    "an answer without a status": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"),
        PROTOCOL_ERROR,
        "without a status",
    ),
    "a status that is none": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x08\x0320x"),
        PROTOCOL_ERROR,
        "a wrong status",
    ),
    "two statuses": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x88\x88"),
        PROTOCOL_ERROR,
        "a wrong status",
    ),
    "a status behind the headers": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b\x88"),
        PROTOCOL_ERROR,
        "a wrong status",
    ),
    "an upper-case name": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x88\x00\x01A\x01b"),
        PROTOCOL_ERROR,
        "a wrong name",
    ),
    "a pseudo-header of a request": (
        lambda: frame(HEADERS, END_HEADERS, 1, b"\x88\x82"),
        PROTOCOL_ERROR,
        "a wrong name",
    ),
    "a second answer": (
        lambda: answer_head(1) + answer_head(1),
        PROTOCOL_ERROR,
        "a second answer",
    ),
    "an interim answer that ends": (
        lambda: frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03103"),
        PROTOCOL_ERROR,
        "never comes",
    ),
    "a body over the bound": (
        lambda: answer_head(1) + frame(DATA, 0, 1, b"x" * (BODY_MAX + 1)),
        CANCEL,
        f"over {BODY_MAX} bytes",
    ),
    "a body that is shorter than it says": (
        lambda: (
            frame(HEADERS, END_HEADERS, 1, b"\x88\x0f\x0d\x019")
            + frame(DATA, END_STREAM, 1, b"half")
        ),
        PROTOCOL_ERROR,
        "not as long",
    ),
    "a priority of a wrong length": (
        lambda: frame(PRIORITY, 0, 1, b"1234"),
        FRAME_SIZE_ERROR,
        "PRIORITY",
    ),
}


@pytest.mark.evidence(
    "a fault of an HTTP/2 peer on one stream ends that stream alone",
    topic="Channels and sandbox",
    planted="the body's bound not looked at",
)
@pytest.mark.parametrize("lie", STREAM_LIES)
def test_a_fault_on_one_stream_ends_that_stream_alone(lie: str) -> None:
    make, code, reason = STREAM_LIES[lie]
    connection = connected()
    first, second = begun(connection), begun(connection)
    connection.data_to_send()
    connection.receive(make())
    (reset,) = said(connection, RST_STREAM)
    assert (reset.stream, struct.unpack(">L", reset.payload)) == (1, (code,))
    assert isinstance(first.answer, Fault)
    assert first.answer.kind == "maybe_sent"
    assert reason in first.answer.reason
    connection.receive(answer(3))
    assert second.answer == Response(200, {}, b"ok")
    assert not connection.is_over


def test_tiny_pieces_without_end_lose_the_connection() -> None:
    connection = Http2Connection("https://a.example", streams_max=1, body_max_bytes=1 << 20)
    connection.receive(settings_frame({}))
    begun(connection)
    connection.data_to_send()
    connection.receive(answer_head(1) + frame(DATA, 0, 1, b"x") * (IDLE_FRAMES_MAX + 1))
    assert said_code(connection) == ENHANCE_YOUR_CALM


def half_sent() -> tuple[Http2Connection, Exchange]:
    """A request whose body waits for the connection's window; its stream's own has room left."""
    connection = connected(settings={INITIAL_WINDOW_SIZE: 100_000})
    exchange = begun(connection, request(body=b"x" * 70_000))
    assert exchange.unsent
    connection.data_to_send()
    return connection, exchange


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (window_frame(1, WINDOW_MAX), FLOW_CONTROL_ERROR),
        (window_frame(1, 0), PROTOCOL_ERROR),
    ],
)
def test_a_lie_about_a_streams_window_ends_that_stream(data: bytes, code: int) -> None:
    connection, exchange = half_sent()
    connection.receive(data)
    (reset,) = said(connection, RST_STREAM)
    assert struct.unpack(">L", reset.payload) == (code,)
    assert isinstance(exchange.answer, Fault)
    assert exchange.answer.kind == "maybe_sent"
    assert not connection.is_over


def test_settings_that_swell_a_streams_window_end_the_connection() -> None:
    connection, exchange = half_sent()
    connection.receive(window_frame(1, WINDOW_MAX - exchange.window))
    connection.data_to_send()
    connection.receive(settings_frame({INITIAL_WINDOW_SIZE: 100_001}))
    assert said_code(connection) == FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    "first",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS, ACK, 0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        goaway(0),
    ],
)
def test_a_peer_that_does_not_begin_with_settings_gets_no_request(first: bytes) -> None:
    connection = Http2Connection("https://api.example", streams_max=1, body_max_bytes=1)
    connection.receive(first)
    assert connection.is_over
    assert not connection.is_ready
    assert connection.room == 0
