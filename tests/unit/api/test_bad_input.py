"""Bad input without end: whatever is sent, an envelope with a documented code comes back, and a
refused call has changed nothing. The memory store is the model."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.api.world import World, world_of
from tocsin.api.commands.table import COMMANDS, Command
from tocsin.errors import TEXTS

NAMES = ["ann", "bob", "carl"]
TASK_COMMANDS = ("push", "batch", "im_push")

account = st.one_of(
    st.sampled_from([*NAMES, "ghost", "REG-1", "", "x" * 40, "né"]), st.integers(), st.none()
)
tag = st.one_of(
    st.sampled_from(["a", "b", "", "x" * 50, "x" * 51, "é" * 25, "é" * 26, "\x00", "😀" * 13]),
    st.integers(),
    st.none(),
)
scalar = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text()
)
anything = st.recursive(
    scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
attrs = st.one_of(
    st.dictionaries(st.sampled_from(["city", "plan", "nope", ""]), st.one_of(tag, anything)),
    st.lists(st.sampled_from(["city", "plan", "nope"]), max_size=3),
    anything,
)
tags = st.one_of(st.lists(tag, max_size=12), anything)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "To_Account": st.one_of(st.lists(account, max_size=8), account, st.just(["ann"] * 501)),
    "Tags": tags,
    "Attrs": attrs,
    "UserTags": st.one_of(
        st.lists(st.fixed_dictionaries({"To_Account": account, "Tags": tags}), max_size=5),
        st.just([{"To_Account": "ann", "Tags": ["a"]}] * 101),
        anything,
    ),
    "UserAttrs": st.one_of(
        st.lists(st.fixed_dictionaries({"To_Account": account, "Attrs": attrs}), max_size=5),
        anything,
    ),
    "Replace": st.one_of(st.integers(-1, 2), anything),
    "AttrNames": st.one_of(
        st.dictionaries(st.sampled_from([*"01239", "10", "x"]), tag, max_size=4), anything
    ),
    "AttrTypes": st.one_of(
        st.dictionaries(st.sampled_from([*"0129", "10"]), st.integers(-1, 2), max_size=3), anything
    ),
    "From_Account": account,
    "MsgRandom": st.one_of(st.integers(-1, 2**32), anything),
    "MsgLifeTime": st.one_of(st.integers(-1, 604_801), anything),
    "DataId": st.one_of(st.text(max_size=70), anything),
    "TaskId": st.one_of(st.text(max_size=70), anything),
    "Condition": st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                "TagsOr": tags,
                "TagsAnd": tags,
                "TagsNot": tags,
                "AttrsOr": attrs,
                "AttrsAnd": attrs,
            },
        ),
        anything,
    ),
    "OfflinePushInfo": st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                "Title": st.one_of(st.text(), anything),
                "Desc": st.text(),
                "PushFlag": st.one_of(st.integers(-1, 2), anything),
                "BadgeAddNum": st.one_of(st.integers(0, 100), anything),
                "AndroidInfo": anything,
                "ApnsInfo": anything,
                "MultiLanguageContent": anything,
            },
        ),
        anything,
    ),
    "MsgBody": st.one_of(
        st.just([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}]), anything
    ),
    "UserID": account,
    "Nick": st.one_of(st.text(max_size=10), st.just("x" * 501), anything),
    "Accounts": st.one_of(st.lists(account, max_size=5), anything),
    "AccountList": st.one_of(
        st.lists(st.fixed_dictionaries({"UserID": account, "Nick": tag}), max_size=4), anything
    ),
    "DeleteItem": st.one_of(
        st.lists(st.fixed_dictionaries({"UserID": account}), max_size=4), anything
    ),
    "CheckItem": st.one_of(
        st.lists(st.fixed_dictionaries({"UserID": account}), max_size=4), anything
    ),
    "IsNeedDetail": st.one_of(st.integers(-1, 2), anything),
}
bodies = st.one_of(st.fixed_dictionaries({}, optional=MEMBERS), anything)
commands = st.sampled_from(COMMANDS)


async def prepared() -> World:
    world = World()
    await world.open("unlimited", *NAMES)
    await world.call("timpush/set_attr_name", {"AttrNames": {"0": "city", "1": "plan"}})
    await world.device("REG-1", "ann")
    await world.call("timpush/add_tag", {"To_Account": "ann", "Tags": ["a"]})
    return world


async def judge(world: World, command: Command, raw: bytes) -> None:
    before = await world.dump([*NAMES, "REG-1"])
    answer = await world.raw(f"{command.service}/{command.name}", raw)
    code = answer["ErrorCode"]
    assert code == 0 or code in TEXTS, answer
    assert code != 91000, answer
    assert ("TaskId" in answer) == (command.name in TASK_COMMANDS), answer
    if code:
        assert answer.get("TaskId", "") == ""
        assert "ErrorList" not in answer
        assert await world.dump([*NAMES, "REG-1"]) == before, answer


def named(name: str) -> Command:
    return next(each for each in COMMANDS if each.name == name)


def rows(wrapper: str, member: str, *said: Any) -> Any:
    """Entries of one account, the last of which is at fault."""
    return {wrapper: [{"To_Account": "ann", member: each} for each in said]}


@pytest.mark.evidence(
    "a refused call changes nothing",
    topic="The wire",
    planted="tags applied before the call was judged whole",
)
@settings(max_examples=250)
@given(command=commands, body=bodies)
@example(command=named("add_tag"), body=rows("UserTags", "Tags", ["b"], [""]))
@example(command=named("remove_tag"), body=rows("UserTags", "Tags", ["a"], [""]))
@example(command=named("set_attr"), body=rows("UserAttrs", "Attrs", {"city": "b"}, {"nope": "b"}))
@example(command=named("im_add_tag"), body=rows("UserTags", "Tags", ["b"], ["x" * 51]))
def test_a_refused_call_changes_nothing(command: Command, body: Any) -> None:
    async def run() -> None:
        world = await prepared()
        await judge(world, command, msgspec.json.encode(body))

    asyncio.run(run())


@settings(max_examples=25)
@given(calls=st.lists(st.tuples(commands, bodies), max_size=12))
def test_nor_in_a_row_of_calls(calls: list[tuple[Command, Any]]) -> None:
    async def run() -> None:
        world = await prepared()
        for command, body in calls:
            await judge(world, command, msgspec.json.encode(body))

    asyncio.run(run())


@settings(max_examples=100)
@given(command=commands, raw=st.binary(max_size=200))
def test_bytes_that_are_no_json(command: Command, raw: bytes) -> None:
    world = world_of()
    asyncio.run(judge(world, command, raw))


@settings(max_examples=100)
@given(query=st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode)))
def test_query_strings_of_any_kind(query: bytes) -> None:
    world = world_of()

    async def run() -> None:
        text = query.decode("latin-1")
        answer = await world.raw("timpush/get_tag", query=text)
        assert answer["ErrorCode"] in TEXTS

    asyncio.run(run())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
async def test_every_command_refuses_bad_json_with_its_code(command: Command) -> None:
    world = World()
    await world.open()
    for raw in (b"", b"{", b"7", b"\xff\xfe"):
        answer = await world.raw(f"{command.service}/{command.name}", raw)
        assert answer["ErrorCode"] == command.bad_json
