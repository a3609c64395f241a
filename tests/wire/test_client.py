"""The client over real sockets, against a small server that plays the service's part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web

from tests.patience import PATIENCE_S
from tocsin.client.device import (
    FINAL_ENDS,
    FORGOTTEN,
    DeviceClient,
    DeviceIdentity,
    ReceivedPush,
    longest_wait_s,
)
from tocsin.client.json_http import JsonHttp, Refused, Unreachable
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client, notice
from tocsin.clock import Chance, ManualClock

KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
OK = {"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(*routes: web.RouteDef, unix: Path | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    if unix is not None:
        await web.UnixSite(runner, str(unix)).start()
    else:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "" if unix is not None else f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(answer: Any, seen: list[tuple[dict[str, str], Any]] | None = None) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        if seen is not None:
            seen.append((dict(request.query), msgspec.json.decode(body) if body else None))
        return web.json_response(answer)

    return handle


async def test_a_command_carries_the_five_parameters_and_the_body() -> None:
    seen: list[tuple[dict[str, str], Any]] = []
    answer = {**OK, "UserTags": [{"To_Account": "ann", "Tags": ["vip"]}]}
    route = web.post("/v4/timpush/get_tag", answering(answer, seen))
    async with serving(route) as url, Client(url, 1400000001, "admin", key=KEY) as client:
        assert await client.get_tag(["ann"]) == ({"ann": ["vip"]}, [])
    query, body = seen[0]
    assert sorted(query) == ["contenttype", "identifier", "random", "sdkappid", "usersig"]
    assert body == {"To_Account": ["ann"]}


async def test_the_older_family_has_its_own_names() -> None:
    seen: list[tuple[dict[str, str], Any]] = []
    route = web.post("/v4/all_member_push/im_remove_all_tags", answering(OK, seen))
    async with (
        serving(route) as url,
        Client(url, 1, "admin", key=KEY, family="all_member_push") as client,
    ):
        await client.clear_all_tags(["ann"])
    assert seen[0][1] == {"To_Account": ["ann"]}


async def test_a_refusal_is_raised_with_its_code() -> None:
    answer = {"ActionStatus": "FAIL", "ErrorInfo": "too soon", "ErrorCode": 90024, "TaskId": ""}
    async with (
        serving(web.post("/v4/timpush/push", answering(answer))) as url,
        Client(url, 1, "admin", key=KEY) as client,
    ):
        with pytest.raises(Refused) as refused:
            await client.push(notice("T", "D"))
    assert (refused.value.code, refused.value.info) == (90024, "too soon")


async def test_nobody_listening_and_no_json_are_unreachable() -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    async with (
        serving(web.post("/v4/timpush/push", page)) as url,
        Client(url, 1, "admin", key=KEY) as client,
    ):
        with pytest.raises(Unreachable, match="502"):
            await client.push(notice("T", "D"))
    async with Client(url, 1, "admin", key=KEY) as client:
        with pytest.raises(Unreachable):
            await client.push(notice("T", "D"))


async def test_connections_are_kept() -> None:
    peers = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({**OK, "FailAccounts": []})

    route = web.post("/v4/im_open_login_svc/multiaccount_import", handle)
    async with serving(route) as url, Client(url, 1, "admin", key=KEY) as client:
        for _ in range(5):
            await client.multiaccount_import(["ann"])
    assert len(peers) == 1


async def test_pages_are_read_to_their_end() -> None:
    async def handle(request: web.Request) -> web.Response:
        after = int(request.query["after"])
        following = after + 2 if after < 4 else None
        page = {**OK, "accounts": [f"a{after}", f"a{after + 1}"], "next": following}
        return web.json_response(page)

    async with (
        serving(web.get("/v1/apps/1/tasks/t/audience", handle)) as url,
        Client(url, 1, "admin", key=KEY) as client,
    ):
        names = [name async for name in client.audience("t")]
    assert names == ["a0", "a1", "a2", "a3", "a4", "a5"]


def test_a_socket_file_that_nobody_listens_on_is_no_service(tmp_path: Path) -> None:
    assert admin_socket(tmp_path) is None
    (tmp_path / "admin.sock").write_text("not a socket")
    assert admin_socket(tmp_path) is None


async def test_the_admin_socket_is_spoken_to_through_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    answer = {**OK, "apps": [{"sdkappid": 1}]}
    async with serving(web.get("/v1/apps", answering(answer)), unix=path):
        found = admin_socket(tmp_path)
        assert found == path
        async with AdminSocket(path) as admin:
            assert await admin.app_list() == [{"sdkappid": 1}]
    assert admin_socket(tmp_path) is None


class Door:
    """The service's end of the online channel, told frame by frame what to do."""

    def __init__(self) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sockets: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        self.refusal: dict[str, Any] | None = None
        self.refusals = 99
        """How many hellos are refused."""
        self.ends_with = 0
        """The close code with which a connection ends at once, before the hello is read."""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.ends_with:
            await socket.close(code=self.ends_with)
            return socket
        hello = await socket.receive()
        self.hellos.append(msgspec.json.decode(hello.data))
        if self.refusal is not None and len(self.hellos) <= self.refusals:
            await socket.send_json(self.refusal)
            return socket
        secret = {} if "secret" in self.hellos[-1] else {"secret": "S"}
        told = {"type": "registered", "registration_id": "R", "idle_s": 60.0, **secret}
        await socket.send_json(told)
        await self.sockets.put(socket)
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self.frames.put(msgspec.json.decode(message.data))
        return socket


PUSH = {"type": "push", "id": "p1", "task_id": "t1", "title": "Hi", "desc": "there", "ext": ""}


async def test_a_device_registers_acks_and_clicks() -> None:
    door, shown = Door(), asyncio.Queue[ReceivedPush]()
    async with serving(web.get("/v4/online", door.handle)) as url, JsonHttp(url) as wire:
        identity = DeviceIdentity(sdkappid=1, appkey="k")
        async with DeviceClient(wire, identity, on_push=shown.put_nowait) as device:
            assert (await device.registered()).registration_id == "R"
            assert identity.secret == "S"
            socket = await door.sockets.get()
            await socket.send_json(PUSH)
            push = await shown.get()
            assert (push.title, push.task_id) == ("Hi", "t1")
            assert await door.frames.get() == {"type": "ack", "id": "p1"}
            await device.click(push)
            assert await door.frames.get() == {"type": "click", "id": "p1"}


async def test_a_silent_device_shows_but_does_not_ack() -> None:
    door, shown = Door(), asyncio.Queue[ReceivedPush]()
    async with serving(web.get("/v4/online", door.handle)) as url, JsonHttp(url) as wire:
        identity = DeviceIdentity(sdkappid=1, appkey="k")
        silent = DeviceClient(wire, identity, is_acking=False, on_push=shown.put_nowait)
        async with silent as device:
            await device.registered()
            socket = await door.sockets.get()
            await socket.send_json(PUSH)
            await shown.get()
            await socket.send_json({"type": "ping"})
            assert await door.frames.get() == {"type": "pong"}


@pytest.mark.evidence(
    "the client keeps its identity over lost connections",
    topic="Online",
    planted="the RegistrationID not kept",
)
async def test_a_lost_connection_is_made_again_with_the_same_identity() -> None:
    door, shown = Door(), asyncio.Queue[ReceivedPush]()
    async with serving(web.get("/v4/online", door.handle)) as url, JsonHttp(url) as wire:
        identity = DeviceIdentity(sdkappid=1, appkey="k")
        async with DeviceClient(wire, identity, on_push=shown.put_nowait) as device:
            await device.registered()
            socket = await door.sockets.get()
            await socket.send_json(PUSH)
            assert (await door.frames.get())["id"] == "p1"
            await socket.close()
            again = await door.sockets.get()
            await again.send_json(PUSH)
            # The repeat is acked again, and shown once all the same.
            assert (await door.frames.get())["id"] == "p1"
    assert shown.get_nowait().id == "p1"
    assert shown.empty()
    assert door.hellos[1]["registration_id"] == "R"
    assert door.hellos[1]["secret"] == "S"


@pytest.mark.evidence(
    "a device that the service does not know any more becomes a new one",
    topic="Online",
    planted="the refusal taken as final",
)
@pytest.mark.parametrize("code", sorted(FORGOTTEN))
async def test_a_device_that_the_service_forgot_becomes_a_new_one(code: int) -> None:
    door = Door()
    door.refusal = {"type": "error", "code": code, "info": "not registered here"}
    door.refusals = 1
    async with serving(web.get("/v4/online", door.handle)) as url, JsonHttp(url) as wire:
        identity = DeviceIdentity(sdkappid=1, appkey="k", registration_id="OLD", secret="kept")
        async with DeviceClient(wire, identity) as device:
            assert (await device.registered()).registration_id == "R"
    assert [hello.get("registration_id") for hello in door.hellos] == ["OLD", None]
    # A name that it chose itself, and was never told a secret for, is its own fault.
    door.refusals = 9
    chosen = DeviceIdentity(sdkappid=1, appkey="k", registration_id="mine")
    async with (
        serving(web.get("/v4/online", door.handle)) as url,
        JsonHttp(url) as wire,
        DeviceClient(wire, chosen) as device,
    ):
        with pytest.raises(Refused) as refused:
            await device.registered()
    assert (refused.value.code, chosen.registration_id) == (code, "mine")


async def test_a_device_that_is_turned_away_says_why() -> None:
    door = Door()
    door.refusal = {"type": "error", "code": 800001, "info": "appKey is invalid"}
    async with (
        serving(web.get("/v4/online", door.handle)) as url,
        JsonHttp(url) as wire,
        DeviceClient(wire, DeviceIdentity(sdkappid=1, appkey="wrong")) as device,
    ):
        with pytest.raises(Refused) as refused:
            await device.registered()
    assert refused.value.code == 800001


@pytest.mark.evidence(
    "it stays away when a newer connection replaced it or the device was unregistered",
    topic="Clients",
    planted="the close code not looked at",
)
@pytest.mark.parametrize("code", FINAL_ENDS)
async def test_a_device_that_is_replaced_or_unregistered_stays_away(code: int) -> None:
    door = Door()
    async with (
        serving(web.get("/v4/online", door.handle)) as url,
        JsonHttp(url) as wire,
        DeviceClient(wire, DeviceIdentity(sdkappid=1, appkey="k")) as device,
    ):
        await device.registered()
        await (await door.sockets.get()).close(code=code)
        with pytest.raises(Refused) as refused:
            async with asyncio.timeout(PATIENCE_S):
                await device.ended()
    assert (refused.value.code, len(door.hellos)) == (code, 1)


class Whole(Chance):
    """All of what may be waited is waited."""

    def fraction(self) -> float:
        return 1.0


class Hurried(ManualClock):
    """Writes each wait down, and waits for nothing but the question for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, delay_s: float) -> None:
        self.waits.put_nowait(delay_s)
        await asyncio.sleep(0)


@pytest.mark.evidence(
    "our client's waits grow until a hello is taken, however long an outage lasts",
    topic="Clients",
    planted="each opened connection taken for a success; no bound on the doubling",
)
async def test_waits_grow_while_connections_open_and_no_hello_is_taken() -> None:
    door, clock = Door(), Hurried()
    door.ends_with = 1013
    async with serving(web.get("/v4/online", door.handle)) as url, JsonHttp(url) as wire:
        identity = DeviceIdentity(sdkappid=1, appkey="k")
        async with DeviceClient(wire, identity, clock=clock, chance=Whole()) as device:
            assert [await clock.waits.get() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
            door.ends_with = 0
            await device.registered()
            while not clock.waits.empty():
                clock.waits.get_nowait()
            await (await door.sockets.get()).close()
            # A hello that was taken begins the waits anew.
            assert await clock.waits.get() == 0.5


@pytest.mark.evidence(
    "our client's waits grow until a hello is taken, however long an outage lasts",
)
def test_the_waits_of_a_long_outage_stay_at_their_longest() -> None:
    assert [longest_wait_s(tries) for tries in (6, 30, 2000)] == [30.0, 30.0, 30.0]
