"""A connection is dropped whatever happened to it before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

import pytest

from tests.patience import PATIENCE_S
from tests.wire.sandbox_kit import trusting
from tests.wire.throwaway_ca import ThrowawayCa
from tocsin.sandbox.hang_up import hang_up


@pytest.mark.parametrize("closings", [0, 1, 2])
async def test_a_tls_connection_is_dropped_however_often_it_was_closed(closings: int) -> None:
    ca = ThrowawayCa()
    dropped = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Dropping with unread bytes is a reset, which is as good as an end here.
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        dropped.set()

    tls = ca.server_context(alpn=["h2"])
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "localhost", port, ssl=trusting(ca.pem, "h2", "")
        )
        for _ in range(closings):
            transport.close()
        hang_up(cast(asyncio.WriteTransport, transport))
        async with asyncio.timeout(PATIENCE_S):
            await dropped.wait()
