"""The whole service, asked for what it does not offer: each answer can be read by a caller."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire.api_kit import Served, exchange, serving

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ=="
)
ONLINE_WITHOUT_KEY = UPGRADE.rpartition("\r\n")[0]


async def code_of(served: Served, head: str, body: bytes = b"") -> tuple[int, int]:
    """HTTP status and ErrorCode of one request on a connection of its own."""
    streams = await served.connect()
    try:
        reply = await exchange(streams, head, body)
        return reply.status, reply.json()["ErrorCode"]
    finally:
        streams[1].close()


@pytest.mark.evidence("an upgrade that is no handshake is a request, body and all")
async def test_what_is_asked_in_a_wrong_way_gets_the_envelope(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, "memory") as served:
        right = served.path("timpush/get_attr_name")
        for head, body, expected in [
            ("POST /v4 HTTP/1.1\r\nContent-Length: 2", b"{}", (200, 60009)),
            (f"GET {served.path('timpush/push')} HTTP/1.1\r\n{UPGRADE}", b"", (200, 60002)),
            (f"GET /v4/nothing HTTP/1.1\r\n{UPGRADE}", b"", (200, 60009)),
            (f"GET /v4/online HTTP/1.1\r\n{ONLINE_WITHOUT_KEY}", b"", (200, 60002)),
            (f"POST /v4/online HTTP/1.1\r\n{UPGRADE}\r\nContent-Length: 2", b"ab", (200, 60002)),
            (f"POST /v4/online HTTP/1.1\r\n{UPGRADE}", b"", (200, 60002)),
            # The body counts, whatever else the head offers.
            (f"POST {right} HTTP/1.1\r\n{UPGRADE}\r\nContent-Length: 2", b"{}", (200, 0)),
            (f"POST {right} HTTP/1.1\r\n{UPGRADE}\r\nContent-Length: 2", b"ab", (200, 90001)),
            # Blanks around a value are no part of it.
            (f"POST {right} HTTP/1.1\r\nContent-Length: 2 \t", b"{}", (200, 0)),
            (f"GET /v1/devices/poll HTTP/1.1\r\n{UPGRADE}", b"", (200, 60002)),
            (f"GET /nowhere HTTP/1.1\r\n{UPGRADE}", b"", (404, 60009)),
            (f"POST {right.replace('h/get', 'h%2Fget')} HTTP/1.1\r\nContent-Length: 2", b"{}",
             (200, 60009)),
            (f"POST {right.replace('/v4/', '/v4%2f')} HTTP/1.1\r\nContent-Length: 2", b"{}",
             (404, 60009)),
        ]:  # fmt: skip
            assert await code_of(served, head, body) == expected, head.partition("?")[0]
    # Nothing hangs, so the end is as quiet as any.
    told = capsys.readouterr().err
    assert "stopped" in told, "what is searched is really the log"
    assert not any(word in told for word in ("Traceback", "warning", "error"))


@pytest.mark.evidence(
    "a stop waits for no half request and no client that does not read, and is quiet",
    topic="Connections",
    planted="half bodies awaited",
)
async def test_a_stop_awaits_no_half_request_and_is_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a call, of a device's call, of a receipt, of a page, and of the unwanted body of one."""
    async with serving(tmp_path, "memory") as served:
        paths = [
            served.path("timpush/get_attr_name"),
            "/v1/devices/register",
            "/v3/offline_push_report/huawei",
            "/nowhere",
            f"{served.path('timpush/get_attr_name')} HTTP/1.1\r\n{UPGRADE}\r\nX: ",
        ]
        streams = []
        for path in paths:
            reader, writer = await served.connect()
            writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: 90000\r\n\r\nabc".encode())
            await writer.drain()
            streams.append((reader, writer))
        # The service has them all: one that comes later is answered.
        assert await code_of(served, "POST /v4 HTTP/1.1\r\nContent-Length: 2", b"{}") == (
            200,
            60009,
        )
    for _, writer in streams:
        writer.close()
    told = capsys.readouterr().err
    assert "stopped" in told
    assert not any(word in told for word in ("Traceback", "warning", "error")), told
