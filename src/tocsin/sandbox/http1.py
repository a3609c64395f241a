"""A server's side of HTTP/1.1 with keep-alive, for vendors that speak it and the admin door."""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import cast

import httptools

from tocsin.clock import Clock
from tocsin.sandbox.exchange import Call, Connection, Effect, Reply, Serve
from tocsin.sandbox.hang_up import hang_up
from tocsin.sandbox.http_date import http_date

BODY_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 65_536


class Http1(asyncio.Protocol):
    """One HTTP/1.1 connection. Pipelined requests are answered in their order."""

    def __init__(self, serve: Serve, connection: Connection, clock: Clock) -> None:
        self._serve = serve
        self._connection = connection
        self._clock = clock
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._body = b""
        self._waiting: deque[tuple[Call, bool]] = deque()
        self._is_busy = False
        self._is_gone = False
        self._task: asyncio.Task[None] | None = None

    # --- the transport's side --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports fulfil the interface without deriving from it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            # The parser wraps what its callbacks raise, so a body over the limit ends here too.
            self._write(Reply(400), close=True)
            self._transport.close()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()

    # --- the parser's side -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._headers, self._header_bytes, self._body = b"", [], 0, b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            raise OverflowError
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            raise OverflowError

    def on_message_complete(self) -> None:
        call = Call(
            method=self._parser.get_method().decode(),
            path=self._url.decode("latin-1"),
            headers=self._headers,
            body=self._body,
            connection=self._connection,
        )
        self._waiting.append((call, self._parser.should_keep_alive()))
        self._work()

    # --- what leaves -----------------------------------------------------------------------

    def _work(self) -> None:
        while self._waiting and not self._is_busy and not self._is_gone:
            call, keeps_alive = self._waiting.popleft()
            reply = self._serve(call)
            if reply.effect is not None:
                self._apply(reply, reply.effect, keeps_alive=keeps_alive)
            else:
                self._answer(reply, close=not keeps_alive)

    def _apply(self, reply: Reply, effect: Effect, *, keeps_alive: bool) -> None:
        if effect.drop or effect.reset_code is not None:
            self._is_gone = True
            hang_up(self._transport)
        elif effect.silent:
            self._is_busy = True
        elif effect.first_byte_s or effect.body_s:
            self._is_busy = True
            self._task = asyncio.get_running_loop().create_task(
                self._answer_slowly(reply, effect, keeps_alive=keeps_alive)
            )
        else:
            close = effect.close or effect.goaway is not None
            self._answer(reply, close=close or not keeps_alive)

    def _answer(self, reply: Reply, *, close: bool) -> None:
        self._write(reply, close=close)
        if close:
            self._is_gone = True
            self._transport.close()

    async def _answer_slowly(self, reply: Reply, effect: Effect, *, keeps_alive: bool) -> None:
        await self._clock.sleep(effect.first_byte_s)
        close = effect.close or not keeps_alive
        self._transport.write(self._head(reply, close=close))
        if effect.body_s:
            await self._clock.sleep(effect.body_s)
        self._transport.write(reply.body)
        if close:
            self._transport.close()
            return
        self._is_busy = False
        self._work()

    def _write(self, reply: Reply, *, close: bool) -> None:
        self._transport.write(self._head(reply, close=close) + reply.body)

    def _head(self, reply: Reply, *, close: bool) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        lines.append(f"date: {http_date(self._clock.now())}")
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if not any(name == "content-length" for name, _ in reply.headers):
            lines.append(f"content-length: {len(reply.body)}")
        if close:
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
