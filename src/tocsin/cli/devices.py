"""`tocsin device`: lists, shows and unregisters devices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.credentials import AppOption, only_app
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run

COLUMNS = ("NUMBER", "REGISTRATION ID", "USER", "CHANNEL", "CONNECTED", "REGISTERED", "LAST SEEN")

RegistrationId = Annotated[
    str, typer.Argument(metavar="REGISTRATIONID", help="What the registration answered.")
]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)]
After = Annotated[
    int,
    typer.Option(metavar="NUMBER", help="Only numbers above this one; for the next page.", min=0),
]


def row_of(device: Mapping[str, Any]) -> tuple[object, ...]:
    """A device as a row of a table, without its token."""
    route, seen_at = device["route"], device["seen_at"]
    return (
        device["number"],
        device["registration_id"],
        device["user_name"],
        "" if route is None else f"{route['channel']} {route['credential']}",
        device["is_connected"],
        device["is_registered"],
        f"{dt.datetime.fromtimestamp(seen_at, dt.UTC):%Y-%m-%d %H:%M}" if seen_at else "",
    )


def device_list(
    *,
    user: Annotated[
        str, typer.Option("--user", metavar="USERID", help="Only devices of this account.")
    ] = "",
    after: After = 0,
    limit: Limit = 100,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """List devices, of the whole app or of one account, without their tokens.

    Longer lists go on with --after, which the last line names.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            if user:
                account = await operator.account_show(sdkappid, user)
                page: dict[str, Any] = {"devices": account["devices"], "next": None}
            else:
                page = await operator.device_list(sdkappid, after, limit)
        screen.result(page, lambda: screen.table(COLUMNS, map(row_of, page["devices"])))
        note_next(screen, page)

    run(screen, work())


def note_next(screen: Screen, page: Mapping[str, Any]) -> None:
    """Print the option that shows the next page."""
    if page["next"] is not None:
        screen.note(f"[dim]more:[/]  --after {page['next']}")


def device_show(
    registration_id: RegistrationId,
    *,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Show one device: its user, its tokens, its model and versions, and whether it is online."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            device = await operator.device_show(app or await only_app(operator), registration_id)

        def show() -> None:
            facts = dict(device)
            route = facts.pop("route") or {}
            screen.facts(facts | {f"route {name}": value for name, value in route.items()})

        screen.result(device, show)

    run(screen, work())


def device_unregister(
    registration_id: RegistrationId,
    *,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Stop pushes to a device until it registers again: drop its tokens and its connection.

    The app on the device may register it again with its secret. To erase the device, delete its
    account: tocsin account delete REGISTRATIONID.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            gone = await operator.device_unregister(sdkappid, registration_id)
        screen.result(gone, lambda: screen.line(f"unregistered {escape(registration_id)}"))

    run(screen, work())
