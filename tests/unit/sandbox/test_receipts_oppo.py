"""OPPO's receipts: to the address that a message names, and only to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.unit.sandbox.ears import URL, Office, office
from tocsin.channels.vendors import oppo as channel
from tocsin.clock import Chance
from tocsin.sandbox.vendors.oppo.server import (
    APP_KEY,
    BATCH_PATH,
    BROADCAST_PATH,
    SAVE_PATH,
    UNICAST_PATH,
    Oppo,
    OppoSettings,
)

ADDRESS = f"{URL}/v3/offline_push_report/oppo"
HEADERS = [("content-type", "application/x-www-form-urlencoded")]
NEWS = {
    "title": "t",
    "content": "d",
    "category": "NEWS",
    "channel_id": "messages",
    "call_back_url": ADDRESS,
    "call_back_parameter": "7-1-00",
}
IM = {**NEWS, "category": "IM", "private_msg_template_id": "T100"}


@asynccontextmanager
async def oppo(**settings: Any) -> AsyncIterator[Office]:
    def make(book: Any, clock: Any) -> Oppo:
        return Oppo(OppoSettings(**settings), book, clock, Chance(1))

    async with office(make) as it:
        yield it


def authority(it: Office) -> str:
    made = channel.authorize(
        channel.Settings(master_secret=it.vendor.credential.master_secret, app_key=APP_KEY),  # type: ignore[attr-defined]
        it.clock.now(),
    )
    request = next(made)
    answer = msgspec.json.decode(it.ask(request.path, HEADERS, request.body))
    return str(answer["data"]["auth_token"])


def ask(it: Office, path: str, **form: str) -> Any:
    body = urlencode({"auth_token": authority(it), **form}).encode()
    answer = msgspec.json.decode(it.ask(path, HEADERS, body))
    assert answer["code"] == 0, answer
    return answer["data"]


def broadcast(it: Office, *numbers: int, **changed: str) -> Any:
    saved = ask(it, SAVE_PATH, **{**NEWS, **changed})["message_id"]
    tokens = ";".join(Oppo.token(number) for number in numbers)
    return ask(it, BROADCAST_PATH, message_id=saved, target_type="2", target_value=tokens)


def single(number: int, notification: dict[str, str]) -> dict[str, Any]:
    return {"target_type": 2, "target_value": Oppo.token(number), "notification": notification}


def entries(it: Office) -> list[dict[str, Any]]:
    return [one for request in it.ears.requests for one in msgspec.json.decode(request.body)]


async def test_one_entry_names_all_to_whom_the_same_happened() -> None:
    async with oppo() as it:
        it.state(3, "gone")
        it.state(4, "off")
        it.state(5, "dead")
        told = broadcast(it, 1, 2, 3, 4, 5)
        assert await it.told() == {
            (1, "push_arrive"): 1,
            (2, "push_arrive"): 1,
            (3, "regid_invalid"): 1,
        }
        arrived, gone = entries(it)
        assert arrived == {
            "messageId": told["message_id"],
            "appId": APP_KEY,
            "taskId": told["message_id"],
            "registrationIds": f"{Oppo.token(1)}, {Oppo.token(2)}",
            "eventTime": str(int(it.clock.now() * 1000)),
            "param": "7-1-00",
            "eventType": "push_arrive",
        }
        assert gone["registrationIds"] == Oppo.token(3)
        assert {request.path for request in it.ears.requests} == {"/v3/offline_push_report/oppo"}


async def test_single_messages_are_told_of_too() -> None:
    async with oppo() as it:
        it.state(3, "gone")
        ask(it, UNICAST_PATH, message=msgspec.json.encode(single(1, NEWS)).decode())
        both = [single(2, IM), single(3, IM)]
        ask(it, BATCH_PATH, messages=msgspec.json.encode(both).decode())
        assert await it.told() == {
            (1, "push_arrive"): 1,
            (2, "push_arrive"): 1,
            (3, "regid_invalid"): 1,
        }


@pytest.mark.evidence("only types asked for are told, hidden devices later, limits by receipt")
async def test_what_is_over_a_devices_limit_is_told_so_and_not_shown() -> None:
    async with oppo(device_per_day=1) as it:
        broadcast(it, 1)
        broadcast(it, 1, 2)
        ask(it, UNICAST_PATH, message=msgspec.json.encode(single(2, NEWS)).decode())
        assert await it.told() == {
            (1, "push_arrive"): 1,
            (1, "user_daily_limit"): 1,
            (2, "push_arrive"): 1,
            (2, "user_daily_limit"): 1,
        }


@pytest.mark.parametrize("address", ["", "https://elsewhere.example/oppo"])
async def test_nothing_is_told_where_no_address_of_this_machine_is_named(address: str) -> None:
    async with oppo() as it:
        broadcast(it, 1, call_back_url=address)
        assert await it.told() == {}
