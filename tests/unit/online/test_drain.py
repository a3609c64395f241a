"""A hub that stops: clients are asked to come back, and not all at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from tests.unit.online.rig import APP, APPKEY, Client, Rig
from tocsin.online.hub import OnlineSettings


@pytest.mark.evidence(
    "devices come back spread over time after a stop",
    topic="The laws",
    planted="one time for all; the spread not grown with the devices; latecomers told nothing",
)
async def test_a_stop_asks_devices_to_come_back_spread_over_time() -> None:
    rig = await Rig().open("ann")
    rig.hub = rig.new_hub(OnlineSettings(restart_s=4.0))
    clients = [(await rig.connect())[1] for _ in range(40)]
    stopping = asyncio.create_task(rig.hub.drain())
    await rig.settle()
    waits = sorted(client.of("drain")[0]["after_s"] for client in clients)
    assert waits[0] >= 4.0
    assert waits[-1] <= 9.0
    # Forty over five seconds: no second brings more than ten.
    assert min(waits[at + 11] - waits[at] for at in range(29)) > 1.0
    await rig.clock.advance(6)
    assert await stopping == 40


@pytest.mark.evidence("devices come back spread over time after a stop")
async def test_the_more_devices_the_longer_they_are_spread() -> None:
    rig = await Rig().open()
    rig.hub = rig.new_hub(OnlineSettings(restart_s=1.0))
    many = 8_000
    clients = [Client() for _ in range(many)]
    for client in clients:
        rig.hub.open(client, "10.0.0.1").session.resume(())
    stopping = asyncio.create_task(rig.hub.drain())
    await rig.settle()
    waits = [client.of("drain")[0]["after_s"] for client in clients]
    assert max(Counter(map(int, waits)).values()) <= 1_000 * 1.01
    await rig.clock.advance(6)
    assert await stopping == many


async def test_a_stop_waits_for_devices_only_until_they_have_left() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    stopping = asyncio.create_task(rig.hub.drain())
    await rig.clock.advance(1)
    assert not stopping.done()
    rig.hub.gone(line)
    await rig.clock.advance(0.2)
    assert await stopping == 0
    assert client.end is None


@pytest.mark.evidence("devices come back spread over time after a stop")
async def test_who_registers_or_polls_while_it_stops_is_sent_away_too() -> None:
    rig = await Rig().open("ann")
    early = Client()
    line = rig.hub.open(early, "10.0.0.1")
    stopping = asyncio.create_task(rig.hub.drain())
    await rig.settle()
    hello = {"type": "hello", "sdkappid": APP, "appkey": APPKEY}
    await rig.hub.take(line, msgspec.json.encode(hello))
    assert [frame["type"] for frame in early.frames] == ["registered", "drain"]
    polled = await rig.hub.poll(APP, rig.device(line), (), 30)
    assert [msgspec.json.decode(frame)["type"] for frame in polled] == ["drain"]
    await rig.clock.advance(6)
    await stopping
