"""Runs the demo: accounts, devices, pushes, and the checks of every book."""

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
from tocsin.demo.display import Display
from tocsin.demo.evidence import Evidence, FailedCheck, arrange
from tocsin.demo.processes import DemoFault, DemoProcesses, run_processes
from tocsin.demo.provision import (
    DemoApp,
    DeviceMemory,
    ReportedPush,
    add_tags,
    connect_sockets,
    import_accounts,
    name_attributes,
    read_devices,
    read_tags,
    register_devices,
    report_over_http,
    set_attributes,
    set_device_states,
)
from tocsin.demo.pushes import PushRunner, TooSlow
from tocsin.demo.rows import OnlineRow, VendorRow, check_online, make_online_row, make_rows
from tocsin.demo.verdict import compared, judge
from tocsin.demo.world import Sizes, World, make_world, plan_pushes, tokens_needed, vendor_faults
from tocsin.sandbox.receipts import PATH
from tocsin.sandbox.registry import Capabilities

SDKAPPID = 1_400_000_001
ADMIN = "admin"
ACK_S = 2
RECEIPT_S = 0.1
"""Seconds between a vendor's answer and its receipt."""
FAULTS = ("lost-job", "double-send", "wrong-bitmap", "lost-receipt")
CALLS_SPARE = 150
PACE = 1.5
"""A push lives this many times as long as the set-up took, which is more work than any push;
on a quick machine `Sizes.ttl_s` is longer."""
LONGER = 4
"""After a push that was `TooSlow`, all pushes live this many times as long."""
TRIES_MAX = 4


class DemoResult(Struct, frozen=True):
    """The failed checks, and everything that they compared."""

    findings: list[FailedCheck]
    evidence: list[Evidence]
    rows: list[VendorRow]
    online: OnlineRow

    @property
    def is_right(self) -> bool:
        """Whether every check held."""
        return not self.findings


async def run_demo(console: Console, clock: Clock, sizes: Sizes, *, fault: str = "") -> DemoResult:
    """Run the demo and show it; raises `DemoFault` when it cannot go on.

    The result does not depend on the machine's pace: where a push expired too soon, the demo begins
    again with a longer life for each push.
    """
    display = Display(console, clock)
    display.say(
        "[bold]Tocsin, its main job[/]  [dim](on loopback, nothing leaves this machine)[/]\n"
    )
    if fault:
        display.say(f"  injected on purpose: [bold red]{fault}[/]\n")
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return await _run_once(display, clock, sizes, fault, is_last_try=not tries_left)
        except TooSlow as slow:
            life_s = int(LONGER * slow.life_s)
            sizes = msgspec.structs.replace(sizes, ttl_s=life_s)
            display.say(
                f"\n  [yellow]busy machine: the demo begins again, pushes live {life_s} s[/]\n"
            )
    raise AssertionError("the last try ends in an outcome")


async def _run_once(
    display: Display, clock: Clock, sizes: Sizes, fault: str, *, is_last_try: bool
) -> DemoResult:
    async with run_processes(fault=fault) as processes, AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(SandboxClient(processes.sandbox_url))
        app = await _add_app(processes, sandbox, sizes)
        client = Client(processes.url, app.sdkappid, app.admin, key=app.key)
        await stack.enter_async_context(client)
        world = await _make_world(sandbox, sizes)
        began_at = clock.monotonic()
        tags = await _bring_in(display, client, world)
        # Entered last, closed first: the devices hang up before the service ends.
        http = JsonHttp(processes.url, connections_max=sizes.sockets + CALLS_SPARE)
        await stack.enter_async_context(http)
        memory = await _bring_devices(display, stack, http, app, world)
        await _set_life(processes, max(sizes.ttl_s, int(PACE * (clock.monotonic() - began_at))))
        await _set_faults(sandbox, world)
        runner = PushRunner(processes, client, sandbox, display, clock, is_last_try=is_last_try)
        display.say("")
        sent = [await runner.run_push(world, plan) for plan in plan_pushes(world, ADMIN)]
        first = ReportedPush(sent[0].task_id, sent[0].plan.label, memory)
        phones = [device for device in world.devices if device.reports]
        with display.step("reports from phones over HTTP", len(phones)) as advance:
            await report_over_http(http, app, phones, first, advance)
        await runner.finish(sent)
        logs = await runner.read_logs()
        evidence = await runner.read_all(sent)
        with display.step("devices read back", len(world.with_tokens())) as advance:
            dropped = await read_devices(client, world.with_tokens(), advance)
    case = arrange(world, evidence, logs, dropped=dropped, said=memory.reached)
    rows, online = make_rows(case), make_online_row(case)
    display.pushes(case.pushes)
    display.vendors(rows, online)
    findings = [*runner.findings, *judge(evidence, case, memory, tags, rows)]
    findings += check_online(online, case, memory.shown)
    display.verdict(findings, compared(evidence, case, memory, rows))
    _close(display, findings)
    return DemoResult(findings, evidence, rows, online)


async def _add_app(processes: DemoProcesses, sandbox: SandboxClient, sizes: Sizes) -> DemoApp:
    """Add the app and a credential of every vendor of the sandbox, as an operator does."""
    path = admin_socket(processes.data)
    if path is None:
        raise DemoFault(f"no admin socket in {processes.data}")
    key = f"{Chance().bits(256):064x}"
    description = await sandbox.describe()
    # Set the address that an operator enters in the vendors' consoles.
    await sandbox.set_receipts(url=processes.url, delay_s=RECEIPT_S)
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
        for channel, capabilities in _capabilities(description).items():
            facts = credential_facts(channel, description)
            if capabilities.reports == "push":
                facts["settings"]["callback_url"] = f"{processes.url}{PATH}{channel}"
            added = await admin.credential_add(SDKAPPID, facts)
            numbers[channel] = int(added["number"])
    return DemoApp(sdkappid=SDKAPPID, key=key, admin=ADMIN, credentials=numbers)


def _capabilities(description: Mapping[str, Any]) -> dict[str, Capabilities]:
    """Every vendor in the sandbox's description."""
    return {
        name: msgspec.convert(it["capabilities"], Capabilities)
        for name, it in description.items()
        if isinstance(it, dict) and "capabilities" in it
    }


async def _make_world(sandbox: SandboxClient, sizes: Sizes) -> World:
    tokens = {
        vendor: await sandbox.tokens(vendor, count)
        for vendor, count in tokens_needed(sizes).items()
    }
    return make_world(sizes, _capabilities(await sandbox.describe()), tokens)


async def _bring_in(display: Display, client: Client, world: World) -> dict[str, list[str]]:
    total = len(world.people)
    with display.step("accounts imported", total) as advance:
        await import_accounts(client, world, advance)
    await name_attributes(client)
    with display.step("attributes set", total) as advance:
        await set_attributes(client, world, advance)
    with display.step("tags added", total) as advance:
        await add_tags(client, world, advance)
    with display.step("tags read back", total) as advance:
        return await read_tags(client, world, advance)


async def _bring_devices(
    display: Display, stack: AsyncExitStack, http: JsonHttp, app: DemoApp, world: World
) -> DeviceMemory:
    over_http = [device for device in world.devices if not device.has_socket]
    with display.step("devices registered over HTTP", len(over_http)) as advance:
        await register_devices(http, app, over_http, advance)
    sockets = world.on_sockets()
    with display.step("devices connected by WebSocket", len(sockets)) as advance:
        return await connect_sockets(stack, http, app, sockets, advance)


async def _set_life(processes: DemoProcesses, life_s: int) -> None:
    """Set the seconds that a push lives."""
    path = admin_socket(processes.data)
    if path is None:
        raise DemoFault(f"no admin socket in {processes.data}")
    async with AdminSocket(path) as admin:
        await admin.app_add(SDKAPPID, {"ttl_s": life_s})


async def _set_faults(sandbox: SandboxClient, world: World) -> None:
    """Set dead tokens, removed apps and faults at the vendors."""
    await set_device_states(sandbox, world.devices)
    for vendor_fault in vendor_faults(world.sizes):
        await sandbox.add_fault(vendor=vendor_fault.vendor, **vendor_fault.rule)


def _close(display: Display, findings: Sequence[FailedCheck]) -> None:
    spent_s = display.elapsed_s()
    if findings:
        caught = ", ".join(dict.fromkeys(finding.check for finding in findings))
        display.say(f"\n[bold red]FAILED[/] after {spent_s:.0f} s, caught by: {caught}")
    else:
        display.say(f"\n[bold green]Everything adds up[/] after {spent_s:.0f} s.")
        display.next_steps()
