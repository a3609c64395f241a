"""`tocsin backup` and `tocsin restore`."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from tocsin.adapters.vault import parse_keys
from tocsin.cli.app_keys import read_key
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.clock import SystemClock
from tocsin.config import load
from tocsin.service.restoring import RestoredFolder, RestorePlan
from tocsin.service.restoring import restore as restore_folder

KEEP_APART = "the secret key is in no backup: keep DATA/secret.key and DATA/erasures.log elsewhere"


class _Bar:
    """A progress bar on a terminal, which disappears when the work is done."""

    def __init__(self, screen: Screen, stack: contextlib.ExitStack, text: str) -> None:
        self._bar: Progress | None = None
        if screen.err.is_terminal and not screen.is_json:
            columns = (TextColumn(text), BarColumn(), TaskProgressColumn())
            self._bar = Progress(*columns, console=screen.err, transient=True)
            stack.enter_context(self._bar)
            self._bar.add_task("", total=None)

    def show(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(TaskID(0), completed=done, total=max(total, 1))


BackupFolder = Annotated[
    Path | None, typer.Argument(metavar="DIR", file_okay=False, help="Folder of a backup.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        dir_okay=False,
        allow_dash=True,
        help="The secret.key of the folder that was backed up, or - for standard input. "
        "Default: that of the data folder, or TOCSIN_SECRET_KEY.",
    ),
]


def backup(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", file_okay=False, help="New folder for the backup, outside of the data."
        ),
    ],
    *,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Write a backup, while the service goes on or without one.

    The backup has everything that was answered before. It is complete once its backup.json exists;
    an incomplete backup is never restored. The restored service builds the index again. The backup
    does not have the secret key.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        with contextlib.ExitStack() as stack:
            bar = _Bar(screen, stack, "copying")
            async with operator_of(data) as operator:
                done = await operator.backup(str(folder.absolute()), bar.show)

        def show() -> None:
            screen.facts({**done, "backup_at": _moment(done["backup_at"])})
            screen.note(f"\n[dim]note:[/]  {escape(KEEP_APART.replace('DATA', str(data)))}")

        screen.result(done, show)

    run(screen, work())


def restore(
    folder: BackupFolder = None,
    *,
    key: KeyFile = None,
    replaces: Annotated[
        bool,
        typer.Option("--replace", help="Move aside the database that is there, and keep it."),
    ] = False,
    erasures: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="List of erasures. Default: erasures.log of the data folder."
        ),
    ] = None,
    settle: Annotated[
        bool,
        typer.Option(
            "--settle", help="End the pushes that the backup had open: nobody gets one twice."
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Send those again that the backup had open; they count as repeated."
        ),
    ] = False,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Restore a backup into a data folder; then decide about the pushes that the backup had open.

    A restored service is held: it answers and accepts calls, and sends nothing until
    `tocsin restore --settle` or `tocsin restore --resume`. Accounts that were erased since the
    backup are erased again. New TaskIds and certificate IDs are above all that were given.
    """
    screen = Screen(is_json=is_json)
    if [folder is not None, settle, resume].count(True) != 1:
        problem = "name a backup to restore, or say what becomes of the pushes it had open"
        advice = "tocsin restore DIR --data NEW, or --settle, or --resume"
        screen.fail(CommandFault(problem, advice, exit_code=EXIT_USAGE))

    async def end_hold() -> None:
        async with operator_of(data) as operator:
            done = await operator.hold_end("settle" if settle else "resume")
        screen.result(done, lambda: _show_end(screen, done))

    async def put_back() -> None:
        assert folder is not None
        plan = RestorePlan(
            backup=folder,
            keys=_given_keys(key),
            erasures=erasures,
            replaces=replaces,
        )
        config = load(data=data, environment=os.environ)
        with contextlib.ExitStack() as stack:
            bar = _Bar(screen, stack, "restoring")
            done = await restore_folder(plan, config, SystemClock(), bar.show)
        screen.result(msgspec.structs.asdict(done), lambda: _show_restored(screen, done))

    run(screen, end_hold() if folder is None else put_back())


def _given_keys(path: Path | None) -> list[bytes]:
    if path is None:
        return []
    try:
        return parse_keys(read_key(path), str(path))
    except ValueError as fault:
        problem, advice = (
            f"--key-file: {fault}",
            "the file secret.key of the folder that was backed up",
        )
        raise CommandFault(problem, advice, exit_code=EXIT_USAGE) from fault


def _show_restored(screen: Screen, done: RestoredFolder) -> None:
    screen.facts({**msgspec.structs.asdict(done), "backup_at": _moment(done.backup_at)})
    screen.note(
        f"\n[dim]next:[/]  tocsin serve --data {escape(done.data)}   (answers, and sends nothing)"
        f"\n       tocsin restore --settle --data {escape(done.data)}   (or --resume)"
    )


def _show_end(screen: Screen, done: Mapping[str, Any]) -> None:
    result = "ended" if done["how"] == "settle" else "sent again"
    screen.line(f"the hold is over: {done['tasks']} pushes of before the backup are {result}")


def _moment(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
