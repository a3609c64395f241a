"""`tocsin credential`: adds, lists, changes and deletes the credentials of vendors.

The `add` command of each vendor is made from the vendor's `Settings`, so that a new vendor's
options appear by themselves.
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
from tocsin.cli.option_values import VALUE_HELP, read_option, read_secret
from tocsin.cli.screen import (
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    START_SANDBOX,
    CommandFault,
    Json,
    Screen,
    by_option,
    run,
)
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
        envvar=PASSWORD_VARIABLE, help=f"Password of a .p12 file. {VALUE_HELP}", show_default=False,
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
        f"direct; empty: as the setting http.proxy says. {VALUE_HELP}",
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

    def command(**values: Any) -> None:
        _add(vendor, values)

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
        f"Add a credential of {vendor.NAME}. It applies at once, in a running service too.\n\n"
        "A value that begins with @ names the file to read, and - is standard input: secrets do "
        "not belong into a command, where others can read them."
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
    """The names of a vendor's secret settings."""
    names = (field.name for field in msgspec.structs.fields(vendor.Settings))
    return {name for name in names if (_meta(vendor, name).extra or {}).get("is_secret")}


def _meta(vendor: Vendor, name: str) -> msgspec.Meta:
    """The description of a setting."""
    hint = typing.get_type_hints(vendor.Settings, include_extras=True)[name]
    metas: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    return next((it for it in metas if it.description), msgspec.Meta())


def _add(vendor: Vendor, values: dict[str, Any]) -> None:
    screen = Screen(is_json=values["is_json"])
    options = {field.name: _named(field.name) for field in msgspec.structs.fields(vendor.Settings)}
    options |= {name: _named(name) for name in ("proxy", "origin", "rate_per_s")}

    async def work() -> None:
        facts = await _facts(screen, vendor, values, options)
        async with operator_of(values["data"]) as operator:
            sdkappid = values["app"] or await only_app(operator)
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
    screen: Screen, vendor: Vendor, values: Mapping[str, Any], options: Mapping[str, str]
) -> dict[str, Any]:
    """A credential from the sandbox, the file and the options; each wins over those before."""
    facts: dict[str, Any] = {"channel": vendor.NAME, "settings": {}}
    if values["sandbox"]:
        facts = credential_facts(vendor.NAME, await _describe_sandbox(values["sandbox"]))
    names = {field.name for field in msgspec.structs.fields(vendor.Settings)}
    if values["file"] is not None:
        password = _password(screen, values["password"])
        facts["settings"].update(read_settings(values["file"], names, password))
    secrets = _secrets_of(vendor)
    for name in names:
        if values[name]:
            read = partial(read_secret, screen) if name in secrets else read_option
            facts["settings"][name] = read(values[name], options[name])
    if values["origin"]:
        facts["origin"] = values["origin"]
    if values["ca"] is not None:
        facts["ca"] = read_value(values["ca"])
    if values["proxy"]:
        facts["proxy"] = read_option(values["proxy"], "--proxy").strip()
    if values["rate_per_s"]:
        facts["rate_per_s"] = values["rate_per_s"]
    try:
        check_settings(vendor.NAME, facts["settings"])
    except ValueError as fault:
        advice = f"tocsin credential add {vendor.NAME} --help lists what is needed"
        problem = by_option(str(fault), options) or str(fault)
        raise CommandFault(problem, advice, exit_code=EXIT_USAGE) from fault
    return facts


async def _describe_sandbox(url: str) -> dict[str, Any]:
    """The description of the sandbox at `url`. An error names the sandbox, not the service."""
    try:
        async with SandboxClient(url) as sandbox:
            return await sandbox.describe()
    except Unreachable as fault:
        problem = f"no answer from {fault}"
        raise CommandFault(problem, START_SANDBOX, exit_code=EXIT_UNREACHABLE) from fault


def _password(screen: Screen, text: str) -> str:
    return read_secret(screen, text, "--password", variable=PASSWORD_VARIABLE)


async def only_app(operator: Any) -> int:
    """The sdkappid of the only app; raises `CommandFault` where there are none or several."""
    apps = await operator.app_list()
    if len(apps) != 1:
        numbers = ", ".join(str(app["sdkappid"]) for app in apps) or "none"
        raise CommandFault(
            f"which app? there are: {numbers}", "name it with --app", exit_code=EXIT_USAGE
        )
    return int(apps[0]["sdkappid"])


def example(vendor: Vendor) -> str:
    """A command that adds a credential of this vendor, for the help."""
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

    STATE is ready, disabled, unreadable, expired, expiring (within a month), or the first word of
    STOPPED. The public keys of Web Push credentials follow.

    With a service running, STOPPED says why a credential does not send all pushes that wait for it,
    and when it is tried again at the latest. Reasons: the vendor refuses it, the vendor or the
    route to the vendor is down, the vendor asked for a pause, or most answers stay away.
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
        label = f"pages subscribe to {shown['number']} with (applicationServerKey):"
        screen.note(f"[dim]{label}[/]  {shown['public_key']}")


def source_text(shown: Mapping[str, Any]) -> str:
    """The source of a credential: `command`, or a name in the configuration."""
    name, source = shown["name"], shown["source"]
    return f"{source}: {name}" if name else str(source)


def day_of(at: float | None) -> str:
    """A day as text; empty for None, which is never."""
    return "" if at is None else f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d}"


def stopped_text(stopped: Mapping[str, Any] | None) -> str:
    """Why a credential does not send all that waits, in one line; empty where it does."""
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
        typer.Argument(
            metavar="NAME=VALUE", help=f"A setting to change. As the value {VALUE_HELP}"
        ),
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

    The change applies at once, in a running service too; requests under way end with the former
    settings.
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
            facts["proxy"] = None if proxy is None else read_option(proxy, "--proxy").strip()
            named: dict[str, Any] = {
                name: value for name, value in facts.items() if value is not None
            }
            named["settings"] = {**settings, **dict(_pair(screen, it) for it in changes or ())}
            changed = await operator.credential_set(sdkappid, number, named)

        def show() -> None:
            screen.facts(changed)
            if changed["done"] == "unchanged":
                screen.note("[dim]nothing was different: its version stays[/]")

        screen.result(changed, show)

    run(screen, work())


def _pair(screen: Screen, text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        problem = f"{name} is not NAME=VALUE"
        raise CommandFault(problem, "app_secret=@FILE, say", exit_code=EXIT_USAGE)
    member = name.replace("-", "_")
    if any(member in _secrets_of(vendor) for vendor in VENDORS):
        return member, read_secret(screen, value, name)
    return member, read_option(value, name)


async def _names_of(operator: Any, sdkappid: int, number: int) -> list[str]:
    """The names of the settings of a credential's vendor."""
    listed = await operator.credential_list(sdkappid)
    vendors = {vendor.NAME: vendor for vendor in VENDORS}
    for it in listed:
        if it["number"] == number:
            return [field.name for field in msgspec.structs.fields(vendors[it["channel"]].Settings)]
    raise CommandFault(f"no credential {number}", "tocsin credential list", exit_code=EXIT_USAGE)


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
    """Print timpush-configs.json for the Android app: certificate IDs and the SDKs' settings.

    The file goes to the assets of the app. Apple's apps name the certificate ID in code.
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
