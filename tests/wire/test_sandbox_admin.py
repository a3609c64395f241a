"""The admin door does over HTTP what tests do in-process, and says what it does not understand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.wire.sandbox_kit import Answer, H2Client, ask_http1, provider_token
from tocsin.clock import ManualClock
from tocsin.sandbox.log import read_entries
from tocsin.sandbox.server import Sandbox, SandboxSettings, run_sandbox
from tocsin.sandbox.vendors.apns.server import Apns

TOKEN = Apns.token(1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def sandbox(clock: ManualClock, keys: Path, tmp_path: Path) -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(folder=str(keys), log_path=str(tmp_path / "log.jsonl"))
    async with Sandbox(settings, clock) as opened:
        yield opened


async def call(sandbox: Sandbox, method: str, path: str, body: Any = None) -> Answer:
    data = b"" if body is None else json.dumps(body).encode()
    return await ask_http1(sandbox.admin_url + path, [], data, method=method)


async def push(sandbox: Sandbox, number: int = 1) -> Answer:
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    headers = [
        ("authorization", f"bearer {provider_token(sandbox)}"),
        ("apns-topic", "com.example.app"),
        ("apns-collapse-id", "c"),
    ]
    answer = await client.ask(f"/3/device/{Apns.token(number)}", headers, b'{"aps":{"alert":"x"}}')
    client.close()
    return answer


async def test_what_a_sender_needs_is_handed_out(sandbox: Sandbox) -> None:
    told = (await call(sandbox, "GET", "/v1/sandbox")).json
    assert told["apns"]["url"] == sandbox.url("apns")
    assert set(told["apns"]["credential"]) == {"team_id", "key_id", "bundle_id", "private_key"}
    assert told["fcm"]["credential"]["type"] == "service_account"
    assert told["fcm"]["credential"]["token_uri"] == told["fcm"]["token_url"]
    assert told["ca_pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert "ca_key" not in json.dumps(told)


async def test_faults_are_added_listed_and_removed(sandbox: Sandbox) -> None:
    rule = {"kind": "status", "status": 500, "vendor": "apns", "times": 1}
    number = (await call(sandbox, "POST", "/v1/faults", rule)).json["number"]
    assert [(await push(sandbox)).status for _ in range(2)] == [500, 200]
    (armed,) = (await call(sandbox, "GET", "/v1/faults")).json["faults"]
    assert (armed["number"], armed["seen"], armed["hits"]) == (number, 2, 1)
    assert armed["rule"]["status"] == 500
    assert (await call(sandbox, "DELETE", f"/v1/faults/{number}")).status == 200
    assert (await call(sandbox, "DELETE", f"/v1/faults/{number}")).status == 400
    await call(sandbox, "POST", "/v1/faults", rule)
    await call(sandbox, "DELETE", "/v1/faults")
    assert (await call(sandbox, "GET", "/v1/faults")).json == {"faults": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/faults", {"kind": "earthquake"}, 400),
        ("POST", "/v1/faults", {"kind": "status", "stauts": 1}, 400),
        ("POST", "/v1/faults", {"kind": "status", "share": 2}, 400),
        ("POST", "/v1/faults", {"kind": "vendor_code"}, 400),
        ("POST", "/v1/faults", None, 400),
        ("DELETE", "/v1/faults/x", None, 400),
        ("POST", "/v1/devices", {"devices": [{"vendor": "x", "token": "a"}]}, 400),
        ("POST", "/v1/devices", {"devices": [{"vendor": "apns"}]}, 400),
        ("GET", "/v1/log?after=x", None, 400),
        ("GET", "/v1/log/duplicates?by=weather", None, 400),
        ("POST", "/v1/drop_connections", {"vendor": "x"}, 400),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/faults", None, 405),
    ],
)
async def test_a_mistake_is_named(
    sandbox: Sandbox, method: str, path: str, body: Any, status: int
) -> None:
    answer = await call(sandbox, method, path, body)
    assert answer.status == status
    assert answer.json["error"]


async def test_devices_are_set_and_shown(sandbox: Sandbox) -> None:
    dead = {"vendor": "apns", "token": Apns.token(2), "state": "dead", "since": 5.0}
    assert (await call(sandbox, "POST", "/v1/devices", {"devices": [dead]})).json == {"count": 1}
    assert (await push(sandbox, 2)).json == {"reason": "Unregistered", "timestamp": 5000}
    await push(sandbox)
    told = (await call(sandbox, "GET", f"/v1/devices?vendor=apns&token={TOKEN}")).json
    (device,) = told["devices"]
    assert [shown["body"] for shown in device["shown"]] == ["x"]
    page = (await call(sandbox, "GET", "/v1/devices?vendor=apns&offset=1&count=1")).json
    assert page["total"] == 2
    assert len(page["devices"]) == 1


async def test_the_log_is_paged_filtered_and_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    for number in (1, 2, 1):
        await push(sandbox, number)
    first = (await call(sandbox, "GET", "/v1/log?count=2")).json
    rest = (await call(sandbox, "GET", f"/v1/log?after={first['after']}")).json
    assert [entry["sequence"] for entry in first["entries"] + rest["entries"]] == [1, 2, 3]
    assert (await call(sandbox, "GET", "/v1/log?after=3")).json == {"entries": [], "after": None}
    one = (await call(sandbox, "GET", f"/v1/log?vendor=apns&token={TOKEN}&accepted=true")).json
    assert [entry["sequence"] for entry in one["entries"]] == [1, 3]
    counts = (await call(sandbox, "GET", "/v1/log/counts")).json
    assert (counts["requests"], counts["accepted"], counts["is_complete"]) == (3, 3, True)
    found = (await call(sandbox, "GET", "/v1/log/duplicates")).json["duplicates"]
    assert found == [{"vendor": "apns", "token": TOKEN, "collapse": "c", "count": 2}]
    sandbox.log.flush()
    assert [entry.sequence for entry in read_entries(tmp_path / "log.jsonl")] == [1, 2, 3]


async def test_a_reset_forgets(sandbox: Sandbox) -> None:
    await push(sandbox)
    await call(sandbox, "POST", "/v1/faults", {"kind": "never"})
    await call(sandbox, "POST", "/v1/reset")
    assert (await push(sandbox)).status == 200
    assert (await call(sandbox, "GET", "/v1/log/counts")).json["requests"] == 1


async def test_connections_are_dropped_and_bearers_expired(sandbox: Sandbox) -> None:
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    dropped = await call(sandbox, "POST", "/v1/drop_connections", {"vendor": "apns"})
    assert dropped.json == {"count": 1}
    await client.until(lambda: client.is_lost)
    assert (await call(sandbox, "POST", "/v1/expire_bearers")).json == {"count": 0}


async def test_a_client_certificate_is_issued(sandbox: Sandbox) -> None:
    answer = await call(sandbox, "POST", "/v1/identity", {"bundle_id": "com.example.app"})
    assert "PRIVATE KEY" in answer.json["identity_pem"]


async def test_keys_kept_in_a_folder_outlive_a_restart(sandbox: Sandbox, keys: Path) -> None:
    async with Sandbox(SandboxSettings(folder=str(keys))) as again:
        assert again.ca_pem == sandbox.ca_pem
        assert again.credential("apns") == sandbox.credential("apns")
    assert (keys / "keys.json").stat().st_mode & 0o077 == 0


async def test_running_until_told_to_end(keys: Path) -> None:
    ended = asyncio.Event()
    told: list[dict[str, Any]] = []

    def started(description: dict[str, Any]) -> None:
        told.append(description)
        ended.set()

    await run_sandbox(SandboxSettings(folder=str(keys)), started=started, ended=ended)
    assert told[0]["apns"]["is_listening"]


async def test_browsers_are_handed_out_by_number(sandbox: Sandbox) -> None:
    page = (await call(sandbox, "GET", "/v1/tokens?vendor=webpush&offset=2&count=3")).json["tokens"]
    assert page == sandbox.tokens("webpush", 2, 3)
    assert json.loads(page[0])["endpoint"].startswith(sandbox.url("webpush"))
    assert (await call(sandbox, "GET", "/v1/tokens?vendor=webpush&offset=x")).status == 400
    assert (await call(sandbox, "GET", "/v1/tokens?vendor=pigeon")).status == 400
    for vendor in sandbox.listeners:
        page = (await call(sandbox, "GET", f"/v1/tokens?vendor={vendor}&count=2")).json["tokens"]
        assert len(set(page)) == 2
