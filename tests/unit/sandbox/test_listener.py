"""A vendor that stands still for a while is found again where it was."""

from __future__ import annotations

import socket

import pytest

from tocsin.clock import ManualClock
from tocsin.sandbox.exchange import Call, Reply
from tocsin.sandbox.kept_port import keep_port
from tocsin.sandbox.listener import Listener

HERE = "127.0.0.1"


def nobody(call: Call) -> Reply:
    raise AssertionError(call)


def taken_by_others() -> set[int]:
    """Ports that others get who ask for any free one: as many as tell a kept one from luck."""
    others = [socket.create_server((HERE, 0)) for _ in range(200)]
    ports = {each.getsockname()[1] for each in others}
    for each in others:
        each.close()
    return ports


async def test_a_paused_listener_keeps_its_port_and_a_stopped_one_gives_it_back() -> None:
    listener = Listener(nobody, ManualClock())
    await listener.start(HERE, 0)
    port = listener.port
    for _ in range(3):
        await listener.pause()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HERE, port))
        assert port not in taken_by_others()
        await listener.start_again()
        assert listener.port == port
        socket.create_connection((HERE, port)).close()
    await listener.stop()
    socket.create_server((HERE, port)).close()


async def test_two_listeners_do_not_share_a_port() -> None:
    first, second = (Listener(nobody, ManualClock()) for _ in range(2))
    await first.start(HERE, 0)
    with pytest.raises(OSError, match="in use"):
        await second.start(HERE, first.port)
    await first.stop()
    await second.start(HERE, first.port)
    await second.stop()


def test_a_kept_port_is_nobodys_way_out() -> None:
    """An outgoing connection takes any free port for its own end; it takes no kept one."""
    with keep_port(HERE) as kept, socket.socket() as caller, socket.create_server((HERE, 0)) as far:
        with pytest.raises(OSError, match="in use"):
            caller.bind(kept.getsockname())
        caller.connect(far.getsockname())
        assert caller.getsockname()[1] != kept.getsockname()[1]
