"""Raw sockets that mean no good: slow, huge, endless, smuggled, upgraded.

A small application behind our server, with limits of a fraction of a second; that what is within
them is served is said without a clock in `tests/unit/http_server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from msgspec import Struct

from tests.patience import PATIENCE_S
from tests.wire.api_kit import Reply, read_reply
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.clock import settle_loop
from tocsin.http_server.bounds import Bounds
from tocsin.http_server.connections import Connections
from tocsin.http_server.server import HttpServer
from tocsin.http_server.web_socket import WebSocketProtocol
from tocsin.metrics import Metrics

SHORT_S = 0.2
SLOW = Bounds(head_s=SHORT_S, body_s=SHORT_S, answer_s=SHORT_S, linger_s=SHORT_S)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /read HTTP/1.1\r\nHost: x\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """`/read` answers the length of its body, `/refuse` does not read it, `/flood` says a lot."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    size = 0
    if scope["path"] == "/read":
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
    body = b"x" * 20_000_000 if scope["path"] == "/flood" else b"%d" % size
    fields = b"%d" % len(scope["headers"])
    headers = [(b"content-length", b"%d" % len(body)), (b"x-fields", fields)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Full(Connections):
    """Nobody gets a place."""

    def admit(self, host: str) -> None:
        return None


class Target(Struct, frozen=True):
    """A server to be mean to."""

    port: int
    metrics: Metrics
    connections: Connections

    @asynccontextmanager
    async def connect(self, **more: Any) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **more)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0)

    def closed(self, reason: str) -> float:
        return self.metrics.value("connections_closed", reason=reason)


class Client(Struct, frozen=True):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        # A server that has had enough is no fault here.
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def reply(self) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            return await read_reply(self.reader)

    async def status(self) -> int:
        return (await self.reply()).status

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def target(
    bounds: Bounds | None = None,
    *,
    kind: type[Connections] = Connections,
    tls: Path | None = None,
) -> AsyncIterator[Target]:
    metrics = Metrics()
    connections = kind(1000, metrics=metrics)
    config = uvicorn.Config(
        application,
        ws=WebSocketProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_certfile=tls,
        timeout_keep_alive=3600,
    )
    config.load()
    server = HttpServer(config, connections, bounds=bounds, socket_paths=frozenset((b"/socket",)))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    await server.startup([listening])
    try:
        yield Target(port, metrics, connections)
    finally:
        # uvicorn's own end waits for tenths of a second.
        server.refuse()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)


# huge


@pytest.mark.evidence(
    "request line and headers have a bound, together and in number",
    topic="Connections",
    planted="a bound of 64 MB; 25,600 fields",
)
@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 200_000,
        GET + b"X: " + b"a" * 200_000,
        GET + b"X-" + b"a" * 200_000,
        GET + b"X: y\r\n" * 20_000,
        b"\r\n" * 50_000,
    ],
    ids=["url", "value", "name", "many", "nothing"],
)
async def test_a_head_over_64_kib_is_431(endless: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(endless)
        assert await client.status() == 431
        assert await client.ended() == b""
        assert served.closed("head_long") == 1


@pytest.mark.evidence("request line and headers have a bound, together and in number")
async def test_a_head_of_just_64_kib_is_served() -> None:
    async with target() as served, served.connect() as client:
        name = b"X: "
        room = 65_536 - len(GET) - len(name) - 4
        await client.say(GET + name + b"a" * room + b"\r\n\r\n")
        assert await client.status() == 200
        await client.say(GET + name + b"a" * (room + 1) + b"\r\n\r\n")
        assert await client.status() == 431


@pytest.mark.evidence("request line and headers have a bound, together and in number")
async def test_many_short_headers_are_431() -> None:
    async with target() as served, served.connect() as client:
        await client.say(GET + b"a:b\r\n" * 255 + b"\r\n")
        assert await client.status() == 200
        await client.say(GET + b"a:b\r\n" * 256 + b"\r\n")
        assert await client.status() == 431


@pytest.mark.evidence(
    "chunk framing has a bound, and trailers are no headers",
    topic="Connections",
    planted="the framing not counted; trailers appended",
)
@pytest.mark.parametrize(
    "endless",
    [b"1;" + b"x" * 200_000, b"0" * 200_000, b"0\r\n" + b"X: y\r\n" * 30_000],
    ids=["extension", "size", "trailers"],
)
async def test_framing_without_an_end_is_400(endless: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n" + endless)
        assert await client.status() == 400


@pytest.mark.evidence("chunk framing has a bound, and trailers are no headers")
async def test_trailers_do_not_become_headers() -> None:
    async with target() as served, served.connect() as client:
        await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await client.say(b"3;a=b\r\nabc\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        reply = await client.reply()
        assert (reply.body, reply.headers["x-fields"]) == (b"3", "2")


@pytest.mark.evidence("chunk framing has a bound, and trailers are no headers")
async def test_a_body_of_single_bytes_is_read() -> None:
    async with target() as served, served.connect() as client:
        await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await client.say(b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")
        assert (await client.reply()).body == b"40000"


@pytest.mark.evidence(
    "a body that nobody wants is not read, and the answer arrives",
    topic="Connections",
    planted="the body read on; the connection reset with the answer",
)
@pytest.mark.parametrize(
    "length", [b"Content-Length: 9999999999999999999", b"Transfer-Encoding: chunked"]
)
async def test_a_body_that_nobody_wants_is_not_read_to_its_end(length: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"POST /refuse HTTP/1.1\r\n" + length + b"\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await client.ended() == b""


@pytest.mark.evidence("a body that nobody wants is not read, and the answer arrives")
async def test_a_short_body_that_nobody_wants_keeps_the_connection() -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"POST /refuse HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
        assert "connection" not in (await client.reply()).headers
        await client.say(b"abc" + GET + b"\r\n")
        assert await client.status() == 200


@pytest.mark.evidence("a body that nobody wants is not read, and the answer arrives")
async def test_who_still_sends_a_body_when_the_answer_comes_is_not_reset() -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"POST /refuse HTTP/1.1\r\nContent-Length: 900000\r\n\r\n")
        assert await client.status() == 200
        for _ in range(2):
            client.writer.write(b"x" * 200_000)
            await client.writer.drain()
        client.writer.write_eof()
        assert await client.reader.read() == b""


@pytest.mark.evidence("answers that are due come before a refusal, and few requests wait")
async def test_requests_in_one_go_are_answered_in_order_up_to_a_number() -> None:
    async with target() as served, served.connect() as client:
        await client.say((POST + b"Content-Length: 1\r\n\r\nx" + GET + b"\r\n") * 20)
        assert [(await client.reply()).body for _ in range(40)] == [b"1", b"0"] * 20
        await client.say((GET + b"\r\n") * 1000)
        statuses = [await client.status() for _ in range(66)]
        assert statuses == [200] * 65 + [400]


# smuggled


@pytest.mark.evidence(
    "a head that can be read in two ways is refused",
    topic="Connections",
    planted="`gzip, chunked` taken for chunked; chunks in HTTP/1.0; HTTP/0.9 and 2.0 served",
)
@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: -3",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"X: a\0b",
        b"X\0: a",
        b"X : a",
        b": a",
        b"X: a\r\n folded",
        b"X: a\nY: b",
        b"X: a\rY: b",
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_400(head: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(POST + head + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET + b"\r\n")
        assert await client.status() == 400
        assert await client.ended() == b""
        assert served.closed("bad_request") == 1


@pytest.mark.evidence("a head that can be read in two ways is refused")
@pytest.mark.parametrize(
    "line",
    [
        b"GET /healthz\r\n",
        b"GET /healthz HTTP/2.0\r\n",
        b"GET /healthz HTTP/1.2\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"CONNECT x:443 HTTP/1.1\r\n",
        b"GET http://x HTTP/1.1\r\n",
        b"GET /\xff HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\n",
        b"FOO / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_line_that_asks_for_nothing_here_is_400(line: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(line + b"\r\n")
        assert await client.status() == 400
        assert await client.ended() == b""


@pytest.mark.evidence("a head that can be read in two ways is refused")
@pytest.mark.parametrize("chunk", [b"-3\r\nabc", b"x", b"fffffffffffffffff\r\n", b"3\nabc\n0\n\n"])
async def test_a_bad_chunk_is_400_though_the_request_has_begun(chunk: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        assert await client.status() == 400
        assert await client.ended() == b""


@pytest.mark.evidence(
    "answers that are due come before a refusal, and few requests wait",
    topic="Connections",
    planted="the refusal written at once; 6,400 waiting",
)
async def test_answers_that_are_due_come_before_a_refusal() -> None:
    async with target() as served, served.connect() as client:
        await client.say((GET + b"\r\n") * 3 + b"NONSENSE\r\n\r\n" + GET + b"\r\n")
        assert [await client.status() for _ in range(4)] == [200, 200, 200, 400]
        assert await client.ended() == b""


# slow


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
    topic="Connections",
    planted="each time set to an hour, one by one",
)
async def test_who_says_nothing_is_closed() -> None:
    async with target(SLOW) as served, served.connect() as client:
        assert await client.ended() == b""
        assert served.closed("head_late") == 1


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
async def test_a_head_that_does_not_end_is_408() -> None:
    async with target(SLOW) as served, served.connect() as client:
        await client.say(GET)
        assert await client.status() == 408
        assert await client.ended() == b""


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
async def test_a_later_head_that_does_not_end_is_408() -> None:
    async with target(SLOW) as served, served.connect() as client:
        await client.say(GET + b"\r\n")
        assert await client.status() == 200
        await client.say(GET)
        assert await client.status() == 408


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
@pytest.mark.parametrize("length", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_end_is_408(length: bytes) -> None:
    async with target(SLOW) as served, served.connect() as client:
        await client.say(POST + length + b"\r\n\r\n1\r\n")
        assert await client.status() == 408
        assert await client.ended() == b""
        assert served.closed("body_late") == 1


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
async def test_an_answer_that_nobody_reads_is_cut_off() -> None:
    async with target(SLOW) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(b"GET /flood HTTP/1.1\r\n\r\n")
            await served.until(lambda: served.connections.count == 1)
            await served.until(lambda: served.connections.count == 0)


@pytest.mark.evidence(
    "silence, slow heads, slow bodies, slow handshakes and answers that nobody reads end",
)
async def test_a_handshake_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text(ThrowawayCa().identity("localhost"))
    async with target(SLOW, tls=pem) as served, served.connect() as client:
        await client.say(b"\x16\x03\x01\x02\x00\x01")
        assert await client.ended() == b""
        await served.until(lambda: served.connections.count == 0)
        assert served.closed("handshake") == 1


async def test_tls_serves_and_bounds_alike(tmp_path: Path) -> None:
    authority, pem = ThrowawayCa(), tmp_path / "server.pem"
    pem.write_text(authority.identity("localhost"))
    trust = ssl.create_default_context(cadata=authority.pem)
    async with (
        target(tls=pem) as served,
        served.connect(ssl=trust, server_hostname="localhost") as client,
    ):
        await client.say(GET + b"\r\n")
        assert await client.status() == 200
        await client.say(GET + b"X: " + b"a" * 200_000)
        assert await client.status() == 431


# too many


@pytest.mark.evidence(
    "who gets no place is closed, and without a free descriptor accepting waits a second",
    topic="Connections",
    planted="left open; accepting never taken up again, and not paused",
)
async def test_who_gets_no_place_is_closed_at_once() -> None:
    async with target(kind=Full) as served, served.connect() as client:
        assert await client.ended() == b""


@pytest.mark.evidence(
    "who gets no place is closed, and without a free descriptor accepting waits a second",
)
async def test_without_a_free_descriptor_accepting_waits_and_goes_on() -> None:
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with target() as served:
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            free = os.open(os.devnull, os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, former[1]))
            try:
                await served.until(lambda: served.closed("files") == 1)
                await settle_loop()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, former)
            assert served.closed("files") == 1, "the loop does not spin"
            reader, writer = await asyncio.open_connection(sock=connection)
            client = Client(reader, writer)
            await client.say(GET + b"\r\n")
            assert await client.status() == 200
            writer.close()


# upgraded

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n"


@pytest.mark.evidence("a place is given back once, by sockets too")
async def test_a_handshake_opens_a_socket() -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + b"\r\n")
        assert await client.status() == 101
        assert served.connections.count == 1
        client.writer.close()
        await served.until(lambda: served.connections.count == 0)


@pytest.mark.evidence(
    "an upgrade that is no handshake is a request, body and all",
    topic="Connections",
    planted="any path and method upgraded; a body beside a handshake; the body lost",
)
@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /elsewhere HTTP/1.1\r\n" + UPGRADE + KEY,
        b"GET /socket HTTP/1.1\r\n" + UPGRADE,
        b"GET /socket HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Key: short\r\n",
        b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + KEY,
        b"GET /socket HTTP/1.1\r\n" + UPGRADE.replace(b"13", b"8") + KEY,
        b"GET /socket HTTP/1.1\r\n" + UPGRADE.replace(b"websocket", b"h2c") + KEY,
        b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + b"X: " + b"a" * 9000 + b"\r\n",
        b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + b"X: y\r\n" * 130,
    ],
    ids=["path", "no key", "short key", "two keys", "version", "h2c", "long", "many"],
)
async def test_what_is_no_handshake_is_answered_as_a_request(request_head: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(request_head + b"\r\n")
        assert (await client.reply()).body == b"0"
        assert await client.ended() == b""


@pytest.mark.evidence("an upgrade that is no handshake is a request, body and all")
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 2\r\n\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("upgrade", [UPGRADE + KEY, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_a_post_with_an_upgrade_keeps_its_body(upgrade: bytes, body: bytes) -> None:
    """Java's client offers h2c with each first request; others mean harm by it."""
    async with target() as served, served.connect() as client:
        await client.say(POST + upgrade + body + GET + b"\r\n")
        assert (await client.reply()).body == b"2"
        assert await client.ended() == b""


@pytest.mark.evidence("an upgrade that is no handshake is a request, body and all")
async def test_a_get_with_a_body_opens_no_socket() -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + b"Content-Length: 2\r\n\r\n")
        await client.say(b"ab")
        assert await client.status() == 200


@pytest.mark.parametrize(
    "header", [b"Origin: https://a\r\nOrigin: https://b\r\n", b"Sec-WebSocket-Protocol: ,,@@\r\n"]
)
async def test_a_handshake_that_the_library_refuses_is_400(header: bytes) -> None:
    async with target() as served, served.connect() as client:
        await client.say(b"GET /socket HTTP/1.1\r\n" + UPGRADE + KEY + header + b"\r\n")
        assert await client.status() == 400
        await served.until(lambda: served.connections.count == 0)
