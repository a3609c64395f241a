"""The way to the vendors of a whole service: through a proxy, and with one token for Apple."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit_apns import apns_settings
from tests.wire.connect_proxy import connect_proxy
from tests.wire.faulty_server import FaultyServer, faulty_server
from tests.wire.served import APP, client_of, make_app, opened, people, process_of, token_of
from tests.wire.test_crash import until, until_accepted
from tocsin.cli.main import build
from tocsin.client.json_http import JsonHttp
from tocsin.client.rest import notice
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns

USER = "me:hush-hush"


async def call(*words: str, **variables: str) -> Result:
    """A command on a thread of its own: it has an event loop of its own, too."""
    run = CliRunner().invoke
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        None, lambda: run(build(), words, prog_name="tocsin", env=variables)
    )


async def told_at_the_start(folder: Path, variables: dict[str, str]) -> list[dict[str, Any]]:
    """What a service logs until it serves."""
    command = ("-m", "tocsin.cli.main", "serve", "--data", str(folder), "--port", "0", "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TOCSIN_LOG_FORMAT": "json",
            **variables,
        },
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        await process.stdout.readline()
        process.terminate()
        _, text = await process.communicate()
    return [msgspec.json.decode(line) for line in text.splitlines()]


@pytest.mark.evidence(
    "a vendor is reached through a proxy, over HTTP/1.1 and HTTP/2, and its answer is its own",
)
@pytest.mark.parametrize("by", ["setting", "credential"])
async def test_pushes_go_through_the_proxy_that_is_named(tmp_path: Path, by: str) -> None:
    async with faulty_server() as server, connect_proxy(server.port) as proxy:
        proxy.user = USER
        url = proxy.with_user(USER)
        await serve_through(tmp_path, server, url if by == "credential" else "")
        if by == "credential":
            checked = await call("credential", "check", "--data", str(tmp_path), "--json")
            assert msgspec.json.decode(checked.stdout)[0]["verdict"] == "good", checked.output
            assert proxy.asked
            server.seen.clear()
        # Nobody listens at the setting's proxy where the credential has its own.
        default = url if by == "setting" else "http://127.0.0.1:9"
        async with process_of(tmp_path, TOCSIN_HTTP_PROXY=default) as process:
            async with client_of(process) as client:
                await client.batch(["u1"], notice("Title", "Text"))
            await server.until(lambda: bool(server.seen))
        assert server.seen[0].path == f"/3/device/{token_of(1)}"
        assert {one.target for one in proxy.asked} == {"apns.vendor.example:443"}


@pytest.mark.evidence(
    "a stopped credential is shown by the list, by the pushes that wait for it, in the log "
    "and in the metrics",
)
async def test_a_proxy_that_is_down_is_shown_wherever_one_looks(tmp_path: Path) -> None:
    """… and the push that waited for it is sent when it is there again."""
    async with faulty_server() as server, connect_proxy(server.port) as proxy:
        await proxy.die()
        await serve_through(tmp_path, server, proxy.with_user(USER))
        async with process_of(tmp_path) as process, client_of(process) as client:
            pushed = await client.batch(["u1"], notice("Title", "Text"))

            async def stopped() -> dict[str, Any] | None:
                listed = await call("credential", "list", "--data", str(tmp_path), "--json")
                found: dict[str, Any] | None = msgspec.json.decode(listed.stdout)[0]["stopped"]
                return found

            async def is_stopped() -> bool:
                return await stopped() is not None

            async def is_sending() -> bool:
                return await stopped() is None

            async def is_counted() -> bool:
                text = await metrics_of(process.told["metrics"][0])
                return f'credential_stopped{{credential="{APP}:1",state="down"}} 1.0' in text

            await until(is_stopped, 0.1)
            shown = await stopped()
            assert shown is not None
            assert shown["state"] == "down"
            assert f"through the proxy {proxy.url}" in shown["detail"]
            assert "hush" not in str(shown)
            (held,) = (await client.task(pushed.task_id))["stopped"]
            assert (held["credential"], held["channel"], held["state"]) == (1, "apns", "down")
            assert proxy.url not in str(held)
            await until(is_counted, 0.1)
            await proxy.listen()
            await server.until(lambda: bool(server.seen))
            await until(is_sending, 0.1)
            assert (await client.task(pushed.task_id))["stopped"] == []


async def metrics_of(url: str) -> str:
    async with JsonHttp(url) as wire, wire.session.get(url) as answered:
        return await answered.text()


async def serve_through(folder: Path, server: FaultyServer, proxy: str) -> None:
    """A folder with one person, whose phone is reached through this proxy alone."""
    facts = {
        "channel": "apns",
        "settings": msgspec.to_builtins(apns_settings()),
        "origin": "https://apns.vendor.example",
        "ca": server.ca.pem,
        "proxy": proxy,
    }
    async with opened(folder) as service:
        await make_app(service)
        await service.operator.credential_add(APP, facts)
        await people(service, 1)


@pytest.mark.evidence(
    "a proxy in the environment is told and not obeyed",
    topic="Credentials",
    planted="the environment not looked at",
)
async def test_a_proxy_in_the_environment_that_is_not_used_is_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    variables = {"https_proxy": f"http://{USER}@127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    lines = await told_at_the_start(tmp_path, variables)
    (line,) = [it for it in lines if it["event"] == "a proxy in the environment is not used"]
    assert line["variables"] == ["ALL_PROXY", "https_proxy"]
    assert "hush" not in str(lines)


@pytest.mark.evidence("a proxy's password is sealed, sealed anew, and shown nowhere")
async def test_a_bad_proxy_is_refused_with_a_sentence_by_every_command(tmp_path: Path) -> None:
    bad = f"http://{USER}@proxy.corp"
    data = ("--data", str(tmp_path))
    settings = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in msgspec.to_builtins(apns_settings()).items()
        if value
    ]
    assert (await call("app", "add", str(APP), "--new", *data)).exit_code == 0
    refused = [
        await call("credential", "add", "apns", *settings, "--proxy", bad, *data),
        await call("serve", *data, TOCSIN_HTTP_PROXY=bad),
        await call("check-config", TOCSIN_HTTP_PROXY=bad),
    ]
    lost = await call("credential", "list", *data, TOCSIN_HTTP_PROXY_CA="/nowhere.pem")
    assert lost.exit_code != 0
    assert "http.proxy_ca cannot be read" in " ".join(lost.output.split())
    added = await call("credential", "add", "apns", *settings, "--proxy", f"{bad}:3128", *data)
    refused.append(await call("credential", "set", "1", "--proxy", bad, *data))
    for result in refused:
        assert result.exit_code not in (0, None), result.output
        assert "names its port" in " ".join(result.output.split())
        assert "hush" not in result.output
    assert added.exit_code == 0, added.output
    shown = await call("credential", "set", "1", "--proxy", "none", "--json", *data)
    assert msgspec.json.decode(shown.stdout)["proxy"] == "none"
    listed = await call("credential", "list", "--json", *data)
    assert "hush" not in added.output + shown.output + listed.output


@pytest.mark.evidence("Apple sees one token of a key over checks, changes, apps and restarts")
async def test_apple_sees_one_token_over_checks_changes_and_restarts(tmp_path: Path) -> None:
    """A token is as good for the next process as for this one, whoever asks."""
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=7)) as sandbox:
        data = ("--data", str(tmp_path))
        async with opened(tmp_path) as service:
            await make_app(service, sandbox)
            await people(service, 1)
        for _ in range(2):
            checked = await call("credential", "check", *data, "--json")
            assert msgspec.json.decode(checked.stdout)[0]["verdict"] == "good", checked.output
        for count, rate in enumerate(("500", "700"), 1):
            async with process_of(tmp_path) as process:
                for _ in range(2):
                    await call("credential", "check", *data)
                await call("credential", "set", "1", "--rate-per-s", rate, *data)
                await call("secret", "rotate", *data)
                async with client_of(process) as client:
                    await client.batch(["u1"], notice("Title", "Text"))
                await until_accepted(sandbox, count)
        apns = sandbox.servers["apns"]
        assert isinstance(apns, Apns)
        assert len(apns._tokens._verified) == 1
