"""`tocsin reload` and SIGHUP on a real process: it goes on, with what is new."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from tests.patience import PATIENCE_S
from tests.unit.channels.kit_shape import ec_key
from tests.wire.served import Process, start
from tocsin.cli.certificates import make_self_signed
from tocsin.cli.main import build
from tocsin.cli.screen import EXIT_REFUSED, EXIT_UNREACHABLE
from tocsin.client.rest import Client
from tocsin.clock import SystemClock

SETTINGS = """
[server]
tls_cert = "{folder}/chain.pem"
tls_key = "{folder}/key.pem"
{server}
[log]
file = "{folder}/log"
format = "json"
[devices]
new_per_minute = {new_per_minute}
[[apps]]
sdkappid = 1400000001
key_file = "{folder}/app-key"
admins = ["admin"]
[[apps.credentials]]
name = "apple"
vendor = "apns"
file = "{folder}/AuthKey_ABC123DEFG.p8"
settings = {{ team_id = "TEAM123456", bundle_id = "com.example.app" }}
"""
APP = 1_400_000_001
KEY = "a key that is long enough"


class Operated:
    """A folder with settings and a certificate, and the service that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.data = folder / "data"
        self.process: Process

    def certify(self, name: str) -> None:
        chain, key = make_self_signed([name, "127.0.0.1"], 30, SystemClock().now())
        (self.folder / "chain.pem").write_bytes(chain)
        (self.folder / "key.pem").write_bytes(key)

    def sign(self, key: str) -> None:
        """Write Apple's key as it is downloaded."""
        (self.folder / "AuthKey_ABC123DEFG.p8").write_text(key)

    async def call(self, *words: str) -> Result:
        told = (*words, "--data", str(self.data))
        return await asyncio.to_thread(CliRunner().invoke, build(), told, prog_name="tocsin")

    def set(self, server: str = "", new_per_minute: int = 60) -> None:
        text = SETTINGS.format(folder=self.folder, server=server, new_per_minute=new_per_minute)
        (self.folder / "tocsin.toml").write_text(text)

    async def served_name(self) -> str:
        """Whose certificate a new connection is shown."""
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        port = int(self.process.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        (common,) = x509.load_der_x509_certificate(shown).subject
        return str(common.value)

    async def reload(self, *words: str) -> Result:
        return await self.call("reload", *words)

    async def reloaded(self) -> dict[str, Any]:
        result = await self.reload("--json")
        return dict(msgspec.json.decode(result.stdout))

    async def hang_up(self) -> dict[str, Any]:
        """Send SIGHUP, and wait for what the log says of it."""
        count = len(self.reloads())
        self.process.signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.reloads()) == count:
                await SystemClock().sleep(0.01)
        return self.reloads()[-1]

    def reloads(self) -> list[dict[str, Any]]:
        lines = map(msgspec.json.decode, self.log.read_bytes().splitlines())
        return [line for line in lines if line["event"] == "reloaded"]


@asynccontextmanager
async def operated(folder: Path) -> AsyncIterator[Operated]:
    service = Operated(folder)
    service.certify("one.test")
    service.sign(ec_key())
    (folder / "app-key").write_text(f"{KEY}\n")
    service.set()
    variables = {"TOCSIN_CONFIG": str(folder / "tocsin.toml")}
    service.process = await start(service.data, variables)
    try:
        yield service
    finally:
        await service.process.kill()


@pytest.mark.evidence(
    "a container comes up with app and credentials without a command, and a restart makes "
    "no second one",
    topic="Settings, log and reload",
    planted="credentials not found by their name; everything stored again at each start",
)
async def test_an_app_and_its_credential_come_without_a_command(tmp_path: Path) -> None:
    """As a container starts: nothing but files that are there."""
    async with operated(tmp_path) as service:
        assert service.process.told["apps"] == 1
        ca = tmp_path / "chain.pem"
        async with Client(service.process.url, APP, "admin", key=KEY, ca_file=ca) as client:
            assert await client.multiaccount_import(["ann"]) == []
        (shown,) = msgspec.json.decode((await service.call("credential", "list", "--json")).stdout)
        assert (shown["number"], shown["name"], shown["source"]) == (1, "apple", "configuration")
        assert shown["settings"]["key_id"] == "ABC123DEFG"
        service.sign(ec_key.__wrapped__())
        told = await service.hang_up()
        assert "credential 1 (apple) changed" in told["taken"]
        refused = await service.call("credential", "set", "1", "bundle_id=x")
        assert refused.exit_code == EXIT_REFUSED
        assert "change it there, then tocsin reload" in " ".join(refused.stderr.split())
        service.sign("no key at all")
        (wrong,) = (await service.reloaded())["wrong"]
        assert wrong.startswith("apps[0].credentials[0].file: ")
        words = ("check-config", str(tmp_path / "tocsin.toml"))
        checked = await asyncio.to_thread(CliRunner().invoke, build(), words, prog_name="tocsin")
        assert "apps[0].credentials[0].file: " in checked.stdout


@pytest.mark.evidence(
    "SIGHUP reloads and ends nothing: while it starts, serves and stops",
    topic="Settings, log and reload",
    planted="the loop's own handler; no handler once it has closed",
)
async def test_what_is_new_is_taken_and_the_service_goes_on(tmp_path: Path) -> None:
    async with operated(tmp_path) as service:
        assert await service.reloaded() == {
            "taken": ["the log file, opened anew"],
            "needs_restart": [],
            "wrong": [],
        }
        # The certificate is renewed, the log renamed, and two settings are changed.
        service.certify("two.test")
        service.log.rename(tmp_path / "yesterday")
        service.log.touch()
        service.set(server="port = 9", new_per_minute=7)
        told = await service.hang_up()
        assert told["taken"][:2] == ["the log file, opened anew", "devices.new_per_minute"]
        assert "the TLS certificate, good until" in told["taken"][2]
        # The command line has said --port.
        assert told["needs_restart"] == []
        assert await service.served_name() == "two.test"
        # What is wrong is told, and nothing is taken.
        service.set(server="drain_s = -1", new_per_minute=8)
        (tmp_path / "chain.pem").write_text("spoilt")
        refused = await service.reload()
        assert refused.exit_code == EXIT_REFUSED
        assert "server.drain_s: -1 is wrong" in refused.stdout
        assert "chain.pem cannot be used" in refused.stdout
        assert await service.served_name() == "two.test"
        service.set(server="keep_alive_s = 9", new_per_minute=7)
        service.certify("three.test")
        done = await service.reloaded()
        assert done["needs_restart"] == ["server.keep_alive_s"]
        assert await service.served_name() == "three.test"
        # Hung up on while it stops, it stops in good order.
        service.process.signal(signal.SIGTERM)
        with suppress(ProcessLookupError):
            while True:
                service.process.signal(signal.SIGHUP)
                await SystemClock().sleep(0.01)
        assert await service.process.ended() == 0
    without = await service.reload()
    assert without.exit_code == EXIT_UNREACHABLE
    assert "no service runs in the data folder" in without.stderr
