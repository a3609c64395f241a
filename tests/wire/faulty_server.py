"""A small server, HTTP/2 and HTTP/1.1 over TLS, that misbehaves exactly as a test tells it to.

It writes down each request as soon as its headers are there, before it answers, so that a request
that was sent twice shows even where both copies were refused or lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame
from msgspec import Struct, structs

from tests.patience import PATIENCE_S
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.conversation import Request
from tocsin.sandbox.hang_up import hang_up

ID_HEADER = "x-request-id"


class Link(Protocol):
    """One connection, whichever version of the protocol it speaks."""

    number: int

    def reply(
        self, stream: int, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> None: ...

    def drop(self) -> None: ...


class Seen(Struct, frozen=True):
    """One request as it came in, on the connection and the stream that carried it."""

    request_id: str
    link: int
    stream: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FaultyServer:
    """Listens on 127.0.0.1; `answer` decides what happens to each complete request."""

    def __init__(self, ca: ThrowawayCa) -> None:
        self.ca = ca
        self.port = 0
        self.listener: asyncio.Server | None = None
        self.links: list[H2Link | H1Link] = []
        self.opened: Counter[str] = Counter()
        """How often the headers of each request id were seen: the oracle for doubles."""
        self.seen: list[Seen] = []
        self.answer: Callable[[FaultyServer, Seen], None] = answer_ok
        self.on_connect: Callable[[H2Link | H1Link], None] = lambda _: None
        self._changed = asyncio.Event()

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def link_of(self, seen: Seen) -> H2Link:
        return self.h2_link(seen.link)

    def h2_link(self, number: int) -> H2Link:
        link = self.links[number]
        assert isinstance(link, H2Link)
        return link

    def stop_listening(self) -> None:
        """Leave the open connections and take no new ones."""
        assert self.listener is not None
        self.listener.close()

    def reply(self, seen: Seen, status: int = 200, body: bytes = b"") -> None:
        self.links[seen.link].reply(seen.stream, status, body)

    def doubles(self) -> list[str]:
        return [request_id for request_id, count in self.opened.items() if count > 1]

    def note(self) -> None:
        """Wake those who wait for something to change."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that came in made `condition` true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def open_request(self, headers: dict[str, str]) -> None:
        self.opened[headers.get(ID_HEADER, "")] += 1
        self.note()

    def close_request(self, seen: Seen) -> None:
        self.seen.append(seen)
        self.note()
        self.answer(self, seen)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        is_http2 = isinstance(tls, ssl.SSLObject) and tls.selected_alpn_protocol() == "h2"
        link = (H2Link if is_http2 else H1Link)(self, writer, len(self.links))
        self.links.append(link)
        self._changed.set()
        link.peer = _common_name(writer.get_extra_info("peercert"))
        try:
            link.begin()
            self.on_connect(link)
            with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
                while data := await reader.read(65_536):
                    link.feed(data)
        finally:
            link.is_open = False
            self._changed.set()
            writer.close()


def answer_ok(server: FaultyServer, seen: Seen) -> None:
    server.reply(seen, 200, b"ok")


def answer_never(server: FaultyServer, seen: Seen) -> None:
    pass


def _common_name(certificate: dict[str, Any] | None) -> str:
    """Who the client says it is, by the certificate that it showed."""
    fields = [field for part in (certificate or {}).get("subject", ()) for field in part]
    return str(dict(fields).get("commonName", ""))


@contextlib.asynccontextmanager
async def faulty_server(
    *, alpn: tuple[str, ...] = ("h2",), client_ca: str | None = None, is_plain: bool = False
) -> AsyncIterator[FaultyServer]:
    ca = ThrowawayCa()
    server = FaultyServer(ca)
    tls = None if is_plain else ca.server_context(alpn=list(alpn), client_ca=client_ca)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.listener = listener
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for link in server.links:
            link.drop()
        await server.until(lambda: not any(link.is_open for link in server.links))


def request_to(server: FaultyServer, request_id: str, **changes: Any) -> Request:
    """A small POST with an id of its own, trusting the server's authority."""
    asked = Request("POST", server.origin, "/x", ((ID_HEADER, request_id),), b"hello")
    return structs.replace(asked, ca=server.ca.pem, **changes)


class H2Link:
    """The HTTP/2 side: frames beyond what a well-behaved server library would send."""

    def __init__(self, server: FaultyServer, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.is_open = True
        self.peer = ""
        self._server = server
        self._writer = writer
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._heads: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytearray] = {}
        self.acknowledged = 0
        self.streams_most = 0
        """The most requests that were under way at once."""
        self._unsent: dict[int, bytearray] = {}

    def begin(self) -> None:
        self._h2.initiate_connection()
        self._flush()

    def feed(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def reply(
        self, stream: int, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.head(stream, status, headers, is_end=not body)
        if body:
            self._unsent[stream] = bytearray(body)
            self._send_body(stream)

    def head(
        self,
        stream: int,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        *,
        is_end: bool = False,
    ) -> None:
        self._h2.send_headers(stream, [(":status", str(status)), *headers], end_stream=is_end)
        self._flush()

    def piece(self, stream: int, data: bytes, *, is_end: bool = False) -> None:
        self._h2.send_data(stream, data, end_stream=is_end)
        self._flush()

    def reset(self, stream: int, code: int) -> None:
        self._h2.reset_stream(stream, code)
        self._flush()

    def limit(self, streams: int) -> None:
        name = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
        self._h2.update_settings({name: streams})
        self._flush()

    def goaway(self, last_stream: int, code: int = 0) -> None:
        """Say that streams above `last_stream` were not looked at, and go on with the others.

        Written by hand because the library takes a GOAWAY for the end of the connection.
        """
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=code)
        self._writer.write(frame.serialize())

    def drop(self) -> None:
        hang_up(self._writer.transport)

    def close(self) -> None:
        self._writer.close()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.streams_most = max(self.streams_most, self._h2.open_inbound_streams)
            self._heads[event.stream_id] = {str(k): str(v) for k, v in event.headers}
            self._bodies[event.stream_id] = bytearray()
            self._server.open_request(self._heads[event.stream_id])
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.acknowledged += 1
            self._server.note()
        elif isinstance(event, h2.events.StreamReset):
            self._unsent.pop(event.stream_id, None)
        elif isinstance(event, h2.events.WindowUpdated):
            for stream in list(self._unsent):
                self._send_body(stream)

    def _complete(self, stream: int) -> None:
        head = self._heads.pop(stream)
        body = bytes(self._bodies.pop(stream))
        path, method = head[":path"], head[":method"]
        request_id = head.get(ID_HEADER, "")
        self._server.close_request(Seen(request_id, self.number, stream, method, path, head, body))

    def _send_body(self, stream: int) -> None:
        left = self._unsent[stream]
        while left:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            data = bytes(left[:room])
            del left[:room]
            self._h2.send_data(stream, data, end_stream=not left)
            self._flush()
        self._unsent.pop(stream, None)

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


class H1Link:
    """The HTTP/1.1 side: keep-alive, one request at a time, bodies by Content-Length."""

    def __init__(self, server: FaultyServer, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.is_open = True
        self.peer = ""
        self._server = server
        self._writer = writer
        self._data = bytearray()
        self._count = 0

    def begin(self) -> None:
        pass

    def feed(self, data: bytes) -> None:
        is_head_new = b"\r\n\r\n" not in self._data
        self._data += data
        if self._data.startswith(b"PRI * HTTP/2.0"):
            self.drop()
            return
        head, mark, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if is_head_new:
            self._server.open_request(headers)
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._data = bytearray(rest[length:])
        self._count += 1
        method, path, _ = first.split(" ")
        request_id = headers.get(ID_HEADER, "")
        self._server.close_request(
            Seen(request_id, self.number, self._count, method, path, headers, rest[:length])
        )

    def reply(
        self, stream: int, status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def drop(self) -> None:
        hang_up(self._writer.transport)

    def close(self) -> None:
        self._writer.close()
