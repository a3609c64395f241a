"""What names a push to the app: the same through every vendor as over its own connection."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.test_limits import AnyVendor, Counter
from tocsin.channels.registry import VENDORS, takes_lists
from tocsin.channels.shared import NOTHING_TO_SHOW
from tocsin.domain.message import AndroidPart, Message
from tocsin.domain.outcome import Outcome
from tocsin.domain.task import OVERWRITE_SUFFIX, Task, make_task_id
from tocsin.online.frames import push_of
from tocsin.sandbox.devices import Shown

EXTS = ('{"a":"b c%"}', '{"ü":"长 & =+;#\\"\'"}', "%7B a+b", "not JSON {")
INTENT = "intent://example.com/open#Intent;scheme=app;launchFlags=0x4000000;end"
CHANGED: dict[str, list[dict[str, Any]]] = {
    "fcm": [{"mode": "data"}],
    "harmony": [{"click": "action", "click_target": "com.example.OPEN"}],
    "honor": [
        {"click": "intent", "click_target": INTENT},
        {"click": "url", "click_target": "https://example.com/"},
    ],
    "huawei": [
        {"click": "intent", "click_target": INTENT},
        {"click": "action", "click_target": "com.example.OPEN"},
    ],
    "meizu": [{"click": "page", "activity": "com.example.Order"}],
    "oppo": [{"click": "intent", "click_target": INTENT}],
    "vivo": [{"skip_type": 3}, {"skip_type": 4, "skip_content": INTENT}],
    "webpush": [{"form": "declarative", "url": "https://example.com/"}],
    "xiaomi": [{"click": "page", "intent_uri": INTENT}],
}
"""Settings that change where a click leads, and so what carries the app's data."""

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
each_way = pytest.mark.parametrize(
    ("vendor", "changed"),
    [
        pytest.param(vendor, way, id=f"{vendor.NAME} {way}")
        for vendor in VENDORS
        for way in ({}, *CHANGED.get(vendor.NAME, []))
    ],
)


def task(message: Message, kind: str = "push", suffix: str = "") -> Task:
    parts = (1_796_000_000, 1_400_000_001, 144_115_188_075_900_001, 4_000_000_000, 2**32 - 1)
    name = make_task_id(kind, parts) + suffix
    return Task(app=7, number=1, task_id=name, kind="push", sender="admin", message=message)


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter()


async def seen(
    counter: Counter, vendor: AnyVendor, given: Task, count: int = 1, **changed: Any
) -> list[Shown]:
    """What the apps of so many devices are shown and handed of a push."""
    # OPPO shows a device nothing twice that has the same id.
    name = f"{int(counter.clock.now()):08x}-0000-4000-8000-000000000000"
    parts = {"task_id": given.task_id, "correlation": name}
    receipts = await counter.send(vendor, count, changed=changed, message=given.message, **parts)
    assert {it.outcome for it in receipts} == {Outcome.ACCEPTED}
    found: list[Shown] = []
    for token in counter.sandbox.tokens(vendor.NAME, 0, count):
        device = counter.sandbox.devices.known(vendor.NAME, token)
        assert device is not None
        found.extend(device.shown.values())
    assert len(found) == count
    return found


def of_online(given: Task) -> dict[str, str]:
    frame = push_of(given, -1)
    return {"id": frame.id, "task_id": frame.task_id}


@pytest.mark.evidence(
    "every app is told which push it has: the online frame's `id` and `task_id`, and Ext as"
    " it was, beside the text of all ten vendors, wherever a click leads",
    topic="Vendors",
    planted="vivo's `clientCustomMap` with Ext alone; the delivery's own id in the place of"
    " the push's; Ext unquoted in an intent; Honor's Ext as it is; silent pushes of"
    " APNs and of FCM to iPhones, and calls, without the ids",
)
@each_way
@pytest.mark.parametrize("as_intent", [False, True])
async def test_the_app_is_handed_ext_as_it_was_and_the_ids_of_the_online_frame(
    counter: Counter, vendor: AnyVendor, changed: dict[str, Any], as_intent: bool
) -> None:
    part = AndroidPart(huawei_ext_as_intent=as_intent)
    for ext in EXTS:
        given = task(Message(title="Hello", desc="A word", ext=ext, android=part), "batch")
        (shown,) = await seen(counter, vendor, given, **changed)
        assert shown.title or shown.data["title"]
        assert {**of_online(given), "ext": ext}.items() <= shown.data.items()
        assert "replaces" not in shown.data
        if vendor.NAME == "xiaomi":
            assert shown.data["payload"] == ext


@pytest.mark.evidence(
    "the same for every device, in every attempt; an overwrite has ids of its own and names"
    " what it replaces",
    topic="Vendors",
    planted="`replaces` left out",
)
@each_vendor
async def test_every_device_of_a_push_is_told_the_same_in_every_attempt(
    counter: Counter, vendor: AnyVendor
) -> None:
    given = task(Message(title="Hello", desc="A word"), "im_push")
    count = 3 if takes_lists(vendor) else 1
    first = await seen(counter, vendor, given, count)
    second = await seen(counter, vendor, given, count)
    for shown in first + second:
        assert of_online(given).items() <= shown.data.items()
        assert "ext" not in shown.data


@pytest.mark.evidence(
    "the same for every device, in every attempt; an overwrite has ids of its own and names"
    " what it replaces",
)
@each_vendor
async def test_an_overwrite_has_ids_of_its_own_and_names_what_it_replaces(
    counter: Counter, vendor: AnyVendor
) -> None:
    message = Message(title="Hello", desc="A word")
    first, second = task(message), task(message, suffix=OVERWRITE_SUFFIX)
    (shown,) = await seen(counter, vendor, second)
    told = {**of_online(second), "replaces": of_online(first)["id"]}
    assert told.items() <= shown.data.items()
    assert of_online(second)["id"] != told["replaces"]


@pytest.mark.evidence(
    "every app is told which push it has: the online frame's `id` and `task_id`, and Ext as"
    " it was, beside the text of all ten vendors, wherever a click leads",
)
@each_vendor
async def test_an_app_that_is_only_woken_is_told_too(counter: Counter, vendor: AnyVendor) -> None:
    given = task(Message(ext=EXTS[0]))
    (receipt,) = await counter.send(vendor, message=given.message, task_id=given.task_id)
    if receipt.code == NOTHING_TO_SHOW.code:
        assert vendor.NAME in ("meizu", "oppo", "vivo", "xiaomi")
        return
    (token,) = counter.sandbox.tokens(vendor.NAME, 0, 1)
    device = counter.sandbox.devices.known(vendor.NAME, token)
    assert device is not None
    (shown,) = device.shown.values()
    assert {**of_online(given), "ext": EXTS[0]}.items() <= shown.data.items()
