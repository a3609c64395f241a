"""Loopback addresses that one test process has to itself, and port 443 on them."""

from __future__ import annotations

import os
import socket

from tocsin.sandbox.real_hosts import HTTPS_PORT


def own_address(net: int) -> str:
    """Where this process may put its places without meeting those of another one.

    `net` is the second number of the address: each file that listens has one.
    """
    number = os.getpid() % 60_000
    return f"127.{net}.{number // 250}.{number % 250 + 1}"


def may_use_https_port(address: str) -> bool:
    """Whether this user may listen at port 443 there."""
    with socket.socket() as tried:
        try:
            tried.bind((address, HTTPS_PORT))
        except OSError:
            return False
    return True
