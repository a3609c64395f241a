"""HarmonyOS over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import CurlHttp
from tocsin.channels import harmony
from tocsin.channels.driver import Driver
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.ports import Batch
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.harmony import Harmony
from tocsin.sandbox.server import Sandbox, SandboxSettings


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Sandbox, Driver]]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(SandboxSettings(seed=7)))
        facts = credential_facts("harmony", sandbox.describe())
        http = CurlHttp()
        await http.start(stack)
        one = driver(
            harmony,
            http,
            clock=SystemClock(),
            settings=msgspec.convert(facts["settings"], harmony.Settings),
            origin=facts["origin"],
            ca=facts["ca"],
        )
        stack.push_async_callback(one.close)
        yield sandbox, one


async def receipts(sandbox: Sandbox, one: Driver, numbers: Iterable[int]) -> list[Receipt]:
    """Deliver, and hold the receipts against the sandbox's log."""
    end = sandbox.clock.now() + 3600
    given = tuple(delivery(it, token=Harmony.token(it), expires_at=end) for it in numbers)
    mark = max((entry.sequence for entry in sandbox.log.entries()), default=0)
    batch = Batch(app=7, task=1, job=9, deliveries=given, correlation="7-1-0011")
    found = await one.deliver(batch, OpenGate())
    taken = Counter(it.token for it in sandbox.log.entries(after=mark, accepted=True))
    for receipt in found:
        count = taken[Harmony.token(receipt.device)]
        if receipt.outcome is Outcome.UNKNOWN:
            assert count <= 1
        else:
            assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
    return found


async def test_a_list_reaches_everybody_once() -> None:
    async with scene() as (sandbox, one):
        found = await receipts(sandbox, one, range(1001))
        assert {it.outcome for it in found} == {Outcome.ACCEPTED}
        assert len({entry.message_id for entry in sandbox.log.entries()}) == 2
        assert {entry.correlation for entry in sandbox.log.entries()} == {"7-1-0011"}


async def test_each_token_has_its_own_fate() -> None:
    async with scene() as (sandbox, one):
        sandbox.devices.put("harmony", Harmony.token(1), "dead")
        sandbox.devices.put("harmony", Harmony.token(2), "other_app")
        found = await receipts(sandbox, one, range(3))
        assert [it.code for it in found] == ["0", "tokenFormatError", "noRight"]


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "80200005"}, Outcome.ACCEPTED),
        ({"kind": "vendor_code", "code": "503"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "80100016"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "truncated"}, Outcome.UNKNOWN),
        ({"kind": "reset_after"}, Outcome.UNKNOWN),
    ],
)
async def test_harmony_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene() as (sandbox, one):
        await receipts(sandbox, one, range(1))
        sandbox.faults.add(Rule(vendor="harmony", times=1, **rule))
        found = await receipts(sandbox, one, range(10, 15))
        assert {it.outcome for it in found} == {outcome}
