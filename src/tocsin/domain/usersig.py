"""UserSig v2: the bearer credential of every call and login, made and checked.

A UserSig binds (SDKAppID, UserID, issue time, lifetime) with HMAC-SHA256 under the app's key
(trtc.io/document/34385 and github.com/tencentyun/tls-sig-api-v2-golang, read 2026-11). The
signature covers five lines of text and not the JSON that carries them, so every layout that the
official libraries write is read here: member order, spaces and compression level are free.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib

import msgspec
from msgspec import Struct, field

from tocsin.errors import CallError

TOKEN_MAX_CHARS = 8192
INFLATED_MAX_BYTES = 16_384
VERSION = "2.0"

_TO_WIRE = str.maketrans("+/=", "*-_")
_FROM_WIRE = str.maketrans("*-_", "+/=")
_WIRE_TEXT = re.compile(r"[A-Za-z0-9*\-_]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class UserSig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says. Only `verify` makes it worth believing."""

    version: str = field(name="TLS.ver")
    identifier: str = field(name="TLS.identifier")
    sdkappid: int = field(name="TLS.sdkappid")
    issued_at: int = field(name="TLS.time")
    expire_s: int = field(name="TLS.expire")
    userbuf: str | None = field(name="TLS.userbuf", default=None)
    """Standard base64 of bytes that mean nothing to a push service; covered by the signature."""
    sig: str = field(name="TLS.sig")

    @property
    def expires_at(self) -> int:
        """The last second in which the token is still valid."""
        return self.issued_at + self.expire_s


_DECODER = msgspec.json.Decoder(UserSig)


def sign(  # the five facts of a token, in the order of the official libraries
    sdkappid: int,
    key: str,
    identifier: str,
    expire_s: int,
    now: float,
    *,
    userbuf: bytes | None = None,
) -> str:
    """A UserSig for `identifier`, valid for `expire_s` seconds from `now`."""
    unsigned = UserSig(
        version=VERSION,
        identifier=identifier,
        sdkappid=sdkappid,
        issued_at=int(now),
        expire_s=expire_s,
        userbuf=None if userbuf is None else base64.b64encode(userbuf).decode(),
        sig="",
    )
    signed = msgspec.structs.replace(unsigned, sig=_mac(unsigned, key).decode())
    packed = zlib.compress(msgspec.json.encode(signed))
    return base64.b64encode(packed).decode().translate(_TO_WIRE)


def decode(usersig: str) -> UserSig:
    """What a token says; raises `CallError` 70002 or 70003. Costs little for any input.

    A token is a few hundred bytes, but zlib can make gigabytes of eight kilobytes: inflation
    stops at `INFLATED_MAX_BYTES`.
    """
    if not usersig:
        raise CallError(70002)
    if len(usersig) > TOKEN_MAX_CHARS or not _WIRE_TEXT.fullmatch(usersig):
        raise CallError(70003)
    try:
        token = _DECODER.decode(_inflate(usersig.translate(_FROM_WIRE)))
    except (ValueError, zlib.error, msgspec.MsgspecError, RecursionError) as fault:
        raise CallError(70003) from fault
    if token.version != VERSION or not _is_unambiguous(token):
        raise CallError(70003)
    return token


def verify(
    usersig: str, *, sdkappid: int, identifier: str, key: str, former_key: str = "", now: float
) -> UserSig:
    """The token, if it proves `identifier` in `sdkappid`; else `CallError` 70001 to 70014.

    The order of checks is that of the official Go verifier, so that each fault gets the code
    callers know. Either key may have signed it: while an app's key is changed there are two.
    Whether the account was kicked since is for those to ask who have the token proven.
    """
    token = decode(usersig)
    if token.sdkappid != sdkappid:
        raise CallError(70014)
    if token.identifier != identifier:
        raise CallError(70013)
    if int(now) > token.expires_at:
        raise CallError(70001)
    signed = token.sig.encode()
    keys = (key, former_key) if former_key else (key,)
    if not any(hmac.compare_digest(_mac(token, it), signed) for it in keys):
        raise CallError(70009)
    return token


def _inflate(text: str) -> bytes:
    packed = binascii.a2b_base64(text, strict_mode=True)
    inflater = zlib.decompressobj()
    # One byte of room beyond the limit lets a token of exactly the limit reach its checksum.
    plain = inflater.decompress(packed, INFLATED_MAX_BYTES + 1)
    if len(plain) > INFLATED_MAX_BYTES or not inflater.eof or inflater.unused_data:
        raise ValueError("cut off, too long or with a tail")
    return plain


def _is_unambiguous(token: UserSig) -> bool:
    """Whether the signed lines can be read in one way only.

    A line break inside the name or the userbuf would let a token signed for one name pass for
    another's, where an app signs names that its users choose.
    """
    userbuf = token.userbuf
    return not _CONTROL.search(token.identifier) and (
        userbuf is None or _BASE64.fullmatch(userbuf) is not None
    )


def _mac(token: UserSig, key: str) -> bytes:
    text = (
        f"TLS.identifier:{token.identifier}\nTLS.sdkappid:{token.sdkappid}\n"
        f"TLS.time:{token.issued_at}\nTLS.expire:{token.expire_s}\n"
    )
    if token.userbuf is not None:
        text += f"TLS.userbuf:{token.userbuf}\n"
    # The key is used as the text it is handed out as; it is hexadecimal but never decoded.
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), hashlib.sha256))
