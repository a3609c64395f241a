"""What a vendor's kit holds: a file `kit_<vendor>.py` with a `KIT` for each of the registry.

All that the common suites know of a vendor stands there, so that whoever adds one adds no line to
them. What only one vendor's own tests need stands in its kit beside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct

from tocsin.conversation import Response
from tocsin.sandbox.devices import State


class VendorKit(NamedTuple):
    """How a test speaks as this vendor."""

    settings: Callable[..., Any]
    """Its `Settings`, good ones; keyword arguments change single fields."""
    refusal: Callable[[int, str], Response]
    """The answer to one device, with this status and reason of `OUTCOMES`, in its own shape."""
    accepted: Response
    """The answer to a request of which every device was taken."""
    wrong: Mapping[str, Any] | None
    """A setting that the vendor finds wrong; None where a wrong one cannot be told from a right
    one until there is a device."""
    drops: frozenset[str]
    """The rows of `OUTCOMES` that cost a token, "<status> <reason>", as its pages list them."""
    stops: frozenset[str]
    """The rows that stop the channel until somebody puts the credential right."""
    spellings: tuple[str, ...]
    """One device's token: its one spelling, then others that an app may tell it in."""
    others: tuple[str, ...]
    """Tokens that look like that one and are other devices'."""
    suspects: frozenset[str] = frozenset()
    """The rows that cost a token unless they are so many that they accuse our credential."""
    impossible: tuple[str, ...] = ("", " \n", "t\x00ken", "t\u00f6ken")
    """What no device can have as its token."""
    authority: Mapping[str, Response] = {}
    """The answers of its token service, by path; empty for a vendor without one."""
    prepared: str = ""
    """What its `prepare` would have left in the batch."""
    token: Callable[[str], str] = str
    """A device token of this name, where a token has a form that is looked at."""
    trial_marks: tuple[bytes, ...] = ()
    """What the body of a push says that is only a test; none for a vendor without tests."""
    sandbox: Struct | None = None
    """Settings of its sandbox under which no pace is in the way; None: the usual ones."""
    receipts: ReceiptKit | None = None
    """None for a vendor that reports nothing."""


def spaced(token: str) -> tuple[str, ...]:
    """A token, and the same as it comes out of a console or a wrapped line."""
    return (token, f" {token}\r\n", f"{token[:7]}\n{token[7:]}", f"{token}\u00a0")


LISTED = ("one,two", "one;two", " , ")
"""What a vendor that takes lists as text would read as several tokens."""


class ReceiptKit(NamedTuple):
    """How a test speaks as a vendor that posts receipts."""

    body: Callable[[str], bytes]
    """A call that tells one receipt of this code, of `RECEIPT`'s id, token and time."""
    dead: frozenset[str]
    """The codes by which the vendor says that the app or the token is gone."""
    fates: Mapping[State, str]
    """What the sandbox tells of a push to a device in this state; an empty text: nothing."""
    tells_time: bool = True
    unheard_of: str = "987654"
    """A code as the vendor might think of one tomorrow."""
    garbled: tuple[str, ...] = ()
    """The codes read from a receipt whose code makes no sense; none: it cannot be read."""
    push_type: str = "notification"
    """As the sandbox's log calls a push that is shown."""


class RECEIPT:
    """What a kit's receipt tells besides its code."""

    correlation = "7-1-0011223344556677"
    token = "token-of-a-receipt"
    at_ms = 1_700_000_000_123


@functools.cache
def ec_key() -> str:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def rsa_key() -> str:
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def bearer(text: str) -> Response:
    """A token service's usual answer (RFC 6749, 5.1)."""
    body = {"access_token": text, "expires_in": 3599, "token_type": "Bearer"}
    return Response(200, {"content-type": "application/json"}, msgspec.json.encode(body))
