"""Which credentials share an authority: those whose settings it is made of are the same."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import NOW, settings_of
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, made_of_of
from tocsin.conversation import Response

AnyVendor = SingleVendor | ListVendor
PLACE = "https://token.example"
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
each_choosy = pytest.mark.parametrize(
    "vendor", [it for it in VENDORS if hasattr(it, "made_of")], ids=lambda vendor: vendor.NAME
)


class Watched:
    """Settings that note which of them are looked at."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.looked_at: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.looked_at.add(name)
        return getattr(self._settings, name)


def authorized_by(vendor: AnyVendor, settings: Any) -> set[str]:
    """The settings that an authority is made of."""
    watched = Watched(settings)
    talk: Generator[Any, Response, Any] = vendor.authorize(watched, NOW)
    try:
        next(talk)
        talk.send(Response(500))
    except StopIteration:
        pass
    return watched.looked_at


@pytest.mark.evidence(
    "credentials share an authority where all that it is made of is the same, and only there",
    topic="Credentials",
    planted="OPPO's secret left out; a second one fetched by whoever waited",
)
@each_choosy
def test_nothing_else_goes_into_an_authority_than_what_it_is_told_by(vendor: AnyVendor) -> None:
    settings = settings_of(vendor)
    named = Watched(settings)
    assert hasattr(vendor, "made_of")
    vendor.made_of(named, PLACE)
    assert authorized_by(vendor, settings) <= named.looked_at


@pytest.mark.evidence(
    "credentials share an authority where all that it is made of is the same, and only there",
)
@each_vendor
def test_each_of_them_tells_two_authorities_apart_and_nothing_else_does(vendor: AnyVendor) -> None:
    settings = settings_of(vendor)
    made_of = made_of_of(vendor)
    before = made_of(settings, PLACE)
    assert before[0] == vendor.NAME
    parts = authorized_by(vendor, settings)
    told_apart = set()
    for field in msgspec.structs.fields(vendor.Settings):
        other = copy.copy(settings)
        # Past the checks: it is the difference that counts.
        msgspec.structs.force_setattr(other, field.name, "something else")
        if made_of(other, PLACE) != before:
            told_apart.add(field.name)
    assert parts <= told_apart
    if hasattr(vendor, "made_of"):
        extra = told_apart - parts
        assert extra <= {"certificate"}, extra


@each_vendor
def test_the_token_service_counts_where_there_is_one(vendor: AnyVendor) -> None:
    made_of, settings = made_of_of(vendor), settings_of(vendor)
    is_same = made_of(settings, PLACE) == made_of(settings, "https://other.example")
    # Apple's token is signed here, and the same wherever it is shown.
    assert is_same == (vendor.NAME == "apns")
