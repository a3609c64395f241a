"""Drop a connection at once, on every Python that Tocsin runs on."""

from __future__ import annotations

import asyncio
import contextlib


def hang_up(transport: asyncio.WriteTransport) -> None:
    """Abort a transport, also one that has been closed before.

    A TLS transport of asyncio that is closed twice, which happens when both sides end the
    connection, forgets its protocol. To abort it then raises AttributeError in Python 3.11.2,
    which is Debian 12's own; 3.11.7 does nothing, and nothing is left to be done. To ask
    `is_closing` instead would be wrong: one that waits for the other side's goodbye says that it
    is closing, and must be dropped all the same.
    """
    with contextlib.suppress(AttributeError):
        transport.abort()
