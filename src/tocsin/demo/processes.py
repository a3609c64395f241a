"""Starts and ends the demo's two child processes: the sandbox and the service.

The children run in sessions of their own, so that Ctrl-C reaches the demo alone and the demo ends
them in good order. The demo's folder keeps their stderr for when something goes wrong.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

COMMAND = (sys.executable, "-m", "tocsin.cli.main")
FAULTY_SERVICE = (sys.executable, "-m", "tocsin.cli.faulty_service")
"""Runs a service with a fault; its first argument is the name of the fault."""
START_S = 300.0
"""Seconds that a child may take to listen, on a machine that has much else to do."""
END_S = 60.0
"""Seconds that a child may take to end before it is killed; a healthy service takes 10 s."""
TAIL_LINES = 15
SETTINGS = {"TOCSIN_DEVICES_NEW_PER_MINUTE": "0", "TOCSIN_METRICS_LISTEN": "127.0.0.1:0"}
"""All devices of the demo come from one address, so the limit on registrations is off; another
service may run on the machine, so the metrics take any free port."""


class DemoFault(Exception):
    """A child process did not start or died, or a step of the demo failed."""


class ChildProcess:
    """One child process, and the JSON line that it prints once it listens."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.addresses: dict[str, Any] = {}

    async def listening(self) -> None:
        """Wait for the line with the addresses; raises `DemoFault` where none comes."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        try:
            self.addresses = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as fault:
            raise DemoFault(f"the {self.name} did not start:\n{self.last_words()}") from fault

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    def last_words(self) -> str:
        """The last lines of the process's stderr."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:]) or "(it wrote nothing)"

    async def end(self) -> None:
        """Terminate the process; kill it if it does not end in time. Never raises."""
        if self.process.returncode is not None:
            return
        try:
            self.process.terminate()
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        except ProcessLookupError:
            pass


class DemoProcesses(Struct, kw_only=True):
    """The running sandbox and service, and their folders."""

    folder: Path
    data: Path
    sandbox: ChildProcess
    service: ChildProcess

    @property
    def url(self) -> str:
        """The service's base URL."""
        return str(self.service.addresses["url"])

    @property
    def sandbox_url(self) -> str:
        """The sandbox's admin URL."""
        return str(self.sandbox.addresses["admin"]["url"])

    def check(self) -> None:
        """Raise `DemoFault` if a child has died."""
        for child in (self.service, self.sandbox):
            if not child.is_alive():
                raise DemoFault(f"the {child.name} died:\n{child.last_words()}")


@asynccontextmanager
async def run_processes(
    *, fault: str = "", config: Path | None = None
) -> AsyncIterator[DemoProcesses]:
    """Start both children in a folder of their own; end them and remove the folder at the end.

    The service is `tocsin serve`, with the settings of the file `config`; or, where `fault` names
    one, a service into which that fault is injected.
    """
    folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
    children: list[ChildProcess] = []
    try:
        data = folder / "data"
        sandbox_command = (*COMMAND, "sandbox", "--port", "0", "--json")
        sandbox = await _start("sandbox", sandbox_command, folder, {})
        children.append(sandbox)
        program = [*FAULTY_SERVICE, fault] if fault else [*COMMAND, "serve"]
        options = ["--data", str(data), "--port", "0", "--json"]
        if config is not None:
            options += ["--config", str(config)]
        service = await _start("service", [*program, *options], folder, SETTINGS)
        children.append(service)
        for child in children:
            await child.listening()
        yield DemoProcesses(folder=folder, data=data, sandbox=sandbox, service=service)
    finally:
        for child in reversed(children):
            await asyncio.shield(child.end())
        shutil.rmtree(folder, ignore_errors=True)


async def _start(
    name: str, command: Sequence[str], folder: Path, settings: Mapping[str, str]
) -> ChildProcess:
    # Settings in the caller's environment are meant for the caller's own service.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("TOCSIN_")}
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**inherited, **settings},
            start_new_session=True,
        )
    return ChildProcess(name, process, log)
