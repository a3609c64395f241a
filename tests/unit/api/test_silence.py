"""A call that fails inside us is told in the log by where it failed, never by what it carried."""

from __future__ import annotations

import io

import msgspec
import pytest
from pyroaring import BitMap

from tests.unit.api.world import Connected, World
from tocsin import log
from tocsin.api.rest import RestApi

CANARIES = ("canary-title", "canary text of a notification", "canary0token0")


@pytest.fixture
def out() -> io.StringIO:
    """What a service at debug level writes."""
    stream = io.StringIO()
    log.configure("debug", json=False, stream=stream)
    return stream


class Leaky(Connected):
    """A presence whose fault quotes what it was given."""

    def connected(self, app: int) -> BitMap:
        title, text, token = CANARIES
        raise ValueError(f"token={token} in {{'Title': '{title}', 'Desc': \"{text}\"}}")


async def test_an_exception_that_quotes_its_input(world: World, out: io.StringIO) -> None:
    services = msgspec.structs.replace(world.services, presence=Leaky())
    world.api = RestApi(services, world.authenticator, world.metrics)
    sig = world.usersig()
    answer = await world.call("openim/querystate", {"To_Account": ["ann"]}, usersig=sig)
    assert answer["ErrorCode"] == 91000
    assert answer["ErrorInfo"] == "internal service error, please try again"
    told = out.getvalue()
    assert "a call failed" in told
    assert "connected" in told, "the frame is named"
    for canary in (*CANARIES, sig):
        assert canary not in told


async def test_a_store_that_fails_tells_its_verb(world: World, out: io.StringIO) -> None:
    world.faults.add("accept")
    info = {"Title": CANARIES[0], "Desc": CANARIES[1]}
    body = {"MsgRandom": 1, "OfflinePushInfo": info}
    assert (await world.call("timpush/push", body))["ErrorCode"] == 91000
    told = out.getvalue()
    assert "the store refused a call" in told
    for canary in CANARIES:
        assert canary not in told


async def test_a_refused_call_is_no_event(world: World, out: io.StringIO) -> None:
    await world.call("timpush/push", {"MsgRandom": "x"})
    await world.call("timpush/nope", {})
    assert not out.getvalue()
