"""The fold of a task's books: what late reports make of it."""

from __future__ import annotations

from typing import Any

import pytest
from pyroaring import BitMap

from tocsin.domain.message import Message
from tocsin.domain.outcome import State
from tocsin.domain.stats import Fold, TaskBooks, fold, ledger
from tocsin.domain.task import Block, BlockKind, Lane, Report, Stage, Task

TASK = Task(
    app=1, number=1, task_id="t", kind="push", lane=Lane.BULK, sender="admin",
    message=Message(title="t", desc="d"), accepted_at=0.0, expires_at=60.0, ttl_s=60,
)  # fmt: skip


def block(kind: BlockKind, state: str, members: list[int], channel: str = "") -> Block:
    packed = BitMap(members).serialize()
    return Block(task=1, job=1, at=1.0, kind=kind, state=state, channel=channel, members=packed)


def report(members: list[int], **changed: Any) -> Report:
    told: dict[str, Any] = {"stage": Stage.REACHED, "channel": "huawei", **changed}
    return Report(task=1, at=2, members=BitMap(members).serialize(), **told)


def books(*reports: Report) -> TaskBooks:
    """Device 1 was sent to by Huawei, 2 is in doubt there, 3 was sent to online."""
    blocks = [
        block("planned", "", [1, 2, 3]),
        block("device", State.SENT, [1], "huawei"),
        block("device", State.IN_DOUBT, [2], "huawei"),
        block("device", State.SENT, [3], "online"),
    ]
    return TaskBooks(TASK, BitMap([1, 2, 3]), blocks, reports, [])


def legs(sets: Fold) -> dict[str, list[int]]:
    return {channel: list(members) for channel, members in sets.legs.items()}


def test_without_a_word_from_the_vendor_doubt_is_no_leg() -> None:
    assert legs(fold(books())) == {"huawei": [1], "online": [3]}


@pytest.mark.evidence(
    "a doubt that a receipt ends is a leg of its vendor",
    topic="Command line and demo",
    planted="the legs left as they were",
)
@pytest.mark.parametrize(
    "told",
    [report([1, 2]), report([1, 2], stage=Stage.SENT, code="2"), report([2], stage=Stage.CLICKED)],
    ids=["arrived", "not shown", "clicked"],
)
def test_a_receipt_that_ends_a_doubt_tells_by_which_leg(told: Report) -> None:
    found = fold(books(told))
    assert list(found.states[State.SENT]) == [1, 2, 3]
    assert legs(found) == {"huawei": [1, 2], "online": [3]}
    assert ledger(books(told)).legs == {"huawei": 2, "online": 1}


def test_a_report_adds_no_leg_where_another_is_known() -> None:
    # The phone was reached over its connection and reports under its vendor's name.
    assert legs(fold(books(report([3])))) == {"huawei": [1], "online": [3]}
    acked = report([2], channel="online", stage=Stage.SENT)
    assert legs(fold(books(acked, report([2])))) == {"huawei": [1], "online": [2, 3]}
