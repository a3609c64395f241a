"""Naming attribute slots."""

from __future__ import annotations

import pytest

from tocsin.domain.app import App
from tocsin.domain.attribute import name_attrs
from tocsin.errors import CallError

BARE = App(sdkappid=1, key=b"", appkey=b"")


def test_slots_are_named_merged_and_typed() -> None:
    first = name_attrs(BARE, {"3": "city"}, {"3": 1})
    second = name_attrs(first, {"0": "plan"}, {})
    assert second.attr_names == {"0": "plan", "3": "city"}
    assert second.attr_types == {"3": 1, "0": 0}
    assert second.slot_of("city") == "3"
    assert second.slot_of("nope") is None


def test_a_rename_keeps_the_type() -> None:
    first = name_attrs(BARE, {"3": "city"}, {"3": 1})
    assert name_attrs(first, {"3": "town"}, {}).attr_types == {"3": 1}
    assert name_attrs(first, {"3": "town"}, {"3": 1}).attr_names == {"3": "town"}
    with pytest.raises(CallError) as caught:
        name_attrs(first, {"3": "town"}, {"3": 0})
    assert caught.value.code == 90033


@pytest.mark.parametrize(
    ("names", "types"),
    [
        ({"10": "x"}, {}),
        ({"": "x"}, {}),
        ({"00": "x"}, {}),
        ({"1": ""}, {}),
        ({"1": "x" * 51}, {}),
        ({"1": "taken"}, {}),
        ({"1": "x", "2": "x"}, {}),
        ({"1": "x"}, {"2": 0}),
    ],
)
def test_what_is_refused(names: dict[str, str], types: dict[str, int]) -> None:
    with pytest.raises(CallError) as caught:
        name_attrs(name_attrs(BARE, {"0": "taken"}, {}), names, types)
    assert caught.value.code == 90033


def test_swapping_two_names_is_no_clash() -> None:
    both = name_attrs(BARE, {"0": "a", "1": "b"}, {})
    assert name_attrs(both, {"0": "b", "1": "a"}, {}).attr_names == {"0": "b", "1": "a"}
