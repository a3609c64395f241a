from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import (
    AUTHORITY,
    IDS,
    NOW,
    authorized,
    batch,
    message,
    walked,
)
from tests.unit.channels.kit_vivo import answer, vivo_settings
from tocsin.channels.credentials import check_settings
from tocsin.channels.vendors import vivo
from tocsin.conversation import Authority, Batch, Denied, Request, Response
from tocsin.domain.message import AndroidPart, Message, notify_id, utf16_units
from tocsin.domain.outcome import Outcome, Receipt

VECTORS = Path(__file__).parents[2] / "vectors" / "signatures.json"
SAVED = "542984793123"
HOUR_S = 3600.0
"""`NOW` is midnight UTC: eight o'clock in the morning in China."""


def step(given: Batch, *answers: Response, **settings: Any) -> tuple[list[Request], list[Receipt]]:
    """A delivery carried through: what was asked, and what it came to."""
    return walked(vivo.deliver(vivo_settings(**settings), AUTHORITY, given, NOW), *answers)


def sent(**given: Any) -> dict[str, Any]:
    """The body of a single send."""
    settings = given.pop("settings", {})
    asked, _ = step(batch(1, **given), answer(), **settings)
    return body(asked[0])


def body(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(request.body)
    return found


def listed(count: int, **parts: Any) -> Batch:
    return msgspec.structs.replace(batch(count), prepared=SAVED, **parts)


def android(**parts: Any) -> Message:
    return message(android=AndroidPart(**parts))


# authority


@pytest.mark.evidence(
    "signatures of the known answers",
    topic="Vendors",
    planted="SHA-256 for vivo's MD5; Meizu's members unsorted; OPPO's app secret signing",
)
def test_the_signature_is_that_of_the_vector() -> None:
    vector = json.loads(VECTORS.read_text(encoding="utf-8"))["vivo"]
    settings = vivo_settings(
        app_id=vector["app_id"], app_key=vector["app_key"], app_secret=vector["app_secret"]
    )
    made = next(vivo.authorize(settings, int(vector["timestamp_ms"]) / 1000))
    assert (made.method, made.origin, made.path) == (
        "POST",
        "https://api-push.vivo.com.cn",
        "/message/auth",
    )
    assert body(made) == {
        "appId": int(vector["app_id"]),
        "appKey": vector["app_key"],
        "timestamp": int(vector["timestamp_ms"]),
        "sign": vector["sign"],
    }


def test_a_token_is_renewed_long_before_it_ends() -> None:
    found = authorized(vivo, vivo_settings(), answer(authToken="abc"))
    assert found == Authority("abc", NOW + 5400, NOW + 86_400)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(10200), Outcome.CREDENTIALS_WRONG),
        (answer(10202), Outcome.CREDENTIALS_WRONG),
        (answer(10000), Outcome.CREDENTIALS_WRONG),
        (answer(10055), Outcome.CREDENTIALS_WRONG),
        (answer(10072), Outcome.THROTTLED),
        (answer(0), Outcome.SERVER_ERROR),
        (Response(200, {}, b"<html>"), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"result":0,"authToken":'), Outcome.SERVER_ERROR),
        (Response(503), Outcome.SERVER_ERROR),
    ],
)
def test_a_refused_signature_is_a_denial(response: Response, outcome: Outcome) -> None:
    found = authorized(vivo, vivo_settings(), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome


# one device


@pytest.mark.evidence("vivo is told the app, as a number, in every body")
def test_one_device_is_sent_its_message_itself() -> None:
    (request,), (receipt,) = step(batch(1), answer(taskId=SAVED))
    assert (request.method, request.path) == ("POST", "/message/send")
    assert dict(request.headers)["authToken"] == AUTHORITY.value
    assert body(request) == {
        "appId": 10004,
        "regId": f"{1:064x}",
        "title": "Hello",
        "content": "A word to all",
        "notifyType": 4,
        "timeToLive": 3600,
        "skipType": 1,
        "classification": 1,
        "notifyId": notify_id("t7-1"),
        "clientCustomMap": IDS,
        "requestId": "0a1b2c3d-0000-4000-8000-000000000001",
    }
    assert (receipt.outcome, receipt.code, receipt.epoch) == (Outcome.ACCEPTED, "0", 3)


@pytest.mark.parametrize(
    ("text", "units"), [("a" * 200, 1), ("通" * 200, 1), ("🔔" * 200, 2)], ids=["a", "han", "bell"]
)
def test_texts_are_cut_in_utf16_units(text: str, units: int) -> None:
    made = sent(message=message(title=text, desc=text))
    for name, units_max in (("title", 40), ("content", 100)):
        assert made[name].endswith("...")
        assert units_max - units < utf16_units(made[name]) <= units_max


@pytest.mark.parametrize(
    ("ttl_s", "told"), [(0, 60), (59, 60), (61, 61), (86_400, 86_400), (90_000, 86_400)]
)
def test_the_lifetime_stays_between_a_minute_and_a_day(ttl_s: int, told: int) -> None:
    assert sent(ttl_s=ttl_s)["timeToLive"] == told


@pytest.mark.parametrize(
    ("part", "settings", "expected"),
    [
        ({}, {}, (1, None)),
        ({}, {"classification": 0}, (0, None)),
        ({"vivo_classification": 0}, {}, (0, None)),
        ({"vivo_category": "NEWS"}, {}, (0, "NEWS")),
        ({"vivo_category": "IM"}, {"classification": 0}, (1, "IM")),
        ({"vivo_category": "NEW_ONE"}, {"classification": 0}, (0, "NEW_ONE")),
        ({}, {"category": "IM"}, (1, "IM")),
        ({"vivo_classification": 0}, {"category": "IM"}, (0, None)),
        ({"vivo_classification": 0, "vivo_category": "IM"}, {}, (0, "IM")),
    ],
)
def test_class_and_category_agree_unless_the_message_says_otherwise(
    part: dict[str, Any], settings: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    made = sent(message=android(**part), settings=settings)
    assert (made["classification"], made.get("category")) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"skip_type": 1}, (1, None)),
        ({"skip_type": 2, "skip_content": "https://e.com/a"}, (2, "https://e.com/a")),
        ({"skip_type": 3}, (3, '{"a":1}')),
        ({"skip_type": 3, "skip_content": "own"}, (3, "own")),
        ({"skip_type": 4, "skip_content": "intent://x#end"}, (4, "intent://x#end")),
    ],
)
def test_a_click_opens_what_the_credential_names(
    settings: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    made = sent(message=message(ext='{"a":1}'), settings=settings)
    assert (made["skipType"], made.get("skipContent")) == expected
    assert made["clientCustomMap"] == {"ext": '{"a":1}', **IDS}


def test_receipts_are_asked_for_where_an_address_is_known() -> None:
    made = sent(settings={"callback_id": "3001"})
    assert made["extra"] == {"callback.id": "3001", "callback.param": "7-1-0011223344556677"}
    url = "https://push.example/v3/offline_push_report/vivo"
    made = sent(settings={"callback_url": url})
    assert made["extra"] == {"callback": url, "callback.param": "7-1-0011223344556677"}
    assert "extra" not in sent()


def test_a_test_push_says_so() -> None:
    assert sent(settings={"is_test": True})["pushMode"] == 1


@pytest.mark.parametrize(("size", "fits"), [(994, True), (995, False)])
def test_ext_over_1024_characters_is_not_sent(size: int, fits: bool) -> None:
    long = message(ext="é" * size)
    for given in (batch(1, message=long), batch(3, message=long)):
        asked, receipts = step(given, answer(taskId=SAVED), answer())
        assert bool(asked) is fits
        if not fits:
            assert {(it.outcome, it.code) for it in receipts} == {(Outcome.TOO_LARGE, "-7")}
    talk = vivo.prepare(vivo_settings(), AUTHORITY, batch(3, message=long), NOW)
    _, found = walked(talk, answer(taskId=SAVED))
    assert (found == SAVED) is fits


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(taskId=SAVED, invalidUser=None), Outcome.ACCEPTED),
        (answer(taskId=SAVED, invalidUser={}), Outcome.ACCEPTED),
        (answer("0", taskId=542984793123), Outcome.ACCEPTED),
        (answer(10302, invalidUser={"userid": "x", "status": 1}), Outcome.TOKEN_DEAD),
        (answer(invalidUser={"userid": "x", "status": 2}), Outcome.TOKEN_DEAD),
        (answer(invalidUser={"userid": "x", "status": 7}), Outcome.UNDELIVERABLE),
        (answer(19_999), Outcome.BAD_REQUEST),
        (answer(None), Outcome.UNKNOWN),
        (answer("none"), Outcome.UNKNOWN),
        (Response(200, {}, b'{"result":0,"invalidUser":[1]}'), Outcome.UNKNOWN),
    ],
)
def test_what_an_answer_to_one_means(response: Response, outcome: Outcome) -> None:
    _, (receipt,) = step(batch(1), response)
    assert receipt.outcome is outcome


# hours in China


@pytest.mark.parametrize(
    ("code", "now", "wait_s"),
    [
        (10071, NOW + 15 * HOUR_S, 8 * HOUR_S),
        (10071, NOW + 22 * HOUR_S, 1 * HOUR_S),
        (10070, NOW, None),
        (10072, NOW, None),
    ],
)
def test_closed_hours_wait_for_seven(code: int, now: float, wait_s: float | None) -> None:
    talk = vivo.deliver(vivo_settings(), AUTHORITY, listed(3), now)
    _, receipts = walked(talk, answer(code))
    assert [it.retry_after_s for it in receipts] == [wait_s] * 3


# lists


def test_a_list_is_sent_what_was_saved() -> None:
    (request,), receipts = step(listed(3), answer())
    assert request.path == "/message/pushToList"
    made = body(request)
    assert made["taskId"] == SAVED
    assert made["regIds"] == [f"{it:064x}" for it in (1, 2, 3)]
    assert {it.outcome for it in receipts} == {Outcome.ACCEPTED}


def test_a_list_has_its_own_id_in_every_attempt() -> None:
    def name(given: Batch) -> str:
        (request,), _ = step(given, answer())
        found = body(request)["requestId"]
        assert isinstance(found, str)
        return found

    whole = listed(3)
    rest = msgspec.structs.replace(whole, deliveries=whole.deliveries[:2])
    assert name(whole) == name(listed(3))
    assert name(whole) != name(rest)
    assert len(name(whole)) == 64


def test_the_saved_message_has_everything_but_a_device() -> None:
    given = msgspec.structs.replace(batch(2), language=1)
    talk = vivo.prepare(vivo_settings(), AUTHORITY, given, NOW)
    (request,), found = walked(talk, answer(taskId=SAVED))
    assert found == SAVED
    assert request.path == "/message/saveListPayload"
    alone = sent()
    del alone["regId"], alone["requestId"]
    made = body(request)
    assert made.pop("requestId") == "7-1-0011223344556677.2.3600"
    assert made == alone


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(10103), Outcome.BLOCKED_CONTENT),
        (answer(10070), Outcome.QUOTA_DAY),
        (answer(10302), Outcome.BAD_REQUEST),
        (answer(0), Outcome.SERVER_ERROR),
        (Response(200, {}, b"{"), Outcome.SERVER_ERROR),
        (Response(502, {}, b"<html>"), Outcome.SERVER_ERROR),
    ],
)
def test_a_message_that_is_not_saved_reaches_nobody(response: Response, outcome: Outcome) -> None:
    _, found = walked(vivo.prepare(vivo_settings(), AUTHORITY, batch(2), NOW), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome


def test_those_whom_the_answer_names_are_not_reached() -> None:
    named = [
        {"userid": f"{2:064x}", "status": 1},
        {"userid": f"{4:064x}", "status": 4},
        {"userid": "someone else", "status": 1},
    ]
    _, receipts = step(listed(4), answer(invalidUsers=named))
    assert [(it.outcome, it.code) for it in receipts] == [
        (Outcome.ACCEPTED, "0"),
        (Outcome.TOKEN_DEAD, "invalidUser 1"),
        (Outcome.ACCEPTED, "0"),
        (Outcome.UNDELIVERABLE, "invalidUser 4"),
    ]


def test_a_refused_list_kills_only_whom_it_names() -> None:
    named = [{"userid": f"{1:064x}", "status": 1}]
    _, receipts = step(listed(2), answer(10302, invalidUsers=named))
    assert [it.outcome for it in receipts] == [Outcome.TOKEN_DEAD, Outcome.BAD_REQUEST]


def test_a_second_one_takes_the_place_of_the_first() -> None:
    assert vivo.replaces(vivo_settings(), message())
    assert sent(collapse="t9")["notifyId"] == notify_id("t9") != notify_id("t7-1")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"app_id": "ten"}, "app_id"),
        ({"app_key": ""}, "app_key"),
        ({"app_secret": ""}, "app_secret"),
        ({"classification": 2}, "classification"),
        ({"notify_type": 5}, "notify_type"),
        ({"skip_type": 0}, "skip_type"),
        ({"skip_type": 2}, "skip_content"),
        ({"skip_type": 4}, "skip_content"),
        ({"skip_type": 2, "skip_content": "x" * 1001}, "skip_content"),
        ({"skip_content": "x" * 1025}, "skip_content"),
        ({"callback_id": "x" * 129}, "callback_id"),
        ({"category": "NEWS"}, "category"),
        ({"category": "IM", "classification": 0}, "category"),
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, Any], word: str) -> None:
    right = msgspec.to_builtins(vivo_settings())
    assert msgspec.convert(right, vivo.Settings) == vivo_settings()
    with pytest.raises(ValueError, match=word) as caught:
        msgspec.convert({**right, **wrong}, vivo.Settings)
    assert "canary" not in str(caught.value)


def test_numbers_may_come_as_the_texts_of_a_command_line() -> None:
    told = msgspec.to_builtins(vivo_settings()) | {"classification": "0", "is_test": "true"}
    found = msgspec.json.decode(check_settings("vivo", told), type=vivo.Settings)
    assert (found.classification, found.is_test) == (0, True)
