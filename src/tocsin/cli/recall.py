"""`tocsin task recall`: takes a push back."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import EXIT_USAGE, Fault, Json, Screen, run
from tocsin.cli.target import AppId, As, Ca, Sig, Target, Url, connect
from tocsin.client.rest import notice

WITHDRAWAL = {"PushFlag": 1}
"""Shows nothing instead."""


def task_recall(
    task_id: Annotated[str, typer.Argument(metavar="TASKID", help="What the push answered.")],
    *,
    title: Annotated[str, typer.Option(help="Show this instead, where it was shown.")] = "",
    desc: Annotated[str, typer.Option(help="What that says below the title.")] = "",
    data: Data = DEFAULT_DATA,
    url: Url = "",
    app: AppId = 0,
    identifier: As = "",
    usersig: Sig = "",
    ca: Ca = None,
    is_json: Json = False,
) -> None:
    """Recall a push of the last 24 hours: nothing of it begins later than a second after.

    With --title what was shown is overwritten. Without, it is withdrawn where the vendor can
    (HarmonyOS, Web Push), taken off connected devices, and stays where it was shown elsewhere.
    """
    screen = Screen(is_json=is_json)
    if desc and not title:
        screen.fail(Fault("--desc needs --title", "--title TEXT", exit_code=EXIT_USAGE))
    target = Target(data=data, url=url, sdkappid=app, identifier=identifier, usersig=usersig, ca=ca)

    async def work() -> None:
        async with connect(target) as client:
            await client.revoke(task_id, notice(title, desc) if title else WITHDRAWAL)
        told = {"task_id": task_id, "is_overwritten": bool(title)}
        screen.result(told, lambda: screen.line(f"recalled {task_id}"))
        screen.note(f"[dim]next:[/]  tocsin task show {task_id} --data {data}")

    run(screen, work())
