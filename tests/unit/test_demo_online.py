"""What the demo says of the connected devices, against what these remember."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.unit.test_demo_vendors import FIRST, TROUBLES, Scene
from tocsin.demo.evidence import Case
from tocsin.demo.rows import OnlineRow, check_online, make_online_row
from tocsin.demo.vendor_checks import check_waits
from tocsin.demo.world import SMALL, DemoDevice


def connected() -> tuple[Case, dict[str, dict[str, int]]]:
    """Three connected devices that were shown a push; S1 has a token at `alone` as well."""
    scene = Scene()
    scene.first.legs["online"] = {"S1", "S2", "S3"}
    scene.first.reached |= {"S1", "S2"}
    scene.said["push 1"] |= {"S1", "S2"}
    case = scene.case()
    case.world.devices += [
        DemoDevice(user=name.lower(), has_socket=True, registration_id=name)
        for name in ("S1", "S2", "S3")
    ]
    case.world.devices[-3].channel, case.world.devices[-3].token = "alone", "tS1"
    case.world.sizes = replace(SMALL, sockets=3, sockets_with_token=1)
    return case, {"push 1": {"S1": 1, "S2": 1, "S3": 1}}


def test_the_row_of_the_connected_devices_says_what_they_remember() -> None:
    case, shown = connected()
    row = make_online_row(case)
    assert row == OnlineRow(devices=3, with_token=1, sent=3, reached=2)
    assert list(check_online(row, case, shown)) == []


@pytest.mark.evidence(
    "the demo's row of the connected devices is what these remember; no check of it depends"
    " on the machine's pace",
    topic="The laws",
    planted="each figure of the row off by one; a device excused that is not connected",
)
@pytest.mark.parametrize("name", ["devices", "with_token", "sent", "reached"])
def test_a_wrong_figure_of_the_connected_devices_is_caught(name: str) -> None:
    case, shown = connected()
    row = make_online_row(case)
    wrong = replace(row, **{name: getattr(row, name) + 1})
    found = [str(finding) for finding in check_online(wrong, case, shown)]
    assert len(found) == 1
    assert found[0].startswith(f"table: online: {name} is ")


@pytest.mark.evidence(
    "the demo's row of the connected devices is what these remember; no check of it depends"
    " on the machine's pace",
)
def test_what_no_device_remembers_is_caught_unless_it_was_recalled() -> None:
    case, shown = connected()
    del shown["push 1"]["S3"]
    row = make_online_row(case)
    assert [it.problem for it in check_online(row, case, shown)] == [
        "online: sent is 3, the devices say 2"
    ]
    case.pushes[0].plan = replace(case.pushes[0].plan, is_recalled=True)
    assert list(check_online(row, case, shown)) == []


@pytest.mark.evidence(
    "the demo's row of the connected devices is what these remember; no check of it depends"
    " on the machine's pace",
)
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_connected_device_that_acked_meanwhile_is_not_asked_for_again(
    is_connected: bool,
) -> None:
    """However slow the ack was; a device without a connection has no such excuse."""
    scene = Scene()
    scene.list_of("L9", push=FIRST, accepted=False, fault="status")
    scene.said["push 1"].add("L9")
    case = scene.case()
    device = DemoDevice(user="l9", channel="lists", token="tL9", has_socket=is_connected)
    device.registration_id = "L9"
    case.world.devices.append(device)
    case.owners["lists", "tL9"] = "L9"
    found = [finding.problem for finding in check_waits(case, TROUBLES)]
    assert found == ([] if is_connected else ["L9 put off by lists, and never asked for again"])
