"""`tocsin credential`: what proves us to a vendor.

There is one `add` command per vendor, made from its `Settings`, so that a new vendor's options
appear by themselves.
"""

from __future__ import annotations

import datetime as dt
import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from tocsin.channels.credentials import check_settings
from tocsin.channels.registry import VENDORS, Vendor
from tocsin.cli.credential_files import read_settings, read_value
from tocsin.cli.operator import DEFAULT_DATA, Data, operator_of
from tocsin.cli.screen import (
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    START_SANDBOX,
    Fault,
    Json,
    Screen,
    by_option,
    run,
)
from tocsin.cli.told import HOW, read_told, secret_of
from tocsin.client.json_http import Unreachable
from tocsin.client.sandbox import SandboxClient, credential_facts

AppOption = Annotated[
    int,
    typer.Option(
        "--app",
        envvar="TOCSIN_APP",
        metavar="SDKAPPID",
        show_default=False,
        help="Which app; default: the only one there is.",
    ),
]
SandboxUrl = Annotated[
    str,
    typer.Option("--sandbox", help="Take credentials and addresses from this running sandbox."),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--file", dir_okay=False, help="File as the vendor gives it out: JSON such as "
        "a service account, a .p8 or .pem key, a .p12 certificate."
    ),
]  # fmt: skip
PASSWORD_VARIABLE = "TOCSIN_PASSWORD"  # noqa: S105 its name
Password = Annotated[
    str,
    typer.Option(
        envvar=PASSWORD_VARIABLE, help=f"Password of a .p12 file. {HOW}", show_default=False,
    ),
]  # fmt: skip
Origin = Annotated[str, typer.Option(help="Another base URL than the vendor's own.")]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", exists=True, help="PEM file to trust instead of the system's."),
]
Proxy = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Proxy to this vendor, http://USER:PASSWORD@HOST:PORT; `none`: go "
        f"direct; empty: as the setting http.proxy says. {HOW}",
        show_default=False,
    ),
]  # fmt: skip
Rate = Annotated[
    float,
    typer.Option(help="Targets per second; 0: as the vendor allows.", min=0, show_default=False),
]

COMMON: dict[str, tuple[Any, Any]] = {
    "app": (AppOption, 0),
    "sandbox": (SandboxUrl, ""),
    "file": (SettingsFile, None),
    "password": (Password, ""),
    "origin": (Origin, ""),
    "ca": (CaFile, None),
    "proxy": (Proxy, None),
    "rate_per_s": (Rate, 0.0),
    "data": (Data, DEFAULT_DATA),
    "is_json": (Json, False),
}
"""Options of every vendor's `add`, after those of its own settings."""


def add_command(vendor: Vendor) -> Callable[..., None]:
    """The function behind `tocsin credential add <vendor>`, with an option per setting."""

    def command(**told: Any) -> None:
        _add(vendor, told)

    options: dict[str, tuple[Any, Any]] = {
        field.name: (_option(vendor, field.name), "")
        for field in msgspec.structs.fields(vendor.Settings)
    }
    options.update(COMMON)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    # The command line reads a function's signature; this one is written from the settings.
    command.__dict__["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    command.__name__ = f"credential_add_{vendor.NAME}"
    command.__doc__ = (
        f"Add a credential of {vendor.NAME}. It is in force at once, in a running service too.\n\n"
        "A value that begins with @ names a file to read it from, and - is standard input: secrets "
        "do not belong into a command, where others can read them."
    )
    return command


def _option(vendor: Vendor, name: str) -> Any:
    text = _meta(vendor, name).description or ""
    field = next(it for it in msgspec.structs.fields(vendor.Settings) if it.name == name)
    if field.default is msgspec.NODEFAULT:
        text = f"{text}. Required, unless --sandbox or --file gives it."
    elif field.default not in ("", None):
        text = f"{text}. Default: {field.default}."
    return Annotated[str, typer.Option(help=text, show_default=False)]


def _secrets_of(vendor: Vendor) -> set[str]:
    """The settings of a vendor that nobody else may read."""
    names = (field.name for field in msgspec.structs.fields(vendor.Settings))
    return {name for name in names if (_meta(vendor, name).extra or {}).get("is_secret")}


def _meta(vendor: Vendor, name: str) -> msgspec.Meta:
    """What a setting says of itself."""
    hint = typing.get_type_hints(vendor.Settings, include_extras=True)[name]
    metas: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    return next((it for it in metas if it.description), msgspec.Meta())


def _add(vendor: Vendor, told: dict[str, Any]) -> None:
    screen = Screen(is_json=told["is_json"])
    options = {field.name: _named(field.name) for field in msgspec.structs.fields(vendor.Settings)}
    options |= {name: _named(name) for name in ("proxy", "origin", "rate_per_s")}

    async def work() -> None:
        facts = await _facts(screen, vendor, told, options)
        async with operator_of(told["data"]) as operator:
            sdkappid = told["app"] or await only_app(operator)
            added = await operator.credential_add(sdkappid, facts)

        def show() -> None:
            screen.facts(added)
            screen.note(
                f"\n[dim]devices name it in their route:[/]  channel {vendor.NAME}, "
                f"credential {added['number']}"
            )
            _note_key(screen, added)

        screen.result(added, show)

    run(screen, work(), options=options)


def _named(name: str) -> str:
    return f"--{name.replace('_', '-')}"


async def _facts(
    screen: Screen, vendor: Vendor, told: Mapping[str, Any], options: Mapping[str, str]
) -> dict[str, Any]:
    """The facts of a credential: the sandbox's, then the file's, then the options'."""
    facts: dict[str, Any] = {"channel": vendor.NAME, "settings": {}}
    if told["sandbox"]:
        facts = credential_facts(vendor.NAME, await _described(told["sandbox"]))
    names = {field.name for field in msgspec.structs.fields(vendor.Settings)}
    if told["file"] is not None:
        password = _password(screen, told["password"])
        facts["settings"].update(read_settings(told["file"], names, password))
    secrets = _secrets_of(vendor)
    for name in names:
        if told[name]:
            read = partial(secret_of, screen) if name in secrets else read_told
            facts["settings"][name] = read(told[name], options[name])
    if told["origin"]:
        facts["origin"] = told["origin"]
    if told["ca"] is not None:
        facts["ca"] = read_value(told["ca"])
    if told["proxy"]:
        facts["proxy"] = read_told(told["proxy"], "--proxy").strip()
    if told["rate_per_s"]:
        facts["rate_per_s"] = told["rate_per_s"]
    try:
        check_settings(vendor.NAME, facts["settings"])
    except ValueError as fault:
        advice = f"tocsin credential add {vendor.NAME} --help lists what is needed"
        what = by_option(str(fault), options) or str(fault)
        raise Fault(what, advice, exit_code=EXIT_USAGE) from fault
    return facts


async def _described(url: str) -> dict[str, Any]:
    """What the sandbox says of itself. The command's other address is the service's."""
    try:
        async with SandboxClient(url) as door:
            return await door.describe()
    except Unreachable as fault:
        what = f"no answer from {fault}"
        raise Fault(what, START_SANDBOX, exit_code=EXIT_UNREACHABLE) from fault


def _password(screen: Screen, text: str) -> str:
    return secret_of(screen, text, "--password", variable=PASSWORD_VARIABLE)


async def only_app(operator: Any) -> int:
    apps = await operator.app_list()
    if len(apps) != 1:
        known = ", ".join(str(app["sdkappid"]) for app in apps) or "none"
        raise Fault(f"which app? there are: {known}", "name it with --app", exit_code=EXIT_USAGE)
    return int(apps[0]["sdkappid"])


def example(vendor: Vendor) -> str:
    """A line of the command line that adds a credential of this vendor, for its help."""
    words = ["tocsin credential add", vendor.NAME]
    for field in msgspec.structs.fields(vendor.Settings):
        meta = _meta(vendor, field.name)
        if file := (meta.extra or {}).get("file"):
            words.append(f"--file {file}")
            break
        if field.default is msgspec.NODEFAULT or meta.examples:
            secret = "@secret.txt" if (meta.extra or {}).get("is_secret") else field.name.upper()
            value = meta.examples[0] if meta.examples else secret
            words.append(f"--{field.name.replace('_', '-')} {value}")
    return " ".join([*words, "--data data"])


def credential_list(
    *, app: AppOption = 0, data: Data = DEFAULT_DATA, is_json: Json = False
) -> None:
    """List an app's credentials, without their secrets.

    STATE is ready where nothing is known against it; else disabled, unreadable, expired, expiring
    within a month, or what STOPPED begins with. Of Web Push the public keys follow.

    With a service running, STOPPED says why one does not send all that waits for it: refused by the
    vendor, the vendor or the way to it down, paused at the vendor's word, or doubtful since most
    answers stay away; and when it is tried again at the latest.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            listed = await operator.credential_list(sdkappid)
        rows = [
            (
                it["number"],
                it["channel"],
                source_text(it),
                it["origin"],
                it["state"],
                day_of(it.get("expires_at")),
                stopped_text(it.get("stopped")),
                it.get("fault", ""),
            )
            for it in listed
        ]
        columns = ("NUMBER", "CHANNEL", "SOURCE", "ORIGIN", "STATE", "EXPIRES", "STOPPED", "FAULT")
        screen.result(listed, lambda: screen.table(columns, rows))
        for it in listed:
            _note_key(screen, it)

    run(screen, work())


def _note_key(screen: Screen, shown: Mapping[str, Any]) -> None:
    if "public_key" in shown:
        what = f"pages subscribe to {shown['number']} with (applicationServerKey):"
        screen.note(f"[dim]{what}[/]  {shown['public_key']}")


def source_text(shown: Mapping[str, Any]) -> str:
    """Where a credential comes from: `command`, or a name in the configuration."""
    name, source = shown["name"], shown["source"]
    return f"{source}: {name}" if name else str(source)


def day_of(at: float | None) -> str:
    """A day, as people write it; nothing for what never ends."""
    return "" if at is None else f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d}"


def stopped_text(stopped: Mapping[str, Any] | None) -> str:
    """Why a credential does not send all that waits, in one line; nothing where it does."""
    if stopped is None:
        return ""
    until = stopped["until"]
    when = "" if until is None else f" until {dt.datetime.fromtimestamp(until, dt.UTC):%H:%M:%SZ}"
    part = f" for {stopped['part']}" if stopped["part"] else ""
    detail = f" ({stopped['detail']})" if stopped.get("detail") else ""
    return f"{stopped['state']}{part}{when}: {stopped['reason']}{detail}"


Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Certificate ID.")]


def credential_set(
    number: Number,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help=f"A setting to change. As the value {HOW}"),
    ] = None,
    *,
    app: AppOption = 0,
    file: SettingsFile = None,
    password: Password = "",
    origin: Annotated[
        str | None, typer.Option(help="Another base URL; an empty one: the vendor's own.")
    ] = None,
    proxy: Proxy = None,
    rate_per_s: Annotated[
        float | None, typer.Option(help="Targets per second; 0: as the vendor allows.", min=0)
    ] = None,
    is_enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is used.")
    ] = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Change a credential. Its certificate ID stays, and so do the devices that name it.

    It is in force at once, in a running service too; what is under way ends with the former one.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            settings: dict[str, Any] = {}
            if file is not None:
                names = await _names_of(operator, sdkappid, number)
                settings = read_settings(file, names, _password(screen, password))
            facts = {"origin": origin, "rate_per_s": rate_per_s, "is_enabled": is_enabled}
            facts["proxy"] = None if proxy is None else read_told(proxy, "--proxy").strip()
            told: dict[str, Any] = {it: value for it, value in facts.items() if value is not None}
            told["settings"] = {**settings, **dict(_pair(screen, it) for it in changes or ())}
            changed = await operator.credential_set(sdkappid, number, told)

        def show() -> None:
            screen.facts(changed)
            if changed["done"] == "unchanged":
                screen.note("[dim]nothing was different: its version stays[/]")

        screen.result(changed, show)

    run(screen, work())


def _pair(screen: Screen, text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        what = f"{name} is not NAME=VALUE"
        raise Fault(what, "app_secret=@FILE, say", exit_code=EXIT_USAGE)
    member = name.replace("-", "_")
    if any(member in _secrets_of(vendor) for vendor in VENDORS):
        return member, secret_of(screen, value, name)
    return member, read_told(value, name)


async def _names_of(operator: Any, sdkappid: int, number: int) -> list[str]:
    """The settings that a credential's vendor has."""
    listed = await operator.credential_list(sdkappid)
    vendors = {vendor.NAME: vendor for vendor in VENDORS}
    for it in listed:
        if it["number"] == number:
            return [field.name for field in msgspec.structs.fields(vendors[it["channel"]].Settings)]
    raise Fault(f"no credential {number}", "tocsin credential list", exit_code=EXIT_USAGE)


def client_config(
    *,
    app: AppOption = 0,
    use: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBER", help="Certificate ID to take; default: each newest one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write it to this file instead.")
    ] = None,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Print timpush-configs.json for the Android app: certificate IDs and what its SDKs need.

    It goes to the assets of the app. Apple's apps name the certificate ID in code.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            config = await operator.client_config(sdkappid, use or [])
        text = msgspec.json.format(msgspec.json.encode(config), indent=2).decode()
        if out is not None:
            out.write_text(text + "\n")
        screen.result(config, lambda: typer.echo(text if out is None else f"wrote {out}"))
        if not config:
            screen.note("[dim]no credential of an Android vendor: tocsin credential add --help[/]")

    run(screen, work())


def credential_delete(
    number: Number,
    *,
    app: AppOption = 0,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Delete a credential. Devices that use it cannot be reached through the vendor any more."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with operator_of(data) as operator:
            sdkappid = app or await only_app(operator)
            await operator.credential_delete(sdkappid, number)
        screen.result({}, lambda: screen.line(f"deleted credential {escape(str(number))}"))

    run(screen, work())
