"""`tocsin app add`: creates an app or changes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from tocsin.cli.operator import DEFAULT_DATA, Data, OperatorActions, operator_of
from tocsin.cli.option_values import VALUE_HELP, read_option, read_secret
from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.domain.quota import QuotaLimits

KEY_VARIABLE = "TOCSIN_KEY"
LIMITS = QuotaLimits.__struct_fields__

SdkAppId = Annotated[int, typer.Argument(metavar="SDKAPPID", min=1, help="The app's number.")]
Key = Annotated[
    str,
    typer.Option(
        envvar=KEY_VARIABLE,
        help=f"Secret that signs UserSigs, 8 to 256 characters. {VALUE_HELP} Default: a new one.",
    ),
]
KeyFile = Annotated[
    str,
    typer.Option(metavar="FILE", help="File with that secret, or - for standard input."),
]
Admins = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Account that may call the REST API; may repeat."),
]
ProfileName = Annotated[
    Literal["compatible", "unlimited", "own"] | None,
    typer.Option(
        help="QuotaLimits: Tencent's standard edition, none, or those that --limit says. "
        "Default: compatible."
    ),
]
OwnLimits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help=f"A limit of its own, 0 for none; may repeat. One of {', '.join(LIMITS)}. "
        "It makes the profile own; those that are never named are as with compatible.",
    ),
]
DevicePolicy = Annotated[
    Literal["last", "all"] | None,
    typer.Option(help="Push to the newest login only, or to all devices. Default: last."),
]
AckTime = Annotated[
    int | None,
    typer.Option(
        help="Seconds an online push may stay unacked before the vendor leg. Default: 5.",
        min=1,
        max=3600,
    ),
]
TimeToLive = Annotated[
    int | None,
    typer.Option(
        help="Seconds a push lives where the call does not say. Default: 86400, a day.",
        min=1,
        max=30 * 86_400,
    ),
]
Enabled = Annotated[
    bool | None,
    typer.Option("--enable/--disable", help="Whether anybody may call. Default: enabled."),
]
PushEnabled = Annotated[
    bool | None,
    typer.Option("--push/--no-push", help="Whether it may push. Default: it may."),
]
AccountDelete = Annotated[
    bool | None,
    typer.Option(
        "--account-delete/--no-account-delete",
        help="Whether account_delete is served, or answered 71000. Default: it is.",
    ),
]
ReimportTime = Annotated[
    int | None,
    typer.Option(
        help="Seconds before a deleted account may be imported again (70399 until then). "
        "Default: 0, at once.",
        min=0,
    ),
]
OwnPrefix = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX",
        help="Let devices choose RegistrationIDs that begin so; '' ends it. Default: the service "
        "makes every one.",
    ),
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        metavar="ORIGIN",
        help="Web pages that may call and read the answers, as https://app.example.com; may "
        "repeat; '' ends it. Default: none.",
    ),
]
NewFolder = Annotated[bool, typer.Option("--new", help="Make the data folder if there is none.")]

OPTIONS = {
    "key": "--key",
    "admins": "--admin",
    "profile": "--profile",
    "own_limits": "--limit",
    "ack_s": "--ack-s",
    "ttl_s": "--ttl-s",
    "reimport_after_s": "--reimport-after-s",
    "own_registration_ids": "--own-registration-ids",
    "origins": "--origin",
}
"""Member of an app to the option that sets it: a refusal names the option."""


def app_add(
    sdkappid: SdkAppId,
    *,
    key: Key = "",
    key_file: KeyFile = "",
    admin: Admins = None,
    profile: ProfileName = None,
    limits: OwnLimits = None,
    device_policy: DevicePolicy = None,
    ack_s: AckTime = None,
    ttl_s: TimeToLive = None,
    is_enabled: Enabled = None,
    is_push_enabled: PushEnabled = None,
    can_delete_accounts: AccountDelete = None,
    reimport_after_s: ReimportTime = None,
    own_registration_ids: OwnPrefix = None,
    origins: Origins = None,
    makes_folder: NewFolder = False,
    data: Data = DEFAULT_DATA,
    is_json: Json = False,
) -> None:
    """Add an app, or change one: settings that are not named stay as they are.

    The change applies at once, in a running service too. The answer says "added" or "changed".
    """
    screen = Screen(is_json=is_json)
    own = _own_limits(limits or [], profile)
    members = {
        "key": _key(screen, key, key_file) or None,
        "admins": admin,
        "profile": "own" if own else profile,
        "device_policy": device_policy,
        "ack_s": ack_s,
        "ttl_s": ttl_s,
        "is_enabled": is_enabled,
        "is_push_enabled": is_push_enabled,
        "can_delete_accounts": can_delete_accounts,
        "reimport_after_s": reimport_after_s,
        "own_registration_ids": own_registration_ids,
        "origins": origins,
    }
    facts: dict[str, Any] = {name: value for name, value in members.items() if value is not None}

    async def work() -> None:
        async with operator_of(data, makes=makes_folder) as operator:
            if own:
                facts["own_limits"] = await _present_limits(operator, sdkappid) | own
            app = await operator.app_add(sdkappid, facts)
        screen.result(app, lambda: _show(screen, app, data))

    run(screen, work(), options=OPTIONS | ({"key": "--key-file"} if key_file else {}))


def _show(screen: Screen, app: dict[str, Any], data: Path) -> None:
    facts = dict(app)
    screen.line(f"[bold]{facts.pop('done')}[/]")
    screen.facts(facts)
    name = next(iter(app["admins"]), "NAME")
    screen.note(f"\n[dim]next:[/]  tocsin usersig {app['sdkappid']} {name} --data {data}")


def _key(screen: Screen, key: str, key_file: str) -> str:
    if not key_file:
        return read_secret(screen, key, "--key", variable=KEY_VARIABLE)
    return read_option(key_file if key_file == "-" else f"@{key_file}", "--key-file").strip()


def _own_limits(texts: list[str], profile: str | None) -> dict[str, Any]:
    """The limits that `--limit` sets.

    Raises `CommandFault` for an unknown limit, a value of the wrong kind, or another profile.
    """
    if texts and profile not in (None, "own"):
        problem = f"--limit goes with --profile own, not with {profile}"
        raise CommandFault(problem, "leave --profile out", exit_code=EXIT_USAGE)
    own = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            own[name] = msgspec.convert(value, _kind_of(name), strict=False)
        except (KeyError, msgspec.ValidationError):
            problem = f"--limit {text}: is no NAME=VALUE of a limit"
            names = f"--limit {LIMITS[0]}=500; there are {', '.join(LIMITS)}"
            raise CommandFault(problem, names, exit_code=EXIT_USAGE) from None
    return own


def _kind_of(name: str) -> type[int | float]:
    kinds = {field.name: field.type for field in msgspec.structs.fields(QuotaLimits)}
    return int if kinds[name] is int else float


async def _present_limits(operator: OperatorActions, sdkappid: int) -> dict[str, Any]:
    """The app's own limits, as they are before the change."""
    for app in await operator.app_list():
        if app["sdkappid"] == sdkappid:
            return dict(app["own_limits"] or {})
    return {}
