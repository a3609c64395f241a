"""`tocsin demo`: the main job from the first account to the last figure, and whether it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console

from tocsin.client.json_http import JsonHttp
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client
from tocsin.client.sandbox import SandboxClient, credential_facts
from tocsin.clock import Chance, Clock
from tocsin.demo.acts import Director, TooSlow
from tocsin.demo.cast import (
    App,
    Reporting,
    Seen,
    add_tags,
    connect_sockets,
    import_accounts,
    name_attributes,
    read_devices,
    read_tags,
    register_devices,
    report_over_http,
    set_attributes,
    tell_vendors,
)
from tocsin.demo.evidence import Evidence, Finding, arrange
from tocsin.demo.rows import OnlineRow, VendorRow, check_online, make_online_row, make_rows
from tocsin.demo.show import Show
from tocsin.demo.stage import Stage, StageFault, set_stage
from tocsin.demo.verdict import compared, judge
from tocsin.demo.world import Sizes, World, make_acts, make_world, tokens_needed, troubles
from tocsin.sandbox.receipts import PATH
from tocsin.sandbox.registry import Manners

SDKAPPID = 1_400_000_001
ADMIN = "admin"
ACK_S = 2
RECEIPT_S = 0.1
"""How long a push is on its way from its vendor to the phone, which the receipt then tells."""
FAULTS = ("lost-job", "double-send", "wrong-bitmap", "lost-receipt")
CALLS_SPARE = 150
PACE = 1.5
"""A push lives so many times as long as it took to bring everything in, which is more work than
any push; where the machine is quick, `Sizes.ttl_s` is longer."""
LONGER = 4
"""So many times as long do pushes live after they turned out to live too short."""
TRIES_MAX = 4


class Outcome(Struct, frozen=True):
    """What the demo found."""

    findings: list[Finding]
    evidence: list[Evidence]
    rows: list[VendorRow]
    online: OnlineRow

    @property
    def is_right(self) -> bool:
        """Whether every check held."""
        return not self.findings


async def run_demo(console: Console, clock: Clock, sizes: Sizes, *, fault: str = "") -> Outcome:
    """Run the demo and show it; raises `StageFault` when it cannot go on.

    What it finds does not depend on the machine's pace: where a push's life was too short to serve
    everybody, it begins anew with longer ones.
    """
    show = Show(console, clock)
    show.say("[bold]Tocsin, its main job[/]  [dim](on loopback, nothing leaves this machine)[/]\n")
    if fault:
        show.say(f"  injected on purpose: [bold red]{fault}[/]\n")
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return await _run_once(show, clock, sizes, fault, is_last_try=not tries_left)
        except TooSlow as slow:
            life_s = int(LONGER * slow.life_s)
            sizes = msgspec.structs.replace(sizes, ttl_s=life_s)
            show.say(f"\n  [yellow]this machine is busy: anew, pushes live {life_s} s[/]\n")
    raise AssertionError("the last try ends in an outcome")


async def _run_once(
    show: Show, clock: Clock, sizes: Sizes, fault: str, *, is_last_try: bool
) -> Outcome:
    async with set_stage(fault=fault) as stage, AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(SandboxClient(stage.sandbox_url))
        app = await _add_app(stage, sandbox, sizes)
        client = Client(stage.url, app.sdkappid, app.admin, key=app.key)
        await stack.enter_async_context(client)
        world = await _make_world(sandbox, sizes)
        began_at = clock.monotonic()
        tags = await _bring_in(show, client, world)
        # Listed last, left first: the devices hang up before the service ends.
        http = JsonHttp(stage.url, connections_max=sizes.sockets + CALLS_SPARE)
        await stack.enter_async_context(http)
        seen = await _bring_devices(show, stack, http, app, world)
        await _set_life(stage, max(sizes.ttl_s, int(PACE * (clock.monotonic() - began_at))))
        await _trouble(sandbox, world)
        director = Director(stage, client, sandbox, show, clock, is_last_try=is_last_try)
        show.say("")
        played = [await director.play(world, act) for act in make_acts(world, ADMIN)]
        first = Reporting(played[0].task_id, played[0].act.label, seen)
        phones = [gadget for gadget in world.gadgets if gadget.reports]
        with show.step("reports from phones over HTTP", len(phones)) as moved:
            await report_over_http(http, app, phones, first, moved)
        await director.finish(played)
        logs = await director.read_logs()
        evidence = await director.read_all(played)
        with show.step("devices read back", len(world.with_tokens())) as moved:
            dropped = await read_devices(client, world.with_tokens(), moved)
    case = arrange(world, evidence, logs, dropped=dropped, said=seen.reached)
    rows, online = make_rows(case), make_online_row(case)
    show.pushes(case.pushes)
    show.vendors(rows, online)
    findings = [*director.findings, *judge(evidence, case, seen, tags, rows)]
    findings += check_online(online, case, seen.shown)
    show.verdict(findings, compared(evidence, case, seen, rows))
    _close(show, findings)
    return Outcome(findings, evidence, rows, online)


async def _add_app(stage: Stage, sandbox: SandboxClient, sizes: Sizes) -> App:
    """What an operator does: an app, and the sandbox's credentials for it, of every vendor."""
    path = admin_socket(stage.data)
    if path is None:
        raise StageFault(f"no admin socket in {stage.data}")
    key = f"{Chance().bits(256):064x}"
    told = await sandbox.describe()
    # The vendors' consoles are told where receipts go.
    await sandbox.set_receipts(url=stage.url, delay_s=RECEIPT_S)
    async with AdminSocket(path) as admin:
        await admin.app_add(
            SDKAPPID,
            {
                "key": key,
                "admins": [ADMIN],
                "profile": "unlimited",
                "ack_s": ACK_S,
                "ttl_s": sizes.ttl_s,
            },
        )
        numbers = {}
        for channel, manners in _manners(told).items():
            facts = credential_facts(channel, told)
            if manners.reports == "push":
                facts["settings"]["callback_url"] = f"{stage.url}{PATH}{channel}"
            added = await admin.credential_add(SDKAPPID, facts)
            numbers[channel] = int(added["number"])
    return App(sdkappid=SDKAPPID, key=key, admin=ADMIN, credentials=numbers)


def _manners(told: Mapping[str, Any]) -> dict[str, Manners]:
    """Every vendor that the sandbox describes."""
    return {
        name: msgspec.convert(it["manners"], Manners)
        for name, it in told.items()
        if isinstance(it, dict) and "manners" in it
    }


async def _make_world(sandbox: SandboxClient, sizes: Sizes) -> World:
    tokens = {
        vendor: await sandbox.tokens(vendor, count)
        for vendor, count in tokens_needed(sizes).items()
    }
    return make_world(sizes, _manners(await sandbox.describe()), tokens)


async def _bring_in(show: Show, client: Client, world: World) -> dict[str, list[str]]:
    total = len(world.people)
    with show.step("accounts imported", total) as moved:
        await import_accounts(client, world, moved)
    await name_attributes(client)
    with show.step("attributes set", total) as moved:
        await set_attributes(client, world, moved)
    with show.step("tags added", total) as moved:
        await add_tags(client, world, moved)
    with show.step("tags read back", total) as moved:
        return await read_tags(client, world, moved)


async def _bring_devices(
    show: Show, stack: AsyncExitStack, http: JsonHttp, app: App, world: World
) -> Seen:
    over_http = [gadget for gadget in world.gadgets if not gadget.has_socket]
    with show.step("devices registered over HTTP", len(over_http)) as moved:
        await register_devices(http, app, over_http, moved)
    sockets = world.on_sockets()
    with show.step("devices connected by WebSocket", len(sockets)) as moved:
        return await connect_sockets(stack, http, app, sockets, moved)


async def _set_life(stage: Stage, life_s: int) -> None:
    """How long a push lives: enough to serve everybody at the pace of this machine."""
    path = admin_socket(stage.data)
    if path is None:
        raise StageFault(f"no admin socket in {stage.data}")
    async with AdminSocket(path) as admin:
        await admin.app_add(SDKAPPID, {"ttl_s": life_s})


async def _trouble(sandbox: SandboxClient, world: World) -> None:
    """What goes wrong at the vendors, so that the demo is not about fair weather."""
    await tell_vendors(sandbox, world.gadgets)
    for trouble in troubles(world.sizes):
        await sandbox.add_fault(vendor=trouble.vendor, **trouble.rule)


def _close(show: Show, findings: Sequence[Finding]) -> None:
    spent_s = show.elapsed_s()
    if findings:
        caught = ", ".join(dict.fromkeys(finding.check for finding in findings))
        show.say(f"\n[bold red]FAILED[/] after {spent_s:.0f} s, caught by: {caught}")
    else:
        show.say(f"\n[bold green]Everything adds up[/] after {spent_s:.0f} s.")
        show.next_steps()
