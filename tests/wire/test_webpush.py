"""Web Push over real sockets: the driver, the real client and the sandbox's push service.

The oracle is the sandbox's log: whoever was reported as accepted was accepted exactly once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from tests.sandbox_keys import keys_folder
from tests.unit.channels import kit_webpush
from tests.unit.channels.kit import OpenGate, delivery, driver
from tests.wire.scene import scene
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_guard import is_public
from tocsin.channels.vendors import webpush
from tocsin.client.sandbox import SandboxClient, credential_facts
from tocsin.clock import ManualClock, SystemClock, settle_loop
from tocsin.conversation import Batch
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.devices import State
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.webpush.server import WebPushSettings

MANY = range(40)
OTHER_KEY = "IQ9Ur0ykXoHS9gzfYX0BJZ0E2iWUyAXDz2SZ4WyuHpM"


async def test_every_browser_is_reached_once_and_reads_its_message() -> None:
    async with scene("webpush") as it:
        assert await it.send(MANY) == {Outcome.ACCEPTED: 40}
        device = it.sandbox.devices.known("webpush", it.token(7))
        assert device is not None
        assert [(shown.title, shown.body) for shown in device.shown.values()] == [
            ("Hello", "A word to all")
        ]
        (entry,) = it.sandbox.log.entries(vendor="webpush", token=it.token(7))
        assert entry.correlation == delivery(7).correlation
        assert entry.collapse == "t7-1"


async def test_a_second_delivery_replaces_the_first() -> None:
    async with scene("webpush") as it:
        for _ in range(2):
            await it.send([1])
        device = it.sandbox.devices.known("webpush", it.token(1))
        assert device is not None
        assert [shown.replaced for shown in device.shown.values()] == [1]


@pytest.mark.evidence("every task has a topic that Apple's push service takes")
async def test_every_task_has_a_topic_that_apple_takes() -> None:
    """Apple refuses one whose length no base64url text has; texts of all lengths are tried."""
    async with scene("webpush", WebPushSettings(decodes_topics=True)) as it:
        for number in (1, 16, 256, 4096, 65_536):
            collapse = f"t53724e01-{number:x}"
            for _ in range(2):
                assert await it.send([number], collapse=collapse) == {Outcome.ACCEPTED: 1}
            device = it.sandbox.devices.known("webpush", it.token(number))
            assert device is not None
            assert [shown.replaced for shown in device.shown.values()] == [1]
        topics = it.sandbox.log.accepted_by("collapse")
        assert sorted(topics.values()) == [2] * 5


@pytest.mark.evidence("a browser's endpoint is resolved once, judged, and connected to")
async def test_the_sandbox_is_not_reached_unless_the_operator_named_it() -> None:
    """The same subscriptions, without the operator's origin: they point into our own machine."""
    async with scene("webpush", origin="") as it:
        assert await it.send(range(5)) == {Outcome.NOT_ALLOWED: 5}
        assert len(it.sandbox.log) == 0
        assert it.sandbox.listeners["webpush"].connections_open == 0


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
async def test_addresses_that_are_refused_hold_up_no_honest_browser() -> None:
    """Three pushes at once to both; the guard allows this machine's sandbox and no other."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(
            Sandbox(SandboxSettings(folder=keys_folder(), seed=7))
        )
        http = OutgoingHttp(is_allowed=lambda address: address == "127.0.0.1" or is_public(address))
        await http.start(stack)
        facts = credential_facts("webpush", sandbox.describe())
        settings = msgspec.convert(facts["settings"], webpush.Settings)
        one = driver(webpush, http, clock=SystemClock(), settings=settings, ca=facts["ca"])
        stack.push_async_callback(one.close)
        hostile = [kit_webpush.token(f"{number}", "https://10.0.0.1/x") for number in range(40)]
        tokens = (*hostile, *sandbox.tokens("webpush", 0, 20))
        now = sandbox.clock.now()
        given = tuple(
            delivery(number, token=token, ttl_s=60, expires_at=now + 60)
            for number, token in enumerate(tokens)
        )
        batches = [
            Batch(app=7, task=task, job=task, deliveries=given, correlation=f"7-{task}-0011")
            for task in range(1, 4)
        ]
        for receipts in await asyncio.gather(*[one.deliver(it, OpenGate()) for it in batches]):
            assert {(it.outcome, it.code) for it in receipts[:40]} == {(Outcome.NOT_ALLOWED, "-17")}
            assert {it.outcome for it in receipts[40:]} == {Outcome.ACCEPTED}
        assert set(sandbox.log.accepted_by("token").values()) == {3}


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("dead", Outcome.TOKEN_DEAD),
        ("expired", Outcome.TOKEN_DEAD),
        ("other_app", Outcome.NOT_PERMITTED),
        ("off", Outcome.ACCEPTED),
    ],
)
async def test_one_browser_among_many(state: State, outcome: Outcome) -> None:
    async with scene("webpush") as it:
        it.put(7, state)
        receipts = await it.receipts(MANY)
        assert {receipt.outcome for receipt in receipts if receipt.device != 7} == {
            Outcome.ACCEPTED
        }
        assert [receipt.outcome for receipt in receipts if receipt.device == 7] == [outcome]


async def test_another_key_than_the_pages_subscribed_with_stops_nobody_but_says_so() -> None:
    async with scene("webpush", settings={"private_key": OTHER_KEY, "public_key": ""}) as it:
        receipts = await it.receipts(range(5))
        assert {receipt.outcome for receipt in receipts} == {Outcome.NOT_PERMITTED}
        assert {receipt.info for receipt in receipts} == {"key mismatch"}


async def test_a_token_that_stays_refused_is_a_wrong_credential() -> None:
    async with scene("webpush") as it:
        it.fault(kind="vendor_code", code="InvalidToken")
        got = await it.send(MANY)
        assert set(got) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
        stoppage = it.driver.stoppage(it.sandbox.clock.now())
        assert stoppage is not None
        # Another push service may think otherwise: only this one is left alone.
        assert (stoppage.state, stoppage.part) == ("refused", it.sandbox.url("webpush"))


async def test_a_token_refused_once_is_signed_anew() -> None:
    async with scene("webpush") as it:
        it.fault(kind="vendor_code", code="ExpiredToken", times=1)
        assert await it.send(MANY) == {Outcome.ACCEPTED: 40}


async def test_a_token_is_renewed_before_it_expires() -> None:
    clock = ManualClock()
    async with scene("webpush", clock=clock) as it:
        for _ in range(5):
            assert await it.send(range(3)) == {Outcome.ACCEPTED: 3}
            await settle_loop()
            await clock.advance(10 * 3600)
            assert await it.send(range(3)) == {Outcome.ACCEPTED: 3}
            await settle_loop()


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "TooMany", "retry_after_s": 7}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "BackOff"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "Internal"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "TooLarge"}, Outcome.TOO_LARGE),
        ({"kind": "vendor_code", "code": "BadTopic"}, Outcome.BAD_REQUEST),
        ({"kind": "vendor_code", "code": "Gone"}, Outcome.TOKEN_DEAD),
        ({"kind": "status", "status": 504}, Outcome.SERVER_ERROR),
    ],
)
async def test_what_a_push_service_may_do(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("webpush") as it:
        it.fault(times=3, **rule)
        got = await it.receipts(MANY)
        assert Counter(receipt.outcome for receipt in got) == Counter({outcome: 3}) + Counter(
            {Outcome.ACCEPTED: 37}
        )
        waits = {receipt.retry_after_s for receipt in got if receipt.outcome is outcome}
        assert waits == {rule.get("retry_after_s")}


async def test_a_subscription_of_an_unknown_browser_is_dead() -> None:
    async with scene("webpush") as it:
        told = msgspec.json.decode(it.token(1))
        told["endpoint"] = told["endpoint"][:-4] + "0000"
        (receipt,) = await it.receipts([1], token=msgspec.json.encode(told).decode())
        assert (receipt.outcome, receipt.code) == (Outcome.TOKEN_DEAD, "404")


async def test_the_door_hands_out_browsers_that_can_be_reached() -> None:
    async with scene("webpush") as it, SandboxClient(it.sandbox.admin_url) as door:
        tokens = await door.tokens("webpush", 3, offset=5)
        assert tokens == [it.token(number) for number in (5, 6, 7)]
        told = await door.describe()
        assert told["webpush"]["credential"]["public_key"]
        await asyncio.gather(*(it.send([number]) for number in (5, 6, 7)))
