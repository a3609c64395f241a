"""The ids that name a delivery, and a task to vendors whose receipts name the whole list."""

from __future__ import annotations

from uuid import UUID

import pytest

from tocsin.channels.registry import VENDORS
from tocsin.pipeline.begin import batch_correlation, correlations, split_batch_correlation

KEY = b"k" * 32
APP, TASK = 1_400_000_001, 77
EXPECTED = [
    "0000004d-0000-0001-638b-f9723bee0d8f",
    "0000004d-0000-0002-b173-62aaf18dc00b",
    "0000004d-ffff-ffff-f0bc-64bd4151aeda",
]


@pytest.mark.evidence(
    "a delivery's id is the same in every attempt and release, and proves that we made it",
    topic="The laws",
    planted="one hash for all ids; the app left out of it",
)
def test_a_delivery_has_the_same_id_in_every_attempt_and_in_every_release() -> None:
    """Receipts and collapse ids of what was sent before an update must still fit."""
    named = correlations(KEY, APP, TASK)
    first = [named(device) for device in (1, 2, 2**32 - 1)]
    assert first == EXPECTED
    assert [correlations(KEY, APP, TASK)(device) for device in (1, 2, 2**32 - 1)] == first
    assert UUID(first[0]).bytes[:8] == TASK.to_bytes(4) + (1).to_bytes(4)


@pytest.mark.evidence(
    "a delivery's id is the same in every attempt and release, and proves that we made it",
)
def test_an_id_says_app_task_device_and_key() -> None:
    made = {
        correlations(key, app, task)(device)
        for key in (KEY, b"x" * 32)
        for app in (APP, APP + 1)
        for task in (TASK, TASK + 1)
        for device in (1, 2)
    }
    assert len({text[18:] for text in made}) == 16


def test_it_names_app_and_task_and_is_short_enough_for_every_vendor() -> None:
    for app, task in ((APP, TASK), (1, 1), (2**52 - 1, 2**32)):
        text = batch_correlation(KEY, app, task, "honor")
        assert split_batch_correlation(KEY, text, "honor") == (app, task)
        assert len(text) <= 40
        assert text.isascii()
        assert set(text) <= set("0123456789abcdef-")
    assert batch_correlation(KEY, APP, TASK, "honor") == batch_correlation(KEY, APP, TASK, "honor")


def test_nobody_else_can_make_one() -> None:
    text = batch_correlation(KEY, APP, TASK, "honor")
    assert split_batch_correlation(b"x" * 32, text, "honor") is None
    head, _, proof = text.rpartition("-")
    for forged in (
        batch_correlation(KEY, APP, TASK + 1, "honor").rpartition("-")[0] + "-" + proof,
        batch_correlation(KEY, APP + 1, TASK, "honor").rpartition("-")[0] + "-" + proof,
        head + "-" + "0" * 16,
    ):
        assert split_batch_correlation(KEY, forged, "honor") is None


@pytest.mark.parametrize("change", [str.upper, "0{}".format, "{}0".format, " {}".format])
def test_there_is_one_spelling_only(change: object) -> None:
    assert callable(change)
    text = change(batch_correlation(KEY, APP, TASK, "honor"))
    assert split_batch_correlation(KEY, text, "honor") is None


@pytest.mark.parametrize("text", ["", "-", "a-b", "1-1-1", "x" * 5000, "1-1-" + "é" * 16])
def test_what_is_no_id_is_none(text: str) -> None:
    assert split_batch_correlation(KEY, text, "honor") is None


@pytest.mark.evidence(
    "an id that one vendor was told opens no other's door",
    topic="Online",
    planted="the channel left out of the proof; a leg by any channel enough; ids of before "
    "an update refused",
)
def test_what_one_vendor_was_told_proves_nothing_to_another() -> None:
    names = [vendor.NAME for vendor in VENDORS]
    for made_for in names:
        text = batch_correlation(KEY, APP, TASK, made_for)
        believed = [it for it in names if split_batch_correlation(KEY, text, it) is not None]
        assert believed == [made_for]


@pytest.mark.evidence("an id that one vendor was told opens no other's door")
def test_an_id_from_before_it_named_the_vendor_is_still_believed() -> None:
    """As an earlier release made it for what was under way when it was updated."""
    text = "53724e01-4d-7f2c316b5294d15a"
    assert split_batch_correlation(KEY, text, "honor") == (APP, TASK)
    assert split_batch_correlation(KEY, text, "vivo") == (APP, TASK)
