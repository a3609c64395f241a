"""`tocsin task recall`: recalls a push."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.cli.target import AppId, As, Ca, ServiceTarget, Sig, Url, connect
from tocsin.client.rest import notice

WITHDRAWAL = {"PushFlag": 1}
"""The message of a recall that shows nothing in the place of the push."""


def task_recall(
    task_id: Annotated[str, typer.Argument(metavar="TASKID", help="What the push answered.")],
    *,
    title: Annotated[str, typer.Option(help="Show this in the place of the push.")] = "",
    desc: Annotated[str, typer.Option(help="Text below that title.")] = "",
    data: Data = DEFAULT_DATA,
    url: Url = "",
    app: AppId = 0,
    identifier: As = "",
    usersig: Sig = "",
    ca: Ca = None,
    is_json: Json = False,
) -> None:
    """Recall a push of the last 24 hours: within a second the service begins no more sends.

    With --title the shown notifications are overwritten. Without it they are withdrawn where the
    vendor can (HarmonyOS, Web Push) and from connected devices; elsewhere they stay.
    """
    screen = Screen(is_json=is_json)
    if desc and not title:
        screen.fail(CommandFault("--desc needs --title", "--title TEXT", exit_code=EXIT_USAGE))
    target = ServiceTarget(
        data=data, url=url, sdkappid=app, identifier=identifier, usersig=usersig, ca=ca
    )

    async def work() -> None:
        async with connect(target) as client:
            await client.revoke(task_id, notice(title, desc) if title else WITHDRAWAL)
        result = {"task_id": task_id, "is_overwritten": bool(title)}
        screen.result(result, lambda: screen.line(f"recalled {task_id}"))
        screen.note(f"[dim]next:[/]  tocsin task show {task_id} --data {data}")

    run(screen, work())
