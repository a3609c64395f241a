"""The demo's lists and arithmetic: right books pass, and each kind of wrong book is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tocsin.demo.acts import waiters
from tocsin.demo.checks import (
    Evidence,
    LogLine,
    check_audience,
    check_ledger,
    check_recall,
    check_reports,
    check_sockets,
    check_tags,
    check_vendor_log,
)
from tocsin.demo.world import SMALL, Act, Sizes, World, make_acts, make_world

OWNERS = {("apns", "t1"): "D1", ("apns", "t2"): "D2", ("fcm", "t3"): "D3"}


def registered(sizes: Sizes = SMALL) -> World:
    world = make_world(sizes)
    for number, gadget in enumerate(world.gadgets):
        gadget.registration_id = f"R{number:05d}"
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
        "reached": 1,
        "clicked": 0,
        "repeated": 0,
        "faults": [],
    }
    act = Act(name="all", label="all", expected=frozenset("abcde"))
    parts: dict[str, Any] = {
        "act": act,
        "ledger": ledger,
        "audience": list("abcde"),
        "states": {"sent": {"D1", "D3", "D4"}, "failed": {"D2"}},
        "legs": {"apns": {"D1"}, "fcm": {"D3"}, "online": {"D4"}},
        "repeated": set(),
    }
    parts["ledger"] = {**ledger, **changed.pop("ledger", {})}
    return Evidence(**{**parts, **changed})


def line(vendor: str, token: str, *, name: str = "", collapse: str = "t1") -> LogLine:
    return LogLine(1, vendor, token, name or f"n-{token}", collapse, accepted=True)


LOG = [line("apns", "t1"), line("fcm", "t3")]


def test_the_sizes_are_those_of_the_main_job() -> None:
    world = registered(Sizes())
    kinds = [(it.channel, it.has_socket) for it in world.gadgets]
    assert len(world.people) == 10_000
    assert kinds.count(("apns", False)) == 6_000
    assert kinds.count(("fcm", False)) == 3_000
    assert kinds.count(("fcm", True)) == 100
    assert kinds.count(("", True)) == 100
    silent = [it for it in world.gadgets if it.is_silent]
    assert (len(silent), len([it for it in silent if it.token])) == (20, 10)
    assert all(it.has_socket for it in silent)
    assert len({it.user for it in world.gadgets}) == len(world.gadgets) == 9_200
    assert len(world.owners()) == 9_100


@pytest.mark.parametrize("sizes", [SMALL, Sizes()], ids=["small", "full"])
def test_every_push_is_for_somebody_and_not_for_all(sizes: Sizes) -> None:
    world = registered(sizes)
    acts = make_acts(world, "admin")
    everyone = acts[0].expected
    assert len(everyone) == len(world.people) + len(world.gadgets) + 1
    for act in acts[1:5]:
        assert act.expected
        assert act.expected < everyone
    assert len(acts[4].accounts) == len(set(acts[4].accounts)) == sizes.batch
    assert [act.is_recalled for act in acts] == [False] * 5 + [True]
    # Dead tokens stay far below the share that would accuse the credential.
    dead = [it for it in world.gadgets if it.is_dead]
    assert 0 < len(dead) < len(world.gadgets) / 50


def test_the_same_seed_gives_the_same_world() -> None:
    assert make_world(SMALL) == make_world(SMALL)
    assert make_world(SMALL) != make_world(SMALL, seed=2)


def test_only_devices_that_nobody_can_reach_may_wait() -> None:
    world = registered()
    acts = make_acts(world, "admin")
    dead = sum(it.is_dead for it in world.gadgets)
    assert waiters(world, acts[0]) == dead + SMALL.silent // 2
    assert waiters(world, acts[3]) < waiters(world, acts[0])


def test_right_books_pass_every_check() -> None:
    right = evidence()
    assert list(check_ledger(right)) == []
    assert list(check_audience(right)) == []
    assert list(check_vendor_log([right], LOG, OWNERS)) == []
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
    assert [finding.what for finding in found] == [f"no device is {missing}"]


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ([*LOG, line("apns", "t1")], "1 (D1) accepted by apns oftener than booked"),
        ([line("apns", "t1")], "1 (D3) booked as sent, unknown to fcm"),
        ([*LOG, line("apns", "t2")], "1 (D2) accepted by apns oftener"),
        ([*LOG, line("apns", "t9")], "nobody registered"),
        ([*LOG, line("apns", "t1", collapse="t2")], "2 collapse ids for 1 pushes"),
    ],
)
def test_a_log_that_disagrees_is_caught(log: list[LogLine], says: str) -> None:
    found = [str(finding) for finding in check_vendor_log([evidence()], log, OWNERS)]
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    "change",
    [
        {"repeated": {"D1"}},
        {"states": {"sent": {"D3", "D4"}, "failed": {"D2"}, "in_doubt": {"D1"}}},
    ],
    ids=["repeated", "in doubt"],
)
def test_a_double_that_the_books_admit_is_no_fault(change: dict[str, Any]) -> None:
    log = [*LOG, line("apns", "t1")]
    assert list(check_vendor_log([evidence(**change)], log, OWNERS)) == []


def test_an_overwrite_is_compared_together_with_what_it_replaced() -> None:
    over = evidence(legs={"apns": {"D1"}})
    one = evidence(overwrite=over)
    log = [*LOG, line("apns", "t1", name="second")]
    assert list(check_vendor_log([one], log, OWNERS)) == []
    twice = [*log, line("apns", "t1", name="second")]
    found = [str(finding) for finding in check_vendor_log([one], twice, OWNERS)]
    assert any("oftener than booked" in text for text in found), found
    # The first was lost and the second came twice: the counts agree, the names do not.
    swapped = [line("fcm", "t3"), line("apns", "t1", name="x"), line("apns", "t1", name="x")]
    found = [str(finding) for finding in check_vendor_log([one], swapped, OWNERS)]
    assert any("twice under one name" in text for text in found), found


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
        ({"D4", "D3"}, set(), "2 devices said reached, 1 booked"),
        ({"D4"}, {"D4"}, "1 devices said clicked, 0 booked"),
    ],
)
def test_reports_that_were_not_booked_are_caught(
    reached: set[str], clicked: set[str], says: str
) -> None:
    found = [str(finding) for finding in check_reports(evidence(), reached, clicked)]
    assert any(says in text for text in found), found


@pytest.mark.parametrize(
    "spoil", [lambda tags: tags[::-1], lambda tags: tags[1:], lambda tags: [*tags, "z"]]
)
def test_tags_that_read_back_differently_are_caught(
    spoil: Callable[[list[str]], list[str]],
) -> None:
    found = list(check_tags({"a": ("x", "y")}, {"a": spoil(["x", "y"])}))
    assert [finding.check for finding in found] == ["tags"]
