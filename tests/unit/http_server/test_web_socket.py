"""What a WebSocket may cost that does not play along: stepped by hand, on a manual clock."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.unit.http_server.test_times import Clockwork, Wire
from tocsin.clock import settle_loop
from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import Connections
from tocsin.http_server.web_socket import WebSocketProtocol

BOUNDS = Bounds()
HANDSHAKE = (
    b"GET /v4/online HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
)
PING = bytes([0x89, 0x80 | 4, 0, 0, 0, 0]) + b"ping"
PONG = bytes([0x8A, 4]) + b"ping"


class StuckWire(Wire):
    """Closing waits until all that was written has been read; only aborting does not."""

    def close(self) -> None:
        self.is_closed = not self.unsent

    def abort(self) -> None:
        self.is_closed = True


class Socket:
    """One WebSocket to an application that sends what the test tells it to."""

    def __init__(self, places: int = 10) -> None:
        self.loop, self.wire = Clockwork(), StuckWire()
        self.to_send: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connections = Connections(places)
        config = uvicorn.Config(
            self._serve, interface="asgi3", log_config=None, ws_ping_interval=None
        )
        loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.protocol = WebSocketProtocol(config, ServerState(), {}, loop)
        self.protocol.connection_made(cast("asyncio.Transport", self.wire))

    async def open(self) -> Socket:
        place = self.connections.admit("")
        assert place is not None
        self.protocol.take(place, BOUNDS)
        self.protocol.data_received(HANDSHAKE)
        await settle_loop()
        assert b"101 Switching Protocols" in self.wire.written
        self.wire.written = b""
        return self

    async def send(self, **message: Any) -> None:
        self.to_send.put_nowait({"type": "websocket.send", "text": "x"} | message)
        await settle_loop()

    async def _serve(self, _scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await self.to_send.get()
            await send(message)


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
    topic="Connections",
    planted="every ping answered; no time for the reader; a stranger taken for known, a "
    "known one for a stranger, a closing one for known; closed instead of aborted",
)
async def test_pings_of_a_client_that_does_not_read_are_not_answered() -> None:
    socket = await Socket().open()
    socket.protocol.data_received(PING)
    assert socket.wire.written == PONG
    socket.wire.written = b""
    socket.protocol.pause_writing()
    for _ in range(1000):
        socket.protocol.data_received(PING * 10)
    assert socket.wire.written == b""
    socket.protocol.resume_writing()
    socket.protocol.data_received(PING)
    assert socket.wire.written == PONG


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
)
async def test_a_client_that_reads_nothing_is_cut_off_in_time() -> None:
    socket = await Socket().open()
    socket.protocol.pause_writing()
    socket.loop.advance(BOUNDS.answer_s - 1)
    assert not socket.wire.is_closed
    socket.protocol.resume_writing()
    socket.loop.advance(BOUNDS.answer_s)
    assert not socket.wire.is_closed
    socket.protocol.pause_writing()
    socket.loop.advance(BOUNDS.answer_s)
    assert socket.wire.is_closed


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
)
async def test_one_that_has_not_been_answered_gives_up_its_place() -> None:
    socket = await Socket(places=1).open()
    another = socket.connections.admit("")
    assert another is not None
    assert not another.is_cramped
    assert socket.wire.is_closed


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
)
async def test_one_that_is_known_keeps_its_place_until_it_is_being_closed() -> None:
    socket = await Socket(places=1).open()
    await socket.send()
    another = socket.connections.admit("")
    assert another is not None
    assert another.is_cramped
    assert not socket.wire.is_closed
    another.leave()
    await socket.send(type="websocket.close", code=4002, text=None)
    assert socket.connections.admit("") is not None
    assert socket.wire.is_closed


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
)
async def test_a_closing_one_that_does_not_read_is_cut_off() -> None:
    socket = await Socket().open()
    await socket.send(type="websocket.close", code=4002, text=None)
    socket.wire.unsent = 1
    socket.loop.advance(BOUNDS.close_s - 1)
    assert not socket.wire.is_closed
    socket.loop.advance(1)
    assert socket.wire.is_closed


@pytest.mark.evidence(
    "a stop waits for no half request and no client that does not read, and is quiet",
)
async def test_a_stop_does_not_wait_for_one_that_does_not_read() -> None:
    socket = await Socket().open()
    socket.protocol.pause_writing()
    socket.protocol.shutdown()
    assert socket.wire.is_closed
    assert socket.wire.written == b"", "a close frame would wait behind what it has not read"
