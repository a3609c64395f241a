"""Where each field of OfflinePushInfo goes at OPPO, or that it is left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import AUTHORITY, IDS, NOW, batch
from tests.unit.channels.kit_oppo import SAVED, form_of, oppo_settings
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named
from tocsin.channels.shared import json_text
from tocsin.channels.vendors import oppo
from tocsin.conversation import Request
from tocsin.domain.message import AndroidPart, Message, notify_id

LEFT_OUT: dict[str, Any] = {}

OPPO: dict[str, dict[str, Any]] = {row.field: LEFT_OUT for row in ROWS} | {
    "Title": {"title": "News"},
    "Desc": {"content": "It rains"},
    "Ext": {"action_parameters": json_text({"ext": '{"a":"b"}', **IDS})},
    "ttl": {"off_line": True, "off_line_ttl": 60},
    "ttl 0": {"off_line": False},
    "collapse id": {"notify_id": notify_id("t9-2")},
    # OPPO shows what has the same one once on a device.
    "receipt correlation": {"app_message_id": "0a1b2c3d-0000-4000-8000-00000000beef"},
    "PushStyle": {"style": 2},
    "OPPOChannelID": {"channel_id": "o"},
    "OPPOCategory": {"category": "IM"},
    # Without a category it means nothing to OPPO; see the test below.
    "OPPONotifyLevel": LEFT_OUT,
    "OPPOPrivateMsgTemplateId": {"private_msg_template_id": "t"},
    # They fill a template, so there must be one; see below.
    "OPPOPrivateTitleParameters": LEFT_OUT,
    "OPPOPrivateContentParameters": LEFT_OUT,
}
"""What is not named here has no counterpart."""


def made(message: Message, given: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The notification of a single push."""
    one = batch(1, message=message, **given)
    request = next(oppo.deliver(oppo_settings(**settings), AUTHORITY, one, NOW))
    notification: dict[str, Any] = msgspec.json.decode(form_of(request)["message"])["notification"]
    return notification


def saved(message: Message, given: dict[str, Any]) -> Request:
    """What is saved for a list. The private class is sent to each device by itself."""
    talk = oppo.prepare(oppo_settings(), AUTHORITY, batch(2, message=message, **given), NOW)
    return next(talk)


def test_every_row_says_where_its_field_goes() -> None:
    assert list(OPPO) == [row.field for row in ROWS]


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("row", named(ROWS))
def test_oppo_carries_the_field_in_its_place_or_not_at_all(row: Row) -> None:
    expected = OPPO[row.field]
    notification = made(changed(row), row.given)
    if not expected:
        assert notification == made(BASE, {})
        return
    assert {where: notification.get(where) for where in expected} == expected
    assert notification != made(BASE, {})


PRIVATE = ("OPPOCategory", "OPPOPrivateMsgTemplateId")


@pytest.mark.parametrize("row", [row for row in named(ROWS) if row.id not in PRIVATE])
def test_what_is_saved_for_lists_is_the_same_in_a_form(row: Row) -> None:
    form = form_of(saved(changed(row), row.given))
    alone = made(changed(row), row.given)
    life_s = row.given.get("ttl_s", 3600)
    assert form.pop("app_message_id") == f"7-1-0011223344556677.0.{life_s}"
    del alone["app_message_id"]
    texts = {name: it if isinstance(it, str) else str(it).lower() for name, it in alone.items()}
    assert form == texts


def test_an_alert_and_parameters_go_with_what_they_are_for() -> None:
    part = AndroidPart(
        oppo_category="IM",
        oppo_notify_level=16,
        oppo_template_id="t",
        oppo_title_params={"a": "b"},
        oppo_content_params={"c": "d"},
    )
    assert made(msgspec.structs.replace(BASE, android=part), {}) == made(BASE, {}) | {
        "category": "IM",
        "notify_level": 16,
        "private_msg_template_id": "t",
        "private_title_parameters": '{"a":"b"}',
        "private_content_parameters": '{"c":"d"}',
    }


def test_the_lists_correlation_comes_back_in_receipts() -> None:
    notification = made(BASE, {}, callback_url="https://push.example/")
    assert notification["call_back_parameter"] == "7-1-0011223344556677"


def test_a_list_names_what_was_saved_and_nothing_of_the_message() -> None:
    given = msgspec.structs.replace(batch(2, message=BASE), prepared=SAVED)
    request = next(oppo.deliver(oppo_settings(), AUTHORITY, given, NOW))
    assert set(form_of(request)) == {"message_id", "target_type", "target_value"}
