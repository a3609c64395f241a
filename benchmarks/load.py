"""Callers that keep a server busy: so many connections, each with one call under way at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

LENGTH = b"content-length: "
REFUSED = b'"ActionStatus":"FAIL"'

T = TypeVar("T")


class HttpTalk:
    """HTTP/1.1 over a kept connection: just enough to measure the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> HttpTalk:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def call(self, request: bytes) -> bytes:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        place = head.index(LENGTH) + len(LENGTH)
        size = int(head[place : head.index(b"\r\n", place)])
        answer = await self._reader.readexactly(size)
        if REFUSED in answer:
            raise RuntimeError(answer.decode())
        return answer

    def close(self) -> None:
        self._writer.close()


def post(path: str, query: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    head = f"POST {path}?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def press(
    calls: Sequence[Callable[[T], Awaitable[Any]]], asked: Iterator[T], seconds: float
) -> int:
    """Keep each of `calls` busy for so long; answers how many were answered."""
    until = time.perf_counter() + seconds
    count = 0

    async def caller(call: Callable[[T], Awaitable[Any]]) -> None:
        nonlocal count
        while time.perf_counter() < until:
            await call(next(asked))
            count += 1

    await asyncio.gather(*(caller(call) for call in calls))
    return count
