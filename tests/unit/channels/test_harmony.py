from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.unit.channels.kit import AUTHORITY, BATCH_CORRELATION, IDS, NOW, authorized, batch
from tests.unit.channels.kit_harmony import answer, harmony_settings, parts, private_key
from tocsin.channels.shared import json_text
from tocsin.channels.vendors import harmony
from tocsin.conversation import Authority, Batch, Request, Response, StaleCredential
from tocsin.domain.message import HarmonyPart, Message, Translation, notify_id
from tocsin.domain.outcome import Outcome, Receipt


def begun(given: Batch, **settings: Any) -> Request:
    made = next(harmony.deliver(harmony_settings(**settings), AUTHORITY, given, NOW))
    assert isinstance(made, Request)
    return made


def sent(message: Message, **settings: Any) -> dict[str, Any]:
    found = msgspec.json.decode(begun(batch(1, message=message), **settings).body)
    assert isinstance(found, dict)
    return found


def drawn(message: Message, **settings: Any) -> dict[str, Any]:
    found = sent(message, **settings)["payload"]["notification"]
    assert isinstance(found, dict)
    return found


def ended(given: Batch, response: Response) -> Sequence[Receipt]:
    talk = harmony.deliver(harmony_settings(), AUTHORITY, given, NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(response)
    receipts: Sequence[Receipt] = end.value.value
    return receipts


def token(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.evidence("HarmonyOS wants PS256", topic="Vendors", planted="RS256")
def test_the_token_is_signed_as_huawei_asks() -> None:
    found = authorized(harmony, harmony_settings())
    assert isinstance(found, Authority)
    assert (found.renew_at, found.expires_at) == (NOW + 2880, NOW + 3600)
    text = found.value.removeprefix("Bearer ")
    key = load_pem_private_key(private_key().encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    claims = jwt.decode(
        text,
        key.public_key(),
        algorithms=["PS256"],
        audience="https://oauth-login.cloud.huawei.com/oauth2/v3/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["iss"] == "account-1"
    assert claims["exp"] - claims["iat"] == 3600
    assert jwt.get_unverified_header(text) == {"kid": "key-1", "typ": "JWT", "alg": "PS256"}


def test_a_notification_is_whole() -> None:
    made = begun(batch(2))
    assert (made.origin, made.path) == (
        "https://push-api.cloud.huawei.com",
        "/v3/388421841221/messages:send",
    )
    assert dict(made.headers)["push-type"] == "0"
    assert msgspec.json.decode(made.body) == {
        "payload": {
            "notification": {
                "category": "IM",
                "title": "Hello",
                "body": "A word to all",
                "clickAction": {"actionType": 0, "data": IDS},
                "badge": {"addNum": 1},
                "notifyId": notify_id("t7-1"),
                "appMessageId": BATCH_CORRELATION,
            }
        },
        "pushOptions": {"ttl": 3600, "biTag": BATCH_CORRELATION},
        "target": {"token": [token(1), token(2)]},
    }


def test_without_text_the_app_is_woken_in_the_background() -> None:
    made = begun(batch(1, message=Message(ext="x")))
    assert dict(made.headers)["push-type"] == "6"
    assert msgspec.json.decode(made.body)["payload"] == {
        "extraData": json_text({"ext": "x", **IDS})
    }
    assert sent(Message())["payload"] == {"extraData": json_text(IDS)}


def test_only_what_is_shown_is_replaced() -> None:
    assert harmony.replaces(harmony_settings(), Message(desc="a"))
    assert not harmony.replaces(harmony_settings(), Message(ext="a"))
    empty = Message(title="a", translations=(Translation("de"),))
    assert not harmony.replaces(harmony_settings(), empty)


@pytest.mark.parametrize(
    ("settings", "click"),
    [
        ({}, {"actionType": 0}),
        ({"click": "action", "click_target": "a.b"}, {"actionType": 1, "action": "a.b"}),
        ({"click": "uri", "click_target": "https://e"}, {"actionType": 1, "uri": "https://e"}),
    ],
)
def test_a_click_carries_ext_as_an_object(settings: dict[str, str], click: dict[str, Any]) -> None:
    assert drawn(Message(title="a"), **settings)["clickAction"] == {**click, "data": IDS}
    carrying = drawn(Message(title="a", ext="x"), **settings)["clickAction"]
    assert carrying == {**click, "data": {"ext": "x", **IDS}}


def test_sounds_are_not_for_marketing() -> None:
    loud = Message(title="a", harmony=HarmonyPart(sound="bell.mp3", sound_duration_s=5))
    assert drawn(loud)["sound"] == "bell.mp3"
    assert drawn(loud)["soundDuration"] == 5
    assert "sound" not in drawn(loud, category="MARKETING")
    bare = Message(title="a", harmony=HarmonyPart(sound_duration_s=5))
    assert "soundDuration" not in drawn(bare)


def test_badges_are_capped_and_set_beats_add() -> None:
    assert drawn(Message(title="a", badge_set=900, badge_add=5))["badge"] == {"setNum": 99}
    assert drawn(Message(title="a", badge_set=0))["badge"] == {"setNum": 0}
    assert drawn(Message(title="a", badge_add=7))["badge"] == {"addNum": 7}


def test_the_options_of_the_credential() -> None:
    told = sent(Message(title="a"), target_user="test", receipt_id="r7")["pushOptions"]
    assert (told["testMessage"], told["receiptId"]) == (True, "r7")


def test_a_payload_that_is_too_large_is_not_sent() -> None:
    given = batch(1, message=Message(title="a", ext="x" * 4096))
    with pytest.raises(StopIteration) as end:
        next(harmony.deliver(harmony_settings(), AUTHORITY, given, NOW))
    assert [it.outcome for it in end.value.value] == [Outcome.TOO_LARGE]
    assert len(begun(batch(1000)).body) > 60_000


SPLITS = pytest.mark.parametrize(
    ("code", "rest"), [("80100000", Outcome.ACCEPTED), ("80300007", Outcome.UNDELIVERABLE)]
)


@pytest.mark.evidence(
    "one odd token stops no channel",
    topic="Trouble, vendor by vendor",
    planted="`appinfoError` of one device accusing the credential",
)
@SPLITS
def test_a_wrong_app_is_of_the_credential_only_where_nobody_was_taken(
    code: str, rest: Outcome
) -> None:
    """Who was taken proves the credential; one odd token must not stop the channel."""
    receipts = ended(batch(2), parts(code, 1, appinfoError=[token(1)]))
    is_taken = rest is Outcome.ACCEPTED
    expected = Outcome.NOT_PERMITTED if is_taken else Outcome.CREDENTIALS_WRONG
    assert [it.outcome for it in receipts] == [expected, rest]


@SPLITS
def test_a_refusal_is_split_by_reason(code: str, rest: Outcome) -> None:
    illegal = {"tokenFormatError": [token(1)], "noPushTypeRight": [token(3)], "newOne": [token(4)]}
    receipts = ended(batch(4), parts(code, 3, **illegal))
    assert [it.outcome for it in receipts] == [
        Outcome.TOKEN_DEAD,
        rest,
        Outcome.NOT_PERMITTED,
        Outcome.UNDELIVERABLE,
    ]
    assert [it.code for it in receipts][2:] == ["noPushTypeRight", "newOne"]


@pytest.mark.parametrize(
    "response",
    [
        parts("80100000", 2, tokenFormatError=["stranger"]),
        answer(200, "80100000", "{"),
        answer(200, "80100000", "[]"),
        answer(200, "80100000", '{"illegalTokens":7}'),
        Response(200, {}, b'{"code":80000000}'),
    ],
)
def test_a_part_that_cannot_be_read_is_doubt(response: Response) -> None:
    assert {it.outcome for it in ended(batch(2), response)} == {Outcome.UNKNOWN}


def test_a_failure_count_that_disagrees_leaves_the_rest_in_doubt() -> None:
    receipts = ended(batch(3), parts("80100000", 2, tokenFormatError=[token(1)]))
    assert [it.outcome for it in receipts] == [
        Outcome.TOKEN_DEAD,
        Outcome.UNKNOWN,
        Outcome.UNKNOWN,
    ]


def test_success_counts_with_status_200_only() -> None:
    (receipt,) = ended(batch(1), answer(503, "80000000"))
    assert receipt.outcome is Outcome.THROTTLED
    with pytest.raises(StaleCredential):
        ended(batch(1), answer(401, "80200005"))


@pytest.mark.parametrize(
    "changed",
    [{"project_id": "../x"}, {"key_id": ""}, {"click": "uri"}, {"private_key": "canary"}],
)
def test_settings_that_cannot_work_are_refused(changed: dict[str, str]) -> None:
    given = {**msgspec.to_builtins(harmony_settings()), **changed}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, harmony.Settings)
    assert "canary" not in str(caught.value)
