"""Runs every benchmark and prints one table: ours, what ran beside it, and the ratio.

    make bench                          everything, a few minutes
    make bench ARGS="--small"           the same on small numbers, under a minute
    make bench ARGS="--only vendors"        every vendor's row and nothing else
    make bench ARGS="--only push --json"

What each line measures, and the figures of one run: docs/figures.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import audience, books, push, tags, vendors
from benchmarks.harness import FULL, SMALL, Found, Row, Size, Tell

BENCHMARKS: dict[str, Callable[[Size, Tell], Found]] = {
    "audience": audience.run,
    "tags": tags.run,
    "push": push.run,
    "vendors": vendors.run,
    "books": books.run,
}


def run(names: list[str], size: Size, console: Console) -> Found:
    """Run the named benchmarks; what they do meanwhile is shown on `console`."""
    found = Found()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} benchmarks"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(names))

        def telling(name: str) -> Tell:
            return lambda text: progress.update(bar, description=escape(f"{name}: {text}"))

        for name in names:
            part = BENCHMARKS[name](size, telling(name))
            found.rows += part.rows
            found.remarks += part.remarks
            progress.advance(bar)
    return found


def table(found: Found) -> Table:
    """The rows as people read them."""
    shown = Table(title="Figures", title_justify="left", caption_justify="left")
    for heading in ("measure", "ours", "unit", "beside", "other", "ratio", "target"):
        is_number = heading in ("ours", "other", "ratio", "target")
        shown.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    for row in found.rows:
        shown.add_row(
            escape(row.measure),
            figure(row.ours),
            row.unit,
            escape(row.beside),
            figure(row.other),
            judged(row),
            row.target,
        )
    return shown


def figure(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def judged(row: Row) -> str:
    """The ratio, green where it meets its target and yellow where it does not."""
    text = figure(row.ratio)
    if row.goal is None:
        return text
    return f"[green]{text}[/]" if row.ratio >= row.goal else f"[yellow]{text}[/]"


def as_json(found: Found) -> bytes:
    """The rows for machines, with their ratios."""
    rows = [msgspec.to_builtins(row) | {"ratio": row.ratio} for row in found.rows]
    return msgspec.json.format(msgspec.json.encode({"rows": rows, "remarks": found.remarks}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--small", action="store_true", help="small numbers: does it run at all")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="run this alone")
    chosen = parser.parse_args()
    names = chosen.only or list(BENCHMARKS)
    found = run(names, SMALL if chosen.small else FULL, Console(stderr=True))
    if chosen.json:
        sys.stdout.buffer.write(as_json(found) + b"\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(found))
    for remark in found.remarks:
        console.print(escape(remark))
    console.print("What each line measures: docs/figures.md")


if __name__ == "__main__":
    main()
