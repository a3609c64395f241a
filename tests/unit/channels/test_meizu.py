from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.unit.channels.kit import (
    AUTHORITY,
    BATCH_CORRELATION,
    IDS,
    NOW,
    authorized,
    batch,
    message,
)
from tests.unit.channels.kit_meizu import meizu_answer, meizu_settings
from tocsin.channels.shared import FORM
from tocsin.channels.vendors import meizu
from tocsin.conversation import Authority, Batch, Request, Response
from tocsin.domain.message import AndroidPart
from tocsin.domain.outcome import Outcome, Receipt

VECTORS = Path(__file__).parents[2] / "vectors" / "signatures.json"


def made(given: Batch | None = None, **settings: Any) -> Request:
    return next(meizu.deliver(meizu_settings(**settings), AUTHORITY, given or batch(1), NOW))


def form_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True))


def sent(settings: dict[str, Any] | None = None, ttl_s: int = 3600, **parts: Any) -> Any:
    request = made(batch(1, message=message(**parts), ttl_s=ttl_s), **(settings or {}))
    return json.loads(form_of(request)["messageJson"])


def heard(answer: Response, count: int = 3) -> Sequence[Receipt]:
    talk = meizu.deliver(meizu_settings(), AUTHORITY, batch(count), NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(answer)
    receipts: Sequence[Receipt] = end.value.value
    assert [receipt.device for receipt in receipts] == list(range(1, count + 1))
    return receipts


def outcomes(answer: Response, count: int = 3) -> list[Outcome]:
    return [receipt.outcome for receipt in heard(answer, count)]


def token(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.evidence("signatures of the known answers")
def test_the_signature_of_the_known_answer() -> None:
    vector = json.loads(VECTORS.read_text())["meizu"]
    assert meizu._sign(vector["params"], vector["app_secret"]) == vector["sign"]


def test_a_form_is_signed_before_it_is_encoded() -> None:
    form = form_of(made(batch(1, message=message(title="ü & =", ext="%"))))
    sign = form.pop("sign")
    assert sign == meizu._sign(form, "MeizuSecretOfATest")
    assert sign != meizu._sign(form, "another")


def test_nothing_is_fetched_and_the_secret_does_not_travel() -> None:
    found = authorized(meizu, meizu_settings())
    assert isinstance(found, Authority)
    assert b"MeizuSecretOfATest" not in made().body
    assert not [text for _, text in made().headers if "MeizuSecret" in text]


def test_a_list_is_one_form() -> None:
    request = made(batch(3))
    assert (request.method, request.path) == (
        "POST",
        "/garcia/api/server/push/varnished/pushByPushId",
    )
    assert request.origin == "https://server-api-push.meizu.com"
    assert request.headers == (FORM,)
    form = form_of(request)
    assert set(form) == {"appId", "pushIds", "messageJson", "sign"}
    assert form["appId"] == "100999"
    assert form["pushIds"] == ",".join(map(token, (1, 2, 3)))
    assert json.loads(form["messageJson"]) == {
        "noticeBarInfo": {
            "noticeMsgType": 0,
            "noticeBarType": 0,
            "title": "Hello",
            "content": "A word to all",
        },
        "clickTypeInfo": {"clickType": 0, "parameters": IDS},
        "pushTimeInfo": {"offLine": 1, "validTime": 1},
        "advanceInfo": {"notifyKey": json.loads(form["messageJson"])["advanceInfo"]["notifyKey"]},
    }
    assert made(region="india").origin == "https://server-api-push.in.meizu.com"


def test_the_notify_key_is_eight_characters_that_meizu_takes() -> None:
    keys = set()
    for number in range(200):
        request = made(batch(1, collapse=f"t{number}-1"))
        key = json.loads(form_of(request)["messageJson"])["advanceInfo"]["notifyKey"]
        assert len(key) == 8
        assert key.replace("-", "").replace("_", "").isalnum()
        keys.add(key)
    assert len(keys) == 200


def test_title_and_text_are_cut_in_utf16_units() -> None:
    bar = sent(title="中" * 33, desc="😀" * 51)["noticeBarInfo"]
    assert bar["title"] == "中" * 29 + "..."
    assert bar["content"] == "😀" * 48 + "..."
    assert sent(title="中" * 32)["noticeBarInfo"]["title"] == "中" * 32


def test_one_text_is_shown_twice_and_none_is_not_sent() -> None:
    assert sent(title="Only this", desc="")["noticeBarInfo"]["content"] == "Only this"
    assert sent(title=" ", desc="Only that")["noticeBarInfo"]["title"] == "Only that"
    silent = batch(2, message=message(title="", desc=" "))
    with pytest.raises(StopIteration) as end:
        made(silent)
    assert [(it.outcome, it.code) for it in end.value.value] == [(Outcome.NOT_PERMITTED, "-13")] * 2


@pytest.mark.parametrize(
    ("ttl_s", "keeps", "hours"),
    [(0, 0, 1), (1, 1, 1), (3600, 1, 1), (3601, 1, 2), (259_200, 1, 72), (10**7, 1, 72)],
)
def test_lifetimes_are_whole_hours_rounded_up(ttl_s: int, keeps: int, hours: int) -> None:
    assert sent(ttl_s=ttl_s)["pushTimeInfo"] == {"offLine": keeps, "validTime": hours}


def test_the_messages_class_wins_over_the_credentials() -> None:
    def kind(settings: dict[str, Any], number: int | None) -> int:
        told = sent(settings, android=AndroidPart(meizu_message_type=number))
        return int(told["noticeBarInfo"]["noticeMsgType"])

    private = {"message_type": "private"}
    assert [kind({}, None), kind(private, None), kind(private, 0), kind({}, 1)] == [0, 1, 0, 1]


def test_a_click_opens_what_the_credential_names() -> None:
    assert sent(ext="x")["clickTypeInfo"] == {"clickType": 0, "parameters": {"ext": "x", **IDS}}
    page = {"click": "page", "activity": "com.e.Order"}
    clicked = {"clickType": 1, "activity": "com.e.Order", "parameters": IDS}
    assert sent(page)["clickTypeInfo"] == clicked
    web = {"click": "web", "web_uri": "https://e.com/"}
    clicked = {"clickType": 2, "url": "https://e.com/", "parameters": IDS}
    assert sent(web)["clickTypeInfo"] == clicked


def test_a_receipt_address_is_named_only_where_the_credential_has_one() -> None:
    assert "extra" not in sent()
    assert sent({"callback_url": "https://push.example/meizu"})["extra"] == {
        "callback": "https://push.example/meizu",
        "callback.param": BATCH_CORRELATION,
        "callback.type": 3,
    }


def test_what_stands_in_value_was_not_taken_and_the_rest_was() -> None:
    value = {"110002": [token(1)], "110010": [token(3)], "520": [token(4)], "99": [token(5)]}
    receipts = heard(meizu_answer("200", value=value), 6)
    assert [(it.outcome, it.code) for it in receipts] == [
        (Outcome.TOKEN_DEAD, "110002"),
        (Outcome.ACCEPTED, "0"),
        (Outcome.UNDELIVERABLE, "value 110010"),
        (Outcome.ACCEPTED, "520"),
        (Outcome.BAD_REQUEST, "99"),
        (Outcome.ACCEPTED, "0"),
    ]


def test_too_fast_for_the_call_is_not_switched_off() -> None:
    assert outcomes(meizu_answer("110010")) == [Outcome.THROTTLED] * 3


def test_a_list_is_not_dead_for_a_code_that_names_nobody() -> None:
    assert outcomes(meizu_answer("110003")) == [Outcome.BAD_REQUEST] * 3
    assert outcomes(meizu_answer("110003"), 1) == [Outcome.TOKEN_DEAD]


@pytest.mark.parametrize("value", [[1], "text", 7, {"x": [token(1)]}, {"110002": token(1)}])
def test_a_value_that_cannot_be_read_is_doubt(value: Any) -> None:
    assert outcomes(meizu_answer("200", value=value)) == [Outcome.UNKNOWN] * 3


def test_what_can_be_read_of_a_bad_value_counts() -> None:
    value = {"110002": [token(2)], "110003": [7]}
    found = outcomes(meizu_answer("200", value=value))
    assert found == [Outcome.UNKNOWN, Outcome.TOKEN_DEAD, Outcome.UNKNOWN]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"code":200}', Outcome.ACCEPTED),
        (b'{"code":"200","value":null}', Outcome.ACCEPTED),
        (b'{"code":"200","value":""}', Outcome.ACCEPTED),
        (b'{"code":"200","value":{"200":["x"]}}', Outcome.ACCEPTED),
        (b'{"code":true}', Outcome.UNKNOWN),
        (b'{"code":"ok"}', Outcome.UNKNOWN),
        (b'{"code":[200]}', Outcome.UNKNOWN),
        (b'{"code":"77777","message":7}', Outcome.BAD_REQUEST),
    ],
)
def test_answers_of_odd_shapes(body: bytes, outcome: Outcome) -> None:
    assert outcomes(Response(200, {}, body)) == [outcome] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"app_secret": ""},
        {"app_id": "ten"},
        {"app_id": ""},
        {"click": "page"},
        {"click": "web"},
        {"region": "mars"},
        {"message_type": "secret"},
        {"callback_url": "https://e.com/" + "x" * 120},
        {"callback_url": "push.example"},
    ],
)
def test_wrong_settings_are_refused_without_being_quoted(wrong: dict[str, str]) -> None:
    right = msgspec.to_builtins(meizu_settings())
    assert msgspec.convert(right, meizu.Settings) == meizu_settings()
    with pytest.raises(ValueError, match=r"^[^=]+$") as caught:
        msgspec.convert({**right, **wrong}, meizu.Settings)
    assert "SecretOfATest" not in str(caught.value)
