"""`tocsin serve` and its configuration, and `tocsin version`."""

from __future__ import annotations

import asyncio
import signal
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import EXIT_USAGE, Fault, Json, Screen, run

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="TOCSIN_CONFIG",
        help="TOML file with settings; see tocsin.example.toml.",
        exists=True,
        dir_okay=False,
    ),
]


def version(*, is_json: Json = False) -> None:
    """Print the version."""
    screen = Screen(is_json=is_json)
    number = installed_version("tocsin")
    screen.result({"version": number}, lambda: screen.line(f"tocsin {number}"))
