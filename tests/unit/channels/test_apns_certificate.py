"""Apple by client certificate: it proves the connection, and it ends."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.channels.kit import NOW, authorized, delivery
from tests.unit.channels.kit_apns import apns_settings
from tocsin.channels.vendors import apns
from tocsin.conversation import Authority, Denied, Request
from tocsin.domain.outcome import Outcome

DAY_S = 86_400


@functools.cache
def identity(days: int = 365, *, has_key: bool = True) -> str:
    """A certificate that ends so many days after `NOW`, with its key (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Apple Push Services")])
    begins = dt.datetime.fromtimestamp(NOW - DAY_S, dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days + 1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    if has_key:
        pem += key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    return pem.decode()


def settings(**changed: Any) -> apns.Settings:
    return apns.Settings(**{"certificate": identity(), "bundle_id": "com.example.app", **changed})


def test_the_certificate_goes_with_the_connection_and_no_token_with_the_request() -> None:
    authority = authorized(apns, settings())
    assert isinstance(authority, Authority)
    made = apns.request(settings(), authority, delivery(), NOW)
    assert isinstance(made, Request)
    assert made.identity == identity()
    assert "authorization" not in dict(made.headers)
    assert dict(made.headers)["apns-topic"] == "com.example.app"


def test_it_says_when_it_ends_and_a_key_does_not() -> None:
    assert apns.expires_at(settings()) == NOW + 365 * DAY_S
    assert apns.expires_at(apns_settings()) is None


@pytest.mark.evidence(
    "a certificate that has ended is not tried, and its end is warned of",
    topic="Credentials",
    planted="tried; warned of in each round",
)
def test_one_that_has_ended_is_not_tried() -> None:
    told = settings(certificate=identity(days=0))
    found = authorized(apns, told)
    assert isinstance(found, Denied)
    assert (found.outcome, found.code) == (Outcome.CREDENTIALS_WRONG, "-16")
    assert "2026-01-01" in found.info
    soon = authorized(apns, settings(certificate=identity(days=1)))
    assert isinstance(soon, Authority)


@pytest.mark.parametrize(
    "changed",
    [
        {"certificate": ""},
        {"certificate": "no PEM"},
        {"certificate": identity(has_key=False)},
        {"certificate": identity(has_key=False) + identity(days=9).partition("-----END C")[2]},
        {"private_key": "also a key"},
        {"bundle_id": ""},
    ],
)
def test_what_cannot_work_is_refused_and_not_quoted(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each with its own words
        settings(**changed)
    assert "BEGIN" not in str(caught.value)


def test_other_settings_are_not_needed() -> None:
    told = {"certificate": identity(), "bundle_id": "com.example.app"}
    assert msgspec.convert(told, apns.Settings) == settings()
