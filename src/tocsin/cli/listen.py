"""`tocsin listen`: runs a device in the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.option_values import VALUE_HELP, read_option
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.cli.target import USERSIG_S, AppId, Ca, ServiceTarget, Url, find
from tocsin.client.device import DeviceClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp
from tocsin.client.operator import AdminSocket, admin_socket


class SavedDevice(msgspec.Struct):
    """What `--keep` saves, so that the next run is the same device."""

    registration_id: str = ""
    secret: str = ""


def listen(
    *,
    user: Annotated[
        str, typer.Option(help="Log this UserID in; default: device level, no user.")
    ] = "",
    usersig: Annotated[
        str,
        typer.Option(envvar="TOCSIN_USERSIG", help=f"The user's UserSig; else made. {VALUE_HELP}"),
    ] = "",
    appkey: Annotated[
        str,
        typer.Option(
            envvar="TOCSIN_APPKEY", help=f"The app's client key; else asked for. {VALUE_HELP}"
        ),
    ] = "",
    language: Annotated[str, typer.Option(help="The device's language.")] = "en",
    keep: Annotated[
        Path | None, typer.Option(help="Remember the RegistrationID in this file.")
    ] = None,
    ack: Annotated[bool, typer.Option(help="Ack each push that arrives.")] = True,
    click: Annotated[bool, typer.Option(help="Click each push that arrives.")] = False,
    count: Annotated[int, typer.Option(help="End after so many pushes; 0: never.", min=0)] = 0,
    url: Url = "",
    app: AppId = 0,
    ca: Ca = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Run a device in the terminal, and show the pushes that arrive.

    The device registers on the online channel, acks each push, and stays until Ctrl-C.
    """
    screen = Screen(is_json=is_json)
    target = ServiceTarget(data=data, url=url, sdkappid=app, ca=ca)

    async def work() -> None:
        sig, client_key = read_option(usersig, "--usersig"), read_option(appkey, "--appkey")
        base_url, identity = await _identity(target, user, sig, client_key)
        identity.facts = {"language": language, "platform": "PC"}
        _restore_identity(identity, keep)
        async with JsonHttp(base_url, ca_file=ca) as http:
            await _listen(screen, http, identity, _ListenOptions(ack, click, count, keep))

    run(screen, work())


class _ListenOptions(msgspec.Struct, frozen=True):
    is_acking: bool
    is_clicking: bool
    count: int
    keep: Path | None


async def _listen(
    screen: Screen, http: JsonHttp, identity: DeviceIdentity, habits: _ListenOptions
) -> None:
    arrived: asyncio.Queue[ReceivedPush] = asyncio.Queue()
    device = DeviceClient(
        http,
        identity,
        is_acking=habits.is_acking,
        on_push=arrived.put_nowait,
        on_revoke=lambda task_id: _show_revoke(screen, task_id),
        on_state=lambda state: screen.note(f"[dim]{escape(state)}[/]"),
    )
    async with device:
        await device.registered()
        if habits.keep is not None:
            saved = SavedDevice(identity.registration_id, identity.secret)
            habits.keep.touch(mode=0o600)
            habits.keep.chmod(0o600)
            habits.keep.write_bytes(msgspec.json.encode(saved))
        event = {"event": "registered", "registration_id": identity.registration_id}
        screen.result(event, _show_nothing)
        shown = 0
        while not habits.count or shown < habits.count:
            push = await _next(arrived, device)
            shown += 1
            screen.result({"event": "push", **msgspec.to_builtins(push)}, _shower(screen, push))
            if habits.is_clicking:
                await device.click(push)


async def _next(arrived: asyncio.Queue[ReceivedPush], device: DeviceClient) -> ReceivedPush:
    """The next push; raises the `Refused` that ended the connection, if that comes first."""
    waiting = asyncio.ensure_future(arrived.get())
    ended = asyncio.ensure_future(device.ended())
    try:
        await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        return await waiting
    finally:
        waiting.cancel()
        ended.cancel()


def _show_nothing() -> None:
    """A note has told the person already."""


def _shower(screen: Screen, push: ReceivedPush) -> Callable[[], None]:
    def show() -> None:
        screen.line(f"[bold]{escape(push.title)}[/]  {escape(push.desc)}")
        if push.ext:
            screen.line(f"  [dim]ext[/]  {escape(push.ext)}")
        screen.line(f"  [dim]task {push.task_id}[/]")

    return show


def _show_revoke(screen: Screen, task_id: str) -> None:
    event = {"event": "revoke", "task_id": task_id}
    screen.result(event, lambda: screen.line(f"[red]withdrawn[/] [dim]task {task_id}[/]"))


async def _identity(
    target: ServiceTarget, user: str, usersig: str, appkey: str
) -> tuple[str, DeviceIdentity]:
    """The service's URL and the device's identity; the running service completes the options."""
    if target.url and target.sdkappid and (appkey or (user and usersig)):
        identity = DeviceIdentity(
            sdkappid=target.sdkappid, appkey=appkey, user=user, usersig=usersig
        )
        return target.url, identity
    url, app = await find(target)
    sdkappid: int = app["sdkappid"]
    if not user:
        return url, DeviceIdentity(sdkappid=sdkappid, appkey=appkey or app["appkey"])
    path = admin_socket(target.data)
    assert path is not None
    async with AdminSocket(path) as admin:
        signed = usersig or await admin.usersig(sdkappid, user, USERSIG_S)
    return url, DeviceIdentity(sdkappid=sdkappid, user=user, usersig=signed)


def _restore_identity(identity: DeviceIdentity, keep: Path | None) -> None:
    if keep is None or not keep.exists():
        return
    try:
        saved = msgspec.json.decode(keep.read_bytes(), type=SavedDevice)
    except msgspec.MsgspecError as fault:
        advice = "name another file, or remove this one to become a new device"
        raise CommandFault(f"{keep}: {fault}", advice, exit_code=EXIT_USAGE) from fault
    identity.registration_id, identity.secret = saved.registration_id, saved.secret
