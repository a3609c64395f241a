"""The REST API over real sockets: the bytes of the documents' samples, limits, and silence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.unit.api.test_operator import apns_settings
from tests.wire.api_kit import APP, KEY, Served, exchange, post, read_reply, serving
from tocsin.client.device import DeviceHttpClient, DeviceIdentity
from tocsin.client.json_http import JsonHttp
from tocsin.config import Config, ServerSettings
from tocsin.domain.hello import GivenRoute
from tocsin.service.listening import listen

SEED_REQUEST = b"""{
"To_Account": [
"xiaoming",
"xiaohong"
]
}"""
SEED_ANSWER = {
    "ActionStatus": "OK",
    "ErrorInfo": "",
    "ErrorCode": 0,
    "UserTags": [
        {"To_Account": "xiaoming", "Tags": ["GoldMember", "WeekPassUser"]},
        {"To_Account": "xiaohong", "Tags": ["PlatinumMember", "MonthPassUser"]},
    ],
}
"""tencentcloud.com/document/product/1047/60567, first edition: its sample request and answer."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as running:
        yield running


async def told(served: Served, command: str, body: Any, **changed: str) -> Any:
    reply = await post(served, command, msgspec.json.encode(body), **changed)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


@pytest.mark.evidence("the seed page's sample gets its sample answer")
async def test_the_seed_pages_sample_over_the_wire(served: Served) -> None:
    await told(
        served, "im_open_login_svc/multiaccount_import", {"Accounts": ["xiaoming", "xiaohong"]}
    )
    rows = [{"To_Account": it["To_Account"], "Tags": it["Tags"]} for it in SEED_ANSWER["UserTags"]]  # type: ignore[attr-defined]
    await told(served, "timpush/add_tag", {"UserTags": rows})
    reply = await post(served, "timpush/get_tag", SEED_REQUEST)
    assert reply.json() == SEED_ANSWER
    assert not [name for name in reply.headers if name.startswith("access-control")]


async def test_a_connection_is_kept_and_chunks_are_read(served: Served) -> None:
    streams = await served.connect()
    path = served.path("timpush/get_attr_name")
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked"
    for _ in range(3):
        reply = await exchange(streams, head, b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
        assert reply.json()["ErrorCode"] == 0
    streams[1].close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_answered_in_the_envelope(served: Served, method: str) -> None:
    streams = await served.connect()
    path = served.path("timpush/push")
    reply = await exchange(streams, f"{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0")
    assert reply.status == 200
    assert reply.json()["ErrorCode"] == 60002
    streams[1].close()


async def test_a_body_over_a_mebibyte_is_60002_before_it_was_sent(served: Served) -> None:
    streams = await served.connect()
    path = served.path("timpush/get_tag")
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 1048577"
    reply = await exchange(streams, head)
    assert reply.json()["ErrorCode"] == 60002
    streams[1].close()
    streams = await served.connect()
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked"
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    reply = await exchange(streams, head, chunk * 17)
    assert reply.json()["ErrorCode"] == 60002
    streams[1].close()


async def test_push_bodies_have_a_limit_of_their_own(served: Served) -> None:
    body = b'{"MsgRandom":1,"OfflinePushInfo":{"Title":"'
    full = body + b"x" * (10_240 - len(body) - 3) + b'"}}'
    assert len(full) == 10_240
    assert (await post(served, "timpush/push", full)).json()["ErrorCode"] == 0
    assert (await post(served, "timpush/push", full + b" ")).json()["ErrorCode"] == 90056
    long = b" " * ((1 << 20) + 1)
    assert (await post(served, "timpush/push", long)).json()["ErrorCode"] == 60002


async def test_a_caller_who_hangs_up_leaves_the_service_serving(served: Served) -> None:
    for _ in range(5):
        _, writer = await served.connect()
        path = served.path("timpush/get_tag")
        writer.write(f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 500\r\n\r\n{{".encode())
        await writer.drain()
        writer.close()
    assert (await told(served, "timpush/get_attr_name", {}))["ErrorCode"] == 0


async def test_an_app_added_while_serving_is_served_at_once(served: Served) -> None:
    other = APP + 1
    await served.admin.app_add(other, {"key": "another key of an app", "admins": ["boss"]})
    sig = await served.admin.usersig(other, "boss", 60)
    asked = {"sdkappid": str(other), "identifier": "boss", "usersig": sig}
    assert (await told(served, "timpush/get_attr_name", {}, **asked))["ErrorCode"] == 0
    assert (await told(served, "timpush/get_attr_name", {}, identifier="x"))["ErrorCode"] == 70013


CANARIES = {
    "title": "canary-title-1",
    "desc": "canary desc with spaces 2",
    "ext": "canary-ext-3",
    "token": "ca4a" * 16,
    "short token": "canary-token-5",
    "pattern": "canary-attribute-6",
    "element": "canary-element-7",
    "live": "canary-live-8",
    "appkey": "",
    "secret": "",
    "key": KEY,
    "usersig": "",
}


@pytest.mark.evidence(
    "no secret, token or text in any output",
    topic="The wire",
    planted="the servers' access logs switched on and let past the masks; either alone "
    "shows nothing",
)
@pytest.mark.evidence(
    "the log says where the service listens, once, and names no library",
    topic="Settings, log and reload",
    planted="the address under the key `url`; a library's own name kept; a sentence missing"
    " from the table",
)
async def test_no_secret_token_or_text_is_in_any_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """At debug level, the HTTP server's output included, through good calls and bad ones."""
    canaries = dict(CANARIES)
    async with serving(tmp_path) as served:
        canaries["usersig"] = served.usersig
        shown = await served.admin.app_show(APP)
        canaries["appkey"] = shown["appkey"]
        settings = apns_settings()
        facts = {"channel": "apns", "settings": settings}
        canaries["signing key"] = settings["private_key"].splitlines()[1]
        number = (await served.admin.credential_add(APP, facts))["number"]
        async with JsonHttp(served.url) as wire:
            route = GivenRoute(channel="apns", credential=number, token=canaries["token"])
            identity = DeviceIdentity(sdkappid=APP, appkey=canaries["appkey"], route=route)
            registered = await DeviceHttpClient(wire).register(identity)
        canaries["secret"] = registered.secret
        await _speak(served, canaries, registered.registration_id)
        await _shout(served, canaries)
    out, err = capfd.readouterr()
    printed = out + err
    assert printed.count("serving") == 1, "what is searched is really the output"
    assert served.url in printed, "where it listens is no secret"
    assert not [it for it in ("uvicorn", "websockets", "ASGI", "server process") if it in printed]
    assert "a socket was accepted from" in printed
    for name, canary in canaries.items():
        assert len(canary) > 8, name
        assert canary not in printed, name


async def _speak(served: Served, canaries: dict[str, str], registration_id: str) -> None:
    info = {
        "Title": canaries["title"],
        "Desc": canaries["desc"],
        "Ext": canaries["ext"],
        "ApnsInfo": {
            "LiveActivity": {
                "LaId": "1",
                "Event": "update",
                "ContentState": {"x": canaries["live"]},
            }
        },
    }
    elements = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": canaries["element"]}}]
    push = {"MsgRandom": 1, "OfflinePushInfo": info}
    batch = {**push, "To_Account": [registration_id, "ghost"]}
    calls: list[tuple[str, Any]] = [
        ("timpush/push", push),
        ("timpush/push", {**push, "Condition": canaries["title"]}),
        ("timpush/batch", batch),
        ("timpush/revoke", {"TaskId": canaries["title"], "OfflinePushInfo": info}),
        ("all_member_push/im_push", {"MsgRandom": 2, "MsgBody": elements}),
        ("all_member_push/im_push", {"MsgRandom": 2, "MsgBody": canaries["element"]}),
        ("timpush/set_attr_name", {"AttrNames": {"0": "city"}}),
        ("timpush/set_attr", {"To_Account": "ann", "Attrs": {"city": canaries["pattern"]}}),
    ]
    for command, body in calls:
        await told(served, command, body)
        await told(served, command, body, usersig=served.usersig[:-20])
        await told(served, command, body, sdkappid="x")


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def _shout(served: Served, canaries: dict[str, str]) -> None:
    """What no client sends: requests that HTTP itself refuses, and numbers without end."""
    sig = canaries["usersig"]
    for raw in (
        f"GET /v4/timpush/push?usersig={sig} HTTP/9.9\r\n\r\n",
        f"{canaries['short token']} / HTTP/1.1\r\n\r\n",
        f"POST /v4/x?usersig={sig}\r\n\r\n",
        f"POST /v4/x HTTP/1.1\r\nContent-Length: {canaries['title']}\r\n\r\n",
        f"GET /v1/apps/{APP}/tasks HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {sig}x\r\n\r\n",
        f"GET /nope?usersig={sig} HTTP/1.1\r\nHost: t\r\n\r\n",
        f"GET /v4/online?usersig={sig} HTTP/1.1\r\nHost: t\r\n{UPGRADE}\r\n",
    ):
        reader, writer = await served.connect()
        writer.write(raw.encode())
        await writer.drain()
        writer.write_eof()
        await reader.read(4096)
        writer.close()
    huge = {"sdkappid": "9" * 15}
    assert (await told(served, "timpush/get_tag", {}, **huge))["ErrorCode"] == 70020


def test_answers_do_not_wait_for_acks() -> None:
    """An answer is two writes: with Nagle's algorithm each call would take 40 ms."""
    config = Config(server=ServerSettings(port=0))
    with listen(config)[0] as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_two_requests_at_once_on_one_connection(served: Served) -> None:
    reader, writer = await served.connect()
    path = served.path("timpush/get_attr_name")
    request = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    writer.write(request * 2)
    await writer.drain()
    async with asyncio.timeout(PATIENCE_S):
        assert (await read_reply(reader)).json()["ErrorCode"] == 0
        assert (await read_reply(reader)).json()["ErrorCode"] == 0
    writer.close()
