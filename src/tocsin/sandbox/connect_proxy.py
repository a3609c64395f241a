"""An HTTP CONNECT proxy on loopback that leads the vendors' host names to the sandbox.

For SDKs whose hosts are fixed but which know proxies, so that nobody needs root or a hosts file. It
opens tunnels to what `find` knows, on port 443, and to nothing else: nothing ever leaves this
machine through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

LOOPBACK = "127.0.0.1"
HEAD_BYTES_MAX = 8192
HEAD_S = 10.0
"""How long a client may take to say where it wants to go."""
IDLE_S = 900.0
"""A tunnel that carried nothing for so long is closed."""
TUNNELS_MAX = 1000
CHUNK_BYTES = 65_536

_REQUEST = re.compile(rb"(?P<method>[A-Z]{1,16}) (?P<target>[\x21-\x7e]+) HTTP/1\.[01]\r\n")
_TARGET = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})")


class _Refusal(Exception):
    """No tunnel: the status that says why."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class ConnectProxy:
    """Serves CONNECT. `find` answers where a host name is served, or None."""

    def __init__(self, find: Callable[[str], tuple[str, int] | None]) -> None:
        self._find = find
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0
        self.head_s = HEAD_S
        self.idle_s = IDLE_S
        self.tunnels_max = TUNNELS_MAX

    async def start(self, port: int) -> None:
        """Listen on loopback; port 0 takes a free one."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, port, limit=HEAD_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every tunnel."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    @property
    def url(self) -> str:
        """Where it listens; empty as long as it does not."""
        return f"http://{LOOPBACK}:{self.port}" if self.port else ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open.add(task)
        try:
            await self._lead(reader, writer)
        except _Refusal as refusal:
            _answer(writer, refusal.status)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            # Either side went away, or said nothing for too long.
            pass
        except asyncio.CancelledError:
            # The proxy stops. The task is nobody else's, and a stream's own callback would tell of
            # a cancelled one.
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The request is read before it is refused: what lies unread would reset the connection,
        # and the refusal be lost.
        address = self._address(await self._head(reader))
        if len(self._open) > self.tunnels_max:
            raise _Refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            far_reader, far_writer = await asyncio.open_connection(*address)
        except OSError:
            raise _Refusal(HTTPStatus.BAD_GATEWAY) from None
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with asyncio.timeout(self.idle_s) as limit:
                way_out = _copy(reader, far_writer, limit, self.idle_s)
                way_back = _copy(far_reader, writer, limit, self.idle_s)
                await asyncio.gather(way_out, way_back)
        finally:
            far_writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self.head_s):
                return await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise _Refusal(HTTPStatus.REQUEST_TIMEOUT) from None
        except asyncio.LimitOverrunError:
            raise _Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None

    def _address(self, head: bytes) -> tuple[str, int]:
        """Where a request for a tunnel leads to."""
        request = _REQUEST.match(head)
        if request is None:
            raise _Refusal(HTTPStatus.BAD_REQUEST)
        if request["method"] != b"CONNECT":
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        target = _TARGET.fullmatch(request["target"].decode())
        found = self._find(target["host"]) if target and target["port"] == "443" else None
        if found is None:
            raise _Refusal(HTTPStatus.FORBIDDEN)
        return found


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    limit: asyncio.Timeout,
    idle_s: float,
) -> None:
    """Carry bytes one way until that side has said all; each chunk gives the tunnel more time."""
    loop = asyncio.get_running_loop()
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
        limit.reschedule(loop.time() + idle_s)
    if writer.can_write_eof():
        writer.write_eof()


def _answer(writer: asyncio.StreamWriter, status: HTTPStatus) -> None:
    allow = "allow: CONNECT\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = f"HTTP/1.1 {status} {status.phrase}\r\n{allow}content-length: 0\r\nconnection: close"
    writer.write(f"{head}\r\n\r\n".encode())
