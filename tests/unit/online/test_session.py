"""The session stepped by hand: no loop, no socket, times as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tocsin.domain.task import Stage
from tocsin.online.session import (
    ALLOWED_FRAMES,
    BAD_FRAME,
    LEFT,
    NO_HELLO,
    REPLACED,
    SHOWN_MAX,
    SILENT,
    TOO_LARGE,
    TOO_MANY,
    BookReport,
    CloseConnection,
    Effect,
    LeaveService,
    RegisterDevice,
    SendFrame,
    Session,
    SessionLimits,
    SessionState,
)

HELLO = b'{"type":"hello","sdkappid":1,"appkey":"k"}'
PUSH = b'{"type":"push","id":"p","task_id":"p"}'


def told(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(step.data) for step in effects if isinstance(step, SendFrame)]


def greeting(**limits: float) -> Session:
    return Session(SessionLimits(**limits), 0.0)


def opened(known: Sequence[str] = (), **limits: float) -> Session:
    session = greeting(**limits)
    session.receive_frame(HELLO, 0.0)
    session.joined("R", "s", "ann", known)
    return session


def test_a_hello_asks_the_registrar_and_is_answered() -> None:
    session = greeting()
    (join,) = session.receive_frame(HELLO, 1.0)
    assert isinstance(join, RegisterDevice)
    assert session.state == SessionState.JOINING
    (frame,) = told(session.joined("R", "s", "ann"))
    assert frame == {
        "type": "registered",
        "registration_id": "R",
        "secret": "s",
        "user": "ann",
        "idle_s": 60.0,
    }
    assert session.push("p", PUSH)


@pytest.mark.parametrize("frame", [b'{"type":"ack","id":"p"}', b'{"type":"click","id":"p"}'])
def test_before_a_hello_nothing_is_booked(frame: bytes) -> None:
    error, close = greeting().receive_frame(frame, 0.0)
    assert told([error])[0]["code"] == 70402
    assert close == CloseConnection(BAD_FRAME)


def test_a_second_hello_ends_the_session() -> None:
    assert opened().receive_frame(HELLO, 1.0)[-1] == CloseConnection(BAD_FRAME)


@pytest.mark.parametrize("state", list(SessionState))
def test_each_state_takes_only_what_its_row_says(state: SessionState) -> None:
    frames = {
        "Hello": HELLO,
        "AckFrame": b'{"type":"ack","id":"p"}',
        "ClickFrame": b'{"type":"click","id":"p"}',
        "PingFrame": b'{"type":"ping"}',
        "PongFrame": b'{"type":"pong"}',
        "ByeFrame": b'{"type":"bye"}',
    }
    for name, data in frames.items():
        session = greeting()
        session.state = state
        effects = session.receive_frame(data, 1.0)
        is_taken = CloseConnection(BAD_FRAME) not in effects and state is not SessionState.CLOSED
        assert is_taken == (name in {it.__name__ for it in ALLOWED_FRAMES[state]}), (state, name)
        if state is SessionState.CLOSED:
            assert effects == []


def test_an_ack_is_confirmed_only_when_it_is_booked() -> None:
    session = opened()
    assert session.push("p", PUSH) == [SendFrame(PUSH)]
    assert session.receive_frame(b'{"type":"ack","id":"p"}', 1.0) == [
        BookReport("p", Stage.REACHED)
    ]
    assert session.shown == {"p": False}
    assert told(session.booked("p", Stage.REACHED)) == [{"type": "acked", "id": "p", "stage": 2}]
    assert session.shown == {"p": True}


def test_a_click_is_booked_too() -> None:
    assert opened().receive_frame(b'{"type":"click","id":"p"}', 1.0) == [
        BookReport("p", Stage.CLICKED)
    ]


def test_a_push_is_written_once_to_a_connection() -> None:
    session = opened()
    assert session.push("p", PUSH)
    assert session.push("p", PUSH) == []


def test_what_the_client_has_already_is_not_written() -> None:
    assert opened(known=["p"]).push("p", PUSH) == []


def test_before_it_is_open_nothing_is_pushed() -> None:
    session = greeting()
    assert session.push("p", PUSH) == []
    session.receive_frame(HELLO, 0.0)
    assert session.push("p", PUSH) == []


def test_what_is_remembered_has_a_bound() -> None:
    session = opened()
    for number in range(SHOWN_MAX + 50):
        session.push(f"p{number}", PUSH)
    assert len(session.shown) == SHOWN_MAX


def test_a_recalled_push_is_not_written_after_its_recall() -> None:
    session = opened()
    assert told(session.revoke("p")) == [{"type": "revoke", "id": "p", "task_id": "p"}]
    assert session.push("p", PUSH) == []


def test_both_sides_may_ask_whether_the_other_is_there() -> None:
    session = opened(idle_s=10, reply_s=5)
    assert told(session.receive_frame(b'{"type":"ping"}', 1.0)) == [{"type": "pong"}]
    assert session.tick(10.9) == []
    assert session.next_tick() == 11.0
    assert told(session.tick(11.0)) == [{"type": "ping"}]
    assert session.tick(12.0) == []
    assert session.receive_frame(b'{"type":"pong"}', 13.0) == []
    assert session.tick(16.0) == []
    assert told(session.tick(23.0)) == [{"type": "ping"}]
    assert session.next_tick() == 28.0
    assert session.tick(28.0) == [CloseConnection(SILENT)]
    assert session.state is SessionState.CLOSED


def test_a_connection_without_hello_is_closed() -> None:
    session = greeting(hello_s=5)
    assert session.next_tick() == 5.0
    assert session.receive_frame(b'{"type":"ping"}', 4.0) != []
    assert session.tick(4.9) == []
    assert session.tick(5.0) == [CloseConnection(NO_HELLO)]


def test_a_bye_leaves_and_may_unregister() -> None:
    assert opened().receive_frame(b'{"type":"bye"}', 1.0) == [CloseConnection(LEFT)]
    assert opened().receive_frame(b'{"type":"bye","unregister":true}', 1.0) == [
        LeaveService(True),
        CloseConnection(LEFT),
    ]
    assert opened().receive_frame(b'{"type":"bye","logout":true}', 1.0) == [
        LeaveService(False),
        CloseConnection(LEFT),
    ]


def test_an_oversized_frame_has_a_close_code_of_its_own() -> None:
    effects = opened().receive_frame(b'"' + b"x" * 17_000 + b'"', 1.0)
    assert effects[-1] == CloseConnection(TOO_LARGE)


def test_too_many_frames_end_the_session() -> None:
    session = opened(frames_per_s=1, frames_burst=5)
    for _ in range(4):
        assert session.receive_frame(b'{"type":"pong"}', 0.0) == []
    assert session.receive_frame(b'{"type":"pong"}', 0.0)[-1] == CloseConnection(TOO_MANY)


def test_the_end_comes_once() -> None:
    session = opened()
    assert session.end(REPLACED) == [CloseConnection(REPLACED)]
    assert session.end(REPLACED) == []
    assert session.drain(1.0) == []
    assert session.tick(1e9) == []
    assert session.booked("p", Stage.REACHED) == []


def test_a_drain_is_told_and_the_session_goes_on() -> None:
    session = opened()
    assert told(session.drain(2.5)) == [{"type": "drain", "after_s": 2.5}]
    assert session.receive_frame(b'{"type":"ack","id":"p"}', 1.0) == [
        BookReport("p", Stage.REACHED)
    ]


def test_a_client_that_hung_up_during_its_hello_is_not_joined() -> None:
    session = greeting()
    session.receive_frame(HELLO, 0.0)
    session.end(LEFT)
    assert session.joined("R", "s", "") == []
