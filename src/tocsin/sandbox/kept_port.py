"""A port that stays ours while nobody listens on it."""

from __future__ import annotations

import socket


def keep_port(host: str, port: int = 0) -> socket.socket:
    """A socket that keeps a port without listening on it; port 0 takes a free one.

    Until it is closed the kernel gives the port to no outgoing connection and to nobody who asks
    for any free one, and a connection to it is refused. A server that sets `SO_REUSEADDR` can
    listen on it, stop, and listen again.
    """
    kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((host, port))
    except OSError:
        kept.close()
        raise
    return kept
