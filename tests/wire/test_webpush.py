"""Web Push over real sockets: the driver, the real client and the sandbox's push service.

The oracle is the sandbox's log: whoever was reported as accepted was accepted exactly once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import CurlHttp
from tocsin.adapters.http_guard import is_public, look_up
from tocsin.channels import webpush
from tocsin.channels.driver import Driver
from tocsin.client.sandbox import SandboxDoor, credential_facts
from tocsin.clock import Clock, ManualClock, SystemClock, settle_loop
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Batch, Delivery
from tocsin.sandbox.devices import State
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

MANY = range(40)
OTHER_KEY = "IQ9Ur0ykXoHS9gzfYX0BJZ0E2iWUyAXDz2SZ4WyuHpM"


class Scene:
    """A sandbox and the driver of a credential that `tocsin credential add --sandbox` would add."""

    def __init__(self, sandbox: Sandbox, one: Driver) -> None:
        self.sandbox = sandbox
        self.driver = one

    def token(self, number: int) -> str:
        return self.sandbox.tokens("webpush", number, 1)[0]

    def put(self, number: int, state: State) -> None:
        self.sandbox.devices.put("webpush", self.token(number), state)

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": "webpush", **rule}))

    async def send(self, numbers: Iterable[int], **parts: Any) -> list[Receipt]:
        now = self.sandbox.clock.now()
        mark = self.sandbox.log.next_sequence()
        given = tuple(self._delivery(it, now, parts) for it in numbers)
        batch = Batch(app=7, task=1, job=9, deliveries=given)
        receipts = await self.driver.deliver(batch, OpenGate())
        assert [receipt.device for receipt in receipts] == [it.device for it in given]
        entries = self.sandbox.log.entries(after=mark, accepted=True, vendor="webpush")
        taken = Counter(entry.token for entry in entries)
        for receipt in receipts:
            count = taken[self.token(receipt.device)]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1, receipt
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts

    async def outcomes(self, numbers: Iterable[int]) -> Counter[Outcome]:
        return Counter(receipt.outcome for receipt in await self.send(numbers))

    def _delivery(self, number: int, now: float, parts: dict[str, Any]) -> Delivery:
        own = {"token": self.token(number), "ttl_s": 3600, "expires_at": now + 3600}
        return delivery(number, **{**own, **parts})


@asynccontextmanager
async def scene(
    *, clock: Clock | None = None, told: dict[str, str] | None = None, **record: Any
) -> AsyncIterator[Scene]:
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(SandboxSettings(seed=7), clock))
        http = CurlHttp(None, look_up, is_public)
        await http.start(stack)
        facts = credential_facts("webpush", sandbox.describe())
        one = driver(
            webpush,
            http,
            clock=clock,
            settings=msgspec.convert({**facts["settings"], **(told or {})}, webpush.Settings),
            ca=facts["ca"],
            **{"origin": facts["origin"], **record},
        )
        stack.push_async_callback(one.close)
        yield Scene(sandbox, one)


async def test_every_browser_is_reached_once_and_reads_its_message() -> None:
    async with scene() as it:
        assert await it.outcomes(MANY) == {Outcome.ACCEPTED: 40}
        device = it.sandbox.devices.known("webpush", it.token(7))
        assert device is not None
        assert [(shown.title, shown.body) for shown in device.shown.values()] == [
            ("Hello", "A word to all")
        ]
        (entry,) = it.sandbox.log.entries(vendor="webpush", token=it.token(7))
        assert entry.correlation == delivery(7).correlation
        assert entry.collapse == "t7-1"


async def test_a_second_delivery_replaces_the_first() -> None:
    async with scene() as it:
        for _ in range(2):
            await it.send([1])
        device = it.sandbox.devices.known("webpush", it.token(1))
        assert device is not None
        assert [shown.replaced for shown in device.shown.values()] == [1]


async def test_the_sandbox_is_not_reached_unless_the_operator_named_it() -> None:
    """The same subscriptions, without the operator's origin: they point into our own machine."""
    async with scene(origin="") as it:
        assert await it.outcomes(range(5)) == {Outcome.UNSENT: 5}
        assert len(it.sandbox.log) == 0
        assert it.sandbox.listeners["webpush"].connections_open == 0


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
    async with scene() as it:
        it.put(7, state)
        receipts = await it.send(MANY)
        assert {receipt.outcome for receipt in receipts if receipt.device != 7} == {
            Outcome.ACCEPTED
        }
        assert [receipt.outcome for receipt in receipts if receipt.device == 7] == [outcome]


async def test_another_key_than_the_pages_subscribed_with_stops_nobody_but_says_so() -> None:
    async with scene(told={"private_key": OTHER_KEY, "public_key": ""}) as it:
        receipts = await it.send(range(5))
        assert {receipt.outcome for receipt in receipts} == {Outcome.NOT_PERMITTED}
        assert {receipt.info for receipt in receipts} == {"key mismatch"}


async def test_a_token_that_stays_refused_is_a_wrong_credential() -> None:
    async with scene() as it:
        it.fault(kind="vendor_code", code="InvalidToken")
        got = await it.outcomes(MANY)
        assert set(got) <= {Outcome.CREDENTIALS_WRONG, Outcome.HELD}
        assert it.driver.room(it.sandbox.clock.now()) == 0


async def test_a_token_refused_once_is_signed_anew() -> None:
    async with scene() as it:
        it.fault(kind="vendor_code", code="ExpiredToken", times=3)
        assert await it.outcomes(MANY) == {Outcome.ACCEPTED: 40}


async def test_a_token_is_renewed_before_it_expires() -> None:
    clock = ManualClock()
    async with scene(clock=clock) as it:
        for _ in range(5):
            assert await it.outcomes(range(3)) == {Outcome.ACCEPTED: 3}
            await settle_loop()
            await clock.advance(10 * 3600)
            assert await it.outcomes(range(3)) == {Outcome.ACCEPTED: 3}
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
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "status", "status": 504}, Outcome.SERVER_ERROR),
        ({"kind": "truncated"}, Outcome.ACCEPTED),
        ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
        ({"kind": "reset_after"}, Outcome.UNKNOWN),
        ({"kind": "reset_before"}, Outcome.UNKNOWN),
    ],
)
async def test_what_a_push_service_may_do(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as it:
        it.fault(times=3, **rule)
        got = await it.send(MANY)
        assert Counter(receipt.outcome for receipt in got) == Counter({outcome: 3}) + Counter(
            {Outcome.ACCEPTED: 37}
        )
        waits = {receipt.retry_after_s for receipt in got if receipt.outcome is outcome}
        assert waits == {rule.get("retry_after_s")}


async def test_a_subscription_of_an_unknown_browser_is_dead() -> None:
    async with scene() as it:
        told = msgspec.json.decode(it.token(1))
        told["endpoint"] = told["endpoint"][:-4] + "0000"
        (receipt,) = await it.send([1], token=msgspec.json.encode(told).decode())
        assert (receipt.outcome, receipt.code) == (Outcome.TOKEN_DEAD, "404")


async def test_the_door_hands_out_browsers_that_can_be_reached() -> None:
    async with scene() as it, SandboxDoor(it.sandbox.admin_url) as door:
        tokens = await door.tokens("webpush", 3, offset=5)
        assert tokens == [it.token(number) for number in (5, 6, 7)]
        told = await door.describe()
        assert told["webpush"]["credential"]["public_key"]
        await asyncio.gather(*(it.send([number]) for number in (5, 6, 7)))
