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
from tests.unit.channels.kit_oppo import KIT, SAVED, answer, form_of, oppo_settings, said
from tocsin.channels.client_config import client_config
from tocsin.channels.credentials import check_settings
from tocsin.channels.shared import FORM, json_text
from tocsin.channels.vendors import oppo
from tocsin.conversation import Authority, Batch, Denied, Request, Response
from tocsin.domain.app import Credential
from tocsin.domain.message import AndroidPart, Message, notify_id, utf16_units
from tocsin.domain.outcome import Outcome, Receipt

VECTORS = Path(__file__).parents[2] / "vectors" / "signatures.json"
DAY_S = 86_400


def step(given: Batch, *answers: Response, **settings: Any) -> tuple[list[Request], list[Receipt]]:
    """A delivery carried through: what was asked, and what it came to."""
    return walked(oppo.deliver(oppo_settings(**settings), AUTHORITY, given, NOW), *answers)


def told(request: Request) -> Any:
    """The JSON in the field of a single push."""
    form = form_of(request)
    assert set(form) <= {"message", "messages"}
    return msgspec.json.decode(next(iter(form.values())))


def sent(**given: Any) -> dict[str, Any]:
    """The notification of a single push."""
    settings = given.pop("settings", {})
    asked, _ = step(batch(1, **given), answer(messageId="1"), **settings)
    notification: dict[str, Any] = told(asked[0])["notification"]
    return notification


def android(**parts: Any) -> Message:
    return message(android=AndroidPart(**parts))


# authority


@pytest.mark.evidence("signatures of the known answers")
def test_the_signature_is_that_of_the_vector() -> None:
    vector = json.loads(VECTORS.read_text(encoding="utf-8"))["oppo"]
    settings = oppo_settings(app_key=vector["app_key"], master_secret=vector["master_secret"])
    made = next(oppo.authorize(settings, int(vector["timestamp_ms"]) / 1000))
    assert (made.method, made.origin, made.path) == (
        "POST",
        "https://api-push-cn.heytapmobi.com",
        "/server/v1/auth",
    )
    assert made.headers == (FORM,)
    assert form_of(made) == {
        "app_key": vector["app_key"],
        "timestamp": vector["timestamp_ms"],
        "sign": vector["sign"],
    }


def test_a_token_of_a_day_is_renewed_before_it_ends() -> None:
    found = authorized(oppo, oppo_settings(), answer(auth_token="abc", create_time=1))
    assert found == Authority("abc", NOW + 0.8 * DAY_S, NOW + DAY_S)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(14), Outcome.CREDENTIALS_WRONG),
        (answer(16), Outcome.CREDENTIALS_WRONG),
        (answer(11), Outcome.CREDENTIALS_WRONG),
        (answer(41, "timestamp length"), Outcome.CREDENTIALS_WRONG),
        (answer(10000), Outcome.CREDENTIALS_WRONG),
        (answer(13), Outcome.THROTTLED),
        (answer(-1), Outcome.SERVER_ERROR),
        (answer(0), Outcome.SERVER_ERROR),
        (answer(0, auth_token=7), Outcome.SERVER_ERROR),
        (said({"code": 0, "data": []}), Outcome.SERVER_ERROR),
        (Response(200, {}, b"<html>"), Outcome.SERVER_ERROR),
        (Response(503), Outcome.SERVER_ERROR),
    ],
)
def test_a_refused_signature_is_a_denial(response: Response, outcome: Outcome) -> None:
    found = authorized(oppo, oppo_settings(), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome


# one device


def test_one_device_is_sent_its_message_itself() -> None:
    (request,), (receipt,) = step(batch(1), answer(messageId="1"))
    assert (request.method, request.path) == ("POST", "/server/v1/message/notification/unicast")
    assert b"auth_token=bearer+of-a-test&" in request.body
    assert told(request) == {
        "target_type": 2,
        "target_value": f"{1:064x}",
        "verify_registration_id": True,
        "notification": {
            "title": "Hello",
            "content": "A word to all",
            "notify_id": notify_id("t7-1"),
            "off_line": True,
            "off_line_ttl": 3600,
            "click_action_type": 0,
            "action_parameters": json_text(IDS),
            "app_message_id": "0a1b2c3d-0000-4000-8000-000000000001",
        },
    }
    assert (receipt.outcome, receipt.code, receipt.epoch) == (Outcome.ACCEPTED, "0", 3)


def test_a_form_is_utf8() -> None:
    (request,), _ = step(batch(1, message=message(title="通 & 知")), answer())
    assert request.body.isascii()
    assert told(request)["notification"]["title"] == "通 & 知"


@pytest.mark.parametrize(
    ("text", "units"), [("a" * 200, 1), ("通" * 200, 1), ("🔔" * 200, 2)], ids=["a", "han", "bell"]
)
@pytest.mark.parametrize(("is_big", "content_max"), [(False, 50), (True, 128)])
def test_texts_are_cut_in_utf16_units(
    text: str, units: int, is_big: bool, content_max: int
) -> None:
    big = AndroidPart(is_big_text=is_big)
    made = sent(message=message(title=text, desc=text, android=big))
    for name, units_max in (("title", 50), ("content", content_max)):
        assert made[name].endswith("...")
        assert units_max - units < utf16_units(made[name]) <= units_max
    assert made.get("style") == (2 if is_big else None)


@pytest.mark.parametrize(
    ("title", "desc", "expected"),
    [("a", "", ("a", "a")), ("", "b", ("b", "b")), (" ", "b", ("b", "b"))],
)
def test_one_text_stands_in_for_the_other(title: str, desc: str, expected: tuple[str, str]) -> None:
    made = sent(message=message(title=title, desc=desc))
    assert (made["title"], made["content"]) == expected


def test_nothing_to_show_is_not_sent() -> None:
    silent = message(title=" ", desc="", ext="{}")
    for given in (batch(1, message=silent), batch(3, message=silent)):
        asked, receipts = step(given)
        assert asked == []
        assert {(it.outcome, it.code) for it in receipts} == {(Outcome.NOT_PERMITTED, "-13")}


@pytest.mark.parametrize(
    ("ttl_s", "is_kept", "kept_s"),
    [(0, False, 1), (1, True, 1), (864_000, True, 864_000), (864_001, True, 864_000)],
)
def test_a_phone_that_is_off_gets_it_within_ten_days(
    ttl_s: int, is_kept: bool, kept_s: int
) -> None:
    made = sent(ttl_s=ttl_s)
    assert (made["off_line"], made["off_line_ttl"]) == (is_kept, kept_s)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0, None, None)),
        ({"click": "action", "click_target": "com.e.OPEN"}, (1, "com.e.OPEN", None)),
        ({"click": "web", "click_target": "https://e.com/a"}, (2, None, "https://e.com/a")),
        ({"click": "class", "click_target": "com.e.Main"}, (4, "com.e.Main", None)),
        ({"click": "intent", "click_target": "intent://x#end"}, (5, None, "intent://x#end")),
    ],
)
def test_a_click_opens_what_the_credential_names(
    settings: dict[str, Any], expected: tuple[int, str | None, str | None]
) -> None:
    made = sent(message=message(ext='{"a":1}'), settings=settings)
    activity, url = made.get("click_action_activity"), made.get("click_action_url")
    assert (made["click_action_type"], activity, url) == expected
    assert made["action_parameters"] == json_text({"ext": '{"a":1}', **IDS})


def test_receipts_are_asked_for_where_an_address_is_known() -> None:
    made = sent(settings={"callback_url": "https://push.example/r"})
    assert made["call_back_url"] == "https://push.example/r"
    assert made["call_back_parameter"] == "7-1-0011223344556677"
    assert not {"call_back_url", "call_back_parameter"} & set(sent())


@pytest.mark.parametrize(("size", "fits"), [(3951, True), (3952, False)])
def test_ext_over_4000_characters_is_not_sent(size: int, fits: bool) -> None:
    long = message(ext="é" * size)
    for given in (batch(1, message=long), batch(3, message=long)):
        asked, receipts = step(given, KIT.accepted, KIT.accepted)
        assert bool(asked) is fits
        if not fits:
            assert {(it.outcome, it.code) for it in receipts} == {(Outcome.TOO_LARGE, "-7")}
    talk = oppo.prepare(oppo_settings(), AUTHORITY, batch(3, message=long), NOW)
    assert (walked(talk, KIT.accepted)[1] == SAVED) is fits


def test_a_second_one_takes_the_place_of_the_first() -> None:
    assert oppo.replaces(oppo_settings(), message())
    assert sent(collapse="t9")["notify_id"] == notify_id("t9") != notify_id("t7-1")


# classes


@pytest.mark.parametrize(
    ("part", "settings", "expected"),
    [
        ({}, {}, (None, None)),
        ({"oppo_notify_level": 2}, {}, (None, None)),
        ({}, {"notify_level": 16}, (None, None)),
        ({"oppo_category": "IM", "oppo_notify_level": 16}, {}, ("IM", 16)),
        ({"oppo_category": "IM"}, {"notify_level": 16}, ("IM", 16)),
        ({"oppo_category": "IM", "oppo_notify_level": 1}, {"notify_level": 16}, ("IM", 1)),
        ({}, {"category": "ORDER", "notify_level": 2}, ("ORDER", 2)),
        ({"oppo_notify_level": 16}, {"category": "IM"}, ("IM", 16)),
        ({"oppo_category": "NEWS"}, {"category": "IM", "notify_level": 16}, ("NEWS", None)),
        ({"oppo_category": "NEWS"}, {"category": "IM", "notify_level": 2}, ("NEWS", 2)),
        ({"oppo_category": "NEWS", "oppo_notify_level": 16}, {}, ("NEWS", 16)),
    ],
)
def test_an_alert_goes_with_a_category(
    part: dict[str, Any], settings: dict[str, Any], expected: tuple[str | None, int | None]
) -> None:
    made = sent(message=android(**part), settings=settings)
    assert (made.get("category"), made.get("notify_level")) == expected


def test_the_messages_channel_comes_before_the_credentials() -> None:
    settings = {"android_channel_id": "all"}
    assert sent(settings=settings)["channel_id"] == "all"
    assert sent(message=android(oppo_channel_id="o"), settings=settings)["channel_id"] == "o"


IM_TEMPLATE = {"category": "IM", "template_id": "T1"}
OWN = {"oppo_template_id": "T2", "oppo_title_params": {"a": "é"}}


@pytest.mark.parametrize(
    ("part", "settings", "expected"),
    [
        ({}, {"template_id": "T1"}, (None, None, None)),
        ({}, IM_TEMPLATE, ("T1", '{"title":"Hello"}', '{"desc":"A word to all"}')),
        ({"oppo_content_params": {"a": "b"}}, IM_TEMPLATE, ("T1", None, '{"a":"b"}')),
        ({"oppo_category": "ORDER"}, IM_TEMPLATE, ("T1", None, None)),
        (OWN, {}, ("T2", '{"a":"é"}', None)),
        (OWN, IM_TEMPLATE, ("T2", '{"a":"é"}', None)),
        ({"oppo_template_id": "T2"}, IM_TEMPLATE, ("T2", None, None)),
        ({"oppo_title_params": {"a": "b"}}, {}, (None, None, None)),
        *(
            (OWN | {"oppo_category": category}, IM_TEMPLATE, (None, None, None))
            for category in ("NEWS", "CONTENT", "MARKETING", "SOCIAL")
        ),
    ],
)
def test_the_private_class_has_a_template_and_the_public_none(
    part: dict[str, Any], settings: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    made = sent(message=android(**part), settings=settings)
    names = ("private_msg_template_id", "private_title_parameters", "private_content_parameters")
    assert tuple(made.get(name) for name in names) == expected


# answers to one


@pytest.mark.evidence(
    "OPPO's 41 is read from its text",
    topic="Vendors",
    planted="words looked for in every code",
)
@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer("0"), Outcome.ACCEPTED),
        (said({"code": 0}), Outcome.ACCEPTED),
        (said({"code": 0, "message": "", "data": "?"}), Outcome.ACCEPTED),
        (answer(10000, "registration_id格式不正确"), Outcome.TOKEN_DEAD),
        (answer(41), Outcome.BAD_REQUEST),
        (answer(41, None), Outcome.BAD_REQUEST),
        (answer(41, "Invalid Arguments"), Outcome.BAD_REQUEST),
        (answer(41, "The title contains Sensitive words"), Outcome.BLOCKED_CONTENT),
        (answer(41, "内容包含敏感词"), Outcome.BLOCKED_CONTENT),
        (answer(41, "sensitive words, whatever their length"), Outcome.BLOCKED_CONTENT),
        (answer(41, "content length must be less than 50"), Outcome.TOO_LARGE),
        (answer(41, "title is too long"), Outcome.TOO_LARGE),
        (answer(41, "标题长度超过限制"), Outcome.TOO_LARGE),
        (answer(40, "length"), Outcome.BAD_REQUEST),
        (answer(99), Outcome.BAD_REQUEST),
        (answer(None), Outcome.UNKNOWN),
        (answer("none"), Outcome.UNKNOWN),
        (answer(True), Outcome.UNKNOWN),
    ],
)
def test_what_an_answer_to_one_means(response: Response, outcome: Outcome) -> None:
    _, (receipt,) = step(batch(1), response)
    assert receipt.outcome is outcome


# settings


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"app_key": ""}, "app_key"),
        ({"master_secret": ""}, "master_secret"),
        ({"notify_level": 3}, "notify_level"),
        ({"click": "page"}, "click"),
        ({"click": "web"}, "click_target"),
        ({"click_target": "com.e.Main"}, "click_target"),
        ({"click": "web", "click_target": "com.e.Main"}, "web address"),
        ({"click": "web", "click_target": "https://e.com/" + "x" * 1987}, "2000"),
        ({"click": "class", "click_target": "x" * 501}, "500"),
        ({"callback_url": "push.example"}, "callback_url"),
        ({"callback_url": "https://push.example/" + "x" * 180}, "callback_url"),
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, Any], word: str) -> None:
    right = msgspec.to_builtins(oppo_settings())
    assert msgspec.convert(right, oppo.Settings) == oppo_settings()
    with pytest.raises(ValueError, match=word) as caught:
        msgspec.convert({**right, **wrong}, oppo.Settings)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "right",
    [
        {"click": "web", "click_target": "https://e.com/" + "x" * 1986},
        {"click": "class", "click_target": "x" * 500},
        {"callback_url": "https://push.example/" + "x" * 179},
    ],
)
def test_settings_at_their_bounds_are_taken(right: dict[str, Any]) -> None:
    given = msgspec.to_builtins(oppo_settings()) | right
    assert msgspec.to_builtins(oppo.Settings(**given)) == given


def test_the_app_on_its_devices_is_told_key_and_app_secret_and_no_other() -> None:
    record = Credential(app=7, number=11, channel="oppo", settings=b"")
    assert client_config([(record, oppo_settings(app_key="k", app_secret="s"))]) == {
        "oppoPushAppKey": "k",
        "oppoPushAppSecret": "s",
        "oppoPushBussinessId": "11",
    }


def test_numbers_may_come_as_the_texts_of_a_command_line() -> None:
    given = msgspec.to_builtins(oppo_settings()) | {"category": "IM", "notify_level": "16"}
    found = msgspec.json.decode(check_settings("oppo", given), type=oppo.Settings)
    assert found.notify_level == 16
