"""What systemd is told, and when it is told that we live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin.clock import ManualClock
from tocsin.errors import StoreError
from tocsin.service.service_manager import ServiceManager

WATCHDOG = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}


class Ear:
    """The manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """The texts since the last time."""
        texts = []
        with contextlib.suppress(BlockingIOError):
            while True:
                texts.append(self.socket.recv(4096).decode())
        return texts


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(str(tmp_path / "notify"))
    with ear.socket:
        yield ear


def manager(ear: Ear, clock: ManualClock, **more: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": ear.socket.getsockname(), **more}, clock)


@pytest.mark.evidence("systemd is told of the start, a reload and the stop")
def test_start_reload_and_stop_are_told(ear: Ear, clock: ManualClock) -> None:
    told = manager(ear, clock)
    told.ready("serving at http://127.0.0.1:8080")
    told.reloading()
    told.reloaded()
    told.stopping()
    usec = int(clock.monotonic() * 1e6)
    assert ear.heard() == [
        "READY=1\nSTATUS=serving at http://127.0.0.1:8080",
        f"RELOADING=1\nMONOTONIC_USEC={usec}",
        "READY=1",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_a_socket_without_a_file_is_reached(clock: ManualClock) -> None:
    name = f"tocsin-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    with ear.socket:
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}, clock).ready("x")
        assert ear.heard() == ["READY=1\nSTATUS=x"]


@pytest.mark.evidence(
    "a manager that is not there, or does not read, holds up nothing",
    topic="Installing it",
    planted="a socket that blocks",
)
@pytest.mark.parametrize("place", ["", "/nowhere/at/all"])
def test_nobody_to_tell_is_no_fault(place: str, clock: ManualClock) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": place} if place else {}, clock)
    told.ready("x")
    told.stopping()


@pytest.mark.evidence("a manager that is not there, or does not read, holds up nothing")
def test_a_manager_that_does_not_read_holds_nobody_up(ear: Ear, clock: ManualClock) -> None:
    told = manager(ear, clock)
    for _ in range(2_000):
        told.stopping()
    assert 0 < len(ear.heard()) < 2_000


@pytest.mark.evidence(
    "its watchdog is fed while the event loop runs and the store's writer answers, and not "
    "otherwise",
    topic="Installing it",
    planted="an ended writer's answer taken for one",
)
async def test_the_watchdog_is_fed_thrice_in_its_time(ear: Ear, clock: ManualClock) -> None:
    async def proof() -> None:
        pass

    feeding = asyncio.create_task(manager(ear, clock, **WATCHDOG).feed(proof))
    await clock.advance(0)
    assert ear.heard() == ["WATCHDOG=1"]
    await clock.advance(19)
    assert ear.heard() == []
    await clock.advance(1)
    assert ear.heard() == ["WATCHDOG=1"]
    feeding.cancel()


@pytest.mark.evidence(
    "its watchdog is fed while the event loop runs and the store's writer answers, and not "
    "otherwise",
)
async def test_a_store_that_does_not_answer_feeds_nobody(ear: Ear, clock: ManualClock) -> None:
    answers = asyncio.Event()

    async def proof() -> None:
        await answers.wait()

    feeding = asyncio.create_task(manager(ear, clock, **WATCHDOG).feed(proof))
    await clock.advance(300)
    assert ear.heard() == []
    answers.set()
    await clock.advance(0)
    assert ear.heard() == ["WATCHDOG=1"]
    feeding.cancel()


@pytest.mark.evidence(
    "its watchdog is fed while the event loop runs and the store's writer answers, and not "
    "otherwise",
)
async def test_a_writer_that_has_ended_feeds_nobody(ear: Ear, clock: ManualClock) -> None:
    async def proof() -> None:
        raise StoreError("the writer has ended")

    feeding = asyncio.create_task(manager(ear, clock, **WATCHDOG).feed(proof))
    await clock.advance(300)
    assert ear.heard() == []
    assert not feeding.done()
    feeding.cancel()


@pytest.mark.parametrize(
    "told",
    [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}],
    ids=["unwatched", "another process", "nonsense"],
)
async def test_who_does_not_watch_us_is_not_fed(
    told: dict[str, str], ear: Ear, clock: ManualClock
) -> None:
    async def proof() -> None:
        raise AssertionError("nobody asked for it")

    feeding = asyncio.create_task(manager(ear, clock, **told).feed(proof))
    await clock.advance(300)
    assert ear.heard() == []
    assert not feeding.done()
    feeding.cancel()
