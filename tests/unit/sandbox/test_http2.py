"""What a client takes back in the same breath harms no other stream of its connection.

The library reads a whole piece of input before it hands over its events, so the server hears of a
request, or of room for more of an answer, when the stream is already gone. Stepped by hand, since
on a socket it would depend on what one read happens to bring.
"""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from tocsin.clock import ManualClock
from tocsin.sandbox.exchange import Call, Connection, Reply
from tocsin.sandbox.http2 import Http2

BODY = b"an answer with a body"


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True


class Step:
    """A client's library on one side, the sandbox's connection on the other."""

    def __init__(self, clock: ManualClock, *, window: int) -> None:
        self.wire = Wire()
        self.judged: list[int] = []
        self.answers: dict[int, bytes] = {}
        self.client = h2.connection.H2Connection(h2.config.H2Configuration())
        self.client.initiate_connection()
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.server = Http2(self._serve, Connection(1, "h2", None), clock, 100)
        self.server.connection_made(self.wire)
        self.exchange()

    def _serve(self, call: Call) -> Reply:
        self.judged.append(call.stream)
        return Reply(200, (), BODY)

    def ask(self, stream: int) -> None:
        pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
        self.client.send_headers(stream, pseudo, end_stream=True)

    def exchange(self) -> None:
        """Hand over in one piece all that the client has said, and read what comes back."""
        while data := self.client.data_to_send():
            self.server.data_received(data)
            said, self.wire.written = bytes(self.wire.written), bytearray()
            for event in self.client.receive_data(said):
                if isinstance(event, h2.events.DataReceived):
                    assert event.stream_id is not None
                    assert event.data is not None
                    self.answers[event.stream_id] = (
                        self.answers.get(event.stream_id, b"") + event.data
                    )


def test_a_request_given_up_at_once_is_judged_and_its_answer_dropped(clock: ManualClock) -> None:
    step = Step(clock, window=65_535)
    step.ask(1)
    step.client.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
    step.ask(3)
    step.exchange()
    assert step.judged == [1, 3]
    assert step.answers == {3: BODY}
    assert not step.wire.is_closed


@pytest.mark.parametrize("is_followed", [False, True], ids=["alone", "followed"])
def test_an_answer_given_up_with_the_room_for_its_rest(
    clock: ManualClock, *, is_followed: bool
) -> None:
    step = Step(clock, window=2)
    step.ask(1)
    step.exchange()
    assert step.answers == {1: BODY[:2]}
    step.client.increment_flow_control_window(100, stream_id=1)
    step.client.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
    if is_followed:
        step.ask(3)
    step.exchange()
    step.ask(5)
    step.client.increment_flow_control_window(100, stream_id=5)
    step.exchange()
    assert step.answers[5] == BODY
    assert not step.wire.is_closed
