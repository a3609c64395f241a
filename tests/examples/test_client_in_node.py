"""A client that was written from docs/clients.md alone, in Node against a service of its own.

It is the browser example's client, unchanged.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastjsonschema
import msgspec
import pytest
from aiohttp import web

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S
from tests.wire.served import APP, KEY, client_of, make_app, opened, start
from tests.wire.test_client import PUSH, Door, serving
from tocsin.client.rest import notice
from tocsin.clock import SystemClock
from tocsin.domain.usersig import sign
from tocsin.sandbox.kept_port import keep_port

CLIENT = REPO / "examples/browser/tocsin.js"
RUNNER = Path(__file__).with_name("device.mjs")
FLAG = "--experimental-websocket"


def why_not() -> str:
    """Why Node cannot run the client here; empty where it can."""
    node = shutil.which("node")
    if node is None:
        return "node is not installed"
    asked = [node, FLAG, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return "this node has no WebSocket: 20.10 or newer has"
    return ""


ABSENT = why_not()
pytestmark = [
    pytest.mark.optional,
    pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "never"),
]


class NodeDevice:
    """The client in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen: list[dict[str, Any]] = []

    async def say(self, **told: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(told) + b"\n")
        await self._process.stdin.drain()

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of this name; what comes before it is kept in `seen`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await self._process.stdout.readline()
                assert line, self.seen
                found: dict[str, Any] = msgspec.json.decode(line)
                self.seen.append(found)
                if found["event"] == name:
                    return found

    async def kept(self) -> dict[str, Any]:
        await self.say(kept=True)
        found: dict[str, Any] = (await self.event("kept"))["kept"]
        return found

    def shown(self) -> list[str]:
        return [it["push"]["id"] for it in self.seen if it["event"] == "push"]


@asynccontextmanager
async def device(url: str, **options: Any) -> AsyncIterator[NodeDevice]:
    process = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        "--no-warnings",
        FLAG,
        str(RUNNER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    found = NodeDevice(process)
    try:
        await found.say(client=str(CLIENT), url=url, sdkappid=APP, **options)
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_kept(phone: NodeDevice, name: str, value: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await phone.kept()).get(name) != value:
            pass


@pytest.fixture
def port() -> Iterator[int]:
    """Where the service is before and after its restart."""
    with keep_port("127.0.0.1") as kept:
        yield kept.getsockname()[1]


@pytest.mark.evidence(
    "a client written from it alone registers, shows, acks, clicks, comes back after "
    "`drain` as the same device, and ends where it must",
    topic="Clients",
    planted="no ack; `after_s` not obeyed; a mended code mended for ever; the identity not "
    "forgotten",
)
async def test_a_client_written_from_the_page_lives_through_it_all(
    tmp_path: Path, port: int
) -> None:
    async with opened(tmp_path) as service:
        await make_app(service)
        appkey = (await service.operator.app_show(APP))["appkey"]
    process = await start(tmp_path, port=port)
    try:
        async with device(process.url, appkey=appkey) as phone, client_of(process) as admin:
            name = (await phone.event("open"))["detail"]
            # A push is shown, acked and clicked.
            pushed = await admin.batch([name], notice("Hello", "from Tocsin", Ext="{}"))
            push = (await phone.event("push"))["push"]
            assert (push["id"], push["title"]) == (pushed.task_id, "Hello")
            await until_kept(phone, "unconfirmed", [])
            await phone.say(click=push["id"])
            await until_kept(phone, "unconfirmed", [])
            ledger = (await admin.task(pushed.task_id))["ledger"]
            assert (ledger["reached"], ledger["clicked"]) == (1, 1)

            # The service restarts: asked to, the client comes back as the same device.
            await process.stop()
            asked = await phone.event("waiting")
            assert asked["detail"] >= 5.0
            process = await start(tmp_path, port=port)
            assert (await phone.event("open"))["detail"] == name
            assert phone.shown() == [pushed.task_id]

            await _others(process.url, appkey, phone)
    finally:
        await process.stop()


@pytest.mark.evidence(
    "what that client says passes the published schema",
    topic="Clients",
    planted="`known` left out",
)
async def test_what_the_client_says_passes_the_published_schema() -> None:
    door = Door()
    door.refusal = {"type": "error", "code": 91000, "info": "for the tests"}
    door.refusals = 1
    schema = msgspec.json.decode((REPO / "docs/frames.schema.json").read_bytes())
    allowed = fastjsonschema.compile({**schema, "anyOf": [{"$ref": "#/$defs/ClientFrame"}]})
    kept: dict[str, Any] = {
        "identity": {"registration_id": "R", "secret": "S"},
        "shown": [f"t_{number}" for number in range(150)],
        "unconfirmed": [{"type": "click", "id": "t_9"}],
    }
    route = {"channel": "webpush", "credential": 12, "token": "{}"}
    facts = {"platform": "Web", "language": "de"}
    async with serving(web.get("/v4/online", door.handle)) as url:
        options = {"appkey": "k", "kept": kept, "route": route, "facts": facts}
        async with device(url, **options) as phone:
            await phone.event("open")
            socket = await door.sockets.get()
            # What was not confirmed before is said again; a push that was shown is only acked.
            await socket.send_json({**PUSH, "id": "t_149"})
            said = [await door.frames.get(), await door.frames.get()]
            await socket.send_json({"type": "of a later release"})
            await socket.send_json({"type": "ping"})
            said.append(await door.frames.get())
            assert phone.shown() == []
    assert said == [
        {"type": "click", "id": "t_9"},
        {"type": "ack", "id": "t_149"},
        {"type": "pong"},
    ]
    hello = {
        "type": "hello",
        "sdkappid": APP,
        "appkey": "k",
        **kept["identity"],
        "known": kept["shown"][-100:],
        "facts": facts,
        "route": route,
    }
    assert door.hellos == [hello, hello]
    for frame in (*door.hellos, *said):
        allowed(frame)


async def _others(url: str, appkey: str, phone: NodeDevice) -> None:
    """What ends a client for good, and what it mends by itself."""
    kept = await phone.kept()
    async with device(url, appkey=appkey, kept=kept) as second:
        await second.event("open")
        assert (await phone.event("ended"))["detail"]["code"] == 4001
        assert (await second.kept())["identity"] == kept["identity"]
        await second.say(bye={"unregister": True})
        await second.event("ended")
    async with device(url, appkey="wrong") as stranger:
        assert (await stranger.event("ended"))["detail"]["code"] == 800001
        assert not [it for it in stranger.seen if it["event"] == "waiting"]
    lost = {"identity": {"registration_id": "GONE", "secret": "x"}}
    async with device(url, appkey=appkey, kept=lost) as again:
        assert (await again.event("open"))["detail"] != "GONE"
    now = SystemClock().now()
    old, good = sign(APP, KEY, "ann", 60, now - 3600), sign(APP, KEY, "ann", 600, now)
    async with device(url, usersigs=[old, good]) as ann:
        await ann.event("open")
    async with device(url, usersigs=[old, old]) as ann:
        assert (await ann.event("ended"))["detail"]["code"] == 70001
