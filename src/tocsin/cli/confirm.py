"""Asks before what cannot be undone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import msgspec
import typer
from rich.markup import escape

from tocsin.cli.screen import EXIT_USAGE, Fault, Screen

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


def confirm(
    screen: Screen, question: str, *, is_sure: bool, keyboard: TextIO | None = None
) -> None:
    """Go on where `is_sure` or a person types y; else end the command, with nothing done.

    `keyboard` is where the answer comes from, standard input where none is told.
    """
    if is_sure:
        return
    keyboard = keyboard or sys.stdin
    if screen.is_json or not keyboard.isatty():
        what = "this cannot be undone, and nobody is there to be asked"
        screen.fail(Fault(what, "say --yes", exit_code=EXIT_USAGE))
    screen.err.print(f"{escape(question)} \\[y/N] ", end="")
    if keyboard.readline().strip().lower() not in ("y", "yes"):
        screen.fail(Fault("nothing was done", "answer y, or say --yes"))


class NewFile:
    """A file for one JSON value that only its owner may read. It is made before the work begins,
    so that a result is never without a place.
    """

    def __init__(self, path: Path) -> None:
        """Raises `Fault` where there is one already, or none can be made."""
        self.path = path
        try:
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            what = f"{path} exists"
            raise Fault(what, "name a file that does not", exit_code=EXIT_USAGE) from None
        except OSError as fault:
            what = f"{path} cannot be written: {fault.strerror}"
            raise Fault(what, "name another file", exit_code=EXIT_USAGE) from fault

    def write(self, value: Any) -> None:
        """Write the value, durably, and close."""
        with os.fdopen(self._number, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def drop(self) -> None:
        """There was nothing to write."""
        os.close(self._number)
        self.path.unlink()
