"""`tocsin send`, `tocsin task show` and `tocsin task list`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from tocsin.cli.credentials import stopped_text
from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.cli.target import AppId, As, Ca, ServiceTarget, Sig, Url, connect
from tocsin.client.rest import Client, Pushed, audience_of, condition, notice, without_device
from tocsin.clock import SystemClock

POLL_S = 0.25
AUDIENCE_POLL_S = 0.05
AUDIENCE_TRIES = 100
"""Five seconds: the service finds the audience of a push in milliseconds."""
NOBODY_ADVICE = (
    "tocsin account list shows the accounts; the calls add_tag and set_attr give them tags"
)
FUNNEL_COLUMNS = 32


def send(
    *,
    title: Annotated[str, typer.Option(help="Title of the notification.")],
    desc: Annotated[str, typer.Option(help="Text below the title.")] = "",
    ext: Annotated[str, typer.Option(help="Text handed through to the app; best a JSON.")] = "",
    to_all: Annotated[bool, typer.Option("--all", help="To every account of the app.")] = False,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="To accounts with any of these tags; may repeat."),
    ] = None,
    tag_and: Annotated[
        list[str] | None,
        typer.Option("--and", metavar="TAG", help="Only those with this tag too; may repeat."),
    ] = None,
    tag_not: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TAG", help="Not those with this tag; may repeat."),
    ] = None,
    attr: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only those with this attribute; may repeat."),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ACCOUNT", help="To this account; may repeat, 500 at most."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the push until it has ended.")
    ] = False,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    app: AppId = 0,
    identifier: As = "",
    usersig: Sig = "",
    ca: Ca = None,
    is_json: Json = False,
) -> None:
    """Push to everyone, by tags, by attributes, or to listed accounts.

    Name the audience with --all, with --tag, --and, --not and --attr, or with --to. Exit code 1
    where the audience is empty.
    """
    screen = Screen(is_json=is_json)
    target = ServiceTarget(
        data=data, url=url, sdkappid=app, identifier=identifier, usersig=usersig, ca=ca
    )
    asked = condition(
        tags_or=tag or (), tags_and=tag_and or (), tags_not=tag_not or (), attrs_and=_pairs(attr)
    )
    if [bool(to_all), bool(asked), bool(to)].count(True) != 1:
        ways = "--all, or --tag/--and/--not/--attr, or --to ACCOUNT"
        problem = "say whom the push is for, in one way"
        screen.fail(CommandFault(problem, ways, exit_code=EXIT_USAGE))

    async def work() -> None:
        async with connect(target) as client:
            info = notice(title, desc, ext=ext)
            if to:
                pushed = await client.batch(to, info)
            else:
                pushed = await client.push(info, asked)
            _show_pushed(screen, pushed, data)
            if watch:
                await _watch(screen, client, pushed.task_id)
            if await _is_for_nobody(client, pushed.task_id):
                raise CommandFault("nobody is in the audience of this push", NOBODY_ADVICE)

    run(screen, work())


async def _is_for_nobody(client: Client, task_id: str) -> bool:
    """Whether the frozen audience is empty; False if the service does not freeze it in time."""
    clock = SystemClock()
    for _ in range(AUDIENCE_TRIES):
        task = await client.task(task_id)
        if task["phase"] != "indexing":
            return not task["audience_size"]
        await clock.sleep(AUDIENCE_POLL_S)
    return False


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--attr")
        pairs[name] = value
    return pairs


def _show_pushed(screen: Screen, pushed: Pushed, data: Path) -> None:
    def show() -> None:
        screen.line(f"accepted: [bold]{pushed.task_id}[/]")
        for fault in pushed.failures:
            screen.line(f"  left out: {escape(fault.account)} ({fault.code} {fault.info})")
        screen.note(f"[dim]next:[/]  tocsin task show {pushed.task_id} --data {data}")

    failures = [{"account": it.account, "code": it.code, "info": it.info} for it in pushed.failures]
    screen.result({"task_id": pushed.task_id, "failures": failures}, show)


def task_show(
    task_id: Annotated[str, typer.Argument(metavar="TASKID", help="What the push answered.")],
    *,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    app: AppId = 0,
    identifier: As = "",
    usersig: Sig = "",
    ca: Ca = None,
    is_json: Json = False,
) -> None:
    """Follow a push: a progress bar while it runs, then its results and the reasons of losses.

    With --json and on a pipe the command prints the push and its books as they are, and does not
    wait.
    """
    screen = Screen(is_json=is_json)
    target = ServiceTarget(
        data=data, url=url, sdkappid=app, identifier=identifier, usersig=usersig, ca=ca
    )

    async def work() -> None:
        async with connect(target) as client:
            if is_json:
                screen.json(await client.task(task_id))
            elif not screen.out.is_terminal:
                screen.out.print(_picture(await client.task(task_id)))
            else:
                await _watch(screen, client, task_id)

    run(screen, work())


def task_list(
    *,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20,
    data: Data = DEFAULT_DATA,
    url: Url = "",
    app: AppId = 0,
    identifier: As = "",
    usersig: Sig = "",
    ca: Ca = None,
    is_json: Json = False,
) -> None:
    """List pushes, the newest first."""
    screen = Screen(is_json=is_json)
    target = ServiceTarget(
        data=data, url=url, sdkappid=app, identifier=identifier, usersig=usersig, ca=ca
    )

    async def work() -> None:
        async with connect(target) as client:
            tasks = await client.tasks(limit=limit)
        rows = [
            (it["task_id"], it["kind"], it["phase"], it["audience_size"], it["title"])
            for it in tasks
        ]
        columns = ("TASKID", "KIND", "PHASE", "AUDIENCE", "TITLE")
        screen.result(tasks, lambda: screen.table(columns, rows))

    run(screen, work())


async def _watch(screen: Screen, client: Client, task_id: str) -> None:
    """Redraw the push until it has ended; on a pipe draw it once, at its end."""
    clock = SystemClock()
    task = await client.task(task_id)
    with contextlib.ExitStack() as stack:
        live: Live | None = None
        if screen.out.is_terminal and not screen.is_json:
            live = Live(_picture(task), console=screen.out, refresh_per_second=8)
            stack.enter_context(live)
        while task["phase"] != "done":
            await clock.sleep(POLL_S)
            task = await client.task(task_id)
            if live is not None:
                live.update(_picture(task))
    if screen.is_json:
        screen.json(task)
    elif live is None:
        screen.out.print(_picture(task))


def _picture(task: Mapping[str, Any]) -> Group:
    """One push: its progress bar, its funnel, and the losses with their reasons."""
    books = task["ledger"]
    states = books["states"]
    done = books["planned"] - states.get("open", 0)
    bar = Progress(
        TextColumn(f"[bold]{escape(task['phase'])}[/]"),
        BarColumn(bar_width=FUNNEL_COLUMNS),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} devices"),
    )
    bar.add_task("", total=max(books["planned"], 1), completed=done)
    funnel = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    funnel.add_column()
    funnel.add_column(justify="right")
    funnel.add_column()
    for name, count in _steps(books):
        width = round(FUNNEL_COLUMNS * count / max(audience_of(books), 1))
        funnel.add_row(name, f"{count:,}", "[green]" + "▇" * width + "[/]")
    for name, count in losses_of(books):
        funnel.add_row(f"[dim]{escape(name)}[/]", f"[dim]{count:,}[/]", "")
    faults = [f"[bold red]books:[/] {escape(fault)}" for fault in books["faults"]]
    stopped = [
        f"[yellow]waits for {escape(it['channel'])} {it['credential']}:[/] "
        f"{escape(stopped_text(it))}"
        for it in task.get("stopped", ())
    ]
    return Group(bar, funnel, *stopped, *faults)


def _steps(books: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [
        ("audience", audience_of(books)),
        ("with devices", books["with_devices"]),
        ("sent", books["states"].get("sent", 0)),
        ("reached", books["reached"]),
        ("clicked", books["clicked"]),
    ]


def losses_of(books: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The losses of a push with their reasons, the largest first within each kind."""
    without = sorted(without_device(books).items(), key=lambda pair: -pair[1])
    losses = [(f"without device: {reason}", count) for reason, count in without]
    for state, count in books["states"].items():
        if count and state not in ("sent", "failed"):
            losses.append((f"device {state.replace('_', ' ')}", count))
    failed = sorted(books["failures"].items(), key=lambda pair: -pair[1])
    losses += [(f"failed: {reason}", count) for reason, count in failed]
    if books["repeated"]:
        losses.append(("repeated", books["repeated"]))
    # A service of an earlier version does not count them.
    if books.get("shortened"):
        losses.append(("text shortened", books["shortened"]))
    return losses
