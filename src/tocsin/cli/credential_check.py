"""`tocsin credential check`: asks the vendors about an app's credentials."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.credentials import AppOption, day_of, only_app
from tocsin.cli.operator import DEFAULT_DATA, Data, OperatorActions, operator_of
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
    """Ask each vendor whether it accepts the credential, and say what to do where it does not.

    One push goes to a device that does not exist, as a test push where the vendor has them. No
    device shows anything and nothing is changed. Exit code 1 unless all are good.

    good: the vendor accepts the credential. wrong: the vendor does not. refused: the vendor accepts
    the credential but not the push. unclear: the vendor could not be asked.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            chosen = numbers or [
                it["number"] for it in await operator.credential_list(sdkappid) if it["is_enabled"]
            ]
            screen.note(f"[dim]asking about {len(chosen)} credentials …[/]")
            verdicts = await asyncio.gather(*(check_one(operator, sdkappid, it) for it in chosen))
        screen.result(verdicts, lambda: _show(screen, verdicts))
        if any(it["verdict"] != "good" for it in verdicts):
            raise typer.Exit(EXIT_REFUSED)

    run(screen, work())


async def check_one(operator: OperatorActions, sdkappid: int, number: int) -> dict[str, Any]:
    """The vendor's verdict on a credential; `unclear` where the vendor cannot be asked."""
    try:
        return await operator.credential_check(sdkappid, number)
    except (CallError, Refused) as fault:
        # A credential that cannot be opened must not hide the verdicts on the others.
        return {"number": number, "verdict": "unclear", "code": str(fault.code), "said": fault.info}


def _show(screen: Screen, verdicts: list[dict[str, Any]]) -> None:
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
        for it in verdicts
    ]
    screen.table(columns, rows)
    for it in verdicts:
        if it["verdict"] != "good" and it.get("advice"):
            screen.line(f"[bold]{it['number']}[/]: {escape(it['advice'])}")
