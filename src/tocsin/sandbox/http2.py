"""A server's side of HTTP/2, with a hand on every frame.

Framing, header compression and stream states are the library's (`jh2`: the interface of `h2` with
header compression in Rust). SETTINGS and GOAWAY are written here byte by byte, since the library
speaks no more after a GOAWAY and closes the whole connection where a vendor's server refuses one
stream; a sandbox must be able to do what a vendor's server does. Sections are those of RFC 9113.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec
from jh2 import events  # type: ignore[import-untyped]
from jh2.config import H2Configuration  # type: ignore[import-untyped]
from jh2.connection import H2Connection  # type: ignore[import-untyped]
from jh2.exceptions import ProtocolError  # type: ignore[import-untyped]
from jh2.hpack import (  # type: ignore[import-untyped]
    HeaderTuple,
    NeverIndexedHeaderTuple,
)

from tocsin.clock import Clock
from tocsin.sandbox.exchange import Call, Connection, Effect, Reply, Serve
from tocsin.sandbox.hang_up import hang_up
from tocsin.sandbox.http_date import http_date

BODY_BYTES_MAX = 65_535
CONNECTION_WINDOW_BYTES = 1 << 24
"""Granted at the start, so that a window is never the reason for waiting unless a fault says so."""
PIECE_BYTES = 4096
"""Input is fed in pieces: the library counts open streams at each new one."""
WINDOW_BYTES = 65_535

_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ACK = 1
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 3, 4, 5
_REFUSED_STREAM = 7


class _Inbound:
    """A request that is still arriving, or an answer that is still leaving."""

    __slots__ = ("body", "headers", "is_answered")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.body = b""
        self.is_answered = False


class Http2(asyncio.Protocol):
    """One HTTP/2 connection. `serve` judges; this class carries out."""

    def __init__(self, serve: Serve, connection: Connection, clock: Clock, streams: int) -> None:
        self._serve = serve
        self._connection = connection
        self._clock = clock
        self._transport: asyncio.Transport
        # Validation costs a quarter of the whole, and the clients' libraries cannot send what it
        # would catch; the vendors' own rules are checked all the same.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=False,
                validate_inbound_headers=False,
                header_encoding=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._open: dict[int, _Inbound] = {}
        self._leaving: dict[int, bytes] = {}
        self._streams_now = 1 << 31
        self._streams_said = streams
        self._settings_said: deque[int] = deque()
        self._last_allowed: int | None = None
        self._last_seen = 0
        self._judged_max = 0
        self._consumed = 0
        self._mutes_pings = False
        self._is_gone = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.RequestReceived: self._on_request,
            events.DataReceived: self._on_data,
            events.StreamEnded: self._on_ended,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.SettingsAcknowledged: self._on_settings_acknowledged,
            events.ConnectionTerminated: self._on_terminated,
        }
        self.streams_refused = 0
        """Streams over the announced limit, each refused as section 5.1.2 asks."""

    # --- the transport's side --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports fulfil the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)
        self._h2.local_settings.max_concurrent_streams = 1 << 31
        self._h2.initiate_connection()
        self._h2.clear_outbound_data_buffer()
        self._say_settings({_MAX_CONCURRENT_STREAMS: self._streams_said, _MAX_FRAME_SIZE: 16_384})
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self._is_gone:
                return
            try:
                arrived = self._h2.receive_data(data[start : start + PIECE_BYTES])
            except ProtocolError:
                # The library has queued the GOAWAY that names the client's mistake.
                self._flush()
                self._transport.close()
                return
            for event in arrived:
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        self._flush()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_gone = True
        for task in self._tasks:
            task.cancel()

    # --- what arrives ----------------------------------------------------------------------

    def _on_request(self, event: Any) -> None:
        stream = event.stream_id
        if self._last_allowed is not None and stream > self._last_allowed:
            return
        self._last_seen = stream
        if len(self._open) >= self._streams_now:
            self.streams_refused += 1
            self._reset(stream, _REFUSED_STREAM)
            return
        self._open[stream] = _Inbound(event.headers)

    def _on_data(self, event: Any) -> None:
        self._consumed += event.flow_controlled_length
        if self._consumed > CONNECTION_WINDOW_BYTES // 2:
            self._h2.increment_flow_control_window(self._consumed)
            self._consumed = 0
        inbound = self._open.get(event.stream_id)
        if inbound is None:
            return
        inbound.body = inbound.body + event.data if inbound.body else event.data
        if len(inbound.body) >= BODY_BYTES_MAX and not inbound.is_answered:
            # Section 8.1: an early answer is followed by RST_STREAM without error.
            self._judge(event.stream_id, inbound)
            if event.stream_id not in self._open and event.stream_ended is None:
                self._reset(event.stream_id, 0)

    def _on_ended(self, event: Any) -> None:
        inbound = self._open.get(event.stream_id)
        if inbound is not None and not inbound.is_answered:
            self._judge(event.stream_id, inbound)

    def _on_reset(self, event: Any) -> None:
        self._open.pop(event.stream_id, None)
        self._leaving.pop(event.stream_id, None)

    def _on_window(self, event: Any) -> None:
        del event
        for stream, rest in list(self._leaving.items()):
            del self._leaving[stream]
            self._send_body(stream, rest)

    def _on_settings_acknowledged(self, event: Any) -> None:
        del event
        if self._settings_said:
            self._streams_now = self._settings_said.popleft()

    def _on_terminated(self, event: Any) -> None:
        del event
        if not self._open:
            self._transport.close()

    def _judge(self, stream: int, inbound: _Inbound) -> None:
        inbound.is_answered = True
        method = path = ""
        headers = []
        for name, value in inbound.headers:
            if name == b":method":
                method = value.decode("latin-1")
            elif name == b":path":
                path = value.decode("latin-1")
            elif name[:1] != b":":
                headers.append((name.decode("latin-1"), value.decode("latin-1")))
        call = Call(method, path, headers, inbound.body, self._connection, stream)
        reply = self._serve(call)
        if reply.effect is None or reply.effect.goaway is None or reply.effect.goaway >= 0:
            self._judged_max = max(self._judged_max, stream)
        if reply.stream_limit is not None:
            self._announce(reply.stream_limit)
        if reply.effect is None:
            self._send(stream, reply)
        else:
            self._apply(stream, reply, reply.effect)

    # --- what leaves -----------------------------------------------------------------------

    def _apply(self, stream: int, reply: Reply, effect: Effect) -> None:
        if effect.drop:
            self._drop()
            return
        self._mutes_pings = self._mutes_pings or effect.mute_pings
        if effect.stream_limit is not None:
            self._announce(effect.stream_limit)
        if effect.zero_window_s is not None:
            self._say_settings({_INITIAL_WINDOW_SIZE: 0})
            if effect.zero_window_s < math.inf:
                self._later(self._open_window(effect.zero_window_s))
        if effect.goaway is not None and self._say_goaway(
            stream, effect.goaway, effect.goaway_reason
        ):
            return
        if effect.silent:
            return
        if effect.reset_code is not None:
            self._open.pop(stream, None)
            self._reset(stream, effect.reset_code)
        elif effect.first_byte_s or effect.body_s:
            self._later(self._send_slowly(stream, reply, effect))
        else:
            self._send(stream, reply)
            if effect.close:
                self._flush()
                self._transport.close()

    def _send(self, stream: int, reply: Reply) -> None:
        self._send_headers(stream, reply)
        if reply.body:
            self._send_body(stream, reply.body)

    def _send_headers(self, stream: int, reply: Reply) -> None:
        if stream not in self._open:
            return
        # Never indexed: ids differ in each answer and would only churn the client's table.
        headers = [NeverIndexedHeaderTuple(name, value) for name, value in reply.headers]
        headers.insert(0, HeaderTuple(":status", str(reply.status)))
        headers.append(HeaderTuple("date", http_date(self._clock.now())))
        try:
            self._h2.send_headers(stream, headers, end_stream=not reply.body)
        except ProtocolError:
            # The client has given the stream up in the same breath.
            self._open.pop(stream, None)
            return
        if not reply.body:
            self._finish(stream)

    def _send_body(self, stream: int, body: bytes) -> None:
        while stream in self._open:
            try:
                window = min(
                    self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size
                )
                if window <= 0:
                    self._leaving[stream] = body
                    return
                piece, body = body[:window], body[window:]
                self._h2.send_data(stream, piece, end_stream=not body)
            except ProtocolError:
                # Given up by the client in the same breath as the room for it was granted.
                self._open.pop(stream, None)
                return
            if not body:
                self._finish(stream)

    def _reset(self, stream: int, code: int) -> None:
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(stream, code)

    def _finish(self, stream: int) -> None:
        self._open.pop(stream, None)
        if self._last_allowed is None or self._open:
            return
        # What was promised is answered, unless a promised stream has not come yet.
        if self._last_seen >= self._last_allowed:
            self._flush()
            self._transport.close()

    async def _send_slowly(self, stream: int, reply: Reply, effect: Effect) -> None:
        await self._clock.sleep(effect.first_byte_s)
        self._send_headers(stream, reply)
        if reply.body:
            if effect.body_s:
                self._flush()
                await self._clock.sleep(effect.body_s)
            self._send_body(stream, reply.body)
        self._flush()
        if effect.close:
            self._transport.close()

    async def _open_window(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._say_settings({_INITIAL_WINDOW_SIZE: WINDOW_BYTES})

    def _announce(self, streams: int) -> None:
        if streams == self._streams_said:
            return
        self._streams_said = streams
        self._say_settings({_MAX_CONCURRENT_STREAMS: streams})

    def _say_settings(self, values: dict[int, int]) -> None:
        payload = b"".join(struct.pack(">HI", key, value) for key, value in values.items())
        self._settings_said.append(self._streams_said)
        self._write_frame(_SETTINGS, payload)

    def _say_goaway(self, stream: int, offset: int, reason: str) -> bool:
        """Say GOAWAY; True when the current stream is among those given up.

        Section 6.8 lets a server give up only streams it has not acted on, so the last id is
        never below one that was already judged.
        """
        last = max(stream + 2 * offset, self._judged_max)
        self._last_allowed = last
        for above in [number for number in self._open if number > last]:
            del self._open[above]
        debug = msgspec.json.encode({"reason": reason})
        self._write_frame(_GOAWAY, struct.pack(">II", last, 0) + debug)
        if stream > last and not self._open:
            self._transport.close()
        return stream > last

    def _drop(self) -> None:
        self._is_gone = True
        hang_up(self._transport)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._is_gone:
            self._transport.write(without_ping_acks(data) if self._mutes_pings else data)

    def _write_frame(self, kind: int, payload: bytes) -> None:
        """Write a frame of ours behind what the library has queued."""
        self._flush()
        if not self._is_gone:
            self._transport.write(frame(kind, payload))


def frame(kind: int, payload: bytes) -> bytes:
    """A frame without flags on stream 0 (section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, 0, 0) + payload


def without_ping_acks(data: bytes) -> bytes:
    """The same frames but for answers to PING. Whole frames in, whole frames out."""
    kept = bytearray()
    start = 0
    while start < len(data):
        end = start + 9 + int.from_bytes(data[start : start + 3])
        if not (data[start + 3] == _PING and data[start + 4] & _ACK):
            kept += data[start:end]
        start = end
    return bytes(kept)
