"""The whole command line: one list of every command with the examples of its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer
from msgspec import Struct

from tocsin.channels.registry import VENDORS
from tocsin.cli import (
    accounts,
    app_add,
    app_keys,
    app_remove,
    apps,
    backup,
    certificates,
    credential_check,
    credential_show,
    credentials,
    demo,
    devices,
    doctor,
    listen,
    push,
    recall,
    reload,
    sandbox,
    secrets,
    serve,
)
from tocsin.cli.screen import guarded

INTRO = """Tocsin: a self-hosted push service, wire-compatible with Tencent's Push REST API.

Exit codes: 0 done; 1 refused, or a check failed; 2 wrong usage; 3 nobody answered.
"""

FIRST_STEPS = (
    "tocsin demo",
    "tocsin serve --data data --port 8080",
    "tocsin app add 1400000001 --admin admin --data data",
    "tocsin usersig 1400000001 admin --data data",
    'tocsin send --all --title "Hello" --desc "from Tocsin" --watch',
)

GROUPS: dict[str, str] = {
    "app": "Apps, their administrators and their keys.",
    "app key": "The key that signs an app's UserSigs, changed with an overlap.",
    "account": "Accounts, and what is kept of each.",
    "device": "Devices: installations and their tokens.",
    "credential": "Credentials, with which the service signs in at a vendor.",
    "credential add": "Add a credential; one command per vendor.",
    "task": "Pushes and their results.",
    "secret": "The key that seals what the data folder keeps secret.",
    "sandbox": "The vendors' servers on loopback, to push to without a vendor account.",
    "sandbox faults": "Make the sandbox's vendors fail, by rule.",
    "tls": "Certificates for HTTPS.",
}


class CommandRow(Struct, frozen=True):
    """One command: its words, its function, and examples (a test parses each)."""

    words: str
    run: Callable[..., None]
    examples: tuple[str, ...] = ()


ROWS: tuple[CommandRow, ...] = (
    CommandRow(
        "serve",
        serve.serve,
        (
            "tocsin serve --data data --port 8080",
            "tocsin serve --data data --port 8443 --tls-cert tls-cert.pem --tls-key tls-key.pem",
            "tocsin serve --data data --config tocsin.toml",
        ),
    ),
    CommandRow(
        "app add",
        app_add.app_add,
        (
            "tocsin app add 1400000001 --admin admin --data data",
            "tocsin app add 1400000001 --key-file key.txt --admin admin --data data",
            "tocsin app add 1400000001 --profile unlimited --data data",
            "tocsin app add 1400000001 --limit pushes_per_day=500 --data data",
            "tocsin app add 1400000001 --no-account-delete --reimport-after-s 3600 --data data",
            "tocsin app add 1400000001 --admin admin --new --data data",
            "tocsin app add 1400000001 --disable --data data",
            "tocsin app add 1400000001 --own-registration-ids dev- --data data",
        ),
    ),
    CommandRow("app list", apps.app_list, ("tocsin app list --data data",)),
    CommandRow(
        "app names",
        apps.app_names,
        (
            "tocsin app names 1400000001 --data data",
            "tocsin app names 1400000001 --prefix dev- --data data",
        ),
    ),
    CommandRow(
        "app key rotate",
        app_keys.app_key_rotate,
        (
            "tocsin app key rotate 1400000001 --data data",
            "tocsin app key rotate 1400000001 --key-file new-key.txt --data data",
        ),
    ),
    CommandRow(
        "app key drop-former",
        app_keys.app_key_drop_former,
        ("tocsin app key drop-former 1400000001 --data data",),
    ),
    CommandRow(
        "app remove",
        app_remove.app_remove,
        (
            "tocsin app remove 1400000001 --data data",
            "tocsin app remove 1400000001 --yes --json --data data",
        ),
    ),
    CommandRow("app show", apps.app_show, ("tocsin app show 1400000001 --data data",)),
    CommandRow(
        "usersig",
        apps.usersig,
        (
            "tocsin usersig 1400000001 admin --data data",
            "SIG=$(tocsin usersig 1400000001 admin --expire-s 3600 --data data)",
        ),
    ),
    CommandRow(
        "account list",
        accounts.account_list,
        (
            "tocsin account list --data data",
            "tocsin account list --after 100 --limit 50 --json --data data",
        ),
    ),
    CommandRow("account show", accounts.account_show, ("tocsin account show ann --data data",)),
    CommandRow(
        "account export",
        accounts.account_export,
        (
            "tocsin account export ann --out ann.json --data data",
            "tocsin account export ann --data data | jq .account.devices",
        ),
    ),
    CommandRow(
        "account delete",
        accounts.account_delete,
        (
            "tocsin account delete ann --receipt receipt.json --data data",
            "tocsin account delete ann --yes --json --data data",
        ),
    ),
    CommandRow(
        "device list",
        devices.device_list,
        ("tocsin device list --data data", "tocsin device list --user ann --json --data data"),
    ),
    CommandRow(
        "device show",
        devices.device_show,
        ("tocsin device show 6F9619FF-8B86-4011-B42D-00CF4FC964FF --data data",),
    ),
    CommandRow(
        "device unregister",
        devices.device_unregister,
        ("tocsin device unregister 6F9619FF-8B86-4011-B42D-00CF4FC964FF --data data",),
    ),
    *(
        CommandRow(
            f"credential add {vendor.NAME}",
            credentials.add_command(vendor),
            (
                f"tocsin credential add {vendor.NAME} --sandbox http://127.0.0.1:8090 --data data",
                credentials.example(vendor),
            ),
        )
        for vendor in VENDORS
    ),
    CommandRow(
        "credential list",
        credentials.credential_list,
        ("tocsin credential list --app 1400000001 --data data",),
    ),
    CommandRow(
        "credential show",
        credential_show.credential_show,
        ("tocsin credential show 2 --app 1400000001 --data data",),
    ),
    CommandRow(
        "credential set",
        credentials.credential_set,
        (
            "tocsin credential set 2 app_secret=@secret.txt --data data",
            "tocsin credential set 2 --file certificate.p12 --data data",
            "tocsin credential set 2 --disable --app 1400000001 --data data",
        ),
    ),
    CommandRow(
        "credential check",
        credential_check.credential_check,
        (
            "tocsin credential check --data data",
            "tocsin credential check 2 3 --app 1400000001 --data data",
        ),
    ),
    CommandRow(
        "credential client-config",
        credentials.client_config,
        (
            "tocsin credential client-config --out timpush-configs.json --data data",
            "tocsin credential client-config --use 3 --use 5 --app 1400000001 --data data",
        ),
    ),
    CommandRow(
        "credential delete",
        credentials.credential_delete,
        ("tocsin credential delete 2 --app 1400000001 --data data",),
    ),
    CommandRow("reload", reload.reload, ("tocsin reload --data data",)),
    CommandRow(
        "doctor",
        doctor.doctor,
        ("tocsin doctor --data data", "tocsin doctor --ask --json --data data"),
    ),
    CommandRow("secret rotate", secrets.secret_rotate, ("tocsin secret rotate --data data",)),
    CommandRow(
        "send",
        push.send,
        (
            'tocsin send --all --title "Maintenance" --desc "Tonight 23:00"',
            'tocsin send --tag vip --tag beta --not muted --title "Preview" --watch',
            'tocsin send --to ann --to bob --title "Parcel" --desc "Arrived"',
            'tocsin send --attr city=Oslo --attr plan=pro --title "Snow" --json',
        ),
    ),
    CommandRow(
        "task show",
        push.task_show,
        (
            "tocsin task show 68d0a1c0_53724e01_2000000000000001_1f0c3a77_498c3b9",
            "tocsin task show TASKID --json | jq .ledger.states",
        ),
    ),
    CommandRow(
        "task recall",
        recall.task_recall,
        (
            "tocsin task recall 68d0a1c0_53724e01_2000000000000001_1f0c3a77_498c3b9",
            'tocsin task recall TASKID --title "Correction" --desc "Tomorrow 23:00"',
        ),
    ),
    CommandRow("task list", push.task_list, ("tocsin task list --limit 5",)),
    CommandRow(
        "listen",
        listen.listen,
        (
            "tocsin listen --data data --user ann",
            "tocsin listen --data data --keep device.json --json",
            "tocsin listen --url https://push.example.com --app 1400000001 --appkey @appkey.txt",
        ),
    ),
    CommandRow(
        "backup",
        backup.backup,
        ("tocsin backup backups/2026-12-01 --data data", "tocsin backup /mnt/backup/today --json"),
    ),
    CommandRow(
        "restore",
        backup.restore,
        (
            "tocsin restore backups/2026-12-01 --data restored --key-file data/secret.key",
            "tocsin restore backups/2026-12-01 --replace --data data",
            "tocsin restore --settle --data restored",
            "tocsin restore --resume --data restored",
        ),
    ),
    CommandRow("check-config", serve.check_config, ("tocsin check-config tocsin.toml",)),
    CommandRow("show-config", serve.show_config, ("tocsin show-config --config tocsin.toml",)),
    CommandRow(
        "sandbox faults list",
        sandbox.faults_list,
        ("tocsin sandbox faults list",),
    ),
    CommandRow(
        "sandbox faults add",
        sandbox.faults_add,
        (
            "tocsin sandbox faults add status --vendor fcm --status 503 --share 0.2",
            "tocsin sandbox faults add vendor_code --vendor apns --code TooManyRequests --times 9",
            "tocsin sandbox faults add slow_first_byte --delay-s 2 --for-s 30",
            "tocsin sandbox faults add receipt_lost --vendor huawei --share 0.1",
        ),
    ),
    CommandRow(
        "sandbox faults clear",
        sandbox.faults_clear,
        ("tocsin sandbox faults clear", "tocsin sandbox faults clear 3"),
    ),
    CommandRow(
        "tls self-signed",
        certificates.self_signed,
        ("tocsin tls self-signed", "tocsin tls self-signed --name push.test --out certificates"),
    ),
    CommandRow(
        "demo",
        demo.demo,
        ("tocsin demo", "tocsin demo --small", "tocsin demo --break wrong-bitmap"),
    ),
    CommandRow("version", serve.version, ("tocsin version",)),
)
"""Every command but `sandbox` itself, which is a group that also runs alone."""

SANDBOX_EXAMPLES = (
    "tocsin sandbox",
    "tocsin sandbox --port 8090 --folder sandbox-keys --log sandbox.jsonl",
    "tocsin sandbox --receipts http://127.0.0.1:8080 --vendor-port huawei=8443",
    "tocsin sandbox --connect-proxy",
    "tocsin sandbox --hosts",
)

Markup = Literal["rich", "markdown"] | None


def build(markup: Markup = "rich") -> typer.Typer:
    """The whole command line; without markup its help is plain text."""

    def group(help_text: str, epilog: str = "", *, no_args_is_help: bool = True) -> typer.Typer:
        return typer.Typer(
            help=help_text,
            epilog=epilog,
            rich_markup_mode=markup,
            no_args_is_help=no_args_is_help,
            add_completion=False,
            pretty_exceptions_enable=False,
        )

    root = group(INTRO, _examples(FIRST_STEPS))
    groups: dict[str, typer.Typer] = {"": root}
    for words, help_text in GROUPS.items():
        above, _, name = words.rpartition(" ")
        groups[words] = group(help_text, no_args_is_help=words != "sandbox")
        groups[above].add_typer(groups[words], name=name)
    groups["sandbox"].callback(invoke_without_command=True, epilog=_examples(SANDBOX_EXAMPLES))(
        guarded(sandbox.sandbox)
    )
    root.callback(invoke_without_command=False, epilog=_examples(FIRST_STEPS))(_root)
    for row in ROWS:
        above, _, name = row.words.rpartition(" ")
        groups[above].command(name, epilog=_examples(row.examples))(guarded(row.run))
    return root


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=serve.print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


_root.__doc__ = INTRO


def _examples(lines: tuple[str, ...]) -> str:
    """Examples as an epilog; a blank line keeps each on a line of its own."""
    return "\n\n".join(("Examples:", *(f"  {line}" for line in lines))) if lines else ""


def main() -> None:
    """The console script."""
    build()(prog_name="tocsin")


if __name__ == "__main__":
    main()
