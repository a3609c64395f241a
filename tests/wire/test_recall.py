"""Taking a push back over real sockets: what waits at the vendor, and what is on the screen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.wire.test_receipts import PHONES, AnyVendor, Scene, served
from tocsin.channels.vendors import harmony, webpush
from tocsin.client.rest import notice
from tocsin.clock import SystemClock
from tocsin.sandbox.devices import SandboxDevice

OFF = 5
"""Devices that are switched off: what they are sent waits at the vendor."""

VENDORS: list[AnyVendor] = [harmony, webpush]


def book(it: Scene) -> list[SandboxDevice]:
    tokens = it.sandbox.tokens(it.vendor.NAME, 0, PHONES)
    found = [it.sandbox.devices.known(it.vendor.NAME, token) for token in tokens]
    assert all(found)
    return [device for device in found if device is not None]


async def pushed(it: Scene) -> str:
    """A push that half a dozen phones have not seen yet; answers its TaskId."""
    for number in range(OFF):
        it.sandbox.devices.put(it.vendor.NAME, it.token(number), "off")
    task_id = (await it.client.push(notice("Hello", "A word"))).task_id
    await done(it, task_id)
    devices = book(it)
    assert [len(device.held) for device in devices[:OFF]] == [1] * OFF
    assert [len(device.shown) for device in devices[OFF:]] == [1] * (PHONES - OFF)
    return task_id


async def done(it: Scene, task_id: str) -> dict[str, Any]:
    """Another process has no way to tell us."""
    async with asyncio.timeout(PATIENCE_S):
        while (task := await it.client.task(task_id))["phase"] != "done":
            await SystemClock().sleep(0.05)
    ledger: dict[str, Any] = task["ledger"]
    assert ledger["faults"] == []
    return ledger


@pytest.mark.evidence(
    "with nothing to show it is only taken back",
    topic="Recall at the vendors",
    planted="a push online only taken for no withdrawal",
)
async def test_a_recall_that_shows_nothing_withdraws_what_it_can(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    async with served(tmp_path, subtests, VENDORS) as there:
        for vendor in VENDORS:
            async with there.scene(vendor) as it:
                task_id = await pushed(it)
                await it.client.revoke(task_id, {"PushFlag": 1})
                books = await done(it, f"{task_id}_recall")
                devices = book(it)
                assert not any(device.held for device in devices)
                if vendor is harmony:
                    assert not any(device.shown for device in devices)
                    assert books["states"]["sent"] == PHONES
                else:
                    # What a browser has shown is not a push service's to take away.
                    assert all(device.shown for device in devices[OFF:])
                    assert books["states"]["sent"] == OFF
                    assert books["failures"] == {"webpush 404 not there any more": PHONES - OFF}


@pytest.mark.evidence("what can be taken back is, first, and then overwritten")
async def test_a_recall_with_a_text_replaces_whatever_was_there(
    subtests: pytest.Subtests, tmp_path: Path
) -> None:
    async with served(tmp_path, subtests, VENDORS) as there:
        for vendor in VENDORS:
            async with there.scene(vendor) as it:
                task_id = await pushed(it)
                await it.client.revoke(task_id, notice("Withdrawn", "Ignore it"))
                books = await done(it, f"{task_id}_recall")
                assert books["states"]["sent"] == PHONES
                for number in range(OFF):
                    it.sandbox.devices.put(vendor.NAME, it.token(number), "live")
                for device in book(it):
                    (shown,) = device.shown.values()
                    assert shown.title == "Withdrawn"
