"""Which requests a rule hits, stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.clock import ManualClock
from tocsin.sandbox.faults import KINDS, RULES_MAX, Faults, Rule


def hits(rule: Rule, count: int = 12, seed: int = 1) -> list[int]:
    """The places of the matching requests that are hit, counted from one."""
    faults = Faults(ManualClock(), seed)
    faults.add(rule)
    return [place for place in range(1, count + 1) if faults.pick("apns", "/3/device/ab", "ab")]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, list(range(1, 13))),
        ({"every": 4}, [4, 8, 12]),
        ({"first": 3, "last": 5}, [3, 4, 5]),
        ({"first": 3, "every": 3}, [5, 8, 11]),
        ({"times": 2}, [1, 2]),
        ({"every": 5, "times": 1}, [5]),
        ({"share": 0.0}, []),
        ({"vendor": "fcm"}, []),
        ({"vendor": "apns", "token": "a*", "path": "/3/*"}, list(range(1, 13))),
        ({"token": "b*"}, []),
        ({"path": "/token"}, []),
    ],
)
def test_which_requests_are_hit(parts: dict[str, Any], expected: list[int]) -> None:
    assert hits(Rule(kind="never", **parts)) == expected


def test_a_share_is_about_that_share_and_repeats() -> None:
    rule = Rule(kind="never", share=0.25)
    assert 200 < len(hits(rule, 1000)) < 300
    assert hits(rule, 1000) == hits(rule, 1000)
    assert hits(rule, 1000) != hits(rule, 1000, seed=2)


def test_another_rule_does_not_move_what_this_one_hits() -> None:
    alone = Faults(ManualClock(), 1)
    crowded = Faults(ManualClock(), 1)
    alone.add(Rule(kind="never", share=0.5))
    crowded.add(Rule(kind="never", share=0.5))
    crowded.add(Rule(kind="reset_after", share=0.5))
    never = Rule(kind="never", share=0.5)
    one = [alone.pick("apns", "/", "") == never for _ in range(50)]
    two = [crowded.pick("apns", "/", "") == never for _ in range(50)]
    assert one == two


async def test_a_time_window(clock: ManualClock) -> None:
    faults = Faults(clock, 1)
    faults.add(Rule(kind="never", from_s=10, until_s=20))
    picked = []
    for _ in range(4):
        picked.append(faults.pick("apns", "/", "") is not None)
        await clock.advance(7)
    assert picked == [False, False, True, False]


def test_the_first_rule_that_hits_wins_and_the_second_counts_too() -> None:
    faults = Faults(ManualClock(), 1)
    faults.add(Rule(kind="never", times=1))
    faults.add(Rule(kind="reset_after"))
    kinds = [rule.kind for _ in range(2) if (rule := faults.pick("apns", "/", ""))]
    assert kinds == ["never", "reset_after"]
    assert [(armed.seen, armed.hits) for armed in faults.armed()] == [(2, 1), (2, 1)]


def test_rules_are_bounded() -> None:
    faults = Faults(ManualClock(), 1)
    for _ in range(RULES_MAX):
        faults.add(Rule(kind="never"))
    with pytest.raises(ValueError, match="more than"):
        faults.add(Rule(kind="never"))


@pytest.mark.parametrize(
    "parts", [{"share": 1.1}, {"every": 0}, {"first": 0}, {"kind": "vendor_code"}]
)
def test_a_rule_that_makes_no_sense(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"share|every|code"):
        Rule(**{"kind": "never", **parts})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_something(kind: Any) -> None:
    rule = Rule(kind=kind, code="X")
    assert rule.is_of_receipts == kind.startswith("receipt_")
    changes_answer = rule.is_of_receipts or kind in {
        "status",
        "vendor_code",
        "html_page",
        "truncated",
        "wrong_content_type",
    }
    assert changes_answer == (rule.effect is None)


def test_rules_of_receipts_leave_requests_alone_and_the_other_way_round(
    clock: ManualClock,
) -> None:
    faults = Faults(clock, 1)
    faults.add(Rule(kind="receipt_lost"))
    assert faults.pick("huawei", "/", "t") is None
    assert faults.pick_receipt("huawei", "/", "t") is not None
    faults.clear()
    faults.add(Rule(kind="status"))
    assert faults.pick_receipt("huawei", "/", "t") is None


def test_a_refused_stream_never_took_the_push() -> None:
    assert not Rule(kind="rst_stream", reset_code=7, accepted=True).takes_push
    assert Rule(kind="rst_stream", reset_code=2, accepted=True).takes_push
    assert not Rule(kind="goaway", goaway_offset=-1).takes_push
