"""The books against the vendors' logs: falsified evidence of every kind is named by its check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from tocsin.demo.evidence import (
    Case,
    Evidence,
    FailedCheck,
    LogLine,
    Logs,
    VendorView,
    arrange,
)
from tocsin.demo.rows import (
    VendorRow,
    check_table,
    make_rows,
)
from tocsin.demo.vendor_checks import (
    check_lists,
    check_overwrite,
    check_receipts,
    check_refusals,
    check_tokens,
    check_vendor_log,
    check_waits,
)
from tocsin.demo.world import SMALL, DemoDevice, PlannedPush, VendorFault, World
from tocsin.sandbox.registry import Capabilities

VENDORS = {
    "alone": Capabilities(),
    "lists": Capabilities(devices_max=2, reports="console", removal="receipt"),
}
"""One vendor that takes a device a request and reports nothing, one that takes lists of two."""
TROUBLES = [VendorFault(vendor="lists", rule={}, wait_s=2.0)]
FIRST, RECALLED, OVERWRITE = 1, 2, 3
COLLAPSE = {FIRST: "c1", RECALLED: "c2", OVERWRITE: "c2"}
CODE = "lists 2"


def devices() -> list[DemoDevice]:
    """Alone: A1, and A2 which is dead. Lists: L1 to L3, and L4 whose app was removed."""
    states = {"A2": "dead", "L4": "gone"}
    return [
        DemoDevice(
            user=name.lower(),
            channel="alone" if name[0] == "A" else "lists",
            token=f"t{name}",
            state=states.get(name, "live"),  # type: ignore[arg-type]
            registration_id=name,
        )
        for name in ("A1", "A2", "L1", "L2", "L3", "L4")
    ]


def push(number: int, **told: Any) -> Evidence:
    """A push as booked: to A1 and to L1 to L3, unless more is told."""
    legs = {"alone": {"A1"}, "lists": {"L1", "L2", "L3"}}
    parts: dict[str, Any] = {
        "plan": PlannedPush(name=f"push {number}", label=f"push {number}", expected=frozenset()),
        "number": number,
        "audience": [],
        "states": {"sent": {"A1", "L1", "L2", "L3"}},
        "legs": legs,
        "failures": {},
        "undelivered": {},
        "reached": {"L1", "L2", "L3"},
        "clicked": set(),
        "repeated": set(),
        **told,
    }
    ledger = {
        "legs": {name: len(names) for name, names in parts["legs"].items()},
        "states": {name: len(names) for name, names in parts["states"].items()},
        "undelivered": {name: len(names) for name, names in parts["undelivered"].items()},
    }
    return Evidence(ledger=ledger, **parts)


class Scene:
    """Right evidence about two pushes and an overwrite, to be falsified."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.dropped = {"A2", "L4"}
        self.said = {"push 1": {"A1"}}
        self.receipts = {"told": 10, "lost": 0, "refused": 0, "waiting": 0}
        self.first = push(
            FIRST,
            states={"sent": {"A1", "L1", "L2", "L3", "L4"}, "failed": {"A2"}},
            legs={"alone": {"A1"}, "lists": {"L1", "L2", "L3", "L4"}},
            failures={"alone 410 Gone": {"A2"}},
            undelivered={CODE: {"L4"}},
            reached={"A1", "L1", "L2", "L3"},
        )
        self.recalled = push(RECALLED, overwrite=push(OVERWRITE))
        self.counts: dict[str, Any] | None = None
        self.alone("A1", FIRST)
        self.alone("A2", FIRST, accepted=False, reason="Gone")
        # The first list is put off, and asked for again two seconds later.
        self.list_of("L1", push=FIRST, accepted=False, fault="status", at=10.0)
        self.list_of("L1", "L2", push=FIRST, at=12.1)
        self.list_of("L3", "L4", push=FIRST)
        for number in (RECALLED, OVERWRITE):
            self.alone("A1", number)
            self.list_of("L1", "L2", push=number)
            self.list_of("L3", push=number)

    def alone(self, name: str, push: int, **told: Any) -> None:
        correlation = f"{push:08x}-0000-0000-0000-{int(name[1:]):012x}"
        self._write("alone", [name], push, correlation=correlation, **told)

    def list_of(self, *names: str, push: int, **told: Any) -> None:
        correlation = f"5-{push:x}-{0:016x}"
        self._write("lists", names, push, correlation=correlation, **told)

    def _write(self, vendor: str, names: Iterable[str], push: int, **told: Any) -> None:
        told["collapse"] = COLLAPSE.get(push, "c0")
        request = len(self.lines) + 1
        for name in names:
            sequence = len(self.lines) + 1
            given = {"sequence": sequence, "request": request, "at": 20.0 + sequence, **told}
            self.lines.append(LogLine(vendor=vendor, token=f"t{name}", **given))

    def find(self, name: str, push: int) -> int:
        """Where the accepted line of a device stands."""
        return next(
            at
            for at, line in enumerate(self.lines)
            if (line.token, line.task, line.accepted) == (f"t{name}", push, True)
        )

    def change(self, name: str, push: int, **changed: Any) -> None:
        at = self.find(name, push)
        self.lines[at] = replace(self.lines[at], **changed)

    def case(self) -> Case:
        counted = {
            vendor: sum(it.accepted for it in self.lines if it.vendor == vendor)
            for vendor in VENDORS
        }
        counts = self.counts or {"accepted_by_vendor": counted}
        world = World(sizes=SMALL, vendors=VENDORS, people=[], devices=devices())
        logs = Logs(lines=self.lines, counts=counts, receipts=self.receipts)
        evidence = [self.first, self.recalled]
        return arrange(world, evidence, logs, dropped=self.dropped, said=self.said)

    def findings(self) -> list[FailedCheck]:
        case = self.case()
        return [
            *check_vendor_log(case),
            *check_refusals(case),
            *check_receipts(case),
            *check_tokens(case),
            *check_lists(case),
            *check_overwrite(case),
            *check_waits(case, TROUBLES),
            *check_table(make_rows(case), case),
        ]


def caught(spoil: Callable[[Scene], object]) -> list[str]:
    scene = Scene()
    spoil(scene)
    return [str(finding) for finding in scene.findings()]


def test_right_books_pass_every_check() -> None:
    assert Scene().findings() == []


def test_a_line_names_its_push_in_either_form() -> None:
    scene = Scene()
    scene.alone("A1", 10)
    scene.list_of("L1", push=31)
    assert [line.task for line in scene.lines[-2:]] == [10, 31]
    assert [line.names_device for line in scene.lines[-2:]] == [True, False]
    for text in ("", "5-zz-0000000000000000", "no name", "5-1-00"):
        assert replace(scene.lines[0], correlation=text).task is None


def lose_line(it: Scene) -> None:
    it.lines.pop(it.find("L2", FIRST))


def double_line(it: Scene) -> None:
    it.lines.append(replace(it.lines[it.find("A1", FIRST)], sequence=99, request=99))


def count_otherwise(it: Scene) -> None:
    it.counts = {"accepted_by_vendor": {"alone": 3, "lists": 11}}


def borrow_line(it: Scene) -> None:
    """The second push's delivery under the first one's name."""
    it.change("A1", RECALLED, correlation=it.lines[it.find("A1", FIRST)].correlation)


@pytest.mark.evidence(
    "each vendor took what the books say, under the push's own name, and twice only where "
    "they own up",
    topic="Command line and demo",
    planted="an entry of vivo's log written twice, one not at all; the last device of a "
    "Huawei list left out and booked as sent; a list sent twice; a list under an "
    "earlier push's name; repeats not marked; one name for two devices",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose_line, "[push 1]: 1 (L2) booked as sent, unknown to lists"),
        (double_line, "[push 1]: 1 (A1) accepted by alone oftener than booked"),
        (count_otherwise, "lists counts 11 taken, its log has 10"),
        (borrow_line, "[push 1]: 1 (A1) accepted by alone oftener than booked"),
        (borrow_line, "[push 2]: 1 (A1) booked as sent, unknown to alone"),
        (lambda it: it.alone("A1", 7), "1 (tA1) taken for no push that we sent"),
        (lambda it: it.change("L3", 1, correlation=""), "1 (tL3) taken for no push"),
        (lambda it: it.change("L3", 1, token="tX"), "1 (tX): a token that nobody registered"),
        (lambda it: it.alone("A2", 2), "[push 2]: 1 (A2) accepted by alone, not booked as sent"),
    ],
)
def test_a_log_that_disagrees_is_caught(spoil: Callable[[Scene], object], says: str) -> None:
    found = caught(spoil)
    assert any(text.startswith("vendor log") and says in text for text in found), found


def test_a_vendor_that_took_nothing_is_no_proof() -> None:
    def silence(it: Scene) -> None:
        it.lines = [line for line in it.lines if line.vendor == "lists"]

    assert "vendor log: alone took nothing at all" in caught(silence)


def test_one_name_for_the_pushes_to_two_devices_is_caught() -> None:
    def share(it: Scene) -> None:
        at = next(at for at, line in enumerate(it.lines) if line.token == "tA2")
        it.lines[at] = replace(it.lines[at], correlation=it.lines[0].correlation)

    assert any("one name for the pushes to two devices" in text for text in caught(share))


@pytest.mark.evidence(
    "each vendor took what the books say, under the push's own name, and twice only where "
    "they own up",
)
def test_a_double_that_the_books_admit_is_no_fault() -> None:
    def repeat(it: Scene) -> None:
        it.list_of("L1", "L2", push=FIRST)
        it.first.repeated = {"L1", "L2"}
        it.receipts["told"] += 2

    assert caught(repeat) == []


def test_what_is_in_doubt_was_taken_or_not() -> None:
    def doubt(it: Scene) -> None:
        for name, channel in (("A1", "alone"), ("L3", "lists")):
            it.recalled.legs[channel].discard(name)
        it.recalled.states["in_doubt"] = {"A1", "L3"}
        it.recalled.ledger["legs"] = {"lists": 2}
        it.recalled.ledger["states"] = {"sent": 2, "in_doubt": 2}
        it.lines.pop(it.find("A1", RECALLED))

    assert caught(doubt) == []


@pytest.mark.evidence(
    "what vendors refuse is booked by their reasons",
    topic="Command line and demo",
    planted="one of three dead pushIds booked under another code",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: it.first.failures.clear(), "1 (A2) refused by alone, not booked as failed"),
        (
            lambda it: it.first.failures.update({"lists 1 Bad": {"L1"}}),
            "1 (L1) booked as failed, not refused by lists",
        ),
        (
            lambda it: it.recalled.failures.update(it.first.failures),
            "[push 2]: 1 (A2) booked as failed, not refused by alone",
        ),
    ],
)
def test_refusals_that_were_booked_otherwise_are_caught(
    spoil: Callable[[Scene], object], says: str
) -> None:
    found = caught(spoil)
    assert any(text.startswith("refusals") and says in text for text in found), found


@pytest.mark.evidence("what vendors refuse is booked by their reasons")
def test_refusals_are_sorted_by_the_vendors_reasons() -> None:
    def refuse(it: Scene) -> None:
        it.list_of("L1", push=OVERWRITE, accepted=False, reason="one")
        it.list_of("L2", push=OVERWRITE, accepted=False, reason="two")
        assert it.recalled.overwrite is not None
        it.recalled.overwrite.failures = {"lists 9 Both": {"L1", "L2"}}
        lines = [line for line in it.lines if not (line.accepted and line.task == OVERWRITE)]
        it.lines = lines

    assert any(
        "lists names 2 reasons, the books sort them otherwise" in it for it in caught(refuse)
    )


@pytest.mark.evidence(
    "arrivals and losses are those that receipts told",
    topic="Command line and demo",
    planted="a receipt not posted; one not booked; a removed app booked as reached; an "
    "arrival booked for another device",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: it.first.reached.discard("L2"), "1 (L2) not booked as reached by lists"),
        (lambda it: it.recalled.reached.add("A1"), "1 (A1) wrongly booked as reached by alone"),
        (lambda it: it.first.reached.add("L4"), "1 (L4) wrongly booked as reached by lists"),
        (lambda it: it.first.undelivered.clear(), "1 (L4) not booked as undelivered by lists"),
        (lambda it: it.recalled.undelivered.update({CODE: {"L4"}}), "wrongly booked as undeliv"),
        (lambda it: it.first.reached.add("X9"), "1 (X9) reached, nobody said so"),
        (lambda it: it.receipts.update(told=9), "9 receipts told by the vendors, 10 expected"),
        (lambda it: it.receipts.update(refused=1), "1 receipts refused by the vendors, 0"),
        (lambda it: it.receipts.update(waiting=1), "1 receipts waiting by the vendors, 0"),
    ],
)
def test_receipts_that_were_booked_otherwise_are_caught(
    spoil: Callable[[Scene], object], says: str
) -> None:
    found = caught(spoil)
    assert any(text.startswith("receipts") and says in text for text in found), found


def test_what_a_phone_said_itself_needs_no_receipt() -> None:
    def forget(it: Scene) -> None:
        it.first.reached.discard("A1")

    assert any("1 (A1) not booked as reached by alone" in text for text in caught(forget))


@pytest.mark.evidence(
    "tokens of dead phones and removed apps are dropped, and no others",
    topic="Command line and demo",
    planted="tokens told removed kept; one token dropped without a reason",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: it.dropped.discard("L4"), "1 (L4) dead or removed, but the token is kept"),
        (lambda it: it.dropped.add("L1"), "1 (L1) lost the token without a reason"),
        (lambda it: it.list_of("L4", push=2), "1 (L4) sent to after the vendor had said"),
    ],
)
def test_tokens_that_were_not_dropped_rightly_are_caught(
    spoil: Callable[[Scene], object], says: str
) -> None:
    found = caught(spoil)
    assert any(text.startswith("tokens") and says in text for text in found), found


def split_list(it: Scene) -> None:
    at = it.find("L2", FIRST)
    it.lines[at] = replace(it.lines[at], request=77)


def join_lists(it: Scene) -> None:
    first = it.lines[it.find("L1", FIRST)].request
    it.change("L3", FIRST, request=first)


def name_twice(it: Scene) -> None:
    it.lines.append(replace(it.lines[it.find("L3", FIRST)], sequence=98))


@pytest.mark.evidence(
    "lists are as few as hold the devices",
    topic="Command line and demo",
    planted="lists closed at a hundredth of their size",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (split_list, "lists was sent 3 lists, 2 would have held them"),
        (join_lists, "lists was sent 3 devices at once and takes 2"),
        (name_twice, "lists was sent a list that names a device twice"),
    ],
)
def test_lists_that_are_not_full_are_caught(spoil: Callable[[Scene], object], says: str) -> None:
    found = caught(spoil)
    assert any(text.startswith("lists [push 1]") and says in text for text in found), found


def withdraw(collapse: str) -> Callable[[Scene], None]:
    def spoil(it: Scene) -> None:
        line = it.lines[it.find("L1", RECALLED)]
        gone = {"accepted": False, "push_type": "revoke", "correlation": "", "reason": "revoked"}
        it.lines.append(replace(line, sequence=97, collapse=collapse, **gone))

    return spoil


@pytest.mark.evidence(
    "an overwrite reaches whoever got the recalled push, under its collapse id",
    topic="Command line and demo",
    planted="a collapse text of its own for Xiaomi's overwrite; one device left out of it",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: it.change("L1", 3, collapse="c9"), "1 (L1) given it anew by lists under anoth"),
        (lambda it: it.lines.pop(it.find("A1", 3)), "1 (A1) not given it anew by alone"),
        (lambda it: it.change("A1", 2, collapse="c1"), "alone was given c1 for 2 pushes"),
        (withdraw("c1"), "lists was to withdraw c1, which is not of the recalled push"),
        (withdraw("c2"), ""),
    ],
)
def test_an_overwrite_that_does_not_replace_is_caught(
    spoil: Callable[[Scene], object], says: str
) -> None:
    found = [text for text in caught(spoil) if text.startswith("overwrite")]
    assert any(says in text for text in found) if says else not found, found


@pytest.mark.evidence(
    "whom a vendor puts off is asked for again, not too soon",
    topic="Command line and demo",
    planted="no wait before the next attempt",
)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda it: it.change("L1", 1, at=11.0), "asked for again after 1.00 s instead of 2"),
        (lambda it: it.change("L1", 1, at=12.0), ""),
        (
            lambda it: it.list_of("L3", push=3, accepted=False, fault="status"),
            "L3 put off by lists, and never asked for again",
        ),
        (
            lambda it: it.lines.pop(next(at for at, line in enumerate(it.lines) if line.fault)),
            "lists was to put somebody off, and did not",
        ),
    ],
)
def test_a_wait_that_was_not_kept_is_caught(spoil: Callable[[Scene], object], says: str) -> None:
    found = [text for text in caught(spoil) if text.startswith("waits")]
    assert any(says in text for text in found) if says else not found, found


def test_the_rows_say_what_came_of_it() -> None:
    alone, lists = make_rows(Scene().case())
    assert alone == VendorRow(
        vendor="alone", devices=2, sent=3, refused=1, removed=0, in_doubt=0, reached=1,
        put_off=0, calls=4, devices_a_call=1.0, devices_max=1, reports=False,
    )  # fmt: skip
    assert lists == VendorRow(
        vendor="lists", devices=4, sent=10, refused=0, removed=1, in_doubt=0, reached=9,
        put_off=1, calls=7, devices_a_call=10 / 6, devices_max=2, reports=True,
    )  # fmt: skip


@pytest.mark.evidence(
    "the vendors' rows are true",
    topic="Command line and demo",
    planted="each figure but one raised by one, in every row, one too many",
)
@pytest.mark.parametrize(
    "name",
    ["devices", "sent", "refused", "removed", "reached", "put_off", "calls", "devices_a_call"],
)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_wrong_figure_in_the_table_is_caught(vendor: str, name: str) -> None:
    case = Scene().case()
    rows = [
        replace(row, **{name: getattr(row, name) + 1}) if row.vendor == vendor else row
        for row in make_rows(case)
    ]
    found = [str(finding) for finding in check_table(rows, case)]
    assert any(text.startswith(f"table: {vendor}: {name} is ") for text in found), found


@pytest.mark.evidence("the vendors' rows are true")
def test_a_missing_row_and_a_wrong_sum_are_caught() -> None:
    case = Scene().case()
    rows = make_rows(case)
    assert [it.check for it in check_table(rows[1:], case)] == ["table"]
    doubtful = [replace(rows[0], in_doubt=1), rows[1]]
    found = [finding.problem for finding in check_table(doubtful, case)]
    assert found == ["all vendors: in_doubt is 1, the pushes say 0"]


@pytest.mark.evidence(
    "in the demo, a push to nobody counts nowhere, and one that a vendor takes is a push to"
    " a stranger",
    topic="The laws",
    planted="every unknown token excused",
)
@pytest.mark.parametrize(
    ("told", "is_excused"),
    [
        ({}, True),
        ({"token": ""}, True),
        ({"token": "BAEAAAAAB." + "0" * 64}, True),
        ({"accepted": True}, False),
        ({"token": "tX1"}, False),
    ],
)
def test_a_push_to_nobody_counts_nowhere_unless_the_vendor_takes_it(
    told: dict[str, Any], is_excused: bool
) -> None:
    scene = Scene()
    first = scene.lines[0]
    asked = {"request": 77, "token": "0" * 64, "correlation": "", "accepted": False, **told}
    scene.lines.append(replace(first, sequence=77, **asked))
    found = scene.findings()
    assert not found if is_excused else "vendor log" in {finding.check for finding in found}


def test_an_empty_view_is_not_shared() -> None:
    one, other = VendorView(), VendorView()
    one.lines.append(("A1", Scene().lines[0]))
    assert other.lines == []
