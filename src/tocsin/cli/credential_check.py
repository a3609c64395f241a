"""`tocsin credential check`: what the vendors themselves say of an app's credentials."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.credentials import AppOption, day_of, only_app
from tocsin.cli.operator import DEFAULT_DATA, Data, Operator, operator_of
from tocsin.cli.screen import EXIT_REFUSED, Json, Screen, run
from tocsin.client.json_http import Refused
from tocsin.errors import CallError


def credential_check(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[NUMBER]...", help="Certificate IDs; default: all of the app."),
    ] = None,
    *,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Ask each vendor whether it takes the credential, and say what to do where it does not.

    One push goes to a device that nobody has, as a test where the vendor has tests. Nothing is
    shown anywhere and nothing is changed. Ends with 1 unless all are good.

    good: the vendor knows us. wrong: it does not. refused: it does, but would not take what we
    send. unclear: it could not be asked.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            chosen = numbers or [
                it["number"] for it in await operator.credential_list(sdkappid) if it["is_enabled"]
            ]
            screen.note(f"[dim]asking about {len(chosen)} credentials …[/]")
            found = await asyncio.gather(*(check_one(operator, sdkappid, it) for it in chosen))
        screen.result(found, lambda: _show(screen, found))
        if any(it["verdict"] != "good" for it in found):
            raise typer.Exit(EXIT_REFUSED)

    run(screen, work())


async def check_one(operator: Operator, sdkappid: int, number: int) -> dict[str, Any]:
    """What the vendor says of a credential; one that cannot be asked about is `unclear`."""
    try:
        return await operator.credential_check(sdkappid, number)
    except (CallError, Refused) as fault:
        # One that does not open, or is gone, must not hide what is said of the others.
        return {"number": number, "verdict": "unclear", "code": str(fault.code), "said": fault.info}


def _show(screen: Screen, found: list[dict[str, Any]]) -> None:
    columns = ("NUMBER", "CHANNEL", "VERDICT", "CODE", "SAID", "EXPIRES")
    rows = [
        (
            it["number"],
            it.get("channel", ""),
            it["verdict"],
            it["code"],
            it["said"],
            day_of(it.get("expires_at")),
        )
        for it in found
    ]
    screen.table(columns, rows)
    for it in found:
        if it["verdict"] != "good" and it.get("advice"):
            screen.line(f"[bold]{it['number']}[/]: {escape(it['advice'])}")
