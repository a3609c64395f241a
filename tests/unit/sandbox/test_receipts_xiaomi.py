"""Xiaomi's receipts: to the address that a push names, of the types that it asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
import pytest

from tests.unit.sandbox.ears import URL, Office, office
from tocsin.clock import Chance, settle_loop
from tocsin.sandbox.vendors.xiaomi.server import PACKAGE, SECRET, Xiaomi, XiaomiSettings

ADDRESS = f"{URL}/v3/offline_push_report/xiaomi"
HEADERS = [
    ("authorization", f"key={SECRET}"),
    ("content-type", "application/x-www-form-urlencoded"),
]


@asynccontextmanager
async def xiaomi(**settings: Any) -> AsyncIterator[Office]:
    def make(book: Any, clock: Any) -> Xiaomi:
        return Xiaomi(XiaomiSettings(**settings), book, clock, Chance(1))

    async with office(make) as it:
        yield it


def push(it: Office, numbers: Iterable[int], **extras: str | None) -> dict[str, Any]:
    """One list; answers what Xiaomi says of it."""
    form: dict[str, str | None] = {
        "registration_id": ",".join(Xiaomi.token(number) for number in numbers),
        "restricted_package_name": PACKAGE,
        "title": "t",
        "description": "d",
        "extra.callback": ADDRESS,
        "extra.callback.param": "7-1-00",
        "extra.callback.type": "243",
        **{f"extra.{name.replace('_', '.')}": text for name, text in extras.items()},
    }
    body = urlencode({name: text for name, text in form.items() if text is not None})
    answer: dict[str, Any] = msgspec.json.decode(
        it.ask("/v4/message/regid", HEADERS, body.encode())
    )
    assert answer["code"] == 0
    return answer


def entries(it: Office) -> list[dict[str, Any]]:
    bodies = [parse_qs(request.body.decode())["data"][0] for request in it.ears.requests]
    return [msgspec.json.decode(body) for body in bodies]


async def test_one_entry_names_all_who_came_to_the_same() -> None:
    async with xiaomi() as it:
        it.state(3, "gone")
        answer = push(it, range(1, 5))
        assert await it.told() == {(1, "1"): 1, (2, "1"): 1, (3, "16"): 1, (4, "1"): 1}
        assert {receipt.correlation for receipt in await it.heard()} == {"7-1-00"}
        assert {request.path for request in it.ears.requests} == {"/v3/offline_push_report/xiaomi"}
        # An entry has one type, and a message one entry in a call.
        arrived, gone = entries(it)
        assert arrived == {
            answer["data"]["id"]: {
                "type": 1,
                "targets": ",".join(Xiaomi.token(number) for number in (1, 2, 4)),
                "param": "7-1-00",
                "jobkey": "",
                "barStatus": "Enable",
                "timestamp": int(it.clock.now() * 1000),
            }
        }
        assert list(gone) == list(arrived)


async def test_messages_of_the_same_moment_share_a_call() -> None:
    async with xiaomi() as it:
        push(it, [1])
        push(it, [2])
        assert await it.told() == {(1, "1"): 1, (2, "1"): 1}
        assert [len(call) for call in entries(it)] == [2]


async def test_a_muted_device_has_it_and_shows_nothing() -> None:
    async with xiaomi() as it:
        it.state(2, "muted")
        push(it, [1, 2])
        assert await it.told() == {(1, "1"): 1, (2, "1"): 1}
        told = [entry for call in entries(it) for entry in call.values()]
        status = {entry["targets"]: entry["barStatus"] for entry in told}
        assert status == {Xiaomi.token(1): "Enable", Xiaomi.token(2): "Disable"}


@pytest.mark.evidence(
    "only types asked for are told, hidden devices later, limits by receipt",
    topic="Receipts",
    planted="the choice ignored; nothing owed; the limit not told",
)
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("1", {(1, "1")}),
        ("2", set()),
        ("16", {(3, "16")}),
        ("243", {(1, "1"), (3, "16")}),
        ("1024", {(2, "1024")}),
        ("1267", {(1, "1"), (2, "1024"), (3, "16")}),
        # None: arrivals and clicks. A bit that nobody knows costs all.
        (None, {(1, "1")}),
        ("246", set()),
    ],
)
async def test_only_the_types_asked_for_are_told(
    asked: str | None, told: set[tuple[int, str]]
) -> None:
    async with xiaomi() as it:
        it.state(2, "inactive")
        it.state(3, "gone")
        it.state(4, "off")
        push(it, range(1, 5), callback_type=asked)
        assert set(await it.told()) == told


async def test_nothing_is_told_where_no_address_is_named_or_nobody_was_taken() -> None:
    async with xiaomi() as it:
        push(it, [1], callback=None, callback_param=None, callback_type=None)
        it.state(2, "dead")
        with pytest.raises(AssertionError):
            push(it, [2])
        assert await it.told() == {}


@pytest.mark.evidence("only types asked for are told, hidden devices later, limits by receipt")
@pytest.mark.parametrize(
    ("mode", "is_named", "told"),
    [("named", True, {(1, "1"): 1}), ("silent", False, {(1, "1"): 1, (2, "16"): 1, (3, "16"): 1})],
)
async def test_whom_the_answer_hides_a_receipt_tells(
    mode: str, is_named: bool, told: dict[tuple[int, str], int]
) -> None:
    async with xiaomi(bad_regids=mode) as it:
        it.state(2, "dead")
        it.state(3, "live", app="com.example.other")
        answer = push(it, [1, 2, 3])
        assert ("bad_regids" in answer["data"]) is is_named
        assert await it.told() == told


async def test_faults_hit_single_ones_of_a_list() -> None:
    async with xiaomi() as it:
        it.fault(1, kind="receipt_code", code="2")
        it.fault(2, kind="receipt_lost")
        it.fault(3, kind="receipt_twice", delay_s=1)
        it.fault(4, kind="receipt_absurd")
        it.fault(5, kind="receipt_forged")
        push(it, range(1, 7))
        await it.clock.advance(5)
        await settle_loop()
        by_token = {receipt.token: receipt for receipt in await it.heard()}
        assert await it.told() == {(1, "2"): 1, (3, "1"): 2, (4, "1"): 1, (5, "1"): 1, (6, "1"): 1}
        assert by_token[Xiaomi.token(1)].is_click
        assert by_token[Xiaomi.token(4)].at == 1
        assert by_token[Xiaomi.token(5)].correlation == "7-1-01"
        assert by_token[Xiaomi.token(6)].correlation == "7-1-00"
