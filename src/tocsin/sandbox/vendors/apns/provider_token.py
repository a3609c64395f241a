"""Apple's provider tokens: signature, age, owner, and how often they may change.

Apple, "Establishing a token-based connection to APNs" and developer forum threads 675879 and
702056 (read 2026-11): ES256 with `kid` and `iss`, `iat` not older than an hour, renewed at most
every 20 minutes, one team per connection, and a connection that was told
TooManyProviderTokenUpdates stays useless until that time is over.
"""

from __future__ import annotations

import base64
import binascii

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from msgspec import Struct

AGE_MAX_S = 3600
SKEW_MAX_S = 300
"""How far in the future `iat` may lie. Apple gives no figure; its servers bear small skews."""
UPDATE_WINDOW_S = 1200
TOKENS_MAX = 2
"""Distinct tokens of one connection within the window: the first and one renewal. Of 100 tokens
signed at once Apple was seen to take two."""
VERIFIED_MAX = 4096


class ApnsKey(Struct, frozen=True):
    """A signing key that Apple knows."""

    key_id: str
    team_id: str
    public_key: ec.EllipticCurvePublicKey
    topics: tuple[str, ...] = ()
    """Bundle ids the key is limited to; empty: all of its team."""
    environment: str = ""
    """`production` or `development`, where the key is limited to one."""


class Link(Struct):
    """What the vendor remembers of one connection."""

    team_id: str = ""
    seen: dict[str, float] = {}
    """Each provider token of this connection and when it came first."""
    useless_until: float = 0.0
    header: str = ""
    """The authorization header last found in order, and until when it will be."""
    header_key: ApnsKey | None = None
    header_until: float = 0.0


class Signed(Struct, frozen=True):
    """A token whose signature was found right."""

    key: ApnsKey
    issued_at: float


class ProviderTokens:
    """Judges the `authorization` header of each request."""

    def __init__(
        self, keys: dict[str, ApnsKey], environment: str, *, takes_der: bool = False
    ) -> None:
        self._keys = keys
        self._environment = environment
        self._takes_der = takes_der
        self._verified: dict[str, Signed] = {}

    def add(self, key: ApnsKey) -> None:
        """Make a further key known."""
        self._keys[key.key_id] = key

    def judge(self, header: str | None, link: Link, now: float) -> ApnsKey | str:
        """The key that signed, or Apple's reason for refusing."""
        if now < link.useless_until:
            return "TooManyProviderTokenUpdates"
        if link.header_key is not None and header == link.header and now < link.header_until:
            return link.header_key
        if not header:
            return "MissingProviderToken"
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "InvalidProviderToken"
        signed = self._verify(token)
        if isinstance(signed, str):
            return signed
        if now - signed.issued_at > AGE_MAX_S:
            return "ExpiredProviderToken"
        if signed.issued_at - now > SKEW_MAX_S:
            return "InvalidProviderToken"
        reason = self._placed(signed, link) or _renewed(token, link, now)
        if reason is not None:
            return reason
        link.header, link.header_key = header, signed.key
        link.header_until = signed.issued_at + AGE_MAX_S
        return signed.key

    def _placed(self, signed: Signed, link: Link) -> str | None:
        """Whether this key may speak here, on this connection."""
        if link.team_id and link.team_id != signed.key.team_id:
            return "InvalidProviderToken"
        if signed.key.environment not in ("", self._environment):
            return "BadEnvironmentKeyIdInToken"
        link.team_id = signed.key.team_id
        return None

    def _verify(self, token: str) -> Signed | str:
        known = self._verified.get(token)
        if known is not None:
            return known
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return "InvalidProviderToken"
            claims = jwt.decode(
                _as_rfc_7518(token) if self._takes_der else token,
                key.public_key,
                algorithms=["ES256"],
                options={"verify_iat": False, "verify_exp": False, "verify_nbf": False},
            )
        except jwt.InvalidTokenError:
            return "InvalidProviderToken"
        issued_at = claims.get("iat")
        if claims.get("iss") != key.team_id or not isinstance(issued_at, int | float):
            return "InvalidProviderToken"
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[token] = Signed(key, float(issued_at))
        return self._verified[token]


def _as_rfc_7518(token: str) -> str:
    """The token with its two numbers side by side, where they came as DER; else as it is."""
    signed, _, signature = token.rpartition(".")
    try:
        told = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        r, s = decode_dss_signature(told)
        plain = r.to_bytes(32) + s.to_bytes(32)
    except (binascii.Error, OverflowError, ValueError):
        return token
    return f"{signed}.{base64.urlsafe_b64encode(plain).rstrip(b'=').decode()}"


def _renewed(token: str, link: Link, now: float) -> str | None:
    """Whether the connection changes its token too often."""
    if token in link.seen:
        return None
    link.seen = {old: at for old, at in link.seen.items() if now - at < UPDATE_WINDOW_S}
    if len(link.seen) >= TOKENS_MAX:
        link.useless_until = min(link.seen.values()) + UPDATE_WINDOW_S
        return "TooManyProviderTokenUpdates"
    link.seen[token] = now
    return None
