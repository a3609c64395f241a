"""`tocsin reload`: does what SIGHUP does, and prints the result."""

from __future__ import annotations

import typer
from rich.markup import escape

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import (
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    START_SERVICE,
    CommandFault,
    Json,
    Screen,
    run,
)
from tocsin.client.operator import AdminSocket, admin_socket


def reload(*, data: Data = DEFAULT_DATA, is_json: Json = False) -> None:
    """Let a running service take changed settings, a renewed TLS certificate and a fresh log file.

    The command prints the settings that were taken and those that need a restart; nothing under way
    is interrupted. The service reads the file that it was started with. A wrong setting is printed
    and stays as it was: exit code 1.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        path = admin_socket(data)
        if path is None:
            problem = f"no service runs in the data folder {data}"
            raise CommandFault(problem, START_SERVICE, exit_code=EXIT_UNREACHABLE)
        async with AdminSocket(path) as operator:
            done = await operator.reload()

        def show() -> None:
            for name, mark in (("taken", "green"), ("needs_restart", "yellow"), ("wrong", "red")):
                for text in done[name]:
                    screen.line(f"[{mark}]{name.replace('_', ' ')}[/]  {escape(text)}")
            if not any(done.values()):
                screen.line("nothing has changed")

        screen.result(done, show)
        if done["wrong"]:
            raise typer.Exit(EXIT_REFUSED)

    run(screen, work())
