"""Honor over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.honor.server import HonorSettings


async def test_a_list_reaches_everybody_once_and_names_itself() -> None:
    async with scene("honor") as it:
        assert await it.send(range(300)) == {Outcome.ACCEPTED: 300}
        entries = list(it.sandbox.log.entries())
        assert len(entries) == 300
        assert {(entry.correlation, entry.collapse) for entry in entries} == {("7-1-0011", "t7-1")}
        assert not it.sandbox.log.duplicates()


async def test_a_longer_batch_is_several_lists() -> None:
    async with scene("honor", HonorSettings(targets_per_s=None)) as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        assert len({entry.message_id for entry in it.sandbox.log.entries()}) == 2


async def test_each_token_has_its_own_fate() -> None:
    async with scene("honor") as it:
        it.put(1, "dead")
        it.put(2, "other_app")
        it.put(3, "off")
        receipts = await it.receipts(range(5))
        assert [(receipt.outcome, receipt.code) for receipt in receipts] == [
            (Outcome.ACCEPTED, "0"),
            (Outcome.TOKEN_DEAD, "expireTokens"),
            (Outcome.UNDELIVERABLE, "failTokens"),
            (Outcome.ACCEPTED, "0"),
            (Outcome.ACCEPTED, "0"),
        ]


async def test_a_stale_bearer_is_renewed_and_the_list_sent_once() -> None:
    async with scene("honor") as it:
        await it.send(range(1))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(range(20)) == {Outcome.ACCEPTED: 20}


async def test_a_wrong_secret_is_a_wrong_credential() -> None:
    async with scene("honor") as it:
        it.fault(kind="vendor_code", path="/auth/token", code="invalid_client")
        assert await it.send(range(3)) == {Outcome.CREDENTIALS_WRONG: 3}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "503"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "80200056"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "vendor_code", "code": "10207"}, Outcome.CREDENTIALS_WRONG),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ],
)
async def test_honor_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("honor") as it:
        await it.send(range(1))
        it.fault(path="/api/*", times=1, **rule)
        assert await it.send(range(10, 15)) == {outcome: 5}


async def test_over_the_rate() -> None:
    async with scene("honor", HonorSettings(targets_per_s=1)) as it:
        assert await it.send(range(5)) == {Outcome.ACCEPTED: 5}
        assert await it.send(range(5, 10)) == {Outcome.THROTTLED: 5}
