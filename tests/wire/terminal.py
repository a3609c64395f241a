"""A terminal as a person has it: bash with job control on a pseudo-terminal, and what it shows."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import termios
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.patience import PATIENCE_S

READY, MARK = "\x1b[?2004h", "\x01"
"""What bash says when it is about to read a line, and what stands for it here: it draws the prompt
anew, too, when a paste is no longer marked."""
PROMPT = re.compile(rf"{MARK}\[status (\d+)\] \$ ")
SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-B0-2]|[=>78])")
ROWS, COLUMNS = 60, 400
"""Wide enough that nothing pasted or printed is broken into two lines."""


class Terminal:
    """One window. `paste` does what a person does: paste, press Enter, wait for the prompt."""

    def __init__(self, master: int, shell: asyncio.subprocess.Process) -> None:
        self._master = master
        self._shell = shell
        self._shown = ""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def shown(self) -> str:
        """Everything that the window has shown, without what only moves or colours."""
        return SEQUENCE.sub("", self._shown.replace(READY, MARK)).replace("\r", "")

    def _read(self) -> None:
        try:
            found = os.read(self._master, 65_536)
        except OSError:
            found = b""
        if not found:
            asyncio.get_running_loop().remove_reader(self._master)
        self._shown += found.decode(errors="replace")
        self._news.set()

    async def until(self, pattern: str | re.Pattern[str], after: int = 0) -> re.Match[str]:
        """Wait until the window shows it, from that character on."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := re.compile(pattern).search(self.shown, after)) is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never shown: {pattern}\n{self.shown[after:]}") from None
        return found

    async def paste(self, text: str) -> tuple[int, str]:
        """The last command's status, and what was shown until the next prompt."""
        began = await self.begin(text)
        found = await self.until(PROMPT, began)
        return int(found[1]), self.shown[began : found.start()]

    async def begin(self, text: str) -> int:
        """Paste what goes on until it is told to end; answers where its output begins."""
        before = len(self.shown)
        # As terminals do it: the shell takes a paste as one text, and begins with Enter.
        os.write(self._master, b"\x1b[200~" + text.strip().encode() + b"\x1b[201~")
        last = text.strip().splitlines()[-1]
        echoed = await self.until(re.escape(last[-40:]), before)
        os.write(self._master, b"\r")
        return echoed.end()

    async def interrupt(self) -> int:
        """Ctrl-C; answers the status at the next prompt."""
        before = len(self.shown)
        os.write(self._master, b"\x03")
        return int((await self.until(PROMPT, before))[1])

    async def close(self) -> None:
        """Close the window and end what still runs in it: a service outlives a hangup."""
        asyncio.get_running_loop().remove_reader(self._master)
        for number in _session(self._shell.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        os.close(self._master)
        await self._shell.wait()


def _session(leader: int) -> list[int]:
    """Whoever was started from this shell, itself included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: state, parent, group, session.
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(stat.parent.name))
    return found


@contextlib.asynccontextmanager
async def terminal(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """A fresh window in a folder, with this environment and no other."""
    bash, setsid = shutil.which("bash"), shutil.which("setsid")
    assert bash is not None
    assert setsid is not None
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        shell = await asyncio.create_subprocess_exec(
            *(setsid, "--ctty", bash, "--norc", "--noprofile", "-i"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={"TERM": "xterm", "PS1": "[status $?] $ ", **environment},
        )
    finally:
        os.close(slave)
    window = Terminal(master, shell)
    try:
        await window.until(PROMPT)
        yield window
    finally:
        await window.close()
