"""The log in a file of its own: rotation, reopening, and who may read it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin import log


@pytest.fixture(autouse=True)
def logging_put_back() -> Iterator[None]:
    """Files are closed, and the run's own handlers are back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log.configure("info", json=False, stream=io.StringIO())
    root.handlers[:] = handlers
    root.setLevel(level)


def log_to(path: Path, max_bytes: int = 0, kept: int = 2) -> None:
    file = log.LogFile(path=str(path), max_bytes=max_bytes, kept=kept)
    log.configure("info", json=True, stream=io.StringIO(), file=file)


def say(count: int, word: str = "said") -> None:
    for number in range(count):
        log.get_logger("tocsin.test").info(word, number=number)


@pytest.mark.evidence(
    "a log file rotates by size, is its owner's alone, and is begun anew when it was renamed",
    topic="Settings, log and reload",
    planted="the size not compared; the mode left to the umask",
)
def test_a_file_gives_way_at_its_size_and_so_many_are_kept(tmp_path: Path) -> None:
    log_to(tmp_path / "log", max_bytes=300)
    say(40)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2"]
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 300 + 200, "one line over it at most"
    lines = [line for name in ("log.2", "log.1", "log") for line in _lines(tmp_path / name)]
    assert lines[-1].count('"number":39') == 1
    assert len(lines) < 40, "the oldest are gone"


def test_without_a_size_a_file_is_left_alone(tmp_path: Path) -> None:
    log_to(tmp_path / "log")
    say(40)
    assert len(_lines(tmp_path / "log")) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.evidence(
    "a log file rotates by size, is its owner's alone, and is begun anew when it was renamed",
)
def test_a_file_that_was_renamed_is_begun_anew_when_configured_again(tmp_path: Path) -> None:
    log_to(tmp_path / "log")
    say(1, "before")
    (tmp_path / "log").rename(tmp_path / "yesterday")
    say(1, "between")
    log_to(tmp_path / "log")
    say(1, "after")
    assert ["before" in line for line in _lines(tmp_path / "yesterday")] == [True, False]
    (line,) = _lines(tmp_path / "log")
    assert "after" in line


@pytest.mark.evidence(
    "a log file rotates by size, is its owner's alone, and is begun anew when it was renamed",
)
def test_only_its_owner_may_read_it_and_nothing_secret_is_in_it(tmp_path: Path) -> None:
    log_to(tmp_path / "log")
    log.get_logger("tocsin.test").info("got", token="canary", place="/x?usersig=canary")
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    assert "canary" not in (tmp_path / "log").read_text()


def test_a_file_that_cannot_be_opened_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    log_to(tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        log_to(tmp_path / "nowhere" / "log")
    say(1)
    assert len(_lines(tmp_path / "log")) == 1


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
