"""A throw-away certificate authority and throw-away vendor credentials.

Made at each start, so that nobody needs a vendor account and no key is worth stealing. With a
folder given they are kept there, so that a restarted sandbox still knows its senders.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct, structs

VALID_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
VALID_UNTIL = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
"""Wide, since a client judges by the machine's clock and the sandbox may run on a manual one."""
RSA_BITS = 2048
CONTEXTS_MAX = 16
"""TLS contexts that are kept for the listeners that ask for the same one."""


class Trust(Struct, frozen=True):
    """PEM texts: the authority for clients, the servers' certificate and key."""

    ca_pem: str
    ca_key_pem: str
    server_pem: str
    server_key_pem: str


class ApnsCredential(Struct, frozen=True):
    """What a developer downloads from Apple for token-based sending."""

    team_id: str
    key_id: str
    private_key: str
    """The text of the `.p8` file: PKCS 8, EC P-256."""
    bundle_id: str = ""


class FcmCredential(Struct, frozen=True):
    """The members of a Google service-account file that a sender reads, and the usual rest."""

    project_id: str
    private_key_id: str
    private_key: str
    client_email: str
    client_id: str
    token_uri: str
    type: str = "service_account"
    auth_uri: str = "https://accounts.google.com/o/oauth2/auth"
    universe_domain: str = "googleapis.com"


class Keys(Struct, frozen=True):
    """Everything secret that one sandbox made for itself."""

    trust: Trust
    apns: ApnsCredential
    fcm_private_key: str


def make_keys() -> Keys:
    """Fresh keys and certificates."""
    return Keys(
        trust=make_trust(),
        apns=ApnsCredential(
            team_id="SANDBOXTEA",
            key_id="SANDBOXKEY",
            private_key=_pem(ec.generate_private_key(ec.SECP256R1())),
        ),
        fcm_private_key=_pem(rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)),
    )


def kept_keys(folder: Path) -> Keys:
    """The keys kept in `folder`, made there at the first start (mode 0600)."""
    path = folder / "keys.json"
    if path.exists():
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return msgspec.json.decode(path.read_bytes(), type=Keys)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = make_keys()
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(keys))
    return keys


def make_trust() -> Trust:
    """A certificate authority and a server certificate for loopback names."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Tocsin sandbox authority")
    ca = (
        _draft(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_pem, server_key_pem = _server(ca, ca_key, ())
    return Trust(
        ca_pem=_certificate_pem(ca),
        ca_key_pem=_pem(ca_key),
        server_pem=server_pem,
        server_key_pem=server_key_pem,
    )


def named(trust: Trust, hosts: Iterable[str]) -> Trust:
    """The same authority with a server certificate that is good for these host names too."""
    ca, ca_key = _authority(trust)
    server_pem, server_key_pem = _server(ca, ca_key, hosts)
    return structs.replace(trust, server_pem=server_pem, server_key_pem=server_key_pem)


def _server(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, hosts: Iterable[str]
) -> tuple[str, str]:
    """A server's certificate and key for loopback and these host names."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
            *(x509.DNSName(host) for host in hosts),
        ]
    )
    certificate = (
        _draft(_name("localhost"), ca.subject, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_issuer_id(ca_key), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _certificate_pem(certificate), _pem(key)


def _authority(trust: Trust) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    ca_key = serialization.load_pem_private_key(trust.ca_key_pem.encode(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(trust.ca_pem.encode()), ca_key


def issue_identity(trust: Trust, bundle_id: str) -> str:
    """A client certificate with its key, as Apple issues for certificate-based sending.

    The bundle id stands in the subject's UID, which is where APNs reads the topic from.
    """
    ca, ca_key = _authority(trust)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, bundle_id),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Apple Push Services: {bundle_id}"),
        ]
    )
    certificate = (
        _draft(subject, ca.subject, key.public_key())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(_issuer_id(ca_key), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _certificate_pem(certificate) + _pem(key)


@functools.lru_cache(maxsize=CONTEXTS_MAX)
def server_context(trust: Trust, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """TLS 1.2 and later with the protocols of `alpn`; a client certificate is asked for.

    HTTP/1.1 is agreed on even where it is not served: a client that offers nothing else would
    look like one that offers nothing, who may speak HTTP/2 by prior knowledge.

    Eleven listeners of a sandbox share three of these, which hold no state of a connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(dict.fromkeys([*alpn, "http/1.1"])))
    context.load_verify_locations(cadata=trust.ca_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    with tempfile.TemporaryDirectory() as folder:
        # The standard library loads a key from a file only; it is gone a moment later.
        path = Path(folder) / "server.pem"
        path.touch(mode=0o600)
        path.write_text(trust.server_pem + trust.server_key_pem)
        context.load_cert_chain(path)
    return context


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
