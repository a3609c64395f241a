"""Certificates that live as long as a test: one authority, and what it signs."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_FROM = datetime(2020, 1, 1, tzinfo=UTC)


class ThrowawayCa:
    """An authority that nobody but the test trusts."""

    def __init__(self, name: str = "throwaway") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = self._signed(self._name, self._key, is_ca=True)

    @property
    def pem(self) -> str:
        """The authority's own certificate, for those who shall trust it."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def identity(self, name: str) -> str:
        """A certificate for `name` and its key, in one PEM text."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(_name(name), key, is_ca=False)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode() + secret.decode()

    def server_context(self, *, alpn: list[str], client_ca: str | None = None) -> ssl.SSLContext:
        """TLS for 127.0.0.1, localhost and *.vendor.example; with `client_ca` it asks who calls."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "server.pem")
            path.write_text(self.identity("localhost"))
            context.load_cert_chain(path)
        context.set_alpn_protocols(alpn)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_ca)
        return context

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool
    ) -> x509.Certificate:
        names = [
            x509.DNSName("localhost"),
            x509.DNSName("*.vendor.example"),
            x509.IPAddress(ip_address("127.0.0.1")),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_FROM + timedelta(days=36_500))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
