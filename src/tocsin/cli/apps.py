"""`tocsin app list`, `show` and `names`, and `tocsin usersig`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.cli.app_add import SdkAppId
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import Json, Screen, run


def app_list(*, data: Data = DEFAULT_DATA, is_json: Json = False) -> None:
    """List the apps."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            apps = await operator.app_list()
        rows = [(it["sdkappid"], it["profile"], it["admins"], _enabled(it)) for it in apps]
        columns = ("SDKAPPID", "PROFILE", "ADMINISTRATORS", "ENABLED")
        screen.result(apps, lambda: screen.table(columns, rows))

    run(screen, work())


def _enabled(app: Mapping[str, Any]) -> object:
    return "being removed" if app["is_being_removed"] else app["is_enabled"]


def app_show(sdkappid: SdkAppId, *, data: Data = DEFAULT_DATA, is_json: Json = False) -> None:
    """Show one app, with the client key (appKey) that its devices register with."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            app = await operator.app_show(sdkappid)
        screen.result(app, lambda: screen.facts(app))

    run(screen, work())


def app_names(
    sdkappid: SdkAppId,
    *,
    prefix: Annotated[
        str, typer.Option(help="Which UserIDs begin so? Default: the app's own prefix.")
    ] = "",
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """List RegistrationIDs that devices chose, and UserIDs that begin with the prefix.

    A chosen RegistrationID of at most 32 bytes bars the UserID of the same name: no import takes
    it. account_delete with that name removes the device and frees it.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            listing = await operator.app_names(sdkappid, prefix)
        screen.result(listing, lambda: _show_names(screen, listing))

    run(screen, work())


def _show_names(screen: Screen, listing: Mapping[str, Any]) -> None:
    names, users = listing["names"], listing["user_ids"]
    if names:
        columns = ("REGISTRATION ID", "BARS THE USER ID", "WITH PREFIX", "LOGGED IN", "LAST SEEN")
        rows = [
            (it["registration_id"], it["bars_user_id"], it["has_prefix"], it["user"], _seen(it))
            for it in names
        ]
        screen.table(columns, rows)
    if users:
        screen.table(
            (f"USER IDS THAT BEGIN WITH {listing['prefix']}",), [(name,) for name in users]
        )
    prefix = listing["own_registration_ids"]
    switch = f"devices may choose names that begin with {prefix}" if prefix else "no new ones"
    screen.note(
        f"[dim]{listing['own']} chosen RegistrationIDs ({escape(switch)}), "
        f"{listing['conflicts']} UserIDs in conflict; the first of each are listed[/]"
    )


def _seen(shown: Mapping[str, Any]) -> str:
    at = shown["seen_at"]
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M}" if at else ""


def usersig(
    sdkappid: SdkAppId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Administrator or UserID.")],
    *,
    expire_s: Annotated[int, typer.Option(help="Seconds it lasts.", min=1)] = 180 * 86_400,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Make a UserSig, with which an administrator or a user signs in.

    The UserSig stands alone on its line, so that a shell can take it.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sig = await operator.usersig(sdkappid, name, expire_s)
        result = {"sdkappid": sdkappid, "identifier": name, "usersig": sig}
        screen.result(result, lambda: screen.line(escape(sig)))

    run(screen, work())
