"""The connection without I/O, stepped by hand."""

from __future__ import annotations

import struct

import hpack
import pytest

from tests.unit.adapters.http2.peer import (
    answer,
    answer_head,
    begun,
    connected,
    decoded,
    read_frames,
    request,
    said,
)
from tocsin.adapters.http2.connection import CONNECTION_WINDOW, Exchange, Http2Connection
from tocsin.adapters.http2.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WINDOW_UPDATE,
    frame,
    reset_frame,
    settings_frame,
    window_frame,
)
from tocsin.conversation import Fault, Response


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last, code))


def kind(exchange: Exchange) -> str:
    answered = exchange.answer
    return answered.kind if isinstance(answered, Fault) else str(answered and answered.status)


def test_it_greets_and_requests_nothing_before_the_peers_settings() -> None:
    connection = Http2Connection("https://api.example", streams_max=7, body_max_bytes=99)
    greeting = connection.data_to_send()
    assert greeting.startswith(PREFACE)
    settings, window = read_frames(greeting)
    ours = dict(struct.iter_unpack(">HL", settings.payload))
    assert ours[ENABLE_PUSH] == 0
    assert ours[INITIAL_WINDOW_SIZE] == WINDOW
    assert struct.unpack(">L", window.payload) == (CONNECTION_WINDOW - WINDOW,)
    assert connection.room == 0
    connection.receive(settings_frame({}))
    assert connection.room == 7
    (acknowledged,) = said(connection, SETTINGS)
    assert acknowledged.flags == ACK


def test_a_request_is_one_head_and_its_body() -> None:
    connection = connected()
    exchange = begun(connection, request(headers=[("apns-topic", "com.example")]))
    head, body = read_frames(connection.data_to_send())
    assert (head.kind, head.flags, head.stream) == (HEADERS, END_HEADERS, 1)
    assert decoded(hpack.Decoder(), head.payload) == [
        (":path", "/3/device/abc"),
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.example:8443"),
        ("user-agent", "tocsin"),
        ("apns-topic", "com.example"),
        ("content-length", "5"),
    ]
    assert (body.kind, body.flags, body.stream, body.payload) == (DATA, END_STREAM, 1, b"hello")
    connection.receive(answer_head(1) + frame(DATA, END_STREAM, 1, b"fine"))
    assert exchange.answer == Response(200, {"x-name": "value"}, b"fine")
    assert connection.under_way == 0


def test_a_request_that_cannot_be_written_uses_no_stream() -> None:
    connection = connected()
    exchange = begun(connection, request(headers=[("x-a", "b"), ("x-line", "a\r\nb")]))
    assert kind(exchange) == "refused"
    assert not connection.has_data_to_send
    assert begun(connection).stream == 1


@pytest.mark.parametrize("size", range(1, 40))
def test_bytes_may_arrive_in_any_pieces(size: int) -> None:
    connection = connected()
    exchange = begun(connection)
    data = answer_head(1) + frame(DATA, 0, 1, b"a" * 30) + frame(DATA, END_STREAM, 1, b"b")
    for at in range(0, len(data), size):
        assert exchange.answer is None
        connection.receive(data[at : at + size])
    assert exchange.answer == Response(200, {"x-name": "value"}, b"a" * 30 + b"b")


def test_padding_and_interim_answers_and_trailers_are_no_part_of_the_answer() -> None:
    connection = connected()
    exchange = begun(connection)
    connection.data_to_send()
    encoder = hpack.Encoder()
    connection.receive(
        frame(HEADERS, END_HEADERS, 1, encoder.encode([(":status", "103"), ("link", "x")]))
        + answer_head(1, encoder=encoder)
        + frame(DATA, PADDED, 1, b"\x03abc" + bytes(3))
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([("x-trailer", "1")]))
    )
    assert exchange.answer == Response(200, {"x-name": "value"}, b"abc")
    # Padding counts against the stream's window, which is measured for the answer alone.
    (granted,) = said(connection, WINDOW_UPDATE)
    assert (granted.stream, struct.unpack(">L", granted.payload)) == (1, (4,))


def test_headers_of_a_stream_that_has_ended_still_change_the_table() -> None:
    connection = connected()
    first, second = begun(connection), begun(connection)
    connection.cancel(first, "no longer wanted")
    encoder = hpack.Encoder()
    connection.receive(answer_head(1, encoder=encoder, is_end=True))
    connection.receive(answer_head(3, encoder=encoder, is_end=True))
    assert second.answer == Response(200, {"x-name": "value"}, b"")


@pytest.mark.evidence(
    "which bytes were handed out, and what the peer has disowned, is known and not read from texts",
    topic="Channels and sandbox",
    planted="streams above a GOAWAY's last in doubt; a refused stream in doubt",
)
def test_what_the_peer_disowns_is_unsent_and_the_rest_in_doubt() -> None:
    connection = connected()
    exchanges = [begun(connection) for _ in range(5)]
    connection.receive(reset_frame(1, REFUSED_STREAM) + goaway(5))
    assert [kind(it) for it in exchanges] == ["unsent", "None", "None", "unsent", "unsent"]
    assert connection.room == 0
    connection.receive(answer(3))
    assert kind(exchanges[1]) == "200"
    assert not connection.is_over
    connection.lose("the socket died")
    assert kind(exchanges[2]) == "maybe_sent"


def test_a_stream_refused_after_its_answer_began_is_in_doubt() -> None:
    connection = connected()
    refused, disowned = begun(connection), begun(connection)
    connection.receive(answer_head(1) + reset_frame(1, REFUSED_STREAM))
    connection.receive(answer_head(3) + goaway(1))
    assert (kind(refused), kind(disowned)) == ("maybe_sent", "maybe_sent")


def test_a_drained_connection_says_goodbye() -> None:
    connection = connected()
    exchange = begun(connection)
    connection.data_to_send()
    connection.receive(goaway(1))
    assert not connection.is_over
    connection.receive(answer(1))
    assert kind(exchange) == "200"
    assert connection.is_over
    assert len(said(connection, GOAWAY)) == 1


def test_a_goaway_may_name_fewer_streams_than_the_one_before() -> None:
    connection = connected()
    exchanges = [begun(connection) for _ in range(3)]
    connection.receive(goaway(2**31 - 1))
    assert [kind(it) for it in exchanges] == ["None"] * 3
    connection.receive(goaway(3))
    assert [kind(it) for it in exchanges] == ["None", "None", "unsent"]


def test_a_cancelled_exchange_is_reset_and_later_answers_are_nobodys() -> None:
    connection = connected()
    cancelled, other = begun(connection), begun(connection)
    connection.data_to_send()
    connection.cancel(cancelled, "too late")
    (reset,) = said(connection, RST_STREAM)
    assert (reset.stream, struct.unpack(">L", reset.payload)) == (1, (CANCEL,))
    assert cancelled.answer == Fault("maybe_sent", "too late")
    connection.receive(answer(1) + answer(3))
    assert kind(other) == "200"
    connection.cancel(other, "after the end")
    assert kind(other) == "200"


def test_the_stream_limit_is_the_lower_of_both_and_may_change() -> None:
    connection = connected(streams_max=3, settings={MAX_CONCURRENT_STREAMS: 2})
    assert connection.room == 2
    begun(connection)
    connection.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert connection.room == -1
    connection.receive(settings_frame({MAX_CONCURRENT_STREAMS: 100}))
    assert connection.room == 2


def test_a_body_waits_for_the_windows_and_the_frame_size() -> None:
    connection = connected(settings={INITIAL_WINDOW_SIZE: 20_000})
    body = bytes(range(256)) * 400
    begun(connection, request(body=body))
    sent = said(connection, DATA)
    assert [len(it.payload) for it in sent] == [16_384, 3_616]
    connection.receive(settings_frame({INITIAL_WINDOW_SIZE: 30_000, MAX_FRAME_SIZE: 20_000}))
    sent += said(connection, DATA)
    assert len(sent[-1].payload) == 10_000
    # Lowered, the window is owed for: what is granted first pays the debt.
    connection.receive(settings_frame({INITIAL_WINDOW_SIZE: 10_000}) + window_frame(1, 20_000))
    assert said(connection, DATA) == []
    connection.receive(window_frame(1, 100_000))
    sent += said(connection, DATA)
    # Now the connection's own window is what is short.
    assert sum(len(it.payload) for it in sent) == WINDOW
    connection.receive(window_frame(0, 100_000))
    sent += said(connection, DATA)
    assert b"".join(it.payload for it in sent) == body
    assert [it.flags for it in sent] == [0] * (len(sent) - 1) + [END_STREAM]


def test_an_answer_before_the_whole_request_ends_the_request() -> None:
    connection = connected(settings={INITIAL_WINDOW_SIZE: 2})
    exchange = begun(connection)
    connection.data_to_send()
    connection.receive(answer(1))
    assert kind(exchange) == "200"
    (reset,) = said(connection, RST_STREAM)
    assert struct.unpack(">L", reset.payload) == (NO_ERROR,)
    connection.receive(window_frame(1, 100))
    assert said(connection, DATA) == []


def test_long_headers_go_on_in_continuations() -> None:
    connection = connected()
    begun(connection, request(headers=[(f"x-{n}", "v" * 9_000) for n in range(5)]))
    frames = read_frames(connection.data_to_send())
    assert [it.kind for it in frames] == [HEADERS, CONTINUATION, CONTINUATION, DATA]
    assert [it.flags for it in frames] == [0, 0, END_HEADERS, END_STREAM]
    assert max(len(it.payload) for it in frames) == 16_384


def test_windows_are_given_back_once_they_are_worth_a_frame() -> None:
    connection = Http2Connection("https://a.example", streams_max=9, body_max_bytes=1 << 20)
    connection.receive(settings_frame({}))
    given, taken = 0, 0
    for number in range(40):
        exchange = begun(connection)
        connection.data_to_send()
        data = [frame(DATA, 0, exchange.stream, bytes(16_000))] * 60
        end = frame(DATA, END_STREAM, exchange.stream)
        connection.receive(b"".join([answer_head(exchange.stream), *data, end]))
        taken += 60 * 16_000
        for update in said(connection, WINDOW_UPDATE):
            assert update.stream == 0
            given += struct.unpack(">L", update.payload)[0]
        assert 0 <= taken - given <= CONNECTION_WINDOW // 4 + 60 * 16_000, number
    assert given


def test_a_ping_is_answered_and_ours_waits_for_its_answer() -> None:
    connection = connected()
    connection.receive(frame(PING, 0, 0, b"12345678"))
    (pong,) = said(connection, PING)
    assert (pong.flags, pong.payload) == (ACK, b"12345678")
    connection.ping()
    assert connection.is_pinging
    (ping,) = said(connection, PING)
    connection.receive(frame(PING, ACK, 0, ping.payload))
    assert not connection.is_pinging


def test_closing_says_goodbye_once_and_leaves_what_is_under_way_in_doubt() -> None:
    connection = connected()
    exchange = begun(connection)
    connection.data_to_send()
    connection.close("stopping")
    connection.close("again")
    assert exchange.answer == Fault("maybe_sent", "stopping")
    assert len(said(connection, GOAWAY)) == 1
    assert connection.room == 0


def test_what_a_goaway_says_is_the_reason_of_all_that_ends_by_it() -> None:
    connection = connected()
    looked_at, disowned = begun(connection), begun(connection)
    words = b'{"reason":"Shutdown"}'
    connection.receive(frame(GOAWAY, 0, 0, struct.pack(">LL", 1, 0) + words))
    connection.lose("the socket died")
    reason = f"the server went away (code 0: {words.decode()})"
    assert disowned.answer == Fault("unsent", reason)
    assert looked_at.answer == Fault("maybe_sent", reason)
