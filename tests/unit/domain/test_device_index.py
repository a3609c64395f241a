"""The device index beside the device rows: they answer the same, whatever has changed."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from tocsin.domain.device import Device, Route
from tocsin.domain.device_index import LANGUAGES_MAX, DeviceChanges, DeviceIndex, indexed
from tocsin.domain.reach import Page, Reach, reach_of

USERS = range(1, 7)
"""Accounts of UserIDs; those of RegistrationIDs come after them."""
DEVICES = range(1, 13)


def device(number: int, **members: object) -> Device:
    made = Device(number=number, registration_id=f"R{number}", account=100 + number)
    return msgspec.structs.replace(made, **members)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    number = draw(st.sampled_from(DEVICES))
    is_registered = draw(st.booleans())
    credential = draw(st.integers(0, 2))
    route = Route(f"channel{credential}", credential, f"token{number}") if credential else None
    return device(
        number,
        user=draw(st.sampled_from((0, *USERS))) if is_registered else 0,
        route=route if is_registered else None,
        language=draw(st.sampled_from(("", "de", "zh-CN"))),
        is_registered=is_registered,
        login_at=float(draw(st.integers(0, 3))),
    )


ACCOUNTS = [*USERS, *(100 + number for number in DEVICES), 999]
accounts = st.sets(st.sampled_from(ACCOUNTS)).map(BitMap)
pages = st.builds(
    lambda page, audience, deleted, policy, only: Page(
        accounts=page,
        live=page - deleted,
        audience=audience | page,
        policy=policy,
        only=only,
    ),
    accounts,
    accounts,
    accounts,
    st.sampled_from(("all", "last")),
    st.none() | st.sets(st.sampled_from(DEVICES)).map(BitMap),
)


def of_rows(page: Page, rows: Iterable[Device]) -> Reach:
    """What the rows of the page's own accounts answer, as the store would give them."""
    named = [row for row in rows if row.account in page.live or row.user in page.live]
    return msgspec.structs.replace(reach_of(page, named), position=0)


def of_index(page: Page, index: DeviceIndex) -> Reach:
    return msgspec.structs.replace(index.reach(page), position=0)


@settings(max_examples=300)
@given(st.lists(devices() | st.sampled_from(DEVICES), max_size=40), st.lists(pages, min_size=1))
@pytest.mark.evidence(
    "a push goes to the devices that the rows name, after any changes of them",
    topic="Planning by sets",
    planted="the index kept a device in its former user's chain",
)
def test_the_index_answers_what_the_rows_say(
    changes: list[Device | int], asked: list[Page]
) -> None:
    rows: dict[int, Device] = {}
    index = DeviceIndex()
    for position, change in enumerate(changes, 1):
        if isinstance(change, Device):
            rows[change.number] = change
            index.apply(DeviceChanges(position, [indexed(change)], []))
        else:
            rows.pop(change, None)
            index.apply(DeviceChanges(position, [], [change]))
    assert len(index) == len(rows)
    for page in asked:
        assert of_index(page, index) == of_rows(page, rows.values())


def test_the_newest_login_is_first_however_devices_come_and_go() -> None:
    chance = random.Random(7)
    rows = {number: device(number, user=1, login_at=float(number % 5)) for number in range(1, 60)}
    index = DeviceIndex()
    index.put(map(indexed, rows.values()))
    page = Page(accounts=BitMap([1]), live=BitMap([1]), audience=BitMap([1]), policy="last")
    while rows:
        assert of_index(page, index) == of_rows(page, rows.values())
        gone = chance.choice(list(rows))
        del rows[gone]
        index.apply(DeviceChanges(index.position + 1, [], [gone]))


def test_invented_languages_get_no_set_of_their_own() -> None:
    count = LANGUAGES_MAX + 50
    rows = [device(number, user=1, language=f"x{number}") for number in range(1, count + 1)]
    index = DeviceIndex()
    index.put(map(indexed, rows))
    assert len(index.languages) == LANGUAGES_MAX
    page = Page(accounts=BitMap([1]), live=BitMap([1]), audience=BitMap([1]), policy="all")
    assert of_index(page, index) == of_rows(page, rows)
    index.put([indexed(msgspec.structs.replace(row, language="de")) for row in rows])
    assert index.languages == {"de": BitMap(range(1, count + 1))}
    assert of_index(page, index).languages == {"de": BitMap(range(1, count + 1))}


def test_an_index_of_few_bytes_a_device() -> None:
    """Columns, not objects: doubling the devices adds some tens of bytes for each."""
    count = 20_000
    index = DeviceIndex()
    index.put(indexed(device(number, user=number % 90 + 1)) for number in range(1, count + 1))
    columns = [index._first, index._older, index._user, index._account, index._credential]
    assert sum(column.itemsize * len(column) for column in columns) < 40 * count
