"""OPPO's lists: what was saved for the public class, single messages for the private one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import (
    AUTHORITY,
    IDS,
    NOW,
    OpenGate,
    ScriptedHttp,
    batch,
    driver,
    walked,
)
from tests.unit.channels.kit_oppo import KIT, SAVED, answer, form_of, oppo_settings, said
from tests.unit.channels.test_oppo import IM_TEMPLATE, android, step, told
from tocsin.channels.shared import json_text
from tocsin.channels.vendors import oppo
from tocsin.conversation import Batch, Denied, Request, Response, StaleCredential
from tocsin.domain.message import notify_id
from tocsin.domain.outcome import Outcome

HOUR_S = 3600.0
"""`NOW` is midnight UTC: eight o'clock in the morning in China."""


def listed(count: int, **parts: Any) -> Batch:
    return msgspec.structs.replace(batch(count, **parts), prepared=SAVED)


def call(request: Request) -> str:
    return request.path.rpartition("/")[2]


# lists of the public class


def test_a_list_is_sent_what_was_saved() -> None:
    (request,), receipts = step(listed(3), answer(message_id=SAVED, task_id="1"))
    assert request.path == "/server/v1/message/notification/broadcast"
    assert form_of(request) == {
        "message_id": SAVED,
        "target_type": "2",
        "target_value": ";".join(f"{it:064x}" for it in (1, 2, 3)),
    }
    assert {it.outcome for it in receipts} == {Outcome.ACCEPTED}


def test_the_saved_message_has_everything_but_a_device() -> None:
    full = android(oppo_category="NEWS", oppo_notify_level=2, oppo_channel_id="o")
    given = msgspec.structs.replace(batch(2, message=full), language=1)
    talk = oppo.prepare(oppo_settings(), AUTHORITY, given, NOW)
    (request,), found = walked(talk, answer(message_id=SAVED))
    assert found == SAVED
    assert call(request) == "save_message_content"
    assert form_of(request) == {
        "title": "Hello",
        "content": "A word to all",
        "notify_id": str(notify_id("t7-1")),
        "off_line": "true",
        "off_line_ttl": "3600",
        "click_action_type": "0",
        "action_parameters": json_text(IDS),
        "category": "NEWS",
        "notify_level": "2",
        "channel_id": "o",
        "app_message_id": "7-1-0011223344556677.2.3600",
    }


def test_what_was_saved_by_its_name_before_is_saved_without_one() -> None:
    talk = oppo.prepare(oppo_settings(), AUTHORITY, batch(2), NOW)
    asked, found = walked(talk, answer(32, "Data Duplicate"), answer(message_id=SAVED))
    assert found == SAVED
    named, unnamed = (form_of(it) for it in asked)
    assert named.pop("app_message_id")
    assert named == unnamed


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(41, "sensitive"), Outcome.BLOCKED_CONTENT),
        (answer(33), Outcome.QUOTA_DAY),
        (answer(10000), Outcome.BAD_REQUEST),
        (answer(10002), Outcome.BAD_REQUEST),
        (answer(0), Outcome.SERVER_ERROR),
        (answer(0, message_id=7), Outcome.SERVER_ERROR),
        (Response(200, {}, b"{"), Outcome.SERVER_ERROR),
        (Response(502, {}, b"<html>"), Outcome.SERVER_ERROR),
    ],
)
def test_a_message_that_is_not_saved_reaches_nobody(response: Response, outcome: Outcome) -> None:
    _, found = walked(oppo.prepare(oppo_settings(), AUTHORITY, batch(2), NOW), response)
    assert isinstance(found, Denied)
    assert found.outcome is outcome


def test_those_whom_the_answer_names_are_not_reached() -> None:
    named = {
        "message_id": SAVED,
        "task_id": "58ad47529e8d725350a5afd6",
        "status": "call_success",
        "10000": [f"{2:064x}", "someone else"],
        "10001": [f"{4:064x}"],
        "10004": [f"{5:064x}"],
        "10099": [f"{6:064x}"],
    }
    _, receipts = step(listed(6), answer(**named))
    assert [(it.outcome, it.code) for it in receipts] == [
        (Outcome.ACCEPTED, "0"),
        (Outcome.TOKEN_DEAD, "10000"),
        (Outcome.ACCEPTED, "0"),
        (Outcome.TOKEN_DEAD, "10001"),
        (Outcome.ACCEPTED, "0"),
        (Outcome.UNDELIVERABLE, "10099"),
    ]


@pytest.mark.parametrize("data", ["?", 7, {"10000": f"{1:064x}"}, {"10000": [7]}])
def test_a_partial_answer_that_cannot_be_read_is_doubt(data: Any) -> None:
    _, receipts = step(listed(2), said({"code": 0, "data": data}))
    assert [it.outcome for it in receipts] == [Outcome.UNKNOWN] * 2


@pytest.mark.parametrize("code", [10000, 10001, 10002])
def test_a_refused_list_kills_nobody(code: int) -> None:
    _, receipts = step(listed(2), answer(code))
    assert [(it.outcome, it.code) for it in receipts] == [(Outcome.BAD_REQUEST, str(code))] * 2


@pytest.mark.parametrize("code", [11, 29])
def test_a_stale_token_is_the_drivers_business(code: int) -> None:
    with pytest.raises(StaleCredential) as caught:
        step(batch(2, message=android(oppo_category="IM")), answer(code))
    assert caught.value.code == str(code)


# lists of the private class


@pytest.mark.evidence(
    "OPPO's private class goes to single devices",
    topic="Vendors",
    planted="everything broadcast",
)
@pytest.mark.parametrize(
    ("part", "settings", "calls"),
    [
        ({}, {}, ["save_message_content", "broadcast"]),
        ({"oppo_category": "MARKETING"}, {}, ["save_message_content", "broadcast"]),
        ({"oppo_category": "MARKETING"}, IM_TEMPLATE, ["save_message_content", "broadcast"]),
        ({}, {"template_id": "T1"}, ["save_message_content", "broadcast"]),
        ({"oppo_category": "IM"}, {}, ["unicast_batch"]),
        ({"oppo_category": "NEW_ONE"}, {}, ["unicast_batch"]),
        ({}, {"category": "ORDER"}, ["unicast_batch"]),
        ({"oppo_template_id": "T2"}, {}, ["unicast_batch"]),
    ],
)
def test_the_private_class_goes_to_single_devices(
    part: dict[str, Any], settings: dict[str, Any], calls: list[str]
) -> None:
    given = batch(3, message=android(**part))
    asked, _ = step(given, KIT.accepted, KIT.accepted, **settings)
    assert [call(it) for it in asked] == calls
    saving = oppo.prepare(oppo_settings(**settings), AUTHORITY, given, NOW)
    assert [call(it) for it in walked(saving, KIT.accepted)[0]] == calls[:-1]


def test_a_call_has_each_device_and_its_message() -> None:
    private = android(oppo_category="IM")
    (request,), _ = step(batch(3, message=private), KIT.accepted)
    messages = told(request)
    for number, one in enumerate(messages, start=1):
        (alone,), _ = step(
            msgspec.structs.replace(
                batch(3), deliveries=batch(3, message=private).deliveries[number - 1 : number]
            ),
            answer(),
        )
        assert one == told(alone)
    assert len({it["notification"]["app_message_id"] for it in messages}) == 3


def test_each_entry_speaks_of_one_device() -> None:
    entries = [
        {"messageId": "1", "registrationId": f"{1:064x}"},
        {"messageId": "2", "registrationId": f"{2:064x}", "errorCode": None},
        {"registrationId": f"{3:064x}", "errorCode": 10000, "errorMessage": "no"},
        {"registrationId": f"{4:064x}", "errorCode": "10001"},
        {"messageId": "6"},
    ]
    given = batch(5, message=android(oppo_category="IM"))
    _, receipts = step(given, said({"code": 0, "message": "", "data": entries}))
    assert [(it.outcome, it.code) for it in receipts] == [
        (Outcome.ACCEPTED, "0"),
        (Outcome.ACCEPTED, "0"),
        (Outcome.TOKEN_DEAD, "10000"),
        (Outcome.TOKEN_DEAD, "10001"),
        (Outcome.UNKNOWN, "0"),
    ]


@pytest.mark.evidence(
    "named devices are refused, unnamed ones in doubt",
    topic="Vendors",
    planted="taken as accepted",
)
@pytest.mark.parametrize("data", [None, "?", {}, [7], [{"errorCode": "no"}]])
def test_devices_of_whom_nothing_is_said_are_in_doubt(data: Any) -> None:
    given = batch(2, message=android(oppo_category="IM"))
    _, receipts = step(given, said({"code": 0, "data": data}))
    assert [it.outcome for it in receipts] == [Outcome.UNKNOWN] * 2


# the driver


@pytest.mark.parametrize("code", [33, 34, 42])
async def test_a_days_quota_waits_for_midnight_in_china(code: int) -> None:
    one = driver(oppo, ScriptedHttp(lambda _: answer(code)))
    receipts = await one.deliver(batch(3), OpenGate())
    assert [(it.outcome, it.retry_after_s) for it in receipts] == [
        (Outcome.QUOTA_DAY, 16 * HOUR_S)
    ] * 3
