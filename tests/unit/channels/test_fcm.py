from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, authorized, delivery, message, refusal
from tests.unit.channels.kit_fcm import fcm_settings
from tests.unit.channels.kit_shape import bearer, ec_key, rsa_key
from tocsin.channels import shared
from tocsin.channels.vendors import fcm
from tocsin.conversation import Authority, Delivery, Denied, Request, Response, StaleCredential
from tocsin.domain.message import AndroidPart, Message, Translation
from tocsin.domain.outcome import Outcome, Receipt


def test_a_key_is_checked_once() -> None:
    """Checking takes 27 ms of the event loop, and settings are opened again and again."""
    shared.rsa_key.cache_clear()
    for _ in range(3):
        next(fcm.authorize(fcm.Settings(**msgspec.structs.asdict(fcm_settings())), NOW))
    assert shared.rsa_key.cache_info().misses == 1


def sent(given: Delivery, **settings: Any) -> dict[str, Any]:
    made = fcm.request(fcm_settings(**settings), AUTHORITY, given, NOW)
    assert isinstance(made, Request)
    found: dict[str, Any] = msgspec.json.decode(made.body)["message"]
    return found


def ext(**features: Any) -> str:
    return msgspec.json.encode({"entity": {"id": "7"}, "timPushFeatures": features}).decode()


@pytest.mark.evidence(
    "an assertion is for Google's constant audience, wherever bearers are fetched, and the "
    "sandbox takes no other",
    topic="Vendors",
    planted="`token_uri` as the audience; any audience taken",
)
def test_the_assertion_is_what_google_asks_for() -> None:
    made = next(fcm.authorize(fcm_settings(token_uri="https://auth.example/token"), NOW))
    assert (made.method, made.origin, made.path) == ("POST", "https://auth.example", "/token")
    kind = "application/x-www-form-urlencoded;charset=UTF-8"
    assert dict(made.headers)["content-type"] == kind
    form = parse_qs(made.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    public = load_pem_private_key(rsa_key().encode(), None).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    claims = jwt.decode(
        form["assertion"][0],
        public,
        algorithms=["RS256"],
        audience="https://oauth2.googleapis.com/token",
        options={"verify_iat": False, "verify_exp": False},
    )
    assert claims == {
        "iss": "sender@example.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }
    assert jwt.get_unverified_header(form["assertion"][0])["kid"] == "c0ffee"


def test_a_bearer_is_renewed_at_four_fifths_of_its_life() -> None:
    found = authorized(fcm, fcm_settings(), bearer("abc"))
    assert found == Authority("Bearer abc", NOW + 0.8 * 3599, NOW + 3599)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (Response(400, {}, b'{"error":"invalid_grant"}'), Outcome.CREDENTIALS_WRONG),
        (Response(401, {}, b'{"error":"invalid_client"}'), Outcome.CREDENTIALS_WRONG),
        (Response(429, {"retry-after": "7"}), Outcome.THROTTLED),
        (Response(503, {}, b"<html>"), Outcome.SERVER_ERROR),
        (Response(200, {}, b"{}"), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":'), Outcome.SERVER_ERROR),
    ],
)
def test_a_refused_assertion_is_a_denial(response: Response, outcome: Outcome) -> None:
    found = authorized(fcm, fcm_settings(), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome
    assert found.retry_after_s == (7 if response.status == 429 else None)


def test_a_notification_is_whole() -> None:
    assert sent(delivery(token="tok")) == {
        "token": "tok",
        "notification": {"title": "Hello", "body": "A word to all"},
        "data": {
            "msgid": "0a1b2c3d-0000-4000-8000-000000000001",
            **IDS,
        },
        "android": {"ttl": "3600s", "collapse_key": "t7-1", "notification": {"tag": "t7-1"}},
    }


def test_data_mode_has_nothing_that_android_would_draw() -> None:
    assert sent(delivery(token="tok"), mode="data") == {
        "token": "tok",
        "data": {
            "msgid": "0a1b2c3d-0000-4000-8000-000000000001",
            **IDS,
            "title": "Hello",
            "desc": "A word to all",
        },
        "android": {"ttl": "3600s"},
    }


@pytest.mark.parametrize(
    ("text", "mode", "is_notification"),
    [
        ("", "notification", True),
        ("", "data", False),
        (ext(fcmPushType=0), "notification", False),
        (ext(fcmPushType=1), "data", True),
        (ext(fcmPushType=-1), "data", False),
        (ext(fcmPushType=-1), "notification", True),
        (ext(fcmPushType="0"), "notification", True),
        ('fcmPushType but not {"json"', "data", False),
        ('["fcmPushType"]', "notification", True),
    ],
)
def test_ext_may_wish_for_a_mode(text: str, mode: str, is_notification: bool) -> None:
    told = message(ext=text)
    assert ("notification" in sent(delivery(message=told), mode=mode)) is is_notification
    assert fcm.replaces(fcm_settings(mode=mode), told) is is_notification


def test_nothing_to_show_is_data_and_replaces_nothing() -> None:
    empty = Message(ext="{}")
    assert "notification" not in sent(delivery(message=empty))
    assert not fcm.replaces(fcm_settings(), empty)
    half = message(translations=(Translation("de"),))
    assert not fcm.replaces(fcm_settings(), half)


def test_the_lifetime_is_cut_to_googles_28_days() -> None:
    assert sent(delivery(ttl_s=10**8))["android"]["ttl"] == f"{28 * 86_400}s"


def test_the_priority_is_lower_case() -> None:
    told = message(android=AndroidPart(google_priority="HIGH"))
    assert sent(delivery(message=told))["android"]["priority"] == "high"


@pytest.mark.parametrize("mode", ["notification", "data"])
def test_a_payload_over_4096_bytes_is_not_sent(mode: str) -> None:
    def made(size: int) -> Request | Receipt:
        told = message(title="ab", desc="c", ext="x" * size)
        settings = fcm_settings(mode=mode)
        return fcm.request(settings, AUTHORITY, delivery(message=told), NOW)

    largest = max(size for size in range(3800, 4100) if isinstance(made(size), Request))
    receipt = made(largest + 1)
    assert isinstance(receipt, Receipt)
    assert receipt.outcome is Outcome.TOO_LARGE
    assert largest < 4096 - len("abc")


@pytest.mark.parametrize(
    ("response", "outcome", "info"),
    [
        (refusal(fcm, 400, "BAD_REQUEST"), Outcome.BAD_REQUEST, "BAD_REQUEST message.android.ttl"),
        (refusal(fcm, 400, "INVALID_ARGUMENT"), Outcome.BAD_REQUEST, "INVALID_ARGUMENT"),
        (
            refusal(fcm, 400, "INVALID_ARGUMENT token"),
            Outcome.TOKEN_MISMATCH,
            "INVALID_ARGUMENT token",
        ),
        (Response(404, {}, b"<html>"), Outcome.CREDENTIALS_WRONG, ""),
        (Response(502, {}, b"<html>"), Outcome.SERVER_ERROR, ""),
        (Response(200, {}, b'{"name":'), Outcome.ACCEPTED, ""),
        (Response(400, {}, b'{"error":{"details":'), Outcome.BAD_REQUEST, ""),
    ],
)
def test_both_shapes_of_error_and_none(response: Response, outcome: Outcome, info: str) -> None:
    receipt = fcm.read(delivery(), response)
    assert (receipt.outcome, receipt.info) == (outcome, info)


@pytest.mark.evidence("every answer leads to its outcome")
def test_only_these_answers_accuse_a_token_or_the_credential() -> None:
    """Google's words, written out: the table itself must not be its only judge."""

    def those(*outcomes: Outcome) -> set[tuple[int, str]]:
        return {answer for answer, outcome in fcm.OUTCOMES.items() if outcome in outcomes}

    assert those(Outcome.TOKEN_DEAD) == {(400, "UNREGISTERED"), (404, "UNREGISTERED")}
    assert those(Outcome.TOKEN_MISMATCH) == {
        (400, "INVALID_ARGUMENT token"),
        (403, "SENDER_ID_MISMATCH"),
    }
    assert those(Outcome.AUTH_EXPIRED) == {(401, ""), (401, "UNAUTHENTICATED")}
    assert those(Outcome.CREDENTIALS_WRONG) == {
        (401, "THIRD_PARTY_AUTH_ERROR"),
        (403, ""),
        (403, "PERMISSION_DENIED"),
        (404, ""),
    }
    assert {status for status, _ in those(Outcome.THROTTLED)} == {429}
    assert {status for status, _ in those(Outcome.SERVER_ERROR)} == {500, 503}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, 60.0),
        ({"retry-after": "3"}, 3.0),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "soon"}, 60.0),
    ],
)
def test_over_quota_waits_as_told_or_a_minute(headers: dict[str, str], wait_s: float) -> None:
    receipt = fcm.read(delivery(), Response(429, headers))
    assert (receipt.outcome, receipt.retry_after_s) == (Outcome.THROTTLED, wait_s)


def test_a_stale_bearer_is_the_drivers_business() -> None:
    for response in (refusal(fcm, 401, "UNAUTHENTICATED"), Response(401)):
        with pytest.raises(StaleCredential):
            fcm.read(delivery(), response)


@pytest.mark.parametrize(
    "wrong",
    [
        {"private_key": "not a key"},
        {"project_id": "a/../b"},
        {"project_id": ""},
        {"token_uri": "http://plain.example/token"},
        {"mode": "both"},
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, str]) -> None:
    right = msgspec.to_builtins(fcm_settings())
    with pytest.raises(ValueError, match=r"private_key|project_id|token_uri|enum") as caught:
        msgspec.convert({**right, **wrong}, fcm.Settings)
    assert "BEGIN" not in str(caught.value)


def test_an_elliptic_key_does_not_sign_for_google() -> None:
    right = msgspec.to_builtins(fcm_settings())
    with pytest.raises(ValueError, match="RSA"):
        msgspec.convert({**right, "private_key": ec_key()}, fcm.Settings)


def test_a_whole_service_account_file_is_settings() -> None:
    file = {
        **msgspec.to_builtins(fcm_settings()),
        "type": "service_account",
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "universe_domain": "googleapis.com",
    }
    assert msgspec.convert(file, fcm.Settings) == fcm_settings()
