"""The service that a command calls, and the caller: from options, or from the data folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct
from msgspec.structs import replace

from tocsin.cli.option_values import VALUE_HELP, read_option
from tocsin.cli.screen import EXIT_USAGE, CommandFault
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client

USERSIG_S = 3600
"""Seconds for which a command's own UserSig is valid: commands are short."""

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="TOCSIN_URL", help="Base URL of the service; default: ask the data folder."
    ),
]
AppId = Annotated[
    int,
    typer.Option(
        "--app",
        envvar="TOCSIN_APP",
        metavar="SDKAPPID",
        show_default=False,
        help="Which app; default: the only one there is.",
    ),
]
As = Annotated[
    str,
    typer.Option(
        "--as", envvar="TOCSIN_IDENTIFIER", help="Administrator to call as; default: the first."
    ),
]
Sig = Annotated[
    str,
    typer.Option(
        "--usersig",
        envvar="TOCSIN_USERSIG",
        help=f"UserSig of that administrator; else made. {VALUE_HELP}",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="TOCSIN_CA",
        exists=True,
        dir_okay=False,
        help="PEM file to trust instead of the system's.",
    ),
]


class ServiceTarget(Struct, frozen=True, kw_only=True):
    """The service and the caller, as the options name them; empty members are looked up."""

    data: Path
    url: str = ""
    sdkappid: int = 0
    identifier: str = ""
    usersig: str = ""
    ca: Path | None = None


@asynccontextmanager
async def connect(target: ServiceTarget) -> AsyncIterator[Client]:
    """A client for the target; the running service completes the options that are empty."""
    target = replace(target, usersig=read_option(target.usersig, "--usersig"))
    if not (target.url and target.sdkappid and target.identifier and target.usersig):
        target = await _complete(target)
    async with Client(
        target.url,
        target.sdkappid,
        target.identifier,
        usersig=target.usersig,
        ca_file=target.ca,
    ) as client:
        yield client


async def find(target: ServiceTarget) -> tuple[str, dict[str, Any]]:
    """The base URL of the running service, and the app as its operator sees it."""
    async with _admin(target) as admin:
        url = target.url or str((await admin.status())["url"])
        return url, await _app(admin, target.sdkappid)


async def _complete(target: ServiceTarget) -> ServiceTarget:
    async with _admin(target) as admin:
        url = target.url or str((await admin.status())["url"])
        app = await _app(admin, target.sdkappid)
        admins = app["admins"]
        if not target.identifier and not admins:
            raise CommandFault(
                f"app {app['sdkappid']} has no administrator",
                f"tocsin app add {app['sdkappid']} --admin NAME --data {target.data}",
            )
        identifier = target.identifier or str(admins[0])
        usersig = target.usersig or await admin.usersig(app["sdkappid"], identifier, USERSIG_S)
    return ServiceTarget(
        data=target.data,
        url=url,
        sdkappid=app["sdkappid"],
        identifier=identifier,
        usersig=usersig,
        ca=target.ca,
    )


def _admin(target: ServiceTarget) -> AdminSocket:
    path = admin_socket(target.data)
    if path is None and not target.data.is_dir():
        raise CommandFault(
            f"the data folder {target.data} does not exist",
            "name the one of the running service with --data, or another service with "
            "--url --app --as --usersig",
        )
    if path is None:
        raise CommandFault(
            f"no service is running on the data folder {target.data}",
            f"tocsin serve --data {target.data} --port 8080   (or name another service with "
            "--url --app --as --usersig)",
        )
    return AdminSocket(path)


async def _app(admin: AdminSocket, sdkappid: int) -> dict[str, Any]:
    if sdkappid:
        return await admin.app_show(sdkappid)
    apps = await admin.app_list()
    if not apps:
        raise CommandFault(
            "there is no app yet", "tocsin app add 1400000001 --admin admin --data DIR"
        )
    if len(apps) > 1:
        numbers = ", ".join(str(app["sdkappid"]) for app in apps)
        raise CommandFault(
            f"there are several apps: {numbers}", "name one: --app", exit_code=EXIT_USAGE
        )
    return await admin.app_show(apps[0]["sdkappid"])
