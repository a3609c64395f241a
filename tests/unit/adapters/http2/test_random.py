"""The connection against another implementation, and against anything at all."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.adapters.http2.peer import begun, connected, request
from tocsin.adapters.http2.connection import Exchange, Http2Connection
from tocsin.adapters.http2.frames import frame
from tocsin.conversation import Fault, Response

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "answer", "refuse", "limit", "window", "ping", "cancel"]),
        st.integers(0, 70_000),
    ),
    max_size=40,
)


def carry(client: Http2Connection, server: h2.connection.H2Connection) -> list[int]:
    """Carry bytes until both are silent; answers the streams whose requests are complete."""
    ended = []
    while client.has_data_to_send or server._data_to_send:
        for event in server.receive_data(client.data_to_send()):
            if isinstance(event, h2.events.DataReceived):
                server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                ended.append(event.stream_id)
        client.receive(server.data_to_send())
    assert not client.is_over
    return ended


@given(STEPS)
def test_another_implementation_takes_whatever_we_say(steps: list[tuple[str, int]]) -> None:
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    client = Http2Connection("https://a.example", streams_max=9, body_max_bytes=1_000)
    carry(client, server)
    exchanges: dict[int, Exchange] = {}
    complete: set[int] = set()
    expected: dict[int, str] = {}
    names = h2.settings.SettingCodes
    for step, number in steps:
        open_streams = sorted(complete - expected.keys())
        if step == "request" and client.room > 0:
            exchange = begun(client, request(body=b"x" * number))
            exchanges[exchange.stream] = exchange
        elif step == "limit":
            server.update_settings({names.MAX_CONCURRENT_STREAMS: number % 12})
        elif step == "window":
            server.update_settings({names.INITIAL_WINDOW_SIZE: number})
        elif step == "ping":
            server.ping(b"12345678")
        elif open_streams:
            stream = open_streams[number % len(open_streams)]
            if step == "answer":
                server.send_headers(stream, [(":status", "200")], end_stream=True)
            elif step == "refuse":
                server.reset_stream(stream, 7)
            elif step == "cancel":
                client.cancel(exchanges[stream], "cancelled")
            expected[stream] = {"answer": "200", "refuse": "unsent"}.get(step, "maybe_sent")
        complete.update(carry(client, server))
    for stream, exchange in exchanges.items():
        came_to = exchange.answer
        if stream in expected:
            kind = came_to.kind if isinstance(came_to, Fault) else str(came_to and came_to.status)
            assert kind == expected[stream]
        else:
            assert came_to is None


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 99]),
    st.binary(max_size=40),
)


@given(st.lists(st.one_of(FRAMES, st.binary(max_size=20)), max_size=20))
def test_nothing_that_a_peer_says_raises(pieces: list[bytes]) -> None:
    connection = connected()
    exchanges = [begun(connection) for _ in range(3)]
    for piece in pieces:
        connection.receive(piece)
        connection.data_to_send()
    connection.lose("the end")
    for exchange in exchanges:
        assert isinstance(exchange.answer, Response | Fault)
