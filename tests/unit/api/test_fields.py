"""The fields and codes that docs/commands.md names are those that the commands have."""

from __future__ import annotations

import copy
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from scripts.commands_page import CALLS, record
from tests.unit.api.world import APP, World
from tocsin.api import wire_info
from tocsin.api.commands.field import Field
from tocsin.api.commands.fields import FIELDS
from tocsin.api.commands.info_fields import INFO_FIELDS
from tocsin.api.commands.page import COLUMNS, laid_out, page
from tocsin.api.commands.table import COMMANDS

LIVE = {
    "LaId": "score",
    "Event": "update",
    "ContentState": {},
    "AttributesType": "Match",
    "Attributes": {},
}
EXAMPLES = {command.rpartition("/")[2]: (command, body) for command, body in CALLS}


async def prepared() -> World:
    """A world in which each example has something to work on."""
    world = World()
    await world.open("unlimited", "ann", "bob", "carol")
    names = {"0": "city", "1": "plan", "2": "level"}
    await world.call("timpush/set_attr_name", {"AttrNames": names})
    return world


def example_of(name: str, task_id: str) -> tuple[str, dict[str, Any]]:
    command, body = copy.deepcopy(EXAMPLES[name])
    body.pop("Condition", None)
    if "TaskId" in body:
        body["TaskId"] = task_id
    return command, body


def changed(body: dict[str, Any], path: str, change: Callable[[Any, Any], None]) -> Any:
    """The body after a change of one member, which is given as its container and its key."""
    body = copy.deepcopy(body)
    if path.startswith("Accounts"):
        body = {"Accounts": ["ann"]}
    keys = re.findall(r"\w+|\[\]|\*", path)
    here: Any = body
    for key, following in zip(keys, [*keys[1:], ""], strict=True):
        if key == "*":
            place: Any = next(iter(here), "city")
        else:
            place = 0 if key == "[]" else key
        if not following:
            change(here, place)
        elif key == "[]":
            here[:] = here or [[] if following == "[]" else {}]
        elif place == "LiveActivity":
            here.setdefault(place, copy.deepcopy(LIVE))
        else:
            here.setdefault(place, [] if following == "[]" else {})
        if following:
            here = here[place]
    return body


def put(value: Any) -> Callable[[Any, Any], None]:
    def change(container: Any, key: Any) -> None:
        if isinstance(container, list):
            container[:] = [value]
        else:
            container[key] = value

    return change


def fill(count: int) -> Callable[[Any, Any], None]:
    """Make a list have so many items, all like its first."""

    def change(container: Any, key: Any) -> None:
        items = container.get(key) or ["x"]
        container[key] = [items[0]] * count

    return change


def sized(field: Field, size: int) -> Callable[[Any, Any], None]:
    if field.kind == "list":
        return fill(size)
    return put("x" * size if field.unit else size)


def faults(field: Field) -> Iterator[tuple[Callable[[Any, Any], None], int]]:
    """Changes that a command refuses, each with its code."""
    yield put("x" if "list" in field.kind or field.kind == "object" else {}), field.wrong
    if field.is_needed:
        yield (lambda container, key: container.pop(key)), field.missing or field.wrong
    if field.choices:
        other = 7 if isinstance(field.choices[0], int) else "other"
        yield put(other), field.beyond or field.wrong
    if field.begins:
        yield put("http://example.com/a.png"), field.beyond
    if field.most is not None and field.beyond:
        yield sized(field, field.most + 1), field.beyond
    below = field.empty or field.beyond
    if below and not field.unit and field.most is not None:
        yield put(field.least - 1), below
    elif below and field.least:
        yield sized(field, field.least - 1), below


def good(field: Field) -> Iterator[Callable[[Any, Any], None]]:
    """Changes that are within the bounds."""
    if not field.is_needed and field.name[-1] not in "]*":
        yield lambda container, key: container.pop(key, None)
    yield from (put(choice) for choice in field.choices)
    if field.begins:
        yield put("HTTPS://example.com/a.png")
    if field.most is not None:
        yield sized(field, field.most)
        yield sized(field, field.least)


def fields_of(name: str) -> list[Field]:
    """The fields of a command; for push, with those of OfflinePushInfo."""
    fields = list(FIELDS[name].fields)
    if name == "push":
        prefix = "OfflinePushInfo."
        replace = msgspec.structs.replace
        fields += [replace(each, name=prefix + each.name) for each in INFO_FIELDS]
    return fields


@pytest.mark.evidence(
    "docs/commands.md has the fields of each command with their bounds and codes",
    topic="The wire",
    planted="a bound of 101 accounts; 90001 for an empty tag; a needed field called optional; a "
    "member of OfflinePushInfo left out",
)
@pytest.mark.parametrize("name", FIELDS)
async def test_each_field_has_the_bounds_and_the_codes_that_are_documented(name: str) -> None:
    world = await prepared()
    pushed = await world.call(*example_of("push", ""))
    command, body = example_of(name, pushed["TaskId"])
    wrong = []
    for field in fields_of(name):
        for change, code in faults(field):
            asked = changed(body, field.name, change)
            answer = await world.call(command, asked)
            if answer["ErrorCode"] != code:
                wrong.append((field.name, code, answer, str(asked)[:300]))
        for change in good(field):
            asked = changed(body, field.name, change)
            answer = await world.call(command, asked)
            if answer["ErrorCode"] in field.codes:
                wrong.append((field.name, 0, answer, str(asked)[:300]))
    assert not wrong, "\n".join(map(str, wrong))


def test_each_command_has_its_fields_and_its_example() -> None:
    names = {each.name for each in COMMANDS}
    assert set(FIELDS) == names
    assert set(EXAMPLES) == names


@pytest.mark.evidence("docs/commands.md has the fields of each command with their bounds and codes")
def test_each_member_of_offline_push_info_is_there() -> None:
    below = {
        "MultiLanguageContent": ("[]", wire_info._TRANSLATION),
        "AndroidInfo": ("", wire_info._ANDROID),
        "ApnsInfo": ("", wire_info._APPLE),
        "HarmonyInfo": ("", wire_info._HARMONY),
    }
    read = set(wire_info._TOP)
    read |= {f"{top}{item}.{name}" for top, (item, table) in below.items() for name in table}
    read |= {f"ApnsInfo.LiveActivity.{name}" for name in wire_info._LIVE_ACTIVITY}
    assert {each.name for each in INFO_FIELDS if not each.name.endswith(".*")} == read


# --- codes that are not about one member ----------------------------------------------------

Provoke = Callable[[World], Awaitable[dict[str, Any]]]


def refused(name: str, body: dict[str, Any] | None = None, **facts: Any) -> Provoke:
    """The answer to an example with these members, of an app with these facts."""

    async def provoke(world: World) -> dict[str, Any]:
        if facts:
            await world.operator.app_add(APP, facts)
        command, example = example_of(name, "")
        return await world.call(command, {**example, **(body or {})})

    return provoke


def twice(name: str, body: dict[str, Any] | None = None, **facts: Any) -> Provoke:
    """The answer to the second of two calls, with another MsgRandom."""

    async def provoke(world: World) -> dict[str, Any]:
        await refused(name, body, **facts)(world)
        return await refused(name, {**(body or {}), "MsgRandom": 77})(world)

    return provoke


def recalled(wait_s: float, times: int, **facts: Any) -> Provoke:
    """The answer to the last of so many recalls of one push."""

    async def provoke(world: World) -> dict[str, Any]:
        pushed = await world.call(*example_of("push", ""))
        if facts:
            await world.operator.app_add(APP, facts)
        await world.clock.advance(wait_s)
        answers = [await world.call(*example_of("revoke", pushed["TaskId"])) for _ in range(times)]
        return answers[-1]

    return provoke


def entries(member: str, *said: Any, account: str = "ann") -> dict[str, Any]:
    wrapper = "UserTags" if member == "Tags" else "UserAttrs"
    return {wrapper: [{"To_Account": account, member: each} for each in said]}


DEVICE = "7D2A91E0-58B3-4C0F-9C11-6E1B0A3F2D54"
MANY = [[f"{ten}-{one}" for one in range(10)] for ten in range(11)]
ONE_A_DAY: dict[str, Any] = {"profile": "own", "own_limits": {"pushes_per_day": 1, "push_gap_s": 0}}
TEXT = {"MsgType": "TIMTextElem", "MsgContent": {"Text": "x" * 13_000}}


def with_device(provoke: Provoke) -> Provoke:
    async def after(world: World) -> dict[str, Any]:
        await world.call("timpush/add_tag", entries("Tags", ["of a UserID"]))
        await world.device(DEVICE)
        return await provoke(world)

    return after


def deleted(**facts: Any) -> Provoke:
    async def provoke(world: World) -> dict[str, Any]:
        await world.operator.app_add(APP, facts)
        await refused("account_delete", {"DeleteItem": [{"UserID": "ann"}]})(world)
        return await refused("account_import")(world)

    return provoke


async def grown(world: World) -> dict[str, Any]:
    """The answer to a push whose short body has a long MsgBody: a number grows there."""
    numbers = b",".join([b"1e9"] * 1000)
    content = b'{"MsgType":"TIMTextElem","MsgContent":{"Text":"x","numbers":[' + numbers + b"]}}"
    return await world.raw("timpush/push", b'{"MsgRandom":1,"MsgBody":[' + content + b"]}")


def codes_of_pushes(name: str) -> dict[tuple[str, int], Provoke]:
    both = {"TagsOr": ["a"], "AttrsOr": {"city": "Oslo"}}
    return {
        (name, 90045): refused(name, is_push_enabled=False),
        (name, 93000): refused(name, {"MsgBody": [TEXT]}),
        (name, 90022): refused(name, {"Condition": {"TagsOr": ["a"], "TagsAnd": ["a"]}}),
        (name, 90024): twice(name, profile="compatible"),
        (name, 90033): refused(name, {"Condition": {"AttrsOr": {"nope": "x"}}}),
        (name, 90039): refused(name, {"Condition": both}),
        (name, 90047): twice(name, **ONE_A_DAY),
    }


WHOLE: dict[tuple[str, int], Provoke] = {
    **codes_of_pushes("push"),
    ("push", 93000): grown,
    **codes_of_pushes("im_push"),
    ("batch", 90045): refused("batch", is_push_enabled=False),
    ("batch", 93000): refused("batch", {"MsgBody": [TEXT]}),
    ("revoke", 90049): refused("revoke", {"TaskId": "nope"}),
    ("revoke", 90050): recalled(0, 2),
    ("revoke", 90051): recalled(0, 2, profile="compatible"),
    ("revoke", 90052): recalled(86_401, 1),
    ("set_attr_name", 90033): refused("set_attr_name", {"AttrNames": {"10": "x"}}),
    ("im_set_attr_name", 90033): refused("im_set_attr_name", {"AttrNames": {"10": "x"}}),
    ("set_attr", 90033): refused("set_attr", entries("Attrs", {"nope": "x"})),
    ("im_set_attr", 90033): refused("im_set_attr", entries("Attrs", {"nope": "x"})),
    ("im_set_attr", 90035): with_device(
        refused("im_set_attr", entries("Attrs", {"city": "x"}, account=DEVICE))
    ),
    ("remove_attr", 90033): refused("remove_attr", entries("Attrs", ["nope"])),
    ("im_remove_attr", 90033): refused("im_remove_attr", entries("Attrs", ["nope"])),
    ("im_add_tag", 90032): refused("im_add_tag", entries("Tags", *MANY)),
    ("im_add_tag", 90035): with_device(
        refused("im_add_tag", entries("Tags", ["of a UserID"], account=DEVICE))
    ),
    ("account_import", 70398): refused(
        "account_import", {"UserID": "new"}, profile="own", own_limits={"accounts_max": 1}
    ),
    ("account_import", 70399): deleted(reimport_after_s=60),
    ("account_import", 70402): refused("account_import", {"UserID": DEVICE}),
    ("account_delete", 71000): refused("account_delete", can_delete_accounts=False),
    ("kick", 70107): refused("kick", {"UserID": "eve"}),
}
LISTED: dict[tuple[str, int], Provoke] = {
    ("set_attr", 90035): with_device(
        refused("set_attr", entries("Attrs", {"city": "x"}, account=DEVICE))
    ),
    ("add_tag", 90032): refused("add_tag", entries("Tags", *MANY)),
    ("add_tag", 90035): with_device(
        refused("add_tag", entries("Tags", ["of a UserID"], account=DEVICE))
    ),
    ("remove_attr", 70107): refused("remove_attr", entries("Attrs", ["city"], account="eve")),
    ("remove_tag", 70107): refused("remove_tag", entries("Tags", ["a"], account="eve")),
    ("querystate", 70107): refused("querystate", {"To_Account": ["eve"]}),
    ("account_delete", 70402): refused(
        "account_delete", {"DeleteItem": [{"UserID": "administrator"}]}
    ),
}
"""The examples of the other commands name `eve`, who is no account."""


@pytest.mark.evidence("docs/commands.md has the fields of each command with their bounds and codes")
async def test_each_documented_code_of_a_command_is_answered() -> None:
    documented = {(name, code) for name, body in FIELDS.items() for code in body.codes}
    assert set(WHOLE) == documented
    for (name, code), provoke in WHOLE.items():
        answer = await provoke(await prepared())
        assert answer["ErrorCode"] == code, (name, answer)


async def test_each_documented_code_of_an_account_is_listed() -> None:
    for name, body in FIELDS.items():
        for code in body.listed:
            answer = await LISTED.get((name, code), refused(name))(await prepared())
            items = answer.get("ErrorList") or answer["ResultItem"]
            listed = {item.get("ErrorCode", item.get("ResultCode")) for item in items}
            assert (answer["ErrorCode"], code in listed) == (0, True), (name, code, answer)


# --- the page -------------------------------------------------------------------------------


async def test_the_page_has_each_command_with_its_call_and_says_the_same_each_time() -> None:
    recorded = await record()
    made = page(recorded)
    assert made == page(await record())
    for each in COMMANDS:
        heading = f"| `{each.path}` | `{each.counted_as}` |" if each.counted_as else each.path
        assert heading in made
        assert each.counted_as or f"\n## {each.path}\n\n{each.summary} Rate: {each.rate}." in made


def test_json_is_broken_where_it_is_too_long_and_stays_the_same() -> None:
    value = {"a": ["x" * 30] * 4, "b": {"c": [1, {}], "d": "y" * 80}, "e": [], "f": ""}
    text = laid_out(value)
    assert msgspec.json.decode(text) == value
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert laid_out({"a": [1, 2]}) == '{"a": [1, 2]}'
