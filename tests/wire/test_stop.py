"""SIGTERM in the middle of a push, on real processes: nobody is served twice, and it says so."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.wire.served import (
    APP,
    Process,
    client_of,
    logging_process,
    make_app,
    opened,
    process_of,
)
from tocsin.client.device import PATH
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.demo.processes import COMMAND
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.task import Phase
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.service.opening import OpenedService

DEVICES = 500
SLOW_S = 0.4


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another process does to the sandbox of this one."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await SystemClock().sleep(0.005)


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]


async def fill(service: OpenedService, sandbox: Sandbox) -> None:
    """An FCM credential and accounts `u0`… with one phone each."""
    await make_app(service)
    await service.operator.credential_add(APP, credential_facts("fcm", sandbox.describe()))
    names = [f"u{number}" for number in range(DEVICES)]
    now = service.clock.now()
    decide = import_accounts([Profile(name) for name in names], now)
    await service.store.update_accounts(APP, names, [], decide)
    for name, token in zip(names, sandbox.tokens("fcm", 0, DEVICES), strict=True):
        route = Route("fcm", 1, token)
        ask = Registration(registration_id=f"R-{name}", fresh_secret="s", user=name, route=route)
        await service.store.update_device(APP, f"R-{name}", name, route, register(ask, now))


@asynccontextmanager
async def slow_sandbox(folder: Path, slow_s: float) -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=7)) as sandbox:
        async with opened(folder) as service:
            await fill(service, sandbox)
        slow = Rule(kind="slow_first_byte", vendor="fcm", path="*messages:send", delay_s=slow_s)
        sandbox.faults.add(slow)
        yield sandbox


async def push_and_stop(process: Process, sandbox: Sandbox, number: int) -> tuple[str, int]:
    """Tell the service to stop when requests have begun; TaskId and exit code."""
    async with client_of(process) as client:
        names = [f"u{number}" for number in range(DEVICES)]
        pushed = await client.batch(names, {"Title": "t", "Desc": "d"})
        await until(lambda: sandbox.log.counts().accepted > 0)
        process.signal(number)
        return pushed.task_id, await process.ended()


async def phase_done(process: Process, task_id: str) -> dict[str, Any]:
    async with client_of(process) as client, asyncio.timeout(PATIENCE_S):
        while (task := await client.task(task_id))["phase"] != Phase.DONE:
            await SystemClock().sleep(0.05)
    return task


@pytest.mark.evidence("an orderly stop at any moment: no device is served twice, none is in doubt")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_in_the_middle_of_a_push_nobody_is_served_twice(
    number: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with slow_sandbox(tmp_path, SLOW_S) as sandbox:
        # Long enough for every answer, however slow this machine is.
        async with logging_process(tmp_path, log, {"TOCSIN_SERVER_DRAIN_S": "60"}) as process:
            task_id, exit_code = await push_and_stop(process, sandbox, number)
        assert exit_code == 0
        last = lines_of(log)[-1]
        assert last["event"] == "stopped"
        assert last["jobs_unsettled"] == 0
        assert last["devices_connected"] == 0
        taken = sandbox.log.counts().accepted
        assert (last["jobs_open"] > 0) == (taken < DEVICES)
        async with process_of(tmp_path) as process:
            task = await phase_done(process, task_id)
        assert Counter(sandbox.log.accepted_by("token").values()) == {1: DEVICES}
        assert task["ledger"]["states"]["sent"] == DEVICES
        assert task["ledger"]["repeated"] == 0
        assert task["ledger"]["faults"] == []


@pytest.mark.evidence("when the drain ends, only what has no answer is in doubt")
@pytest.mark.slow
async def test_what_has_no_answer_when_the_drain_ends_is_said_in_the_books(tmp_path: Path) -> None:
    """As after a crash: who may have been served twice is in `repeated`, and nobody is lost."""
    log = tmp_path / "log"
    async with slow_sandbox(tmp_path, PATIENCE_S) as sandbox:
        async with logging_process(tmp_path, log, {"TOCSIN_SERVER_DRAIN_S": "1"}) as process:
            task_id, exit_code = await push_and_stop(process, sandbox, signal.SIGTERM)
        assert exit_code == 0
        assert lines_of(log)[-1]["event"] == "stopped"
        sandbox.faults.clear()
        async with process_of(tmp_path) as process:
            task = await phase_done(process, task_id)
        served = sandbox.log.accepted_by("token")
        assert len(served) == DEVICES
        twice = sum(count > 1 for count in served.values())
        states = task["ledger"]["states"]
        assert twice <= task["ledger"]["repeated"]
        assert states["sent"] + states.get("in_doubt", 0) == DEVICES
        assert task["ledger"]["faults"] == []


@pytest.mark.evidence(
    "a stop closes the listener, tells devices when to come back, exits 0 and says what it "
    "left; a second signal ends it",
)
@pytest.mark.slow
async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with slow_sandbox(tmp_path, PATIENCE_S) as sandbox:
        log = tmp_path / "log"
        settings = {"TOCSIN_SERVER_DRAIN_S": "600"}
        async with (
            logging_process(tmp_path, log, settings) as process,
            client_of(process) as client,
        ):
            await client.batch(["u0"], {"Title": "t", "Desc": "d"})
            await until(lambda: sandbox.log.counts().accepted > 0)
            process.signal(signal.SIGTERM)
            await until(lambda: any(line["event"] == "stopping" for line in lines_of(log)))
            # Those that come close behind the first one are the same.
            ending = asyncio.create_task(process.ended())
            async with asyncio.timeout(PATIENCE_S):
                while not ending.done():
                    process.signal(signal.SIGTERM)
                    await SystemClock().sleep(0.1)
            assert await ending == -signal.SIGTERM


@pytest.mark.evidence(
    "a stop closes the listener, tells devices when to come back, exits 0 and says what it "
    "left; a second signal ends it",
    topic="The laws",
    planted="the listener left open; the second signal ignored",
)
@pytest.mark.slow
async def test_the_listener_closes_and_devices_are_told_when_to_come_back(tmp_path: Path) -> None:
    """A device that stays is cut off at the end, and the last line counts it."""
    log = tmp_path / "log"
    async with opened(tmp_path) as service:
        await make_app(service)
        appkey = (await service.operator.app_show(APP))["appkey"]
    settings = {"TOCSIN_SERVER_RESTART_S": "7"}
    async with logging_process(tmp_path, log, settings) as process:
        url = process.url + PATH
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url) as leaving,
            session.ws_connect(url, autoclose=False) as staying,
        ):
            for phone in (leaving, staying):
                await phone.send_json({"type": "hello", "sdkappid": APP, "appkey": appkey})
                assert (await phone.receive_json())["type"] == "registered"
            process.signal(signal.SIGTERM)
            told = [await phone.receive_json() for phone in (leaving, staying)]
            assert [frame["type"] for frame in told] == ["drain", "drain"]
            waits = [frame["after_s"] for frame in told]
            assert all(7.0 <= wait_s <= 12.0 for wait_s in waits)
            assert waits[0] != waits[1]
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"{process.url}/healthz")
            await leaving.close()
            assert (await staying.receive()).data == 1001
        assert await process.ended() == 0
    events = lines_of(log)
    assert next(it for it in events if it["event"] == "stopping")["devices_connected"] == 2
    assert events[-1]["event"] == "stopped"
    # Where this machine is so slow that its bye came too late, the other one was cut off, too.
    assert events[-1]["devices_connected"] in (1, 2)


@pytest.mark.evidence(
    "the sandbox and commands in the foreground end at SIGTERM without a traceback",
    topic="The laws",
    planted="SIGTERM left to the kernel",
)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (("sandbox", "--port", "0", "--json"), 0),
        (("listen", "--url", "http://127.0.0.1:9", "--app", "7", "--appkey", "k"), 143),
    ],
    ids=["sandbox", "listen"],
)
async def test_commands_in_the_foreground_end_at_sigterm(
    words: tuple[str, ...], exit_code: int
) -> None:
    """The sandbox says where it listens; `listen`, where nobody does, that it is not connected."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readline()
            process.terminate()
            said = await process.stdout.read()
            assert await process.wait() == exit_code
    finally:
        if process.returncode is None:
            process.kill()
    assert b"Traceback" not in said
