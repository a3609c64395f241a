"""What waits to be written to one connection, with a bound on its bytes.

A reader that does not read holds up nobody: beyond the bound its connection is cut, the bytes are
given back, and the pushes take their other legs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from starlette.types import Send

from tocsin.online.session import CloseReason

FLUSH_MAX_S = 5.0
"""How long a closing connection may take to read what is left."""


class ClientLink(Protocol):
    """The way out to one client."""

    def write(self, data: bytes) -> bool:
        """Queue a frame; False: the client does not read and has been cut off."""
        ...

    def close(self, end: CloseReason) -> None:
        """Close once everything queued is written."""
        ...


class Outbox:
    """The way out over an ASGI WebSocket. A task runs only while something is queued."""

    __slots__ = ("_bytes", "_bytes_max", "_cut", "_frames", "_is_closed", "_send", "_task")

    def __init__(self, send: Send, cut: Callable[[], None], bytes_max: int) -> None:
        self._send = send
        self._cut = cut
        self._bytes_max = bytes_max
        self._bytes = 0
        self._frames: deque[bytes | CloseReason] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def write(self, data: bytes) -> bool:
        if self._is_closed:
            return True
        self._bytes += len(data)
        if self._bytes > self._bytes_max:
            self.cut()
            return False
        self._queue(data)
        return True

    def close(self, end: CloseReason) -> None:
        if not self._is_closed:
            self._queue(end)
            self._is_closed = True

    def cut(self) -> None:
        """Drop everything and the connection with it."""
        self._is_closed = True
        if self._frames is not None:
            self._frames.clear()
        self._cut()

    async def flushed(self) -> None:
        """Wait until nothing is queued any more, but not for ever."""
        task = self._task
        if task is not None:
            _, late = await asyncio.wait({task}, timeout=FLUSH_MAX_S)
            if late:
                self.cut()
                task.cancel()

    def _queue(self, item: bytes | CloseReason) -> None:
        if self._frames is None:
            self._frames = deque()
        self._frames.append(item)
        if self._task is None:
            self._task = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        frames = self._frames
        assert frames is not None
        try:
            while frames:
                item = frames.popleft()
                if isinstance(item, CloseReason):
                    await self._send(
                        {"type": "websocket.close", "code": item.code, "reason": item.reason}
                    )
                else:
                    await self._send({"type": "websocket.send", "text": item.decode()})
                    self._bytes -= len(item)
        except (OSError, RuntimeError):
            # The client is gone, or the server closed the socket under us: the reader hears it.
            self._is_closed = True
            frames.clear()
        finally:
            # An idle connection keeps no queue: with many of them that is most of their memory.
            self._frames = self._task = None


class PollBox:
    """The way out to a client that polls: what is queued becomes its answer."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._filled = asyncio.Event()

    def write(self, data: bytes) -> bool:
        self.frames.append(data)
        self._filled.set()
        return True

    def close(self, end: CloseReason) -> None:  # noqa: ARG002 - an answer has no close code
        self._filled.set()

    async def filled(self) -> None:
        """Wait until there is something to answer."""
        await self._filled.wait()


def _fits(outbox: Outbox, pollbox: PollBox) -> tuple[ClientLink, ClientLink]:
    return outbox, pollbox
