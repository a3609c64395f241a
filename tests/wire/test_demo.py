"""The demo, a twentieth of it, on real processes: it holds when right and fails when broken."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from tocsin.adapters.fault_injection import NAMES
from tocsin.channels.registry import VENDORS
from tocsin.clock import SystemClock
from tocsin.demo.processes import DemoFault, run_processes
from tocsin.demo.run import FAULTS, DemoResult, run_demo
from tocsin.demo.world import SMALL, Sizes

pytestmark = pytest.mark.slow


async def run_push(fault: str = "", sizes: Sizes = SMALL) -> tuple[DemoResult, str]:
    screen = io.StringIO()
    console = Console(file=screen, width=150)
    outcome = await run_demo(console, SystemClock(), sizes, fault=fault)
    return outcome, screen.getvalue()


@pytest.mark.evidence(
    "`make demo` adds up",
    topic="Command line and demo",
    planted="an account left out of every frozen audience; test_demo.py injects a lost job, "
    "a double send, a wrong bitmap and a lost receipt",
)
async def test_the_demo_adds_up() -> None:
    outcome, printed = await run_push()
    assert outcome.findings == [], printed
    assert "Everything adds up" in printed
    by_name = {it.plan.name: it.ledger for it in outcome.evidence}
    assert len(by_name) == 6
    recalled = by_name["recalled"]["states"]
    assert recalled["sent"] > 0
    assert recalled["recalled"] > 0
    first = by_name["everyone"]
    assert first["states"]["failed"] > 0
    assert first["states"]["expired"] > 0
    assert first["reached"] > first["clicked"] > 0
    assert [row.vendor for row in outcome.rows] == [vendor.NAME for vendor in VENDORS]
    for row in outcome.rows:
        assert (row.sent > 0, row.calls > 0) == (True, True), row
        # A vendor that reports has reached its phones, and every other one those that say so.
        assert row.reached > (row.sent * 0.9 if row.reports else 0), row
        assert row.vendor in printed
    assert outcome.online.devices == SMALL.sockets
    assert outcome.online.sent > outcome.online.reached > 0
    assert "\n online" in printed


async def test_lives_too_short_for_the_machine_are_no_finding() -> None:
    """Honor wants to be asked again after two seconds: a push that lives one expires before."""
    outcome, printed = await run_push(sizes=replace(SMALL, ttl_s=1))
    assert outcome.findings == [], printed


@pytest.mark.evidence("`make demo` adds up")
@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("lost-job", "ledger"),
        ("double-send", "vendor log"),
        ("wrong-bitmap", "audience"),
        ("lost-receipt", "receipts"),
    ],
)
async def test_an_injected_fault_is_caught_by_its_check(fault: str, check: str) -> None:
    outcome, printed = await run_push(fault)
    assert check in {finding.check for finding in outcome.findings}, printed
    assert "FAILED" in printed


def test_every_fault_that_can_be_injected_is_tried() -> None:
    assert FAULTS == NAMES == ("lost-job", "double-send", "wrong-bitmap", "lost-receipt")


async def test_the_children_end_when_the_demo_is_cancelled() -> None:
    set_up: asyncio.Queue[tuple[int, int, Path]] = asyncio.Queue()

    async def hold() -> None:
        async with run_processes() as processes:
            pids = (processes.service.process.pid, processes.sandbox.process.pid)
            set_up.put_nowait((*pids, processes.folder))
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    *pids, folder = await set_up.get()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert not folder.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_child_that_does_not_start_is_heard(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text("[server]\nprot = 1\n")
    with pytest.raises(DemoFault, match="did not start") as fault:
        async with run_processes(config=config):
            pass
    assert "prot" in str(fault.value)
