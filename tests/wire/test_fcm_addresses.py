"""FCM's ways to name a device, over sockets: by token, by installation ID, and an iPhone's."""

from __future__ import annotations

import pytest

from tests.wire.scene import scene
from tocsin.domain.outcome import Outcome
from tocsin.sandbox.vendors.fcm.server import Fcm


@pytest.mark.evidence(
    "a Firebase installation ID is sent as one, and no route is dropped for being one",
)
async def test_a_device_is_reached_by_its_installation_id_and_dropped_only_when_gone() -> None:
    async with scene("fcm") as it:
        fid = Fcm.fid(1)
        assert await it.send([1], token=fid) == {Outcome.ACCEPTED: 1}
        it.fault(kind="vendor_code", code="INVALID_ARGUMENT token", times=1, path="/v1/*")
        assert await it.send([1], token=fid) == {Outcome.UNDELIVERABLE: 1}
        it.sandbox.devices.put("fcm", fid, "dead")
        assert await it.send([1], token=fid) == {Outcome.TOKEN_DEAD: 1}


@pytest.mark.evidence("an iPhone behind FCM gets Apple's part, and a repeat replaces there too")
async def test_a_repeat_to_an_iphone_replaces_what_it_shows_in_either_mode() -> None:
    for mode in ("notification", "data"):
        async with scene("fcm", settings={"mode": mode}) as it:
            for _ in range(2):
                await it.send([1], platform="iPhone")
            device = it.sandbox.devices.known("fcm", it.token(1))
            assert device is not None
            shown = [(one.title, one.body, one.replaced) for one in device.shown.values()]
            assert shown == [("Hello", "A word to all", 1)]
