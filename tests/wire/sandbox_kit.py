"""What tests against the sandbox share: a raw HTTP/2 client that shows every frame, and tokens."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct, structs

from tests.patience import PATIENCE_S
from tocsin.sandbox.server import Sandbox
from tocsin.sandbox.vendors.fcm.oauth import AUDIENCE

FRAME_BYTES_MAX = 16_384
MAX_CONCURRENT_STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS

Headers = Iterable[tuple[str, str]]


class Answer(Struct):
    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""
    is_complete: bool = False
    reset_code: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class H2Client(asyncio.Protocol):
    """One HTTP/2 connection. Nothing is retried and nothing is hidden."""

    def __init__(self) -> None:
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._transport: asyncio.Transport
        self._unread = b""
        self._changed = asyncio.Condition()
        self._wakers: set[asyncio.Task[None]] = set()
        self.answers: dict[int, Answer] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.stream_limits: list[int] = []
        self.pings_answered = 0
        self.is_lost = False
        self.provider_tokens: dict[float, str] = {}

    @classmethod
    async def connect(
        cls, url: str, ca_pem: str, *, alpn: str = "h2", identity: str = ""
    ) -> H2Client:
        host, port = address(url)
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            cls, host, port, ssl=trusting(ca_pem, alpn, identity)
        )
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 9:
            end = 9 + int.from_bytes(self._unread[:3])
            if len(self._unread) < end:
                break
            frame, self._unread = self._unread[:end], self._unread[end:]
            for event in self._h2.receive_data(frame):
                self._take(event)
        self._flush()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._wake()

    def begin(self, path: str, headers: Headers, body: bytes, method: str = "POST") -> int:
        """Send a request without waiting; answers the stream."""
        stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "sandbox")]
        self._h2.send_headers(stream, [*pseudo, (":path", path), *headers], end_stream=not body)
        self.answers[stream] = Answer(headers={})
        for start in range(0, len(body), FRAME_BYTES_MAX):
            piece = body[start : start + FRAME_BYTES_MAX]
            is_last = start + FRAME_BYTES_MAX >= len(body)
            self._h2.send_data(stream, piece, end_stream=is_last)
        self._flush()
        return stream

    def begin_and_give_up(self, path: str, headers: Headers, body: bytes) -> None:
        """Send a request and its cancellation in one write."""
        stream = self._h2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "sandbox")]
        self._h2.send_headers(stream, [*pseudo, (":path", path), *headers])
        self._h2.send_data(stream, body, end_stream=True)
        self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    async def ask(self, path: str, headers: Headers, body: bytes, method: str = "POST") -> Answer:
        stream = self.begin(path, headers, body, method)
        await self.until(lambda: self.is_lost or self.is_done(stream))
        return self.answers[stream]

    def is_done(self, stream: int) -> bool:
        answer = self.answers[stream]
        return answer.is_complete or answer.reset_code is not None

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(holds)

    @property
    def initial_window(self) -> int:
        return self._h2.remote_settings.initial_window_size

    def ignore_stream_limit(self) -> None:
        """Go on as if the server had set no limit, as a faulty client would."""
        self._h2.remote_settings[MAX_CONCURRENT_STREAMS] = 1000
        self._h2.remote_settings.acknowledge()

    def ping(self) -> None:
        self._h2.ping(b"12345678")
        self._flush()

    def close(self) -> None:
        self._transport.close()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                assert stream is not None
                assert headers is not None
                fields = {str(name): str(value) for name, value in headers}
                answer = self.answers[stream]
                answer.status, answer.headers = int(fields[":status"]), fields
            case h2.events.DataReceived(stream_id=stream, data=data):
                assert stream is not None
                assert data is not None
                self.answers[stream].body += data
            case h2.events.StreamEnded(stream_id=stream):
                assert stream is not None
                self.answers[stream].is_complete = True
            case h2.events.StreamReset(stream_id=stream, error_code=code):
                if stream in self.answers and code:
                    self.answers[stream].reset_code = int(code)
            case h2.events.ConnectionTerminated():
                self.goaway = event
                # The library hears nothing more after a GOAWAY, though answers are still due.
                self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.RemoteSettingsChanged(changed_settings=changed):
                if MAX_CONCURRENT_STREAMS in changed:
                    self.stream_limits.append(changed[MAX_CONCURRENT_STREAMS].new_value)
            case h2.events.PingAckReceived():
                self.pings_answered += 1
            case _:
                pass

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())

    def _wake(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._wakers.add(task)
        task.add_done_callback(self._wakers.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def ask_http1(
    url: str, headers: Headers, body: bytes, *, ca_pem: str = "", method: str = "POST"
) -> Answer:
    """One request over HTTP/1.1 on a connection of its own, read to the end."""
    where = urlsplit(url)
    tls = trusting(ca_pem, "http/1.1", "") if where.scheme == "https" else None
    reader, writer = await asyncio.open_connection(*address(url), ssl=tls)
    path = where.path + (f"?{where.query}" if where.query else "")
    lines = [f"{method} {path} HTTP/1.1", "host: sandbox", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"content-length: {len(body)}", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    async with asyncio.timeout(PATIENCE_S):
        raw = await reader.read()
    writer.close()
    if not raw:
        raise ConnectionResetError
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    pairs = [field.partition(": ") for field in fields]
    return Answer(
        status=int(first.split()[1]),
        headers={name: value for name, _, value in pairs},
        body=rest,
        is_complete=True,
    )


def address(url: str) -> tuple[str, int]:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    return where.hostname, where.port


def trusting(ca_pem: str, alpn: str, identity: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca_pem)
    if alpn:
        context.set_alpn_protocols([alpn])
    if identity:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.pem"
            path.write_text(identity)
            context.load_cert_chain(path)
    return context


def provider_token(sandbox: Sandbox, **changes: Any) -> str:
    """A provider token in order, but for what `changes` says of its header and claims."""
    credential = structs.replace(sandbox.credential("apns"))
    claims = {"iss": credential.team_id, "iat": int(sandbox.clock.now())}
    claims |= {name: changes[name] for name in ("iss", "iat", "jti") if name in changes}
    key = changes.get("key", credential.private_key)
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        key,
        algorithm=changes.get("alg", "ES256"),
        headers={"kid": changes.get("kid", credential.key_id)},
    )


def assertion(sandbox: Sandbox, **changes: Any) -> str:
    """An OAuth assertion in order, but for what `changes` says."""
    account = sandbox.credential("fcm")
    now = int(sandbox.clock.now())
    claims = {
        "iss": account.client_email,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 3600,
    }
    claims |= {name: changes[name] for name in claims if name in changes}
    key = changes.get("key", account.private_key)
    kid = changes.get("kid", account.private_key_id)
    algorithm = changes.get("alg", "RS256")
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        rsa_key(key) if algorithm == "RS256" else key,
        algorithm=algorithm,
        headers={"kid": kid} if kid else None,
    )


@functools.cache
def rsa_key(pem: str) -> rsa.RSAPrivateKey:
    """A test's own key: to check its numbers would take 30 ms."""
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
