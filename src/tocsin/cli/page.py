"""Makes docs/cli.md from the help of each command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from tocsin.cli.main import build

COLUMNS = 96

ABOUT = """# Command line

<!-- Made by `make docs` from the tables in the code. Edit those instead. -->

The help of every command (`tocsin <command> --help`) on one page."""


def page() -> str:
    """The whole page."""
    parts = [ABOUT]
    for words, text in helps():
        mark = "##" if words.count(" ") < 2 else "###"
        parts.append(f"{mark} `{words}`\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def helps() -> Iterator[tuple[str, str]]:
    """Each command's words and plain help, the whole first."""
    yield from _walk(typer.main.get_command(build(None)), "tocsin", None)


def _walk(command: Any, words: str, above: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command,
        info_name=words.rpartition(" ")[2],
        parent=above,
        terminal_width=COLUMNS,
        max_content_width=COLUMNS,
    )
    yield words, _plain(context.get_help())
    for name, inner in getattr(command, "commands", {}).items():
        yield from _walk(inner, f"{words} {name}", context)


def _plain(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if line or after
    )
