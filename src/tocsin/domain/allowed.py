"""What settings may be beside their type: each check raises `ValueError` with what is allowed.

No sentence quotes what may be secret.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from tocsin.domain.proxy import parse_proxy

PORT_MAX = 65535
_NAME = re.compile(r"(?=.*[a-zA-Z])[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?")


def check_trusted_proxies(entries: tuple[str, ...]) -> None:
    """Addresses and networks, or `*` alone."""
    if entries == ("*",):
        return
    for entry in entries:
        try:
            # The server takes what is no address or network for a name that never matches.
            ip_network(entry) if "/" in entry else ip_address(entry)
        except ValueError as fault:
            raise ValueError(
                f"addresses and networks such as 10.0.0.1 or 10.0.0.0/8, or * alone ({fault})"
            ) from None


def check_hosts(hosts: tuple[str, ...]) -> None:
    """Addresses or names to listen on, each once."""
    if not hosts or len(set(hosts)) < len(hosts):
        raise ValueError("one address or several different ones")
    if not all(map(_is_host, hosts)):
        raise ValueError(
            "an address such as 127.0.0.1 or ::, or a name, without a port and brackets"
        )


def place_of(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9464` or `[::1]:9464`; raises `ValueError` with what it is."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if is_bracketed else host
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and int(port) <= PORT_MAX
    if not is_port or is_bracketed != (":" in name) or not _is_host(name):
        raise ValueError("an address with a port, such as 127.0.0.1:9464 or [::1]:9464")
    return name, int(port)


def check_place(text: str) -> None:
    """An address with its port, or nothing."""
    if text:
        place_of(text)


def check_bearer(text: str) -> None:
    """A token that can stand in a header and is not guessed, or nothing."""
    if text and not re.fullmatch(r"[!-~]{16,512}", text):
        raise ValueError("16 to 512 visible ASCII characters, or empty")


def check_plain_proxy(text: str) -> None:
    """A proxy's URL, or nothing."""
    if text:
        parse_proxy(text)


def check_secret_key(text: str) -> None:
    """A key of 32 bytes in hexadecimal, or nothing."""
    if text and not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("64 hexadecimal digits, such as `openssl rand -hex 32` prints")


def _is_host(text: str) -> bool:
    try:
        return _NAME.fullmatch(text) is not None or bool(ip_address(text))
    except ValueError:
        return False
