"""Clients behind a proxy are counted by the address that it names."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.http_server.connections import Connections
from tocsin.http_server.forwarded import ForwardedClients

PROXY = "127.0.0.1"


class Behind:
    """An application behind a proxy, with one more request from within each request."""

    def __init__(self, share: int) -> None:
        self.connections = Connections(100, per_network_max=share)
        self.app = ForwardedClients(self._serve, self.connections, [PROXY])
        self.deep = 0
        self.clients: list[str] = []
        self.sent: list[Any] = []

    async def _serve(self, scope: Any, _receive: Any, _send: Any) -> None:
        self.clients.append(scope["client"][0])
        if self.deep:
            self.deep -= 1
            await self.ask(scope["type"], scope["client"][0])

    async def ask(self, kind: str, client: str, peer: str = PROXY) -> None:
        scope = {
            "type": kind,
            "client": (peer, 1),
            "headers": [(b"x-forwarded-for", client.encode())],
            "scheme": "http",
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
async def test_a_client_has_its_share_at_once_and_gives_it_back() -> None:
    behind = Behind(2)
    behind.deep = 1
    await behind.ask("http", "192.0.2.1")
    await behind.ask("http", "192.0.2.1")
    assert behind.clients == ["192.0.2.1"] * 3
    behind.deep = 2
    await behind.ask("http", "192.0.2.1")
    assert behind.sent[0]["status"] == 503
    assert len(behind.clients) == 5


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
async def test_a_socket_too_many_is_asked_to_come_back() -> None:
    behind = Behind(1)
    behind.deep = 1
    await behind.ask("websocket", "192.0.2.1")
    assert [each["type"] for each in behind.sent] == ["websocket.accept", "websocket.close"]
    assert behind.sent[1]["code"] == 1013


@pytest.mark.evidence(
    "an address has its share; this machine and named proxies are not limited, their clients are",
)
async def test_nobody_else_is_believed() -> None:
    behind = Behind(1)
    behind.deep = 1
    await behind.ask("http", "192.0.2.1", peer="203.0.113.1")
    assert behind.clients[0] == "203.0.113.1"
