"""Secrets that a command is told: from a file, from standard input, or outright with a warning.

What stands in a command can be read by everyone on the machine while it runs, and stays in the
shell's history afterwards.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tocsin.cli.credential_files import read_value
from tocsin.cli.screen import EXIT_USAGE, Fault, Screen

SECRET_MAX_BYTES = 1 << 20
STANDARD_INPUT = "-"
HOW = "@FILE reads it from a file, - from standard input."
"""Said by the help of each such option."""


def read_told(text: str, option: str) -> str:
    """What is meant: the content of `@FILE`, what standard input says for `-`, or the text.

    Raises `Fault` for a file that cannot be read or is over a mebibyte.
    """
    if text == STANDARD_INPUT:
        return _from_standard_input(option)
    if not text.startswith("@"):
        return text
    try:
        return read_value(Path(text[1:]))
    except Fault as fault:
        raise Fault(f"{option}: {fault.what}", fault.advice, exit_code=EXIT_USAGE) from fault


def secret_of(screen: Screen, text: str, option: str, *, variable: str = "") -> str:
    """The same of a secret; one that stands in the command itself is warned of.

    One that the environment gives, in `variable`, does not stand there.
    """
    is_outright = text and text != STANDARD_INPUT and not text.startswith("@")
    if is_outright and os.environ.get(variable) != text:
        screen.note(
            f"[yellow]warning:[/] {option}: others on this machine can read what stands in a "
            "command, and the shell keeps it: give @FILE in its place, or - for standard input"
        )
    return read_told(text, option)


def _from_standard_input(option: str) -> str:
    raw = sys.stdin.buffer.read(SECRET_MAX_BYTES + 1)
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > SECRET_MAX_BYTES:
        what = f"{option}: standard input holds no text of at most a mebibyte"
        raise Fault(what, f"{option} @FILE reads a file", exit_code=EXIT_USAGE)
    return text
