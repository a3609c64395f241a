"""`tocsin listen`: a device in the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from tocsin.cli.operator import DEFAULT_DATA, Data
from tocsin.cli.screen import EXIT_USAGE, Fault, Json, Screen, run
from tocsin.cli.target import USERSIG_S, AppId, Ca, Target, Url, find
from tocsin.cli.told import HOW, read_told
from tocsin.client.device import DeviceClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp
from tocsin.client.operator import AdminSocket, admin_socket


class Kept(msgspec.Struct):
    """What a device must remember to be the same device the next time."""

    registration_id: str = ""
    secret: str = ""


def listen(
    *,
    user: Annotated[
        str, typer.Option(help="Log this UserID in; default: device level, no user.")
    ] = "",
    usersig: Annotated[
        str, typer.Option(envvar="TOCSIN_USERSIG", help=f"The user's UserSig; else made. {HOW}")
    ] = "",
    appkey: Annotated[
        str,
        typer.Option(envvar="TOCSIN_APPKEY", help=f"The app's client key; else asked for. {HOW}"),
    ] = "",
    language: Annotated[str, typer.Option(help="The device's language.")] = "en",
    keep: Annotated[
        Path | None, typer.Option(help="Remember the RegistrationID in this file.")
    ] = None,
    ack: Annotated[bool, typer.Option(help="Tell the service what arrived.")] = True,
    click: Annotated[bool, typer.Option(help="Click whatever arrives.")] = False,
    count: Annotated[int, typer.Option(help="End after so many pushes; 0: never.", min=0)] = 0,
    url: Url = "",
    app: AppId = 0,
    ca: Ca = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Be a device in the terminal, and show what arrives.

    It registers on the online channel, acks what it is sent, and stays until Ctrl-C.
    """
    screen = Screen(is_json=is_json)
    target = Target(data=data, url=url, sdkappid=app, ca=ca)

    async def work() -> None:
        sig, client_key = read_told(usersig, "--usersig"), read_told(appkey, "--appkey")
        base_url, identity = await _identity(target, user, sig, client_key)
        identity.facts = {"language": language, "platform": "PC"}
        _remember(identity, keep)
        async with JsonHttp(base_url, ca_file=ca) as http:
            await _listen(screen, http, identity, _Habits(ack, click, count, keep))

    run(screen, work())


class _Habits(msgspec.Struct, frozen=True):
    is_acking: bool
    is_clicking: bool
    count: int
    keep: Path | None


async def _listen(
    screen: Screen, http: JsonHttp, identity: DeviceIdentity, habits: _Habits
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
            kept = Kept(identity.registration_id, identity.secret)
            habits.keep.touch(mode=0o600)
            habits.keep.chmod(0o600)
            habits.keep.write_bytes(msgspec.json.encode(kept))
        told = {"event": "registered", "registration_id": identity.registration_id}
        screen.result(told, _nothing)
        shown = 0
        while not habits.count or shown < habits.count:
            push = await _next(arrived, device)
            shown += 1
            screen.result({"event": "push", **msgspec.to_builtins(push)}, _shower(screen, push))
            if habits.is_clicking:
                await device.click(push)


async def _next(arrived: asyncio.Queue[ReceivedPush], device: DeviceClient) -> ReceivedPush:
    """The next push; raises what ended the connection for good, if that comes first."""
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


def _nothing() -> None:
    """A person was told by a note already."""


def _shower(screen: Screen, push: ReceivedPush) -> Callable[[], None]:
    def show() -> None:
        screen.line(f"[bold]{escape(push.title)}[/]  {escape(push.desc)}")
        if push.ext:
            screen.line(f"  [dim]ext[/]  {escape(push.ext)}")
        screen.line(f"  [dim]task {push.task_id}[/]")

    return show


def _show_revoke(screen: Screen, task_id: str) -> None:
    told = {"event": "revoke", "task_id": task_id}
    screen.result(told, lambda: screen.line(f"[red]withdrawn[/] [dim]task {task_id}[/]"))


async def _identity(
    target: Target, user: str, usersig: str, appkey: str
) -> tuple[str, DeviceIdentity]:
    """Who to be and where; what was not told is asked from the running service."""
    if target.url and target.sdkappid and (appkey or (user and usersig)):
        named = DeviceIdentity(sdkappid=target.sdkappid, appkey=appkey, user=user, usersig=usersig)
        return target.url, named
    url, app = await find(target)
    sdkappid: int = app["sdkappid"]
    if not user:
        return url, DeviceIdentity(sdkappid=sdkappid, appkey=appkey or app["appkey"])
    path = admin_socket(target.data)
    assert path is not None
    async with AdminSocket(path) as admin:
        signed = usersig or await admin.usersig(sdkappid, user, USERSIG_S)
    return url, DeviceIdentity(sdkappid=sdkappid, user=user, usersig=signed)


def _remember(identity: DeviceIdentity, keep: Path | None) -> None:
    if keep is None or not keep.exists():
        return
    try:
        kept = msgspec.json.decode(keep.read_bytes(), type=Kept)
    except msgspec.MsgspecError as fault:
        advice = "name another file, or remove this one to become a new device"
        raise Fault(f"{keep}: {fault}", advice, exit_code=EXIT_USAGE) from fault
    identity.registration_id, identity.secret = kept.registration_id, kept.secret
