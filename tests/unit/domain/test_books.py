"""A task's books: what late reports make of them, and that they can be taken in piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from tests.task_books import WholeBooks
from tocsin.domain.books import Books, Lines, TaskSets, merge_blocks
from tocsin.domain.message import Message
from tocsin.domain.outcome import RANK, State
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


def books(*reports: Report) -> WholeBooks:
    """Device 1 was sent to by Huawei, 2 is in doubt there, 3 was sent to online."""
    blocks = [
        block("planned", "", [1, 2, 3]),
        block("device", State.SENT, [1], "huawei"),
        block("device", State.IN_DOUBT, [2], "huawei"),
        block("device", State.SENT, [3], "online"),
    ]
    return WholeBooks(TASK, BitMap([1, 2, 3]), blocks, reports, [])


def legs(sets: TaskSets) -> dict[str, list[int]]:
    return {channel: list(members) for channel, members in sets.legs.items()}


def test_without_a_word_from_the_vendor_doubt_is_no_leg() -> None:
    assert legs(books().sets) == {"huawei": [1], "online": [3]}


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
    found = books(told).sets
    assert list(found.states[State.SENT]) == [1, 2, 3]
    assert legs(found) == {"huawei": [1, 2], "online": [3]}
    assert books(told).ledger.legs == {"huawei": 2, "online": 1}


def test_a_report_adds_no_leg_where_another_is_known() -> None:
    # The phone was reached over its connection and reports under its vendor's name.
    assert legs(books(report([3])).sets) == {"huawei": [1], "online": [3]}
    acked = report([2], channel="online", stage=Stage.SENT)
    assert legs(books(acked, report([2])).sets) == {"huawei": [1], "online": [2, 3]}


MEMBERS = st.lists(st.integers(1, 12), max_size=4)
BLOCKS = st.one_of(
    st.builds(
        block,
        st.just("device"),
        st.sampled_from([each for each in State if each is not State.OPEN]),
        MEMBERS,
        st.sampled_from(["", "apns", "online"]),
    ),
    st.builds(
        block,
        st.sampled_from(["planned", "repeated", "shortened", "doubted"]),
        st.just(""),
        MEMBERS,
        st.sampled_from(["", "apns"]),
    ),
    st.builds(block, st.just("account"), st.sampled_from(["with devices", "no device"]), MEMBERS),
)
REPORTS = st.builds(
    report,
    MEMBERS,
    stage=st.sampled_from([*Stage]),
    channel=st.sampled_from(["apns", "online"]),
    code=st.sampled_from(["0", "0", "7"]),
)
PIECES = st.lists(st.tuples(st.lists(BLOCKS, max_size=3), st.lists(REPORTS, max_size=3)))


def lines_of(blocks: list[Block], reports: list[Report], position: int = 1) -> Lines:
    return Lines(task=TASK, blocks=blocks, reports=reports, position=position, is_last=True)


@pytest.mark.evidence(
    "books taken in piece by piece are those taken in at once",
    topic="Books",
    planted="the sets that were there left out of a union",
)
@given(PIECES)
def test_books_taken_in_piece_by_piece_are_those_taken_in_at_once(
    pieces: list[tuple[list[Block], list[Report]]],
) -> None:
    books = Books()
    before = dict(books.sets)
    for position, (blocks, reports) in enumerate(pieces, 1):
        kept = {key: BitMap(members) for key, members in books.sets.items()}
        grown = books.take(lines_of(blocks, reports, position))
        # Whoever still reads the former books sees no change in them.
        assert books.sets == kept
        assert grown.position == position
        books = grown
    blocks = [each for blocks, _ in pieces for each in blocks]
    reports = [each for _, reports in pieces for each in reports]
    assert books.sets == Books().take(lines_of(blocks, reports)).sets
    # Lines that come again change nothing, merged ones neither.
    assert books.take(lines_of(merge_blocks(blocks), reports)).sets == books.sets
    assert before == {}


@given(PIECES)
def test_each_device_stands_where_the_lines_about_it_say(
    pieces: list[tuple[list[Block], list[Report]]],
) -> None:
    """One device at a time, by the rules as they are told: beside the sets, which take all."""
    blocks = [each for blocks, _ in pieces for each in blocks]
    reports = [each for _, reports in pieces for each in reports]
    sets = WholeBooks(TASK, BitMap(), blocks, reports, []).sets
    for device in range(1, 13):
        about = [it for it in blocks if device in BitMap.deserialize(it.members)]
        said = [it for it in reports if device in BitMap.deserialize(it.members)]
        is_planned = any(it.kind == "planned" for it in about)
        booked = {State(it.state) for it in about if it.kind == "device"}
        if is_planned and any(it.code != "0" or it.stage is not Stage.SENT for it in said):
            booked.add(State.SENT)
        expected = max(booked, key=lambda state: RANK[state], default=None)
        states = [state for state, members in sets.states.items() if device in members]
        assert len(states) == bool(booked)
        assert not states or RANK[states[0]] == RANK[expected or State.OPEN]
        arrived = [it for it in said if it.code == "0" and it.stage is not Stage.SENT]
        assert (device in sets.reached) == bool(arrived)
        assert (device in sets.clicked) == any(it.stage is Stage.CLICKED for it in arrived)
        assert (device in sets.repeated) == any(it.kind == "repeated" for it in about)
        lost = any(it.code != "0" for it in said) and not arrived
        assert any(device in members for members in sets.undelivered.values()) == lost
