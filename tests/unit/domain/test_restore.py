"""What a restored database goes on from."""

from __future__ import annotations

import pytest

from tocsin.domain.restore import (
    GAPS,
    SHORT,
    SHORT_MAX,
    GenerationView,
    Restored,
    begin_generation,
    with_gap,
)

GIVEN = dict.fromkeys(GAPS, 5)


@pytest.mark.parametrize("noun", GAPS)
def test_two_hundred_restores_leave_room_for_more(noun: str) -> None:
    last = 1_000_000
    for _ in range(200):
        after = with_gap(noun, last)
        assert after - last == GAPS[noun]
        last = after
    assert noun not in SHORT or last < SHORT_MAX


def test_near_the_end_half_of_what_is_left_is_taken() -> None:
    assert with_gap("task", SHORT_MAX - 1000) == SHORT_MAX - 500
    assert with_gap("task", SHORT_MAX) == SHORT_MAX


@pytest.mark.evidence("no number of the lost time is given again")
def test_numbers_of_a_later_history_are_not_met_either() -> None:
    known = {1: {**GIVEN, "task": 2**25}}
    edit = begin_generation(100.0, 50.0, known=known)(GenerationView(None, {1: GIVEN, 2: GIVEN}))
    assert edit.numbers[1]["task"] == 2**25 + GAPS["task"]
    assert edit.numbers[1]["account"] == 5 + GAPS["account"]
    assert edit.numbers[2]["task"] == 5 + GAPS["task"]
    assert edit.restored == Restored(
        generation=1, at=100.0, backup_at=50.0, last_tasks={1: 5, 2: 5}
    )


def test_generations_go_on_from_the_highest_known() -> None:
    former = Restored(generation=3, at=1.0, backup_at=0.0, last_tasks={})
    assert begin_generation(9, 5)(GenerationView(former, {})).restored.generation == 4
    edit = begin_generation(9, 5, generation=7)(GenerationView(former, {}))
    assert edit.restored.generation == 8
    assert edit.restored.is_held
