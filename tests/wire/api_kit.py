"""The whole service in this process, called through real sockets, its output caught."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tocsin.client.operator import AdminSocket
from tocsin.config import (
    Config,
    DeviceSettings,
    LogSettings,
    MetricsSettings,
    ServerSettings,
    StoreSettings,
)
from tocsin.service.listening import SOCKET_NAME
from tocsin.service.running import serve

APP = 1_400_000_001
KEY = "canary0key0that0signs0usersigs0and0shall0never0be0in0any0output0"
ADMIN = "administrator"


class Served(Struct, frozen=True):
    """A running service, and what its callers know."""

    url: str
    admin: AdminSocket
    usersig: str

    def path(self, command: str, **changed: str) -> str:
        """Path and query of a right call, with these parameters changed."""
        params = {
            "sdkappid": str(APP),
            "identifier": ADMIN,
            "usersig": self.usersig,
            "random": "1",
            "contenttype": "json",
            **changed,
        }
        query = "&".join(f"{name}={value}" for name, value in params.items())
        return f"/v4/{command}?{query}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection to the public door."""
        told = urlsplit(self.url)
        return await asyncio.open_connection(told.hostname, told.port)


class Reply(Struct, frozen=True):
    """An HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


REGISTRATIONS = 6
"""So few first registrations a minute from one address are told apart from one more at any pace:
the next is let in after ten seconds."""


@asynccontextmanager
async def serving(
    folder: Path, kind: str = "sqlite", *, devices: DeviceSettings | None = None
) -> AsyncIterator[Served]:
    """Serve at debug level until the block ends; the logging of the test run is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    ended, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    config = msgspec.structs.replace(
        Config(data=str(folder)),
        server=ServerSettings(port=0, drain_s=1),
        metrics=MetricsSettings(listen="127.0.0.1:0"),
        log=LogSettings(level="debug"),
        store=msgspec.convert({"kind": kind}, StoreSettings),
        devices=devices or DeviceSettings(),
    )
    task = asyncio.create_task(serve(config, started=listening.set_result, ended=ended))
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        async with AdminSocket(folder / SOCKET_NAME) as admin:
            facts = {"key": KEY, "admins": [ADMIN], "profile": "unlimited"}
            await admin.app_add(APP, facts)
            yield Served(listening.result()["url"], admin, await admin.usersig(APP, ADMIN, 3600))
    finally:
        ended.set()
        await task
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("tocsin").setLevel(logging.NOTSET)


async def exchange(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    head: str,
    body: bytes = b"",
) -> Reply:
    """Send a request on an open connection and read one answer."""
    reader, writer = streams
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await writer.drain()
    return await read_reply(reader)


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """One answer with a known length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(lines[0].split(" ")[1]), headers, body)


async def post(served: Served, command: str, body: bytes, **changed: str) -> Reply:
    """One call on a connection of its own."""
    reader, writer = await served.connect()
    try:
        head = (
            f"POST {served.path(command, **changed)} HTTP/1.1\r\n"
            f"Host: test\r\nContent-Length: {len(body)}"
        )
        return await exchange((reader, writer), head, body)
    finally:
        writer.close()
