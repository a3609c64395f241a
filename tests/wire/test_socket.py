"""The online channel over real sockets: uvicorn on loopback, the doors, the hub, the store."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.patience import PATIENCE_S
from tests.unit.online.rig import APP, APPKEY, Rig
from tocsin.api.cors import Cors
from tocsin.api.devices import BODY_MAX_BYTES, DeviceCalls
from tocsin.client.device import DeviceClient, DeviceHttpClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp, Refused
from tocsin.domain.message import Message
from tocsin.domain.task import SendBody, Stage, StepEdit, StepWant, Task, WaitBody
from tocsin.online.hub import OnlineSettings
from tocsin.online.socket import PATH, OnlineSocket


class Served:
    """A rig behind a port."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        self.port = port
        self.http = f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def socket(self, **more: Any) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.port}{PATH}"
        async with connect(url, compression=None, ping_interval=None, **more) as connection:
            yield connection

    async def joined(self, connection: ClientConnection, **hello: Any) -> dict[str, Any]:
        told = {"type": "hello", "sdkappid": APP, "appkey": APPKEY, **hello}
        await connection.send(msgspec.json.encode(told))
        return await frame_of(connection)

    async def number(self, name: str) -> int:
        device = await self.rig.store.device(APP, name)
        assert device is not None
        return device.number

    async def push(self, name: str, **more: Any) -> Task:
        """A push that waits for this device, written to it now."""
        device = await self.rig.store.device(APP, name)
        assert device is not None
        wait = ("wait", WaitBody(-1, (device.number,)))
        account = device.user or device.account
        task = await self.rig.task([account], planned=[device.number], jobs=[wait], **more)
        await self.rig.hub.push(task, -1, [device.number])
        return task


@asynccontextmanager
async def serving(settings: OnlineSettings | None = None) -> AsyncIterator[Served]:
    rig = await Rig().open("ann", "bob")
    rig.hub = rig.new_hub(settings)
    doors = DeviceCalls(rig.registrar, rig.hub, Cors(rig.store))
    app = Starlette(routes=[WebSocketRoute(PATH, OnlineSocket(rig.hub)), *doors.routes()])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listening])
    try:
        yield Served(rig, listening.getsockname()[1])
    finally:
        await server.shutdown(sockets=[listening])


async def frame_of(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = msgspec.json.decode(await connection.recv())
        return found


async def end_of(connection: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """The close code, and what was said before it."""
    said = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                said.append(msgspec.json.decode(await connection.recv()))
        except ConnectionClosed as fault:
            return (fault.rcvd.code if fault.rcvd else 1006), said


async def until(what: Any) -> None:
    """Wait for something that comes by itself within loop turns."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0)


async def test_hello_by_appkey_push_ack_click_revoke() -> None:
    async with serving() as served, served.socket() as phone:
        registered = await served.joined(phone)
        assert (registered["type"], len(registered["secret"])) == ("registered", 64)
        name = registered["registration_id"]
        task = await served.push(name)
        push = await frame_of(phone)
        assert (push["id"], push["title"], push["desc"]) == (task.task_id, "t", "d")
        await phone.send(msgspec.json.encode({"type": "ack", "id": push["id"]}).decode())
        assert await frame_of(phone) == {"type": "acked", "id": push["id"], "stage": 2}
        number = await served.number(name)
        assert await served.rig.booked(task, Stage.REACHED) == {number}
        await phone.send(msgspec.json.encode({"type": "click", "id": push["id"]}))
        assert (await frame_of(phone))["stage"] == 3
        assert await served.rig.booked(task, Stage.CLICKED) == {number}
        await served.rig.hub.revoke(task)
        assert (await frame_of(phone))["type"] == "revoke"


async def test_hello_by_usersig() -> None:
    async with serving() as served, served.socket() as phone:
        sig = served.rig.usersig("ann")
        assert (await served.joined(phone, appkey="", user="ann", usersig=sig))["user"] == "ann"


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"appkey": "wrong"}, 800001),
        ({"sdkappid": 5}, 70020),
        ({"user": "ann", "usersig": "garbage"}, 70003),
        ({"registration_id": "own-R", "secret": "wrong"}, 800101),
        ({"registration_id": "boss"}, 800103),
    ],
)
async def test_a_bad_hello_is_told_why_and_closed(hello: dict[str, Any], code: int) -> None:
    async with serving() as served, served.socket() as phone, served.socket() as other:
        await served.joined(other, registration_id="own-R")
        frame = await served.joined(phone, **hello)
        assert (frame["type"], frame["code"]) == ("error", code)
        assert await end_of(phone) == (4002, [])


@pytest.mark.parametrize(
    ("data", "error", "close"),
    [
        ("{", 60003, 4000),
        (b"\xff", 60003, 4000),
        ('{"type":"nothing"}', 70402, 4000),
        ('{"type":"ack","id":"p"}', 70402, 4000),
        ('{"type":"ping","pad":"' + "x" * 20_000 + '"}', 60002, 1009),
    ],
)
async def test_a_bad_frame_closes_its_connection_and_no_other(
    data: str | bytes, error: int, close: int
) -> None:
    async with serving() as served, served.socket() as phone, served.socket() as other:
        await served.joined(other)
        await phone.send(data)
        code, said = await end_of(phone)
        assert (code, [frame["code"] for frame in said]) == (close, [error])
        await other.send('{"type":"ping"}')
        assert await frame_of(other) == {"type": "pong"}


@pytest.mark.evidence(
    "an ack is confirmed when it is durable",
    topic="Online",
    planted="confirmed before the commit",
)
async def test_an_ack_is_confirmed_only_when_the_store_has_it() -> None:
    async with serving() as served, served.socket() as phone:
        name = (await served.joined(phone))["registration_id"]
        task = await served.push(name)
        await frame_of(phone)
        served.rig.faults.add("append_reports")
        await phone.send(msgspec.json.encode({"type": "ack", "id": task.task_id}))
        await phone.send('{"type":"ping"}')
        assert await frame_of(phone) == {"type": "pong"}
        served.rig.faults.clear()
        await phone.send(msgspec.json.encode({"type": "ack", "id": task.task_id}))
        assert (await frame_of(phone))["type"] == "acked"


@pytest.mark.evidence(
    "resume: nothing twice, and what was not acked comes again",
    topic="Online",
    planted="what the device says it knows not heard; the client neither saying nor remembering it",
)
async def test_resume_shows_nothing_twice_and_repeats_what_was_not_acked() -> None:
    async with serving() as served:
        async with served.socket() as phone:
            told = await served.joined(phone)
            acked, lost, shown = [await served.push(told["registration_id"]) for _ in range(3)]
            for _ in range(3):
                await frame_of(phone)
            await phone.send(msgspec.json.encode({"type": "ack", "id": acked.task_id}))
            await frame_of(phone)
        proof = {"registration_id": told["registration_id"], "secret": told["secret"]}
        async with served.socket() as phone:
            await served.joined(phone, **proof, known=[shown.task_id])
            frames = [await frame_of(phone), await frame_of(phone)]
            assert [(it["type"], it["id"]) for it in frames] == [
                ("push", lost.task_id),
                ("acked", shown.task_id),
            ]


@pytest.mark.evidence(
    "reconnect after a vendor send: no second copy",
    topic="Online",
    planted="begun legs offered",
)
async def test_after_a_vendor_send_a_reconnect_brings_no_second_copy() -> None:
    async with serving() as served:
        async with served.socket() as phone:
            told = await served.joined(phone)
        rig, name = served.rig, told["registration_id"]
        device = await rig.store.device(APP, name)
        assert device is not None
        body = SendBody("fcm", 1, -1, (device.number,), waits_for_ack=True)
        task = await rig.task([device.account], planned=[device.number], jobs=[("fcm:1", body)])
        lane = (await rig.store.heads(rig.clock.now()))[0].lane
        (job,) = await rig.store.lease(APP, "fcm:1", lane, lessee="w", limit=1, lease_s=9)
        await rig.store.step(APP, job, StepWant(), lambda _: StepEdit(begun_at=1.0))
        waiting = await rig.task(
            [device.account],
            planned=[device.number],
            jobs=[("wait", WaitBody(-1, (device.number,)))],
        )
        async with served.socket() as phone:
            await served.joined(phone, registration_id=name, secret=told["secret"])
            # CatchUp come in the order of tasks: this one proves that the first is not coming.
            assert (await frame_of(phone))["id"] == waiting.task_id
        assert await rig.booked(task, Stage.SENT) == set()


@pytest.mark.evidence(
    "user switch: nothing to the wrong person",
    topic="Online",
    planted="the last look at the user dropped, in the hub and in begin",
)
async def test_a_user_switch_shows_nothing_to_the_wrong_person() -> None:
    async with serving() as served:
        rig = served.rig
        async with served.socket() as phone:
            told = await served.joined(phone, user="ann", usersig=rig.usersig("ann"))
        proof = {"registration_id": told["registration_id"], "secret": told["secret"]}
        device = await rig.store.device(APP, told["registration_id"])
        assert device is not None
        waits = ("wait", WaitBody(-1, (device.number,)))
        for_ann = await rig.task([device.user], planned=[device.number], jobs=[waits])
        async with served.socket() as phone:
            await served.joined(phone, user="bob", usersig=rig.usersig("bob"), **proof)
            assert not await rig.hub.push(for_ann, -1, [device.number])
            for_bob = await served.push(told["registration_id"])
            assert (await frame_of(phone))["id"] == for_bob.task_id
        assert await rig.booked(for_ann, Stage.SENT) == set()


async def test_a_newer_connection_replaces_the_older() -> None:
    async with serving() as served, served.socket() as old, served.socket() as new:
        told = await served.joined(old)
        proof = {"registration_id": told["registration_id"], "secret": told["secret"]}
        await served.joined(new, **proof)
        assert await end_of(old) == (4001, [])
        task = await served.push(told["registration_id"])
        assert (await frame_of(new))["id"] == task.task_id


@pytest.mark.evidence(
    "slow readers are cut off by queued bytes",
    topic="Online",
    planted="no limit on the queue",
)
async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with serving() as served:
        rig, (reader, writer) = served.rig, await raw_socket(served.port)
        told = await raw_hello(reader, writer)
        number = await served.number(told["registration_id"])
        message = Message(title="t", desc="d" * 8000)
        device = await rig.store.device(APP, told["registration_id"])
        assert device is not None
        tasks = 0
        while not rig.metrics.value("slow_readers"):
            tasks += 1
            # Kernel buffers hold some megabytes before anything has to wait here.
            assert tasks < 3000
            task = await rig.task([device.account], message=message)
            await rig.hub.push(task, -1, [number])
        assert not rig.hub.connected(APP)
        # The transport is gone at once: reading on ends in a reset, not in a close frame.
        await until(lambda: not rig.hub._open)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 30)
        writer.close()


async def raw_socket(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket by hand, because a library would read what we want to leave unread."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=4096)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def raw_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
    body = msgspec.json.encode({"type": "hello", "sdkappid": APP, "appkey": APPKEY})
    # A masked text frame (RFC 6455, 5.2); a mask of zeros leaves the text as it is.
    writer.write(bytes([0x81, 0x80 | len(body)]) + bytes(4) + body)
    head = await reader.readexactly(2)
    size = head[1]
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    told: dict[str, Any] = msgspec.json.decode(await reader.readexactly(size))
    return told


async def test_a_drain_asks_and_then_closes() -> None:
    async with serving(OnlineSettings(drain_s=1, restart_s=3)) as served, served.socket() as phone:
        await served.joined(phone)
        drained = asyncio.create_task(served.rig.hub.drain())
        frame = await frame_of(phone)
        assert frame["type"] == "drain"
        assert 3.0 <= frame["after_s"] <= 8.0
        await served.rig.clock.advance(2)
        assert await end_of(phone) == (1001, [])
        await drained
        async with served.socket() as late:
            assert await end_of(late) == (1013, [])


async def test_more_connections_than_allowed_are_sent_away() -> None:
    settings = OnlineSettings(connections_max=1)
    async with serving(settings) as served, served.socket() as first:
        await served.joined(first)
        async with served.socket() as second:
            assert await end_of(second) == (1013, [])


async def test_the_product_s_own_client_speaks_this_protocol() -> None:
    async with serving() as served, JsonHttp(served.http) as wire:
        shown: asyncio.Queue[ReceivedPush] = asyncio.Queue()
        identity = DeviceIdentity(sdkappid=APP, user="ann", usersig=served.rig.usersig("ann"))
        async with DeviceClient(wire, identity, on_push=shown.put_nowait) as device:
            name = (await device.registered()).registration_id
            task = await served.push(name, message=Message(title="T", desc="D", ext="{}"))
            push = await asyncio.wait_for(shown.get(), PATIENCE_S)
            assert (push.task_id, push.title, push.ext) == (task.task_id, "T", "{}")
            number = await served.number(name)
            await device.click(push)
            found: set[int] = set()
            async with asyncio.timeout(PATIENCE_S):
                while not found:
                    await asyncio.sleep(0)
                    found = await served.rig.booked(task, Stage.CLICKED)
            assert found == await served.rig.booked(task, Stage.REACHED) == {number}


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
@pytest.mark.evidence("what does not count is told so for good: unreadable, not ours, too old")
@pytest.mark.evidence(
    "devices over plain HTTP",
    topic="Online",
    planted="reports not booked; a poll of a device that has left waiting on; no limit on the body",
)
async def test_the_same_over_plain_http() -> None:
    async with serving() as served, JsonHttp(served.http) as wire:
        door = DeviceHttpClient(wire)
        identity = await door.register(DeviceIdentity(sdkappid=APP, appkey=APPKEY))
        task = await served.push(identity.registration_id)
        proof = {
            "sdkappid": APP,
            "registration_id": identity.registration_id,
            "secret": identity.secret,
        }
        answer = await wire.ask("POST", "/v1/devices/poll", proof)
        assert [frame["id"] for frame in answer["frames"]] == [task.task_id]
        report = {**proof, "task_id": task.task_id, "stage": "reached", "channel": "huawei"}
        unreadable = [{**report, "task_id": text} for text in ("nonsense", "", "1" * 161)]
        for body, code in ((report, 70402), *((body, 90001) for body in unreadable)):
            with pytest.raises(Refused) as refused:
                await wire.ask("POST", "/v1/devices/report", body)
            assert refused.value.code == code
        assert await served.rig.booked(task, Stage.REACHED) == set()
        await door.report(identity, task.task_id, "reached")
        number = await served.number(identity.registration_id)
        assert await served.rig.booked(task, Stage.REACHED) == {number}
        await door.unregister(identity)
        with pytest.raises(Refused) as refused:
            await wire.ask("POST", "/v1/devices/poll", proof)
        assert refused.value.code == 70107


@pytest.mark.evidence(
    "a device chooses its RegistrationID only with the app's prefix, and no UserID has it "
    "or the form of a made one",
)
@pytest.mark.evidence("devices over plain HTTP")
@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("register", b"{", 60003),
        ("register", b"[]", 70402),
        ("register", b'{"sdkappid":"x"}', 70402),
        ("register", b'{"sdkappid":1400000001,"appkey":"wrong"}', 800001),
        (
            "register",
            b'{"sdkappid":1400000001,"appkey":"client-key","registration_id":"boss"}',
            800103,
        ),
        ("register", b'{"pad":"' + b"x" * BODY_MAX_BYTES + b'"}', 60002),
        ("unregister", b'{"sdkappid":1400000001,"registration_id":"R","secret":"s"}', 70107),
        ("poll", b'{"sdkappid":1400000001,"registration_id":"R","secret":"s"}', 70107),
        ("report", b'{"sdkappid":1400000001,"registration_id":"R","secret":"s"}', 70402),
    ],
)
async def test_each_refusal_over_http_has_the_envelope(path: str, body: bytes, code: int) -> None:
    async with serving() as served, aiohttp.ClientSession(served.http) as session:
        response = await session.post(f"/v1/devices/{path}", data=body)
        answer = await response.json()
        assert (response.status, answer["ActionStatus"]) == (200, "FAIL")
        assert answer["ErrorCode"] == code
        assert answer["ErrorInfo"]


async def test_another_method_than_post_is_answered_in_the_envelope() -> None:
    async with serving() as served, aiohttp.ClientSession(served.http) as session:
        response = await session.get("/v1/devices/poll")
        assert (response.status, (await response.json())["ErrorCode"]) == (200, 60002)
