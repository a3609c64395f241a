"""How senders come in to the sandbox's Apple: by ALPN or without, signed one way or another."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.patience import PATIENCE_S
from tests.wire.sandbox_kit import Answer, H2Client, address, provider_token, trusting
from tocsin.clock import ManualClock, SystemClock
from tocsin.demo.processes import COMMAND
from tocsin.sandbox.listener import PREFACE
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.apns.server import Apns, ApnsSettings

APP = "com.example.app"
TOKEN = Apns.token(1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def sandbox(clock: ManualClock, keys: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(folder=str(keys), seed=1), clock) as opened:
        yield opened


async def push(client: H2Client, token: str, path: str = f"/3/device/{TOKEN}") -> Answer:
    headers = [("authorization", f"bearer {token}"), ("apns-topic", APP)]
    return await client.ask(path, headers, b'{"aps":{"alert":"hi"}}')


async def raw(sandbox: Sandbox, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over TLS that offers no ALPN."""
    host, port = address(sandbox.url(name))
    tls: ssl.SSLContext = trusting(sandbox.ca_pem, "", "")
    return await asyncio.open_connection(host, port, ssl=tls)


@pytest.mark.evidence(
    "the sandbox's Apple speaks HTTP/2 by prior knowledge, and HTTP/1.1 to nobody",
    topic="Channels and sandbox",
    planted="no ALPN taken for HTTP/1.1; the preface looked for in the first piece only",
)
async def test_http2_by_prior_knowledge_is_served(sandbox: Sandbox) -> None:
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem, alpn="")
    assert (await push(client, provider_token(sandbox))).status == 200
    listener = sandbox.listeners["apns"]
    assert (listener.connections_made, listener.connections_refused) == (1, 0)
    assert listener.connections_open == 1
    client.close()


@pytest.mark.evidence(
    "the sandbox's Apple speaks HTTP/2 by prior knowledge, and HTTP/1.1 to nobody",
)
async def test_the_preface_may_come_in_pieces(sandbox: Sandbox) -> None:
    reader, writer = await raw(sandbox, "apns")
    for byte in PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]):
        writer.write(bytes([byte]))
        await writer.drain()
    async with asyncio.timeout(10):
        head = await reader.readexactly(9)
    assert head[3] == 4, "the first frame of a server is SETTINGS (RFC 9113, 3.4)"
    writer.close()


@pytest.mark.evidence(
    "the sandbox's Apple speaks HTTP/2 by prior knowledge, and HTTP/1.1 to nobody",
)
@pytest.mark.parametrize("said", [b"POST / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1\r\n", b"x"])
async def test_whoever_offers_nothing_and_speaks_no_http2_is_refused(
    sandbox: Sandbox, said: bytes
) -> None:
    reader, writer = await raw(sandbox, "apns")
    writer.write(said)
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    listener = sandbox.listeners["apns"]
    assert (listener.connections_made, listener.connections_refused) == (0, 1)
    writer.close()


async def test_where_both_are_spoken_the_first_bytes_tell(sandbox: Sandbox) -> None:
    reader, writer = await raw(sandbox, "fcm")
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    writer.close()
    client = await H2Client.connect(sandbox.url("fcm"), sandbox.ca_pem, alpn="")
    assert (await client.ask("/nowhere", [], b"{}")).status == 404
    client.close()


async def test_a_connection_that_says_nothing_is_closed_with_the_listener(
    sandbox: Sandbox,
) -> None:
    reader, writer = await raw(sandbox, "apns")
    other = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    # Once the later connection is served, the first has been taken in.
    assert (await push(other, provider_token(sandbox))).status == 200
    assert sandbox.listeners["apns"].drop_connections() == 2
    async with asyncio.timeout(10):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()


def der_signed(token: str) -> str:
    """The same provider token with its signature as pushy writes it."""
    signed, _, signature = token.rpartition(".")
    plain = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(plain[:32]), int.from_bytes(plain[32:]))
    return f"{signed}.{base64.urlsafe_b64encode(der).rstrip(b'=').decode()}"


@pytest.mark.evidence(
    "a DER signature is taken where the sandbox is told to, and nowhere else",
    topic="Channels and sandbox",
    planted="taken always; the option not handed on",
)
@pytest.mark.parametrize("takes_der", [False, True])
async def test_a_signature_in_der_is_taken_where_the_sandbox_says_so(
    clock: ManualClock, keys: Path, takes_der: bool
) -> None:
    apns = ApnsSettings(takes_der_signatures=takes_der)
    async with Sandbox(SandboxSettings(folder=str(keys), vendors=(apns,)), clock) as sandbox:
        client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
        token = provider_token(sandbox)
        answer = await push(client, der_signed(token))
        if takes_der:
            assert answer.status == 200
        else:
            assert json.loads(answer.body) == {"reason": "InvalidProviderToken"}
        assert (await push(client, token)).status == 200
        for broken in (der_signed(token)[:-4], der_signed(token) + "AAAA", token[:-6] + "AAAAAA"):
            assert json.loads((await push(client, broken)).body) == {
                "reason": "InvalidProviderToken"
            }
        client.close()


@pytest.mark.evidence("a DER signature is taken where the sandbox is told to, and nowhere else")
async def test_the_command_takes_signatures_in_der_where_it_is_told_to() -> None:
    words = ("sandbox", "--der-signatures", "--port", "0", "--json")
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            told = json.loads(await process.stdout.readline())
        proof = told["apns"]["credential"]
        claims = {"iss": proof["team_id"], "iat": int(SystemClock().now())}
        token = jwt.encode(claims, proof["private_key"], "ES256", {"kid": proof["key_id"]})
        client = await H2Client.connect(told["apns"]["url"], told["ca_pem"])
        assert (await push(client, der_signed(token))).status == 200
        client.close()
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.evidence(
    "in the device book one device is one, however its APNs token is spelt",
    topic="Channels and sandbox",
    planted="the token kept as it was put in",
)
@pytest.mark.parametrize(
    "spelt", [TOKEN.upper(), f"<{TOKEN[:8]} {TOKEN[8:]}>", TOKEN[:32] + "\n" + TOKEN[32:]]
)
async def test_a_device_is_the_same_however_its_token_is_put_into_the_book(
    sandbox: Sandbox, spelt: str
) -> None:
    sandbox.devices.put("apns", spelt, "dead")
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    assert (await push(client, provider_token(sandbox))).status == 410
    device = sandbox.devices.known("apns", spelt)
    assert device is not None
    assert device.token == TOKEN
    assert len(sandbox.devices) == 1
    assert sandbox.devices.forget("apns", spelt)
    client.close()


async def test_in_a_path_only_hex_text_is_a_token(sandbox: Sandbox) -> None:
    """Apple reads the path as it is: brackets and spaces make no token there."""
    client = await H2Client.connect(sandbox.url("apns"), sandbox.ca_pem)
    token = provider_token(sandbox)
    assert (await push(client, token, f"/3/device/{TOKEN.upper()}")).status == 200
    for path in (f"/3/device/%3C{TOKEN}%3E", f"/3/device/{TOKEN[:8]}%20{TOKEN[8:]}"):
        assert json.loads((await push(client, token, path)).body) == {"reason": "BadDeviceToken"}
    client.close()
