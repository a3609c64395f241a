"""Google's token endpoint: a signed assertion in, a bearer for an hour out.

Google, "Using OAuth 2.0 for server to server applications" (read 2026-11): RS256, `iss` the
service account, `scope` what is asked for, `aud` always the same address, wherever this endpoint
listens, `exp` at most an hour after `iat`; the answer's `expires_in` is 3599.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from tocsin.sandbox.app_server import is_form
from tocsin.sandbox.bearers import Bearers
from tocsin.sandbox.exchange import Call, Judgement

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = (
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
)
"""Either is good for sending."""
AUDIENCE = "https://oauth2.googleapis.com/token"
"""google-auth sends this constant (google/oauth2/service_account.py, read 2026-11)."""
BEARER_S = 3599
ASSERTION_S_MAX = 3600
SKEW_MAX_S = 300


class ServiceAccount(Struct, frozen=True):
    """A sender that Google knows."""

    client_email: str
    key_id: str
    public_key: rsa.RSAPublicKey
    project_id: str


class TokenEndpoint:
    """Gives out bearer tokens, each of which sends for its account's project."""

    def __init__(self, account: ServiceAccount, bearers: Bearers) -> None:
        self._account = account
        self._bearers = bearers

    def judge(self, call: Call, now: float) -> Judgement:
        """Answer one request for a bearer."""
        if call.method != "POST":
            return _error(405, "invalid_request", "Only POST is allowed.")
        if not is_form(call):
            return _error(400, "invalid_request", "The body is not a form.")
        form = parse_qs(call.body.decode("latin-1"))
        grant = form.get("grant_type", [""])[0]
        if grant != GRANT_TYPE:
            return _error(400, "unsupported_grant_type", f"Invalid grant_type: {grant}")
        assertion = form.get("assertion", [""])[0]
        if not assertion:
            return _error(400, "invalid_request", "Missing parameter: assertion")
        return self._judge_assertion(assertion, now)

    def _judge_assertion(self, assertion: str, now: float) -> Judgement:
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            key_id = jwt.get_unverified_header(assertion).get("kid")
        except jwt.InvalidTokenError:
            return _error(400, "invalid_grant", "Invalid JWT: it cannot be read.")
        account = self._account
        if claims.get("iss") != account.client_email:
            return _error(400, "invalid_grant", "Invalid grant: account not found")
        try:
            jwt.decode(
                assertion,
                account.public_key,
                algorithms=["RS256"],
                options={
                    "verify_aud": False,
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidTokenError:
            return _error(400, "invalid_grant", "Invalid JWT Signature.")
        if key_id not in (None, account.key_id):
            return _error(400, "invalid_grant", "Invalid JWT Signature.")
        return self._judge_claims(claims, account, now)

    def _judge_claims(
        self, claims: dict[str, object], account: ServiceAccount, now: float
    ) -> Judgement:
        if claims.get("aud") != AUDIENCE:
            return _error(400, "invalid_grant", f"Invalid JWT: aud must be {AUDIENCE}.")
        issued_at, ends_at = claims.get("iat"), claims.get("exp")
        if not isinstance(issued_at, int | float) or not isinstance(ends_at, int | float):
            return _error(400, "invalid_grant", "Invalid JWT: iat and exp must be given.")
        is_short = 0 < ends_at - issued_at <= ASSERTION_S_MAX
        is_now = issued_at - SKEW_MAX_S <= now <= ends_at + SKEW_MAX_S
        if not (is_short and is_now):
            return _error(
                400, "invalid_grant", "Invalid JWT: it must live at most an hour, and live now."
            )
        if not set(str(claims.get("scope", "")).split()) & set(SCOPES):
            return _error(400, "invalid_scope", "No scope that allows sending.")
        return self._give(account, now)

    def _give(self, account: ServiceAccount, now: float) -> Judgement:
        bearer = self._bearers.give(now, BEARER_S, account.project_id)
        answer: dict[str, str | int] = {
            "access_token": bearer,
            "expires_in": BEARER_S,
            "token_type": "Bearer",
        }
        return _json(200, answer)


def _error(status: int, error: str, text: str) -> Judgement:
    verdict = _json(status, {"error": error, "error_description": text})
    verdict.reason = error
    return verdict


def _json(status: int, answer: Mapping[str, str | int]) -> Judgement:
    return Judgement(
        status,
        (("content-type", "application/json; charset=utf-8"), ("cache-control", "no-store")),
        msgspec.json.encode(answer),
        logged=False,
    )
