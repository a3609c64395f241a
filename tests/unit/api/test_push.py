"""push, batch, revoke and im_push: fields, limits, codes and the order in which they are judged."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.api.world import ADMIN, APP, World, failed, ok
from tocsin.domain.audience import Condition
from tocsin.domain.task import Task

PUSH = "timpush/push"
BATCH = "timpush/batch"
REVOKE = "timpush/revoke"
IM_PUSH = "all_member_push/im_push"
INFO = {"Title": "Hello", "Desc": "World"}
TEXT = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}]


def push_of(**more: Any) -> dict[str, Any]:
    return {"From_Account": "ops", "MsgRandom": 7, "OfflinePushInfo": INFO, **more}


def batch_of(**more: Any) -> dict[str, Any]:
    return push_of(To_Account=["ann", "bob"], **more)


def im_push_of(**more: Any) -> dict[str, Any]:
    return {"MsgRandom": 7, "MsgBody": TEXT, **more}


async def task_of(world: World, answer: dict[str, Any]) -> Task:
    task = await world.store.task_by_id(APP, answer["TaskId"])
    assert task is not None
    return task


async def test_push_answers_a_task_id_of_five_hex_groups(world: World) -> None:
    answer = await world.call(PUSH, push_of(DataId="p-1"))
    assert answer == ok(TaskId=answer["TaskId"])
    groups = answer["TaskId"].split("_")
    assert all(re.fullmatch("[0-9a-f]+", group) for group in groups)
    assert int(groups[0], 16) == int(world.clock.now())
    assert int(groups[1], 16) == APP
    assert groups[2].startswith("2000")
    assert int(groups[4], 16) == 7
    task = await task_of(world, answer)
    assert (task.kind, task.sender, task.data_id) == ("push", "ops", "p-1")
    assert (task.message.title, task.message.desc) == ("Hello", "World")
    assert task.condition == Condition()


@pytest.mark.evidence(
    "ErrorList names who failed, and is absent where nobody did",
    topic="The wire",
    planted="unknown accounts of a batch left out; an unknown account refusing the call; an"
    " empty list shown",
)
async def test_batch_answers_its_prefix_and_the_unknown(world: World) -> None:
    accounts = ["ann", "ghost", "bob", "ghost", "ann"]
    answer = await world.call(BATCH, push_of(To_Account=accounts))
    assert answer["TaskId"].startswith("batch_")
    assert len(answer["TaskId"].split("_")) == 6
    assert answer["ErrorList"] == failed(("ghost", 70107), ("ghost", 70107))
    task = await task_of(world, answer)
    assert len(await world.store.audience(APP, task.number)) == 2


async def test_a_batch_to_unknown_accounts_only_is_ok_with_a_task(world: World) -> None:
    answer = await world.call(BATCH, push_of(To_Account=["g1", "g2"]))
    assert answer["ErrorCode"] == 0
    assert answer["TaskId"].startswith("batch_")
    assert answer["ErrorList"] == failed(("g1", 70107), ("g2", 70107))


async def test_im_push_answers_four_decimal_groups(world: World) -> None:
    answer = await world.call(IM_PUSH, im_push_of(MsgLifeTime=60))
    groups = answer["TaskId"].split("_")
    assert all(group.isdecimal() for group in groups)
    assert len(groups) == 4
    assert int(groups[0]) == APP
    task = await task_of(world, answer)
    assert (task.sender, task.ttl_s, task.message.desc) == (ADMIN, 60, "hi")


async def test_the_sender_may_be_absent_or_unknown(world: World) -> None:
    for sender, booked in [({}, ADMIN), ({"From_Account": "nobody"}, "nobody")]:
        body = {**push_of(), **sender}
        if not sender:
            del body["From_Account"]
        assert (await task_of(world, await world.call(PUSH, body))).sender == booked
        await world.clock.advance(2)


async def test_conditions_reach_the_task(world: World) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"3": "city"}})
    for condition, wanted in [
        ({}, Condition()),
        ({"TagsOr": ["a", "b", "a"]}, Condition(tags_or=("a", "b"))),
        (
            {"TagsOr": ["a"], "TagsAnd": ["b"], "TagsNot": ["c"]},
            Condition(tags_or=("a",), tags_and=("b",), tags_not=("c",)),
        ),
        ({"TagsNot": ["a"], "TagsAnd": []}, Condition(tags_not=("a",))),
        (
            {"AttrsOr": {"city": "Oslo"}, "AttrsAnd": {"city": 5}},
            Condition(attrs_or=(("attr3", "Oslo"),), attrs_and=(("attr3", "5"),)),
        ),
    ]:
        answer = await world.call(PUSH, push_of(Condition=condition))
        assert (await task_of(world, answer)).condition == wanted
        await world.clock.advance(2)


LONG = "x" * 51
ELEVEN = [str(number) for number in range(11)]
CONDITIONS: list[tuple[Any, int]] = [
    ("x", 90001),
    (5, 90001),
    ([{}, {}], 90001),
    ({"TagsOr": "a"}, 90001),
    ({"TagsOr": [1]}, 90001),
    ({"TagsOr": {"a": 1}}, 90001),
    ({"AttrsAnd": "x"}, 90001),
    ({"AttrsAnd": ["x"]}, 90001),
    ({"AttrsAnd": {"city": ["Oslo"]}}, 90001),
    ({"TagsOr": [LONG]}, 90020),
    ({"TagsNot": ["é" * 26]}, 90020),
    ({"TagsOr": ["a"], "TagsAnd": ["b", "a"]}, 90022),
    ({"TagsOr": ELEVEN}, 90032),
    ({"TagsAnd": ELEVEN}, 90032),
    ({"TagsNot": ELEVEN}, 90032),
    ({"AttrsOr": {"nope": "x"}}, 90033),
    ({"AttrsAnd": {"city": LONG}}, 90033),
    ({"TagsOr": ["a"], "AttrsAnd": {"city": "x"}}, 90039),
    ({"TagsNot": ["a"], "AttrsOr": {"nope": "x"}}, 90039),
    ({"TagsAnd": ["a", ""]}, 90040),
]
ELEMENTS: list[tuple[Any, int]] = [
    ("x", 90007),
    ({}, 90007),
    (["x"], 90010),
    ([{}], 90010),
    ([{"MsgType": "TIMTextElem"}], 90010),
    ([{"MsgType": "TIMTextElem", "MsgContent": {"Text": 5}}], 90010),
    ([{"MsgType": "TIMNopeElem", "MsgContent": {}}], 90010),
    ([{"MsgType": 5, "MsgContent": {}}], 90010),
    ([{"MsgType": "TIMFaceElem", "MsgContent": {"Index": True}}], 90010),
    ([{"MsgType": "TIMCustomElem", "MsgContent": {}}] * 2, 90010),
]

RANDOMS: list[Any] = ["7", 1.5, True, [], -1, 2**32, None]

REFUSED: list[tuple[str, Any, int, str]] = [
    (PUSH, push_of(From_Account=5), 60015, ""),
    (PUSH, {"OfflinePushInfo": INFO}, 90005, ""),
    *((PUSH, push_of(MsgRandom=it), 90005, "") for it in RANDOMS),
    (PUSH, {"MsgRandom": 1}, 90043, ""),
    (PUSH, push_of(OfflinePushInfo="x"), 90043, ""),
    (PUSH, push_of(DataId=5), 90001, "DataId"),
    (PUSH, push_of(DataId="x" * 65), 90057, ""),
    (PUSH, push_of(DataId="é" * 33), 90057, ""),
    (PUSH, push_of(OnlineOnlyFlag=2), 90001, "OnlineOnlyFlag"),
    *((PUSH, push_of(Condition=condition), code, "") for condition, code in CONDITIONS),
    *((PUSH, push_of(MsgBody=elements), code, "") for elements, code in ELEMENTS),
    (BATCH, push_of(), 90001, "To_Account"),
    (BATCH, push_of(To_Account="ann"), 90001, "To_Account"),
    (BATCH, push_of(To_Account=[]), 90029, ""),
    (BATCH, push_of(To_Account=["ann"] * 501), 90011, ""),
    (BATCH, push_of(To_Account=["ann", 5]), 60015, ""),
    (BATCH, batch_of(From_Account={}), 60015, ""),
    *((BATCH, batch_of(MsgRandom=it), 90001, "MsgRandom") for it in RANDOMS),
    (BATCH, {"To_Account": ["ann"], "OfflinePushInfo": INFO}, 90001, "MsgRandom"),
    (BATCH, {"To_Account": ["ann"], "MsgRandom": 1}, 90043, ""),
    (BATCH, batch_of(DataId="x" * 65), 90057, ""),
    (BATCH, batch_of(OfflinePushInfo=[1]), 90043, ""),
    (IM_PUSH, {"MsgRandom": 1}, 90002, ""),
    (IM_PUSH, im_push_of(MsgBody=[]), 90002, ""),
    (IM_PUSH, {"MsgBody": TEXT}, 90005, ""),
    (IM_PUSH, im_push_of(MsgLifeTime="60"), 90044, ""),
    (IM_PUSH, im_push_of(MsgLifeTime=-1), 90026, ""),
    (IM_PUSH, im_push_of(MsgLifeTime=604_801), 90026, ""),
    (IM_PUSH, im_push_of(OfflinePushInfo=5), 90043, ""),
    (IM_PUSH, im_push_of(From_Account=5), 60015, ""),
    *((IM_PUSH, im_push_of(Condition=condition), code, "") for condition, code in CONDITIONS),
    *((IM_PUSH, im_push_of(MsgBody=elements), code, "") for elements, code in ELEMENTS),
]


@pytest.mark.evidence(
    "batch takes 1 to 500 accounts: 90029, 90011",
    topic="The wire",
    planted="501 allowed; none told as 90001; 500 refused",
)
@pytest.mark.parametrize(("command", "body", "code", "field"), REFUSED)
async def test_a_bad_push_gets_its_code_an_empty_task_id_and_changes_nothing(
    world: World, command: str, body: Any, code: int, field: str
) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"3": "city"}})
    before = await world.dump()
    answer = await world.call(command, body)
    assert answer["ErrorCode"] == code
    if field:
        assert answer["ErrorInfo"] == f"Invalid format of {field}"
    assert answer["TaskId"] == ""
    assert await world.dump() == before


@pytest.mark.evidence("batch takes 1 to 500 accounts: 90029, 90011")
async def test_limits_of_the_pages_are_allowed(world: World) -> None:
    await world.call("timpush/set_attr_name", {"AttrNames": {"3": "city"}})
    ten = [f"{number}" * 10 for number in range(10)]
    for command, body in [
        (PUSH, push_of(MsgRandom=2**32 - 1, DataId="x" * 64, Condition={"TagsOr": ten})),
        (PUSH, push_of(MsgRandom=0, Condition={"AttrsOr": {"city": "x" * 50}})),
        (BATCH, push_of(To_Account=["ann"] * 500)),
        (IM_PUSH, im_push_of(MsgLifeTime=604_800)),
    ]:
        assert (await world.call(command, body))["ErrorCode"] == 0
        await world.clock.advance(2)


async def test_message_elements_become_text_where_none_is_given(world: World) -> None:
    elements = [
        *TEXT,
        {"MsgType": "TIMImageElem", "MsgContent": {"UUID": "1"}},
        {"MsgType": "TIMCustomElem", "MsgContent": {"Data": "d", "Desc": "gift"}},
    ]
    task = await task_of(world, await world.call(IM_PUSH, im_push_of(MsgBody=elements)))
    assert task.message.desc == "hi[Image]gift"
    await world.clock.advance(2)
    body = im_push_of(OfflinePushInfo={"Title": "t", "Desc": "own"})
    task = await task_of(world, await world.call(IM_PUSH, body))
    assert (task.message.title, task.message.desc) == ("t", "own")


async def test_message_elements_over_12_kb_are_93000(world: World) -> None:
    elements = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "x" * 12_288}}]
    answer = await world.call(IM_PUSH, im_push_of(MsgBody=elements))
    assert answer["ErrorCode"] == 93000


async def test_what_is_nested_without_end_is_refused(world: World) -> None:
    content: Any = {}
    for _ in range(40):
        content = {"deeper": content}
    elements = [{"MsgType": "TIMCustomElem", "MsgContent": content}]
    answer = await world.call(IM_PUSH, im_push_of(MsgBody=elements))
    assert answer["ErrorCode"] == 90010
    live = {"LaId": "1", "Event": "update", "ContentState": content}
    info = {**INFO, "ApnsInfo": {"LiveActivity": live}}
    answer = await world.call(PUSH, push_of(OfflinePushInfo=info))
    assert answer["ErrorCode"] == 90001
    raw = b'{"MsgRandom":' + b"[" * 100_000
    assert (await world.raw(BATCH, raw))["ErrorCode"] == 90001


# --- the order in accept, and quotas -----------------------------------------------------------


@pytest.mark.evidence(
    "the same MsgRandom within a second is the same task",
    topic="The wire",
    planted="the earlier task not looked at; ten seconds instead of one",
)
async def test_the_same_random_within_a_second_is_the_same_task(world: World) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    first = await world.call(PUSH, push_of())
    assert await world.call(PUSH, push_of()) == first
    assert (await world.call(PUSH, push_of(MsgRandom=8)))["ErrorCode"] == 90024
    await world.clock.advance(1.1)
    second = await world.call(PUSH, push_of())
    assert second["TaskId"] != first["TaskId"]
    other = await world.call(PUSH, push_of(From_Account="other"))
    assert other["ErrorCode"] == 90024, "another sender is another push"


@pytest.mark.evidence(
    "a hundred pushes a day until midnight UTC, batches not counted",
    topic="The wire",
    planted="batches counted; pushes not counted; yesterday's count kept",
)
async def test_a_hundred_pushes_a_day_and_batches_do_not_count(world: World) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    for number in range(100):
        assert (await world.call(PUSH, push_of(MsgRandom=number)))["ErrorCode"] == 0
        await world.clock.advance(1.1)
    assert (await world.call(PUSH, push_of()))["ErrorCode"] == 90047
    assert (await world.call(IM_PUSH, im_push_of()))["ErrorCode"] == 90047
    assert (await world.call(BATCH, batch_of()))["ErrorCode"] == 0
    await world.clock.advance(86_400)
    assert (await world.call(PUSH, push_of()))["ErrorCode"] == 0


async def test_a_refused_push_does_not_count(world: World) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    assert (await world.call(PUSH, push_of(DataId=5)))["ErrorCode"] == 90001
    assert (await world.call(PUSH, push_of()))["ErrorCode"] == 0


async def test_push_may_be_switched_off(world: World) -> None:
    await world.operator.app_add(APP, {"is_push_enabled": False})
    for command, body in [(PUSH, push_of()), (BATCH, batch_of()), (IM_PUSH, im_push_of())]:
        assert (await world.call(command, body))["ErrorCode"] == 90045


# --- revoke --------------------------------------------------------------------------------------


async def test_a_push_and_a_batch_can_be_recalled_once(world: World) -> None:
    for command, body in [(PUSH, push_of()), (BATCH, batch_of())]:
        task_id = (await world.call(command, body))["TaskId"]
        ask = {"TaskId": task_id, "OfflinePushInfo": INFO}
        assert await world.call(REVOKE, ask) == ok()
        assert world.presence.revoked[-1] == task_id
        assert (await world.call(REVOKE, ask))["ErrorCode"] == 90050


@pytest.mark.evidence(
    "recalls are judged in order",
    topic="The wire",
    planted="the task looked up before the rate",
)
async def test_recalls_are_judged_in_order(world: World) -> None:
    await world.operator.app_add(APP, {"profile": "compatible"})
    task_id = (await world.call(PUSH, push_of()))["TaskId"]
    without = {"TaskId": task_id}
    assert (await world.call(REVOKE, {"TaskId": "nope"}))["ErrorCode"] == 90049
    assert (await world.call(REVOKE, without))["ErrorCode"] == 90053
    assert await world.call(REVOKE, {**without, "OfflinePushInfo": INFO}) == ok()
    answer = await world.call(REVOKE, {"TaskId": "nope", "OfflinePushInfo": INFO})
    assert answer["ErrorCode"] == 90051, "the rate is judged before the task is looked up"
    await world.clock.advance(1.1)
    task_id = (await world.call(PUSH, push_of()))["TaskId"]
    await world.clock.advance(86_401)
    answer = await world.call(REVOKE, {"TaskId": task_id, "OfflinePushInfo": INFO})
    assert answer["ErrorCode"] == 90052


@pytest.mark.parametrize(
    ("body", "code", "info"),
    [
        ({}, 90001, "Invalid format of TaskId"),
        ({"TaskId": 5}, 90001, "Invalid format of TaskId"),
        ({"TaskId": ""}, 90001, "Invalid format of TaskId"),
        ({"TaskId": "x", "OfflinePushInfo": 5}, 90043, ""),
        ({"TaskId": "x", "OfflinePushInfo": INFO}, 90049, ""),
        ({"TaskId": "x" * 5000, "OfflinePushInfo": INFO}, 90049, ""),
    ],
)
async def test_a_bad_recall_gets_its_code(world: World, body: Any, code: int, info: str) -> None:
    before = await world.dump()
    answer = await world.call(REVOKE, body)
    assert answer["ErrorCode"] == code
    assert not info or answer["ErrorInfo"] == info
    assert await world.dump() == before


async def test_another_apps_task_is_no_task(world: World) -> None:
    await world.operator.app_add(APP + 1, {"admins": [ADMIN], "key": "another key of an app"})
    task_id = (await world.call(PUSH, push_of()))["TaskId"]
    body = {"TaskId": task_id, "OfflinePushInfo": INFO}
    sig = await world.operator.usersig(APP + 1, ADMIN, 60)
    answer = await world.call(REVOKE, body, sdkappid=str(APP + 1), usersig=sig)
    assert answer["ErrorCode"] == 90049
