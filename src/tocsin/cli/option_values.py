"""Reads the values of options: from a file, from standard input, or from the command itself.

Everyone on the machine can read a command while it runs, and the shell's history keeps it. So a
secret in the command itself gets a warning.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tocsin.cli.credential_files import read_value
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Screen

SECRET_MAX_BYTES = 1 << 20
STANDARD_INPUT = "-"
VALUE_HELP = "@FILE reads it from a file, - from standard input."
"""The help of each such option ends in it."""


def read_option(text: str, option: str) -> str:
    """The value of an option: the content of `@FILE`, standard input for `-`, or the text itself.

    Raises `CommandFault` for a file that cannot be read or is over a mebibyte.
    """
    if text == STANDARD_INPUT:
        return _from_standard_input(option)
    if not text.startswith("@"):
        return text
    try:
        return read_value(Path(text[1:]))
    except CommandFault as fault:
        raise CommandFault(
            f"{option}: {fault.problem}", fault.advice, exit_code=EXIT_USAGE
        ) from fault


def read_secret(screen: Screen, text: str, option: str, *, variable: str = "") -> str:
    """The value of a secret option, with a warning where it stands in the command itself.

    A secret from the environment variable `variable` does not stand there.
    """
    is_outright = text and text != STANDARD_INPUT and not text.startswith("@")
    if is_outright and os.environ.get(variable) != text:
        screen.note(
            f"[yellow]warning:[/] {option}: others on this machine can read what stands in a "
            "command, and the shell keeps it: give @FILE in its place, or - for standard input"
        )
    return read_option(text, option)


def _from_standard_input(option: str) -> str:
    raw = sys.stdin.buffer.read(SECRET_MAX_BYTES + 1)
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > SECRET_MAX_BYTES:
        problem = f"{option}: standard input holds no text of at most a mebibyte"
        raise CommandFault(problem, f"{option} @FILE reads a file", exit_code=EXIT_USAGE)
    return text
