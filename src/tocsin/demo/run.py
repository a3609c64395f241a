"""`tocsin demo`: the main job from the first account to the last figure, and whether it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from msgspec import Struct
from rich.console import Console

from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client
from tocsin.client.sandbox import SandboxDoor, credential_facts
from tocsin.client.wire import Wire
from tocsin.clock import Chance, Clock
from tocsin.demo.acts import Director
from tocsin.demo.cast import (
    App,
    Reporting,
    Seen,
    add_tags,
    connect_sockets,
    import_accounts,
    name_attributes,
    read_tags,
    register_devices,
    report_over_http,
    set_attributes,
    tell_vendors,
)
from tocsin.demo.checks import (
    Evidence,
    Finding,
    LogLine,
    check_audience,
    check_ledger,
    check_recall,
    check_reports,
    check_sockets,
    check_tags,
    check_vendor_log,
)
from tocsin.demo.show import Show
from tocsin.demo.stage import Stage, StageFault, set_stage
from tocsin.demo.world import Sizes, World, make_acts, make_world

SDKAPPID = 1_400_000_001
ADMIN = "admin"
ACK_S = 2
BREAKS = ("lost-job", "double-send", "wrong-bitmap")
CALLS_SPARE = 150


class Outcome(Struct, frozen=True):
    """What the demo found."""

    findings: list[Finding]
    evidence: list[Evidence]

    @property
    def is_right(self) -> bool:
        """Whether every check held."""
        return not self.findings


async def run_demo(console: Console, clock: Clock, sizes: Sizes, *, broken: str = "") -> Outcome:
    """Run the demo and show it; raises `StageFault` when it cannot go on."""
    show = Show(console, clock)
    show.say("[bold]Tocsin, its main job[/]  [dim](on loopback, nothing leaves this machine)[/]\n")
    if broken:
        show.say(f"  planted on purpose: [bold red]{broken}[/]\n")
    async with set_stage(broken=broken) as stage, AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(SandboxDoor(stage.sandbox_url))
        app = await _add_app(stage, sandbox, sizes)
        client = Client(stage.url, app.sdkappid, app.admin, key=app.key)
        await stack.enter_async_context(client)
        world = make_world(sizes)
        tags = await _bring_in(show, client, world)
        # Listed last, left first: the devices hang up before the service ends.
        wire = Wire(stage.url, connections_max=sizes.sockets + CALLS_SPARE)
        await stack.enter_async_context(wire)
        seen = await _bring_devices(show, stack, wire, app, world)
        await tell_vendors(sandbox, world.gadgets)
        await _throttle(sandbox, sizes)
        director = Director(stage, client, sandbox, show, clock)
        show.say("")
        played = [await director.play(world, act) for act in make_acts(world, ADMIN)]
        first = Reporting(played[0].task_id, played[0].act.label, seen)
        phones = [gadget for gadget in world.gadgets if gadget.reports]
        with show.step("reports from phones over HTTP", len(phones)) as moved:
            await report_over_http(wire, app, phones, first, moved)
        await director.finish(played)
        evidence = await director.read_all(played)
        log = await director.log()
    show.table(evidence)
    findings = [*director.findings, *judge(evidence, log, world, seen, tags)]
    show.verdict(findings, _compared(evidence, log, world, seen))
    _close(show, findings)
    return Outcome(findings, evidence)


async def _add_app(stage: Stage, sandbox: SandboxDoor, sizes: Sizes) -> App:
    """What an operator does: an app, and the sandbox's credentials for it."""
    path = admin_socket(stage.data)
    if path is None:
        raise StageFault(f"no admin socket in {stage.data}")
    key = f"{Chance().bits(256):064x}"
    told = await sandbox.describe()
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
        for channel in ("apns", "fcm"):
            facts = credential_facts(channel, told)
            added = await admin.credential_add(SDKAPPID, facts)
            numbers[channel] = int(added["number"])
    return App(sdkappid=SDKAPPID, key=key, admin=ADMIN, credentials=numbers)


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
    show: Show, stack: AsyncExitStack, wire: Wire, app: App, world: World
) -> Seen:
    over_http = [gadget for gadget in world.gadgets if not gadget.has_socket]
    with show.step("devices registered over HTTP", len(over_http)) as moved:
        await register_devices(wire, app, over_http, moved)
    sockets = world.on_sockets()
    with show.step("devices connected by WebSocket", len(sockets)) as moved:
        return await connect_sockets(stack, wire, app, sockets, moved)


async def _throttle(sandbox: SandboxDoor, sizes: Sizes) -> None:
    """Some requests are answered "too many" once, so that retries are part of the demo."""
    for vendor, code in (("apns", "TooManyRequests"), ("fcm", "QUOTA_EXCEEDED")):
        await sandbox.add_fault(
            kind="vendor_code",
            vendor=vendor,
            path="/3/device/*" if vendor == "apns" else "*messages:send",
            code=code,
            every=7,
            times=sizes.throttled // 2,
            retry_after_s=1,
        )


def judge(
    evidence: Sequence[Evidence],
    log: Sequence[LogLine],
    world: World,
    seen: Seen,
    tags: Mapping[str, Sequence[str]],
) -> list[Finding]:
    """Everything that does not hold."""
    findings = list(check_tags({it.name: it.tags for it in world.people}, tags))
    for one in evidence:
        findings += check_ledger(one)
        findings += check_audience(one)
        if one.act.is_recalled:
            findings += check_recall(one)
        if one.overwrite is not None:
            findings += check_ledger(one.overwrite)
            findings += check_audience(one.overwrite)
        label = one.act.label
        findings += check_sockets(one, seen.shown.get(label, {}))
        told = seen.reached.get(label, set()), seen.clicked.get(label, set())
        findings += check_reports(one, *told)
    findings += check_vendor_log(evidence, log, world.owners())
    return findings


def _compared(
    evidence: Sequence[Evidence], log: Sequence[LogLine], world: World, seen: Seen
) -> dict[str, int]:
    """How much each check had to look at: a check over nothing would prove nothing."""
    return {
        "end": len(evidence),
        "tags": len(world.people),
        "audience": sum(len(one.audience) for one in evidence),
        "ledger": sum(one.ledger["planned"] for one in evidence),
        "recall": sum(1 for one in evidence if one.act.is_recalled),
        "sockets": sum(len(shown) for shown in seen.shown.values()),
        "reports": sum(len(told) for told in seen.reached.values()),
        "vendor log": len(log),
    }


def _close(show: Show, findings: Sequence[Finding]) -> None:
    spent_s = show.elapsed_s()
    if findings:
        caught = ", ".join(dict.fromkeys(finding.check for finding in findings))
        show.say(f"\n[bold red]FAILED[/] after {spent_s:.0f} s, caught by: {caught}")
    else:
        show.say(f"\n[bold green]Everything adds up[/] after {spent_s:.0f} s.")
        show.next_steps()
