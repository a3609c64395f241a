"""The demo's lists and arithmetic: right books pass, and each kind of wrong book is caught.

What is held against the vendors' logs is tried in `test_demo_vendors.py`.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tocsin.channels.registry import VENDORS
from tocsin.clock import ManualClock
from tocsin.demo.checks import (
    check_audience,
    check_ledger,
    check_outcome,
    check_recall,
    check_reports,
    check_sockets,
    check_tags,
)
from tocsin.demo.display import Display
from tocsin.demo.evidence import Evidence
from tocsin.demo.rows import OnlineRow, VendorRow
from tocsin.demo.world import (
    COUNTS,
    SMALL,
    PlannedPush,
    Sizes,
    World,
    make_world,
    plan_pushes,
    tokens_needed,
    vendor_faults,
    waiting_devices,
)
from tocsin.sandbox.registry import CAPABILITIES


def made(sizes: Sizes, **more: Any) -> World:
    tokens = {
        vendor: [f"{vendor}-{number}" for number in range(count)]
        for vendor, count in tokens_needed(sizes).items()
    }
    return make_world(sizes, CAPABILITIES, tokens, **more)


def registered(sizes: Sizes = SMALL) -> World:
    world = made(sizes)
    for number, device in enumerate(world.devices):
        device.registration_id = f"R{number:05d}"
    return world


def evidence(**changed: Any) -> Evidence:
    """A right book: five accounts, three devices sent to, one failed."""
    ledger = {
        "audience": 5,
        "without_device": {"no device": 1},
        "with_devices": 4,
        "planned": 4,
        "states": {"sent": 3, "failed": 1},
        "failures": {"apns 410 Unregistered": 1},
        "undelivered": {},
        "legs": {"apns": 1, "fcm": 1, "online": 1},
        "reached": 1,
        "clicked": 0,
        "repeated": 0,
        "faults": [],
    }
    plan = PlannedPush(name="all", label="all", expected=frozenset("abcde"))
    parts: dict[str, Any] = {
        "plan": plan,
        "number": 1,
        "ledger": ledger,
        "audience": list("abcde"),
        "states": {"sent": {"D1", "D3", "D4"}, "failed": {"D2"}},
        "legs": {"apns": {"D1"}, "fcm": {"D3"}, "online": {"D4"}},
        "failures": {"apns 410 Unregistered": {"D2"}},
        "undelivered": {},
        "reached": {"D4"},
        "clicked": set(),
        "repeated": set(),
    }
    parts["ledger"] = {**ledger, **changed.pop("ledger", {})}
    return Evidence(**{**parts, **changed})


@pytest.mark.evidence(
    "the demo has devices of each vendor, and each kind of them",
    topic="Command line and demo",
    planted="a vendor without a count",
)
@pytest.mark.parametrize("sizes", [SMALL, Sizes()], ids=["small", "full"])
def test_every_vendor_has_devices_and_each_kind_of_them(sizes: Sizes) -> None:
    world = registered(sizes)
    assert sorted(sizes.vendors) == [vendor.NAME for vendor in VENDORS]
    for vendor in VENDORS:
        theirs = [it for it in world.devices if it.channel == vendor.NAME]
        states = Counter(it.state for it in theirs)
        assert states["live"] > 10 * (states["dead"] + states["gone"]) > 0
        assert states["dead"]
        assert states["gone"]
        assert any(it.reports for it in theirs)
        # A list of the vendor that takes the shortest ones does not hold them all.
        assert vendor.LIMITS.devices_max != 100 or len(theirs) > 100
    assert not any(it.reports and it.state != "live" for it in world.devices)
    assert {vendor_fault.vendor for vendor_fault in vendor_faults(sizes)} <= set(sizes.vendors)


def test_the_sizes_are_those_of_the_main_job() -> None:
    world = registered(Sizes())
    assert len(world.people) == 10_000
    on_sockets = Counter(it.channel for it in world.on_sockets())
    assert on_sockets == {"fcm": 100, "": 100}
    silent = [it for it in world.devices if it.is_silent]
    assert (len(silent), len([it for it in silent if it.token])) == (20, 10)
    assert all(it.has_socket for it in silent)
    phones = sum(COUNTS.values())
    assert phones >= 9_000
    assert len({it.user for it in world.devices}) == len(world.devices) == phones + 200
    assert len(world.owners()) == phones + 100


@pytest.mark.parametrize("sizes", [SMALL, Sizes()], ids=["small", "full"])
def test_every_push_is_for_somebody_and_not_for_all(sizes: Sizes) -> None:
    world = registered(sizes)
    plans = plan_pushes(world, "admin")
    everyone = plans[0].expected
    assert len(everyone) == len(world.people) + len(world.devices) + 1
    for plan in plans[1:5]:
        assert plan.expected
        assert plan.expected < everyone
    assert len(plans[4].accounts) == len(set(plans[4].accounts)) == sizes.batch
    assert [plan.is_recalled for plan in plans] == [False] * 5 + [True]
    # Dead tokens stay far below the share that would accuse the credential.
    lost = [it for it in world.devices if world.is_lost(it)]
    assert 0 < len(lost) < len(world.devices) / 20


def test_the_same_seed_gives_the_same_world() -> None:
    assert made(SMALL) == made(SMALL)
    assert made(SMALL) != made(SMALL, seed=2)


def test_what_becomes_of_a_removed_app_is_as_its_vendor_tells() -> None:
    world = registered()
    fates = {it.channel: world.fate(it) for it in world.devices if it.state == "gone"}
    known = {
        "apns": "unheard",
        "fcm": "unheard",
        "webpush": "unheard",
        "meizu": "refused",
        **dict.fromkeys(("harmony", "honor", "huawei", "oppo", "vivo", "xiaomi"), "removed"),
    }
    assert {name: fates[name] for name in known} == known


def test_only_devices_that_nobody_can_reach_may_wait() -> None:
    world = registered()
    plans = plan_pushes(world, "admin")
    lost = {it.registration_id for it in world.devices if world.is_lost(it)}
    # The first push finds every token, be it dead or not.
    assert len(waiting_devices(world, plans[0])) == SMALL.silent // 2
    again = msgspec.structs.replace(plans[0], is_first=False)
    assert waiting_devices(world, again) == waiting_devices(world, plans[0]) | lost
    assert waiting_devices(world, plans[3]) < waiting_devices(world, again)


def test_right_books_pass_every_check() -> None:
    right = evidence()
    assert list(check_ledger(right)) == []
    assert list(check_audience(right)) == []
    assert list(check_sockets(right, {"D4": 1})) == []
    assert list(check_reports(right, {"D4"}, set())) == []
    assert list(check_tags({"a": ("x", "y")}, {"a": ["x", "y"]})) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ledger": {"faults": ["4 devices planned, 3 accounted for"]}}, "accounted for"),
        ({"ledger": {"with_devices": 3}}, "without device"),
        ({"ledger": {"planned": 5}}, "5 devices planned, 4 in a state"),
        ({"ledger": {"failures": {}}}, "only 0 with a code"),
        ({"ledger": {"states": {"sent": 3, "failed": 0, "open": 1}}}, "open after the end"),
        ({"states": {"sent": {"D1", "D3"}, "failed": {"D2"}}}, "2 listed"),
        ({"states": {"sent": {"D1", "D3", "D4"}, "failed": {"D1"}}}, "two states"),
        ({"legs": {"apns": {"D1"}, "online": {"D4"}}}, "1 devices fcm, 0 listed"),
        ({"failures": {}}, "apns 410 Unregistered, 0 listed"),
        ({"undelivered": {"huawei 2": {"D1"}}}, "0 devices huawei 2, 1 listed"),
        ({"reached": {"D3", "D4"}}, "1 devices reached, 2 listed"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_caught(change: dict[str, Any], says: str) -> None:
    found = [str(finding) for finding in check_ledger(evidence(**change))]
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"audience": list("abcd")}, "1 (e) missing"),
        ({"audience": list("abcdef")}, "1 (f) too many"),
        ({"audience": list("abcdee")}, "listed twice"),
        ({"audience": []}, "is empty"),
        ({"ledger": {"audience": 4}}, "brute force says 5"),
    ],
)
def test_a_wrong_audience_is_caught(change: dict[str, Any], says: str) -> None:
    found = [str(finding) for finding in check_audience(evidence(**change))]
    assert any(says in text for text in found), found


@pytest.mark.parametrize("missing", ["sent", "recalled"])
def test_a_recall_that_came_too_soon_or_too_late_is_caught(missing: str) -> None:
    states = {"sent": 2, "recalled": 2, missing: 0}
    found = list(check_recall(evidence(ledger={"states": states})))
    assert [finding.problem for finding in found] == [f"no device is {missing}"]


def foretold(world: World, plan: PlannedPush) -> dict[str, set[str]]:
    """The states that the first push leads to, worked out another way."""
    states: dict[str, set[str]] = {"sent": set(), "failed": set(), "expired": set()}
    for it in world.devices:
        is_refused = it.state == "dead" or (
            it.state == "gone" and CAPABILITIES[it.channel].removal == "answer"
        )
        state = "failed" if is_refused else "sent" if it.token or not it.is_silent else "expired"
        states[state].add(it.registration_id)
    return states


@pytest.mark.evidence(
    "each device ends as its state foretells",
    topic="Command line and demo",
    planted="a dead token booked as sent; the follow-up of a list that was put off lost",
)
def test_devices_that_end_otherwise_than_their_state_foretells_are_caught() -> None:
    world = registered()
    plan = plan_pushes(world, "admin")[0]
    states = foretold(world, plan)
    assert list(check_outcome(evidence(plan=plan, states=states), world)) == []
    name = min(states["sent"])
    for state in ("failed", "expired", "in_doubt", "unreachable"):
        moved = {**states, "sent": states["sent"] - {name}}
        moved[state] = moved.get(state, set()) | {name}
        found = [str(it) for it in check_outcome(evidence(plan=plan, states=moved), world)]
        assert any(f"{state}: 1 ({name}) too many" in text for text in found), found
        assert any(f"sent: 1 ({name}) missing" in text for text in found), found


def test_a_dead_phone_of_a_list_whose_answer_was_lost_stays_in_doubt() -> None:
    world = registered()
    plan = plan_pushes(world, "admin")[0]
    states = foretold(world, plan)
    name = min(states["failed"])
    doubted = {**states, "failed": states["failed"] - {name}, "in_doubt": {name}}
    told = evidence(plan=plan, states=doubted, repeated={name})
    assert list(check_outcome(told, world)) == []
    assert list(check_outcome(evidence(plan=plan, states=states, repeated={name}), world))


@pytest.mark.parametrize(
    ("shown", "says"), [({"D4": 2}, "shown the push twice"), ({"D1": 1}, "not two legs")]
)
def test_sockets_that_remember_otherwise_are_caught(shown: dict[str, int], says: str) -> None:
    found = [str(finding) for finding in check_sockets(evidence(), shown)]
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    ("reached", "clicked", "says"),
    [
        ({"D2"}, set(), "not booked as sent"),
        ({"D4", "D3"}, set(), "1 (D3) said it arrived, not booked as reached"),
        ({"D4"}, {"D4"}, "1 (D4) clicked and not booked"),
    ],
)
def test_reports_that_were_not_booked_are_caught(
    reached: set[str], clicked: set[str], says: str
) -> None:
    found = [str(finding) for finding in check_reports(evidence(), reached, clicked)]
    assert any(says in text for text in found), found


def test_a_report_that_was_refused_is_a_finding() -> None:
    assert [it.problem for it in check_reports(evidence(), (), evidence().clicked, ["D2"])] == [
        "1 (D2) said it arrived, and was not believed"
    ]


@pytest.mark.parametrize(
    "spoil", [lambda tags: tags[::-1], lambda tags: tags[1:], lambda tags: [*tags, "z"]]
)
def test_tags_that_read_back_differently_are_caught(
    spoil: Callable[[list[str]], list[str]],
) -> None:
    found = list(check_tags({"a": ("x", "y")}, {"a": spoil(["x", "y"])}))
    assert [finding.check for finding in found] == ["tags"]


def test_the_table_has_a_row_per_vendor_and_their_sums() -> None:
    row = VendorRow(
        vendor="lists", devices=1200, sent=4233, refused=12, removed=8, in_doubt=0, reached=4225,
        put_off=1, calls=10, devices_a_call=424.5, devices_max=1000, reports=True,
    )  # fmt: skip
    alone = msgspec.structs.replace(row, vendor="alone", sent=7, devices_max=1, reports=False)
    screen = io.StringIO()
    Display(Console(file=screen, width=112), ManualClock()).vendors(
        [alone, row], OnlineRow(devices=200, with_token=100, sent=518, reached=489)
    )
    told = {
        line.split()[0]: line.split()[1:] for line in screen.getvalue().splitlines() if line.strip()
    }
    assert told["lists"][:4] == ["1,200", "4,233", "12", "8"]
    assert told["lists"][-3:] == ["424", "of", "1,000"]
    assert told["alone"][-1] == "\N{EN DASH}"
    assert told["online"] == ["200", "518", "·", "·", "·", "489", "·", "·", "\N{EN DASH}"]
    assert told["all"] == ["vendors", "2,400", "4,240", "24", "16", "·", "8,450", "2", "20"]
    assert "no receipts come from alone\n" in screen.getvalue()
    assert "100 of the 200 online have a token, too" in screen.getvalue()
    assert "as well: 2,500 in all\n" in screen.getvalue()


def test_what_to_try_next_begins_with_where_this_tocsin_is() -> None:
    screen = io.StringIO()
    Display(Console(file=screen, width=300), ManualClock()).next_steps()
    lines = [line.strip() for line in screen.getvalue().splitlines() if line.startswith("  ")]
    assert lines[0] == f'export PATH="{Path(sys.executable).parent}:$PATH"'
    assert all(line.startswith("tocsin ") for line in lines[1:])


@pytest.mark.evidence(
    "an audience counts a person once, with the devices of theirs",
    topic="Command line and demo",
    planted="RegistrationIDs of users in the audience counted as well",
)
def test_the_audience_counts_a_person_once_with_their_devices() -> None:
    ledger = {
        "audience": 944, "without_device": {"no device": 58, "reached as its UserID": 443},
        "with_devices": 443, "planned": 443, "states": {}, "failures": {}, "undelivered": {},
        "reached": 0, "clicked": 0, "repeated": 0,
    }  # fmt: skip
    screen = io.StringIO()
    Display(Console(file=screen, width=112), ManualClock()).pushes([evidence(ledger=ledger)])
    told = [line.split() for line in screen.getvalue().splitlines()]
    for row in (["audience", "501"], ["without", "device", "58"], ["no", "device", "58"]):
        assert row in told
    assert "UserID" not in screen.getvalue()
