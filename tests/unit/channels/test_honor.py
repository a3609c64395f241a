from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from tests.unit.channels.kit import (
    AUTHORITY,
    BATCH_CORRELATION,
    IDS,
    NOW,
    authorized,
    batch,
    delivery,
)
from tests.unit.channels.kit_honor import answer, honor_settings
from tocsin.channels.shared import FORM, json_text
from tocsin.channels.vendors import honor
from tocsin.conversation import Authority, Batch, Denied, Request, Response, StaleCredential
from tocsin.domain.message import AndroidPart, Message, Translation, notify_id
from tocsin.domain.outcome import Outcome, Receipt


def begun(given: Batch, **settings: Any) -> Request:
    made = next(honor.deliver(honor_settings(**settings), AUTHORITY, given, NOW))
    assert isinstance(made, Request)
    return made


def sent(message: Message | None = None, **settings: Any) -> dict[str, Any]:
    parts = {} if message is None else {"message": message}
    body: dict[str, Any] = msgspec.json.decode(begun(batch(1, **parts), **settings).body)
    return body


def ended(given: Batch, response: Response) -> Sequence[Receipt]:
    talk = honor.deliver(honor_settings(), AUTHORITY, given, NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(response)
    receipts: Sequence[Receipt] = end.value.value
    return receipts


def token(number: int) -> str:
    return f"{number:064x}"


def test_the_bearer_is_asked_for_with_the_push_services_own_secret() -> None:
    made = next(honor.authorize(honor_settings(), NOW))
    assert (made.method, made.origin) == ("POST", "https://iam.developer.honor.com")
    assert made.path == "/auth/token"
    assert dict(made.headers)["content-type"] == FORM[1]
    assert parse_qs(made.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-1"],
        "client_secret": ["canary-honor-client-secret"],
    }


@pytest.mark.parametrize(
    ("told", "life_s"),
    [("1000", 1000), ('"1000"', 1000), ("5", 60), ("-5", 3600), ('"soon"', 3600), ("null", 3600)],
)
def test_a_bearer_is_renewed_at_four_fifths_of_its_life(told: str, life_s: int) -> None:
    body = f'{{"access_token":"abc","expires_in":{told}}}'.encode()
    found = authorized(honor, honor_settings(), Response(200, {}, body))
    assert found == Authority("Bearer abc", NOW + 0.8 * life_s, NOW + life_s)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (Response(400, {}, b'{"error":"invalid_client"}'), Outcome.CREDENTIALS_WRONG),
        (Response(401, {}, b'{"error":"invalid_client"}'), Outcome.CREDENTIALS_WRONG),
        (Response(200, {}, b'{"error":1101,"error_description":7}'), Outcome.CREDENTIALS_WRONG),
        (Response(429, {"retry-after": "7"}), Outcome.THROTTLED),
        (Response(503, {}, b"<html>"), Outcome.THROTTLED),
        (Response(502, {}, b"<html>"), Outcome.SERVER_ERROR),
        (Response(200, {}, b"{}"), Outcome.SERVER_ERROR),
        (Response(200, {}, b"[7]"), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":'), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":7}'), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":"a\\r\\nb"}'), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":""}'), Outcome.SERVER_ERROR),
    ],
)
def test_a_bearer_that_is_not_given_is_a_denial(response: Response, outcome: Outcome) -> None:
    found = authorized(honor, honor_settings(), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome
    assert found.retry_after_s == (7 if response.status == 429 else None)


def test_a_notification_is_whole() -> None:
    made = begun(batch(2))
    assert (made.method, made.origin) == ("POST", "https://push-api.cloud.honor.com")
    assert made.path == "/api/v1/104413210/sendMessage"
    assert dict(made.headers) == {
        "authorization": AUTHORITY.value,
        "content-type": "application/json",
        "timestamp": "1767225600000",
    }
    assert msgspec.json.decode(made.body) == {
        "android": {
            "ttl": "3600s",
            "biTag": BATCH_CORRELATION,
            "data": json_text(IDS),
            "notification": {
                "title": "Hello",
                "body": "A word to all",
                "clickAction": {"type": 3},
                "badge": {"addNum": 1, "badgeClass": "com.example.app.MainActivity"},
                "notifyId": notify_id("t7-1"),
                "tag": "t7-1",
            },
        },
        "token": [token(1), token(2)],
    }


def test_without_text_the_app_is_handed_what_there_is() -> None:
    assert sent(Message(ext='{"a":1}')) == {
        "data": json_text({"ext": '{"a":1}', **IDS}),
        "android": {"ttl": "3600s", "biTag": BATCH_CORRELATION},
        "token": [token(1)],
    }
    assert sent(Message())["data"] == json_text(IDS)


@pytest.mark.parametrize(
    ("message", "is_replaced"),
    [
        (Message(title="a"), True),
        (Message(desc="a"), True),
        (Message(ext="a"), False),
        (Message(title="a", translations=(Translation("de"),)), False),
    ],
)
def test_only_what_is_shown_is_replaced(message: Message, is_replaced: bool) -> None:
    assert honor.replaces(honor_settings(), message) is is_replaced


def test_texts_are_cut_to_utf16_units() -> None:
    long = Message(title="😀" * 40, desc="b" * 401, android=AndroidPart(is_big_text=True))
    drawn = sent(long)["android"]["notification"]
    assert drawn["title"] == drawn["bigTitle"] == "😀" * 23 + "..."
    assert drawn["body"] == drawn["bigBody"] == "b" * 397 + "..."
    assert drawn["style"] == 1
    exact = sent(Message(title="a" * 50, desc="b" * 400))["android"]["notification"]
    assert (exact["title"], exact["body"]) == ("a" * 50, "b" * 400)


@pytest.mark.evidence(
    "the page that a click's intent opens is told, whether or not Ext travels there",
)
@pytest.mark.parametrize(
    ("settings", "ext", "click", "data"),
    [
        ({}, "x", {"type": 3}, {"ext": "x", **IDS}),
        ({}, "", {"type": 3}, IDS),
        (
            {"click": "url", "click_target": "https://e.com/"},
            "x",
            {"type": 2, "url": "https://e.com/"},
            {"ext": "x", **IDS},
        ),
        (
            {"click": "action", "click_target": "com.example.OPEN"},
            "x",
            {"type": 1, "action": "com.example.OPEN"},
            {"ext": "x", **IDS},
        ),
        (
            {"click": "intent", "click_target": "intent://e/d#Intent;scheme=p;end"},
            '{"a":"b;c"}',
            {
                "type": 1,
                "intent": "intent://e/d#Intent;scheme=p;S.ext=%7B%22a%22%3A%22b%3Bc%22%7D"
                ";S.id=1_2_3_4_5;S.task_id=1_2_3_4_5;end",
            },
            None,
        ),
        (
            {"click": "intent", "click_target": "intent://e/d#Intent;scheme=p;end"},
            "",
            {
                "type": 1,
                "intent": "intent://e/d#Intent;scheme=p;S.id=1_2_3_4_5;S.task_id=1_2_3_4_5;end",
            },
            None,
        ),
    ],
)
def test_a_click_does_what_the_credential_says(
    settings: dict[str, str], ext: str, click: dict[str, Any], data: dict[str, str] | None
) -> None:
    android = sent(Message(title="a", ext=ext), **settings)["android"]
    assert android["notification"]["clickAction"] == click
    assert android.get("data") == (json_text(data) if data else None)


@pytest.mark.parametrize(
    ("message", "badge"),
    [
        (Message(title="a"), {"addNum": 1}),
        (Message(title="a", badge_add=7), {"addNum": 7}),
        (Message(title="a", badge_set=0), {"setNum": 0}),
        (Message(title="a", badge_set=5, badge_add=7), {"setNum": 5}),
        (Message(title="a", badge_set=900), {"setNum": 99}),
    ],
)
def test_badges_are_for_the_activity_that_wears_them(
    message: Message, badge: dict[str, int]
) -> None:
    drawn = sent(message)["android"]["notification"]
    assert drawn["badge"] == {**badge, "badgeClass": "com.example.app.MainActivity"}
    assert "badge" not in sent(message, badge_class="")["android"]["notification"]


def test_the_request_goes_before_the_credential() -> None:
    low = Message(title="a", android=AndroidPart(honor_importance="LOW"))
    for message, setting, expected in (
        (Message(title="a"), "", None),
        (Message(title="a"), "NORMAL", "NORMAL"),
        (low, "NORMAL", "LOW"),
    ):
        drawn = sent(message, importance=setting)["android"]["notification"]
        assert drawn.get("importance") == expected


def test_a_test_credential_sends_test_messages() -> None:
    assert sent(target_user="test")["android"]["targetUserType"] == 1
    assert "targetUserType" not in sent()["android"]


@pytest.mark.parametrize(("ttl_s", "told"), [(0, "1s"), (60, "60s"), (9_999_999, "1296000s")])
def test_the_life_of_a_push_is_capped(ttl_s: int, told: str) -> None:
    body = msgspec.json.decode(begun(batch(1, ttl_s=ttl_s)).body)
    assert body["android"]["ttl"] == told


def test_tokens_do_not_count_towards_the_size() -> None:
    receipts = begun(batch(1000, message=Message(title="a", ext="x" * 3700)))
    assert len(receipts.body) > 60_000
    talk = honor.deliver(
        honor_settings(), AUTHORITY, batch(2, message=Message(ext="x" * 4096)), NOW
    )
    with pytest.raises(StopIteration) as end:
        next(talk)
    assert [(it.device, it.outcome, it.code) for it in end.value.value] == [
        (1, Outcome.TOO_LARGE, "-7"),
        (2, Outcome.TOO_LARGE, "-7"),
    ]


@pytest.mark.parametrize("code", [200, "200", 80100000, "80000000"])
def test_a_list_that_is_partly_taken_is_split_by_token(code: Any) -> None:
    response = answer(
        code=code,
        sendResult=False,
        failTokens=[token(2), token(3), "stranger", 7],
        expireTokens=[token(3)],
    )
    receipts = ended(batch(4), response)
    assert [(it.device, it.outcome, it.code) for it in receipts] == [
        (1, Outcome.ACCEPTED, "0"),
        (2, Outcome.UNDELIVERABLE, "failTokens"),
        (3, Outcome.TOKEN_DEAD, "expireTokens"),
        (4, Outcome.ACCEPTED, "0"),
    ]
    assert {it.epoch for it in receipts} == {3}


@pytest.mark.parametrize(
    "response",
    [
        Response(200, {}, b'{"code":200,"data":"?"}'),
        Response(200, {}, b'{"code":200,"data":{"expireTokens":"abc"}}'),
        Response(200, {}, b'{"code":200,"data":{"failTokens":{}}}'),
        Response(200, {}, b'{"code":200,"data":{"sendResult":false}}'),
        Response(200, {}, b'{"code":true}'),
        Response(200, {}, b'{"code":200,"data":{"sendRes'),
    ],
)
def test_a_success_that_is_not_clear_is_doubt(response: Response) -> None:
    assert {it.outcome for it in ended(batch(2), response)} == {Outcome.UNKNOWN}


def test_a_code_that_nobody_knows_is_a_refusal() -> None:
    (receipt,) = ended(batch(1), answer(code=80399999, message="new"))
    assert (receipt.outcome, receipt.code) == (Outcome.BAD_REQUEST, "80399999")


def test_one_text_stands_in_for_the_other() -> None:
    """Honor refuses a notification that lacks one."""
    for message in (Message(title="a"), Message(desc="a")):
        drawn = sent(message)["android"]["notification"]
        assert (drawn["title"], drawn["body"]) == ("a", "a")


def test_only_status_200_can_say_that_a_list_was_taken() -> None:
    for status in (400, 500, 503):
        (receipt,) = ended(batch(1), answer(status, code=200))
        assert receipt.outcome is honor.OUTCOMES[status, ""]
        assert receipt.code == str(status)


def test_a_code_counts_whichever_status_carries_it() -> None:
    (receipt,) = ended(batch(1), answer(400, code="80300008", message="too long"))
    assert (receipt.outcome, receipt.code) == (Outcome.TOO_LARGE, "80300008")
    assert receipt.info == "too long"
    with pytest.raises(StaleCredential):
        ended(batch(1), answer(400, code=401))


@pytest.mark.parametrize(
    "changed",
    [
        {"app_id": "1/../2"},
        {"app_id": ""},
        {"client_id": ""},
        {"client_secret": ""},
        {"click": "action"},
        {"click": "url", "click_target": "http://e.com"},
        {"click_target": "https://e.com"},
    ],
)
def test_settings_that_cannot_work_are_refused_without_being_quoted(
    changed: dict[str, str],
) -> None:
    given = {**msgspec.to_builtins(honor_settings()), **changed}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, honor.Settings)
    assert "canary" not in str(caught.value)


def test_lists_keep_their_order() -> None:
    given = batch(3)
    turned = msgspec.structs.replace(given, deliveries=given.deliveries[::-1])
    receipts = ended(turned, answer(expireTokens=[delivery(1).token]))
    assert [(it.device, it.outcome) for it in receipts] == [
        (3, Outcome.ACCEPTED),
        (2, Outcome.ACCEPTED),
        (1, Outcome.TOKEN_DEAD),
    ]
