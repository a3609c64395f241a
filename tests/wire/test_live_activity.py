"""A Live Activity from its start to its end, by the product's own clients: door, call, Apple."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox_keys import keys_folder
from tests.wire.served import APP, KEY, client_of, make_app, opened, process_of
from tocsin.client.device import DeviceHttpClient, DeviceIdentity
from tocsin.client.json_http import JsonHttp
from tocsin.client.rest import Client, notice
from tocsin.clock import SystemClock
from tocsin.domain.hello import GivenRoute
from tocsin.domain.usersig import sign
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns

ROUTE, START, UPDATE = Apns.token(1), "80" + "a1" * 79, "40" + "b2" * 63
STARTED = {
    "LaId": "order-77",
    "Event": "start",
    "ContentState": {"minutes": 12},
    "AttributesType": "OrderAttributes",
    "Attributes": {"laId": "order-77"},
}


async def told(client: Client, activity: dict[str, Any]) -> dict[str, int]:
    """What became of a push about the activity: how many devices in each state."""
    info = notice("Your order", "On its way", ApnsInfo={"LiveActivity": activity})
    task_id = (await client.push(info)).task_id
    async with asyncio.timeout(60):
        while (task := await client.task(task_id))["phase"] != "done":
            await SystemClock().sleep(0.05)
    assert task["ledger"]["faults"] == []
    return {state: count for state, count in task["ledger"]["states"].items() if count}


@pytest.mark.evidence(
    "a Live Activity is started by the token of its type, which dies alone",
    topic="Vendors",
    planted="the activity's own token asked for; the dead token kept; a start without an "
    "alert sent",
)
async def test_a_live_activity_is_started_updated_and_its_dead_tokens_go_alone(
    tmp_path: Path,
) -> None:
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=7)) as sandbox:
        async with opened(tmp_path) as service:
            await make_app(service, sandbox)
        async with (
            process_of(tmp_path) as process,
            client_of(process) as client,
            JsonHttp(process.url) as wire,
        ):
            door = DeviceHttpClient(wire)
            usersig = sign(APP, KEY, "ann", 3600, SystemClock().now())
            phone = DeviceIdentity(sdkappid=APP, user="ann", usersig=usersig)
            phone.route = GivenRoute(channel="apns", credential=1, token=ROUTE)
            phone.live_start_tokens = {"OrderAttributes": START}
            await door.register(phone)
            assert await told(client, STARTED) == {"sent": 1}
            assert await told(client, {**STARTED, "AttributesType": "Game"}) == {"unreachable": 1}
            update = {"LaId": "order-77", "Event": "update", "ContentState": {"minutes": 4}}
            assert await told(client, update) == {"unreachable": 1}
            phone.live_tokens = {"order-77": UPDATE}
            await door.register(phone)
            assert await told(client, update) == {"sent": 1}
            sandbox.devices.put("apns", START, "dead")
            assert await told(client, STARTED) == {"failed": 1}
            assert await told(client, STARTED) == {"unreachable": 1}
            assert await told(client, {**update, "Event": "end"}) == {"sent": 1}
        async with opened(tmp_path) as service:
            device = await service.store.device(APP, phone.registration_id)
            assert device is not None
            assert device.live_start_tokens == {}
            assert device.live_tokens == {"order-77": UPDATE}
            assert device.route is not None
    entries = [(entry.token, entry.status) for entry in sandbox.log.entries()]
    assert entries == [(START, 200), (UPDATE, 200), (START, 410), (UPDATE, 200)]
    topics = {(entry.push_type, entry.topic) for entry in sandbox.log.entries()}
    assert topics == {("liveactivity", "com.example.app.push-type.liveactivity")}
