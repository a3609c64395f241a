"""The demo's two child processes: the sandbox and the service, started and ended by pid.

They run in sessions of their own, so that Ctrl-C reaches the demo alone and the demo ends them in
good order. What they write to stderr is kept in the demo's folder for when something goes wrong.
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
"""Takes the name of the fault that it injects into the service which it then runs."""
START_S = 300.0
"""How long a child may take to listen, on a machine that has much else to do."""
END_S = 60.0
"""How long a child may take to end before it is killed; a service in good order takes 10 s."""
TAIL_LINES = 15
SETTINGS = {"TOCSIN_DEVICES_NEW_PER_MINUTE": "0", "TOCSIN_METRICS_LISTEN": "127.0.0.1:0"}
"""All devices of the demo come from one address, which would be suspicious elsewhere; and a service
may be running beside it."""


class StageFault(Exception):
    """A child did not start, or died in the middle."""


class Child:
    """One child process and the first line it printed: where it listens."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.told: dict[str, Any] = {}

    async def listening(self) -> None:
        """Wait for the line that says where it listens."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        try:
            self.told = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as fault:
            raise StageFault(f"the {self.name} did not start:\n{self.last_words()}") from fault

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.returncode is None

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:]) or "(it wrote nothing)"

    async def end(self) -> None:
        """Ask it to end; kill it if it does not. Never raises."""
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


class Stage(Struct, kw_only=True):
    """Where everything runs."""

    folder: Path
    data: Path
    sandbox: Child
    service: Child

    @property
    def url(self) -> str:
        """The service's base URL."""
        return str(self.service.told["url"])

    @property
    def sandbox_url(self) -> str:
        """The sandbox's admin URL."""
        return str(self.sandbox.told["admin"]["url"])

    def check(self) -> None:
        """Raise if a child has died."""
        for child in (self.service, self.sandbox):
            if not child.is_alive():
                raise StageFault(f"the {child.name} died:\n{child.last_words()}")


@asynccontextmanager
async def set_stage(*, fault: str = "", config: Path | None = None) -> AsyncIterator[Stage]:
    """Start both children in a folder of their own; end them and remove the folder at the end.

    The service is `tocsin serve`, with the settings of the file `config`; or, where `fault` names
    one, a service into which that fault is injected.
    """
    folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
    children: list[Child] = []
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
        yield Stage(folder=folder, data=data, sandbox=sandbox, service=service)
    finally:
        for child in reversed(children):
            await asyncio.shield(child.end())
        shutil.rmtree(folder, ignore_errors=True)


async def _start(
    name: str, command: Sequence[str], folder: Path, settings: Mapping[str, str]
) -> Child:
    # Settings in the caller's environment are for the caller's own service, not for this one.
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
    return Child(name, process, log)
