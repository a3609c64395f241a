"""Make the calls that docs/commands.md shows, of a service in memory whose clock stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tests.unit.api.world import World
from tocsin.api.commands import page as commands_page
from tocsin.api.commands.page import Recorded

LOGIN, TIMPUSH, OLD = "im_open_login_svc", "timpush", "all_member_push"

INFO = {"Title": "Parcel", "Desc": "Your parcel comes today.", "Ext": '{"order":"A-17"}'}
BOTH = {"To_Account": ["ann", "eve"]}
"""Here and below, `eve` is an account that does not exist."""

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        f"{LOGIN}/account_import",
        {"UserID": "ann", "Nick": "Ann", "FaceUrl": "https://example.com/ann.png"},
    ),
    (
        f"{LOGIN}/multiaccount_import",
        {"AccountList": [{"UserID": "bob", "Nick": "Bob"}, {"UserID": "carol"}, {"UserID": "Zoë"}]},
    ),
    (f"{LOGIN}/account_check", {"CheckItem": [{"UserID": "ann"}, {"UserID": "eve"}]}),
    (
        f"{TIMPUSH}/set_attr_name",
        {"AttrNames": {"0": "city", "1": "plan"}, "AttrTypes": {"0": 0, "1": 0}},
    ),
    (f"{TIMPUSH}/get_attr_name", {}),
    (
        f"{TIMPUSH}/set_attr",
        {
            "UserAttrs": [
                {"To_Account": "ann", "Attrs": {"city": "Oslo", "plan": "gold"}},
                {"To_Account": "eve", "Attrs": {"city": "Rome"}},
            ]
        },
    ),
    (f"{TIMPUSH}/get_attr", BOTH),
    (f"{TIMPUSH}/remove_attr", {"UserAttrs": [{"To_Account": "ann", "Attrs": ["plan"]}]}),
    (
        f"{TIMPUSH}/add_tag",
        {
            "UserTags": [
                {"To_Account": "ann", "Tags": ["news", "sport"]},
                {"To_Account": "eve", "Tags": ["news"]},
            ]
        },
    ),
    (f"{TIMPUSH}/get_tag", BOTH),
    (f"{TIMPUSH}/remove_tag", {"UserTags": [{"To_Account": "ann", "Tags": ["sport"]}]}),
    (
        f"{TIMPUSH}/push",
        {
            "From_Account": "shop",
            "MsgRandom": 1,
            "Condition": {"TagsOr": ["news", "sport"], "TagsNot": ["quiet"]},
            "OfflinePushInfo": INFO,
            "DataId": "parcels",
        },
    ),
    (
        f"{TIMPUSH}/batch",
        {
            "From_Account": "shop",
            "To_Account": ["ann", "bob", "eve"],
            "MsgRandom": 2,
            "OfflinePushInfo": {**INFO, "AndroidInfo": {"HuaWeiCategory": "EXPRESS"}},
        },
    ),
    (
        f"{TIMPUSH}/revoke",
        {"TaskId": "", "OfflinePushInfo": {"Title": "Parcel", "Desc": "It comes tomorrow."}},
    ),
    (f"{TIMPUSH}/clear_all_tags", BOTH),
    (
        f"{OLD}/im_push",
        {
            "From_Account": "shop",
            "MsgRandom": 3,
            "MsgLifeTime": 3600,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "Open until nine"}}],
        },
    ),
    (f"{OLD}/im_set_attr_name", {"AttrNames": {"2": "level"}}),
    (f"{OLD}/im_get_attr_name", {}),
    (f"{OLD}/im_set_attr", {"UserAttrs": [{"To_Account": "ann", "Attrs": {"level": 7}}]}),
    (f"{OLD}/im_get_attr", BOTH),
    (f"{OLD}/im_remove_attr", {"UserAttrs": [{"To_Account": "ann", "Attrs": {"level": ""}}]}),
    (f"{OLD}/im_add_tag", {"UserTags": [{"To_Account": "ann", "Tags": ["news"]}]}),
    (f"{OLD}/im_get_tag", BOTH),
    (f"{OLD}/im_remove_tag", {"UserTags": [{"To_Account": "ann", "Tags": ["news"]}]}),
    (f"{OLD}/im_remove_all_tags", {"To_Account": ["ann"]}),
    ("openim/query_online_status", {**BOTH, "IsNeedDetail": 1, "IsReturnInstid": 1}),
    ("openim/querystate", {"To_Account": ["ann", "bob"]}),
    (f"{LOGIN}/kick", {"UserID": "ann"}),
    (f"{LOGIN}/account_delete", {"DeleteItem": [{"UserID": "carol"}, {"UserID": "eve"}]}),
)
"""One call of each command, in an order in which each has something to work on."""


async def record() -> Recorded:
    """Make the calls; the body and the answer of each, as they were sent."""
    world = World()
    await world.open("unlimited")
    recorded: dict[str, tuple[str, str]] = {}
    task_id = ""
    for command, example in CALLS:
        if command.startswith("openim/") and not world.presence.devices:
            device = await world.device("7D2A91E0-58B3-4C0F-9C11-6E1B0A3F2D54", "ann")
            world.presence.devices.add(device.device.number)
        body = {**example, "TaskId": task_id} if "TaskId" in example else example
        answer = await world.call(command, body)
        if answer["ErrorCode"]:
            raise AssertionError(command, answer)
        task_id = answer.get("TaskId", task_id)
        asked = msgspec.json.encode(body).decode()
        recorded[f"/v4/{command}"] = asked, world.sent[1]["body"].decode()
    return recorded


def page() -> str:
    """docs/commands.md."""
    return commands_page.page(asyncio.run(record()))
