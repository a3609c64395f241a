"""The older family, all_member_push: one store with timpush, other answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.api.world import APP, World, ok

OLD = "all_member_push/"
DEVICE = "5B1E0C44-7A0F-4D6B-9E21-0F3C2B7D9A10"


def tags(*entries: tuple[str, list[str]]) -> dict[str, Any]:
    return {"UserTags": [{"To_Account": name, "Tags": each} for name, each in entries]}


def attrs(*entries: tuple[str, Any]) -> dict[str, Any]:
    return {"UserAttrs": [{"To_Account": name, "Attrs": each} for name, each in entries]}


async def test_both_families_share_one_store(world: World) -> None:
    await world.call(OLD + "im_set_attr_name", {"AttrNames": {"0": "city"}})
    await world.call(OLD + "im_set_attr", attrs(("ann", {"city": "Oslo"})))
    await world.call(OLD + "im_add_tag", tags(("ann", ["vip"])))
    answer = await world.call("timpush/get_tag", {"To_Account": ["ann"]})
    assert answer == ok(UserTags=[{"To_Account": "ann", "Tags": ["vip"]}])
    answer = await world.call("timpush/get_attr", {"To_Account": ["ann"]})
    assert answer == ok(UserAttrs=[{"To_Account": "ann", "Attrs": {"city": "Oslo"}}])


@pytest.mark.evidence(
    "the older family: unknown accounts left out, any other fault fails the call, no AttrTypes",
)
async def test_names_are_answered_without_types(world: World) -> None:
    assert await world.call(OLD + "im_get_attr_name", {}) == ok(AttrNames={})
    await world.call(OLD + "im_set_attr_name", {"AttrNames": {"0": "a"}, "AttrTypes": {"0": 1}})
    assert await world.call(OLD + "im_get_attr_name", {}) == ok(AttrNames={"0": "a"})
    answer = await world.call("timpush/get_attr_name", {})
    assert answer["AttrTypes"] == {"0": 0}, "AttrTypes is unknown to this family"


async def test_unknown_accounts_are_left_out_without_a_word(world: World) -> None:
    await world.call(OLD + "im_set_attr_name", {"AttrNames": {"0": "city"}})
    both = ["ghost", "ann"]
    assert await world.call(OLD + "im_add_tag", tags(("ghost", ["x"]), ("ann", ["x"]))) == ok()
    answer = await world.call(OLD + "im_get_tag", {"To_Account": both})
    assert answer == ok(UserTags=[{"To_Account": "ann", "Tags": ["x"]}])
    answer = await world.call(OLD + "im_set_attr", attrs(*[(it, {"city": "x"}) for it in both]))
    assert answer == ok()
    answer = await world.call(OLD + "im_get_attr", {"To_Account": both})
    assert answer == ok(UserAttrs=[{"To_Account": "ann", "Attrs": {"city": "x"}}])
    assert await world.call(OLD + "im_remove_attr", attrs(*[(it, ["city"]) for it in both])) == ok()
    assert await world.call(OLD + "im_remove_tag", tags(*[(it, ["x"]) for it in both])) == ok()
    assert await world.call(OLD + "im_remove_all_tags", {"To_Account": both}) == ok()
    answer = await world.call(OLD + "im_get_tag", {"To_Account": ["ghost"]})
    assert answer == ok(UserTags=[])


@pytest.mark.evidence(
    "the older family: unknown accounts left out, any other fault fails the call, no AttrTypes",
    topic="The wire",
    planted="the strictness left out; AttrTypes answered",
)
async def test_another_fault_of_one_account_fails_the_whole_call(world: World) -> None:
    await world.device(DEVICE)
    before = await world.dump(["ann", DEVICE])
    answer = await world.call(OLD + "im_add_tag", tags(("ann", ["mine"]), (DEVICE, ["mine"])))
    assert answer["ErrorCode"] == 90035
    assert await world.dump(["ann", DEVICE]) == before
    await world.call(OLD + "im_set_attr_name", {"AttrNames": {"0": "city"}})
    answer = await world.call(
        OLD + "im_set_attr", attrs(("ann", {"city": "x"}), (DEVICE, {"city": "x"}))
    )
    assert answer["ErrorCode"] == 90035
    assert await world.call("timpush/get_attr", {"To_Account": ["ann"]}) == ok(
        UserAttrs=[{"To_Account": "ann", "Attrs": {}}]
    )


@pytest.mark.evidence(
    "the older family: unknown accounts left out, any other fault fails the call, no AttrTypes",
)
async def test_the_101st_tag_of_a_user_fails_the_whole_call(world: World) -> None:
    hundred = [f"t{number}" for number in range(100)]
    await world.call("timpush/add_tag", {"Replace": 1, **tags(("ann", hundred))})
    answer = await world.call(OLD + "im_add_tag", tags(("bob", ["x"]), ("ann", ["x"])))
    assert answer["ErrorCode"] == 90032
    answer = await world.call("timpush/get_tag", {"To_Account": ["bob"]})
    assert answer["UserTags"][0]["Tags"] == []


async def test_replace_is_unknown_here(world: World) -> None:
    await world.call(OLD + "im_add_tag", tags(("ann", ["x"])))
    assert await world.call(OLD + "im_add_tag", {"Replace": 1, **tags(("ann", ["y"]))}) == ok()
    answer = await world.call(OLD + "im_get_tag", {"To_Account": ["ann"]})
    assert answer["UserTags"][0]["Tags"] == ["x", "y"]


REFUSED: list[tuple[str, Any, int]] = [
    ("im_add_tag", {}, 90001),
    ("im_add_tag", tags(*[("ann", ["x"])] * 101), 90018),
    ("im_add_tag", tags(("ann", [str(number) for number in range(11)])), 90032),
    ("im_add_tag", tags(("ann", [""])), 90040),
    ("im_add_tag", tags(("ann", ["x" * 51])), 90020),
    ("im_get_tag", {"To_Account": []}, 90001),
    ("im_get_tag", {"To_Account": [1]}, 60015),
    ("im_remove_tag", tags(*[("ann", ["x"])] * 101), 90018),
    ("im_remove_all_tags", {"To_Account": ["ann"] * 101}, 90018),
    ("im_set_attr_name", {"AttrNames": {"10": "x"}}, 90033),
    ("im_set_attr_name", {}, 90001),
    ("im_set_attr", attrs(("ann", {"nope": "x"})), 90033),
    ("im_get_attr", {"To_Account": ["ann"] * 101}, 90018),
    ("im_remove_attr", attrs(("ann", ["nope"])), 90033),
]


@pytest.mark.parametrize(("command", "body", "code"), REFUSED)
async def test_a_bad_call_gets_its_code_and_changes_nothing(
    world: World, command: str, body: Any, code: int
) -> None:
    before = await world.dump(["ann"])
    assert (await world.call(OLD + command, body))["ErrorCode"] == code
    assert await world.dump(["ann"]) == before


@pytest.mark.evidence(
    "older shapes: `Identifier`, and the ten older paths, with one limit for both",
)
async def test_the_older_paths_of_the_older_family(world: World) -> None:
    """`openim/im_push` and its nine siblings: the same commands, answers, limits and TaskIds."""
    assert await world.call("openim/im_set_attr_name", {"AttrNames": {"0": "city"}}) == ok()
    assert await world.call("openim/im_get_attr_name", {}) == ok(AttrNames={"0": "city"})
    assert await world.call("openim/im_set_attr", attrs(("ann", {"city": "Oslo"}))) == ok()
    told = await world.call("openim/im_get_attr", {"To_Account": ["ann", "ghost"]})
    assert told == ok(UserAttrs=[{"To_Account": "ann", "Attrs": {"city": "Oslo"}}])
    assert await world.call("openim/im_add_tag", tags(("ann", ["a", "b"]))) == ok()
    assert await world.call("openim/im_remove_tag", tags(("ann", ["a"]))) == ok()
    told = await world.call("openim/im_get_tag", {"To_Account": ["ann"]})
    assert told == ok(UserTags=[{"To_Account": "ann", "Tags": ["b"]}])
    element = {"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}
    body = {"MsgRandom": 7, "MsgBody": [element]}
    pushed = await world.call("openim/im_push", body)
    assert pushed == await world.call(OLD + "im_push", body), "the same push, by either path"
    assert re.fullmatch(r"\d+(_\d+){3}", pushed["TaskId"])
    assert await world.call("openim/im_remove_attr", attrs(("ann", ["city"]))) == ok()
    assert await world.call("openim/im_remove_all_tags", {"To_Account": ["ann"]}) == ok()
    told = await world.call(OLD + "im_get_tag", {"To_Account": ["ann"]})
    assert told == ok(UserTags=[{"To_Account": "ann", "Tags": []}])
    assert (await world.raw("openim/im_push", b"{"))["TaskId"] == ""


@pytest.mark.evidence(
    "older shapes: `Identifier`, and the ten older paths, with one limit for both",
)
async def test_both_paths_share_their_calls_a_second(world: World) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    paths = ("openim/im_get_tag", OLD + "im_get_tag")
    for number in range(100):
        answer = await world.call(paths[number % 2], {"To_Account": ["ann"]})
        assert answer["ErrorCode"] == 0
    for path in paths:
        assert (await world.call(path, {"To_Account": ["ann"]}))["ErrorCode"] == 60007
