"""`tocsin tls self-signed`: makes a certificate for trying HTTPS out."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tocsin.cli.screen import EXIT_USAGE, CommandFault, Json, Screen, run
from tocsin.clock import SystemClock

DAYS = 365


def self_signed(
    *,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="Name or address it is for; may repeat. Default: localhost."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.", file_okay=False)] = Path(),
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=825)] = DAYS,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    is_json: Json = False,
) -> None:
    """Make a key and a certificate signed by itself, for `serve --tls-cert --tls-key`.

    Clients trust the certificate only when you tell them to: `curl --cacert tls-cert.pem`. For real
    hosts take a certificate from an authority.
    """
    screen = Screen(is_json=is_json)

    async def work() -> None:
        cert, key = out / "tls-cert.pem", out / "tls-key.pem"
        if not force and (cert.exists() or key.exists()):
            raise CommandFault(
                f"{cert} or {key} exists", "--force overwrites", exit_code=EXIT_USAGE
            )
        names = name or ["localhost", "127.0.0.1", "::1"]
        cert_pem, key_pem = make_self_signed(names, days, SystemClock().now())
        out.mkdir(parents=True, exist_ok=True)
        key.unlink(missing_ok=True)
        key.touch(mode=0o600)
        key.write_bytes(key_pem)
        cert.write_bytes(cert_pem)

        def show() -> None:
            screen.facts({"certificate": cert, "key": key, "names": names})
            screen.note(
                f"\n[dim]next:[/]  tocsin serve --tls-cert {cert} --tls-key {key} --port 8443"
            )

        screen.result({"cert": str(cert), "key": str(key), "names": names}, show)

    run(screen, work())


def make_self_signed(names: list[str], days: int, now: float) -> tuple[bytes, bytes]:
    """A certificate and its private key as PEM, valid for `days` from the day before `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    day = dt.datetime.fromtimestamp(now, dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(day - dt.timedelta(days=1))
        .not_valid_after(day + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(it) for it in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
