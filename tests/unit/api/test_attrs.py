"""The five attribute commands of timpush, row by row of their pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.world import World, failed, ok

SERVICE = "timpush/"
DEVICE = "5B1E0C44-7A0F-4D6B-9E21-0F3C2B7D9A10"


def rows(*entries: tuple[str, Any]) -> dict[str, Any]:
    return {"UserAttrs": [{"To_Account": name, "Attrs": attrs} for name, attrs in entries]}


@pytest.fixture
async def named(world: World) -> World:
    """With attributes: city of UserIDs, plan of RegistrationIDs."""
    body = {"AttrNames": {"0": "city", "1": "plan"}, "AttrTypes": {"0": 0, "1": 1}}
    assert await world.call(SERVICE + "set_attr_name", body) == ok()
    return world


async def attrs_of(world: World, *names: str) -> list[dict[str, str]]:
    answer = await world.call(SERVICE + "get_attr", {"To_Account": list(names)})
    return [each["Attrs"] for each in answer["UserAttrs"]]


async def test_with_nothing_set_both_members_are_empty(world: World) -> None:
    assert await world.call(SERVICE + "get_attr_name", {}) == ok(AttrNames={}, AttrTypes={})


@pytest.mark.evidence(
    "attribute names are merged and renamed, values stay",
    topic="The wire",
    planted="unnamed slots forgotten",
)
async def test_names_are_merged_and_renamed_and_values_stay(named: World) -> None:
    await named.call(SERVICE + "set_attr", rows(("ann", {"city": "Oslo"})))
    assert await named.call(SERVICE + "set_attr_name", {"AttrNames": {"0": "town"}}) == ok()
    answer = await named.call(SERVICE + "get_attr_name", {})
    assert answer == ok(AttrNames={"0": "town", "1": "plan"}, AttrTypes={"0": 0, "1": 1})
    assert await attrs_of(named, "ann") == [{"town": "Oslo"}]


async def test_two_slots_may_swap_their_names(named: World) -> None:
    body = {"AttrNames": {"0": "plan", "1": "city"}}
    assert await named.call(SERVICE + "set_attr_name", body) == ok()


async def test_a_name_in_another_slot_is_refused_in_the_documents_words(named: World) -> None:
    answer = await named.call(SERVICE + "set_attr_name", {"AttrNames": {"4": "city"}})
    assert answer["ErrorCode"] == 90033
    assert answer["ErrorInfo"] == "attrName:city already exists at index:0"


async def test_a_type_is_fixed_and_may_be_said_again(named: World) -> None:
    again = {"AttrNames": {"1": "plan"}, "AttrTypes": {"1": 1}}
    assert await named.call(SERVICE + "set_attr_name", again) == ok()
    other = {"AttrNames": {"1": "plan"}, "AttrTypes": {"1": 0}}
    assert (await named.call(SERVICE + "set_attr_name", other))["ErrorCode"] == 90033


async def test_values_are_merged_by_name(named: World) -> None:
    await named.call(SERVICE + "set_attr_name", {"AttrNames": {"2": "sex"}})
    await named.call(SERVICE + "set_attr", rows(("ann", {"city": "Oslo"}), ("bob", {"city": "x"})))
    await named.call(SERVICE + "set_attr", rows(("ann", {"sex": "f"}), ("bob", {"city": "y"})))
    assert await attrs_of(named, "ann", "bob") == [{"city": "Oslo", "sex": "f"}, {"city": "y"}]


async def test_get_attr_shows_those_who_exist(named: World) -> None:
    answer = await named.call(SERVICE + "get_attr", {"To_Account": ["ann", "ghost"]})
    assert answer == ok(
        UserAttrs=[{"To_Account": "ann", "Attrs": {}}], ErrorList=failed(("ghost", 70107))
    )


async def test_an_attribute_belongs_to_one_account_type(named: World) -> None:
    await named.device(DEVICE)
    body = rows(("ann", {"plan": "pro"}), (DEVICE, {"plan": "pro"}), (DEVICE, {"city": "x"}))
    answer = await named.call(SERVICE + "set_attr", body)
    assert answer["ErrorList"] == failed(("ann", 90035), (DEVICE, 90035))
    assert await attrs_of(named, "ann", DEVICE) == [{}, {"plan": "pro"}]


async def test_removing_an_absent_value_is_ok(named: World) -> None:
    await named.call(SERVICE + "set_attr", rows(("ann", {"city": "Oslo"})))
    answer = await named.call(SERVICE + "remove_attr", rows(("ann", ["city"]), ("bob", ["city"])))
    assert answer == ok()
    assert await attrs_of(named, "ann") == [{}]


LONG = "x" * 51

REFUSED: list[tuple[str, Any, int, str]] = [
    ("set_attr_name", {}, 90001, "AttrNames"),
    ("set_attr_name", {"AttrNames": "x"}, 90001, "AttrNames"),
    ("set_attr_name", {"AttrNames": {"0": 5}}, 90001, "AttrNames"),
    ("set_attr_name", {"AttrNames": {"10": "x"}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"-1": "x"}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"a": "x"}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": ""}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": LONG}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": "é" * 26}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": "x", "4": "x"}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": "x"}, "AttrTypes": {"4": 0}}, 90033, ""),
    ("set_attr_name", {"AttrNames": {"3": "x"}, "AttrTypes": {"3": 2}}, 90001, "AttrTypes"),
    ("set_attr_name", {"AttrNames": {"3": "x"}, "AttrTypes": {"3": "1"}}, 90001, "AttrTypes"),
    ("set_attr_name", {"AttrNames": {"3": "x"}, "AttrTypes": 1}, 90001, "AttrTypes"),
    ("set_attr", {}, 90001, "UserAttrs"),
    ("set_attr", {"UserAttrs": []}, 90001, "UserAttrs"),
    ("set_attr", {"UserAttrs": [7]}, 90001, "UserAttrs"),
    ("set_attr", {"UserAttrs": [{"Attrs": {"city": "x"}}]}, 90001, "To_Account"),
    ("set_attr", rows((5, {"city": "x"})), 60015, ""),  # type: ignore[arg-type]
    ("set_attr", {"UserAttrs": [{"To_Account": "ann"}]}, 90001, "Attrs"),
    ("set_attr", rows(("ann", ["city"])), 90001, "Attrs"),
    ("set_attr", rows(("ann", {"city": ["x"]})), 90001, "Attrs"),
    ("set_attr", rows(("ann", {"city": True})), 90001, "Attrs"),
    ("set_attr", rows(("ann", {"city": "x"}), ("bob", {"nope": "x"})), 90033, ""),
    ("set_attr", rows(("ann", {"city": LONG})), 90033, ""),
    ("set_attr", rows(("ann", {"city": "é" * 26})), 90033, ""),
    ("set_attr", rows(*[("ann", {"city": "x"})] * 101), 90018, ""),
    ("get_attr", {"To_Account": []}, 90001, "To_Account"),
    ("get_attr", {"To_Account": ["ann"] * 101}, 90018, ""),
    ("get_attr", {"To_Account": [1]}, 60015, ""),
    ("remove_attr", rows(("ann", ["nope"])), 90033, ""),
    ("remove_attr", rows(("ann", "city")), 90001, "Attrs"),
    ("remove_attr", rows(("ann", [1])), 90001, "Attrs"),
    ("remove_attr", rows(*[("ann", ["city"])] * 101), 90018, ""),
]


@pytest.mark.parametrize(("command", "body", "code", "field"), REFUSED)
async def test_a_bad_call_gets_its_code_and_changes_nothing(
    named: World, command: str, body: Any, code: int, field: str
) -> None:
    before = await named.dump(["ann", "bob"])
    answer = await named.call(SERVICE + command, body)
    assert answer["ErrorCode"] == code
    if field:
        assert answer["ErrorInfo"] == f"Invalid format of {field}"
    assert await named.dump(["ann", "bob"]) == before
