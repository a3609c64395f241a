"""Prints the demo: a bar for each step, a table of the pushes, one of the vendors, the verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tocsin.client.rest import audience_of, without_device
from tocsin.clock import Clock
from tocsin.demo.evidence import Evidence, FailedCheck
from tocsin.demo.provision import Advance
from tocsin.demo.rows import OnlineRow, VendorRow
from tocsin.demo.verdict import CHECKS

LABEL_COLUMNS = 34
LABEL_MIN = 24
GAP = 2
"""Columns between two columns of a table."""


class Display:
    """Prints to the console: bars on a terminal, a plain line for each step elsewhere."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._clock = clock
        self._started_at = clock.monotonic()

    def say(self, text: str) -> None:
        """Print a line of markup."""
        self.console.print(text)

    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return self._clock.monotonic() - self._started_at

    @contextmanager
    def step(self, label: str, total: int) -> Iterator[Advance]:
        """Show a step of `total` items; the body calls the yielded function as items are done."""
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

    def pushes(self, pushes: Sequence[Evidence]) -> None:
        """Print a column for each push; an overwrite stands beside the push that it replaced."""
        table = Table(
            box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title="Results of each push"
        )
        # In a narrow window the labels are cut, and the figures stay whole.
        figures = sum(len(one.plan.name) + GAP for one in pushes)
        room = max(LABEL_MIN, self.console.width - figures - GAP)
        table.add_column("", no_wrap=True, overflow="ellipsis", max_width=room)
        for one in pushes:
            name = escape(one.plan.name)
            table.add_column(name, justify="right", overflow="fold", min_width=len(one.plan.name))
        for label, counts in _rows([one.ledger for one in pushes]):
            table.add_row(label, *map(_cell, counts))
        self.console.print()
        self.console.print(table)
        self.say(f"  [dim]{AUDIENCE}[/]\n")

    def vendors(self, rows: Sequence[VendorRow], online: OnlineRow) -> None:
        """Print a row for each vendor, their sums, and the row of the connected devices."""
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            title="Results of all pushes at each vendor, and online",
        )
        table.add_column("", no_wrap=True)
        for title in COLUMNS:
            word = max(title.split(), key=len)
            table.add_column(title, justify="right", min_width=len(word))
        table.add_column("devices a call", justify="right")
        for row in rows:
            counts = [_cell(getattr(row, name)) for name in COLUMNS.values()]
            table.add_row(escape(row.vendor), *counts, _fullness(row))
        table.add_section()
        totals = [sum(getattr(row, name) for row in rows) for name in COLUMNS.values()]
        table.add_row("all vendors", *map(_cell, totals), "", style="bold")
        counts = [_cell(getattr(online, name, 0)) for name in COLUMNS.values()]
        table.add_row("online", *counts, "\N{EN DASH}")
        self.console.print(table)
        silent = ", ".join(row.vendor for row in rows if not row.reports)
        facts = {
            "silent": silent,
            "both": f"{online.with_token:,} of the {online.devices:,}",
            "all": f"{sum(row.devices for row in rows) + online.devices - online.with_token:,}",
        }
        for title, meaning in LEGEND:
            self.say(f"  [dim]{title}: {meaning.format_map(facts)}[/]")

    def verdict(self, findings: Sequence[FailedCheck], compared: Mapping[str, int]) -> None:
        """Print which checks held, and which did not and why."""
        self.console.print()
        for name, meaning in CHECKS.items():
            wrong = [finding for finding in findings if finding.check == name]
            if wrong:
                self.say(f"  [bold red]FAILED[/] {name}")
                for finding in wrong:
                    self.say(f"         {escape(str(finding))}")
            else:
                count = f"[dim]({compared[name]:,} compared)[/]"
                self.say(f"  [green]held[/]   {name:<11} {meaning} {count}")

    def next_steps(self) -> None:
        """Print commands to try next."""
        self.say(NEXT_STEPS.format(folder=escape(str(Path(sys.executable).parent))))


NEXT_STEPS = """
[bold]What to try next[/] (each line can be pasted)

  export PATH="{folder}:$PATH"
  tocsin sandbox & sleep 2
  tocsin serve --data data --port 8080 & sleep 2
  tocsin app add 1400000001 --admin admin --profile unlimited --data data
  tocsin credential add apns --sandbox http://127.0.0.1:8090 --data data
  tocsin listen --data data --user ann & sleep 2
  tocsin send --all --title "Hello" --desc "from Tocsin" --watch --data data

  tocsin demo --break wrong-bitmap     [dim]injects a fault; the checks above must catch it[/]
  tocsin --help"""


COLUMNS = {
    "devices": "devices",
    "sent": "sent",
    "refused": "refused",
    "app removed": "removed",
    "in doubt": "in_doubt",
    "reached": "reached",
    "put off": "put_off",
    "calls": "calls",
}
"""Heading to the figure of a vendor's row."""

AUDIENCE = "audience: accounts, the administrator's too; a device counts with whoever uses it"

LEGEND = (
    ("devices", "{both} online have a token, too, and stand at their vendor as well: {all} in all"),
    ("sent", "taken by the vendor; a device counts once for each push"),
    ("refused", "the vendor says that the token is dead; it is dropped"),
    ("app removed", "taken, and then a receipt says that the app is gone; the token is dropped"),
    ("in doubt", "asked for, and no answer came, or none was waited for once it was recalled"),
    ("reached", "reported by receipts or by the devices; no receipts come from {silent}"),
    ("put off", 'calls that the vendor answered with "later"'),
    ("online", "devices over their own connections"),
    ("devices a call", "of all pushes on average, small ones too, and how many the vendor takes"),
)


def _cell(count: int) -> str:
    return f"{count:,}" if count else "[dim]·[/]"


def _fullness(row: VendorRow) -> str:
    """Devices in each list, of how many it may have; a dash for vendors without lists."""
    if row.devices_max == 1:
        return "\N{EN DASH}"
    return f"{row.devices_a_call:,.0f} of {row.devices_max:,}"


def _rows(ledgers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[int]]]:
    """Every figure of the pushes: a label, and a count for each push."""

    def plain(name: str) -> list[int]:
        return [ledger[name] for ledger in ledgers]

    def parts(member: str, name: str) -> list[int]:
        return [ledger[member].get(name, 0) for ledger in ledgers]

    def names(member: str) -> list[str]:
        return sorted({name for ledger in ledgers for name in ledger[member]})

    yield "[bold]audience[/]", [audience_of(ledger) for ledger in ledgers]
    without = [without_device(ledger) for ledger in ledgers]
    yield "  without device", [sum(reasons.values()) for reasons in without]
    for reason in sorted({reason for reasons in without for reason in reasons}):
        yield f"    {escape(reason)}", [reasons.get(reason, 0) for reasons in without]
    yield "  with devices", plain("with_devices")
    yield "[bold]devices[/]", plain("planned")
    yield "  sent", parts("states", "sent")
    yield "  failed", parts("states", "failed")
    for code in names("failures"):
        yield f"    {escape(code)}", parts("failures", code)
    for state in ("in_doubt", "expired", "recalled", "unreachable"):
        yield f"  {state.replace('_', ' ')}", parts("states", state)
    for name in ("reached", "clicked"):
        yield f"[bold]{name}[/]", plain(name)
    yield "[bold]not shown[/]", [sum(ledger["undelivered"].values()) for ledger in ledgers]
    for code in names("undelivered"):
        yield f"  {escape(code)}", parts("undelivered", code)
    yield "[bold]may come twice[/]", plain("repeated")


def progress_of(task: Mapping[str, Any]) -> tuple[int, int]:
    """The number of devices of a push that are done, and the number planned."""
    books = task["ledger"]
    return books["planned"] - books["states"].get("open", 0), books["planned"]
