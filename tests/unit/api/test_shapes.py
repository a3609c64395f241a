"""Shapes that client libraries send beside the documented ones (docs/compatibility.md)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.world import APP, World, ok
from tocsin.domain.audience import Condition

INFO = {"Title": "t"}


async def tags(world: World, name: str) -> list[str]:
    answer = await world.call("timpush/get_tag", {"To_Account": [name]})
    found: list[str] = answer["UserTags"][0]["Tags"]
    return found


async def attrs(world: World, name: str) -> dict[str, str]:
    answer = await world.call("timpush/get_attr", {"To_Account": [name]})
    found: dict[str, str] = answer["UserAttrs"][0]["Attrs"]
    return found


async def condition_of(world: World, value: Any) -> Condition | None:
    body = {"MsgRandom": 1, "OfflinePushInfo": INFO, "Condition": value}
    answer = await world.call("timpush/push", body)
    await world.clock.advance(1.1)  # within a second it would be the same push again
    task = await world.store.task_by_id(APP, answer["TaskId"])
    assert task is not None, answer
    return task.condition


async def test_condition_as_an_array_of_one(world: World) -> None:
    assert await condition_of(world, [{"TagsOr": ["a"]}]) == Condition(tags_or=("a",))


async def test_condition_as_an_empty_array_is_everyone(world: World) -> None:
    assert await condition_of(world, []) == Condition()


async def test_null_members_are_absent(world: World) -> None:
    value = {"TagsOr": ["a"], "TagsAnd": None, "AttrsOr": None}
    assert await condition_of(world, value) == Condition(tags_or=("a",))
    body = {
        "From_Account": None,
        "To_Account": ["ann"],
        "MsgRandom": 1,
        "OfflinePushInfo": {"Title": "t", "ApnsInfo": None, "BadgeAddNum": None},
        "DataId": None,
        "Condition": None,
    }
    assert (await world.call("timpush/batch", body))["ErrorCode"] == 0
    tagged = {"Replace": None, "UserTags": [{"To_Account": "ann", "Tags": ["x"]}]}
    assert await world.call("timpush/add_tag", tagged) == ok()
    assert await condition_of(world, None) == Condition()


async def test_an_empty_array_for_an_empty_object(world: World) -> None:
    """PHP writes an empty array for an empty object."""
    assert await world.raw("timpush/get_attr_name", b"[]") == ok(AttrNames={}, AttrTypes={})
    assert await world.raw("all_member_push/im_get_attr_name", b"[]") == ok(AttrNames={})
    assert await condition_of(world, {"AttrsAnd": [], "AttrsOr": []}) == Condition()
    info = {"Title": "t", "AndroidInfo": [], "ApnsInfo": [], "HarmonyInfo": []}
    body = {"To_Account": ["ann"], "MsgRandom": 1, "OfflinePushInfo": info}
    assert (await world.call("timpush/batch", body))["ErrorCode"] == 0
    body = {"UserAttrs": [{"To_Account": "ann", "Attrs": []}]}
    assert await world.call("timpush/set_attr", body) == ok()


async def test_attr_names_as_a_list(world: World) -> None:
    body = {"AttrNames": ["city", None, "plan"], "AttrTypes": [0, None, 1]}
    assert await world.call("timpush/set_attr_name", body) == ok()
    answer = await world.call("timpush/get_attr_name", {})
    assert answer == ok(AttrNames={"0": "city", "2": "plan"}, AttrTypes={"0": 0, "2": 1})
    assert (await world.call("timpush/set_attr_name", {"AttrNames": ["x"] * 11}))["ErrorCode"]


@pytest.mark.parametrize("family", ["timpush/", "all_member_push/im_"])
async def test_flat_tags(world: World, family: str) -> None:
    flat = {"To_Account": "ann", "Tags": ["x", "y"]}
    assert await world.call(family + "add_tag", flat) == ok()
    assert await tags(world, "ann") == ["x", "y"]
    flat = {"To_Account": "ann", "Tags": ["x"]}
    assert await world.call(family + "remove_tag", flat) == ok()
    several = {"To_Account": ["bob", "carl"], "Tags": ["z"]}
    assert await world.call(family + "add_tag", several) == ok()
    assert [await tags(world, it) for it in ("ann", "bob", "carl")] == [["y"], ["z"], ["z"]]


@pytest.mark.parametrize("family", ["timpush/", "all_member_push/im_"])
async def test_flat_attrs(world: World, family: str) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"0": "city"}})
    flat = {"To_Account": "ann", "Attrs": {"city": "Oslo"}}
    assert await world.call(family + "set_attr", flat) == ok()
    assert await attrs(world, "ann") == {"city": "Oslo"}
    assert (
        await world.call(family + "remove_attr", {"To_Account": "ann", "Attrs": ["city"]}) == ok()
    )
    assert await attrs(world, "ann") == {}


async def test_wrapper_keys_tags_and_attrs(world: World) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"0": "city"}})
    body: dict[str, Any] = {"Tags": [{"To_Account": "ann", "Tags": ["x"]}]}
    assert await world.call("all_member_push/im_add_tag", body) == ok()
    assert await tags(world, "ann") == ["x"]
    body = {"Attrs": [{"To_Account": "ann", "Attrs": {"city": "Oslo"}}]}
    assert await world.call("all_member_push/im_set_attr", body) == ok()
    assert await attrs(world, "ann") == {"city": "Oslo"}


async def test_attrs_as_an_object_in_remove_attr(world: World) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"0": "city"}})
    await world.call("timpush/set_attr", {"To_Account": "ann", "Attrs": {"city": "Oslo"}})
    body = {"UserAttrs": [{"To_Account": "ann", "Attrs": {"city": "whatever"}}]}
    assert await world.call("timpush/remove_attr", body) == ok()
    assert await attrs(world, "ann") == {}


async def test_numbers_as_attribute_values_are_kept_as_text(world: World) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"0": "age", "1": "score", "2": "x"}})
    said = {"age": 42, "score": 1.5, "x": None}
    body = {"UserAttrs": [{"To_Account": "ann", "Attrs": said}]}
    assert await world.call("timpush/set_attr", body) == ok()
    assert await attrs(world, "ann") == {"age": "42", "score": "1.5"}
    wanted = Condition(attrs_and=(("attr0", "42"),))
    assert await condition_of(world, {"AttrsAnd": {"age": 42}}) == wanted


async def test_vivo_members_as_text(world: World) -> None:
    info = {"Title": "t", "AndroidInfo": {"VIVOClassification": "0", "VIVONotifyType": "1"}}
    body = {"To_Account": ["ann"], "MsgRandom": 1, "OfflinePushInfo": info}
    answer = await world.call("timpush/batch", body)
    task = await world.store.task_by_id(APP, answer["TaskId"])
    assert task is not None
    assert task.message.android.vivo_classification == 0
    assert task.message.android.vivo_notify_type == 1


async def test_extra_members_are_ignored(world: World) -> None:
    body = {"To_Account": ["ann"], "SyncOtherMachine": 2, "": {"a": []}}
    assert (await world.call("timpush/get_tag", body))["ErrorCode"] == 0


@pytest.mark.evidence(
    "older shapes: `Identifier`, and the ten older paths, with one limit for both",
    topic="Strangers and browsers",
    planted="`Identifier` not read; a limit for each path",
)
async def test_identifier_for_user_id(world: World) -> None:
    assert await world.call("im_open_login_svc/account_import", {"Identifier": "eve"}) == ok()
    both = {"UserID": "zoe", "Identifier": "not this one", "Nick": "n"}
    assert await world.call("im_open_login_svc/account_import", both) == ok()
    answer = await world.call("im_open_login_svc/kick", {"Identifier": "eve"})
    assert answer == ok()
    asked = {"CheckItem": [{"UserID": name} for name in ("eve", "zoe", "not this one")]}
    answer = await world.call("im_open_login_svc/account_check", asked)
    states = [item["AccountStatus"] for item in answer["ResultItem"]]
    assert states == ["Imported", "Imported", "NotImported"]
    for command in ("account_import", "kick"):
        for body, code in (({"Identifier": 7}, 60015), ({"Identifier": ""}, 70402), ({}, 70402)):
            answer = await world.call(f"im_open_login_svc/{command}", body)
            assert answer["ErrorCode"] == code, (command, body)
    answer = await world.call("im_open_login_svc/kick", {"Identifier": "nobody"})
    assert answer["ErrorCode"] == 70107
