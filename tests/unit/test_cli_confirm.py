"""What cannot be undone is asked for first, and its result has a place before it begins."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
import typer

from tocsin.cli.confirm import NewFile, confirm
from tocsin.cli.screen import EXIT_REFUSED, EXIT_USAGE, CommandFault, Screen

QUESTION = "Remove [bold]app[/] 5?"


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", ["y\n", "YES\n"])
def test_who_says_yes_goes_on(typed: str) -> None:
    confirm(Screen(is_json=False), QUESTION, is_sure=False, keyboard=Terminal(typed))


@pytest.mark.evidence(
    "what cannot be undone is asked for first, a script has to say `--yes`, and a receipt "
    "has its place before anything is erased",
    topic="Daily verbs",
    planted="any answer taken for yes; a file made with the default mode",
)
@pytest.mark.parametrize("typed", ["\n", "", "n\n", "maybe\n"])
def test_whoever_says_anything_else_does_not(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        confirm(Screen(is_json=False), QUESTION, is_sure=False, keyboard=Terminal(typed))
    assert ended.value.exit_code == EXIT_REFUSED
    told = capsys.readouterr().err
    assert "Remove [bold]app[/] 5? [y/N]" in told
    assert "nothing was done" in told


@pytest.mark.evidence(
    "what cannot be undone is asked for first, a script has to say `--yes`, and a receipt "
    "has its place before anything is erased",
)
@pytest.mark.parametrize("is_json", [True, False])
def test_a_script_has_to_say_so(*, is_json: bool) -> None:
    keyboard = Terminal("y\n") if is_json else io.StringIO("y\n")
    with pytest.raises(typer.Exit) as ended:
        confirm(Screen(is_json=is_json), QUESTION, is_sure=False, keyboard=keyboard)
    assert ended.value.exit_code == EXIT_USAGE
    confirm(Screen(is_json=is_json), QUESTION, is_sure=True, keyboard=keyboard)


@pytest.mark.evidence(
    "what cannot be undone is asked for first, a script has to say `--yes`, and a receipt "
    "has its place before anything is erased",
)
def test_a_new_file_is_its_owners_alone_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    NewFile(path).write({"a": 1})
    assert msgspec.json.decode(path.read_bytes()) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandFault, match="exists"):
        NewFile(path)
    with pytest.raises(CommandFault, match="cannot be written"):
        NewFile(tmp_path / "nowhere" / "receipt.json")
    other = NewFile(tmp_path / "other.json")
    other.drop()
    assert not other.path.exists()
