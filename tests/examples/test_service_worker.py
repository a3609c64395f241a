"""The browser example's service worker, in Node, on the messages that the channel really sends."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.architecture.tree import REPO
from tests.patience import PATIENCE_S
from tests.unit.channels.kit import delivery, message
from tests.unit.channels.kit_webpush import opened, settings, token
from tocsin.channels.registry import VENDORS
from tocsin.channels.vendors import webpush
from tocsin.conversation import Authority, Request
from tocsin.domain.device import PUSH_PLATFORMS
from tocsin.domain.hello import Hello
from tocsin.domain.task import OVERWRITE_SUFFIX

pytestmark = pytest.mark.server("node")

WORKER = REPO / "examples/browser/sw.js"
RUNNER = Path(__file__).with_name("worker.mjs")
ID = "1_2_3_4_5"
SERVICE = {"url": "https://push.example.com", "sdkappid": 1, "appkey": "k", "credential": 12}
IDENTITY = {"registration_id": "R", "secret": "S"}
PROOF = {"sdkappid": 1, **IDENTITY}


def sent(task_id: str = ID, **changed: Any) -> dict[str, Any]:
    """A message of the channel's own, as the browser opens it."""
    given = delivery(
        4,
        token=token("device-4", "https://fcm.googleapis.com/fcm/send/"),
        message=message(ext="77"),
        task_id=task_id,
    )
    made = webpush.request(settings(**changed), Authority("", 0, 9e9), given, 0)
    assert isinstance(made, Request)
    found: dict[str, Any] = opened(made.body)
    return found


async def run(
    *steps: dict[str, Any], tabs: tuple[str, ...] = (), kept: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the worker did after these events."""
    told = {
        "script": str(WORKER),
        "kept": {"service": SERVICE, "identity": IDENTITY, **(kept or {})},
        "tabs": [{"visibilityState": it} for it in tabs],
        "steps": steps,
    }
    node = shutil.which("node") or "node"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(node, str(RUNNER), stdin=pipe, stdout=pipe)
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate(json.dumps(told).encode())
    assert process.returncode == 0
    found: dict[str, Any] = msgspec.json.decode(out)
    return found


def push(said: dict[str, Any], *answers: Any) -> dict[str, Any]:
    return {"name": "push", "push": said, "answers": answers}


def report(stage: str, task_id: str = ID) -> dict[str, Any]:
    return {**PROOF, "task_id": task_id, "stage": stage, "channel": "webpush"}


@pytest.mark.evidence(
    "the example's service worker shows what the channel sends under the push's id, once, "
    "and reports arrival and click",
    topic="Clients",
    planted="the channel's tag kept; the replaced one left on the screen; the declarative "
    "form not read; a copy always shown",
)
@pytest.mark.parametrize("form", ["worker", "declarative"])
async def test_a_push_is_shown_and_its_arrival_and_click_are_reported(form: str) -> None:
    said = sent(form=form, url="https://example.com/orders")
    click = {"name": "notificationclick", "click": ID}
    first = await run(push(said))
    (shown,) = first["screen"]
    assert (shown["title"], shown["body"], shown["tag"]) == ("Hello", "A word to all", ID)
    assert first["imported"] == ["store.js"]
    assert first["calls"] == [
        {
            "url": "https://push.example.com/v1/devices/report",
            "method": "POST",
            "body": report("reached"),
        }
    ]
    both = await run(push(said), click)
    assert [it["body"] for it in both["calls"]] == [report("reached"), report("clicked")]
    assert both["opened"] == ["https://example.com/orders"]
    assert both["screen"] == []
    with_a_tab = await run(push(said), click, tabs=("hidden",))
    assert (with_a_tab["opened"], with_a_tab["told"]) == (
        ["focus"],
        [{"type": "clicked", "ext": "77"}],
    )


@pytest.mark.evidence(
    "the example's service worker shows what the channel sends under the push's id, once, "
    "and reports arrival and click",
)
async def test_a_copy_takes_the_first_ones_place_and_an_overwrite_takes_it_off() -> None:
    copies = await run(push(sent()), push(sent()))
    assert len(copies["screen"]) == 1
    overwrite = sent(ID + OVERWRITE_SUFFIX)
    replaced = await run(push(sent()), push(overwrite))
    assert [it["tag"] for it in replaced["screen"]] == [ID + OVERWRITE_SUFFIX]


@pytest.mark.evidence(
    "the example's service worker shows what the channel sends under the push's id, once, "
    "and reports arrival and click",
)
async def test_what_a_visible_page_has_shown_is_not_shown_again_but_reported() -> None:
    known = {"shown": [ID]}
    seen = await run(push(sent()), tabs=("visible",), kept=known)
    assert (seen["shown"], seen["calls"][0]["body"]) == (0, report("reached"))
    assert (await run(push(sent()), tabs=("hidden",), kept=known))["shown"] == 1


@pytest.mark.evidence(
    "a report without an answer is made again",
    topic="Clients",
    planted="91000 taken for an answer",
)
async def test_a_report_without_an_answer_is_made_with_the_next() -> None:
    one, other = sent("1_2_3_4_6"), sent()
    for failed in ("down", {"ErrorCode": 91000}):
        told = await run(push(one, failed), push(other))
        stages = [it["body"]["task_id"] for it in told["calls"]]
        assert stages == ["1_2_3_4_6", "1_2_3_4_6", ID]
        assert told["kept"]["reports"] == []
    refused = await run(push(one, {"ErrorCode": 70402}), push(other))
    assert len(refused["calls"]) == 2


async def test_a_subscription_that_changed_is_told_as_the_devices_token() -> None:
    changed = {
        "name": "pushsubscriptionchange",
        "event": {"oldSubscription": {"options": {"userVisibleOnly": True}}},
    }
    (call,) = (await run(changed))["calls"]
    assert call["url"].endswith("/v1/devices/register")
    # What the service reads it as.
    frame = msgspec.convert({**call["body"], "type": "hello"}, Hello)
    assert frame.route is not None
    assert (frame.registration_id, frame.appkey) == ("R", "k")
    assert (frame.route.channel, frame.route.credential) == ("webpush", 12)
    assert json.loads(frame.route.token)["endpoint"] == "https://e.com/2"
    assert {"webpush", "online"} <= set(PUSH_PLATFORMS)
    assert "webpush" in {vendor.NAME for vendor in VENDORS}
