"""Web Push without a network: what a subscription is, and how a message is sealed for it.

RFC 8291 (message encryption), 8188 (aes128gcm) and the Push API's PushSubscription, read 2026-11:
https://www.rfc-editor.org/rfc/rfc8291  https://www.w3.org/TR/push-api/

Each message needs an ephemeral key pair and a salt, and a pair used for two different texts would
give both away. They are not drawn but derived, from a secret and from everything that is sealed,
the text included: another text has another key, and a repeat of a delivery is the same bytes.

Written here and not taken from a library: it is one page over `cryptography`, the RFC's own vector
proves it, and where its keys come from is the part that matters.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

SEALED_MAX_BYTES = 4096
"""What every push service takes (RFC 8030, 7.2)."""
PLAIN_MAX_BYTES = 3993
"""What of it is left for the text, after header, padding mark and tag."""

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256: private keys are 1 to this less one."""
_RECORD_BYTES = (4096).to_bytes(4)
_ENDPOINT = re.compile(
    r"(?i:https)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)
"""No user part, no white space, no control character, and no second reading of the host."""


class Subscription(Struct, frozen=True):
    """Where a browser's messages go, and what they are sealed with."""

    origin: str
    """As RFC 6454 writes it: lower case, without the usual port."""
    host: str
    path: str
    public_key: bytes
    """`p256dh`: an uncompressed point."""
    auth: bytes
    """Sixteen bytes that only the browser and we know."""


class Address(Struct, frozen=True):
    """The part of a subscription that is no secret of the browser's."""

    origin: str
    host: str
    path: str


class _Keys(Struct, frozen=True):
    p256dh: str
    auth: str


class _Told(Struct, frozen=True):
    endpoint: str
    keys: _Keys


class _Named(Struct, frozen=True):
    endpoint: str


_DECODER = msgspec.json.Decoder(_Told)
_NAMED = msgspec.json.Decoder(_Named)


def subscription_of(token: str) -> Subscription | None:
    """The subscription that a device registered, or None where the text is not one.

    The text is what `JSON.stringify(subscription)` gives in a browser. Only https is one.
    """
    try:
        told = _DECODER.decode(token)
        public_key, auth = base64url(told.keys.p256dh), base64url(told.keys.auth)
    except (msgspec.DecodeError, UnicodeError, ValueError):
        return None
    to = _address(told.endpoint)
    if to is None or len(auth) != 16 or not _is_point(public_key):
        return None
    return Subscription(to.origin, to.host, to.path, public_key, auth)


def subscription_text(token: str) -> str | None:
    """The subscription in its one spelling, or None where the text is not one.

    Whatever order and spacing its members came in, and whatever stood beside them.
    """
    to = subscription_of(token)
    if to is None:
        return None
    keys = _Keys(p256dh=to_base64url(to.public_key), auth=to_base64url(to.auth))
    return msgspec.json.encode(_Told(endpoint=to.origin + to.path, keys=keys)).decode()


def address_of(token: str) -> Address | None:
    """Where a subscription's messages go, its keys left unread: they are the dear part."""
    try:
        return _address(_NAMED.decode(token).endpoint)
    except (msgspec.DecodeError, UnicodeError):
        return None


def _address(endpoint: str) -> Address | None:
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or "#" in endpoint:
        return None
    port = int(match["port"] or 443)
    if not 0 < port < 65_536:
        return None
    host = match["host"].lower()
    origin = f"https://{host}" + ("" if port == 443 else f":{port}")
    return Address(origin, host, match["path"] or "/")


def seal(plain: bytes, to: Subscription, *, secret: bytes, correlation: str) -> bytes:
    """The body of one delivery; the same for the same delivery, and for no other.

    `secret` belongs to the sender alone. Raises `ValueError` where the text is too long.
    """
    name = correlation.encode()
    parts = (to.public_key, to.auth, len(name).to_bytes(2), name, plain)
    material = hmac.digest(secret, b"".join(parts), "sha512")
    # From 48 bytes down to 32 no private key is likelier than another by more than 2^-128.
    number = int.from_bytes(material[:48]) % (_ORDER - 1) + 1
    private_key = ec.derive_private_key(number, ec.SECP256R1())
    return encrypt(plain, to, private_key=private_key, salt=material[48:])


def encrypt(
    plain: bytes, to: Subscription, *, private_key: ec.EllipticCurvePrivateKey, salt: bytes
) -> bytes:
    """RFC 8291 with this ephemeral key and this salt, in one record."""
    if len(plain) > PLAIN_MAX_BYTES:
        raise ValueError(f"a message holds at most {PLAIN_MAX_BYTES} bytes")
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to.public_key)
    shared = private_key.exchange(ec.ECDH(), receiver)
    own = public_bytes(private_key)
    info = b"WebPush: info\0" + to.public_key + own + b"\x01"
    keyed = hmac.digest(hmac.digest(to.auth, shared, "sha256"), info, "sha256")
    root = hmac.digest(salt, keyed, "sha256")
    key = hmac.digest(root, b"Content-Encoding: aes128gcm\0\x01", "sha256")[:16]
    nonce = hmac.digest(root, b"Content-Encoding: nonce\0\x01", "sha256")[:12]
    # The mark 2 says that this record is the last one (RFC 8188, 2).
    sealed = AESGCM(key).encrypt(nonce, plain + b"\x02", None)
    return salt + _RECORD_BYTES + bytes([len(own)]) + own + sealed


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as an uncompressed point, which is how Web Push writes it."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def base64url(text: str) -> bytes:
    """The bytes; raises `ValueError` for anything but base64url, padded or not."""
    try:
        bare = text.rstrip("=").encode("ascii")
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as fault:
        raise ValueError("not base64url") from fault


def to_base64url(data: bytes) -> str:
    """Without padding, as all of Web Push writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_point(data: bytes) -> bool:
    if len(data) != 65:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError:
        return False
    return True
