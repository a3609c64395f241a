"""A proxy on the way to the vendors: its URL, and which hosts are reached without it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from msgspec import Struct

DIRECT: Final = "none"
"""Said in place of a URL: no proxy at all, whatever the setting says."""

_Address: TypeAlias = IPv4Address | IPv6Address
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_UNWRITABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


class Proxy(Struct, frozen=True):
    """One proxy that is asked with CONNECT."""

    url: str
    """Scheme, host and port without user and password: this may be shown."""
    user: str = ""
    password: str = ""


def parse_proxy(text: str) -> Proxy:
    """What a proxy's URL says; raises `ValueError` with a sentence that quotes nothing of it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("this is no URL of a proxy: http://HOST:PORT") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("a proxy's URL begins with http:// or https://: CONNECT is all we speak")
    if not host or not (_NAME.fullmatch(host) or _address(host)):
        raise ValueError("a proxy's URL names a host: http://HOST:PORT")
    if not port:
        raise ValueError("a proxy's URL names its port: http://HOST:PORT")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("a proxy's URL ends after its port: write / ? # @ in a password as %XX")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if _UNWRITABLE.search(user + password) or ":" in user or (password and not user):
        raise ValueError("the user or the password in a proxy's URL cannot be sent")
    literal = f"[{host}]" if ":" in host else host
    return Proxy(f"{parts.scheme}://{literal}:{port}", user, password)


def check_proxy(text: str) -> None:
    """Raise `ValueError` unless this is a proxy's URL, `DIRECT`, or empty."""
    if text not in ("", DIRECT):
        parse_proxy(text)


def masked_proxy(text: str) -> str:
    """A proxy's URL as it may be shown: its password is masked."""
    if text in ("", DIRECT):
        return text
    proxy = parse_proxy(text)
    scheme, _, place = proxy.url.partition("://")
    return f"{scheme}://{proxy.user}:***@{place}" if proxy.user else proxy.url


class Bypass:
    """Hosts that are reached without a proxy; this machine is always one."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Raises `ValueError` naming the entry that is neither a host, a domain nor a network."""
        self._names: list[str] = []
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            self._take(entry)

    def covers(self, host: str) -> bool:
        """Whether this host, as it stands in a URL, is reached without a proxy."""
        name = host.lower().rstrip(".")
        address = _address(name)
        if address is not None:
            return address.is_loopback or any(address in network for network in self._networks)
        return any(
            name == known or name.endswith(f".{known}") for known in ("localhost", *self._names)
        )

    def _take(self, entry: str) -> None:
        plain = entry.strip().lower().removeprefix("*").removeprefix(".").rstrip(".")
        if plain.startswith("[") and plain.endswith("]"):
            plain = plain[1:-1]
        try:
            self._networks.append(ip_network(plain, strict=False))
        except ValueError:
            # What looks like a network and is none would otherwise be a name that never matches.
            if not _NAME.fullmatch(plain) or re.fullmatch(r"[0-9.]+", plain):
                said = f"{entry!r} is neither a host, a domain nor a network such as 10.0.0.0/8"
                raise ValueError(said) from None
            self._names.append(plain)


def _address(host: str) -> _Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
