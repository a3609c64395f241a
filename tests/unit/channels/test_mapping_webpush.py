"""Where each field of OfflinePushInfo goes in Web Push, or that it is left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.channels.kit import AUTHORITY, NOW, delivery
from tests.unit.channels.kit_webpush import opened, settings, token
from tests.unit.channels.test_mapping import BASE, ROWS, Row, changed, named
from tocsin.channels.vendors import webpush
from tocsin.conversation import Request
from tocsin.domain.message import Message

PLACES: dict[str, dict[str, Any]] = {
    "Title": {"title": "News"},
    "Desc": {"body": "It rains"},
    "Ext": {"data.ext": '{"a":"b"}'},
    "ttl": {"ttl": "60"},
    "ttl 0": {"ttl": "0"},
    "collapse id": {"topic": "t9-2", "tag": "t9-2"},
    "receipt correlation": {"data.msgid": "0a1b2c3d-0000-4000-8000-00000000beef"},
    # The page plays it, or not.
    "Sound": {"data.sound": "bell"},
}
"""Rows that are not here have no counterpart."""

DECLARATIVE: dict[str, dict[str, Any]] = {
    "Title": {"notification.title": "News"},
    "Desc": {"notification.body": "It rains"},
    "Ext": {"notification.data.ext": '{"a":"b"}'},
    "BadgeSetNum": {"app_badge": 5},
    "ttl": {"ttl": "60"},
    "ttl 0": {"ttl": "0"},
    "collapse id": {"topic": "t9-2", "notification.tag": "t9-2"},
    "receipt correlation": {"notification.data.msgid": "0a1b2c3d-0000-4000-8000-00000000beef"},
    "Sound": {"notification.data.sound": "bell"},
}
"""The same where the browser draws."""

FORMS = {
    "worker": (PLACES, settings()),
    "declarative": (DECLARATIVE, settings(form="declarative", url="https://e.com/")),
}


def made(form: str, message: Message, given: dict[str, Any]) -> Request:
    one = delivery(token=token("a"), message=message, **given)
    found = webpush.request(FORMS[form][1], AUTHORITY, one, NOW)
    assert isinstance(found, Request)
    return found


def place(request: Request, where: str) -> Any:
    """A header, or a member of the opened body by its dotted way."""
    headers = dict(request.headers)
    if where in headers:
        return headers[where]
    value = opened(request.body)
    for name in where.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def test_every_place_belongs_to_a_row() -> None:
    assert {*PLACES, *DECLARATIVE} <= {row.field for row in ROWS}


@pytest.mark.evidence("every field of OfflinePushInfo, per vendor")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", named(ROWS))
def test_web_push_carries_the_field_in_its_place_or_not_at_all(row: Row, form: str) -> None:
    request = made(form, changed(row), row.given)
    places = FORMS[form][0].get(row.field)
    if places is None:
        assert request == made(form, BASE, {})
        return
    assert {where: place(request, where) for where in places} == places
    assert request != made(form, BASE, {})
