"""The edge that all HTTP of the API shares: whoever reads a body reads it within one bound."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message

from tests.architecture.tree import REPO, imports, package
from tests.unit.api.world import World, ask
from tests.unit.online.rig import Rig
from tocsin.api import admin, devices, pages, receipts
from tocsin.api.commands.table import BODY_MAX_BYTES
from tocsin.api.cors import Cors
from tocsin.api.http import client_address, json_response, route
from tocsin.api.wire import refusal
from tocsin.errors import CallError


class Reader:
    """A way to post a body, and what the answer to one that is too long says."""

    def __init__(self, app: ASGIApp, path: str, bytes_max: int, refusal: tuple[int, int]) -> None:
        self.app, self.path, self.bytes_max, self.refusal = app, path, bytes_max, refusal

    async def post(
        self, parts: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> tuple[list[Message], int]:
        """Post these parts and then hang up; what was answered, and how many parts were read."""
        path, _, query = self.path.partition("?")
        answer: list[Message] = []
        messages: Iterator[Message] = iter(
            [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        )
        read = 0

        async def receive() -> Message:
            nonlocal read
            message = next(messages, None)
            read += message is not None
            return message or {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answer.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": query.encode(),
            "headers": list(headers),
            "client": ("192.0.2.1", 1),
        }
        await self.app(scope, receive, send)
        return answer, read


async def readers(world: World) -> list[Reader]:
    """Everyone in the API who reads bodies."""
    rig = await Rig().open()
    nobody: Any = None
    return [
        Reader(world.api, f"/v4/timpush/get_tag?{world.query()}", BODY_MAX_BYTES, (200, 60002)),
        Reader(
            pages.create(devices.DeviceCalls(rig.registrar, rig.hub, Cors(rig.store)).routes()),
            "/v1/devices/register",
            devices.BODY_MAX_BYTES,
            (200, 60002),
        ),
        Reader(
            admin.create(world.operator, world.store, world.presence, dict, books=world.books),
            "/v1/apps/7",
            pages.BODY_MAX_BYTES,
            (400, 60002),
        ),
        Reader(
            pages.create(receipts.ReceiptPages(nobody).routes()),
            "/v3/offline_push_report/huawei",
            receipts.BODY_MAX_BYTES,
            (413, 0),
        ),
    ]


def status_and_code(answer: Sequence[Message]) -> tuple[int, int]:
    body = answer[1]["body"]
    return answer[0]["status"], msgspec.json.decode(body)["ErrorCode"] if body else 0


@pytest.mark.evidence(
    "each reader of a body refuses one that is too long as soon as its bound is passed",
    topic="Strangers and browsers",
    planted="the check of Content-Length left out; one part more read",
)
async def test_a_body_that_the_rest_api_is_told_to_be_too_long_is_not_read(world: World) -> None:
    rest = (await readers(world))[0]
    for length in (b"%d" % (rest.bytes_max + 1), b" 9" + b"9" * 5000, b"-1", b"x"):
        answer, read = await rest.post([b"{}"], [(b"content-length", length)])
        assert (status_and_code(answer), read) == (rest.refusal, 0), length[:9]


@pytest.mark.evidence(
    "each reader of a body refuses one that is too long as soon as its bound is passed",
)
async def test_a_body_that_grows_too_long_is_read_up_to_its_bound(world: World) -> None:
    for reader in await readers(world):
        half = b" " * (reader.bytes_max // 2)
        answer, read = await reader.post([half, half, b" ", half])
        assert (status_and_code(answer), read) == (reader.refusal, 3), reader.path


async def test_who_hangs_up_within_the_body_is_answered_nothing_that_counts(world: World) -> None:
    for reader in await readers(world):
        answer, read = await reader.post([b"{"])
        assert read == 1
        # The REST API says nothing at all; Starlette's routes have to say something.
        assert not answer or (answer[0]["status"], answer[1]["body"]) == (400, b""), reader.path


async def test_an_endpoint_answers_json_or_a_response_or_refuses() -> None:
    async def plain(_: Request) -> dict[str, int]:
        return {"a": 1}

    async def own(_: Request) -> PlainTextResponse:
        return PlainTextResponse("text", 202)

    async def refuses(_: Request) -> None:
        raise CallError(70107)

    app = pages.create(
        [route("/plain", plain), route("/own", own, "PUT"), route("/refuses", refuses)]
    )
    asked = await ask(app, "GET", "/plain")
    assert (asked.status, asked.body) == (200, b'{"a":1}')
    asked = await ask(app, "PUT", "/own")
    assert (asked.status, asked.body) == (202, b"text")
    asked = await ask(app, "GET", "/refuses")
    assert (asked.status, asked.json()["ErrorCode"]) == (404, 70107)
    assert (await ask(app, "POST", "/plain")).status == 405
    assert (await ask(app, "GET", "/own")).status == 405


@pytest.mark.parametrize(
    ("client", "address"), [(("2001:db8::1", 9), "2001:db8::1"), (None, ""), (("", 0), "")]
)
def test_a_caller_on_a_unix_socket_has_no_address(
    client: tuple[str, int] | None, address: str
) -> None:
    assert client_address({"client": client}) == address


def test_headers_of_ours_come_after_those_of_the_body() -> None:
    response = json_response({}, 201, [(b"vary", b"Origin")])
    assert [name for name, _ in response.raw_headers] == [
        b"content-length",
        b"content-type",
        b"vary",
    ]


def test_the_envelope_of_the_device_calls_keeps_the_order_of_its_members() -> None:
    refused = refusal(devices.DeviceAnswer, CallError(70107, "no"))
    expected = b'{"ActionStatus":"FAIL","ErrorCode":70107,"ErrorInfo":"no"}'
    assert msgspec.json.encode(refused) == expected


def test_plain_http_imports_no_frames_of_the_websocket() -> None:
    api = [source for source in package(REPO) if source.package == "api"]
    assert "src/tocsin/api/devices.py" in {source.path for source in api}
    frames = ("tocsin.online.frames", "tocsin.online.session")
    importing = [
        source.path
        for source in api
        for each in imports(source, frozenset(frames))
        if each.module in frames
    ]
    assert importing == []


def test_nobody_else_reads_a_body_or_declares_the_types_of_asgi() -> None:
    own = {"Scope", "Receive", "Send", "Message", "ASGIApp"}
    for source in package(REPO):
        if source.package not in ("api", "online", "http_server", "service"):
            continue
        for node in source.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                is_read = node.value.id == "request" and node.attr in ("stream", "body", "json")
                assert not is_read, f"{source.path}:{node.lineno}"
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assert node.targets[0].id not in own, f"{source.path}:{node.lineno}"
