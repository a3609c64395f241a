"""`tocsin sandbox`: runs the vendors' servers on loopback, and sets their faults."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tocsin.adapters.http import OutgoingHttp
from tocsin.channels.registry import find, real_hosts
from tocsin.cli.screen import START_SANDBOX, Json, Screen, run
from tocsin.cli.signals import stop_on_signals
from tocsin.client.sandbox import SandboxClient
from tocsin.sandbox.faults import KINDS
from tocsin.sandbox.real_hosts import HTTPS_PORT
from tocsin.sandbox.receipts import ReceiptSettings
from tocsin.sandbox.server import SandboxSettings, run_sandbox
from tocsin.sandbox.vendors.apns.server import ApnsSettings
from tocsin.sandbox.vendors.fcm.server import FcmSettings

ADMIN_PORT = 8090
PROXY_PORT = 8091
PORT_MAX = 65_535

AdminUrl = Annotated[
    str,
    typer.Option(
        "--sandbox",
        envvar="TOCSIN_SANDBOX",
        help="Admin URL of the running sandbox, as it printed it.",
    ),
]
DEFAULT_ADMIN_URL = f"http://127.0.0.1:{ADMIN_PORT}"


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
    bool,
    typer.Option("--strict-devices", help="Only devices added through the admin server exist."),
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
    typer.Option("--port", help="Port of the admin server; 0: any free one.", min=0, max=PORT_MAX),
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

    The sandbox makes its own certificate authority and credentials at each start, or keeps them in
    --folder. `tocsin credential add huawei --sandbox URL` adds a vendor's credential to an app.
    SDKs whose hosts are fixed reach the sandbox with --connect-proxy or --hosts.
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
        vendors=(
            ApnsSettings(takes_der_signatures=der_signatures),
            FcmSettings(project_id=project),
        ),
        hosts=real_hosts(),
        hosts_port=HTTPS_PORT if hosts else 0,
        proxy_port=proxy_port if connect_proxy else None,
    )

    async def work() -> None:
        ended = stop_on_signals()
        async with AsyncExitStack() as stack:
            # The client that posts the vendors' receipts.
            http = OutgoingHttp()
            await http.start(stack)
            await run_sandbox(
                settings,
                started=lambda addresses: started(screen, addresses),
                ended=ended,
                http=http,
            )

    run(screen, work(), is_server=True)


def _ports(texts: list[str]) -> dict[str, int]:
    ports = {}
    for text in texts:
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


def started(screen: Screen, addresses: dict[str, Any]) -> None:
    """Print every server's address, and the lines for a hosts file where there are some."""

    def show() -> None:
        url = addresses["admin"]["url"]
        channels = [
            name for name, it in addresses.items() if isinstance(it, dict) and "credential" in it
        ]
        proxy = addresses["connect_proxy"]["url"]
        facts = {name: addresses[name]["url"] for name in channels} | {"admin": url}
        facts |= {"proxy": proxy} if proxy else {}
        if addresses["hosts"]:
            # The printed lines can be put into a hosts file as they are.
            facts = {f"# {name}": address for name, address in facts.items()}
        screen.facts(facts)
        for line in addresses["hosts"]:
            screen.line(f"{line['address']} {line['name']}")
        screen.note("\n[dim]next, in another terminal:[/]")
        for channel in channels:
            screen.note(f"  tocsin credential add {channel} --sandbox {url} --data DIR")
        screen.note("[dim]Ctrl-C ends it.[/]")

    screen.result(addresses, show)


def faults_list(*, url: AdminUrl = DEFAULT_ADMIN_URL, is_json: Json = False) -> None:
    """List the faults in force, with how many requests each has seen and hit."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with SandboxClient(url) as client:
            faults = await client.faults()
        rows = [
            (it["number"], it["rule"]["kind"], it["seen"], it["hits"], _narrowed(it["rule"]))
            for it in faults
        ]
        columns = ("NUMBER", "KIND", "SEEN", "HITS", "RULE")
        screen.result(faults, lambda: screen.table(columns, rows))

    run(screen, work(), advice=START_SANDBOX)


def _narrowed(rule: dict[str, Any]) -> dict[str, Any]:
    """The members of a rule beyond its kind that are no default."""
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
    share: Annotated[
        float, typer.Option(help="Hit this share of the requests.", min=0, max=1)
    ] = 1.0,
    every: Annotated[int, typer.Option(help="Hit each n-th request.", min=1)] = 1,
    first: Annotated[int, typer.Option(help="Begin with the k-th request.", min=1)] = 1,
    times: Annotated[int | None, typer.Option(help="Hit so many requests, then no more.")] = None,
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
    url: AdminUrl = DEFAULT_ADMIN_URL,
    is_json: Json = False,
) -> None:
    """Add a fault: a rule that makes some requests fail. The first rule that matches wins."""
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
        async with SandboxClient(url) as client:
            number = await client.add_fault(**rule)
        screen.result(
            {"number": number},
            lambda: screen.line(f"fault [bold]{number}[/] in force: {escape(kind)}"),
        )

    run(screen, work(), advice=START_SANDBOX)


def faults_clear(
    number: Annotated[int | None, typer.Argument(help="Which; default: all.")] = None,
    *,
    url: AdminUrl = DEFAULT_ADMIN_URL,
    is_json: Json = False,
) -> None:
    """Remove one fault, or all of them."""
    screen = Screen(is_json=is_json)

    async def work() -> None:
        async with SandboxClient(url) as client:
            await client.clear_faults(number)
        screen.result({}, lambda: screen.line("cleared"))

    run(screen, work(), advice=START_SANDBOX)
