"""Starts `tocsin` by forking a process that has imported it: most of what a start costs is imports.

A hundred tests start a service. To import the command line takes 0.55 s of CPU each time, a fork
hardly anything. The console script's own start is tested where it matters: `test_cli.py`,
`test_first_start.py`, `test_wheel.py`, the README and the demo.

Two processes are forked for each start. The outer one waits for the inner one, which is the
service, and writes its number and its exit code to a pipe of the test.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple, NoReturn

import msgspec

from tests.patience import PATIENCE_S

MESSAGE_MAX_BYTES = 1 << 20


class Start(msgspec.Struct):
    """What to run; the descriptors come along: standard input, output and error, and the pipe."""

    words: list[str]
    env: dict[str, str]
    open_files: int
    """The limit of open files; 0 leaves what the process has."""


class Pipe(NamedTuple):
    """The end of a pipe that is read."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport


class Forked:
    """A process with the verbs of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, output: Pipe, status: Pipe) -> None:
        self.pid = pid
        self.stdout = output.reader
        self.returncode: int | None = None
        self._ending = asyncio.create_task(self._end(output, status))

    async def _end(self, output: Pipe, status: Pipe) -> int:
        self.returncode = int(await status.reader.readline())
        output.transport.close()
        status.transport.close()
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._ending)

    def send_signal(self, number: int) -> None:
        """Raises `ProcessLookupError` once it is known that the process has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def fork(
    words: Sequence[str], env: Mapping[str, str], stderr: IO[bytes], *, open_files: int = 0
) -> Forked:
    """Start `tocsin` with these words; its standard output is a pipe, its input is empty."""
    output, output_end = os.pipe()
    status, status_end = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    asked = msgspec.json.encode(Start(list(words), dict(env), open_files))
    try:
        descriptors = [nothing, output_end, stderr.fileno(), status_end]
        socket.send_fds(_imported(), [asked], descriptors)
    finally:
        for descriptor in (nothing, output_end, status_end):
            os.close(descriptor)
    pipes = await _read_from(output), await _read_from(status)
    async with asyncio.timeout(PATIENCE_S):
        pid = int(await pipes[1].reader.readline())
    return Forked(pid, *pipes)


async def _read_from(descriptor: int) -> Pipe:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return Pipe(reader, transport)


@functools.cache
def _imported() -> socket.socket:
    """The socket of the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.wire.prefork", str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    theirs.close()

    def end() -> None:
        ours.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)

    atexit.register(end)
    return ours


# in the process that forks


def serve(asked: socket.socket) -> None:
    """Fork for each message until the test process is gone."""
    from tocsin.cli.main import build

    run = build()
    # What is imported stays as it is, so the collector of a forked process need not look at it.
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, *_ = socket.recv_fds(asked, MESSAGE_MAX_BYTES, 4)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            start = msgspec.json.decode(message, type=Start)
            service = os.fork()
            if service == 0:
                become(start, descriptors)
                run(prog_name="tocsin")
                sys.exit(0)
            watch(service, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def become(start: Start, descriptors: Sequence[int]) -> None:
    """Take on everything that the new process is given."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(start.env)
    if start.open_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (start.open_files, start.open_files))
    sys.argv = ["tocsin", *start.words]


def watch(service: int, descriptors: Sequence[int]) -> NoReturn:
    """Say the process's number and, when it has ended, its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    *others, status = descriptors
    for descriptor in others:
        os.close(descriptor)
    # A test that is gone reads neither.
    with suppress(BrokenPipeError):
        os.write(status, b"%d\n" % service)
        _, ended = os.waitpid(service, 0)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
