"""Who calls, over real sockets: the address behind a proxy, and the origin of a web page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.patience import PATIENCE_S
from tests.wire.api_kit import APP, REGISTRATIONS, Reply, Served, exchange, serving
from tocsin.config import DeviceSettings


class Page:
    """A client of `/v1/devices/` that says headers of its own, over one connection."""

    def __init__(self, streams: Any) -> None:
        self._streams = streams

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        raw = b"" if body is None else msgspec.json.encode(body)
        told = {"Host": "t", "Content-Length": str(len(raw))}
        told |= {name.replace("_", "-"): text for name, text in headers.items()}
        lines = "\r\n".join(f"{name}: {text}" for name, text in told.items())
        return await exchange(self._streams, f"{method} {path} HTTP/1.1\r\n{lines}", raw)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    slowly = DeviceSettings(new_per_minute=REGISTRATIONS)
    async with serving(tmp_path, devices=slowly) as running:
        yield running


@pytest.fixture
async def page(served: Served) -> AsyncIterator[Page]:
    streams = await served.connect()
    yield Page(streams)
    streams[1].close()
    await streams[1].wait_closed()


@pytest.mark.evidence(
    "registrations count by the address behind a named proxy, by call and by socket",
    topic="Strangers and browsers",
    planted="X-Forwarded-For not read",
)
async def test_registrations_count_by_the_address_behind_the_proxy(
    served: Served, page: Page
) -> None:
    """By plain HTTP and by socket alike: phones behind one proxy do not share a limit."""
    appkey = (await served.admin.app_show(APP))["appkey"]
    hello = {"type": "hello", "sdkappid": APP, "appkey": appkey}

    async def code(address: str) -> int:
        path = "/v1/devices/register"
        reply = await page.send("POST", path, hello, X_Forwarded_For=address)
        return int(reply.json()["ErrorCode"])

    assert {await code("198.51.100.7") for _ in range(REGISTRATIONS)} == {0}
    assert await code("198.51.100.7") == 800102
    assert await code("198.51.100.8") == 0
    url = served.url.replace("http", "ws") + "/v4/online"
    forwarded = {"X-Forwarded-For": "198.51.100.7"}
    async with connect(url, additional_headers=forwarded, open_timeout=PATIENCE_S) as phone:
        await phone.send(msgspec.json.encode(hello))
        assert msgspec.json.decode(await phone.recv())["code"] == 800102
        with pytest.raises(ConnectionClosed):
            await phone.recv()
    forwarded = {"X-Forwarded-For": "198.51.100.9"}
    async with connect(url, additional_headers=forwarded, open_timeout=PATIENCE_S) as phone:
        await phone.send(msgspec.json.encode(hello))
        assert msgspec.json.decode(await phone.recv())["type"] == "registered"


@pytest.mark.evidence(
    "a web page reads the answer only where the call's app names its origin, refusals too",
)
async def test_a_page_of_another_origin_registers_a_device(served: Served, page: Page) -> None:
    """As a browser does it: the question first, then the call, over one connection."""
    origin = "https://app.example.com"
    path = "/v1/devices/register"
    question = {
        "Origin": origin,
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type",
    }
    reply = await page.send("OPTIONS", path, **question)
    assert (reply.status, reply.json()["ErrorCode"]) == (200, 60002)
    assert "access-control-allow-origin" not in reply.headers
    await served.admin.app_add(APP, {"origins": [origin]})
    reply = await page.send("OPTIONS", path, **question)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-headers"] == "Content-Type, X-Requested-With"
    assert reply.headers["access-control-max-age"] == "7200"
    assert reply.headers["vary"] == "Origin"
    appkey = (await served.admin.app_show(APP))["appkey"]
    hello = {"type": "hello", "sdkappid": APP, "appkey": appkey}
    reply = await page.send("POST", path, hello, Origin=origin, Content_Type="application/json")
    assert reply.json()["ErrorCode"] == 0
    assert reply.headers["access-control-allow-origin"] == origin
    reply = await page.send("POST", path, hello, Origin="https://evil.example")
    assert "access-control-allow-origin" not in reply.headers
    reply = await page.send("OPTIONS", "/v4/timpush/push", **question)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, origin)
