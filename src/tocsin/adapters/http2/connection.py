"""A client's side of one HTTP/2 connection, without I/O: bytes in, answers out.

`request` and `receive` change the state, `data_to_send` is what has to be written then. Whoever
owns the socket reads, writes and watches the clock (`transport.py`).

The connection knows law 4: an exchange that was begun is in doubt until the peer answers it or says
that it has not looked at it, by REFUSED_STREAM or by a GOAWAY with a lower stream (section 8.7).
A peer that breaks the protocol loses the connection, with the error code that names its fault; all
that was under way is in doubt then. Sections are those of RFC 9113.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, Literal, NoReturn
from urllib.parse import urlsplit

from tocsin.adapters.http2.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES_MIN,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_MAX,
    WINDOW,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    PeerFault,
    StreamFault,
    frame,
    goaway_frame,
    read_goaway,
    read_head,
    read_number,
    read_settings,
    reset_frame,
    settings_frame,
    window_frame,
    without_padding,
)
from tocsin.adapters.http2.hpack import LIST_BYTES_MAX, BoundedDecoder, Encoder, Field
from tocsin.conversation import Fault, Request, Response

CONNECTION_WINDOW: Final = 1 << 24
"""Bytes of answers that a peer may send beyond those that are complete: the bound of what all
unfinished answers of a connection hold together, since a window grows only as answers end."""
BLOCK_BYTES_MAX: Final = 65_536
BLOCK_FRAMES_MAX: Final = 32
"""Compressed headers of one answer, and the frames that they come in."""
IDLE_FRAMES_MAX: Final = 10_000
"""Frames that a peer may send without ending an answer by any of them."""
PIECE_BYTES_MIN: Final = 64
"""Shorter pieces of an answer count as frames that end nothing."""
_USER_AGENT: Final = ("user-agent", "tocsin")


class Exchange:
    """One request, and what came of it. Its owner reads `answer`; the rest is the connection's."""

    __slots__ = ("answer", "body", "headers", "request", "status", "stream", "unsent", "window")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer: Response | Fault | None = None
        """How it ended; None: it has not."""
        self.stream = 0
        """Its number on the connection; 0: nothing of it has been handed out."""
        self.unsent = b""
        """What the windows have not let through yet."""
        self.window = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    def end(self, answer: Response | Fault) -> None:
        """Note how it ended; only the first time counts."""
        if self.answer is None:
            self.answer = answer


class Http2Connection:
    """The state of one connection, from the client's preface to either side's GOAWAY."""

    def __init__(self, origin: str, *, streams_max: int, body_max_bytes: int) -> None:
        parts = urlsplit(origin)
        self._scheme: Field = (":scheme", parts.scheme)
        self._authority: Field = (":authority", parts.netloc.rpartition("@")[2])
        self._body_max = body_max_bytes
        self._own_streams_max = streams_max
        self._streams_max = streams_max
        self._streams: dict[int, Exchange] = {}
        self._next_stream = 1
        self._encoder = Encoder()
        self._decoder = BoundedDecoder()
        self._names: dict[bytes, str] = {}
        self._rest = b""
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and pieces of headers that go on in CONTINUATION frames."""
        self._window = WINDOW
        self._first_window = WINDOW
        self._frame_max = FRAME_BYTES_MIN
        self._blocked: dict[int, Exchange] = {}
        """Exchanges whose bodies wait for a window."""
        self._granted = CONNECTION_WINDOW
        self._consumed = 0
        self._idle_frames = 0
        self._goaway_last = STREAM_MAX
        self._goaway_reason = ""
        self.is_ready = False
        """Whether the peer has said its SETTINGS: before them nothing is requested."""
        self.is_draining = False
        """Whether no further request may begin on it."""
        self.is_over = False
        """Whether nothing further will be read: what there is to send is sent, then it closes."""
        self.is_pinging = False
        self.answered = 0
        """Exchanges that the peer has answered."""
        # A stream's window takes any answer that is not over the bound, so none is ever enlarged.
        window = min(max(WINDOW, body_max_bytes + 1), WINDOW_MAX)
        ours = {ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: window, MAX_HEADER_LIST_SIZE: LIST_BYTES_MAX}
        self._out = [
            PREFACE,
            settings_frame(ours),
            window_frame(0, CONNECTION_WINDOW - WINDOW),
        ]

    # --- what we want ----------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Requests that may begin now."""
        if not self.is_ready or self.is_draining:
            return 0
        return self._streams_max - len(self._streams)

    @property
    def under_way(self) -> int:
        """Requests that have begun and have not ended."""
        return len(self._streams)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Those that have begun and have not ended."""
        return tuple(self._streams.values())

    @property
    def streams_max(self) -> int:
        """Requests that may be under way at once, as both sides wish."""
        return self._streams_max

    @property
    def has_data_to_send(self) -> bool:
        return bool(self._out)

    def data_to_send(self) -> bytes:
        """All that has to be written now, in this order."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def request(self, exchange: Exchange) -> None:
        """Begin an exchange, for which there must be room.

        One that cannot be written ends as refused.
        """
        assert self.room > 0, "no stream is free"
        request = exchange.request
        body = request.body
        fields = (
            (":method", request.method),
            self._scheme,
            self._authority,
            _USER_AGENT,
            *request.headers,
        )
        if body or request.method in ("POST", "PUT"):
            fields += (("content-length", str(len(body))),)
        try:
            block = self._encoder.encode(request.path, fields)
        except ValueError as error:
            exchange.end(Fault("refused", f"this request cannot be written: {error}"))
            return
        stream = exchange.stream = self._next_stream
        self._next_stream += 2
        if self._next_stream > STREAM_MAX:
            self.is_draining = True
        self._streams[stream] = exchange
        self._send_head(stream, block, is_end=not body)
        if body:
            exchange.unsent = body
            exchange.window = self._first_window
            self._send_body(exchange)

    def cancel(self, exchange: Exchange, reason: str) -> None:
        """End an exchange that was begun without waiting for its answer: it is in doubt."""
        if exchange.answer is None and self._streams.get(exchange.stream) is exchange:
            self._reset(exchange.stream, CANCEL)
            exchange.end(Fault("maybe_sent", reason))

    def ping(self) -> None:
        """Ask for a sign of life; `is_pinging` until it comes."""
        self.is_pinging = True
        self._out.append(frame(PING, 0, 0, b"of life?"))

    def close(self, reason: str, code: int = NO_ERROR) -> None:
        """Say goodbye; all that is under way is in doubt."""
        if not self.is_over:
            self._out.append(goaway_frame(code))
            self.lose(reason)

    def lose(self, reason: str) -> None:
        """The connection is gone: all that is under way is in doubt."""
        self.is_over = self.is_draining = True
        self._blocked.clear()
        while self._streams:
            _, exchange = self._streams.popitem()
            exchange.end(Fault("maybe_sent", self._goaway_reason or reason))

    # --- what the peer says ----------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes that have arrived."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        try:
            while end - at >= HEAD_BYTES and not self.is_over:
                upper, lower, kind, flags, stream = read_head(data, at)
                size = upper << 16 | lower
                begin = at + HEAD_BYTES
                if size > FRAME_BYTES_MIN:
                    _refuse_size()
                if begin + size > end:
                    break
                at = begin + size
                self._take(kind, flags, stream & STREAM_MAX, data[begin:at])
        except PeerFault as fault:
            self.close(f"the peer broke the protocol: {fault}", fault.code)
        self._rest = data[at:]
        if self.is_draining and not self._streams and not self.is_over:
            self.close("the peer has gone away")

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise PeerFault(PROTOCOL_ERROR, "headers that are not continued")
        if not self.is_ready and (kind != SETTINGS or flags & ACK):
            raise PeerFault(PROTOCOL_ERROR, "a peer that does not begin with SETTINGS")
        take = self._TAKE.get(kind)
        if take is None:
            self._count_idle()
            return
        try:
            take(self, flags, stream, payload)
        except StreamFault as fault:
            self._abandon(stream, fault)

    def _count_idle(self) -> None:
        self._idle_frames += 1
        if self._idle_frames > IDLE_FRAMES_MAX:
            raise PeerFault(ENHANCE_YOUR_CALM, "frames without end and no answer")

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_stream(stream)
        payload = without_padding(flags, payload)
        if flags & WITH_PRIORITY:
            if len(payload) < 5:
                raise PeerFault(FRAME_SIZE_ERROR, "headers without their priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._take_block(stream, flags, payload)
        else:
            self._block = (stream, flags, [payload])

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise PeerFault(PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, pieces = self._block
        pieces.append(payload)
        if len(pieces) > BLOCK_FRAMES_MAX or sum(map(len, pieces)) > BLOCK_BYTES_MAX:
            raise PeerFault(ENHANCE_YOUR_CALM, "headers without end")
        if flags & END_HEADERS:
            self._block = None
            self._take_block(stream, first_flags, b"".join(pieces))

    def _take_block(self, stream: int, flags: int, block: bytes) -> None:
        # Also those of a stream that has ended: they change the table that all streams share.
        fields = self._decoder.decode(block)
        exchange = self._streams.get(stream)
        if exchange is None:
            self._count_idle()
            return
        if exchange.status:
            if not flags & END_STREAM:
                raise StreamFault(PROTOCOL_ERROR, "a second answer")
        else:
            status, headers = self._headers(fields)
            if status < 200:
                if flags & END_STREAM:
                    raise StreamFault(PROTOCOL_ERROR, "an answer that never comes")
                self._count_idle()
                return
            exchange.status, exchange.headers = status, headers
        if flags & END_STREAM:
            self._complete(exchange)

    def _headers(self, fields: list[tuple[bytes, bytes, bool]]) -> tuple[int, dict[str, str]]:
        """The status and the other headers of an answer."""
        headers: dict[str, str] = {}
        names = self._names
        status = 0
        for field in fields:
            raw, value = field[0], field[1].decode("latin-1")
            if raw == b":status":
                if status or headers or not (len(value) == 3 and value.isdecimal()):
                    raise StreamFault(PROTOCOL_ERROR, "an answer with a wrong status")
                status = int(value)
                continue
            name = names.get(raw) or self._name(raw)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if status < 100:
            raise StreamFault(PROTOCOL_ERROR, "an answer without a status")
        return status, headers

    def _name(self, raw: bytes) -> str:
        name = raw.decode("latin-1")
        if not name or name[0] == ":" or name != name.lower() or not name.isascii():
            raise StreamFault(PROTOCOL_ERROR, "a header with a wrong name")
        if len(self._names) < 256:
            self._names[raw] = name
        return name

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._check_stream(stream)
        size = len(payload)
        self._granted -= size
        if self._granted < 0:
            raise PeerFault(FLOW_CONTROL_ERROR, "more bytes than the window allowed")
        exchange = self._streams.get(stream)
        if exchange is None:
            self._count_idle()
            self._grant(size)
            return
        body = without_padding(flags, payload)
        padding = size - len(body)
        if padding:
            # A stream's window is measured for the answer alone.
            self._grant(padding)
            self._out.append(window_frame(stream, padding))
        if not exchange.status:
            self._grant(len(body))
            raise StreamFault(PROTOCOL_ERROR, "a body before its headers")
        if len(body) < PIECE_BYTES_MIN and not flags & END_STREAM:
            self._count_idle()
        exchange.body += body
        if len(exchange.body) > self._body_max:
            raise StreamFault(CANCEL, f"the answer is over {self._body_max} bytes")
        if flags & END_STREAM:
            self._complete(exchange)

    def _take_reset(self, _flags: int, stream: int, payload: bytes) -> None:
        code = read_number(payload)
        self._check_stream(stream)
        exchange = self._streams.get(stream)
        if exchange is None:
            self._count_idle()
            return
        self._forget(exchange)
        if code == REFUSED_STREAM and not exchange.status:
            exchange.end(Fault("unsent", "the server refused the stream"))
        else:
            exchange.end(Fault("maybe_sent", f"the server reset the stream (code {code})"))

    def _take_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise PeerFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise PeerFault(FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
            return
        self._count_idle()
        self.is_ready = True
        for name, value in read_settings(payload):
            if name == MAX_CONCURRENT_STREAMS:
                self._streams_max = min(value, self._own_streams_max)
            elif name == MAX_FRAME_SIZE:
                self._frame_max = value
            elif name == HEADER_TABLE_SIZE:
                self._encoder.resize(value)
            elif name == INITIAL_WINDOW_SIZE:
                self._change_first_window(value)
        self._out.append(frame(SETTINGS, ACK, 0))
        self._send_blocked()

    def _change_first_window(self, value: int) -> None:
        """Applies to the streams that are open as well, whose windows may become negative."""
        change, self._first_window = value - self._first_window, value
        for exchange in self._blocked.values():
            exchange.window += change
            if exchange.window > WINDOW_MAX:
                raise PeerFault(FLOW_CONTROL_ERROR, "a window that is too large")

    def _take_window(self, _flags: int, stream: int, payload: bytes) -> None:
        self._count_idle()
        count = read_number(payload) & WINDOW_MAX
        if stream:
            self._check_stream(stream)
            exchange = self._blocked.get(stream)
            if exchange is None:
                return
            if not count:
                raise StreamFault(PROTOCOL_ERROR, "a window that does not grow")
            exchange.window += count
            if exchange.window > WINDOW_MAX:
                raise StreamFault(FLOW_CONTROL_ERROR, "a window that is too large")
        else:
            if not count:
                raise PeerFault(PROTOCOL_ERROR, "a window that does not grow")
            self._window += count
            if self._window > WINDOW_MAX:
                raise PeerFault(FLOW_CONTROL_ERROR, "a window that is too large")
        self._send_blocked()

    def _take_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise PeerFault(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise PeerFault(FRAME_SIZE_ERROR, "PING of a wrong length")
        self._count_idle()
        if flags & ACK:
            self.is_pinging = False
        else:
            self._out.append(frame(PING, ACK, 0, payload))

    def _take_goaway(self, _flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise PeerFault(PROTOCOL_ERROR, "GOAWAY on a stream")
        self._count_idle()
        last, reason = read_goaway(payload)
        if last > self._goaway_last:
            raise PeerFault(PROTOCOL_ERROR, "a GOAWAY that takes streams back")
        self._goaway_last, self._goaway_reason = last, f"the server went away ({reason})"
        self.is_draining = True
        for exchange in [it for stream, it in self._streams.items() if stream > last]:
            self._forget(exchange)
            kind: Literal["maybe_sent", "unsent"] = "maybe_sent" if exchange.status else "unsent"
            exchange.end(Fault(kind, self._goaway_reason))

    def _take_push(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise PeerFault(PROTOCOL_ERROR, "a push that was forbidden")

    def _take_priority(self, _flags: int, stream: int, payload: bytes) -> None:
        if not stream:
            raise PeerFault(PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            raise StreamFault(FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        self._count_idle()

    def _check_stream(self, stream: int) -> None:
        """Only streams that we have opened can be spoken of; those that have ended are known."""
        if not stream & 1 or stream >= self._next_stream:
            raise PeerFault(PROTOCOL_ERROR, "a frame on a stream that is not open")

    # --- streams ---------------------------------------------------------------------------

    def _complete(self, exchange: Exchange) -> None:
        status, headers, body = exchange.status, exchange.headers, bytes(exchange.body)
        length = headers.get("content-length")
        if length is not None and length != str(len(body)) and status not in (204, 304):
            raise StreamFault(PROTOCOL_ERROR, "a body that is not as long as its headers say")
        if exchange.unsent:
            # It has answered without waiting for the whole request, of which nothing more is sent.
            self._reset(exchange.stream, NO_ERROR)
        else:
            self._forget(exchange)
        self._idle_frames = 0
        self.answered += 1
        exchange.end(Response(status, headers, body))

    def _abandon(self, stream: int, fault: StreamFault) -> None:
        exchange = self._streams.get(stream)
        if exchange is not None:
            self._reset(stream, fault.code)
            exchange.end(Fault("maybe_sent", str(fault)))
        self._count_idle()

    def _reset(self, stream: int, code: int) -> None:
        self._out.append(reset_frame(stream, code))
        self._forget(self._streams[stream])

    def _forget(self, exchange: Exchange) -> None:
        del self._streams[exchange.stream]
        if self._blocked:
            self._blocked.pop(exchange.stream, None)
        self._grant(len(exchange.body))

    def _grant(self, count: int) -> None:
        """Let the peer send so many bytes again, once they are worth a frame."""
        self._consumed += count
        if self._consumed > CONNECTION_WINDOW // 4:
            self._out.append(window_frame(0, self._consumed))
            self._granted += self._consumed
            self._consumed = 0

    def _send_head(self, stream: int, block: bytes, *, is_end: bool) -> None:
        flags = END_STREAM if is_end else 0
        if len(block) <= self._frame_max:
            self._out.append(frame(HEADERS, flags | END_HEADERS, stream, block))
            return
        most = self._frame_max
        pieces = [block[at : at + most] for at in range(0, len(block), most)]
        self._out.append(frame(HEADERS, flags, stream, pieces[0]))
        for piece in pieces[1:-1]:
            self._out.append(frame(CONTINUATION, 0, stream, piece))
        self._out.append(frame(CONTINUATION, END_HEADERS, stream, pieces[-1]))

    def _send_body(self, exchange: Exchange) -> None:
        """Hand out as much of the body as the windows and the frame size allow."""
        rest, stream = exchange.unsent, exchange.stream
        while rest:
            size = min(len(rest), self._frame_max, self._window, exchange.window)
            if size <= 0:
                self._blocked[stream] = exchange
                break
            flags = END_STREAM if size == len(rest) else 0
            self._out.append(frame(DATA, flags, stream, rest[:size]))
            rest = rest[size:]
            self._window -= size
            exchange.window -= size
        exchange.unsent = rest

    def _send_blocked(self) -> None:
        for stream, exchange in list(self._blocked.items()):
            if self._window <= 0:
                return
            self._send_body(exchange)
            if not exchange.unsent:
                del self._blocked[stream]

    _TAKE: ClassVar[dict[int, Callable[[Http2Connection, int, int, bytes], None]]] = {
        DATA: _take_data,
        HEADERS: _take_headers,
        PRIORITY: _take_priority,
        RST_STREAM: _take_reset,
        SETTINGS: _take_settings,
        PUSH_PROMISE: _take_push,
        PING: _take_ping,
        GOAWAY: _take_goaway,
        WINDOW_UPDATE: _take_window,
        CONTINUATION: _take_continuation,
    }


def _refuse_size() -> NoReturn:
    raise PeerFault(FRAME_SIZE_ERROR, "a frame that is too long")
