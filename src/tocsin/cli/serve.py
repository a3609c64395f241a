"""`tocsin serve` and its configuration, and `tocsin version`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from tocsin.api.declared_apps import read_apps
from tocsin.cli.screen import EXIT_REFUSED, Json, Screen, run
from tocsin.cli.signals import Hangups, stop_on_signals
from tocsin.config import Config, load, read
from tocsin.config import show as show_tree
from tocsin.service.opening import NO_INTERCEPTORS, Interceptors
from tocsin.service.running import serve as serve_config
from tocsin.service.tls import unusable_files
from tocsin.settings import WrongSetting

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
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", file_okay=False, help="Folder of everything durable. Default: data."),
]

BAR_MIN = 20_000
"""From so many devices on an upgrade of the data shows a bar: it takes a second or more."""


def serve(
    *,
    data: DataFolder = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0: any free one. Default: 8080.", min=0, max=65535)
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Address to listen on, more than once for several; :: is every one, IPv4 and "
            "IPv6. Default: 127.0.0.1."
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="PEM certificate chain: speak HTTPS."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="PEM private key of the certificate."),
    ] = None,
    config: ConfigFile = None,
    is_json: Json = False,
) -> None:
    """Run the service. It needs one process and one folder.

    The service prints its address and runs until Ctrl-C or SIGTERM. Then it takes no more calls,
    waits up to server.drain_s seconds for answers of vendors, and ends; a second signal ends it at
    once. SIGHUP does what `tocsin reload` does: it takes changed settings, a renewed certificate
    and a new log file. Options win over the environment (TOCSIN_SERVER_PORT, …), the environment
    over the file.
    """
    options = {
        "server.port": port,
        "server.host": host or None,
        "server.tls_cert": None if tls_cert is None else str(tls_cert),
        "server.tls_key": None if tls_key is None else str(tls_key),
    }
    run_service(Screen(is_json=is_json), lambda: load_config(config, data, options))


def run_service(
    screen: Screen,
    read_config: Callable[[], Config],
    interceptors: Interceptors = NO_INTERCEPTORS,
) -> None:
    """Run the service until a signal ends it. `read_config` is called again at every reload."""
    hangups = Hangups()

    async def work() -> None:
        reload_asked = hangups.attach()
        settings = read_config()
        ended = stop_on_signals()

        def started(status: Mapping[str, Any]) -> None:
            show_started(screen, status, settings)

        with contextlib.ExitStack() as stack:
            bar = _UpgradeBar(screen, stack)
            await serve_config(
                settings,
                started=started,
                ended=ended,
                progress=bar.show,
                reread=read_config,
                reload_asked=reload_asked,
                interceptors=interceptors,
            )

    try:
        run(screen, work(), is_server=True)
    finally:
        hangups.ignore()


class _UpgradeBar:
    """A progress bar on a terminal while an upgrade of the data runs, if that takes long."""

    def __init__(self, screen: Screen, stack: contextlib.ExitStack) -> None:
        self._screen = screen
        self._stack = stack
        self._bar: Progress | None = None

    def show(self, done: int, total: int) -> None:
        is_terminal = self._screen.err.is_terminal and not self._screen.is_json
        if total < BAR_MIN or not is_terminal:
            return
        if self._bar is None:
            columns = (TextColumn("checking stored tokens"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=self._screen.err, transient=True)
            self._stack.enter_context(self._bar)
            self._bar.add_task("", total=total)
        self._bar.update(TaskID(0), completed=done)
        if done >= total:
            self._bar.stop()


def show_started(screen: Screen, status: Mapping[str, Any], settings: Config) -> None:
    """Print the service's address, and the next command where there is no app yet."""

    def show() -> None:
        urls = " and ".join(f"[bold]{escape(url)}[/]" for url in status["urls"])
        screen.line(f"listening on {urls}  [dim]data in {settings.data}[/]")
        if not status["apps"]:
            screen.note(
                f"[dim]next:[/]  tocsin app add 1400000001 --admin admin --data {settings.data}"
            )

    screen.result({**status, "data": settings.data}, show)


def check_config(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="TOML file to check."),
    ] = None,
    *,
    is_json: Json = False,
) -> None:
    """Print everything that is wrong with a configuration, setting by setting.

    Each fault has its value (secrets masked), the allowed values and the nearest name of a setting.
    Exit code 0 means that nothing is wrong. The command reads the environment (TOCSIN_…) as `serve`
    does, and checks the files that are named: certificates, keys, credentials.
    """
    screen = Screen(is_json=is_json)
    config, faults = read(file=file, environment=os.environ)
    faults += [*unusable_files(config), *read_apps(config.apps, os.environ)[1]]

    def show() -> None:
        for fault in faults:
            screen.line(f"[red]wrong[/]  {escape(str(fault))}")
        if not faults:
            screen.line("nothing wrong")

    screen.result({"faults": [_as_json(fault) for fault in faults]}, show)
    if faults:
        raise typer.Exit(EXIT_REFUSED)


def _as_json(fault: WrongSetting) -> dict[str, str]:
    return {"text": str(fault), **msgspec.to_builtins(fault)}


def show_config(
    *, data: DataFolder = None, config: ConfigFile = None, is_json: Json = False
) -> None:
    """Print the settings in force, secrets masked.

    Defaults, file and environment together make them.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        tree = show_tree(load_config(config, data, {}))
        screen.result(tree, lambda: screen.facts(dict(_flat(tree, ""))))

    run(screen, work())


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def load_config(file: Path | None, data: Path | None, options: Mapping[str, object]) -> Config:
    """The settings from defaults, file, environment and options; raises `ConfigError`."""
    given = {path: value for path, value in options.items() if value is not None}
    return load(data=data, file=file, environment=os.environ, options=given)


def version(*, is_json: Json = False) -> None:
    """Print the version."""
    screen = Screen(is_json=is_json)
    number = _version_number()
    screen.result({"version": number}, lambda: screen.line(f"tocsin {number}"))


def print_version(is_asked: bool) -> None:  # noqa: FBT001 as option callbacks are called
    """Print the version for `--version`, and end."""
    if is_asked:
        typer.echo(f"tocsin {_version_number()}")
        raise typer.Exit


def _version_number() -> str:
    try:
        return installed_version("tocsin")
    except PackageNotFoundError:
        return "of a source tree that is not installed"
