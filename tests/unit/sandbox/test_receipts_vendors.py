"""Every vendor that reports: what the sandbox posts is what the vendor's file reads."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import kit_of
from tests.unit.channels.kit_shape import ReceiptKit
from tocsin.channels.registry import (
    VENDORS,
    ListVendor,
    SingleVendor,
    find,
    is_signed_of,
    report_of,
)
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import LateReceipt
from tocsin.domain.outcome import POSTED, Outcome
from tocsin.pipeline.begin import batch_correlation, split_batch_correlation
from tocsin.sandbox.devices import DeviceBook, SandboxDevice, State
from tocsin.sandbox.receipts import Event, Post, Reporter, Sorter
from tocsin.sandbox.registry import CAPABILITIES, SERVERS, Dependencies, make_servers
from tocsin.sandbox.registry import VendorServer as Server
from tocsin.sandbox.trust import Keys, make_keys

NOW = 1_767_225_600.0
KEY = b"k" * 32


def id_of(name: str) -> str:
    return batch_correlation(KEY, 7, 1, name)


@functools.cache
def keys() -> Keys:
    return make_keys()


@functools.cache
def servers() -> dict[str, Server]:
    clock = ManualClock(NOW)
    return make_servers((), lambda: Dependencies(DeviceBook(clock), clock, Chance(1), keys()))


NAMES = [vendor.NAME for vendor in VENDORS if report_of(vendor)]
each_reporter = pytest.mark.parametrize("name", NAMES)


def test_who_is_read_also_posts() -> None:
    reporting = [row.name for row in SERVERS if isinstance(servers()[row.name], Reporter)]
    assert reporting == NAMES
    assert len(NAMES) >= 7


def kit(name: str) -> ReceiptKit:
    vendor = find(name)
    assert vendor is not None
    found = kit_of(vendor).receipts
    assert found is not None, f"kit_{name}.py does not say how receipts are tried"
    return found


def reporter(name: str) -> Reporter:
    server = servers()[name]
    assert isinstance(server, Reporter)
    return server


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
def test_the_manners_are_those_of_the_server_and_of_the_vendors_file(
    vendor: SingleVendor | ListVendor,
) -> None:
    capabilities = CAPABILITIES[vendor.NAME]
    assert capabilities.devices_max == vendor.LIMITS.devices_max
    server = servers().get(vendor.NAME)
    is_reporter = isinstance(server, Reporter)
    assert bool(capabilities.reports) == is_reporter == (report_of(vendor) is not None)
    gone = SandboxDevice("t", state="gone")
    told = reporter(vendor.NAME).fate(gone, "0") if is_reporter else ""
    losses = {it for (status, _), it in vendor.OUTCOMES.items() if status == POSTED}
    assert (capabilities.removal == "receipt") == bool(told) == (Outcome.TOKEN_DEAD in losses)
    names_address = "callback_url" in vendor.Settings.__struct_fields__
    has_id = server is not None and hasattr(server.credential, "callback_id")
    assert (capabilities.reports == "push") == (names_address and not has_id)


def event(name: str, code: str, **changed: Any) -> Event:
    given = {
        "token": "token-1",
        "message_id": "m-1",
        "correlation": id_of(name),
        "push_type": kit(name).push_type,
        "code": code,
        "at": NOW + 1.5,
    }
    return Event(**{**given, **changed})


def calls(name: str, events: Iterable[Event]) -> list[Post]:
    """The calls that these events are told in, cut as the sandbox cuts them."""
    server = reporter(name)
    sorts: dict[str, list[Event]] = {}
    for it in events:
        sorts.setdefault(server.sort(it) if isinstance(server, Sorter) else "", []).append(it)
    size = server.receipts_max
    cut = [
        some[start : start + size] for some in sorts.values() for start in range(0, len(some), size)
    ]
    return [server.post(some) for some in cut]


def read(name: str, posts: Iterable[Post]) -> list[LateReceipt]:
    vendor = find(name)
    assert vendor is not None
    report = report_of(vendor)
    assert report is not None
    found: list[LateReceipt] = []
    for post in posts:
        posted = report(dict(post.headers), post.body)
        assert (posted.unreadable, posted.answer.status) == (0, 200)
        found += posted.receipts
    return found


def codes(name: str) -> list[str]:
    vendor = find(name)
    assert vendor is not None
    return [code for status, code in vendor.OUTCOMES if status == POSTED and code]


@pytest.mark.evidence(
    "what the sandbox posts is what is read, and a forged one can be told",
    topic="Receipts",
    planted="Xiaomi unsorted; Meizu's key without the type; the true id under a false key",
)
@each_reporter
def test_what_is_posted_is_what_is_read(name: str) -> None:
    """Many devices of several pushes, each code, at two moments: nobody is lost or mixed up."""
    events = [
        event(name, code, token=f"token-{number}", message_id=f"m-{number % 3}", at=NOW + moment)
        for number, (code, moment) in enumerate(itertools.product(codes(name), (1.5, 2.25)))
    ] * 2
    told = Counter(
        (it.token, it.correlation, it.code, it.at if kit(name).tells_time else None)
        for it in events
    )
    heard = Counter(
        (it.token, it.correlation, it.code, it.at) for it in read(name, calls(name, events))
    )
    assert heard == told


@each_reporter
def test_a_code_that_is_none_is_posted_all_the_same_and_cannot_be_read(name: str) -> None:
    """A rule may say anything; whoever posts must not stumble over it."""
    vendor = find(name)
    assert vendor is not None
    report = report_of(vendor)
    assert report is not None
    (post,) = calls(name, [event(name, "no sense")])
    posted = report(dict(post.headers), post.body)
    assert tuple(it.code for it in posted.receipts) == kit(name).garbled
    assert posted.unreadable == (0 if kit(name).garbled else 1)


@pytest.mark.evidence("what the sandbox posts is what is read, and a forged one can be told")
@each_reporter
def test_a_forged_one_is_told_from_a_true_one(name: str) -> None:
    vendor, server = find(name), servers()[name]
    assert vendor is not None
    known = msgspec.to_builtins(server.credential)
    settings = msgspec.convert(known, vendor.Settings)
    is_signed = is_signed_of(vendor)
    believed = []
    for is_forged in (False, True):
        (post,) = calls(name, [event(name, codes(name)[0], is_forged=is_forged)])
        (receipt,) = read(name, [post])
        signed = is_signed is None or is_signed(settings, dict(post.headers), post.body, NOW)
        made_here = split_batch_correlation(KEY, receipt.correlation, name) == (7, 1)
        believed.append(signed and made_here)
    assert believed == [True, False]


FATES = [
    (name, state, code)
    for name in NAMES
    # What is held for a device that is off has not arrived.
    for state, code in {**kit(name).fates, "off": ""}.items()
]


@pytest.mark.parametrize(("name", "state", "code"), FATES)
def test_what_becomes_of_a_push_to_a_device(name: str, state: State, code: str) -> None:
    push_type = kit(name).push_type
    assert reporter(name).fate(SandboxDevice("token-1", state), push_type) == code
