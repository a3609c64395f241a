"""vivo over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import CurlHttp
from tocsin.channels import vivo
from tocsin.channels.driver import Driver
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Batch
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vivo import AUTH_PATH, LIST_PATH, SAVE_PATH, Vivo, VivoSettings

FAST = 1e6
"""Targets a second: the pace is not what is tried here."""


class Scene:
    """A sandbox and the driver of a credential that it told of itself."""

    def __init__(self, sandbox: Sandbox, one: Driver) -> None:
        self.sandbox = sandbox
        self.driver = one

    def fault(self, path: str = LIST_PATH, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": "vivo", "path": path, "times": 1, **rule}))

    async def receipts(self, numbers: Iterable[int], task: int = 1) -> list[Receipt]:
        """Deliver, and hold the receipts against the sandbox's log."""
        now = self.sandbox.clock.now()
        deliveries = tuple(
            delivery(it, token=Vivo.token(it), expires_at=now + 3600) for it in numbers
        )
        mark = max((entry.sequence for entry in self.sandbox.log.entries()), default=0)
        batch = Batch(app=7, task=task, job=9, deliveries=deliveries, correlation="7-1-0011")
        receipts = await self.driver.deliver(batch, OpenGate())
        taken = Counter(it.token for it in self.sandbox.log.entries(after=mark, accepted=True))
        for receipt in receipts:
            count = taken[Vivo.token(receipt.device)]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts

    async def send(self, numbers: Iterable[int], task: int = 1) -> Counter[Outcome]:
        return Counter(receipt.outcome for receipt in await self.receipts(numbers, task))


@asynccontextmanager
async def scene(**settings: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        told = SandboxSettings(
            seed=7, vendors=(VivoSettings(**{"targets_per_s": None, **settings}),)
        )
        sandbox = await stack.enter_async_context(Sandbox(told))
        facts = credential_facts("vivo", sandbox.describe())
        http = CurlHttp()
        await http.start(stack)
        one = driver(
            vivo,
            http,
            clock=SystemClock(),
            settings=msgspec.convert(facts["settings"], vivo.Settings),
            origin=facts["origin"],
            auth_origin=facts["auth_origin"],
            ca=facts["ca"],
            rate_per_s=FAST,
        )
        stack.push_async_callback(one.close)
        yield Scene(sandbox, one)


async def test_lists_and_single_ones_reach_everybody_once() -> None:
    async with scene() as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        assert await it.send(range(2000, 2001)) == {Outcome.ACCEPTED: 1}
        entries = list(it.sandbox.log.entries())
        assert len(entries) == 1002
        assert {entry.correlation for entry in entries} == {"7-1-0011"}
        assert not it.sandbox.log.duplicates()


async def test_each_device_has_its_own_fate() -> None:
    async with scene() as it:
        it.sandbox.devices.put("vivo", Vivo.token(1), "dead")
        it.sandbox.devices.put("vivo", Vivo.token(2), "other_app")
        it.sandbox.devices.put("vivo", Vivo.token(3), "off")
        receipts = await it.receipts(range(5))
        assert [(receipt.outcome, receipt.code) for receipt in receipts] == [
            (Outcome.ACCEPTED, "0"),
            (Outcome.TOKEN_DEAD, "invalidUser 2"),
            (Outcome.TOKEN_DEAD, "invalidUser 1"),
            (Outcome.ACCEPTED, "0"),
            (Outcome.ACCEPTED, "0"),
        ]
        (alone,) = await it.receipts([1])
        assert (alone.outcome, alone.code) == (Outcome.TOKEN_DEAD, "10302")


async def test_a_stale_token_is_renewed_and_the_list_sent_once() -> None:
    async with scene() as it:
        await it.send(range(2))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20), task=2) == {Outcome.ACCEPTED: 20}
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20), task=2) == {Outcome.ACCEPTED: 20}


async def test_a_wrong_signature_is_a_wrong_credential() -> None:
    async with scene() as it:
        it.fault(AUTH_PATH, kind="vendor_code", code="10207")
        assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}


async def test_over_the_days_quota_waits_for_midnight() -> None:
    async with scene(system_per_day=4) as it:
        assert await it.send(range(4)) == {Outcome.ACCEPTED: 4}
        receipts = await it.receipts(range(4))
        assert {receipt.code for receipt in receipts} == {"10252"}
        assert all(0 < (receipt.retry_after_s or 0) <= 86_400 for receipt in receipts)


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "10072"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "10045"}, Outcome.BLOCKED_CONTENT),
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
async def test_vivo_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as it:
        await it.send(range(2))
        it.fault(**rule)
        assert await it.send(range(10, 15)) == {outcome: 5}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "truncated"}, Outcome.SERVER_ERROR),
        ({"kind": "reset_after"}, Outcome.UNSENT),
        ({"kind": "vendor_code", "code": "10103"}, Outcome.BLOCKED_CONTENT),
    ],
)
async def test_what_cannot_be_saved_reaches_nobody(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as it:
        it.fault(SAVE_PATH, **rule)
        assert await it.send(range(5)) == {outcome: 5}
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
