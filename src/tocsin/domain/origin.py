"""Origins of web pages: `scheme://host[:port]`, in the one spelling that browsers send.

Sources: RFC 6454, 6.2 and fetch.spec.whatwg.org, 3.2 (read 2026-12).
"""

from __future__ import annotations

import re

from tocsin.errors import CallError

ORIGINS_MAX = 50
"""Of an app."""
ORIGIN_MAX_CHARS = 300
"""A name of 253 characters, with its scheme and port."""
DEFAULT_PORTS = {"http": "80", "https": "443"}

_ORIGIN = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://"
    r"([A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::([0-9]{1,5}))?"
)


def normal_origin(text: str) -> str:
    """The origin as browsers spell it: small letters, and no port that goes without saying.

    Raises `CallError` 70402 for what no browser sends, and for `*`: it would let every page in
    the world register devices. Schemes of app frames (`capacitor://localhost`) are origins too.
    """
    found = _ORIGIN.fullmatch(text) if len(text) <= ORIGIN_MAX_CHARS else None
    port = found.group(4) if found else None
    if found is None or (port is not None and not 1 <= int(port) <= 65_535):
        raise CallError(
            70402,
            f"origin {text[:ORIGIN_MAX_CHARS]!r} must be scheme://host or scheme://host:port, as "
            "https://app.example.com: no path, no slash at the end, no *, other letters as xn--",
        )
    scheme, host = found.group(1).lower(), found.group(2).lower()
    is_said = port is not None and int(port) != int(DEFAULT_PORTS.get(scheme, "0"))
    return f"{scheme}://{host}:{int(port)}" if port and is_said else f"{scheme}://{host}"


def normal_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The origins in the order told, each once; an empty text is none, so `("",)` ends them all."""
    origins = tuple(dict.fromkeys(normal_origin(text) for text in texts if text))
    if len(origins) > ORIGINS_MAX:
        raise CallError(70402, f"an app has at most {ORIGINS_MAX} origins")
    return origins
