"""`tocsin demo`: runs the demo."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from tocsin.cli.screen import EXIT_REFUSED, EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.clock import SystemClock
from tocsin.demo.processes import DemoFault
from tocsin.demo.run import FAULTS, DemoResult, run_demo
from tocsin.demo.world import SMALL, Sizes

NARROW = 112
"""Columns the table of the demo needs; a pipe gets as many."""


def demo(
    *,
    broken: Annotated[
        str,
        typer.Option(
            "--break",
            metavar="NAME",
            help=f"Inject a fault into the service, to see it caught: {', '.join(FAULTS)}.",
        ),
    ] = "",
    small: Annotated[
        bool, typer.Option("--small", help="A twentieth of the size: for tests.")
    ] = False,
    is_json: Json = False,
) -> None:
    """Run the service's main job on real protocols, and check every book.

    The demo starts a sandbox and a service of its own on loopback, imports 10,000 accounts and
    registers 9,200 devices with every vendor (200 of them on WebSockets). It pushes to all, by
    tags, by attributes and by list, and recalls one push half way. Then it compares the books with
    the logs and receipts of the vendors. Exit code 0 means that every check held.
    """
    screen = Screen(is_json=is_json)
    if broken and broken not in FAULTS:
        fault = CommandFault(
            f"no fault is called {broken!r}", f"one of: {', '.join(FAULTS)}", exit_code=EXIT_USAGE
        )
        screen.fail(fault)
    results: list[DemoResult] = []

    async def work() -> None:
        console = _console(screen)
        try:
            sizes = SMALL if small else Sizes()
            results.append(await run_demo(console, SystemClock(), sizes, fault=broken))
        except DemoFault as fault:
            raise CommandFault(str(fault), "the lines above are the end of its own log") from fault

    run(screen, work())
    if is_json:
        screen.json(_as_json(results[0]))
    if not results[0].is_right:
        raise typer.Exit(EXIT_REFUSED)


def _console(screen: Screen) -> Console:
    """The console for people: stderr where stdout is for machines, and never too narrow."""
    console = screen.err if screen.is_json else screen.out
    if not console.is_terminal and console.width < NARROW:
        console.width = NARROW
    return console


def _as_json(outcome: DemoResult) -> dict[str, Any]:
    return {
        "is_right": outcome.is_right,
        "findings": [
            {"check": it.check, "push": it.where, "what": it.problem} for it in outcome.findings
        ],
        "pushes": [{"push": it.plan.label, "ledger": it.ledger} for it in outcome.evidence],
        "vendors": msgspec.to_builtins(outcome.rows),
        "online": msgspec.to_builtins(outcome.online),
    }
