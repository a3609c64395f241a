"""Honor over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import CurlHttp
from tocsin.channels import honor
from tocsin.channels.driver import Driver
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Batch
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.honor import Honor, HonorSettings
from tocsin.sandbox.server import Sandbox, SandboxSettings


class Scene:
    """A sandbox and the driver of a credential that it told of itself."""

    def __init__(self, sandbox: Sandbox, one: Driver) -> None:
        self.sandbox = sandbox
        self.driver = one

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": "honor", "path": "/api/*", **rule}))

    async def receipts(self, numbers: Iterable[int]) -> list[Receipt]:
        """Deliver, and hold the receipts against the sandbox's log."""
        now = self.sandbox.clock.now()
        deliveries = tuple(
            delivery(it, token=Honor.token(it), expires_at=now + 3600) for it in numbers
        )
        mark = max((entry.sequence for entry in self.sandbox.log.entries()), default=0)
        batch = Batch(app=7, task=1, job=9, deliveries=deliveries, correlation="7-1-0011")
        receipts = await self.driver.deliver(batch, OpenGate())
        taken = Counter(it.token for it in self.sandbox.log.entries(after=mark, accepted=True))
        for receipt in receipts:
            count = taken[Honor.token(receipt.device)]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts

    async def send(self, numbers: Iterable[int]) -> Counter[Outcome]:
        return Counter(receipt.outcome for receipt in await self.receipts(numbers))


@asynccontextmanager
async def scene(**settings: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        told = SandboxSettings(seed=7, vendors=(HonorSettings(**settings),))
        sandbox = await stack.enter_async_context(Sandbox(told))
        facts = credential_facts("honor", sandbox.describe())
        http = CurlHttp()
        await http.start(stack)
        one = driver(
            honor,
            http,
            clock=SystemClock(),
            settings=msgspec.convert(facts["settings"], honor.Settings),
            origin=facts["origin"],
            auth_origin=facts["auth_origin"],
            ca=facts["ca"],
        )
        stack.push_async_callback(one.close)
        yield Scene(sandbox, one)


async def test_a_list_reaches_everybody_once_and_names_itself() -> None:
    async with scene() as it:
        assert await it.send(range(300)) == {Outcome.ACCEPTED: 300}
        entries = list(it.sandbox.log.entries())
        assert len(entries) == 300
        assert {(entry.correlation, entry.collapse) for entry in entries} == {("7-1-0011", "t7-1")}
        assert not it.sandbox.log.duplicates()


async def test_a_longer_batch_is_several_lists() -> None:
    async with scene(targets_per_s=None) as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        assert len({entry.message_id for entry in it.sandbox.log.entries()}) == 2


async def test_each_token_has_its_own_fate() -> None:
    async with scene() as it:
        it.sandbox.devices.put("honor", Honor.token(1), "dead")
        it.sandbox.devices.put("honor", Honor.token(2), "other_app")
        it.sandbox.devices.put("honor", Honor.token(3), "off")
        receipts = await it.receipts(range(5))
        assert [(receipt.outcome, receipt.code) for receipt in receipts] == [
            (Outcome.ACCEPTED, "0"),
            (Outcome.TOKEN_DEAD, "expireTokens"),
            (Outcome.UNDELIVERABLE, "failTokens"),
            (Outcome.ACCEPTED, "0"),
            (Outcome.ACCEPTED, "0"),
        ]


async def test_a_list_of_dead_tokens() -> None:
    async with scene() as it:
        for number in range(3):
            it.sandbox.devices.put("honor", Honor.token(number), "dead")
        assert await it.send(range(3)) == {Outcome.TOKEN_DEAD: 3}


async def test_a_stale_bearer_is_renewed_and_the_list_sent_once() -> None:
    async with scene() as it:
        await it.send(range(1))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20)) == {Outcome.ACCEPTED: 20}


async def test_a_wrong_secret_is_a_wrong_credential() -> None:
    async with scene() as it:
        it.sandbox.faults.add(
            Rule(kind="vendor_code", vendor="honor", path="/auth/token", code="invalid_client")
        )
        assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "503"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "80200056"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "vendor_code", "code": "10207"}, Outcome.CREDENTIALS_WRONG),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "status", "status": 500}, Outcome.SERVER_ERROR),
        ({"kind": "truncated"}, Outcome.UNKNOWN),
        ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
        ({"kind": "slow_body", "delay_s": 0.05}, Outcome.ACCEPTED),
        ({"kind": "reset_before"}, Outcome.UNKNOWN),
        ({"kind": "reset_after"}, Outcome.UNKNOWN),
    ],
)
async def test_honor_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as it:
        await it.send(range(1))
        it.fault(times=1, **rule)
        assert await it.send(range(10, 15)) == {outcome: 5}


async def test_over_the_rate() -> None:
    async with scene(targets_per_s=1) as it:
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
        assert await it.send(range(5, 10)) == {Outcome.THROTTLED: 5}
