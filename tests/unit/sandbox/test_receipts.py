"""The sandbox's receipts on the manual clock: when they go, with what, and what spoils them."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.sandbox.ears import Ears
from tocsin.clock import Chance, ManualClock, settle_loop
from tocsin.sandbox.devices import DeviceBook
from tocsin.sandbox.endpoint import Endpoint
from tocsin.sandbox.exchange import Call, Connection, Judgement
from tocsin.sandbox.faults import Faults, Rule
from tocsin.sandbox.log import Log
from tocsin.sandbox.receipts import Receipts, ReceiptSettings, is_loopback
from tocsin.sandbox.vendors.huawei.server import Huawei, HuaweiSettings

URL = "http://127.0.0.1:8080"
PATH = "/v3/offline_push_report/huawei"


class Scene:
    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.faults = Faults(clock, 7)
        self.book = DeviceBook(clock)
        self.receipts = Receipts(self.book, self.faults, clock)
        self.huawei = Huawei(HuaweiSettings(targets_per_s=None), self.book, clock, Chance(7))
        self.log = Log()
        self.endpoint = Endpoint(self.huawei, self.faults, self.log, self.receipts, clock)
        self.ears = Ears(clock)

    def push(self, *numbers: int, **message: Any) -> int:
        """One list; answers the status."""
        connection = Connection(1, "http/1.1", None)
        form = f"grant_type=client_credentials&client_id={self.huawei.credential.app_id}"
        form += f"&client_secret={self.huawei.credential.app_secret}"
        head = [("content-type", "application/x-www-form-urlencoded")]
        asked = Call("POST", "/oauth2/v3/token", head, form.encode(), connection)
        bearer = msgspec.json.decode(self.endpoint(asked).body)["access_token"]
        body = {
            "android": {"bi_tag": "7-1-00", "notification": {"click_action": {"type": 3}}},
            "notification": {"title": "t", "body": "b"},
            "token": [Huawei.token(number) for number in numbers],
        }
        head = [("content-type", "application/json"), ("authorization", f"Bearer {bearer}")]
        told = msgspec.json.encode({"message": body, **message})
        path = f"/v1/{self.huawei.credential.app_id}/messages:send"
        return self.endpoint(Call("POST", path, head, told, connection)).status

    def heard(self) -> list[dict[str, Any]]:
        """Every receipt, in the order posted."""
        bodies = [msgspec.json.decode(request.body) for request in self.ears.requests]
        return [status for body in bodies for status in body["statuses"]]

    def state(self, number: int, state: Any) -> None:
        self.book.put("huawei", Huawei.token(number), state)


@asynccontextmanager
async def posting(url: str = URL, delay_s: float = 0.0) -> AsyncIterator[Scene]:
    scene = Scene(ManualClock())
    scene.receipts.settings = ReceiptSettings(url=url, delay_s=delay_s)
    running = asyncio.create_task(scene.receipts.run(scene.ears))
    try:
        yield scene
        # What went wrong while posting must not stay unseen.
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_an_accepted_list_reports_each_device_in_the_vendors_form() -> None:
    async with posting() as it:
        it.state(2, "muted")
        it.state(3, "inactive")
        it.state(4, "gone")
        it.state(5, "off")
        it.state(6, "dead")
        assert it.push(*range(1, 7)) == 200
        await settle_loop()
        (request,) = it.ears.requests
        assert (request.origin, request.path) == (URL, PATH)
        told = {status["token"]: status["status"] for status in it.heard()}
        names = [Huawei.token(number) for number in range(1, 5)]
        assert told == dict(zip(names, (0, 6, 10, 2), strict=True))
        assert {status["biTag"] for status in it.heard()} == {"7-1-00"}
        assert it.receipts.stats().told == 4


async def test_the_head_is_signed_with_the_key_of_the_console() -> None:
    async with posting() as it:
        it.push(1)
        await settle_loop()
        head = dict(it.ears.requests[0].headers)["x-huawei-callback-id"]
        given = dict(part.partition("=")[::2] for part in head.split(";"))
        signed = f"{given['timestamp']}{given['nonce']}{it.huawei.credential.callback_user}"
        key = it.huawei.credential.callback_key
        value = base64.b64encode(hmac.digest(key.encode(), signed.encode(), "sha256")).decode()
        assert given["value"] == value


async def test_nothing_is_reported_of_trials_refusals_and_without_an_address() -> None:
    async with posting() as it:
        assert it.push(1, validate_only=True) == 200
        it.faults.add(Rule(kind="status", status=503, path="/v1/*"))
        assert it.push(2) == 503
        await settle_loop()
        assert it.ears.requests == []
    async with posting(url="") as it:
        it.push(1)
        await settle_loop()
        assert it.ears.requests == []


async def test_a_push_without_an_answer_is_reported_all_the_same() -> None:
    async with posting() as it:
        it.faults.add(Rule(kind="reset_after", path="/v1/*"))
        it.push(1)
        await settle_loop()
        assert [status["status"] for status in it.heard()] == [0]


async def test_a_call_holds_a_hundred_at_most() -> None:
    async with posting() as it:
        it.push(*range(1, 251))
        await settle_loop()
        sizes = [len(msgspec.json.decode(it_.body)["statuses"]) for it_ in it.ears.requests]
        assert sizes == [100, 100, 50]


async def test_receipts_come_when_they_are_due_and_tell_of_that_moment() -> None:
    async with posting(delay_s=30) as it:
        began_at = it.clock.now()
        it.push(1)
        await it.clock.advance(20)
        it.push(2)
        await it.clock.advance(9)
        assert it.ears.requests == []
        await it.clock.advance(1)
        assert [status["token"] for status in it.heard()] == [Huawei.token(1)]
        assert it.heard()[0]["timestamp"] == (began_at + 30) * 1000
        await it.clock.advance(20)
        assert it.ears.times == [began_at + 30, began_at + 50]


async def test_late_ones_are_overtaken() -> None:
    async with posting() as it:
        it.faults.add(Rule(kind="receipt_late", token=Huawei.token(1), delay_s=60))
        it.push(1)
        it.push(2)
        await it.clock.advance(59)
        it.push(3)
        await it.clock.advance(1)
        order = [status["token"] for status in it.heard()]
        assert order == [Huawei.token(number) for number in (2, 3, 1)]
        # Late it is told, but not later than it happened.
        assert it.heard()[-1]["timestamp"] == it.heard()[0]["timestamp"]


async def test_faults_lose_repeat_falsify_and_forge_single_ones() -> None:
    async with posting() as it:
        for number, rule in (
            (1, {"kind": "receipt_lost"}),
            (2, {"kind": "receipt_twice"}),
            (3, {"kind": "receipt_code", "code": "15"}),
            (4, {"kind": "receipt_absurd"}),
            (5, {"kind": "receipt_forged"}),
        ):
            it.faults.add(msgspec.convert({"token": Huawei.token(number), **rule}, Rule))
        it.push(*range(1, 7))
        await it.clock.advance(10)
        by_token: dict[str, list[Any]] = {}
        for status in it.heard():
            by_token.setdefault(status["token"], []).append(status)
        assert Huawei.token(1) not in by_token
        assert len(by_token[Huawei.token(2)]) == 2
        assert by_token[Huawei.token(3)][0]["status"] == 15
        assert by_token[Huawei.token(4)][0]["timestamp"] == 1000
        assert len(by_token[Huawei.token(6)]) == 1
        # The forged one comes alone: what is in order must not suffer from it.
        (forged,) = [r for r in it.ears.requests if Huawei.token(5).encode() in r.body]
        assert len(msgspec.json.decode(forged.body)["statuses"]) == 1
        stats = it.receipts.stats()
        assert (stats.lost, stats.told, stats.waiting) == (1, 6, 0)


async def test_a_sender_that_is_sick_is_asked_again_and_one_that_refuses_is_not() -> None:
    async with posting() as it:
        it.ears.statuses = [503, 0, 200]
        it.push(1)
        await it.clock.advance(10)
        assert it.receipts.stats().by_answer == {"huawei 503": 1, "huawei 0": 1, "huawei 200": 1}
        it.ears.statuses = [401]
        it.push(2)
        await it.clock.advance(10)
        it.ears.statuses = [500, 500, 500]
        it.push(3)
        await it.clock.advance(10)
        assert (it.receipts.stats().told, it.receipts.stats().refused) == (1, 2)


async def test_an_address_that_a_push_names_is_told_only_if_it_is_this_machines() -> None:
    async with posting(url="") as it:
        it.state(1, "live")
        taken = Judgement(200, accepted=True, token=Huawei.token(1))
        for to in ("http://example.com/receipts", f"{URL}/elsewhere"):
            taken.receipt_to = to
            it.receipts.note(it.huawei, taken)
        await settle_loop()
        assert [(one.origin, one.path) for one in it.ears.requests] == [(URL, "/elsewhere")]


async def test_a_reset_forgets_what_is_owed() -> None:
    async with posting(delay_s=5) as it:
        it.push(1)
        it.receipts.clear()
        await it.clock.advance(10)
        assert it.ears.requests == []
        assert it.receipts.stats().waiting == 0


@pytest.mark.evidence(
    "nothing is posted beyond this machine",
    topic="Receipts",
    planted="any address taken",
)
@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:1", True),
        ("https://localhost:9/x", True),
        ("http://[::1]:80", True),
        ("", False),
        ("http://example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://127.0.0.1@example.com/", False),
        ("ftp://127.0.0.1", False),
        ("http://10.0.0.1", False),
        ("http://[", False),
    ],
)
def test_nothing_is_posted_beyond_this_machine(url: str, is_ours: bool) -> None:
    assert is_loopback(url) is is_ours
    if url and not is_ours:
        with pytest.raises(ValueError, match="this machine"):
            ReceiptSettings(url=url)
