"""Asks before a command does what cannot be undone, and writes its result to a new file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import msgspec
import typer
from rich.markup import escape

from tocsin.cli.screen import EXIT_USAGE, CommandFault, Screen

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


def confirm(
    screen: Screen, question: str, *, is_sure: bool, keyboard: TextIO | None = None
) -> None:
    """Go on where `is_sure` or a person types y; else end the command, with nothing done.

    The answer comes from `keyboard`; by default from standard input.
    """
    if is_sure:
        return
    keyboard = keyboard or sys.stdin
    if screen.is_json or not keyboard.isatty():
        problem = "this cannot be undone, and nobody is there to be asked"
        screen.fail(CommandFault(problem, "say --yes", exit_code=EXIT_USAGE))
    screen.err.print(f"{escape(question)} \\[y/N] ", end="")
    if keyboard.readline().strip().lower() not in ("y", "yes"):
        screen.fail(CommandFault("nothing was done", "answer y, or say --yes"))


class NewFile:
    """A new file for one JSON value, which only its owner may read.

    It is created before the work begins, so that no result is lost because it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Raises `CommandFault` where the file exists or cannot be created."""
        self.path = path
        try:
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            problem = f"{path} exists"
            raise CommandFault(problem, "name a file that does not", exit_code=EXIT_USAGE) from None
        except OSError as fault:
            problem = f"{path} cannot be written: {fault.strerror}"
            raise CommandFault(problem, "name another file", exit_code=EXIT_USAGE) from fault

    def write(self, value: Any) -> None:
        """Write the value, durably, and close."""
        with os.fdopen(self._number, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def drop(self) -> None:
        """Remove the file: there is no result to write."""
        os.close(self._number)
        self.path.unlink()
