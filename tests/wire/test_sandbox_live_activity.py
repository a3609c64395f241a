"""What the sandbox's Apple wants of a Live Activity: each rule broken once, and kept once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox_keys import keys_folder
from tests.wire.sandbox_kit import Answer, H2Client, provider_token
from tocsin.clock import ManualClock
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns

APP = "com.example.app"
START: dict[str, Any] = {
    "timestamp": 1,
    "event": "start",
    "content-state": {},
    "attributes-type": "Order",
    "attributes": {},
    "alert": {"title": "Hello"},
}
UPDATE: dict[str, Any] = {"timestamp": 1, "event": "update", "content-state": {}}
END: dict[str, Any] = {"timestamp": 1, "event": "end", "content-state": {}}


async def ask(clock: ManualClock, aps: dict[str, Any], headers: dict[str, str]) -> Answer:
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=1), clock) as sandbox:
        client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
        told = {
            "authorization": f"bearer {provider_token(sandbox)}",
            "apns-push-type": "liveactivity",
            "apns-topic": f"{APP}.push-type.liveactivity",
            **headers,
        }
        body = json.dumps({"aps": aps}).encode()
        answer = await client.ask(f"/3/device/{Apns.token(1)}", [*told.items()], body)
        client.close()
        return answer


@pytest.mark.parametrize(
    ("aps", "headers"),
    [
        (START, {}),
        ({**START, "input-push-token": 1, "stale-date": 2, "relevance-score": 75}, {}),
        ({**START, "alert": {"body": "World"}}, {}),
        (UPDATE, {"apns-priority": "5"}),
        ({**UPDATE, "alert": {"title": "Hello"}, "stale-date": 2}, {"apns-priority": "10"}),
        ({**END, "dismissal-date": 2}, {}),
    ],
)
async def test_what_ios_would_act_on_is_taken(
    clock: ManualClock, aps: dict[str, Any], headers: dict[str, str]
) -> None:
    assert (await ask(clock, aps, headers)).status == 200


@pytest.mark.evidence(
    "the sandbox refuses a start that iOS would drop unseen",
    topic="Vendors",
    planted="a start without attributes taken",
)
@pytest.mark.parametrize("name", list(START))
async def test_a_start_that_lacks_a_part_is_refused(clock: ManualClock, name: str) -> None:
    """Apple takes it and iOS starts nothing; a sandbox that did so would hide the mistake."""
    answer = await ask(clock, {key: it for key, it in START.items() if key != name}, {})
    assert (answer.status, answer.json["reason"]) == (400, "InvalidPushType")


@pytest.mark.evidence("the sandbox refuses a start that iOS would drop unseen")
@pytest.mark.parametrize(
    ("aps", "headers", "reason"),
    [
        ({**START, "attributes": "x"}, {}, "InvalidPushType"),
        ({**START, "attributes-type": ""}, {}, "InvalidPushType"),
        ({**START, "alert": {}}, {}, "InvalidPushType"),
        ({**START, "alert": "Hello"}, {}, "InvalidPushType"),
        ({**START, "stale-date": "soon"}, {}, "InvalidPushType"),
        ({**START, "event": "begin"}, {}, "InvalidPushType"),
        ({**END, "dismissal-date": "soon"}, {}, "InvalidPushType"),
        (UPDATE, {"apns-priority": "1"}, "BadPriority"),
        (START, {"apns-topic": APP}, "BadTopic"),
        (START, {"apns-topic": f"{APP}.voip"}, "BadTopic"),
    ],
)
async def test_what_ios_would_drop_is_refused(
    clock: ManualClock, aps: dict[str, Any], headers: dict[str, str], reason: str
) -> None:
    answer = await ask(clock, aps, headers)
    assert (answer.status, answer.json["reason"]) == (400, reason)
