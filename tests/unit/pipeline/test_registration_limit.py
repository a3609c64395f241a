"""Seventy phones behind one address: who is refused, and how the operator hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.online.rig import APP, APPKEY, Client, Rig
from tocsin.domain.hello import Hello
from tocsin.errors import CallError

TOLD = "registrations refused: too many from one address"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found: list[Any] = [record.msg for record in caplog.records]
    return [it for it in found if isinstance(it, dict) and it["event"] == TOLD]


async def refused(rig: Rig, count: int, address: str = "192.0.2.7") -> int:
    """So many first registrations; answers how many were refused."""
    codes = []
    for _ in range(count):
        try:
            await rig.registrar.register(Hello(sdkappid=APP, appkey=APPKEY), address)
        except CallError as fault:
            codes.append(fault.code)
    assert set(codes) <= {800102}
    return len(codes)


@pytest.mark.evidence(
    "refused registrations are counted, and told once a minute an app",
    topic="Strangers and browsers",
    planted="a line for each refusal",
)
async def test_seventy_first_registrations_from_one_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = await Rig(per_minute=60).open()
    assert await refused(rig, 70) == 10
    assert rig.metrics.value("registrations_refused", app=APP) == 10
    (line,) = lines(caplog)
    assert (line["app"], line["address"], line["refused"]) == (APP, "192.0.2.7", 1)
    assert line["per_minute"] == 60
    assert "devices.new_per_minute" in line["advice"]
    assert "server.trusted_proxies" in line["advice"]


@pytest.mark.evidence("refused registrations are counted, and told once a minute an app")
async def test_the_log_tells_once_a_minute_how_many_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = await Rig(per_minute=60).open()
    assert await refused(rig, 70) == 10
    await rig.clock.advance(59)
    assert await refused(rig, 70) == 11
    assert len(lines(caplog)) == 1
    await rig.clock.advance(1)
    assert await refused(rig, 5, "192.0.2.8") == 0
    assert await refused(rig, 3) == 2
    assert [line["refused"] for line in lines(caplog)] == [1, 9 + 11 + 1]
    assert rig.metrics.value("registrations_refused", app=APP) == 10 + 11 + 2


async def test_what_a_proxy_says_is_told_short(caplog: pytest.LogCaptureFixture) -> None:
    rig = await Rig(per_minute=1).open()
    assert await refused(rig, 2, "no address, " * 500) == 1
    (line,) = lines(caplog)
    assert line["address"] == ("no address, " * 6)[:64]


async def test_phones_of_one_subscriber_of_ipv6_share_a_limit() -> None:
    rig = await Rig(per_minute=5).open()
    assert sum([await refused(rig, 1, f"2001:db8::{number}") for number in range(7)]) == 2
    assert await refused(rig, 1, "2001:db8:0:1::1") == 0


async def test_a_socket_counts_as_a_call_does() -> None:
    rig = await Rig(per_minute=2).open()
    assert await refused(rig, 1, "10.0.0.1") == 0
    ends = []
    for _ in range(2):
        _, client = await rig.connect(client=Client())
        ends.append(client.end and client.end.code)
    assert ends == [None, 4002]
    assert rig.metrics.value("registrations_refused", app=APP) == 1
