"""Meizu's receipts: to the registered address that a push names, of the types that it asks for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from tests.unit.sandbox.ears import URL, Office, office
from tocsin.clock import Chance
from tocsin.sandbox.vendors.meizu.server import APP_ID, PATH, SECRET, Meizu, MeizuSettings

ADDRESS = f"{URL}/v3/offline_push_report/meizu"
EXTRA: dict[str, Any] = {"callback": ADDRESS, "callback.param": "7-1-00", "callback.type": 3}
FORM = [("content-type", "application/x-www-form-urlencoded")]


@asynccontextmanager
async def meizu(**settings: Any) -> AsyncIterator[Office]:
    def make(book: Any, clock: Any) -> Meizu:
        return Meizu(MeizuSettings(**settings), book, clock, Chance(1))

    async with office(make) as it:
        yield it


def push(it: Office, numbers: Iterable[int], **extra: Any) -> dict[str, Any]:
    """One list; answers what Meizu says of it."""
    message = {"noticeBarInfo": {"title": "t", "content": "c"}, "extra": {**EXTRA, **extra}}
    form = {
        "appId": APP_ID,
        "messageJson": msgspec.json.encode(message).decode(),
        "pushIds": ",".join(Meizu.token(number) for number in numbers),
    }
    signed = "".join(f"{name}={form[name]}" for name in sorted(form)) + SECRET
    sign = hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()
    body = urlencode({**form, "sign": sign}).encode()
    answer: dict[str, Any] = msgspec.json.decode(it.ask(PATH, FORM, body))
    return answer


async def test_one_entry_names_all_who_have_it_and_the_answer_all_losses() -> None:
    async with meizu() as it:
        it.state(2, "muted")
        it.state(3, "inactive")
        it.state(4, "gone")
        it.state(5, "off")
        answer = push(it, range(1, 7))
        assert answer["value"] == {"110010": [Meizu.token(2)], "110002": [Meizu.token(4)]}
        assert await it.told() == {(1, "1"): 1, (6, "1"): 1}
        (request,) = it.ears.requests
        form = dict(parse_qsl(request.body.decode()))
        assert set(form) == {"cb", "access_token"}
        assert msgspec.json.decode(form["cb"]) == {
            f"{answer['msgId']}-1": {
                "param": "7-1-00",
                "type": 1,
                "targets": [Meizu.token(1), Meizu.token(6)],
            }
        }
        assert request.path == "/v3/offline_push_report/meizu"


async def test_clicks_and_arrivals_share_a_call() -> None:
    async with meizu() as it:
        it.fault(2, kind="receipt_code", code="2")
        push(it, [1, 2])
        push(it, [3])
        assert await it.told() == {(1, "1"): 1, (2, "2"): 1, (3, "1"): 1}
        assert len(it.ears.requests) == 1
        assert [receipt.is_click for receipt in await it.heard()].count(True) == 1


@pytest.mark.parametrize(
    ("extra", "code", "told"),
    [
        ({"callback.type": 1}, "200", 1),
        ({"callback.type": "3"}, "200", 1),
        ({"callback.type": 2}, "200", 0),
        ({"callback": ""}, "1005", 0),
        ({"callback": "http://127.0.0.1:9/v3/offline_push_report/meizu"}, "200", 1),
        # Not registered: the push itself fails.
        ({"callback": f"{URL}/elsewhere"}, "110004", 0),
        ({"callback": "https://push.example/v3/offline_push_report/meizu"}, "110004", 0),
    ],
)
async def test_receipts_are_for_those_who_ask_at_a_registered_address(
    extra: dict[str, Any], code: str, told: int
) -> None:
    async with meizu() as it:
        assert push(it, [1], **extra)["code"] == code
        assert len(await it.heard()) == told


async def test_a_forged_one_names_an_id_that_nobody_made() -> None:
    async with meizu() as it:
        it.fault(2, kind="receipt_forged")
        push(it, [1, 2])
        ids = {receipt.token: receipt.correlation for receipt in await it.heard()}
        assert ids == {Meizu.token(1): "7-1-00", Meizu.token(2): "7-1-01"}
