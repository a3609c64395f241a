from __future__ import annotations

from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.unit.channels.kit import AUTHORITY, NOW, authorized, delivery, message, refusal
from tests.unit.channels.kit_apns import apns_settings
from tests.unit.channels.kit_shape import ec_key, rsa_key
from tocsin.channels.vendors import apns
from tocsin.conversation import Authority, Delivery, Request, Response, StaleCredential
from tocsin.domain.message import ApplePart, LiveActivity, Message
from tocsin.domain.outcome import Outcome, Receipt


def request(given: Delivery, **settings: str) -> Request | Receipt:
    return apns.request(apns_settings(**settings), AUTHORITY, given, NOW)


def sent(given: Delivery) -> Request:
    made = request(given)
    assert isinstance(made, Request)
    return made


def test_the_token_is_signed_with_the_key_and_names_it() -> None:
    found = authorized(apns, apns_settings())
    assert isinstance(found, Authority)
    scheme, _, token = found.value.partition(" ")
    public = load_pem_private_key(ec_key().encode(), None).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    claims = jwt.decode(token, public, algorithms=["ES256"], options={"verify_iat": False})
    assert (scheme, claims) == ("bearer", {"iss": "TEAM123456", "iat": int(NOW)})
    assert jwt.get_unverified_header(token)["kid"] == "KEY1234567"


def test_the_token_is_renewed_between_20_and_60_minutes_with_jitter() -> None:
    found = authorized(apns, apns_settings())
    assert isinstance(found, Authority)
    drift_s = 0.05 * (found.expires_at - NOW)
    assert found.renew_at - drift_s >= NOW + 20 * 60
    assert found.renew_at + drift_s < found.expires_at <= NOW + 60 * 60


def test_a_request_names_device_topic_and_kind() -> None:
    made = sent(delivery(token="ab" * 32))
    assert (made.method, made.path, made.http2) == ("POST", "/3/device/" + "ab" * 32, True)
    assert dict(made.headers) == {
        "authorization": AUTHORITY.value,
        "apns-topic": "com.example.app",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(int(NOW) + 3600),
        "apns-id": "0a1b2c3d-0000-4000-8000-000000000001",
        "apns-collapse-id": "t7-1",
    }


@pytest.mark.parametrize(
    ("environment", "origin"),
    [
        ("production", "https://api.push.apple.com"),
        ("development", "https://api.sandbox.push.apple.com"),
    ],
)
def test_the_environment_decides_the_address(environment: str, origin: str) -> None:
    made = request(delivery(), environment=environment)
    assert isinstance(made, Request)
    assert made.origin == origin


def test_a_token_cannot_lead_to_another_path() -> None:
    assert sent(delivery(token="../x?y=1#z")).path == "/3/device/..%2Fx%3Fy%3D1%23z"


def test_a_badge_of_zero_clears() -> None:
    body = msgspec.json.decode(sent(delivery(badge=0)).body)
    assert body["aps"]["badge"] == 0


def test_the_end_of_a_live_activity_is_dismissed_now_unless_told_when() -> None:
    for at, expected in ((None, int(NOW)), (1_800_000_000, 1_800_000_000)):
        activity = LiveActivity(id="a", event="end", content_state={}, dismissal_at=at)
        told = message(apple=ApplePart(live_activity=activity))
        body = msgspec.json.decode(sent(delivery(message=told, live_token="ab")).body)
        assert body["aps"]["dismissal-date"] == expected


def test_a_device_without_the_live_activity_gets_nothing() -> None:
    told = message(apple=ApplePart(live_activity=LiveActivity(id="a", event="update")))
    receipt = request(delivery(message=told))
    assert isinstance(receipt, Receipt)
    assert (receipt.outcome, receipt.epoch) == (Outcome.NO_TOKEN, 3)


START = LiveActivity(
    id="a", event="start", content_state={}, attributes_type="Order", attributes={"n": 1}
)


def test_a_live_activity_is_started_by_the_token_of_its_type() -> None:
    told = message(apple=ApplePart(live_activity=START))
    made = sent(delivery(message=told, live_token="ab" * 80))
    assert made.path == "/3/device/" + "ab" * 80
    aps = msgspec.json.decode(made.body)["aps"]
    assert (aps["event"], aps["attributes-type"], aps["attributes"]) == ("start", "Order", {"n": 1})
    assert (aps["input-push-token"], "dismissal-date" in aps) == (1, False)
    assert aps["alert"] == {"title": "Hello", "body": "A word to all"}
    receipt = request(delivery(message=told))
    assert isinstance(receipt, Receipt)
    assert receipt.outcome is Outcome.NO_TOKEN


@pytest.mark.evidence("a Live Activity is started by the token of its type, which dies alone")
def test_nothing_is_started_without_a_word_to_the_person() -> None:
    for event, is_sent in (("start", False), ("update", True)):
        activity = msgspec.structs.replace(START, event=event)
        told = Message(apple=ApplePart(live_activity=activity))
        made = request(delivery(message=told, live_token="ab" * 80))
        assert isinstance(made, Request) is is_sent
        if isinstance(made, Receipt):
            assert (made.outcome, made.code) == (Outcome.NOT_PERMITTED, "-13")


def test_only_a_start_tells_the_attributes_and_any_event_when_it_grows_stale() -> None:
    for event in ("update", "end"):
        activity = msgspec.structs.replace(START, event=event, stale_at=1_800_000_000)
        told = message(apple=ApplePart(live_activity=activity))
        aps = msgspec.json.decode(sent(delivery(message=told, live_token="ab")).body)["aps"]
        assert aps["stale-date"] == 1_800_000_000
        assert not {"attributes", "attributes-type", "input-push-token"} & aps.keys()


@pytest.mark.evidence(
    "a call is not kept for longer than a phone rings",
    topic="Vendors",
    planted="kept for the push's life",
)
@pytest.mark.parametrize(
    ("life", "expiration"),
    [
        ({}, int(NOW) + 30),
        ({"expires_at": NOW + 20, "ttl_s": 20}, int(NOW) + 20),
        ({"ttl_s": 0}, 0),
    ],
)
def test_a_call_is_not_kept_for_longer_than_a_phone_rings(
    life: dict[str, Any], expiration: int
) -> None:
    told = message(apple=ApplePart(is_voip=True))
    made = sent(delivery(message=told, voip_token="cd", **life))
    assert dict(made.headers)["apns-expiration"] == str(expiration)
    # Without its token it rings as an ordinary push, which may wait.
    plain = sent(delivery(message=told))
    assert dict(plain.headers)["apns-expiration"] == str(int(NOW) + 3600)


@pytest.mark.evidence(
    "every app is told which push it has: the online frame's `id` and `task_id`, and Ext as"
    " it was, beside the text of all ten vendors, wherever a click leads",
)
@pytest.mark.parametrize("kind", ["alert", "background", "voip"])
def test_the_app_is_told_which_push_it_has_in_each_kind(kind: str) -> None:
    apple = ApplePart(is_silent=kind == "background", is_voip=kind == "voip")
    given = delivery(message=message(ext="{}", apple=apple), voip_token="cd", task_id="67a_1_2_3_4")
    made = sent(given)
    assert dict(made.headers)["apns-push-type"] == kind
    told = {"ext": "{}", "id": "67a_1_2_3_4", "task_id": "67a_1_2_3_4"}
    assert told.items() <= msgspec.json.decode(made.body).items()


def padded(size: int, given: Delivery) -> Delivery:
    """The delivery with an Ext that makes its payload exactly so long."""
    left = size - len(sent(given).body)
    told = msgspec.structs.replace(given.message, ext=given.message.ext + "x" * left)
    return msgspec.structs.replace(given, message=told)


@pytest.mark.evidence(
    "payload limits",
    topic="Channels and sandbox",
    planted="one byte more allowed; letters counted",
)
@pytest.mark.parametrize(("is_voip", "limit"), [(False, 4096), (True, 5120)])
def test_a_payload_over_the_limit_is_not_sent(is_voip: bool, limit: int) -> None:
    told = message(title="", desc="", ext="x", apple=ApplePart(is_voip=is_voip))
    given = delivery(message=told, voip_token="cd" * 32)
    fits = padded(limit, given)
    assert len(sent(fits).body) == limit
    receipt = request(one_more(fits))
    assert isinstance(receipt, Receipt)
    assert receipt.outcome is Outcome.TOO_LARGE


def one_more(given: Delivery) -> Delivery:
    told = msgspec.structs.replace(given.message, ext=given.message.ext + "x")
    return msgspec.structs.replace(given, message=told)


def test_the_limit_counts_bytes_not_characters() -> None:
    receipt = request(delivery(message=message(ext="钟" * 1400)))
    assert isinstance(receipt, Receipt)
    assert receipt.outcome is Outcome.TOO_LARGE


@pytest.mark.parametrize(
    ("status", "body", "outcome", "info"),
    [
        (200, b"", Outcome.ACCEPTED, ""),
        (503, b"", Outcome.SERVER_ERROR, ""),
        (502, b"<html>Bad Gateway</html>", Outcome.SERVER_ERROR, ""),
        (400, b'{"reason":"BadDev', Outcome.BAD_REQUEST, ""),
        (400, b'{"reason":"SomethingNew"}', Outcome.BAD_REQUEST, "SomethingNew"),
        (410, b"", Outcome.UNDELIVERABLE, ""),
        (403, b'{"reason":"SomethingNew"}', Outcome.CREDENTIALS_WRONG, "SomethingNew"),
        (302, b"", Outcome.BAD_REQUEST, ""),
        (429, b"\xff\xfe", Outcome.THROTTLED, ""),
    ],
)
def test_an_answer_that_is_not_apples_is_judged_by_its_status(
    status: int, body: bytes, outcome: Outcome, info: str
) -> None:
    receipt = apns.read(delivery(), Response(status, {}, body))
    assert (receipt.outcome, receipt.info) == (outcome, info)


@pytest.mark.evidence("every answer leads to its outcome")
def test_only_these_answers_accuse_a_token_or_the_credential() -> None:
    """Apple's words, written out: the table itself must not be its only judge."""

    def those(*outcomes: Outcome) -> set[str]:
        return {reason for (_, reason), outcome in apns.OUTCOMES.items() if outcome in outcomes}

    assert those(Outcome.TOKEN_DEAD) == {"ExpiredToken", "Unregistered"}
    assert those(Outcome.TOKEN_MISMATCH) == {"BadDeviceToken"}
    assert those(Outcome.AUTH_EXPIRED) == {"ExpiredProviderToken"}
    assert those(Outcome.CREDENTIALS_WRONG) == {
        "",
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadEnvironmentKeyIdInToken",
        "Forbidden",
        "InvalidProviderToken",
        "MissingProviderToken",
        "UnrelatedKeyIdInToken",
    }
    assert those(Outcome.SERVER_ERROR, Outcome.THROTTLED) == {
        "",
        "IdleTimeout",
        "InternalServerError",
        "ServiceUnavailable",
        "Shutdown",
        "TooManyProviderTokenUpdates",
        "TooManyRequests",
    }


def test_a_dead_token_comes_with_its_time_of_death() -> None:
    receipt = apns.read(delivery(), refusal(apns, 410, "Unregistered"))
    assert (receipt.outcome, receipt.died_at, receipt.code, receipt.info) == (
        Outcome.TOKEN_DEAD,
        NOW,
        "410",
        "Unregistered",
    )


def test_a_dead_voip_or_live_token_does_not_kill_the_ordinary_one() -> None:
    voip = message(apple=ApplePart(is_voip=True))
    live = message(apple=ApplePart(live_activity=LiveActivity(id="a", event="update")))
    start = message(apple=ApplePart(live_activity=START))
    dead = refusal(apns, 410, "Unregistered")
    for given, outcome in (
        (delivery(message=voip, voip_token="cd"), Outcome.OTHER_WAY),
        (delivery(message=live, live_token="cd"), Outcome.UNDELIVERABLE),
        (delivery(message=start, live_token="cd"), Outcome.UNDELIVERABLE),
    ):
        receipt = apns.read(given, dead)
        assert (receipt.outcome, receipt.gone_token) == (outcome, "cd")
    assert apns.read(delivery(), dead).gone_token == ""
    # Without a VoIP token it went to the ordinary one, which is the dead one then.
    assert apns.read(delivery(message=voip), dead).outcome is Outcome.TOKEN_DEAD


def test_an_expired_provider_token_is_the_drivers_business() -> None:
    with pytest.raises(StaleCredential):
        apns.read(delivery(), refusal(apns, 403, "ExpiredProviderToken"))


@pytest.mark.parametrize(
    ("apple", "replaces"),
    [
        (ApplePart(), True),
        (ApplePart(is_silent=True), False),
        (ApplePart(is_voip=True), False),
        (ApplePart(live_activity=LiveActivity(id="a", event="update")), False),
    ],
)
def test_only_what_is_shown_is_replaced_by_a_repeat(apple: ApplePart, replaces: bool) -> None:
    assert apns.replaces(apns_settings(), message(apple=apple)) is replaces
    assert ("apns-collapse-id" in dict(sent(delivery(live_token="ab")).headers)) is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"private_key": "not a key"},
        {"private_key": ""},
        {"key_id": "two words"},
        {"team_id": "x\r\ny"},
        {"bundle_id": ""},
        {"environment": "staging"},
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, str]) -> None:
    right = msgspec.to_builtins(apns_settings())
    with pytest.raises(ValueError, match=r"private_key|key_id|team_id|bundle_id|enum") as caught:
        msgspec.convert({**right, **wrong}, apns.Settings)
    assert "BEGIN" not in str(caught.value)


def test_an_rsa_key_does_not_sign_for_apple() -> None:
    right = msgspec.to_builtins(apns_settings())
    with pytest.raises(ValueError, match="P-256"):
        msgspec.convert({**right, "private_key": rsa_key()}, apns.Settings)
