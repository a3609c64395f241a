"""vivo's receipts: to the console's address by its id, or to the one that a push names."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.sandbox.ears import URL, Office, office
from tocsin.clock import Chance, settle_loop
from tocsin.sandbox.receipts import CALLS_MAX
from tocsin.sandbox.vendors.vivo.server import (
    APP_ID,
    APP_KEY,
    APP_SECRET,
    AUTH_PATH,
    CALLBACK_ID,
    LIST_PATH,
    SAVE_PATH,
    SEND_PATH,
    Vivo,
    VivoSettings,
)

JSON = [("content-type", "application/json")]
CONSOLE = {"callback.id": CALLBACK_ID, "callback.param": "7-1-00"}


@asynccontextmanager
async def vivo() -> AsyncIterator[Office]:
    def make(book: Any, clock: Any) -> Vivo:
        return Vivo(VivoSettings(test_users=(Vivo.token(1),)), book, clock, Chance(1))

    async with office(make) as it:
        yield it


def ask(it: Office, path: str, body: dict[str, Any]) -> dict[str, Any]:
    stamp = int(it.clock.now() * 1000)
    signed = f"{APP_ID}{APP_KEY}{stamp}{APP_SECRET}".encode()
    proof = {
        "appId": APP_ID,
        "appKey": APP_KEY,
        "timestamp": stamp,
        "sign": hashlib.md5(signed, usedforsecurity=False).hexdigest(),
    }
    token = msgspec.json.decode(it.ask(AUTH_PATH, JSON, msgspec.json.encode(proof)))["authToken"]
    headers = [*JSON, ("authtoken", token)]
    answer: dict[str, Any] = msgspec.json.decode(
        it.ask(path, headers, msgspec.json.encode({**body, "requestId": "r-1"}))
    )
    return answer


def push(it: Office, numbers: Sequence[int], extra: Any = CONSOLE, **parts: Any) -> dict[str, Any]:
    """One push; answers what vivo says of it."""
    body = {
        "appId": APP_ID,
        "title": "Hello",
        "content": "A word to all",
        "notifyType": 4,
        "skipType": 1,
        "classification": 1,
        "extra": extra,
        **parts,
    }
    if len(numbers) == 1:
        return ask(it, SEND_PATH, {**body, "regId": Vivo.token(numbers[0])})
    saved = ask(it, SAVE_PATH, body)["taskId"]
    tokens = [Vivo.token(number) for number in numbers]
    return ask(it, LIST_PATH, {"appId": APP_ID, "taskId": saved, "regIds": tokens})


async def test_each_device_of_a_list_has_a_call_of_its_own() -> None:
    async with vivo() as it:
        it.state(3, "gone")
        it.state(4, "muted")
        it.state(5, "inactive")
        it.state(6, "off")
        answer = push(it, range(1, 7))
        # Whom vivo knows not to show it, it tells in its answer, and never again.
        assert answer["invalidUsers"] == [
            {"userid": Vivo.token(number), "status": 3} for number in (4, 5)
        ]
        assert await it.told() == {(1, "0"): 1, (2, "0"): 1, (3, "2183"): 1}
        calls = [msgspec.json.decode(request.body) for request in it.ears.requests]
        assert [len(call) for call in calls] == [1, 1, 1]
        (entry,) = calls[2].values()
        assert entry == {
            "param": "7-1-00",
            "targets": Vivo.token(3),
            "ackTime": int(it.clock.now() * 1000),
            "ackType": "3",
            "subCode": "2183",
        }
        assert {request.path for request in it.ears.requests} == {"/v3/offline_push_report/vivo"}


async def test_so_many_calls_are_under_way_at_once() -> None:
    async with vivo() as it:
        it.ears.is_open.clear()
        push(it, range(1, 100))
        await settle_loop()
        assert len(it.ears.requests) == CALLS_MAX
        it.ears.is_open.set()
        assert len(await it.told()) == 99


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        (CONSOLE, "/v3/offline_push_report/vivo"),
        ({"callback": f"{URL}/elsewhere", "callback.param": "7-1-00"}, "/elsewhere"),
        # An id that the console does not know, and none at all.
        ({"callback.id": "7", "callback.param": "7-1-00"}, None),
        ({}, None),
    ],
)
async def test_receipts_go_where_the_push_says(extra: dict[str, str], path: str | None) -> None:
    async with vivo() as it:
        push(it, [1], extra)
        push(it, [2, 3], extra)
        told = [] if path is None else ["7-1-00"] * 3
        assert [receipt.correlation for receipt in await it.heard()] == told
        assert {request.path for request in it.ears.requests} == {path} - {None}


async def test_a_test_push_has_no_receipt() -> None:
    async with vivo() as it:
        assert push(it, [1], pushMode=1)["result"] == 0
        assert await it.told() == {}


async def test_faults_falsify_and_forge() -> None:
    async with vivo() as it:
        for number, code in ((1, "0001"), (2, "ackType 2"), (3, "1001")):
            it.fault(number, kind="receipt_code", code=code)
        it.fault(4, kind="receipt_forged")
        push(it, range(1, 5))
        assert await it.told() == {(1, "0001"): 1, (2, "ackType 2"): 1, (3, "1001"): 1, (4, "0"): 1}
        by_token = {receipt.token: receipt.correlation for receipt in await it.heard()}
        assert by_token[Vivo.token(4)] == "7-1-01"
