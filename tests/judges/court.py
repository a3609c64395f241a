"""What the tests with foreign senders share: a sandbox that keeps each request, and the senders.

A judge is somebody else's SDK, unchanged, in a process of its own. It knows its vendor's real host
names only; the CONNECT proxy, or a hosts file of its own, leads it to the sandbox.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import Struct

from tests.loopback import may_use_https_port, own_address
from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_guard import is_public, look_up
from tocsin.channels.registry import find, real_hosts
from tocsin.client.sandbox import credential_facts
from tocsin.conversation import Batch
from tocsin.domain.message import Message
from tocsin.domain.outcome import Receipt
from tocsin.sandbox.exchange import Call, Reply, Serve
from tocsin.sandbox.listener import Listener
from tocsin.sandbox.real_hosts import HTTPS_PORT
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.huawei.server import HuaweiSettings

REPO = Path(__file__).resolve().parents[2]
SENDERS = Path(__file__).with_name("senders")
INSTALLED = REPO / ".venv" / "judges"
DEADLINE_S = 60.0
"""Only against a sender that hangs; nothing is judged by it."""
NET = 65
TITLE, BODY, TTL_S, COLLAPSE = "Game Request", "Five Card Draw", 3600, "t7-1"
DATA = {"order": "17"}


class Judge(Struct, frozen=True):
    """Somebody else's SDK, as it is run: `how` is handed to it, `by` says what leads it here."""

    name: str
    vendor: str
    script: str
    how: str = ""
    by: str = "proxy"

    @property
    def language(self) -> str:
        return "node" if self.script.endswith(".js") else "python"

    def absence(self) -> str:
        """Why it cannot be run here; empty where it can."""
        is_here = self.language != "node" or shutil.which("node") is not None
        if not is_here or not (INSTALLED / f"{self.language}.stamp").exists():
            return f"{self.name} is not installed: sh scripts/judges.sh, for which {self.language}"
        if self.by == "hosts" and not may_have_own_hosts():
            return "port 443 and a hosts file of a process's own are not allowed here"
        return ""


class Seen(Struct):
    """One request as the sandbox got it."""

    vendor: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    is_http2: bool


class Court:
    """A sandbox under the vendors' real names, and everything that was asked of it."""

    def __init__(self, sandbox: Sandbox, ca_file: Path, http: OutgoingHttp) -> None:
        self.sandbox = sandbox
        self.seen: list[Seen] = []
        self._ca_file = ca_file
        self._http = http
        for vendor, listener in sandbox.listeners.items():
            self._watch(listener, vendor)
        for place, listener in sandbox.hosts._places:
            self._watch(listener, " ".join(place.vendors))

    def _watch(self, listener: Listener, vendor: str) -> None:
        serve: Serve = listener._serve

        def watched(call: Call) -> Reply:
            headers = dict(call.headers)
            is_http2 = call.connection.alpn == "h2"
            seen = Seen(vendor, call.method, call.path, headers, call.body, is_http2)
            self.seen.append(seen)
            return serve(call)

        listener._serve = watched

    def token(self, vendor: str, number: int) -> str:
        return self.sandbox.tokens(vendor, number, 1)[0]

    async def hear(self, judge: Judge, tokens: list[str], **more: Any) -> list[dict[str, Any]]:
        """Let a judge send to these devices; what its SDK made of each answer."""
        credential = dict(self.sandbox.describe()[judge.vendor]["credential"])
        if "token_uri" in credential:
            credential["token_uri"] = "https://oauth2.googleapis.com/token"
        now = int(self.sandbox.clock.now())
        told = {"title": TITLE, "body": BODY, "ttl_s": TTL_S, "collapse": COLLAPSE, "data": DATA}
        told |= {"credential": credential, "tokens": tokens, "how": judge.how}
        told |= {"expires_at": now + TTL_S, **more}
        words = [_interpreter(judge.language), str(SENDERS / judge.script)]
        env = _environment(self._ca_file)
        if judge.by == "hosts":
            words = _with_own_hosts(words, self._hosts_file())
        else:
            proxy = urlsplit(self.sandbox.proxy.url)
            told |= {"proxy": proxy.geturl(), "proxy_host": proxy.hostname}
            told |= {"proxy_port": proxy.port}
            env |= {"HTTPS_PROXY": proxy.geturl(), "https_proxy": proxy.geturl()}
        process = await asyncio.create_subprocess_exec(
            *words,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                out, err = await process.communicate(json.dumps(told).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, err.decode()
        assert out, err.decode()
        answers: list[dict[str, Any]] = json.loads(out)
        return answers

    async def ours(
        self, vendor: str, token: str, message: Message, settings: Mapping[str, Any]
    ) -> Receipt:
        """Let our channel send the same to a device."""
        facts = credential_facts(vendor, self.sandbox.describe())
        file = find(vendor)
        assert file is not None
        one = driver(
            file,
            self._http,
            clock=self.sandbox.clock,
            settings=msgspec.convert({**facts["settings"], **settings}, file.Settings),
            **{name: facts[name] for name in ("origin", "auth_origin", "ca")},
        )
        now = self.sandbox.clock.now()
        given = delivery(
            token=token, message=message, collapse=COLLAPSE, ttl_s=TTL_S, expires_at=now + TTL_S
        )
        batch = Batch(app=7, task=1, job=9, deliveries=(given,), correlation="7-1-0011")
        try:
            return (await one.deliver(batch, OpenGate()))[0]
        finally:
            await one.close()

    def pushes(self, path: str) -> list[Seen]:
        """The requests whose path has this in it."""
        return [seen for seen in self.seen if path in seen.path]

    def _hosts_file(self) -> Path:
        file = self._ca_file.with_name("hosts")
        lines = [f"{line.address} {line.name}\n" for line in self.sandbox.hosts.lines()]
        file.write_text("".join(["127.0.0.1 localhost\n", *lines]))
        return file


@asynccontextmanager
async def court(folder: Path, judge: Judge) -> AsyncIterator[Court]:
    """A sandbox for one judge; skips the test where that cannot be had."""
    why = judge.absence()
    if why:
        pytest.skip(why)
    # Huawei's own samples send data of urgency HIGH: the app here has the right to it.
    vendors = (HuaweiSettings(allows_high=True),)
    told: dict[str, Any] = {"hosts": real_hosts(), "vendors": vendors, "seed": 7, "proxy_port": 0}
    if judge.by == "hosts":
        told |= {"hosts_port": HTTPS_PORT, "hosts_first": own_address(NET), "proxy_port": None}
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(SandboxSettings(**told)))
        ca_file = folder / "ca.pem"
        ca_file.write_text(sandbox.ca_pem)
        http = OutgoingHttp(None, look_up, is_public)
        await http.start(stack)
        yield Court(sandbox, ca_file, http)


def may_have_own_hosts() -> bool:
    """Whether a process may be given port 443 and a hosts file that only it sees."""
    if shutil.which("unshare") is None or sys.platform != "linux":
        return False
    words = _with_own_hosts(["true"], Path("/etc/hosts"))
    if subprocess.run(words, check=False, capture_output=True).returncode:
        return False
    return may_use_https_port(own_address(NET))


def _with_own_hosts(words: list[str], hosts: Path) -> list[str]:
    """The command in a mount namespace of its own: nobody else's /etc/hosts is touched."""
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(hosts), *words]


def _interpreter(language: str) -> str:
    if language == "node":
        return shutil.which("node") or "node"
    return str(INSTALLED / "python" / "bin" / "python")


def _environment(ca_file: Path) -> dict[str, str]:
    """Nothing of this process's own settings, and the sandbox's authority as the only one."""
    trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(ca_file.parent),
        "NODE_PATH": str(INSTALLED / "node" / "node_modules"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(trusted, str(ca_file)),
    }


# comparing


Different = dict[str, tuple[Any, Any]]


def compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Different:
    """What differs, by name: ours and theirs; None where one has nothing of that name."""
    names = sorted(ours.keys() | theirs.keys())
    pairs = {name: (ours.get(name), theirs.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every member of JSON by its way from the root."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= flat(each, f"{name}.{key}" if name else key)
    return found


def headers_of(seen: Seen, *names: str) -> dict[str, str]:
    """Those that matter to the vendor; of what proves the sender only the scheme."""
    kept = {name: text for name, text in seen.headers.items() if name in names}
    if "authorization" in kept:
        kept["authorization"] = kept["authorization"].split(" ")[0]
    return kept


def token_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a signed token."""
    header, claims, _ = token.split(".")
    return _json(header), _json(claims)


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
