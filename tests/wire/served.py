"""A service on a real folder: filled through its own store, served by a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from typer.testing import CliRunner

from tests.patience import PATIENCE_S
from tests.wire.prefork import Forked, fork
from tocsin.cli.main import build
from tocsin.client.rest import Client
from tocsin.client.sandbox import credential_facts
from tocsin.config import Config
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.hello import DeviceFacts
from tocsin.sandbox.server import Sandbox
from tocsin.service.opening import OpenedService, open_service

APP = 1_400_000_001
KEY = "a key for tests only"


class Process:
    """`tocsin serve` on a folder; `kill` is kill -9."""

    def __init__(self, process: Forked, told: Mapping[str, Any]) -> None:
        self._process = process
        self.told = told
        """What it printed when it listened."""
        self.url: str = told["url"]

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await self._process.wait()


@asynccontextmanager
async def process_of(folder: Path, **settings: str) -> AsyncIterator[Process]:
    """Serve the folder until the block ends; `settings` are environment variables."""
    process = await start(folder, settings)
    try:
        yield process
    finally:
        await process.stop()


@asynccontextmanager
async def logging_process(
    folder: Path, log: Path, settings: Mapping[str, str], open_files: int = 0
) -> AsyncIterator[Process]:
    """Serve the folder, logging JSON lines to `log`; who leaves the block has seen it end.

    `open_files` is the process's limit of them; 0 leaves what this one has.
    """
    process = await start(
        folder, {"TOCSIN_LOG_FORMAT": "json", **settings}, log, open_files=open_files
    )
    try:
        yield process
    finally:
        await process.kill()


async def start(
    folder: Path,
    settings: Mapping[str, str] = {},
    log: Path | None = None,
    *,
    port: int = 0,
    open_files: int = 0,
) -> Process:
    """Start a process and wait until it listens; it appends what it logs to `log`."""
    words = ("serve", "--data", str(folder), "--port", str(port), "--json")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings}
    with (log or Path(os.devnull)).open("ab") as stderr:
        process = await fork(words, env, stderr, open_files=open_files)
    async with asyncio.timeout(PATIENCE_S):
        line = await process.stdout.readline()
    return Process(process, msgspec.json.decode(line))


async def make_app(
    service: OpenedService, sandbox: Sandbox | None = None, number: int = APP, **facts: object
) -> None:
    """An app with one administrator and, if there is a sandbox, its APNs credential as number 1."""
    told = {"key": KEY, "admins": ["admin"], "profile": "unlimited", **facts}
    await service.operator.app_add(number, told)
    if sandbox is not None:
        settings = msgspec.to_builtins(sandbox.credential("apns"))
        record = {
            "channel": "apns",
            "settings": settings,
            "origin": sandbox.url("apns"),
            "ca": sandbox.ca_pem,
        }
        await service.operator.credential_add(number, record)


def token_of(number: int) -> str:
    """An APNs token as a phone would have it."""
    return f"{number:064x}"


async def people(service: OpenedService, count: int) -> None:
    """Accounts `u1`… with one APNs device each, straight through the store."""
    names = [f"u{number}" for number in range(1, count + 1)]
    now = service.clock.now()
    for start_at in range(0, count, 1000):
        page = names[start_at : start_at + 1000]
        decide = import_accounts([Profile(name) for name in page], now)
        await service.store.update_accounts(APP, page, [], decide)
    for start_at in range(1, count + 1, 500):
        numbers = range(start_at, min(start_at + 500, count + 1))
        await asyncio.gather(*(_device(service, number, now) for number in numbers))


async def _device(service: OpenedService, number: int, now: float) -> None:
    route = Route("apns", 1, token_of(number))
    ask = Registration(
        registration_id=f"R-{number}",
        fresh_secret="s",
        user=f"u{number}",
        route=route,
        facts=DeviceFacts(language="en"),
    )
    decide = register(ask, now)
    await service.store.update_device(APP, ask.registration_id, ask.user, route, decide)


async def phones_of(
    service: OpenedService, sandbox: Sandbox, vendor: str, count: int, **record: object
) -> None:
    """A credential of a vendor, and accounts `<vendor>-0`… with one phone each that it reaches."""
    facts = credential_facts(vendor, sandbox.describe())
    added = await service.operator.credential_add(APP, {**facts, **record})
    names = [f"{vendor}-{number}" for number in range(count)]
    now = service.clock.now()

    async def put(name: str, token: str) -> None:
        route = Route(vendor, added["number"], token)
        ask = Registration(registration_id=f"R-{name}", fresh_secret="s", user=name, route=route)
        await service.store.update_device(APP, f"R-{name}", name, route, register(ask, now))

    phones = list(zip(names, sandbox.tokens(vendor, 0, count), strict=True))
    for start_at in range(0, count, 500):
        page = phones[start_at : start_at + 500]
        accounts = [name for name, _ in page]
        decide = import_accounts([Profile(name) for name in accounts], now)
        await service.store.update_accounts(APP, accounts, [], decide)
        await asyncio.gather(*(put(name, token) for name, token in page))


class LocalCommand:
    """Commands of the command line about one folder, also while it is served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, *words: str) -> None:
        told = (*words, "--data", str(self._folder))
        # On a thread of its own: it has an event loop of its own, too.
        result = await asyncio.to_thread(CliRunner().invoke, build(), told, prog_name="tocsin")
        assert result.exit_code == 0, result.output


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[OpenedService]:
    """The folder, opened by this process."""
    async with open_service(Config(data=str(folder))) as service:
        yield service


def client_of(process: Process) -> Client:
    """An administrator's client."""
    return Client(process.url, APP, "admin", key=KEY)
