"""`tocsin sandbox`: the vendors' servers on loopback, and the faults they are told to have."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.adapters.http import CurlHttp
from tocsin.channels.registry import find, real_hosts
from tocsin.cli.screen import START_SANDBOX, Json, Screen, run
from tocsin.cli.signals import stop_on_signals
from tocsin.client.sandbox import SandboxClient
from tocsin.sandbox.apns import ApnsSettings
from tocsin.sandbox.faults import KINDS
from tocsin.sandbox.fcm import FcmSettings
from tocsin.sandbox.real_hosts import HTTPS_PORT
from tocsin.sandbox.receipts import ReceiptSettings
from tocsin.sandbox.server import SandboxSettings, run_sandbox

ADMIN_PORT = 8090
PROXY_PORT = 8091
PORT_MAX = 65_535

Door = Annotated[
    str,
    typer.Option(
        "--sandbox",
        envvar="TOCSIN_SANDBOX",
        help="Admin URL of the running sandbox, as it printed it.",
    ),
]
DEFAULT_DOOR = f"http://127.0.0.1:{ADMIN_PORT}"


Hosts = Annotated[
    bool,
    typer.Option(
        "--hosts",
        help="Serve the vendors' real host names on port 443 of loopback addresses of their "
        "own, and print the lines for a hosts file. Needs root or the right to low ports.",
    ),
]
WithProxy = Annotated[
    bool,
    typer.Option(
        "--connect-proxy",
        help="Run an HTTP CONNECT proxy that leads the vendors' real host names here, and "
        "nothing anywhere else. Needs no root.",
    ),
]
ProxyPort = Annotated[
    int,
    typer.Option(help="Port of the CONNECT proxy; 0: any free one.", min=0, max=PORT_MAX),
]
ReceiptsTo = Annotated[
    str,
    typer.Option(
        metavar="URL", help="Where the vendors' consoles report to: the service's base URL."
    ),
]
ReceiptDelay = Annotated[
    float, typer.Option(help="How long a push takes to arrive and be reported.", min=0)
]
VendorPorts = Annotated[
    list[str] | None,
    typer.Option(
        "--vendor-port",
        metavar="NAME=PORT",
        help="Port of a vendor, apns=8443 say; one that is not named gets any free one.",
    ),
]
StrictDevices = Annotated[
    bool, typer.Option("--strict-devices", help="Only tokens put into the book exist.")
]
DerSignatures = Annotated[
    bool,
    typer.Option(
        "--der-signatures",
        help="Let Apple take provider tokens signed in DER form too, as pushy signs them.",
    ),
]
AdminPort = Annotated[
    int,
    typer.Option("--port", help="Port of the admin door; 0: any free one.", min=0, max=PORT_MAX),
]


def sandbox(
    context: typer.Context,
    *,
    port: AdminPort = ADMIN_PORT,
    ports: VendorPorts = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keep keys and certificates here between starts.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Append one JSON line per vendor request to this file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Make faults repeatable.")] = None,
    knows_all: StrictDevices = False,
    project: Annotated[str, typer.Option(help="FCM project id.")] = FcmSettings().project_id,
    der_signatures: DerSignatures = False,
    receipts: ReceiptsTo = "",
    receipt_delay_s: ReceiptDelay = 0.0,
    hosts: Hosts = False,
    connect_proxy: WithProxy = False,
    proxy_port: ProxyPort = PROXY_PORT,
    is_json: Json = False,
) -> None:
    """Run every vendor on loopback: real TLS, real signature checks, no vendor account needed.

    It makes its own certificate authority and credentials at each start (or keeps them in
    --folder); `tocsin credential add huawei --sandbox URL` takes a vendor's over. SDKs whose hosts
    are fixed reach it with --connect-proxy or --hosts.
    """
    if context.invoked_subcommand is not None:
        return
    screen = Screen(is_json=is_json)
    settings = SandboxSettings(
        ports=_ports(ports or []),
        receipts=_receipts(receipts, receipt_delay_s),
        admin_port=port,
        folder="" if folder is None else str(folder),
        log_path="" if log is None else str(log),
        seed=seed,
        knows_all_devices=knows_all,
        apns=ApnsSettings(takes_der_signatures=der_signatures),
        fcm=FcmSettings(project_id=project),
        hosts=real_hosts(),
        hosts_port=HTTPS_PORT if hosts else 0,
        proxy_port=proxy_port if connect_proxy else None,
    )

    async def work() -> None:
        ended = stop_on_signals()
        async with AsyncExitStack() as stack:
            # What carries the vendors' receipts.
            http = CurlHttp()
            await http.start(stack)
            await run_sandbox(
                settings, started=lambda told: started(screen, told), ended=ended, http=http
            )

    run(screen, work(), is_server=True)


def _ports(told: list[str]) -> dict[str, int]:
    ports = {}
    for text in told:
        name, _, port = text.partition("=")
        if find(name) is None or not port.isdigit() or int(port) > PORT_MAX:
            raise typer.BadParameter(f"{text!r} is no NAME=PORT of a vendor: apns=8443 say")
        ports[name] = int(port)
    return ports


def _receipts(url: str, delay_s: float) -> ReceiptSettings:
    try:
        return ReceiptSettings(url=url, delay_s=delay_s)
    except ValueError as fault:
        raise typer.BadParameter(f"--receipts: {fault}") from None


def started(screen: Screen, told: dict[str, Any]) -> None:
    """Say where everything is, with the lines of a hosts file where there are some."""

    def show() -> None:
        url = told["admin"]["url"]
        channels = [
            name for name, it in told.items() if isinstance(it, dict) and "credential" in it
        ]
        proxy = told["connect_proxy"]["url"]
        facts = {name: told[name]["url"] for name in channels} | {"admin": url}
        facts |= {"proxy": proxy} if proxy else {}
        if told["hosts"]:
            # What is printed can be put into a hosts file as it is.
            facts = {f"# {name}": address for name, address in facts.items()}
        screen.facts(facts)
        for line in told["hosts"]:
            screen.line(f"{line['address']} {line['name']}")
        screen.note("\n[dim]next, in another terminal:[/]")
        for channel in channels:
            screen.note(f"  tocsin credential add {channel} --sandbox {url} --data DIR")
        screen.note("[dim]Ctrl-C ends it.[/]")

    screen.result(told, show)


def faults_list(*, door: Door = DEFAULT_DOOR, is_json: Json = False) -> None:
    """List the faults in force, with how often each was asked and hit."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with SandboxClient(door) as sandbox_door:
            faults = await sandbox_door.faults()
        rows = [
            (it["number"], it["rule"]["kind"], it["seen"], it["hits"], _narrowed(it["rule"]))
            for it in faults
        ]
        columns = ("NUMBER", "KIND", "SEEN", "HITS", "RULE")
        screen.result(faults, lambda: screen.table(columns, rows))

    run(screen, work(), advice=START_SANDBOX)


def _narrowed(rule: dict[str, Any]) -> dict[str, Any]:
    """What a rule says beyond its kind and the defaults."""
    usual: dict[str, Any] = {
        "vendor": "*", "token": "*", "path": "*", "share": 1.0, "every": 1, "first": 1,
        "from_s": 0.0, "code": "", "body": "", "goaway_offset": 0, "reset_code": 2, "streams": 1,
    }  # fmt: skip
    return {
        name: value
        for name, value in rule.items()
        if name != "kind" and value is not None and value != usual.get(name)
    }


def faults_add(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    *,
    vendor: Annotated[str, typer.Option(help="A vendor's name; default: all.")] = "*",
    token: Annotated[str, typer.Option(help="Shell pattern of device tokens.")] = "*",  # noqa: S107
    path: Annotated[str, typer.Option(help="Shell pattern of request paths.")] = "*",
    share: Annotated[float, typer.Option(help="Hit this share of them.", min=0, max=1)] = 1.0,
    every: Annotated[int, typer.Option(help="Hit each n-th of them.", min=1)] = 1,
    first: Annotated[int, typer.Option(help="Begin with the k-th of them.", min=1)] = 1,
    times: Annotated[int | None, typer.Option(help="Hit so often, then no more.")] = None,
    for_s: Annotated[float | None, typer.Option(help="End after so many seconds.")] = None,
    status: Annotated[
        int | None, typer.Option(help="HTTP status of `status`, `html_page`, `vendor_code`.")
    ] = None,
    code: Annotated[
        str, typer.Option(help="The vendor's own error, of `vendor_code` and `receipt_code`.")
    ] = "",
    retry_after_s: Annotated[int | None, typer.Option(help="Adds Retry-After.")] = None,
    delay_s: Annotated[
        float | None, typer.Option(help="How slow `slow_…` is, how late `receipt_late`.")
    ] = None,
    streams: Annotated[int, typer.Option(help="The limit that `stream_limit` sets.")] = 1,
    door: Door = DEFAULT_DOOR,
    is_json: Json = False,
) -> None:
    """Make some requests go wrong. The first rule that matches a request wins."""
    screen = Screen(is_json=is_json)
    rule = {
        "kind": kind,
        "vendor": vendor,
        "token": token,
        "path": path,
        "share": share,
        "every": every,
        "first": first,
        "times": times,
        "until_s": for_s,
        "status": status,
        "code": code,
        "retry_after_s": retry_after_s,
        "delay_s": delay_s,
        "streams": streams,
    }

    async def work() -> None:
        async with SandboxClient(door) as sandbox_door:
            number = await sandbox_door.add_fault(**rule)
        screen.result(
            {"number": number},
            lambda: screen.line(f"fault [bold]{number}[/] in force: {escape(kind)}"),
        )

    run(screen, work(), advice=START_SANDBOX)


def faults_clear(
    number: Annotated[int | None, typer.Argument(help="Which; default: all.")] = None,
    *,
    door: Door = DEFAULT_DOOR,
    is_json: Json = False,
) -> None:
    """Take one fault, or all of them, out of force."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with SandboxClient(door) as sandbox_door:
            await sandbox_door.clear_faults(number)
        screen.result({}, lambda: screen.line("cleared"))

    run(screen, work(), advice=START_SANDBOX)
