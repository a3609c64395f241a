"""`tocsin account`: lists an app's accounts, and shows, exports and erases one person's data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.confirm import NewFile, Yes, confirm
from tocsin.cli.credentials import AppOption, only_app
from tocsin.cli.devices import COLUMNS, After, Limit, note_next, row_of
from tocsin.cli.operator import DEFAULT_DATA, Data, OperatorActions, operator_of
from tocsin.cli.screen import Json, Screen, run

Name = Annotated[str, typer.Argument(metavar="NAME", help="UserID, or RegistrationID of a device.")]


def account_list(
    *,
    after: After = 0,
    limit: Limit = 100,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """List accounts: UserIDs and the RegistrationIDs of devices, in the order they came.

    Longer lists go on with --after, which the last line names.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            page = await operator.account_list(sdkappid, after, limit)
        rows = [
            (it["number"], it["name"], it["kind"], it["devices"], it["connected"], it["tags"])
            for it in page["accounts"]
        ]
        columns = ("NUMBER", "NAME", "KIND", "DEVICES", "CONNECTED", "TAGS")
        screen.result(page, lambda: screen.table(columns, rows))
        note_next(screen, page)

    run(screen, work())


def account_show(
    name: Name, *, app: AppOption = 0, data: Data = DEFAULT_DATA, is_json: Json = False
) -> None:
    """Show one account: its tags, its attributes and its devices."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            account = await operator.account_show(app or await only_app(operator), name)

        def show() -> None:
            screen.facts({key: it for key, it in account.items() if key != "devices"})
            if account["devices"]:
                screen.line("")
                screen.table(COLUMNS, map(row_of, account["devices"]))

        screen.result(account, show)

    run(screen, work())


def account_delete(
    name: Name,
    *,
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write to this new file what was erased, and what is kept and why."
        ),
    ] = None,
    is_sure: Yes = False,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Erase an account with its tags, attributes and devices, and cut their connections.

    The REST call account_delete does the same. An administrator's account is refused. The receipt
    names the person by a keyed hash only. A person who logs in with a UserSig that is still valid
    comes back, as a new account.
    """
    screen = Screen(is_json=is_json)
    confirm(screen, f"Erase {name} and every device of it?", is_sure=is_sure)

    async def work() -> None:
        file = None if receipt is None else NewFile(receipt)
        erasure: dict[str, Any] | None = None
        try:
            async with operator_of(data) as operator:
                erasure = await operator.account_delete(app or await only_app(operator), name)
        finally:
            if file is not None and erasure is None:
                file.drop()
        if file is not None:
            file.write(erasure)
        screen.result(erasure, lambda: _show_erased(screen, name, erasure or {}, receipt))

    run(screen, work())


def _show_erased(
    screen: Screen, name: str, erasure: Mapping[str, Any], receipt: Path | None
) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in erasure["erased"].items())
    screen.line(f"erased {escape(name)}: {counts}")
    if receipt is None:
        screen.note("[dim]a receipt lists what is kept and why: --receipt FILE, or --json[/]")
    else:
        screen.note(f"[dim]receipt:[/] {escape(str(receipt))}")


def account_export(
    name: Name,
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it to this new file, which only you may read."),
    ] = None,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Export everything that is kept about an account, for the person who asks for it.

    The JSON has the account, its devices with their tokens, and the pushes for them with the result
    of each. With --out the command prints how much was written; else the JSON goes to stdout.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        file = None if out is None else NewFile(out)
        export: dict[str, Any] | None = None
        try:
            async with operator_of(data) as operator:
                export = await _exported(operator, app or await only_app(operator), name)
        finally:
            if file is not None and export is None:
                file.drop()
        if file is None:
            screen.json(export)
            return
        file.write(export)
        assert export is not None
        counts = {
            "file": str(out),
            "devices": len(export["account"]["devices"]),
            "pushes": len(export["pushes"]),
        }
        screen.result(counts, lambda: screen.facts(counts))

    run(screen, work())


async def _exported(operator: OperatorActions, sdkappid: int, name: str) -> dict[str, Any]:
    """All pages of an export, joined."""
    export = await operator.account_export(sdkappid, name)
    before = export.pop("next")
    while before is not None:
        page = await operator.account_export(sdkappid, name, before)
        export["pushes"] += page["pushes"]
        before = page["next"]
    return export
