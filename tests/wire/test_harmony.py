"""HarmonyOS over real sockets: the driver, the HTTP client and the sandbox at its worst."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome


async def test_a_list_reaches_everybody_once() -> None:
    async with scene("harmony") as it:
        assert await it.send(range(1001)) == {Outcome.ACCEPTED: 1001}
        entries = list(it.sandbox.log.entries())
        assert len({entry.message_id for entry in entries}) == 2
        assert {entry.correlation for entry in entries} == {"7-1-0011"}


async def test_each_token_has_its_own_fate() -> None:
    async with scene("harmony") as it:
        it.put(1, "dead")
        it.put(2, "other_app")
        found = await it.receipts(range(3))
        assert [one.code for one in found] == ["0", "tokenFormatError", "noRight"]


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "vendor_code", "code": "80200005"}, Outcome.ACCEPTED),
        ({"kind": "vendor_code", "code": "503"}, Outcome.THROTTLED),
        ({"kind": "vendor_code", "code": "80100016"}, Outcome.BLOCKED_CONTENT),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
    ],
)
async def test_harmony_at_its_worst(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("harmony") as it:
        await it.send(range(1))
        it.fault(times=1, **rule)
        assert await it.send(range(10, 15)) == {outcome: 5}
