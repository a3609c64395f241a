"""The vendors' real host names on this machine: the CONNECT proxy, and port 443 where allowed."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.loopback import may_use_https_port, own_address
from tests.patience import PATIENCE_S
from tests.wire.sandbox_kit import assertion, trusting
from tocsin.channels.registry import VENDORS, real_hosts
from tocsin.cli.sandbox import started
from tocsin.cli.screen import Screen
from tocsin.demo.processes import COMMAND
from tocsin.domain.webpush import base64url
from tocsin.errors import SetupError
from tocsin.sandbox.connect_proxy import HEAD_BYTES_MAX, ConnectProxy
from tocsin.sandbox.real_hosts import HTTPS_PORT, advice_of, places_of
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.fcm.oauth import GRANT_TYPE

LOOPBACK = "127.0.0.1"
NET = 64
WILD = "wns2-par02p.notify.windows.com"


@asynccontextmanager
async def sandbox(**settings: object) -> AsyncIterator[Sandbox]:
    told = {"hosts": real_hosts(), "proxy_port": 0, **settings}
    async with Sandbox(msgspec.convert(told, SandboxSettings)) as here:
        yield here


async def said_to(port: int, text: bytes) -> bytes:
    """All that the proxy answers to this text, until it closes."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(text)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()


async def tunnel(
    here: Sandbox, host: str, alpn: str = "http/1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection to a host name through the proxy, checked as a client checks it."""
    reader, writer = await asyncio.open_connection(LOOPBACK, here.proxy.port)
    writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    await writer.start_tls(trusting(here.ca_pem, alpn, ""), server_hostname=host)
    return reader, writer


async def asked(here: Sandbox, host: str, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of one request to a host name through the proxy."""
    reader, writer = await tunnel(here, host)
    lines = f"{head}\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(lines.encode() + body)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    first, _, rest = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), rest


@pytest.mark.evidence(
    "every vendor's real names lead to it and are in the certificate",
    topic="Foreign judges",
    planted="kept keys used with the certificate that they came with",
)
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
async def test_every_name_of_a_vendor_leads_to_it_and_has_its_certificate(vendor: object) -> None:
    name = getattr(vendor, "NAME", "")
    hosts = real_hosts()[name]
    assert hosts
    async with sandbox() as here:
        for host in hosts:
            alpn = "h2" if name == "apns" else "http/1.1"
            _, writer = await tunnel(here, host.replace("*", "wild"), alpn)
            tls = writer.get_extra_info("ssl_object")
            assert isinstance(tls, ssl.SSLObject)
            assert tls.selected_alpn_protocol() == alpn
            writer.close()


@pytest.mark.evidence(
    "a host of two vendors tells them apart",
    topic="Foreign judges",
    planted="HarmonyOS's paths left out",
)
async def test_a_host_of_two_vendors_tells_them_apart_by_the_path() -> None:
    async with sandbox() as here:
        huawei = "push-api.cloud.huawei.com"
        assert {name for name, hosts in real_hosts().items() if huawei in hosts} == {
            "harmony",
            "huawei",
        }
        post = "POST {} HTTP/1.1\r\nauthorization: Bearer x\r\ncontent-type: application/json"
        await asked(here, huawei, post.format("/v1/1/messages:send"), b"{}")
        await asked(here, huawei, post.format("/v3/1/messages:send"), b"{}")
        await asked(here, "fcm.googleapis.com", post.format("/v1/projects/a/messages:send"), b"{}")
        token = json.loads(here.tokens("webpush", 0, 1)[0])
        path = token["endpoint"].removeprefix(here.url("webpush"))
        await asked(here, "fcm.googleapis.com", post.format(path), b"")
        found = [entry.vendor for entry in here.log.entries()]
        assert found == ["huawei", "harmony", "fcm", "webpush"]


async def test_googles_real_token_address_is_an_audience() -> None:
    async with sandbox() as here:
        aud = "https://oauth2.googleapis.com/token"
        body = f"grant_type={GRANT_TYPE}&assertion={assertion(here, aud=aud)}".encode()
        head = "POST /token HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded"
        status, answer = await asked(here, "oauth2.googleapis.com", head, body)
        assert (status, "access_token" in json.loads(answer)) == (200, True)


@pytest.mark.evidence(
    "the proxy leads to the vendors' names on port 443 and nowhere else",
    topic="Foreign judges",
    planted="the port not compared",
)
@pytest.mark.parametrize(
    "text",
    [
        "CONNECT example.com:443 HTTP/1.1",
        "CONNECT 127.0.0.1:443 HTTP/1.1",
        "CONNECT localhost:443 HTTP/1.1",
        "CONNECT api.push.apple.com:2197 HTTP/1.1",
        "CONNECT api.push.apple.com:443443 HTTP/1.1",
        "CONNECT api.push.apple.com.example.com:443 HTTP/1.1",
        "CONNECT a.b.notify.windows.com:443 HTTP/1.1",
        "CONNECT notify.windows.com:443 HTTP/1.1",
        "CONNECT *.notify.windows.com:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "CONNECT api.push.apple.com HTTP/1.1",
    ],
)
async def test_the_proxy_leads_nowhere_else(text: str) -> None:
    async with sandbox() as here:
        answer = await said_to(here.proxy.port, f"{text}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 "), answer
        assert sum(each.connections_made for each in here.listeners.values()) == 0


async def test_names_are_found_in_any_case_and_with_the_roots_dot() -> None:
    async with sandbox() as here:
        for name in ("API.Push.Apple.com", "api.push.apple.com.", WILD):
            assert here.hosts.find(name) is not None


@pytest.mark.evidence(
    "what is no request for a tunnel is refused, within limits of size and time",
    topic="Foreign judges",
    planted="methods not compared; no time limit",
)
@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET http://api.push.apple.com/ HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\r\n\r\n", 400),
        (b"CONNECT api.push.apple.com:443 HTTP/2\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
        (b"CONNECT a:443 HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES_MAX * 4, 431),
    ],
)
async def test_the_proxy_refuses_what_is_no_request_for_a_tunnel(text: bytes, status: int) -> None:
    async with sandbox() as here:
        answer = await said_to(here.proxy.port, text)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


@pytest.mark.evidence("what is no request for a tunnel is refused, within limits of size and time")
async def test_whoever_says_nothing_is_hung_up_on() -> None:
    async with sandbox() as here:
        here.proxy.head_s = here.proxy.idle_s = 0.01
        assert (await said_to(here.proxy.port, b"CONNECT api")).startswith(b"HTTP/1.1 408 ")
        request = b"CONNECT api.push.apple.com:443 HTTP/1.1\r\n\r\n"
        answer = await said_to(here.proxy.port, request)
        assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_the_proxy_says_that_the_far_side_is_gone() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        proxy = ConnectProxy(lambda _: (LOOPBACK, taken.getsockname()[1]))
        await proxy.start(0)
        answer = await said_to(proxy.port, b"CONNECT any:443 HTTP/1.1\r\n\r\n")
        await proxy.stop()
    assert answer.startswith(b"HTTP/1.1 502 ")


async def test_tunnels_have_a_limit_and_end_with_the_proxy() -> None:
    async with sandbox() as here:
        here.proxy.tunnels_max = 1
        reader, writer = await tunnel(here, "api.push.apple.com", "h2")
        request = b"CONNECT api.push.apple.com:443 HTTP/1.1\r\n\r\n"
        assert (await said_to(here.proxy.port, request)).startswith(b"HTTP/1.1 503 ")
        await here.proxy.stop()
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
        writer.close()


async def test_a_browser_at_a_real_address_is_reached_through_the_proxy() -> None:
    """The VAPID token is for the real service, and the sandbox is that service under this name."""
    async with sandbox() as here:
        host = "updates.push.services.mozilla.com"
        token = json.loads(here.tokens("webpush", 0, 1)[0])
        path = token["endpoint"].removeprefix(here.url("webpush"))
        for name, status in ((host, 201), ("evil.example", 401)):
            proof = vapid(here, f"https://{name}")
            head = f"POST {path} HTTP/1.1\r\nttl: 60\r\nauthorization: {proof}"
            assert (await asked(here, host, head))[0] == status


def vapid(here: Sandbox, audience: str) -> str:
    told = here.describe()["webpush"]["credential"]
    number = int.from_bytes(base64url(told["private_key"]))
    key = ec.derive_private_key(number, ec.SECP256R1())
    claims = {"aud": audience, "exp": int(here.clock.now()) + 60, "sub": told["subject"]}
    return f"vapid t={jwt.encode(claims, key, algorithm='ES256')}, k={told['public_key']}"


# port 443


low_ports = pytest.mark.skipif(
    not may_use_https_port(own_address(NET)),
    reason="port 443 of a loopback address is not allowed here",
)


@pytest.mark.evidence(
    "several vendors stand on 443 at addresses of their own",
    topic="Foreign judges",
    planted="every place at the first address",
)
@low_ports
async def test_several_vendors_are_on_443_at_addresses_of_their_own() -> None:
    async with sandbox(
        hosts_port=HTTPS_PORT, hosts_first=own_address(NET), proxy_port=None
    ) as here:
        lines = here.hosts.lines()
        named = {line.name for line in lines}
        names = {name for hosts in real_hosts().values() for name in hosts}
        assert named == {name for name in names if not name.startswith("*.")}
        assert len({line.address for line in lines}) == len(places_of(real_hosts())) > 5
        for line in lines:
            alpn = "h2" if line.vendors == ("apns",) else "http/1.1"
            tls = trusting(here.ca_pem, alpn, "")
            where = {"host": line.address, "port": HTTPS_PORT, "server_hostname": line.name}
            _, writer = await asyncio.open_connection(ssl=tls, **where)  # type: ignore[arg-type]
            writer.close()


async def test_an_address_that_is_not_to_be_had_is_said_with_what_to_do() -> None:
    first = own_address(NET)
    with socket.socket() as taken:
        taken.bind((first, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError) as told:
            async with sandbox(hosts_port=port, hosts_first=first):
                pass
    assert told.value.what == f"cannot listen on {first}:{port}"
    assert told.value.advice.startswith("end what listens there")
    assert "--connect-proxy" in told.value.advice


@pytest.mark.evidence(
    "a port that the sandbox cannot have is said with what to do",
    topic="Foreign judges",
    planted="the fault let through as a traceback, at each kind of port",
)
@pytest.mark.parametrize("which", ["admin_port", "proxy_port", "ports"])
async def test_a_port_in_use_is_said_so(which: str) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError) as told:
            async with sandbox(**{which: {"apns": port} if which == "ports" else port}):
                pass
    assert told.value.what == f"cannot listen on {LOOPBACK}:{port}"
    assert told.value.advice.startswith("end what listens there")
    assert "--connect-proxy" not in told.value.advice


def test_a_refused_low_port_says_how_to_be_allowed() -> None:
    assert "root" in advice_of(OSError(errno.EACCES, "Permission denied"))
    assert "loopback" in advice_of(OSError(errno.EADDRNOTAVAIL, "no"))


@pytest.mark.evidence("every vendor's real names lead to it and are in the certificate")
async def test_kept_keys_get_a_certificate_for_the_names(tmp_path: Path) -> None:
    """A folder from before the names were served has a certificate without them."""
    folder = str(tmp_path)
    async with Sandbox(SandboxSettings(folder=folder)) as old:
        authority = old.ca_pem
    async with sandbox(folder=folder) as here:
        assert here.ca_pem == authority
        _, writer = await tunnel(here, "fcm.googleapis.com")
        writer.close()


# the command


@low_ports
async def test_what_the_command_prints_is_a_hosts_file(capsys: pytest.CaptureFixture[str]) -> None:
    async with sandbox(hosts_port=HTTPS_PORT, hosts_first=own_address(NET)) as here:
        started(Screen(is_json=False), here.describe())
        lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] != "#"]
        told = {name: address for address, name in (line.split() for line in lines)}
        assert told == {line.name: line.address for line in here.hosts.lines()}


async def test_the_command_runs_the_proxy_and_says_where() -> None:
    words = ("sandbox", "--connect-proxy", "--port", "0", "--proxy-port", "0", "--json")
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            told = json.loads(await process.stdout.readline())
        port = int(told["connect_proxy"]["url"].rpartition(":")[2])
        answer = await said_to(port, b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert told["hosts"] == []
    finally:
        process.terminate()
        await process.wait()
