"""What is within its time is served: one connection stepped by hand, on a manual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from tocsin.clock import settle_loop
from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import HEALTH_PLACES, Connections
from tocsin.http_server.protocol import HttpProtocol

BOUNDS = Bounds()
KEEP_ALIVE_S = 75


class Clockwork:
    """What a protocol uses of an event loop, with timers that go off when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.now + delay_s, call)
        self.timers.append(timer)
        return timer

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def advance(self, delay_s: float) -> None:
        self.now += delay_s
        for timer in [each for each in self.timers if each.at <= self.now]:
            self.timers.remove(timer)
            if not timer.is_cancelled:
                timer.call()


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_reading = True
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, _name: str) -> None:
        return None


class Line:
    """One connection to an application that reads its body when it is told to."""

    def __init__(self, connections: Connections | None = None) -> None:
        self.loop, self.wire = Clockwork(), Wire()
        self.may_read = asyncio.Event()
        self.may_read.set()
        config = uvicorn.Config(
            self._serve, interface="asgi3", log_config=None, timeout_keep_alive=KEEP_ALIVE_S
        )
        self.connections = connections or Connections(10)
        place = self.connections.admit("")
        assert place is not None
        self.protocol = HttpProtocol(
            config, ServerState(), place=place, connections=self.connections, bounds=BOUNDS
        )
        self.protocol.loop = cast("asyncio.AbstractEventLoop", self.loop)
        self.protocol.connection_made(cast("asyncio.Transport", self.wire))

    async def _serve(self, _scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            await self.may_read.wait()
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    async def say(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await settle_loop()

    @property
    def status(self) -> int:
        return int(self.wire.written.split(b" ")[1]) if self.wire.written else 0


@pytest.mark.evidence(
    "what is within its time is served",
    topic="Connections",
    planted="bytes that came earn no time; the service's own slowness counted; empty lines "
    "taken for a sign of life",
)
async def test_a_head_may_take_its_time_and_no_more() -> None:
    line = Line()
    for byte in b"GET / HTTP":
        await line.say(bytes([byte]))
        line.loop.advance(0.9)
    await line.say(b"/1.1\r\n\r\n")
    assert line.status == 200
    line = Line()
    await line.say(b"GET")
    line.loop.advance(9.9)
    assert line.status == 0
    line.loop.advance(0.2)
    assert line.status == 408


@pytest.mark.evidence("what is within its time is served")
async def test_a_long_body_may_come_slowly_if_it_comes() -> None:
    line = Line()
    size = 40 * 8192
    await line.say(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(40):
        line.loop.advance(2.0)
        await line.say(b"x" * 8192)
    assert line.status == 200
    assert b"%d" % size in line.wire.written


@pytest.mark.evidence("what is within its time is served")
async def test_a_body_slower_than_the_least_rate_is_late() -> None:
    line = Line()
    await line.say(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(30):
        await line.say(b"1\r\nx\r\n")
        line.loop.advance(1.0)
    assert line.status == 408


@pytest.mark.evidence("what is within its time is served")
async def test_an_application_that_does_not_read_is_no_fault_of_the_client() -> None:
    line = Line()
    line.may_read.clear()
    await line.say(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000)
    assert not line.wire.is_reading
    for _ in range(20):
        line.loop.advance(10.0)
    line.may_read.set()
    await settle_loop()
    await line.say(b"x" * 30_000)
    assert line.status == 200


async def test_a_client_that_waits_for_its_answer_is_not_late() -> None:
    line = Line()
    line.may_read.clear()
    await line.say(b"GET / HTTP/1.1\r\n\r\n")
    line.loop.advance(3600)
    line.may_read.set()
    await settle_loop()
    assert line.status == 200


@pytest.mark.evidence("what is within its time is served")
async def test_an_idle_connection_is_kept_and_closed_in_its_time() -> None:
    line = Line()
    await line.say(b"GET / HTTP/1.1\r\n\r\n")
    line.loop.advance(KEEP_ALIVE_S - 1)
    await line.say(b"GET / HTTP/1.1\r\n\r\n")
    line.loop.advance(KEEP_ALIVE_S - 1)
    assert not line.wire.is_closed
    # Empty lines are no request, so they keep nothing open.
    await line.say(b"\r\n")
    line.loop.advance(BOUNDS.head_s + 0.1)
    assert line.wire.written.count(b"HTTP/1.1 ") == 3
    line = Line()
    await line.say(b"GET / HTTP/1.1\r\n\r\n")
    line.loop.advance(KEEP_ALIVE_S + 0.1)
    assert line.wire.is_closed


async def test_an_answer_that_is_read_in_time_is_not_cut_off() -> None:
    line = Line()
    line.may_read.clear()
    await line.say(b"GET / HTTP/1.1\r\n\r\n")
    line.protocol.pause_writing()
    line.loop.advance(BOUNDS.answer_s - 1)
    line.protocol.resume_writing()
    line.protocol.pause_writing()
    line.loop.advance(BOUNDS.answer_s - 1)
    assert not line.wire.is_closed
    line.loop.advance(1.1)
    assert line.wire.is_closed
    line.protocol.connection_lost(None)
    line.may_read.set()
    await settle_loop()


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
async def test_the_last_bytes_of_an_answer_are_not_waited_for_for_ever() -> None:
    line = Line()
    line.wire.unsent = 1
    await line.say(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert line.status == 200
    (timer,) = [each for each in line.loop.timers if not each.is_cancelled]
    assert timer.at == BOUNDS.answer_s


@pytest.mark.evidence(
    "health is answered when every connection is at work",
    topic="Connections",
    planted="everything answered there; nothing",
)
async def test_beyond_all_places_only_health_is_answered_and_soon() -> None:
    connections = Connections(1)
    busy = connections.admit("")
    assert busy is not None
    busy.work()
    line = Line(connections)
    await line.say(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert line.status == 200
    assert b"connection: close" in line.wire.written
    line = Line(connections)
    await line.say(b"GET /v1/apps HTTP/1.1\r\n\r\n")
    assert line.status == 503
    line = Line(connections)
    line.loop.advance(BOUNDS.cramped_s + 0.1)
    assert line.wire.is_closed
    assert connections.count <= 1 + HEALTH_PLACES
