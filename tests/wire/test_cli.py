"""The command line against a real service and sandbox, and against a folder nobody serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

import msgspec
import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from tests.patience import PATIENCE_S
from tocsin.adapters.http import OutgoingHttp
from tocsin.channels.registry import VENDORS
from tocsin.cli.main import build
from tocsin.cli.screen import EXIT_REFUSED, EXIT_UNREACHABLE
from tocsin.client.device import DeviceClient, DeviceHttpClient, DeviceIdentity, ReceivedPush
from tocsin.client.json_http import JsonHttp, Refused
from tocsin.client.operator import AdminSocket, admin_socket
from tocsin.client.rest import Client, notice
from tocsin.client.sandbox import SandboxClient
from tocsin.clock import SystemClock
from tocsin.conversation import Request, Response
from tocsin.demo.processes import COMMAND, DemoProcesses, run_processes
from tocsin.sandbox.vendors.xiaomi.server import PACKAGE, SECRET, Xiaomi

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[DemoProcesses]:
    async with run_processes() as processes:
        yield processes


async def call(*words: str) -> Result:
    """A command on a thread of its own: it has an event loop of its own, too."""
    loop = asyncio.get_running_loop()
    run = CliRunner().invoke
    return await loop.run_in_executor(None, lambda: run(build(), words, prog_name="tocsin"))


async def ask(*words: str) -> Any:
    result = await call(*words, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


async def add_app(data: Path, app: str) -> None:
    words = ("app", "add", app, "--key", KEY, "--admin", "admin", "--profile", "unlimited")
    await ask(*words, "--new", "--data", str(data))


@pytest.mark.evidence(
    "an app added while serving may call at once",
    topic="Command line and demo",
    planted="apps read at the start only",
)
async def test_an_app_added_to_a_running_service_may_call_at_once(processes: DemoProcesses) -> None:
    app = "1400000001"
    data = ("--data", str(processes.data))
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        with pytest.raises(Refused) as refused:
            await client.multiaccount_import(["ann"])
        assert refused.value.code == 70020
        await add_app(processes.data, app)
        assert await client.multiaccount_import(["ann"]) == []
    assert int(app) in [it["sdkappid"] for it in await ask("app", "list", *data)]
    shown = await ask("app", "show", app, *data)
    assert (shown["admins"], shown["profile"]) == (["admin"], "unlimited")
    told = await ask("usersig", app, "admin", *data)
    async with Client(processes.url, int(app), "admin", usersig=told["usersig"]) as client:
        assert await client.account_check(["ann", "bob"]) == {"ann": True, "bob": False}
    # What is not named stays.
    await ask("app", "add", app, "--ack-s", "7", *data)
    again = await ask("app", "show", app, *data)
    assert (again["profile"], again["ack_s"]) == ("unlimited", 7)


async def test_devices_choose_their_names_where_the_app_lets_them(processes: DemoProcesses) -> None:
    app = "1400000013"
    await add_app(processes.data, app)
    data = ("--data", str(processes.data))
    appkey = (await ask("app", "show", app, *data))["appkey"]
    prefixed = ("app", "add", app, "--own-registration-ids")
    async with (
        Client(processes.url, int(app), "admin", key=KEY) as client,
        JsonHttp(processes.url) as wire,
    ):
        door = DeviceHttpClient(wire)
        chosen = DeviceIdentity(sdkappid=int(app), appkey=appkey, registration_id="dev-1")
        with pytest.raises(Refused) as refused:
            await door.register(chosen)
        assert refused.value.code == 800103
        await client.multiaccount_import(["usr-1"])
        said = await call(*prefixed, "usr-", *data)
        assert (said.exit_code, "--prefix usr-" in said.output) == (EXIT_REFUSED, True)
        assert (await ask("app", "names", app, "--prefix", "usr-", *data))["user_ids"] == ["usr-1"]
        assert (await ask(*prefixed, "dev-", *data))["own_registration_ids"] == "dev-"
        await door.register(chosen)
        assert await client.multiaccount_import(["dev-1", "dev-2"]) == ["dev-1", "dev-2"]
        await ask(*prefixed, "", *data)
        assert await client.multiaccount_import(["dev-1", "dev-2"]) == ["dev-1"]
    shown = await call("app", "names", app, *data)
    assert "dev-1" in shown.stdout


async def test_an_app_is_switched_off_and_on_and_told_to_be_changed(
    processes: DemoProcesses,
) -> None:
    app = "1400000011"
    words = ("app", "add", app, "--data", str(processes.data))
    assert (await ask(*words, "--key", KEY, "--admin", "admin"))["done"] == "added"
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        await client.multiaccount_import(["ann"])
        told = await ask(*words, "--no-push")
        assert (told["done"], told["is_push_enabled"], told["is_enabled"]) == (
            "changed",
            False,
            True,
        )
        with pytest.raises(Refused):
            await client.batch(["ann"], notice("One", ""))
        assert (await ask(*words, "--push", "--disable"))["is_push_enabled"] is True
        with pytest.raises(Refused):
            await client.account_check(["ann"])
        await ask(*words, "--enable")
        assert await client.account_check(["ann"]) == {"ann": True}
        await client.batch(["ann"], notice("Two", ""))
    said = await call(*words)
    assert said.stdout.startswith("changed\n")


async def test_credentials_come_from_the_sandbox_and_tell_no_secret(
    processes: DemoProcesses,
) -> None:
    app = "1400000009"
    await add_app(processes.data, app)
    data = ("--data", str(processes.data), "--app", app)
    for channel in ("apns", "fcm"):
        words = ("credential", "add", channel, "--sandbox", processes.sandbox_url, *data)
        result = await call(*words)
        assert result.exit_code == 0, result.output
        assert "PRIVATE KEY" not in result.output
    listed = await call("credential", "list", *data, "--json")
    assert [it["channel"] for it in msgspec.json.decode(listed.stdout)] == ["apns", "fcm"]
    assert "PRIVATE KEY" not in listed.output
    await ask("credential", "delete", "1", *data)
    assert [it["number"] for it in await ask("credential", "list", *data)] == [2]
    gone = await call("credential", "delete", "1", *data)
    assert gone.exit_code == EXIT_REFUSED


@pytest.mark.evidence("a check tells good, wrong, refused and unclear apart, and reaches nobody")
async def test_every_vendors_credential_is_checked_with_the_vendor(
    processes: DemoProcesses,
) -> None:
    app = "1400000013"
    await add_app(processes.data, app)
    data = ("--data", str(processes.data), "--app", app)
    names = [vendor.NAME for vendor in VENDORS]
    for name in names:
        await ask("credential", "add", name, "--sandbox", processes.sandbox_url, *data)
    found = await ask("credential", "check", *data)
    assert [(it["channel"], it["verdict"]) for it in found] == [(name, "good") for name in names]
    wrong = names.index("huawei") + 1
    await ask("credential", "set", str(wrong), "app_secret=another", *data)
    said = await call("credential", "check", "1", str(wrong), "99", *data)
    assert said.exit_code == EXIT_REFUSED
    rows = {line.split()[0]: line.split()[1:3] for line in said.stdout.splitlines()[1:4]}
    assert rows == {"1": ["apns", "good"], str(wrong): ["huawei", "wrong"], "99": ["-", "unclear"]}
    assert f"{wrong}: compare app_id and app_secret with AppGallery Connect" in said.stdout


@pytest.mark.evidence(
    "the command's sandbox posts receipts",
    topic="Receipts",
    planted="its HTTP client not started",
)
async def test_the_sandbox_posts_receipts_to_who_asks_for_them(processes: DemoProcesses) -> None:
    """A push names the address, as with Xiaomi itself; whose it is does not matter here."""
    form = {
        "registration_id": Xiaomi.token(1),
        "restricted_package_name": PACKAGE,
        "title": "t",
        "description": "d",
        "extra.callback": f"{processes.url}/v3/offline_push_report/xiaomi",
        "extra.callback.param": "7-1-00",
    }
    headers = (
        ("authorization", f"key={SECRET}"),
        ("content-type", "application/x-www-form-urlencoded"),
    )
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(SandboxClient(processes.sandbox_url))
        told = await door.describe()
        http = OutgoingHttp()
        await http.start(stack)
        body = urlencode(form).encode()
        url = told["xiaomi"]["url"]
        request = Request("POST", url, "/v4/message/regid", headers, body, ca=told["ca_pem"])
        answer = await http.send(request, PATIENCE_S)
        assert isinstance(answer, Response)
        assert answer.status == 200
        async with asyncio.timeout(PATIENCE_S):
            while not (await door.receipts())["by_answer"]:
                await SystemClock().sleep(0.05)
        assert (await door.receipts())["by_answer"] == {"xiaomi 200": 1}


@pytest.mark.evidence(
    "`tocsin task show` follows a push to its funnel",
    topic="Command line and demo",
    planted="the accounts without a device left out of the books",
)
@pytest.mark.evidence(
    "a push to nobody ends with 1",
    topic="Command line and demo",
    planted="the audience not looked at",
)
async def test_a_push_is_sent_watched_and_listed(processes: DemoProcesses) -> None:
    app = "1400000003"
    await add_app(processes.data, app)
    data = ("--data", str(processes.data), "--app", app)
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        await client.multiaccount_import(["ann", "bob"])
        await client.add_tag({"ann": ["vip"], "bob": ["vip", "muted"]})
    words = ("send", "--tag", "vip", "--not", "muted", "--title", "Hi", "--desc", "there", *data)
    sent = await call(*words, "--watch")
    assert sent.exit_code == 0, sent.output
    assert "without device: no device" in sent.stdout
    (task,) = await ask("task", "list", *data)
    assert (task["title"], task["audience_size"], task["phase"]) == ("Hi", 1, "done")
    books = await ask("task", "show", task["task_id"], *data)
    assert books["ledger"]["without_device"] == {"no device": 1}
    told = await ask("send", "--to", "ann", "--to", "ghost", "--title", "Hi", *data)
    assert told["failures"] == [{"account": "ghost", "code": 70107, "info": ""}]
    for whom in (("--tag", "nobodys"), ("--to", "ghost")):
        nobody = await call("send", *whom, "--title", "Hi", *data)
        assert nobody.exit_code == EXIT_REFUSED, nobody.output
        assert "nobody is in the audience" in nobody.stderr


@pytest.mark.evidence(
    "`task show` on a pipe prints once and ends",
    topic="Command line and demo",
    planted="waited for the end of the push",
)
async def test_a_push_that_runs_is_shown_once_on_a_pipe(processes: DemoProcesses) -> None:
    """One to a device without a way to it, which waits for it until its life ends."""
    app = "1400000014"
    await add_app(processes.data, app)
    data = ("--data", str(processes.data), "--app", app)
    appkey = (await ask("app", "show", app, "--data", str(processes.data)))["appkey"]
    async with (
        Client(processes.url, int(app), "admin", key=KEY) as client,
        JsonHttp(processes.url) as wire,
    ):
        identity = await DeviceHttpClient(wire).register(
            DeviceIdentity(sdkappid=int(app), appkey=appkey)
        )
        pushed = await client.batch([identity.registration_id], notice("Hi", ""))
        async with asyncio.timeout(PATIENCE_S):
            shown = await call("task", "show", pushed.task_id, *data)
        assert (await client.task(pushed.task_id))["phase"] == "running"
    assert shown.exit_code == 0, shown.output
    assert "audience" in shown.stdout


async def test_listen_is_a_device(processes: DemoProcesses, tmp_path: Path) -> None:
    app = "1400000004"
    await add_app(processes.data, app)
    keep = tmp_path / "device.json"
    where = ("--data", str(processes.data), "--app", app, "--json")
    words = ("listen", *where, "--user", "ann", "--keep", str(keep))
    listening = asyncio.create_task(call(*words, "--click", "--count", "1"))
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        while await client.query_online_status(["ann"]) != {"ann": "Online"}:
            assert not listening.done(), listening.result().output
        pushed = await client.batch(["ann"], notice("Hello", "from Tocsin"))
        events = [msgspec.json.decode(line) for line in (await listening).stdout.splitlines()]
        assert [event["event"] for event in events] == ["registered", "push"]
        assert (events[1]["title"], events[1]["task_id"]) == ("Hello", pushed.task_id)
        while (await client.task(pushed.task_id))["ledger"]["clicked"] != 1:
            assert listening.done()
    # The same file is the same device.
    again = asyncio.create_task(call(*words, "--count", "1"))
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        while await client.query_online_status(["ann"]) != {"ann": "Online"}:
            assert not again.done(), again.result().output
        await client.batch(["ann"], notice("Hello", "again"))
    first = msgspec.json.decode((await again).stdout.splitlines()[0])
    assert first["registration_id"] == events[0]["registration_id"]
    assert keep.stat().st_mode & 0o777 == 0o600


@pytest.mark.evidence("resume: nothing twice, and what was not acked comes again")
async def test_a_device_client_resumes_without_a_second_copy(processes: DemoProcesses) -> None:
    app = "1400000005"
    await add_app(processes.data, app)
    path = admin_socket(processes.data)
    assert path is not None
    async with AdminSocket(path) as admin:
        appkey = (await admin.app_show(int(app)))["appkey"]
    shown: asyncio.Queue[ReceivedPush] = asyncio.Queue()
    async with (
        JsonHttp(processes.url) as wire,
        Client(processes.url, int(app), "admin", key=KEY) as client,
    ):
        identity = DeviceIdentity(sdkappid=int(app), appkey=appkey)
        device = DeviceClient(wire, identity, on_push=shown.put_nowait)
        async with device:
            name = (await device.registered()).registration_id
            await client.batch([name], notice("One", ""))
            assert (await shown.get()).title == "One"
        # It left in the middle of its ack, perhaps; it knows what it has shown.
        async with device:
            assert (await device.registered()).registration_id == name
            await client.batch([name], notice("Two", ""))
            assert (await shown.get()).title == "Two"
    assert shown.empty()


@pytest.mark.evidence("devices over plain HTTP")
async def test_a_device_without_sockets_polls_and_reports(processes: DemoProcesses) -> None:
    app = "1400000008"
    await add_app(processes.data, app)
    path = admin_socket(processes.data)
    assert path is not None
    async with AdminSocket(path) as admin:
        appkey = (await admin.app_show(int(app)))["appkey"]
    async with (
        JsonHttp(processes.url) as wire,
        Client(processes.url, int(app), "admin", key=KEY) as client,
    ):
        door = DeviceHttpClient(wire)
        identity = await door.register(DeviceIdentity(sdkappid=int(app), appkey=appkey))
        pushed = await client.batch([identity.registration_id], notice("One", ""))
        (frame,) = await door.poll(identity)
        assert (frame["type"], frame["title"]) == ("push", "One")
        await door.report(identity, pushed.task_id, "clicked")
        books = (await client.task(pushed.task_id))["ledger"]
        assert (books["reached"], books["clicked"]) == (1, 1)
        await door.unregister(identity)
        with pytest.raises(Refused):
            await door.register(DeviceIdentity(sdkappid=int(app), appkey="wrong"))


@pytest.mark.evidence(
    "HTTPS with a certificate of one's own",
    topic="Command line and demo",
    planted="certificate and key not handed to the server; an old key overwritten",
)
async def test_https_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    made = await ask("tls", "self-signed", "--out", str(tmp_path))
    tls = ("--tls-cert", made["cert"], "--tls-key", made["key"])
    data = tmp_path / "data"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("serve", "--data", str(data), "--port", "0", "--json", *tls),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        told = msgspec.json.decode(await process.stdout.readline())
        url = told["url"]
        assert told["apps"] == 0
        await add_app(data, "1400000001")
        assert url.startswith("https://")
        listed = await ask("task", "list", "--data", str(data), "--ca", made["cert"])
        assert listed == []
        untrusted = await call("task", "list", "--data", str(data))
        assert untrusted.exit_code == EXIT_UNREACHABLE
    finally:
        process.terminate()
        await process.wait()


async def test_without_a_service_the_folder_is_opened_directly(tmp_path: Path) -> None:
    app = "1400000006"
    data = tmp_path / "data"
    await add_app(data, app)
    told = await ask("usersig", app, "admin", "--data", str(data))
    assert told["identifier"] == "admin"
    refused = await call("usersig", "1499999999", "admin", "--data", str(data))
    assert refused.exit_code == EXIT_REFUSED
    assert "70020" in refused.stderr
    assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.evidence("the sealing key changes, whatever ends the change half way")
async def test_the_sealing_key_is_changed_under_a_running_service(processes: DemoProcesses) -> None:
    app, data = "1400000012", ("--data", str(processes.data))
    await add_app(processes.data, app)
    words = ("credential", "add", "apns", "--app", app, "--sandbox", processes.sandbox_url)
    await ask(*words, *data)
    former = (processes.data / "secret.key").read_text()
    done = await ask("secret", "rotate", *data)
    assert done["secrets"] >= 3
    assert (processes.data / "secret.key").read_text() not in ("", former)
    # The door opens what was sealed anew, and a credential too.
    async with Client(processes.url, int(app), "admin", key=KEY) as client:
        assert await client.multiaccount_import(["ann"]) == []
    assert (await ask("app", "show", app, *data))["appkey"]


async def test_a_port_in_use_is_said_so(processes: DemoProcesses, tmp_path: Path) -> None:
    port = processes.url.rpartition(":")[2]
    said = await refused_to_serve("--data", str(tmp_path / "other"), "--port", port)
    assert said[0].startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert "another --port" in said[1]


async def test_an_address_that_is_not_ours_is_said_so(tmp_path: Path) -> None:
    said = await refused_to_serve("--data", str(tmp_path / "other"), "--host", "192.0.2.1")
    assert "cannot listen on 192.0.2.1" in said[0]
    assert "--host" in said[1]


async def test_a_folder_in_use_is_said_so(processes: DemoProcesses) -> None:
    said = await refused_to_serve("--data", str(processes.data), "--port", "0")
    assert f"error: the data folder {processes.data} is in use by process" in said[0]
    assert "--data DIR" in said[1]


async def test_a_secret_key_that_others_may_read_is_said_so(tmp_path: Path) -> None:
    key = tmp_path / "secret.key"
    key.write_text("ab" * 32)
    key.chmod(0o644)
    said = await refused_to_serve("--data", str(tmp_path), "--port", "0")
    assert f"{key} may be read by others" in said[0]
    assert "chmod 600" in said[1]


async def test_a_certificate_with_anothers_key_is_said_so(tmp_path: Path) -> None:
    one = await ask("tls", "self-signed", "--out", str(tmp_path / "one"))
    other = await ask("tls", "self-signed", "--out", str(tmp_path / "other"))
    tls = ("--tls-cert", one["cert"], "--tls-key", other["key"])
    said = await refused_to_serve("--data", str(tmp_path / "data"), "--port", "0", *tls)
    assert f"the TLS certificate {one['cert']} cannot be used" in said[0]
    assert "PEM" in said[1]


async def refused_to_serve(*words: str) -> list[str]:
    """The lines that `serve` says before it ends, in a process of its own: it wants signals."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "serve", *words, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == EXIT_REFUSED
    lines = said.decode().splitlines()
    # Nothing but the fault and the advice: no traceback, no warning of the interpreter.
    assert [line[:6] for line in lines] == ["error:", "try:  "], said.decode()
    return lines


@pytest.fixture
def full() -> Iterator[BinaryIO]:
    with Path("/dev/full").open("wb", buffering=0) as device:
        yield device


async def test_only_a_port_that_cannot_be_had_is_called_one(tmp_path: Path, full: BinaryIO) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("serve", "--data", str(tmp_path / "data"), "--port", "0", "--json"),
        stdout=full,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode not in (0, None)
    assert b"No space left" in said
    assert b"cannot listen" not in said
