"""HTTP/1.1 on one connection, with a bound on every byte and second that a client may take.

uvicorn's protocol over httptools parses, runs the application and writes its answers. This one adds
limits: for the length of the head, the time for head and body, unread answers, unread bodies, and
bytes that are no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tocsin.http_server.bounds import (
    BAD_REQUEST,
    BODY_LATE,
    HEAD_LATE,
    HEAD_LONG,
    Bounds,
    ServerAnswer,
)
from tocsin.http_server.connections import ConnectionPlace, Connections
from tocsin.http_server.handshake import is_handshake
from tocsin.http_server.web_socket import WebSocketProtocol

HEALTH_PATHS = ("/healthz", "/readyz")
VERSIONS = ("1.0", "1.1")
FRAMING_HEADERS = frozenset((b"content-length", b"expect", b"transfer-encoding"))
"""Headers that decide how the connection is read."""
FRAMING_PER_BYTE = 8
"""Bytes of chunk framing that one byte of a body may cost: `1`, two line ends, and some."""

LONG_BODY = "tocsin.long_body"
"""In a scope's state: the body is longer than `Bounds.drained_max_bytes`, or of unknown length."""

Timer = asyncio.TimerHandle


class _Phase(Enum):
    """What the connection waits for."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"
    END = "end"


class _RefusedHead(Exception):
    """The parser accepts this head, and the server refuses it."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        place: ConnectionPlace,
        connections: Connections,
        bounds: Bounds,
        socket_paths: frozenset[bytes] = frozenset(),
    ) -> None:
        """`socket_paths` are those where a WebSocket may be opened."""
        super().__init__(config, server_state, {}, asyncio.get_running_loop())
        self._place = place
        self._connections = connections
        self._bounds = bounds
        self._socket_paths = socket_paths
        self._phase = _Phase.END
        self._timer: Timer | None = None
        self._stalled: Timer | None = None
        self._in_head = True
        self._head_fed = 0
        """Bytes fed to the parser since the last request was whole."""
        self._head_listed = 0
        """Bytes of the request line and the headers that the parser has reported."""
        self._is_head_long = False
        self._body_fed = 0
        self._body_bytes = 0
        self._body_since = 0.0
        self._is_over = False
        """Further bytes are not parsed."""
        self._discards = False
        """Further bytes are read and dropped."""
        self._discarded = 0
        self._is_ending = False
        """The last answer is written."""
        self._opens_socket = False
        self._ignores_upgrade = False
        self._is_long = False
        self._running: Any = None
        self._last_answer: ServerAnswer | None = None
        """Sent after the answers that are due before it."""

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._set_timer(None)
        self._unset_stalled()
        self._place.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._bounds.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unset_stalled()

    def shutdown(self) -> None:
        if self._is_ending:
            self.transport.abort()
        elif not self._in_head:
            self._give_up_request()
        else:
            super().shutdown()

    def _give_up_request(self) -> None:
        """End a request whose body is not complete; answers due before it are still written."""
        self._is_over = True
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self._running is self.cycle:
            self.transport.close()
        else:
            self._running.keep_alive = False

    # incoming bytes

    def data_received(self, data: bytes) -> None:
        if self._discards:
            self._discarded += len(data)
            if self._discarded > self._bounds.linger_max_bytes:
                self.transport.abort()
            return
        if self._is_over:
            # An answer is due before the connection ends.
            self.flow.pause_reading()
            return
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(HEAD_LONG if self._is_head_long else BAD_REQUEST)
        self._watch()

    def _feed(self, data: bytes) -> None:
        while data and not self._is_over:
            if self._in_head:
                room = self._bounds.head_max_bytes - self._head_fed
                piece, data = data[:room], data[room:]
                self._head_fed += len(piece)
            else:
                piece, data = data, b""
                self._body_fed += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._after_upgrade(piece[upgrade.args[0] :] + data)
            if self._in_head and self._head_fed >= self._bounds.head_max_bytes:
                self._refuse(HEAD_LONG)
            elif not self._in_head and self._has_framing_only():
                self._refuse(BAD_REQUEST)

    def _has_framing_only(self) -> bool:
        framing = self._body_fed - self._body_bytes
        return framing > self._bounds.framing_max_bytes + FRAMING_PER_BYTE * self._body_bytes

    def _after_upgrade(self, rest: bytes) -> bytes:
        """Go on after the headers, where the parser has stopped; answers the bytes to feed next."""
        if self._opens_socket:
            self._open_socket()
            return b""
        # This parser takes the next bytes for another protocol; a second parser reads the body.
        framing = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in self.headers
            if name in (b"content-length", b"transfer-encoding")
        )
        self.parser = httptools.HttpRequestParser(_BodyCallbacks(self))
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        return rest

    def _open_socket(self) -> None:
        self._is_over = True
        self._set_timer(None)
        self._unset_stalled()
        self.handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        assert isinstance(protocol, WebSocketProtocol)
        protocol.take(self._place, self._bounds)

    # the parser's callbacks

    def on_message_begin(self) -> None:
        self._head_listed = 0
        self._is_long = False
        self._opens_socket = self._ignores_upgrade = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_listed += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Called for each header of each request: repeats what uvicorn does, for speed.
        if not self._in_head:
            # Trailers come when the application may have seen the headers already.
            return
        name = name.lower()
        self.headers.append((name, value))
        self._head_listed += len(name) + len(value) + 4
        is_long = self._head_listed > self._bounds.head_max_bytes
        if is_long or len(self.headers) > self._bounds.headers_max:
            self._is_head_long = True
            raise _RefusedHead
        if name in FRAMING_HEADERS:
            self._read_framing(name, value)

    def _read_framing(self, name: bytes, value: bytes) -> None:
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"content-length":
            self._is_long = int(value) > self._bounds.drained_max_bytes
        else:
            if value.strip().lower() != b"chunked" or self.parser.get_http_version() == "1.0":
                raise _RefusedHead
            self._is_long = True

    def on_headers_complete(self) -> None:
        is_version = self.parser.get_http_version() in VERSIONS
        if not is_version or len(self.pipeline) >= self._bounds.pipelined_max:
            raise _RefusedHead
        if self.parser.should_upgrade():
            self._opens_socket = self._may_open_socket()
            self._ignores_upgrade = not self._opens_socket
        self.scope["state"][LONG_BODY] = self._is_long
        super().on_headers_complete()
        self._in_head = False
        self._body_fed = self._body_bytes = 0
        self._body_since = self.loop.time()
        if self._ignores_upgrade or (self._place.is_cramped and not self._opens_socket):
            self.cycle.keep_alive = False

    def _may_open_socket(self) -> bool:
        if self.parser.get_method() != b"GET" or self._place.is_cramped:
            return False
        path = httptools.parse_url(self.url).path
        return path in self._socket_paths and is_handshake(self.headers)

    def _should_upgrade(self) -> bool:
        return self._opens_socket

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            # The parser calls this at the end of the headers; the body is still to come.
            self._ignores_upgrade = False
            return
        self._in_head = True
        self._head_fed = 0
        super().on_message_complete()

    def body_complete(self) -> None:
        """Complete a request whose Upgrade header was ignored: the last one of the connection."""
        self.on_message_complete()
        self._is_over = True

    # the application

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if self._place.is_cramped and cycle.scope["path"] not in HEALTH_PATHS:
            self._connections.closed("busy")
            app = service_unavailable
        if cycle.scope["state"][LONG_BODY]:
            app = _closing(app, self, cycle)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._place.is_proven = True
        if self.transport.is_closing():
            # Unread bytes would keep the transport open.
            if self.transport.get_write_buffer_size() and self._stalled is None:
                self._stalled = self.loop.call_later(self._bounds.answer_s, self.transport.abort)
            return
        self.flow.resume_reading()
        if self._discards:
            self._end()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_answer is not None:
            self._answer(self._last_answer)
        self._watch()

    def close_unread(self) -> None:
        """Make the present answer the last one: the body of its request stays unread."""
        self._is_over = self._discards = True

    # the end

    def _refuse(self, answer: ServerAnswer) -> None:
        """Send this answer in place of the application's, after those that are due, and close."""
        if self._is_over:
            return
        self._is_over = True
        self._connections.closed(answer.reason)
        cycle = self._running
        is_due = cycle is not None and not cycle.response_complete
        if not self._in_head and self.pipeline and self.pipeline[0][0] is self.cycle:
            # The refused request still waits in the queue: the application must not get it.
            self.pipeline.popleft()
        elif cycle is not None and cycle is self.cycle and not self._in_head:
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
            is_due = False
        if is_due:
            self._last_answer = answer
        else:
            self._answer(answer)

    def _answer(self, answer: ServerAnswer) -> None:
        text = f"{answer.text}\n".encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[answer.status], lines, text))
        self._end()

    def _end(self) -> None:
        """Close when the client has had time to read the last answer.

        A socket that is closed with unread input is reset, and the client may lose the answer.
        """
        self._is_over = self._discards = self._is_ending = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._watch()

    # time

    def _watch(self) -> None:
        """Start the timer of the present phase."""
        if self.transport.is_closing():
            return
        phase = self._phase_now()
        if phase is self._phase:
            return
        self._phase = phase
        if phase is _Phase.ANSWER:
            self._place.work()
            self._set_timer(None)
            return
        self._place.wait(self.transport.abort)
        if phase is _Phase.IDLE:
            delay_s, late = float(self.timeout_keep_alive), self._close
        elif phase is _Phase.HEAD:
            delay_s, late = self._bounds.head_s, self._head_is_late
        elif phase is _Phase.BODY:
            delay_s, late = self._bounds.body_s, self._body_is_late
        else:
            delay_s, late = self._bounds.linger_s, self.transport.abort
        if self._place.is_cramped:
            delay_s = min(delay_s, self._bounds.cramped_s)
        self._set_timer(delay_s, late)

    def _phase_now(self) -> _Phase:
        running = self._running
        is_answered = running is None or running.response_complete
        if self._is_over:
            return _Phase.END if self._is_ending else _Phase.ANSWER
        if not self._in_head:
            return _Phase.BODY
        if not is_answered:
            return _Phase.ANSWER
        return _Phase.HEAD if self._head_fed or running is None else _Phase.IDLE

    def _head_is_late(self) -> None:
        if self._head_fed:
            self._refuse(HEAD_LATE)
        else:
            self._connections.closed("head_late")
            self._close()

    def _body_is_late(self) -> None:
        now, earned_s = self.loop.time(), self._body_fed / self._bounds.body_bytes_per_s
        if self.flow.read_paused:
            # The application reads too slowly: not the fault of the client.
            self._body_since = now - earned_s
        left_s = self._body_since + earned_s + self._bounds.body_s - now
        if left_s > 0:
            self._set_timer(left_s, self._body_is_late)
        else:
            self._refuse(BODY_LATE)

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _set_timer(self, delay_s: float | None, late: Callable[[], Any] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if delay_s is not None and late is not None:
            self._timer = self.loop.call_later(delay_s, late)

    def _unset_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class _BodyCallbacks:
    """The callbacks of the parser that reads the body after an ignored Upgrade header."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._is_complete = False

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_complete:
            self._is_complete = True
            self._protocol.body_complete()


def _closing(app: ASGIApp, protocol: HttpProtocol, cycle: Any) -> ASGIApp:
    """Wrap the application: answer `connection: close` where the body is not read by then."""

    async def send(message: Message, answer: Send) -> None:
        if message["type"] == "http.response.start" and cycle.more_body:
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            await answer({**message, "headers": headers})
            # uvicorn would close, and so reset, the connection with the answer's last byte.
            cycle.keep_alive = True
            protocol.close_unread()
        else:
            await answer(message)

    async def run(scope: Scope, receive: Receive, answer: Send) -> None:
        await app(scope, receive, partial(send, answer=answer))

    return run
