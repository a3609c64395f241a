"""Xiaomi's channel, the real driver and HTTP client against the sandbox's Xiaomi.

The oracle is the log: a device reported as accepted was accepted exactly once, one in doubt
at most once, and every other one not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver, message
from tocsin.adapters.http import CurlHttp
from tocsin.channels import xiaomi
from tocsin.channels.driver import Driver
from tocsin.client.sandbox import credential_facts
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Batch
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.xiaomi import Xiaomi, XiaomiSettings

FAST = 1e6
"""Targets a second: the pace is not what is tried here."""


class Scene:
    def __init__(self, sandbox: Sandbox, one: Driver) -> None:
        self.sandbox = sandbox
        self.driver = one

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(vendor="xiaomi", **rule))

    async def send(self, numbers: Sequence[int], **parts: Any) -> Counter[Outcome]:
        """Deliver to these devices, check the log, and count what came of it."""
        receipts = await self.receipts(numbers, **parts)
        return Counter(receipt.outcome for receipt in receipts)

    async def receipts(self, numbers: Sequence[int], **parts: Any) -> list[Receipt]:
        log = self.sandbox.log
        mark = max((entry.sequence for entry in log.entries()), default=0)
        deliveries = tuple(delivery(it, token=Xiaomi.token(it), **parts) for it in numbers)
        batch = Batch(app=7, task=1, job=9, deliveries=deliveries, correlation="7-1-00ff")
        receipts = await self.driver.deliver(batch, OpenGate())
        assert [receipt.device for receipt in receipts] == list(numbers)
        taken = Counter(entry.token for entry in log.entries(after=mark, accepted=True))
        for receipt in receipts:
            count = taken[Xiaomi.token(receipt.device)]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1, receipt
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts


@asynccontextmanager
async def scene(settings: dict[str, Any] | None = None, **told: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        sandbox = Sandbox(SandboxSettings(seed=7, vendors=(XiaomiSettings(**told),)))
        await stack.enter_async_context(sandbox)
        http = CurlHttp()
        await http.start(stack)
        facts = credential_facts("xiaomi", sandbox.describe())
        one = driver(
            xiaomi,
            http,
            clock=sandbox.clock,
            settings=msgspec.convert({**facts["settings"], **(settings or {})}, xiaomi.Settings),
            origin=facts["origin"],
            ca=facts["ca"],
            rate_per_s=FAST,
        )
        stack.push_async_callback(one.close)
        yield Scene(sandbox, one)


async def test_a_list_is_taken_whole_in_one_request() -> None:
    async with scene() as it:
        assert await it.send(range(1000)) == {Outcome.ACCEPTED: 1000}
        entries = list(it.sandbox.log.entries())
        assert len({(entry.connection, entry.message_id) for entry in entries}) == 1
        assert {entry.correlation for entry in entries} == {""}
        assert {entry.topic for entry in entries} == {"news"}


async def test_everything_that_a_credential_can_set_is_in_order() -> None:
    settings = {
        "android_channel_id": "high_system",
        "template_id": "T100",
        "click": "page",
        "intent_uri": "intent:#Intent;component=com.example.app/.Order;end",
        "callback_url": "https://push.example/v3/offline_push_report/xiaomi",
    }
    full = message(
        title="😀" * 60,
        desc="中" * 900,
        ext='{"entity":"ü%&=;"}' * 20,
        android={"sound": "bell", "is_big_text": True},
    )
    full = msgspec.convert(msgspec.to_builtins(full), type(full))
    async with scene(settings, requires_template=True) as it:
        assert await it.send(range(3), message=full, ttl_s=10**7) == {Outcome.ACCEPTED: 3}
        assert {entry.correlation for entry in it.sandbox.log.entries()} == {"7-1-00ff"}


async def test_a_repeat_replaces_what_is_shown() -> None:
    async with scene() as it:
        await it.send(range(2))
        await it.send(range(2))
        for number in range(2):
            device = it.sandbox.devices.known("xiaomi", Xiaomi.token(number))
            assert device is not None
            assert [shown.replaced for shown in device.shown.values()] == [1]


@pytest.mark.parametrize("how", ["named", "refused"])
async def test_dead_regids_among_many(how: str) -> None:
    async with scene(bad_regids=how) as it:
        for number in (7, 41):
            it.sandbox.devices.put("xiaomi", Xiaomi.token(number), "dead")
        receipts = await it.receipts(range(60))
        dead = [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
        assert dead == [7, 41]


async def test_every_token_dead() -> None:
    async with scene() as it:
        for number in range(60):
            it.sandbox.devices.put("xiaomi", Xiaomi.token(number), "dead")
        assert await it.send(range(60)) == {Outcome.TOKEN_DEAD: 60}


async def test_a_wrong_secret_and_a_wrong_package_stop_the_channel() -> None:
    for wrong in ({"app_secret": "another"}, {"package_name": "com.other"}):
        async with scene(wrong) as it:
            assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}
            assert it.driver.room(it.sandbox.clock.now()) == 0


async def test_the_days_quota() -> None:
    async with scene(public_per_day=4) as it:
        assert await it.send(range(3)) == {Outcome.ACCEPTED: 3}
        # Xiaomi takes one more of these, and does not say which.
        assert await it.send(range(3)) == {Outcome.UNKNOWN: 3}
        assert await it.send(range(3)) == {Outcome.QUOTA_DAY: 3}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "10001"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "200002"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "26006"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "vendor_code", "code": "77777"}, Outcome.BAD_REQUEST),
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 503}, Outcome.SERVER_ERROR),
        ({"kind": "status", "status": 429, "retry_after_s": 7}, Outcome.THROTTLED),
        ({"kind": "truncated"}, Outcome.UNKNOWN),
        ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
        ({"kind": "slow_body", "delay_s": 0.1}, Outcome.ACCEPTED),
        ({"kind": "reset_before"}, Outcome.UNKNOWN),
        ({"kind": "reset_after"}, Outcome.UNKNOWN),
    ],
)
async def test_what_xiaomi_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as it:
        await it.send(range(100, 101))
        it.fault(times=1, **rule)
        assert await it.send(range(20)) == {outcome: 20}
        assert await it.send(range(20, 40)) == {Outcome.ACCEPTED: 20}


async def test_a_server_that_is_not_there() -> None:
    async with scene() as it:
        await it.sandbox.listeners["xiaomi"].stop()
        assert await it.send(range(10)) == {Outcome.UNSENT: 10}
