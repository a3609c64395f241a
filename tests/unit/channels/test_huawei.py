from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from tests.unit.channels.kit import (
    NOW,
    authorized,
    batch,
    delivery,
    heard,
    message,
)
from tests.unit.channels.kit_huawei import answer, huawei_settings, partial
from tocsin.channels.vendors import huawei
from tocsin.conversation import Authority, Denied, Response
from tocsin.domain.message import Message, Translation
from tocsin.domain.outcome import Outcome, Receipt

DEVICES = batch(10).deliveries


def token(number: int) -> str:
    return delivery(number).token


def read(response: Response) -> Sequence[Receipt]:
    return heard(huawei, response, DEVICES)


# authority


def test_a_bearer_is_fetched_with_the_apps_secret() -> None:
    settings = huawei_settings()
    request = next(huawei.authorize(settings, NOW))
    assert request.origin == "https://oauth-login.cloud.huawei.com"
    assert (request.method, request.path) == ("POST", "/oauth2/v3/token")
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["104551789"],
        "client_secret": [settings.app_secret],
    }
    given = Response(200, {}, b'{"access_token":"CV9/x+=","expires_in":3600}')
    found = authorized(huawei, settings, given)
    assert found == Authority("Bearer CV9/x+=", NOW + 2880, NOW + 3600)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (Response(401, {}, b'{"error":1101,"sub_error":20001}'), Outcome.CREDENTIALS_WRONG),
        (Response(400, {}, b'{"error":"invalid"}'), Outcome.CREDENTIALS_WRONG),
        (Response(403), Outcome.SERVER_ERROR),
        (Response(429), Outcome.THROTTLED),
        (Response(503), Outcome.THROTTLED),
        (Response(500, {}, b"<html>"), Outcome.SERVER_ERROR),
        (Response(500, {}, b'{"error":"internal_failure"}'), Outcome.SERVER_ERROR),
        (Response(200, {}, b"{"), Outcome.SERVER_ERROR),
        (Response(200, {}, b'{"access_token":7}'), Outcome.SERVER_ERROR),
    ],
)
def test_no_bearer_says_why(response: Response, outcome: Outcome) -> None:
    found = authorized(huawei, huawei_settings(), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome


@pytest.mark.parametrize(
    "changed",
    [
        {"app_id": "abc"},
        {"app_secret": ""},
        {"click": "intent"},
        {"click_target": "https://e.com"},
        {"click": "url", "click_target": "http://e.com"},
    ],
)
def test_settings_that_cannot_work_are_refused(changed: dict[str, Any]) -> None:
    good = {"app_secret": "CANARY", "app_id": "1"}
    assert msgspec.convert(good, huawei.Settings).click == "app"
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({**good, **changed}, huawei.Settings)
    assert "CANARY" not in str(caught.value)


# answers


def test_a_part_is_refused_and_the_rest_accepted() -> None:
    receipts = read(partial(token(2), token(9), success=8))
    dead = [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
    assert dead == [2, 9]
    assert {it.code for it in receipts if it.device in dead} == {"80100000"}
    assert {it.outcome for it in receipts if it.device not in dead} == {Outcome.ACCEPTED}


@pytest.mark.evidence("named devices are refused, unnamed ones in doubt")
@pytest.mark.parametrize(
    "msg",
    [
        "Partially successful",
        "{",
        "[]",
        "{}",
        '{"success":9,"failure":1,"illegal_tokens":[]}',
        '{"success":9,"failure":1,"illegal_tokens":["not-ours"]}',
        '{"illegal_tokens":7}',
    ],
)
def test_a_part_that_is_not_named_leaves_all_in_doubt(msg: str) -> None:
    receipts = read(answer(200, "80100000", msg))
    assert [it.outcome for it in receipts] == [Outcome.UNKNOWN] * 10
    assert not any("not-ours" in it.info for it in receipts)


def test_more_failures_than_named_leave_the_others_in_doubt() -> None:
    msg = msgspec.json.encode({"success": 7, "failure": 3, "illegal_tokens": [token(4)]})
    receipts = read(answer(200, "80100000", msg.decode()))
    assert receipts[3].outcome is Outcome.TOKEN_DEAD
    assert {it.outcome for it in receipts if it.device != 4} == {Outcome.UNKNOWN}


def test_a_known_code_counts_with_any_status() -> None:
    for status in (200, 400, 403, 500):
        receipts = read(answer(status, "80300008", "too large"))
        assert {it.outcome for it in receipts} == {Outcome.TOO_LARGE}


def test_flow_control_waits_as_long_as_it_is_told() -> None:
    receipts = read(Response(503, {"retry-after": "9"}, b"flow control"))
    assert {(it.outcome, it.retry_after_s) for it in receipts} == {(Outcome.THROTTLED, 9.0)}


# what replaces


def test_a_notification_replaces_and_data_does_not() -> None:
    settings = huawei_settings()
    assert huawei.replaces(settings, message())
    assert not huawei.replaces(settings, Message(ext="x"))
    silent = (Translation("de"),)
    assert not huawei.replaces(settings, message(translations=silent))
