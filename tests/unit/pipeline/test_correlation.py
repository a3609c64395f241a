"""The id that names a task to vendors whose receipts name the whole list."""

from __future__ import annotations

import pytest

from tocsin.pipeline.begin import batch_correlation, split_batch_correlation

KEY = b"k" * 32
APP, TASK = 1_400_000_001, 77


def test_it_names_app_and_task_and_is_short_enough_for_every_vendor() -> None:
    for app, task in ((APP, TASK), (1, 1), (2**52 - 1, 2**32)):
        text = batch_correlation(KEY, app, task)
        assert split_batch_correlation(KEY, text) == (app, task)
        assert len(text) <= 40
        assert text.isascii()
        assert set(text) <= set("0123456789abcdef-")
    assert batch_correlation(KEY, APP, TASK) == batch_correlation(KEY, APP, TASK)


def test_nobody_else_can_make_one() -> None:
    text = batch_correlation(KEY, APP, TASK)
    assert split_batch_correlation(b"x" * 32, text) is None
    head, _, proof = text.rpartition("-")
    for forged in (
        batch_correlation(KEY, APP, TASK + 1).rpartition("-")[0] + "-" + proof,
        batch_correlation(KEY, APP + 1, TASK).rpartition("-")[0] + "-" + proof,
        head + "-" + "0" * 16,
    ):
        assert split_batch_correlation(KEY, forged) is None


@pytest.mark.parametrize("change", [str.upper, "0{}".format, "{}0".format, " {}".format])
def test_there_is_one_spelling_only(change: object) -> None:
    assert callable(change)
    assert split_batch_correlation(KEY, change(batch_correlation(KEY, APP, TASK))) is None


@pytest.mark.parametrize("text", ["", "-", "a-b", "1-1-1", "x" * 5000, "1-1-" + "é" * 16])
def test_what_is_no_id_is_none(text: str) -> None:
    assert split_batch_correlation(KEY, text) is None
