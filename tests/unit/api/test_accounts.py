"""Accounts and presence, row by row of their pages (trtc.io/document/34953 to 34957, 35477)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.world import ADMIN, APP, World, failed, ok
from tocsin.clock import settle_loop

LOGIN = "im_open_login_svc/"
ONLINE = "openim/query_online_status"
DAY_S = 86_400


def items(name: str, *users: Any) -> dict[str, Any]:
    return {name: [{"UserID": user} for user in users]}


async def test_import_is_idempotent_and_updates_what_is_told(world: World) -> None:
    body = {"UserID": "mira", "Nick": "Mira", "FaceUrl": "https://img.example/1"}
    assert await world.call(LOGIN + "account_import", body) == ok()
    assert await world.call(LOGIN + "account_import", {"UserID": "mira", "Nick": "M."}) == ok()
    (account,) = await world.store.accounts(APP, ["mira"])
    assert account is not None
    assert (account.nick, account.face_url) == ("M.", "https://img.example/1")


async def test_multi_import_takes_names_or_objects(world: World) -> None:
    body: dict[str, Any] = {"AccountList": [{"UserID": "dora", "Nick": "D"}, {"UserID": "ann"}]}
    assert await world.call(LOGIN + "multiaccount_import", body) == ok(FailAccounts=[])
    (account,) = await world.store.accounts(APP, ["dora"])
    assert account is not None
    assert account.nick == "D"


async def test_a_bad_user_id_goes_to_fail_accounts(world: World) -> None:
    names = ["dora", "", "x" * 33, "naïve", "tab\t", "emil"]
    answer = await world.call(LOGIN + "multiaccount_import", {"Accounts": names})
    assert answer == ok(FailAccounts=["", "x" * 33, "naïve", "tab\t"])
    known = await world.store.accounts(APP, ["dora", "emil"])
    assert None not in known


async def test_a_registration_id_is_no_user_id(world: World) -> None:
    await world.device("REG-1")
    assert (await world.call(LOGIN + "account_import", {"UserID": "REG-1"}))["ErrorCode"] == 70402
    answer = await world.call(LOGIN + "multiaccount_import", {"Accounts": ["REG-1", "x"]})
    assert answer == ok(FailAccounts=["REG-1"])


async def test_names_with_the_apps_prefix_are_no_user_ids(world: World) -> None:
    await world.operator.app_add(APP, {"own_registration_ids": "dev-"})
    before = await world.dump(["dev-1"])
    answer = await world.call(LOGIN + "account_import", {"UserID": "dev-1"})
    assert answer["ErrorCode"] == 70402
    assert "dev-" in answer["ErrorInfo"]
    assert await world.dump(["dev-1"]) == before
    names = ["dev-1", "dora", "dev-"]
    answer = await world.call(LOGIN + "multiaccount_import", {"Accounts": names})
    assert answer == ok(FailAccounts=["dev-1", "dev-"])
    await world.operator.app_add(APP, {"own_registration_ids": ""})
    assert await world.call(LOGIN + "account_import", {"UserID": "dev-1"}) == ok()


@pytest.mark.evidence(
    "the plan's limit of accounts",
    topic="The wire",
    planted="the limit refusing a whole import of several",
)
async def test_the_plans_account_limit(world: World) -> None:
    facts = {"profile": "own", "own_limits": {"accounts_max": 5}}
    await world.operator.app_add(APP, facts)
    assert await world.call(LOGIN + "account_import", {"UserID": "fifth"}) == ok()
    answer = await world.call(LOGIN + "account_import", {"UserID": "sixth"})
    assert answer["ErrorCode"] == 70398
    answer = await world.call(LOGIN + "multiaccount_import", {"Accounts": ["ann", "sixth"]})
    assert answer == ok(FailAccounts=["sixth"])


async def test_delete_answers_each_and_frees_the_name_at_once(world: World) -> None:
    await world.call("timpush/add_tag", {"To_Account": "ann", "Tags": ["vip"]})
    await world.device("REG-1", "ann")
    answer = await world.call(LOGIN + "account_delete", items("DeleteItem", "ann", "ghost", "ann"))
    assert answer["ResultItem"] == [
        {"ResultCode": 0, "ResultInfo": "", "UserID": "ann"},
        {
            "ResultCode": 70107,
            "ResultInfo": "Err_TLS_PT_Open_Login_Account_Not_Exist",
            "UserID": "ghost",
        },
        {"ResultCode": 0, "ResultInfo": "", "UserID": "ann"},
    ]
    assert await world.store.device(APP, "REG-1") is None
    assert await world.call(LOGIN + "account_import", {"UserID": "ann"}) == ok()
    answer = await world.call("timpush/get_tag", {"To_Account": ["ann"]})
    assert answer["UserTags"] == [{"To_Account": "ann", "Tags": []}]


async def test_an_administrator_is_not_deleted(world: World) -> None:
    answer = await world.call(LOGIN + "account_delete", items("DeleteItem", ADMIN))
    assert answer["ResultItem"][0]["ResultCode"] == 70402
    assert (await world.call("timpush/get_attr_name", {}))["ErrorCode"] == 0


async def test_deletion_may_be_off_and_reimport_may_have_to_wait(world: World) -> None:
    await world.operator.app_add(APP, {"can_delete_accounts": False})
    answer = await world.call(LOGIN + "account_delete", items("DeleteItem", "ann"))
    assert answer["ErrorCode"] == 71000
    facts = {"can_delete_accounts": True, "reimport_after_s": 90 * DAY_S}
    await world.operator.app_add(APP, facts)
    await world.call(LOGIN + "account_delete", items("DeleteItem", "ann"))
    answer = await world.call(LOGIN + "account_import", {"UserID": "ann"})
    assert answer["ErrorCode"] == 70399
    await world.clock.advance(90 * DAY_S)
    assert await world.call(LOGIN + "account_import", {"UserID": "ann"}) == ok()


async def test_check_says_who_is_imported(world: World) -> None:
    answer = await world.call(LOGIN + "account_check", items("CheckItem", "ann", "ghost"))
    assert answer["ResultItem"] == [
        {"ResultCode": 0, "ResultInfo": "", "UserID": "ann", "AccountStatus": "Imported"},
        {"ResultCode": 0, "ResultInfo": "", "UserID": "ghost", "AccountStatus": "NotImported"},
    ]


@pytest.mark.evidence(
    "a kick voids what was issued before",
    topic="The wire",
    planted="the second of the kick not kept",
)
async def test_kick_voids_what_was_issued_before(world: World) -> None:
    early = world.usersig()
    heard: list[bytes] = []
    world.bus.subscribe("kicked", heard.append)
    await world.clock.advance(10)
    assert await world.call(LOGIN + "kick", {"UserID": ADMIN}) == ok()
    same_second = world.usersig()
    answer = await world.call("timpush/get_attr_name", {}, usersig=early)
    assert answer["ErrorCode"] == 70052
    assert (await world.call("timpush/get_attr_name", {}, usersig=same_second))["ErrorCode"] == 0
    await settle_loop()
    assert heard == [f"{APP}/{ADMIN}".encode()]


REFUSED: list[tuple[str, Any, int]] = [
    ("account_import", {}, 70402),
    ("account_import", {"UserID": None}, 70402),
    ("account_import", {"UserID": 7}, 60015),
    ("account_import", {"UserID": ""}, 70402),
    ("account_import", {"UserID": "x" * 33}, 70402),
    ("account_import", {"UserID": "näh"}, 70402),
    ("account_import", {"UserID": "line\nbreak"}, 70402),
    ("account_import", {"UserID": "new", "Nick": 5}, 70402),
    ("account_import", {"UserID": "new", "Nick": "x" * 501}, 40601),
    ("account_import", {"UserID": "new", "FaceUrl": "x" * 501}, 40601),
    ("multiaccount_import", {}, 70402),
    ("multiaccount_import", {"Accounts": []}, 70402),
    ("multiaccount_import", {"Accounts": "ann"}, 70402),
    ("multiaccount_import", {"Accounts": ["x"] * 101}, 70402),
    ("multiaccount_import", {"Accounts": ["new", 5]}, 60015),
    ("multiaccount_import", {"AccountList": ["new"]}, 70402),
    ("multiaccount_import", {"AccountList": [{"Nick": "x"}]}, 70402),
    ("multiaccount_import", {"AccountList": [{"UserID": 5}]}, 60015),
    ("account_delete", {}, 70402),
    ("account_delete", {"DeleteItem": []}, 70402),
    ("account_delete", items("DeleteItem", *["ann"] * 101), 70402),
    ("account_delete", {"DeleteItem": ["ann"]}, 70402),
    ("account_delete", items("DeleteItem", 1), 60015),
    ("account_check", {"CheckItem": {}}, 70402),
    ("account_check", items("CheckItem", *["ann"] * 101), 70402),
    ("account_check", items("CheckItem", ["ann"]), 60015),
    ("kick", {}, 70402),
    ("kick", {"UserID": "ghost"}, 70107),
    ("kick", {"UserID": 1}, 60015),
]


@pytest.mark.parametrize(("command", "body", "code"), REFUSED)
async def test_a_bad_call_gets_its_code_and_changes_nothing(
    world: World, command: str, body: Any, code: int
) -> None:
    before = await world.dump(["ann", "new"])
    assert (await world.call(LOGIN + command, body))["ErrorCode"] == code
    assert await world.dump(["ann", "new"]) == before


async def test_bad_json_is_60003_here(world: World) -> None:
    for raw in (b"", b"{", b"[]", b'"x"', b"\xff"):
        assert (await world.raw(LOGIN + "account_import", raw))["ErrorCode"] == 60003


# --- query_online_status --------------------------------------------------------------------


async def test_states_follow_connection_age_and_logout(world: World) -> None:
    phone = (await world.device("REG-1", "ann")).device
    await world.device("REG-2", "bob")
    await world.device("REG-3", "carl", platform="Web")
    world.presence.devices = {phone.number}
    body = {"To_Account": ["ann", "bob", "carl", ADMIN, "ghost", "REG-1"]}
    answer = await world.call(ONLINE, body)
    states = {each["To_Account"]: each["Status"] for each in answer["QueryResult"]}
    assert states == {
        "ann": "Online",
        "bob": "PushOnline",
        "carl": "Offline",
        ADMIN: "Offline",
        "REG-1": "Online",
    }
    assert answer["ErrorList"] == failed(("ghost", 70107))
    world.presence.devices = set()
    await world.clock.advance(7 * DAY_S - 1)
    answer = await world.call(ONLINE, {"To_Account": ["ann"]})
    assert answer == ok(QueryResult=[{"To_Account": "ann", "Status": "PushOnline"}], ErrorList=[])
    await world.clock.advance(1)
    answer = await world.call(ONLINE, {"To_Account": ["ann"]})
    assert answer["QueryResult"] == [{"To_Account": "ann", "Status": "Offline"}]


async def test_detail_and_instances_are_told_when_asked(world: World) -> None:
    device = (await world.device("REG-1", "ann")).device
    body = {"To_Account": ["ann"], "IsNeedDetail": 1, "IsReturnInstid": 1}
    answer = await world.call(ONLINE, body)
    assert answer["QueryResult"][0]["Detail"] == [
        {"Platform": "iPhone", "Status": "PushOnline", "Instid": device.number}
    ]
    body["IsReturnInstid"] = 0
    answer = await world.call(ONLINE, body)
    assert answer["QueryResult"][0]["Detail"] == [{"Platform": "iPhone", "Status": "PushOnline"}]


async def test_the_retired_name_says_state(world: World) -> None:
    answer = await world.call("openim/querystate", {"To_Account": ["ann"]})
    assert answer == ok(QueryResult=[{"To_Account": "ann", "State": "Offline"}], ErrorList=[])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 90003),
        ({"To_Account": "ann"}, 90003),
        ({"To_Account": []}, 90001),
        ({"To_Account": ["ann"] * 501}, 90011),
        ({"To_Account": [1]}, 60015),
        ({"To_Account": ["ann"], "IsNeedDetail": "1"}, 90001),
        ({"To_Account": ["ann"], "IsNeedDetail": 2}, 90001),
    ],
)
async def test_a_bad_question_gets_its_code(world: World, body: Any, code: int) -> None:
    assert (await world.call(ONLINE, body))["ErrorCode"] == code


async def test_five_hundred_may_be_asked_about(world: World) -> None:
    answer = await world.call(ONLINE, {"To_Account": ["ann"] * 500})
    assert len(answer["QueryResult"]) == 500
