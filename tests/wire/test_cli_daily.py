"""The operator's daily verbs against a real service: recall, export, erase, remove."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from tests.patience import PATIENCE_S
from tests.wire.test_cli import KEY, add_app, ask, call
from tocsin.cli.screen import EXIT_REFUSED, EXIT_USAGE
from tocsin.client.device import DeviceClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp, Refused
from tocsin.client.rest import Client, notice
from tocsin.clock import SystemClock
from tocsin.demo.processes import DemoProcesses, run_processes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[DemoProcesses]:
    async with run_processes() as processes:
        yield processes


@pytest.mark.evidence(
    "a push is recalled, with a text instead or without",
    topic="Daily verbs",
    planted="nothing sent in place of a text (90053)",
)
async def test_a_push_is_recalled(processes: DemoProcesses) -> None:
    app = "1400000021"
    await add_app(processes.data, app)
    data = ("--app", app, "--data", str(processes.data))
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        await client.multiaccount_import(["ann"])
        first = (await client.batch(["ann"], notice("Hello", ""))).task_id
        second = (await client.batch(["ann"], notice("Hello", ""))).task_id
        assert not (await ask("task", "recall", first, *data))["is_overwritten"]
        assert (await client.task(first))["recalled_at"] is not None
        again = await call("task", "recall", first, *data)
        assert (again.exit_code, "900" in again.output) == (EXIT_REFUSED, True)
        async with asyncio.timeout(PATIENCE_S):
            # One recall a second is all that an app may have.
            while (await call("task", "recall", second, "--title", "New", *data)).exit_code:
                await SystemClock().sleep(0.2)
        assert (await client.task(f"{second}_recall"))["title"] == "New"


@pytest.mark.evidence(
    "a person is exported and erased under a running service, the device cut off, the "
    "receipt written for a deletion that was",
    topic="Daily verbs",
    planted=None,
)
async def test_a_person_is_exported_and_erased(processes: DemoProcesses, tmp_path: Path) -> None:
    app = "1400000022"
    await add_app(processes.data, app)
    data = ("--app", app, "--data", str(processes.data))
    sig = (await ask("usersig", app, "a/b", "--data", str(processes.data)))["usersig"]
    shown: asyncio.Queue[ReceivedPush] = asyncio.Queue()
    async with (
        JsonHttp(processes.url) as wire,
        Client(processes.url, int(app), "admin", key=KEY) as client,
        AsyncExitStack() as exits,
    ):
        own = DeviceIdentity(sdkappid=int(app), user="a/b", usersig=sig)
        device = DeviceClient(wire, own, on_push=shown.put_nowait)
        await exits.enter_async_context(device)
        await device.registered()
        pushed = (await client.batch(["a/b"], notice("Hello", ""))).task_id
        await shown.get()
        (row,) = (await ask("device", "list", "--user", "a/b", *data))["devices"]
        assert (row["is_connected"], row["user_name"]) == (True, "a/b")
        out, receipt = tmp_path / "person.json", tmp_path / "receipt.json"
        assert (await ask("account", "export", "a/b", "--out", str(out), *data))["pushes"] == 1
        person = msgspec.json.decode(out.read_bytes())
        assert [it["task_id"] for it in person["pushes"]] == [pushed]
        assert out.stat().st_mode & 0o777 == 0o600
        delete = ("account", "delete", "a/b", "--yes", "--receipt")
        erased = (await ask(*delete, str(receipt), *data))["erased"]
        assert (erased["accounts"], erased["devices"]) == (2, 1)
        assert msgspec.json.decode(receipt.read_bytes())["erased"] == erased
        assert b"a/b" not in receipt.read_bytes()
        with pytest.raises(Refused) as refused:
            await device.ended()
        assert refused.value.code == 70052
    again = await call(*delete, str(tmp_path / "other.json"), *data)
    assert again.exit_code == EXIT_REFUSED
    assert not (tmp_path / "other.json").exists(), "a receipt of nothing"
    over = await call(*delete, str(receipt), *data)
    assert (over.exit_code, "exists" in over.output) == (EXIT_USAGE, True)


@pytest.mark.evidence("all of that under a running service", topic="Daily verbs", planted=None)
async def test_an_app_is_removed_under_a_running_service_and_added_again(
    processes: DemoProcesses,
) -> None:
    app = "1400000023"
    await add_app(processes.data, app)
    data = ("--app", app, "--data", str(processes.data))
    sandbox = ("--sandbox", processes.sandbox_url, *data)
    assert (await ask("credential", "add", "fcm", *sandbox))["number"] == 1
    sig = (await ask("usersig", app, "ann", "--data", str(processes.data)))["usersig"]
    async with JsonHttp(processes.url) as wire, AsyncExitStack() as exits:
        own = DeviceIdentity(sdkappid=int(app), user="ann", usersig=sig)
        device = DeviceClient(wire, own)
        await exits.enter_async_context(device)
        await device.registered()
        async with Client(processes.url, int(app), "admin", key=KEY) as client:
            await client.add_tag({"ann": ["red"]})
            await client.push(notice("Hello", ""), {"TagsOr": ["red"]})
            removed = await ask("app", "remove", app, "--yes", "--data", str(processes.data))
            assert removed["removed"] == {"accounts": 3, "devices": 1, "tasks": 1}
            with pytest.raises(Refused) as refused:
                await client.get_tag(["ann"])
            assert refused.value.code == 70020
        with pytest.raises(Refused) as refused:
            await device.ended()
        assert refused.value.code in (60016, 70020)
    again = await call("app", "remove", app, "--yes", "--data", str(processes.data))
    assert again.exit_code == EXIT_REFUSED
    await add_app(processes.data, app)
    assert await ask("credential", "list", *data) == []
    assert await ask("task", "list", *data) == []
    assert [it["name"] for it in (await ask("account", "list", *data))["accounts"]] == ["admin"]
    # Certificate IDs go on: an app on a phone that still names the first meets no other.
    assert (await ask("credential", "add", "fcm", *sandbox))["number"] == 2


@pytest.mark.evidence(
    "`tocsin doctor` has a line for all that is wrong, each that is not fine with what to "
    "do, and ends with 1 where one is bad",
)
async def test_a_doctor_looks_at_a_service_and_at_a_folder_alone(
    processes: DemoProcesses, tmp_path: Path
) -> None:
    app = "1400000024"
    await add_app(processes.data, app)
    await ask("credential", "add", "fcm", "--sandbox", processes.sandbox_url, "--app", app,
              "--data", str(processes.data))  # fmt: skip
    found = {it["check"]: it for it in await ask("doctor", "--ask", "--data", str(processes.data))}
    assert processes.url in found["service"]["said"]
    for check in ("settings", "disk", "write-ahead log", "open files", "backlog"):
        assert found[check]["level"] == "ok", found[check]
    assert found[f"credential 1 of {app}, fcm"]["said"] == "ready"
    assert found[f"vendor of credential 1 of {app}"]["level"] == "ok"
    assert (found["clock"]["level"], found["clock"]["said"]) == ("ok", "as 127.0.0.1's")
    shown = await call("doctor", "--data", str(processes.data))
    assert "process" in shown.output
    own = tmp_path / "data"
    await ask("app", "add", app, "--admin", "admin", "--new", "--data", str(own))
    alone = {it["check"]: it for it in await ask("doctor", "--data", str(own))}
    assert alone["service"]["todo"] == f"tocsin serve --data {own} --port 8080"
    assert "open files" not in alone
    (own / "secret.key").chmod(0o644)
    bad = await call("doctor", "--data", str(own))
    assert (bad.exit_code, "chmod 600" in bad.output) == (EXIT_REFUSED, True)


@pytest.mark.evidence(
    "the doctor makes no folder",
    topic="Daily verbs",
    planted="the folder not looked for",
)
async def test_a_doctor_makes_no_folder_and_tells_what_is_wrong_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_SERVER_PORT", "many")
    monkeypatch.setenv("TOCSIN_KEEP_TASKS_S", "-1")
    result = await call("doctor", "--json", "--data", str(tmp_path / "nowhere"))
    assert result.exit_code == EXIT_REFUSED
    found = msgspec.json.decode(result.stdout)
    assert [it["check"] for it in found] == ["settings", "settings", "data folder"]
    assert {it["level"] for it in found} == {"bad"}
    assert all(it["todo"] for it in found)
    assert not (tmp_path / "nowhere").exists()
