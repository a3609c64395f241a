"""A served process that is pestered: it goes on serving, in the memory that it had.

`make soak` does the same for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.wire.served import APP, Process, client_of, logging_process, make_app, opened
from tocsin.client.operator import AdminSocket
from tocsin.client.rest import Client
from tocsin.clock import SystemClock
from tocsin.http_server.descriptors import raise_limit
from tocsin.online.socket import PATH
from tocsin.service.listening import SOCKET_NAME

MIB = 1 << 20
GROWTH_MAX = 40 * MIB
"""What memory may grow by: a tenth of what any of these inputs took before it had bounds."""
SOAK_S = float(os.environ.get("TOCSIN_SOAK_S", "0"))
"""How long `make soak` goes on; without it a few rounds are all."""
ROUNDS = 12
WARM_ROUNDS = 4
AT_ONCE = 20

HANDSHAKE = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n"
)
PINGS = (bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + b"p" * 125) * 1000
UNSIGNED = b"/v4/timpush/push?sdkappid=%d&usersig=x&contenttype=json&identifier=" % APP
CHUNKED = b"POST /v1/devices/register HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
PESTS: tuple[bytes, ...] = (
    b"POST " + UNSIGNED + b"%F0%9F%9A%80" * 5_000 + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST " + UNSIGNED + b"a" * 60_000 + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 500_000,
    b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    b"GET /healthz HTTP/1.1\r\n\r\n" * 2_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    b"NONSENSE\r\n\r\n",
    b"POST /v4/timpush/push HTTP/1.1\r\nContent-Length: 2\r\n" + HANDSHAKE + b"ab",
    b"GET /v4/online HTTP/1.1\r\n" + HANDSHAKE + b"\x81\xfe\xff\xff" + b"a" * 100_000,
    b"GET /v4/online HTTP/1.1\r\n" + HANDSHAKE + b"\xff" * 1_000,
    CHUNKED + b"1;" + b"x" * 300_000,
    CHUNKED + b"8000\r\n" + b"[" * 0x8000 + b"\r\n0\r\n\r\n",
    b"POST /v1/devices/register HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300_000,
)  # fmt: skip
"""What is said on a connection each, before it is dropped."""


@asynccontextmanager
async def pestered(folder: Path, open_files: int = 0) -> AsyncIterator[tuple[Process, Path]]:
    """A served app, and the file that the process logs to."""
    async with opened(folder) as service:
        await make_app(service)
    log = folder / "log"
    async with logging_process(folder, log, {}, open_files) as process:
        yield process, log


def memory_of(process: Process) -> int:
    """Bytes of the process that are in memory."""
    pages = Path(f"/proc/{process.told['pid']}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def say(process: Process, data: bytes, *, hangs_up: bool = False) -> None:
    """Say it on a connection of its own, and wait for an answer or the end, or for neither."""
    url = urlsplit(process.url)
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(PATIENCE_S):
                await reader.read(0 if hangs_up else 4096)
        finally:
            writer.close()


async def many(count: int, pester: Callable[[], Awaitable[None]]) -> None:
    """Do it so often, `AT_ONCE` at a time."""
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(pester() for _ in range(AT_ONCE)))


async def served_still(process: Process, folder: Path) -> None:
    """Health, a call and the operator's socket are answered."""
    async with aiohttp.ClientSession() as session:
        for page in ("healthz", "readyz"):
            async with session.get(f"{process.url}/{page}") as answer:
                assert answer.status == 200
    async with client_of(process) as client, AdminSocket(folder / SOCKET_NAME) as operator:
        assert await client.get_attr_name() == {}
        assert (await operator.status())["pid"] == process.told["pid"]


@pytest.mark.evidence(
    "when open files run out, whoever keeps us waiting is closed, and everybody else served",
    topic="Connections",
    planted="nobody closed; idle ones before silent ones; no reserve",
)
@pytest.mark.parametrize("said", [b"", b"GET /v4/online HTTP/1.1\r\n" + HANDSHAKE])
async def test_a_thousand_silent_connections_stop_nobody(tmp_path: Path, said: bytes) -> None:
    raise_limit()
    async with pestered(tmp_path, open_files=1024) as (process, log):
        url = urlsplit(process.url)
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                client = socket.create_connection((str(url.hostname), int(url.port or 0)))
                stack.enter_context(client)
                client.sendall(said)
            await served_still(process, tmp_path)
        told = ""
        async with asyncio.timeout(PATIENCE_S):
            while "open files are at their limit" not in told:
                await SystemClock().sleep(0.05)
                told = log.read_text()
        (line,) = [each for each in told.splitlines() if "at their limit" in each]
        fields = msgspec.json.decode(line)
        assert fields["closed"] > 100
        assert "ulimit" in fields["advice"]
        assert "Traceback" not in told


@pytest.mark.evidence(
    "a WebSocket whose client does not read takes no memory and ends in time, and one that "
    "is not known yet, or is being closed, gives up its place",
)
@pytest.mark.evidence(
    "strangers' bytes take no memory that stays",
    topic="Connections",
    planted="a bound of 64 MB on heads: ten connections took 230 MB",
)
async def test_memory_stays_where_it_was(tmp_path: Path) -> None:
    async with pestered(tmp_path) as (process, log):
        await served_still(process, tmp_path)
        before = memory_of(process)
        for name in (b"%F0%9F%9A%80" * 5_000, b"a" * 60_000):
            request = b"POST " + UNSIGNED + name + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
            await many(1000, partial(say, process, request))
        assert memory_of(process) - before < GROWTH_MAX
        endless = b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 10 * MIB
        await asyncio.gather(*(say(process, endless) for _ in range(10)))
        assert memory_of(process) - before < GROWTH_MAX
        await asyncio.to_thread(send_and_not_read, process, PINGS, 60 * MIB)
        assert memory_of(process) - before < GROWTH_MAX
        await served_still(process, tmp_path)
        assert "Traceback" not in log.read_text()


def send_and_not_read(process: Process, data: bytes, bytes_min: int) -> None:
    """Send frames over a WebSocket, and leave their answers where they are."""
    url = urlsplit(process.url)
    with socket.create_connection((str(url.hostname), int(url.port or 0))) as client:
        client.sendall(b"GET /v4/online HTTP/1.1\r\n" + HANDSHAKE)
        assert b" 101 " in client.recv(4096)
        for _ in range(bytes_min // len(data)):
            client.sendall(data)


async def soak(process: Process, client: Client, chance: random.Random) -> None:
    """One round: everything that a stranger may say, and a caller between it."""
    pests = [each for each in PESTS for _ in range(3)]
    chance.shuffle(pests)
    calls = (client.get_attr_name() for _ in range(20))
    cut = (say(process, each[: chance.randrange(len(each))], hangs_up=True) for each in PESTS)
    await asyncio.gather(*(say(process, each) for each in pests), *cut, *calls)
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.ws_connect(process.url + PATH) as phone:
                await phone.send_bytes(chance.randbytes(100))
                await phone.receive()


@pytest.mark.evidence("strangers' bytes take no memory that stays")
@pytest.mark.slow
async def test_a_soak_takes_no_memory(tmp_path: Path) -> None:
    chance, clock = random.Random(8), SystemClock()
    async with pestered(tmp_path) as (process, log), client_of(process) as client:
        for _ in range(WARM_ROUNDS):
            await soak(process, client, chance)
        before, ends_at, rounds = memory_of(process), clock.monotonic() + SOAK_S, 0
        while rounds < ROUNDS or clock.monotonic() < ends_at:
            await soak(process, client, chance)
            rounds += 1
        assert memory_of(process) - before < GROWTH_MAX
        await served_still(process, tmp_path)
        assert "Traceback" not in log.read_text()
