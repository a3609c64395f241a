"""The browser's side of Web Push: subscriptions with key pairs, and opening what was sealed.

RFC 8291 and 8188 (read 2026-11), written from the receiver's end with the library's own HKDF, so
that sender and sandbox cannot be wrong in the same way.
"""

from __future__ import annotations

import base64
import hmac
import re

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

PATH = re.compile(r"/push/(?P<number>0|[1-9][0-9]{0,11})/(?P<mark>[0-9a-f]{32})")
BROWSERS_MAX = 100_000

_HEADER_BYTES = 21
_TAG_BYTES = 16
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Unreadable(Exception):
    """A browser could not open this; the text says why."""


class Browser(Struct, frozen=True):
    """One subscription, as the browser that made it knows it."""

    token: str
    """What the web page sends to its server: `JSON.stringify(subscription)`."""
    key: ec.EllipticCurvePrivateKey
    auth: bytes


class Browsers:
    """Every subscription of one sandbox, made from its secret and a number."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known: dict[int, Browser] = {}
        self.origin = ""
        """Address of the push service; known once it listens."""

    def browser(self, number: int) -> Browser:
        """The subscription of this number; the same whenever it is asked for."""
        known = self._known.get(number)
        if known is None or self.origin not in known.token:
            if len(self._known) >= BROWSERS_MAX:
                self._known.clear()
            known = self._known[number] = self._make(number)
        return known

    def at(self, path: str) -> Browser | None:
        """The subscription whose address this is; None where nobody was given it."""
        match = PATH.fullmatch(path)
        if match is None:
            return None
        number = int(match["number"])
        return self.browser(number) if match["mark"] == self._mark(number) else None

    def _make(self, number: int) -> Browser:
        key = derived_key(self._secret, b"browser %d" % number)
        auth = hmac.digest(self._secret, b"auth %d" % number, "sha256")[:16]
        told = {
            "endpoint": f"{self.origin}/push/{number}/{self._mark(number)}",
            "expirationTime": None,
            "keys": {"p256dh": to_text(point_of(key)), "auth": to_text(auth)},
        }
        return Browser(msgspec.json.encode(told).decode(), key, auth)

    def _mark(self, number: int) -> str:
        return hmac.digest(self._secret, b"address %d" % number, "sha256")[:16].hex()


def open_sealed(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """What a browser reads; raises `Unreadable`."""
    if len(body) < _HEADER_BYTES:
        raise Unreadable("shorter than its header")
    salt, record_bytes, name_bytes = body[:16], int.from_bytes(body[16:20]), body[20]
    name = body[_HEADER_BYTES : _HEADER_BYTES + name_bytes]
    sealed = body[_HEADER_BYTES + name_bytes :]
    if record_bytes < _TAG_BYTES + 2 or len(sealed) > record_bytes:
        raise Unreadable("more than one record")
    try:
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), name)
    except ValueError:
        raise Unreadable("the key id is no point on P-256") from None
    shared = key.exchange(ec.ECDH(), sender)
    secret = _hkdf(auth, b"WebPush: info\0" + point_of(key) + name, 32).derive(shared)
    content = _hkdf(salt, b"Content-Encoding: aes128gcm\0", 16).derive(secret)
    nonce = _hkdf(salt, b"Content-Encoding: nonce\0", 12).derive(secret)
    try:
        padded = AESGCM(content).decrypt(nonce, sealed, None).rstrip(b"\0")
    except (InvalidTag, ValueError):
        raise Unreadable("it does not open with this browser's keys") from None
    if padded[-1:] != b"\x02":
        raise Unreadable("the last record is not marked as the last")
    return padded[:-1]


def derived_key(secret: bytes, name: bytes) -> ec.EllipticCurvePrivateKey:
    """The key pair of this name; the same for the same secret."""
    material = hmac.digest(secret, name, "sha512")
    return ec.derive_private_key(int.from_bytes(material[:48]) % (_ORDER - 1) + 1, ec.SECP256R1())


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as the Push API tells it: an uncompressed point."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def to_text(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _hkdf(salt: bytes, info: bytes, length: int) -> HKDF:
    return HKDF(hashes.SHA256(), length, salt, info)
