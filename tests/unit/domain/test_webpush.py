"""Sealing for a browser, against the vector of RFC 8291, and what counts as a subscription."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.kit_webpush import (
    BROWSER_AUTH,
    BROWSER_PUBLIC,
    browser_key,
    receiver,
    token,
)
from tocsin.domain.webpush import (
    PLAIN_MAX_BYTES,
    SEALED_MAX_BYTES,
    Address,
    address_of,
    base64url,
    encrypt,
    seal,
    subscription_of,
    to_base64url,
)
from tocsin.sandbox.vendors.webpush.browser import Unreadable, open_sealed

SECRET = b"a secret of the sender's, of 32 b"
AUTH = base64url(BROWSER_AUTH)


@pytest.mark.evidence(
    "RFC 8291, appendix A",
    topic="Vendors",
    planted="the two public keys in the other order",
)
def test_the_vector_of_rfc_8291_appendix_a() -> None:
    number = int.from_bytes(base64url("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        receiver(),
        private_key=ec.derive_private_key(number, ec.SECP256R1()),
        salt=base64url("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert to_base64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert open_sealed(body, browser_key(), AUTH) == b"When I grow up, I want to be a watermelon"


@given(st.binary(max_size=PLAIN_MAX_BYTES))
@settings(max_examples=25, deadline=None)
def test_a_browser_opens_what_was_sealed_for_it(plain: bytes) -> None:
    body = seal(plain, receiver(), secret=SECRET, correlation="a")
    assert open_sealed(body, browser_key(), AUTH) == plain
    assert len(body) <= SEALED_MAX_BYTES


def test_the_longest_text_fills_what_a_service_takes_and_one_more_is_refused() -> None:
    longest = b"x" * PLAIN_MAX_BYTES
    assert len(seal(longest, receiver(), secret=SECRET, correlation="a")) == SEALED_MAX_BYTES
    with pytest.raises(ValueError, match="3993"):
        seal(longest + b"x", receiver(), secret=SECRET, correlation="a")


@pytest.mark.evidence(
    "a repeat to a browser is the same bytes, and no two deliveries share a key",
    topic="Vendors",
    planted="the delivery's id left out of the derivation",
)
def test_a_repeat_is_the_same_bytes_and_nothing_else_shares_a_key() -> None:
    """Salt and ephemeral key stand in the first 86 bytes: together they make key and nonce."""
    one = receiver()
    other_browser = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = other_browser.public_numbers()
    other = type(one)(
        one.origin, one.host, one.path, b"\x04" + point.x.to_bytes(32) + point.y.to_bytes(32), AUTH
    )
    other_auth = type(one)(one.origin, one.host, one.path, one.public_key, b"x" * 16)
    cases = [
        (b"text", one, SECRET, "a"),
        (b"texu", one, SECRET, "a"),
        (b"text", one, SECRET, "b"),
        (b"text", one, b"another", "a"),
        (b"text", other, SECRET, "a"),
        (b"text", other_auth, SECRET, "a"),
        (b"", one, SECRET, "atext"),
        (b"atext", one, SECRET, ""),
    ]

    def sealed(case: tuple[bytes, Any, bytes, str]) -> bytes:
        plain, to, secret, correlation = case
        return seal(plain, to, secret=secret, correlation=correlation)

    bodies = [sealed(case) for case in cases]
    assert bodies == [sealed(case) for case in cases]
    for first, second in combinations(bodies, 2):
        assert first[:16] != second[:16]
        assert first[21:86] != second[21:86]


@pytest.mark.parametrize("place", [0, 15, 20, 30, 86, -1])
def test_a_changed_byte_does_not_open(place: int) -> None:
    body = bytearray(seal(b"text", receiver(), secret=SECRET, correlation="a"))
    body[place] ^= 0x81
    with pytest.raises(Unreadable):
        open_sealed(bytes(body), browser_key(), AUTH)


def test_nothing_too_short_opens() -> None:
    body = seal(b"", receiver(), secret=SECRET, correlation="a")
    for length in range(len(body)):
        with pytest.raises(Unreadable):
            open_sealed(body[:length], browser_key(), AUTH)


@pytest.mark.parametrize(
    ("endpoint", "origin", "host", "path"),
    [
        ("https://push.example.com/a", "https://push.example.com", "push.example.com", "/a"),
        ("https://Push.Example.COM/A", "https://push.example.com", "push.example.com", "/A"),
        ("HTTPS://push.example.com", "https://push.example.com", "push.example.com", "/"),
        ("https://e.com:443/a", "https://e.com", "e.com", "/a"),
        ("https://e.com:8443/a?b=c", "https://e.com:8443", "e.com", "/a?b=c"),
        ("https://[2001:db8::1]:1/a", "https://[2001:db8::1]:1", "[2001:db8::1]", "/a"),
    ],
)
def test_an_endpoint_is_taken_apart(endpoint: str, origin: str, host: str, path: str) -> None:
    found = subscription_of(token("", endpoint))
    assert found is not None
    assert (found.origin, found.host, found.path) == (origin, host, path)
    assert address_of(token("", endpoint)) == Address(origin, host, path)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "http://push.example.com/a",
        "ftp://push.example.com/a",
        "//push.example.com/a",
        "https:///a",
        "https://user@push.example.com/a",
        "https://push.example.com\\@inside/a",
        "https://push.example.com@10.0.0.1/a",
        "https://push.example.com:0/a",
        "https://push.example.com:65536/a",
        "https://push.example.com:/a",
        "https://push.example.com/a b",
        "https://push.example.com/a\r\nx: y",
        "https://push.example.com/é",
        "https://p\u03c5sh.example.com/a",
        "https://push.example.com/a#b",
        "https://push.example.com?a",
        "https://%31%30.0.0.1/a",
    ],
)
def test_an_endpoint_that_could_be_read_in_two_ways_is_none(endpoint: str) -> None:
    assert subscription_of(token("", endpoint)) is None
    assert address_of(token("", endpoint)) is None


@pytest.mark.parametrize(
    "keys",
    [
        None,
        {},
        {"p256dh": BROWSER_PUBLIC},
        {"p256dh": BROWSER_PUBLIC, "auth": "short"},
        {"p256dh": BROWSER_PUBLIC, "auth": BROWSER_AUTH + "AA"},
        {"p256dh": BROWSER_PUBLIC, "auth": "!" * 22},
        {"p256dh": BROWSER_PUBLIC, "auth": 7},
        {"p256dh": BROWSER_PUBLIC[:-4], "auth": BROWSER_AUTH},
        {"p256dh": BROWSER_PUBLIC[:-4] + "AAAA", "auth": BROWSER_AUTH},
        {"p256dh": "é" * 87, "auth": BROWSER_AUTH},
    ],
)
def test_keys_that_are_none(keys: Any) -> None:
    told = {"endpoint": "https://push.example.com/a", "keys": keys}
    assert subscription_of(json.dumps(told)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"https://push.example.com"', "\ud800"])
def test_texts_that_are_no_subscription(text: str) -> None:
    assert subscription_of(text) is None
    assert address_of(text) is None


def test_padded_keys_are_read_too() -> None:
    told = json.loads(token("a"))
    told["keys"] = {"p256dh": BROWSER_PUBLIC + "=", "auth": BROWSER_AUTH + "=="}
    assert subscription_of(json.dumps(told)) == subscription_of(token("a"))
