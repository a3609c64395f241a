"""The list of who was erased, beside the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.adapters.erasures import FILE, FileErasures, read_erasures
from tocsin.clock import ManualClock
from tocsin.domain.erasure import erased_name
from tocsin.errors import StoreError

KEY = b"k" * 32


@pytest.mark.evidence("who was erased since the backup is erased again")
async def test_names_are_listed_as_keyed_hashes_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    clock = ManualClock()
    erasures = FileErasures(path, KEY, clock, 100.0)
    await erasures.note(1, ["ann", "bob"], clock.now())
    await erasures.note(2, [], clock.now())
    told = read_erasures(path)
    assert [(it.app, it.name, it.at) for it in told] == [
        (1, erased_name(KEY, 1, "ann"), clock.now()),
        (1, erased_name(KEY, 1, "bob"), clock.now()),
    ]
    assert b"ann" not in path.read_bytes()
    assert erased_name(KEY, 2, "ann") != told[0].name
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.evidence("who was erased since the backup is erased again")
async def test_a_line_that_a_crash_cut_off_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / FILE
    clock = ManualClock()
    await FileErasures(path, KEY, clock, 100.0).note(1, ["ann"], clock.now())
    with path.open("ab") as file:
        file.write(b'{"app":1,"na')
    assert len(read_erasures(path)) == 1
    await FileErasures(path, KEY, clock, 100.0).note(1, ["bob"], clock.now())
    assert [it.name for it in read_erasures(path)] == [
        erased_name(KEY, 1, "ann"),
        erased_name(KEY, 1, "bob"),
    ]


async def test_what_is_too_old_is_taken_out(tmp_path: Path) -> None:
    path, clock = tmp_path / FILE, ManualClock()
    await FileErasures(path, KEY, clock, 100.0).note(1, ["ann"], clock.now())
    await clock.advance(101.0)
    await FileErasures(path, KEY, clock, 100.0).note(1, ["bob"], clock.now())
    assert [it.name for it in read_erasures(path)] == [erased_name(KEY, 1, "bob")]


async def test_a_list_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    erasures = FileErasures(tmp_path / "gone" / FILE, KEY, ManualClock(), 100.0)
    with pytest.raises(StoreError, match="cannot be written down"):
        await erasures.note(1, ["ann"], 1.0)


def test_another_file_is_not_taken_for_a_list(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="no list of erasures"):
        read_erasures(tmp_path / FILE)
