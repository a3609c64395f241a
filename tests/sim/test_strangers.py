"""Push services that anybody can name, and that answer nobody: the others' browsers are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from tests.sim.works import APP, Works
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registered, Registration, Route, register

HONEST = 20
SOON_S = 3.0
STRANGE = "https://tarpit-"


def silence(works: Works) -> None:
    """Let every server with a strange name take requests and say nothing."""
    send = works.http.send

    async def silent(
        request: Request, deadline_s: float, may_begin: Callable[[], bool] | None = None
    ) -> Response | Fault:
        if not request.origin.startswith(STRANGE):
            return await send(request, deadline_s, may_begin)
        if may_begin is not None and not may_begin():
            return Fault("unsent", "not begun")
        await works.clock.sleep(deadline_s)
        return Fault("maybe_sent", "no answer in time")

    works.http.send = silent  # type: ignore[method-assign]


async def registered(works: Works, servers: int, browsers: int) -> None:
    """So many browsers at each of so many strange servers."""
    channel = await works.channels.channel(APP, works.numbers["webpush"])
    assert channel is not None
    channel._record = msgspec.structs.replace(channel._record, origin="")
    route = works.devices["webpush"][0].route
    assert route is not None
    parts, now = msgspec.json.decode(route.token), works.clock.now()
    for number in range(servers * browsers):
        user = f"stranger-{number}"
        decide = import_accounts([Profile(user)], now)
        await works.store.update_accounts(APP, [user], [], decide)
        endpoint = f"{STRANGE}{number % servers}.example.com/{number}"
        token = msgspec.json.encode({**parts, "endpoint": endpoint}).decode()
        strange = Route("webpush", works.numbers["webpush"], token)
        name = f"R-{user}"
        asked = Registration(registration_id=name, fresh_secret="s", user=user, route=strange)
        done = await works.store.update_device(APP, name, user, strange, register(asked, now))
        assert isinstance(done, Registered)


@pytest.mark.evidence(
    "push services that answer nobody keep no other's browsers waiting",
    topic="A push outlives every outage",
    planted="devices that wait for a place at a silent server; a window that counts those "
    "who wait no more",
)
@pytest.mark.parametrize(("servers", "browsers"), [(1, 400), (40, 1), (4, 100)])
async def test_a_push_service_that_answers_nobody_keeps_no_other_waiting(
    servers: int, browsers: int
) -> None:
    works = await Works().open({"webpush": HONEST})
    await registered(works, servers, browsers)
    silence(works)
    working = asyncio.create_task(works.dispatcher.run())
    for number in range(1, 9):
        await works.push(ttl_s=3600)
        for _ in range(round(SOON_S / 0.1)):
            await works.clock.advance(0.1)
        assert works.sandbox.log.counts().accepted_by_vendor["webpush"] == HONEST * number
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
