"""The four tag commands of timpush, row by row of their pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.world import World, failed, ok

SERVICE = "timpush/"


def rows(*entries: tuple[str, list[str]]) -> dict[str, Any]:
    return {"UserTags": [{"To_Account": name, "Tags": tags} for name, tags in entries]}


async def tags_of(world: World, *names: str) -> list[list[str]]:
    answer = await world.call(SERVICE + "get_tag", {"To_Account": list(names)})
    return [each["Tags"] for each in answer["UserTags"]]


@pytest.mark.evidence(
    "the seed page's sample gets its sample answer",
    topic="The wire",
    planted="tags sorted instead of in the order added",
)
@pytest.mark.evidence("ErrorList names who failed, and is absent where nobody did")
async def test_the_seed_pages_sample_request_gets_its_sample_answer(world: World) -> None:
    names = ["xiaoming", "xiaohong"]
    await world.call("im_open_login_svc/multiaccount_import", {"Accounts": names})
    await world.call(
        SERVICE + "add_tag",
        rows(
            ("xiaoming", ["GoldMember", "WeekPassUser"]),
            ("xiaohong", ["PlatinumMember", "MonthPassUser"]),
        ),
    )
    answer = await world.raw(
        SERVICE + "get_tag", b'{\n"To_Account": [\n"xiaoming",\n"xiaohong"\n]\n}'
    )
    assert answer == {
        "ActionStatus": "OK",
        "ErrorInfo": "",
        "ErrorCode": 0,
        "UserTags": [
            {"To_Account": "xiaoming", "Tags": ["GoldMember", "WeekPassUser"]},
            {"To_Account": "xiaohong", "Tags": ["PlatinumMember", "MonthPassUser"]},
        ],
    }


async def test_a_user_without_tags_has_an_empty_list(world: World) -> None:
    answer = await world.call(SERVICE + "get_tag", {"To_Account": ["ann"]})
    assert answer == ok(UserTags=[{"To_Account": "ann", "Tags": []}])


async def test_unknown_accounts_are_listed_and_the_others_served(world: World) -> None:
    answer = await world.call(SERVICE + "get_tag", {"To_Account": ["bob", "ghost", "ann"]})
    assert [each["To_Account"] for each in answer["UserTags"]] == ["bob", "ann"]
    assert answer["ErrorList"] == failed(("ghost", 70107))


@pytest.mark.evidence("ErrorList names who failed, and is absent where nobody did")
async def test_all_unknown_is_still_ok(world: World) -> None:
    for command, body in [
        ("get_tag", {"To_Account": ["g1", "g2"]}),
        ("add_tag", rows(("g1", ["x"]), ("g2", ["x"]))),
        ("remove_tag", rows(("g1", ["x"]), ("g2", ["x"]))),
        ("clear_all_tags", {"To_Account": ["g1", "g2"]}),
    ]:
        answer = await world.call(SERVICE + command, body)
        assert answer["ErrorCode"] == 0
        assert answer["ErrorList"] == failed(("g1", 70107), ("g2", 70107)), command


async def test_tags_stand_in_the_order_first_added(world: World) -> None:
    await world.call(SERVICE + "add_tag", rows(("ann", ["c", "a"])))
    await world.call(SERVICE + "add_tag", rows(("ann", ["b", "a", "c"])))
    assert await tags_of(world, "ann") == [["c", "a", "b"]]


async def test_an_account_named_twice_is_changed_in_order_and_answered_twice(world: World) -> None:
    answer = await world.call(
        SERVICE + "add_tag", rows(("ann", ["x"]), ("ann", ["y"]), ("no", ["x"]), ("no", ["y"]))
    )
    assert answer["ErrorList"] == failed(("no", 70107), ("no", 70107))
    assert await tags_of(world, "ann", "ann") == [["x", "y"], ["x", "y"]]


async def test_replace_overwrites_and_an_empty_list_clears(world: World) -> None:
    await world.call(SERVICE + "add_tag", rows(("ann", ["old", "kept"])))
    answer = await world.call(
        SERVICE + "add_tag", {"Replace": 1, **rows(("ann", ["kept", "new"]), ("bob", []))}
    )
    assert answer == ok()
    assert await tags_of(world, "ann", "bob") == [["kept", "new"], []]


async def test_removing_what_is_absent_is_ok(world: World) -> None:
    await world.call(SERVICE + "add_tag", rows(("ann", ["x", "y"])))
    assert await world.call(SERVICE + "remove_tag", rows(("ann", ["y", "z"]))) == ok()
    assert await tags_of(world, "ann") == [["x"]]


async def test_clear_all_tags_clears(world: World) -> None:
    await world.call(SERVICE + "add_tag", rows(("ann", ["x"]), ("bob", ["y"])))
    assert await world.call(SERVICE + "clear_all_tags", {"To_Account": ["ann", "bob"]}) == ok()
    assert await tags_of(world, "ann", "bob") == [[], []]


async def test_a_tag_belongs_to_one_account_type(world: World) -> None:
    await world.device("5B1E0C44-7A0F-4D6B-9E21-0F3C2B7D9A10")
    device = "5B1E0C44-7A0F-4D6B-9E21-0F3C2B7D9A10"
    answer = await world.call(
        SERVICE + "add_tag", rows(("ann", ["mine"]), (device, ["mine"]), (device, ["its"]))
    )
    assert answer["ErrorList"] == failed((device, 90035))
    assert await tags_of(world, "ann", device) == [["mine"], ["its"]]


async def test_the_101st_tag_of_a_user_fails_that_user_only(world: World) -> None:
    hundred = [f"t{number}" for number in range(100)]
    assert await world.call(SERVICE + "add_tag", {"Replace": 1, **rows(("ann", hundred))}) == ok()
    answer = await world.call(SERVICE + "add_tag", rows(("ann", ["more"]), ("bob", ["more"])))
    assert answer["ErrorList"] == failed(("ann", 90032))
    assert await tags_of(world, "ann", "bob") == [hundred, ["more"]]


async def test_the_1001st_tag_of_an_app_fails_and_only_carried_tags_count(world: World) -> None:
    names = [f"u{number}" for number in range(10)]
    await world.call("im_open_login_svc/multiaccount_import", {"Accounts": names})
    for turn, name in enumerate(names):
        tags = [f"t{turn}-{number}" for number in range(100)]
        assert await world.call(SERVICE + "add_tag", {"Replace": 1, **rows((name, tags))}) == ok()
    more = rows(("ann", ["one more"]))
    answer = await world.call(SERVICE + "add_tag", more)
    assert answer["ErrorList"] == failed(("ann", 90032))
    await world.call(SERVICE + "remove_tag", rows(("u0", ["t0-0"])))
    assert await world.call(SERVICE + "add_tag", more) == ok()


LONG = "x" * 51
LONG_IN_BYTES = "é" * 25 + "x"

REFUSED: list[tuple[str, Any, int, str]] = [
    ("get_tag", {}, 90001, "To_Account"),
    ("get_tag", {"To_Account": None}, 90001, "To_Account"),
    ("get_tag", {"To_Account": "ann"}, 90001, "To_Account"),
    ("get_tag", {"To_Account": []}, 90001, "To_Account"),
    ("get_tag", {"To_Account": {}}, 90001, "To_Account"),
    ("get_tag", {"To_Account": ["ann"] * 101}, 90018, ""),
    ("get_tag", {"To_Account": ["ann", 5]}, 60015, ""),
    ("get_tag", {"To_Account": [None]}, 60015, ""),
    ("clear_all_tags", {"To_Account": ["ann"] * 101}, 90018, ""),
    ("clear_all_tags", {"To_Account": [["ann"]]}, 60015, ""),
    ("clear_all_tags", {}, 90001, "To_Account"),
    ("add_tag", {}, 90001, "UserTags"),
    ("add_tag", {"UserTags": []}, 90001, "UserTags"),
    ("add_tag", {"UserTags": "x"}, 90001, "UserTags"),
    ("add_tag", {"UserTags": ["x"]}, 90001, "UserTags"),
    ("add_tag", {"UserTags": [{"Tags": ["x"]}]}, 90001, "To_Account"),
    ("add_tag", {"UserTags": [{"To_Account": 1, "Tags": ["x"]}]}, 60015, ""),
    ("add_tag", {"UserTags": [{"To_Account": "ann"}]}, 90001, "Tags"),
    ("add_tag", {"UserTags": [{"To_Account": "ann", "Tags": "x"}]}, 90001, "Tags"),
    ("add_tag", {"UserTags": [{"To_Account": "ann", "Tags": ["x", 1]}]}, 90001, "Tags"),
    ("add_tag", rows(*[("ann", ["x"])] * 101), 90018, ""),
    ("add_tag", rows(("ann", ["ok"]), ("bob", [""])), 90040, ""),
    ("add_tag", rows(("ann", ["ok"]), ("bob", [LONG])), 90020, ""),
    ("add_tag", rows(("ann", [LONG_IN_BYTES])), 90020, ""),
    ("add_tag", rows(("ann", [f"t{number}" for number in range(11)])), 90032, ""),
    ("add_tag", {"Replace": 1, **rows(("ann", [str(it) for it in range(101)]))}, 90032, ""),
    ("add_tag", {"Replace": 2, **rows(("ann", ["x"]))}, 90001, "Replace"),
    ("add_tag", {"Replace": "1", **rows(("ann", ["x"]))}, 90001, "Replace"),
    ("add_tag", {"Replace": True, **rows(("ann", ["x"]))}, 90001, "Replace"),
    ("remove_tag", rows(("ann", [""])), 90040, ""),
    ("remove_tag", rows(("ann", [LONG])), 90020, ""),
    ("remove_tag", rows(*[("ann", ["x"])] * 101), 90018, ""),
    ("remove_tag", {"UserTags": [{"To_Account": "ann", "Tags": None}]}, 90001, "Tags"),
]


@pytest.mark.evidence(
    "texts are limited in bytes, not in letters",
    topic="The wire",
    planted="50 letters of two bytes allowed",
)
@pytest.mark.parametrize(("command", "body", "code", "field"), REFUSED)
async def test_a_bad_call_gets_its_code_and_changes_nothing(
    world: World, command: str, body: Any, code: int, field: str
) -> None:
    before = await world.dump(["ann", "bob"])
    answer = await world.call(SERVICE + command, body)
    assert answer["ErrorCode"] == code
    if field:
        assert answer["ErrorInfo"] == f"Invalid format of {field}"
    assert answer.keys() == {"ActionStatus", "ErrorInfo", "ErrorCode"}
    assert await world.dump(["ann", "bob"]) == before


async def test_fifty_bytes_and_a_hundred_accounts_are_allowed(world: World) -> None:
    assert await world.call(SERVICE + "add_tag", rows(("ann", ["é" * 25]))) == ok()
    answer = await world.call(SERVICE + "get_tag", {"To_Account": ["ann"] * 100})
    assert len(answer["UserTags"]) == 100
