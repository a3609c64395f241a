"""Loads the TLS certificate, renews it at a reload, and checks the files that settings name."""

from __future__ import annotations

import hashlib
import os
import ssl
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from tocsin.clock import Clock
from tocsin.config import Config
from tocsin.errors import SetupError
from tocsin.service.reloading import TLS, ReloadablePart
from tocsin.settings import WrongSetting

TLS_ADVICE = "name a PEM chain and its own key; `tocsin tls self-signed` makes both"
FILE_MAX_BYTES = 1 << 20


def unusable_files(config: Config) -> list[WrongSetting]:
    """Faults of the files that the settings name: each would stop a start."""
    faults = []
    server = config.server
    if server.tls_cert:
        chain, key = Path(server.tls_cert), Path(server.tls_key)
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
        except (OSError, ValueError) as fault:
            what = unusable(chain, fault).what
            faults.append(WrongSetting(path="server.tls_cert", what=what))
    if config.http.proxy_ca and not os.access(config.http.proxy_ca, os.R_OK):
        allowed = "a PEM file that this user may read"
        faults.append(_wrong("http.proxy_ca", config.http.proxy_ca, allowed))
    if config.log.file and not os.access(Path(config.log.file).parent, os.W_OK):
        allowed = "a file in a folder that this user may write to"
        faults.append(_wrong("log.file", config.log.file, allowed))
    return faults


def _wrong(path: str, value: str, allowed: str) -> WrongSetting:
    return WrongSetting(path=path, value=msgspec.json.encode(value).decode(), allowed=allowed)


class Certificate:
    """The chain and key of the TLS context that accepts connections.

    A new connection gets the chain that was loaded last; an open connection keeps its own.
    """

    def __init__(self, context: ssl.SSLContext, chain: Path, key: Path, clock: Clock) -> None:
        self._context = context
        self._clock = clock
        self._loaded = _digest(chain, key)

    def renew(self, chain: Path, key: Path) -> str:
        """Loads the files again if they have changed; answers the last day of the certificate.

        Answers an empty text for unchanged files. Raises `SetupError` for files that cannot be
        used and for a certificate that has expired; then the former certificate stays.
        """
        try:
            digest = _digest(chain, key)
            if digest == self._loaded:
                return ""
            # Loaded into another context first: a chain without its key would spoil this one.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
            ends_at = end_of(chain)
            _refuse_ended(ends_at, self._clock.now())
            _load(self._context, chain, key)
        except (OSError, ValueError) as fault:
            raise unusable(chain, fault) from fault
        self._loaded = digest
        return f"{ends_at:%Y-%m-%d}"


def certificate_part(context: ssl.SSLContext, config: Config, clock: Clock) -> ReloadablePart:
    """Takes a renewed certificate into `context` at a reload."""
    server = config.server
    certificate = Certificate(context, Path(server.tls_cert), Path(server.tls_key), clock)

    async def take(config: Config) -> list[str]:
        server = config.server
        ends_on = certificate.renew(Path(server.tls_cert), Path(server.tls_key))
        return [f"the TLS certificate, good until {ends_on}"] if ends_on else []

    return ReloadablePart((TLS,), take)


def unusable(chain: Path, fault: Exception) -> SetupError:
    """The fault of a certificate that cannot be used."""
    why = getattr(fault, "strerror", None) or fault
    return SetupError(f"the TLS certificate {chain} cannot be used: {why}", TLS_ADVICE)


def _load(context: ssl.SSLContext, chain: Path, key: Path) -> None:
    context.load_cert_chain(chain, key, password=_ask_nobody)


def _refuse_ended(ends_at: datetime, now: float) -> None:
    if ends_at.timestamp() <= now:
        raise ValueError(f"it ended on {ends_at:%Y-%m-%d}")


def _ask_nobody() -> str:
    # The library would ask for the password at the terminal, and the whole service would wait.
    raise ValueError("its key has a password: name one without")


def _digest(*paths: Path) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
        if len(raw) > FILE_MAX_BYTES:
            raise ValueError(f"{path} is over a mebibyte")
        digest.update(hashlib.sha256(raw).digest())
    return digest.digest()


def end_of(chain: Path) -> datetime:
    """When the certificate itself, which is the first of the chain, expires."""
    return x509.load_pem_x509_certificates(chain.read_bytes())[0].not_valid_after_utc
