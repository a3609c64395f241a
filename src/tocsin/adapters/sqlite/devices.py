"""Devices: whole documents, found by number, by name, by token and by account."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from tocsin.adapters.sqlite.tables import Tables, integers, json_text
from tocsin.domain.device import Device, DeviceRows, Route
from tocsin.domain.device_index import DeviceChanges, IndexedDevice

_BY_NAME = "SELECT doc FROM device WHERE app = ? AND registration_id = ?"
_BY_ROUTE = "SELECT doc FROM device WHERE app = ? AND route = ?"
_BY_NUMBER = """
SELECT '[' || group_concat(d.doc) || ']' FROM carray(?2) AS asked
CROSS JOIN device AS d ON d.app = ?1 AND d.number = asked.value
"""
_BY_ACCOUNT = """
SELECT '[' || group_concat(d.doc) || ']' FROM carray(?2) AS asked
CROSS JOIN device AS d INDEXED BY device_account ON d.app = ?1 AND d.account = asked.value
"""
_BY_USER = """
SELECT '[' || group_concat(d.doc) || ']' FROM carray(?2) AS asked
CROSS JOIN device AS d INDEXED BY device_user
ON d.app = ?1 AND d.user = asked.value AND d.user <> 0
AND d.account NOT IN (SELECT value FROM carray(?2))
"""
"""Without those that `_BY_ACCOUNT` finds: in a push to everyone that would be every device."""
_SCAN = """
SELECT '[' || group_concat(doc) || ']' FROM (
SELECT doc FROM device WHERE app = ? AND number > ? ORDER BY number LIMIT ?)
"""
_DELETE_BY_ACCOUNT = """
DELETE FROM device WHERE app = ?1 AND account IN (SELECT value FROM carray(?2))
"""
_DELETE_BY_USER = """
DELETE FROM device WHERE app = ?1 AND user <> 0 AND user IN (SELECT value FROM carray(?2))
"""
_UNCHECKED = """
SELECT '[' || group_concat(doc) || ']' FROM (
SELECT doc FROM device INDEXED BY device_unchecked
WHERE app = ? AND route IS NOT checked_route ORDER BY number LIMIT ?)
"""
_COUNT_UNCHECKED = """
SELECT count(*) FROM device INDEXED BY device_unchecked
WHERE app = ? AND route IS NOT checked_route
"""
_CREATE = """
INSERT INTO device (app, number, registration_id, account, user, route, checked_route, doc)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
"""
_REPLACE = """
UPDATE device SET registration_id = ?3, account = ?4, user = ?5, route = ?6, checked_route = ?6,
doc = ?7 WHERE app = ?1 AND number = ?2
"""
_LEAVE_ROUTE = """
UPDATE device SET route = NULL WHERE app = ?1 AND number = ?2 AND route IS NOT ?3
"""
_CHANGES = """
SELECT number, position FROM device_change INDEXED BY device_change_position
WHERE app = ? AND position > ? ORDER BY position LIMIT ?
"""
_CHANGED = """
SELECT number FROM device_change INDEXED BY device_change_position WHERE app = ? AND position > ?
"""
_LAST_CHANGE = "SELECT max(position) FROM device_change WHERE app = ?"

PAGE = 10_000
"""Devices in one answer of SQLite."""


def find_device(tables: Tables, app: int, registration_id: str) -> Device | None:
    return _decode(tables.value(_BY_NAME, app, registration_id))


def find_holder(tables: Tables, app: int, route: Route) -> Device | None:
    """The device that owns this token."""
    return _decode(tables.value(_BY_ROUTE, app, digest(route)))


def find_token_owners(tables: Tables, app: int, routes: Sequence[Route]) -> list[Device | None]:
    return [find_holder(tables, app, route) for route in routes]


def find_owners(tables: Tables, app: int, routes: Sequence[Route]) -> list[Device]:
    """The devices that own these tokens, in whichever environment; rising and each once."""
    asked = [each for route in routes for each in route.in_each_environment()]
    found = {it.number: it for it in find_token_owners(tables, app, asked) if it is not None}
    return [found[number] for number in sorted(found)]


def count_unchecked(tables: Tables, app: int) -> int:
    count: int = tables.value(_COUNT_UNCHECKED, app)
    return count


def unchecked_devices(tables: Tables, app: int, limit: int) -> list[Device]:
    docs = tables.value(_UNCHECKED, app, limit)
    return msgspec.json.decode(docs, type=list[Device]) if docs else []


def scan_devices(tables: Tables, app: int, after: int, limit: int) -> list[Device]:
    docs = tables.value(_SCAN, app, after, limit)
    return msgspec.json.decode(docs, type=list[Device]) if docs else []


def scan_indexed(tables: Tables, app: int, after: int, limit: int) -> list[IndexedDevice]:
    docs = tables.value(_SCAN, app, after, limit)
    return msgspec.json.decode(docs, type=list[IndexedDevice]) if docs else []


def read_changes(tables: Tables, app: int, after: int, limit: int) -> DeviceChanges:
    rows = tables.all(_CHANGES, app, after, limit)
    if not rows:
        return DeviceChanges(after, [], [])
    numbers = [number for number, _ in rows]
    docs = tables.value(_BY_NUMBER, app, integers(numbers))
    devices = msgspec.json.decode(docs, type=list[IndexedDevice]) if docs else []
    left = {device.number for device in devices}
    gone = [number for number in numbers if number not in left]
    return DeviceChanges(rows[-1][1], devices, gone)


def last_change(tables: Tables, app: int) -> int:
    return tables.value(_LAST_CHANGE, app) or 0


def _decode(doc: str | None) -> Device | None:
    return None if doc is None else msgspec.json.decode(doc, type=Device)


def devices_by_number(tables: Tables, app: int, numbers: Iterable[int]) -> dict[int, Device]:
    """Devices in rising order of their numbers."""
    return _read(tables, app, numbers, (_BY_NUMBER,))


def devices_at(tables: Tables, app: int, numbers: Iterable[int]) -> DeviceRows:
    """Devices by number; what is committed while this reads may be in them or not."""
    # The position first: a later change is then looked at once more, and none is missed.
    return DeviceRows(last_change(tables, app), devices_by_number(tables, app, numbers))


def changed_devices(tables: Tables, app: int, numbers: Iterable[int], after: int) -> BitMap:
    """Those of these devices that changed after a position, or are gone since."""
    changed = BitMap([number for (number,) in tables.each(_CHANGED, app, after)])
    return changed & BitMap(numbers)


def devices_of(tables: Tables, app: int, accounts: Iterable[int]) -> dict[int, Device]:
    """Devices bound to these accounts or registered under them, in rising order."""
    return _read(tables, app, accounts, (_BY_ACCOUNT, _BY_USER))


def _read(
    tables: Tables, app: int, numbers: Iterable[int], statements: Sequence[str]
) -> dict[int, Device]:
    found: dict[int, Device] = {}
    asked = array("q", numbers)
    for start in range(0, len(asked), PAGE):
        page = integers(asked[start : start + PAGE])
        for statement in statements:
            docs = tables.value(statement, app, page)
            for device in msgspec.json.decode(docs, type=list[Device]) if docs else ():
                found[device.number] = device
    return {number: found[number] for number in sorted(found)}


def delete_devices_of(tables: Tables, app: int, accounts: Sequence[int]) -> None:
    tables.run(_DELETE_BY_ACCOUNT, app, integers(accounts))
    tables.run(_DELETE_BY_USER, app, integers(accounts))


def write_devices(tables: Tables, app: int, devices: Sequence[Device]) -> None:
    """Write whole rows; a token that changes hands is first taken from everyone named."""
    last = tables.tally(app).device
    born = [_row(app, device) for device in devices if device.number > last]
    known = [_row(app, device) for device in devices if device.number <= last]
    if len(devices) > 1:
        tables.many(_LEAVE_ROUTE, [(app, row[1], row[5]) for row in known])
    for row in known:
        # One by one: the rows that a trigger writes would be counted with those of many.
        assert tables.run(_REPLACE, *row) == 1, "a device that does not exist"
    if born:
        tables.give(app, "device", (row[1] for row in born))
        tables.many(_CREATE, born)


def _row(app: int, device: Device) -> tuple[Any, ...]:
    return (
        app,
        device.number,
        device.registration_id,
        device.account,
        device.user,
        None if device.route is None else digest(device.route),
        json_text(device),
    )


def digest(route: Route) -> bytes:
    """What is unique in an app, in 16 bytes: tokens are long and stand in the document already."""
    return hashlib.blake2b(msgspec.msgpack.encode(route.key()), digest_size=16).digest()
