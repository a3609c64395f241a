"""A key is taken however its line breaks were written, and what cannot be read is said why."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tests.unit.channels.kit import settings_of
from tests.unit.channels.kit_shape import ec_key, rsa_key
from tests.unit.channels.test_apns_certificate import identity
from tocsin.channels.credentials import check_settings
from tocsin.channels.registry import VENDORS
from tocsin.channels.shared_keys import plain_key, why_unreadable
from tocsin.channels.vendors import apns, fcm, harmony, webpush

KEYED = {
    "apns": ("private_key", ec_key),
    "fcm": ("private_key", rsa_key),
    "harmony": ("private_key", rsa_key),
    "webpush": ("private_key", ec_key),
}
"""Vendors whose credential is a key, and what kind of one."""


def one_line(pem: str, end: str) -> str:
    return end.join(pem.strip().splitlines())


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def der(pem: str, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    # The service checks the numbers of each key; to do so here, too, would take 30 ms of each case.
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.DER, form, NoEncryption())


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": lambda pem: pem,
    "a byte order mark": lambda pem: "\ufeff" + pem,
    "\\n written out": lambda pem: one_line(pem, "\\n"),
    "\\r\\n written out": lambda pem: one_line(pem, "\\r\\n") + "\\r\\n",
    "\\\\n written out": lambda pem: one_line(pem, "\\\\n"),
    "in quotes": lambda pem: '"' + one_line(pem, "\\n") + '"',
    "a line of blanks": lambda pem: one_line(pem, " "),
    "one line": lambda pem: one_line(pem, ""),
    "of Windows": lambda pem: pem.replace("\n", "\r\n"),
    "base64": lambda pem: base64_of(pem.encode()),
    "base64 in lines": lambda pem: base64.encodebytes(pem.encode()).decode(),
    "base64url": lambda pem: base64.urlsafe_b64encode(pem.encode()).decode().rstrip("="),
    "base64 of one line": lambda pem: base64_of(one_line(pem, "\\n").encode()),
    "base64 with a mark": lambda pem: base64_of(("\ufeff" + pem).encode()),
    "base64 of what is in it": lambda pem: base64_of(der(pem)),
    "base64 of an older form": lambda pem: base64_of(der(pem, PrivateFormat.TraditionalOpenSSL)),
}


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
    topic="Channels and sandbox",
    planted="the mark kept; the breaks not written; base64 not looked into; values sealed "
    "as they came; a short Web Push key derived",
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vendor", sorted(KEYED))
def test_a_key_is_taken_however_it_is_written(vendor: str, way: str) -> None:
    name, make = KEYED[vendor]
    pem = make()
    values = settings_by_name(vendor)
    sealed = msgspec.json.decode(check_settings(vendor, {**values, name: WAYS[way](pem)}))
    assert der(sealed[name]) == der(pem)


def settings_by_name(name: str) -> dict[str, Any]:
    (vendor,) = (it for it in VENDORS if name == it.NAME)
    found: dict[str, Any] = msgspec.to_builtins(settings_of(vendor))
    return found


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
)
@pytest.mark.parametrize(
    "way", [it for it in WAYS if "what is in it" not in it and "older" not in it]
)
def test_a_certificate_with_its_key_is_taken_however_it_is_written(way: str) -> None:
    values = {"certificate": WAYS[way](identity()), "bundle_id": "com.example.app"}
    sealed = msgspec.json.decode(check_settings("apns", values), type=apns.Settings)
    assert apns.expires_at(sealed) is not None


def test_other_texts_are_left_as_they_are() -> None:
    for text in ("", "secret", "a\\nb", "0" * 43, "0" * 400, "x" * 64, "{}", '{"a": 1}', "d\n"):
        assert plain_key(text) == text
    assert plain_key("\ufeffsecret") == "secret"
    own = settings_by_name("webpush")
    assert msgspec.json.decode(check_settings("webpush", own))["private_key"] == own["private_key"]


def public(pem: str) -> str:
    key = load_pem_private_key(pem.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def locked(pem: str) -> str:
    key = load_pem_private_key(pem.encode(), None)
    form = PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x")).decode()


@pytest.mark.evidence(
    "a credential's key is taken however it is written, and what is not is said why and not quoted",
)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("AuthKey_ABC.p8", "write @ before it"),
        ("@keys/service account.json", "write @ before it"),
        ('{"private_key": "x"}', "by --file"),
        (base64_of(b'{"private_key": "' + b"x" * 60 + b'"}'), "no PEM in it"),
        (locked(ec_key()), "without a password"),
        (public(ec_key()), "the public half"),
        (identity().split("-----BEGIN PRIVATE")[0], "a certificate alone"),
        (ec_key()[:120], "last line is missing"),
        (ec_key().replace("M", "", 1), "characters are missing"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "SSH key"),
        ("anything", "no PEM in it"),
    ],
)
def test_what_cannot_be_read_is_said_why_and_not_quoted(text: str, why: str) -> None:
    for vendor in (apns, fcm, harmony, webpush):
        values = {**settings_by_name(vendor.NAME), "private_key": text}
        if vendor is apns and not text:
            continue
        with pytest.raises(ValueError, match=why) as caught:
            check_settings(vendor.NAME, values)
        said = str(caught.value)
        assert not any(line in said for line in text.splitlines() if len(line) > 8)


def test_the_words_are_an_end_of_a_sentence() -> None:
    assert (
        why_unreadable("x") == "there is no PEM in it, which begins and ends with lines of dashes"
    )
