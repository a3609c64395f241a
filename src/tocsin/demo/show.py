"""What the demo puts on the screen: a bar per step, a table per push, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tocsin.clock import Clock
from tocsin.demo.cast import Moved
from tocsin.demo.checks import Evidence, Finding

LABEL_COLUMNS = 34


class Show:
    """Bars on a terminal, one plain line per step elsewhere."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._clock = clock
        self._started_at = clock.monotonic()

    def say(self, text: str) -> None:
        """A line of markup."""
        self.console.print(text)

    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return self._clock.monotonic() - self._started_at

    @contextmanager
    def step(self, label: str, total: int) -> Iterator[Moved]:
        """A step of `total` items; the body is given what to call as they get done."""
        began_at = self._clock.monotonic()
        if self.console.is_terminal:
            with self._bar() as bar:
                number = bar.add_task(escape(label), total=total)
                yield lambda count: bar.advance(number, count)
            return
        yield lambda _count: None
        spent_s = self._clock.monotonic() - began_at
        self.say(f"  {escape(label):<{LABEL_COLUMNS}} {total:>7,}  {spent_s:6.1f} s")

    def _bar(self) -> Progress:
        return Progress(
            TextColumn(f"  {{task.description:<{LABEL_COLUMNS}}}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )

    def table(self, evidence: Sequence[Evidence]) -> None:
        """One row a push; an overwrite stands below the push it replaced."""
        table = Table(title="What became of each push", title_justify="left", pad_edge=False)
        table.add_column("push", overflow="fold", min_width=12)
        for name in ("audience", "without device", "sent", "failed"):
            table.add_column(name, justify="right", overflow="fold")
        for name in ("in doubt", "expired", "recalled", "reached", "clicked", "repeated"):
            table.add_column(name, justify="right")
        for one in evidence:
            table.add_row(*_row(one))
            if one.overwrite is not None:
                table.add_row(*_row(one.overwrite))
        self.console.print()
        self.console.print(table)

    def verdict(self, findings: Sequence[Finding], checks: Mapping[str, int]) -> None:
        """Which checks held, and which did not and why."""
        self.console.print()
        for name, count in checks.items():
            wrong = [finding for finding in findings if finding.check == name]
            if wrong:
                self.say(f"  [bold red]FAILED[/] {name}")
                for finding in wrong:
                    self.say(f"         {escape(str(finding))}")
            else:
                self.say(f"  [green]held[/]   {name} [dim]({count:,} compared)[/]")

    def next_steps(self) -> None:
        """What to type now."""
        self.say(NEXT_STEPS)


NEXT_STEPS = """
[bold]What to try next[/] (each line can be pasted; [bold].venv/bin[/] holds [bold]tocsin[/])

  tocsin sandbox &
  tocsin serve --data data --port 8080 &
  tocsin app add 1400000001 --key demo-key --admin admin --profile unlimited --data data
  tocsin credential add apns --sandbox http://127.0.0.1:8090 --data data
  tocsin listen --data data --user ann &
  tocsin send --all --title "Hello" --desc "from Tocsin" --watch --data data

  tocsin demo --break wrong-bitmap     [dim]plants a fault; the checks above must catch it[/]
  tocsin --help"""


def _row(evidence: Evidence) -> list[str]:
    books = evidence.ledger
    states: Mapping[str, int] = books["states"]
    return [
        escape(evidence.act.label),
        f"{books['audience']:,}",
        _reasons(books["without_device"]),
        f"{states.get('sent', 0):,}",
        _failures(states.get("failed", 0), books["failures"]),
        *(f"{states.get(name, 0):,}" for name in ("in_doubt", "expired", "recalled")),
        *(f"{books[name]:,}" for name in ("reached", "clicked", "repeated")),
    ]


def _reasons(counts: Mapping[str, int]) -> str:
    lines = [f"{count:,} {reason}" for reason, count in sorted(counts.items())]
    return escape("\n".join(lines)) or "0"


def _failures(total: int, counts: Mapping[str, int]) -> str:
    if not total:
        return "0"
    return escape("\n".join(f"{count:,} {code}" for code, count in sorted(counts.items())))


def progress_of(task: Mapping[str, Any]) -> tuple[int, int]:
    """How many devices of a push are done, of how many planned."""
    books = task["ledger"]
    return books["planned"] - books["states"].get("open", 0), books["planned"]
