"""Web Push: the token per push service, the two forms of a message, and whose word is believed."""

from __future__ import annotations

from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.unit.channels.kit import (
    IDS,
    NOW,
    OpenGate,
    ScriptedHttp,
    batch,
    delivery,
    driver,
    message,
)
from tests.unit.channels.kit_shape import ec_key, rsa_key
from tests.unit.channels.kit_webpush import (
    VAPID_PRIVATE,
    opened,
    refusal,
    settings,
    token,
)
from tocsin.channels.vendors import webpush
from tocsin.conversation import Authority, Delivery, Denied, Request, Response, StaleCredential
from tocsin.domain.message import ApplePart, Translation
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.webpush import base64url, public_bytes, to_base64url

GOOGLE = "https://fcm.googleapis.com/fcm/send/"
STRANGER = "https://push.example.com/"
SIGNING = ec.derive_private_key(int.from_bytes(base64url(VAPID_PRIVATE)), ec.SECP256R1())
PUBLIC = to_base64url(public_bytes(SIGNING))


def authority(now: float = NOW, **changed: Any) -> Authority:
    talk = webpush.authorize(settings(**changed), now)
    found: Authority | Denied | None = None
    try:
        next(talk)
    except StopIteration as end:
        found = end.value
    assert isinstance(found, Authority)
    return found


def one(endpoint: str = GOOGLE, **parts: Any) -> Delivery:
    return delivery(4, **{"token": token("device-4", endpoint), **parts})


def made(
    given: Delivery, proof: Authority | None = None, now: float = NOW, **changed: Any
) -> Request:
    request = webpush.request(settings(**changed), proof or authority(**changed), given, now)
    assert isinstance(request, Request)
    return request


def claims(request: Request, proof: ec.EllipticCurvePublicKey | None = None) -> dict[str, Any]:
    header = dict(request.headers)["authorization"]
    scheme, _, rest = header.partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    assert scheme == "vapid"
    assert parts["k"] == PUBLIC
    told: dict[str, Any] = jwt.decode(
        parts["t"],
        proof or SIGNING.public_key(),
        algorithms=["ES256"],
        options={"verify_aud": False, "verify_exp": False},
    )
    return told


# what proves us


def test_a_token_is_for_one_push_service_and_lives_within_a_day() -> None:
    told = claims(made(one()))
    assert told["aud"] == "https://fcm.googleapis.com"
    assert told["sub"] == "mailto:push@example.com"
    assert NOW < told["exp"] <= NOW + 86_400
    assert claims(made(one(STRANGER)))["aud"] == "https://push.example.com"
    assert claims(made(one("https://e.com:8443/")))["aud"] == "https://e.com:8443"


def test_a_token_outlives_the_authority_it_is_made_from() -> None:
    proof = authority()
    assert NOW < proof.renew_at < proof.expires_at < claims(made(one(), proof))["exp"]


def test_one_token_serves_all_of_a_push_service_until_the_authority_changes() -> None:
    proof = authority()
    first, second = (made(one(), proof, NOW + it) for it in (0, 40_000))
    assert first == second
    other = made(one(), authority(NOW + 60))
    assert dict(other.headers)["authorization"] != dict(first.headers)["authorization"]
    assert other.body == first.body


def test_push_services_never_see_each_others_tokens() -> None:
    proof = authority()
    for _ in range(2):
        for origin in ("https://fcm.googleapis.com", "https://push.example.com"):
            assert claims(made(one(origin + "/"), proof))["aud"] == origin


def test_tokens_kept_are_bounded_and_forgetting_one_changes_no_request() -> None:
    proof = authority()
    before = made(one(), proof)
    for number in range(webpush.ORIGINS_MAX + 1):
        made(one(f"https://a{number}.example.com/"), proof)
    assert len(proof.tokens) <= webpush.ORIGINS_MAX  # type: ignore[attr-defined]
    assert made(one(), proof) == before


def test_the_request_is_guarded_and_goes_where_the_subscription_says() -> None:
    request = made(one("https://e.com:8443/x/"))
    assert (request.origin, request.path) == ("https://e.com:8443", "/x/device-4")
    assert request.is_guarded
    assert request.method == "POST"


async def test_an_origin_of_the_operators_is_not_guarded() -> None:
    http = ScriptedHttp(lambda _: Response(201))
    records: tuple[dict[str, Any], ...] = ({}, {"ca": "PEM"}, {"origin": "https://127.0.0.1:1"})
    for record in records:
        given = batch(1, token=token("a"))
        await driver(webpush, http, settings=settings(), **record).deliver(given, OpenGate())
    assert [request.is_guarded for request in http.requests] == [True, True, False]
    assert http.requests[2].origin == "https://127.0.0.1:1"


# settings


@pytest.mark.parametrize(
    "changed",
    [
        {"private_key": "short"},
        {"private_key": to_base64url(b"\0" * 32)},
        {"private_key": to_base64url(b"\xff" * 32)},
        {"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"private_key": rsa_key()},
        {"subject": "push@example.com"},
        {"subject": "mailto:nobody"},
        {"subject": "http://example.com"},
        {"public_key": "BCVx"},
        {"form": "declarative"},
        {"icon": "javascript:alert(1)"},
        {"url": "/relative"},
    ],
)
def test_settings_that_cannot_work_are_refused_without_telling_the_value(
    changed: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r".") as fault:
        settings(**changed)
    assert not any(text in str(fault.value) for text in changed.values() if len(text) > 12)


def test_a_key_may_be_pem_or_base64url_and_its_public_half_is_checked() -> None:
    pem = SIGNING.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert made(one(), private_key=pem) == made(one(), public_key=PUBLIC)
    with pytest.raises(ValueError, match="does not belong"):
        settings(private_key=ec_key(), public_key=PUBLIC)


# what a message becomes


def test_the_headers_of_a_message() -> None:
    headers = dict(made(one(ttl_s=60, collapse="t9-2")).headers)
    del headers["authorization"]
    assert headers == {
        "ttl": "60",
        "urgency": "high",
        "topic": "t9-2",
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
    }


@pytest.mark.evidence(
    "every task has a topic that Apple's push service takes",
    topic="Vendors",
    planted="the collapse text sent as it is",
)
def test_a_topic_is_the_base64url_text_of_some_bytes() -> None:
    """Apple decodes it: 5 or 13 characters of the right kind are refused."""
    for length in range(1, 33):
        collapse = "t7-1".ljust(length, "a")[:length]
        topic = dict(made(one(collapse=collapse)).headers)["topic"]
        assert to_base64url(base64url(topic)) == topic
        assert len(topic) <= 32
        assert (topic == collapse) == (length % 4 == 0)


def test_a_life_over_four_weeks_is_cut_and_a_topic_is_always_in_form() -> None:
    headers = dict(made(one(ttl_s=10**9, collapse="t 7/1é")).headers)
    assert headers["ttl"] == str(28 * 86_400)
    assert len(headers["topic"]) == 32
    assert headers["topic"].replace("-", "").replace("_", "").isalnum()


def test_the_form_for_a_service_worker() -> None:
    changed: dict[str, Any] = {
        "url": "https://e.com/o",
        "icon": "https://e.com/i",
        "badge_icon": "https://e.com/b",
    }
    assert opened(made(one(message=message(ext="77")), **changed).body) == {
        "title": "Hello",
        "body": "A word to all",
        "icon": "https://e.com/i",
        "badge": "https://e.com/b",
        "tag": "t7-1",
        "data": {
            "msgid": one().correlation,
            **IDS,
            "ext": "77",
            "url": "https://e.com/o",
        },
    }


def test_the_declarative_form() -> None:
    changed: dict[str, Any] = {"url": "https://e.com/o", "form": "declarative"}
    told = opened(made(one(message=message(badge_set=0)), **changed).body)
    assert (told["web_push"], told["app_badge"]) == (8030, 0)
    assert told["notification"]["navigate"] == "https://e.com/o"
    assert told["notification"]["title"] == "Hello"
    # Without a title a browser would draw nothing: the service worker gets it.
    assert "web_push" not in opened(made(one(message=message(title="")), **changed).body)


def test_what_is_not_shown_is_not_repeated() -> None:
    assert webpush.replaces(settings(), message())
    assert not webpush.replaces(settings(), message(title="", desc=""))
    silent = message(translations=(Translation("de"),))
    assert not webpush.replaces(settings(), silent)
    assert webpush.replaces(settings(), message(apple=ApplePart(is_silent=True)))


@pytest.mark.parametrize("text", ["", "ab" * 32, "{}", token("a", "http://push.example.com/")])
def test_a_token_that_is_no_subscription_sends_nothing(text: str) -> None:
    receipt = webpush.request(settings(), authority(), one(token=text), NOW)
    assert isinstance(receipt, Receipt)
    assert (receipt.outcome, receipt.code) == (Outcome.NO_TOKEN, "-2")


def test_no_two_deliveries_are_sealed_alike() -> None:
    proof = authority()
    bodies = {
        made(one(**parts), proof).body[:86]
        for parts in (
            {},
            {"correlation": "another"},
            {"collapse": "t8-1"},
            {"message": message(desc="Another")},
        )
    }
    assert len(bodies) == 4


# whose word is believed


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_nobody_knows_cannot_accuse_our_key(status: int) -> None:
    receipt = webpush.read(one(STRANGER), Response(status))
    assert receipt.outcome is Outcome.NOT_PERMITTED
    with pytest.raises(StaleCredential):
        webpush.read(one(GOOGLE), Response(401))
    assert webpush.read(one(GOOGLE), Response(403)).outcome is Outcome.CREDENTIALS_WRONG


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("updates.push.services.mozilla.com", True),
        ("web.push.apple.com", True),
        ("wns2-par02p.notify.windows.com", True),
        ("fcm.googleapis.com", True),
        ("fcm.googleapis.com.example.com", False),
        ("afcm.googleapis.com", False),
        ("evilpush.apple.com", False),
        ("push.services.mozilla.com.evil.com", False),
    ],
)
def test_which_services_are_known(host: str, is_known: bool) -> None:
    receipt = webpush.read(one(f"https://{host}/"), Response(403))
    expected = Outcome.CREDENTIALS_WRONG if is_known else Outcome.NOT_PERMITTED
    assert receipt.outcome is expected


async def test_devices_subscribed_with_another_key_stop_nobody_else() -> None:
    http = ScriptedHttp(
        lambda it: refusal(403, "key mismatch") if it.path.endswith("foreign") else Response(201)
    )
    given = batch(30, token=token("a"))
    foreign = msgspec.structs.replace(given.deliveries[0], token=token("foreign"))
    given = msgspec.structs.replace(given, deliveries=(foreign, *given.deliveries[1:]))
    chosen = driver(webpush, http, settings=settings())
    outcomes = [receipt.outcome for receipt in await chosen.deliver(given, OpenGate())]
    assert outcomes == [Outcome.NOT_PERMITTED] + [Outcome.ACCEPTED] * 29


def test_a_long_wait_is_cut() -> None:
    answer = Response(429, {"retry-after": "999999"})
    assert webpush.read(one(STRANGER), answer).retry_after_s == webpush.WAIT_MAX_S


@pytest.mark.parametrize(
    "body",
    [b'{"reason":"<script>alert(1)</script>"}', b'{"reason":"' + b"a" * 999 + b'"}', b"x" * 99_999],
)
def test_a_strangers_words_do_not_get_into_the_books(body: bytes) -> None:
    assert webpush.read(one(STRANGER), Response(400, {}, body)).info == ""
