"""The pages of an app's books, for its administrators."""

from __future__ import annotations

from typing import Any

import pytest
from pyroaring import BitMap
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from tests.unit.api.world import ADMIN, APP, World, ask
from tocsin.api import pages
from tocsin.api.router import Router, create_pages
from tocsin.api.v1 import TaskPages, by_bearer
from tocsin.conversation import Stoppage
from tocsin.domain.outcome import State
from tocsin.domain.task import (
    WITH_DEVICES,
    Block,
    NewJob,
    Report,
    SendBody,
    Stage,
    StepEdit,
    StepWant,
    WaitBody,
)
from tocsin.errors import StoreError

HERE = f"/v1/apps/{APP}"
INFO = {"Title": "Hello", "Desc": "World"}


def books_of(world: World) -> Starlette:
    authorize = by_bearer(world.authenticator)
    return pages.create(
        TaskPages(world.store, world.books, world.presence, authorize, world.channels).routes()
    )


async def read(world: World, path: str) -> Any:
    asked = await ask(books_of(world), "GET", HERE + path, bearer=world.usersig())
    assert asked.status == 200, asked
    return asked.json()


async def sent_push(world: World) -> str:
    """A batch to everybody, booked by hand: two sent, one failed, one clicked, one removed."""
    for name, user in [("REG-1", "ann"), ("REG-2", "bob"), ("REG-3", "")]:
        await world.device(name, user)
    body = {"MsgRandom": 1, "OfflinePushInfo": INFO, "To_Account": ["ann", "bob", "carl", "REG-3"]}
    task_id: str = (await world.call("timpush/batch", body))["TaskId"]
    (head,) = await world.store.heads(world.clock.now())
    (job,) = await world.store.lease(APP, head.queue, head.lane, lessee="test", limit=1, lease_s=30)
    audience = sorted(await world.store.audience(APP, job.task))
    numbers = {each.name: each.number for each in await _accounts(world)}

    def block(kind: Any, state: str, members: list[int], **more: str) -> Block:
        packed = BitMap(members).serialize()
        return Block(
            task=job.task, job=job.number, at=world.clock.now(), kind=kind, state=state,
            members=packed, **more,
        )  # fmt: skip

    without = [numbers["carl"]]
    edit = StepEdit(
        is_done=True,
        blocks=[
            block("account", WITH_DEVICES, [it for it in audience if it not in without]),
            block("account", "no device", without),
            block("planned", "", [1, 2, 3]),
            block("device", State.SENT, [1, 3], channel="apns"),
            block("shortened", "", [2, 3], channel="apns"),
            block("device", State.FAILED, [2], channel="apns", code="410", info="Unregistered"),
        ],
    )
    await world.store.step(APP, job, StepWant(), lambda _: edit)
    clicked = Report(
        task=job.task, stage=Stage.CLICKED, channel="apns", at=1, members=BitMap([3]).serialize()
    )
    removed = Report(
        task=job.task,
        stage=Stage.SENT,
        channel="huawei",
        at=1,
        members=BitMap([1]).serialize(),
        code="2",
    )
    await world.store.append_reports(APP, [clicked, removed])
    return task_id


async def _accounts(world: World) -> list[Any]:
    return list(await world.store.accounts(APP, ["ann", "bob", "carl", "REG-3"]))


@pytest.mark.evidence("… and the books say to whom, after a merge too")
@pytest.mark.evidence("`tocsin task show` follows a push to its funnel")
async def test_a_push_is_shown_with_its_ledger(world: World) -> None:
    task_id = await sent_push(world)
    listed = await read(world, "/tasks")
    assert [each["task_id"] for each in listed["tasks"]] == [task_id]
    assert listed["tasks"][0]["title"] == "Hello"
    shown = await read(world, f"/tasks/{task_id}")
    assert (shown["kind"], shown["audience_size"]) == ("batch", 4)
    ledger = shown["ledger"]
    assert ledger["without_device"] == {"no device": 1}
    assert (ledger["with_devices"], ledger["planned"], ledger["clicked"]) == (3, 3, 1)
    assert ledger["states"]["sent"] == 2
    assert ledger["failures"] == {"apns 410 Unregistered": 1}
    assert ledger["undelivered"] == {"huawei 2": 1}
    assert ledger["shortened"] == 1
    assert ledger["faults"] == []


@pytest.mark.evidence(
    "the failures and losses of a push have names",
    topic="Command line and demo",
    planted="the parameter not read",
)
async def test_the_audience_and_the_devices_come_in_pages(world: World) -> None:
    task_id = await sent_push(world)
    first = await read(world, f"/tasks/{task_id}/audience?limit=3")
    second = await read(world, f"/tasks/{task_id}/audience?limit=3&after={first['next']}")
    assert first["accounts"] + second["accounts"] == ["ann", "bob", "carl", "REG-3"]
    assert second["next"] is None
    for asked, names in [
        ("", ["REG-1", "REG-2", "REG-3"]),
        ("state=sent", ["REG-1", "REG-3"]),
        ("state=failed", ["REG-2"]),
        ("leg=apns", ["REG-1", "REG-3"]),
        ("leg=fcm", []),
        ("mark=clicked", ["REG-3"]),
        ("mark=repeated", []),
        ("mark=shortened", ["REG-3"]),
        ("state=failed&leg=apns", []),
        ("failure=apns 410 Unregistered", ["REG-2"]),
        ("failure=apns 400 BadDeviceToken", []),
        ("undelivered=huawei 2", ["REG-1"]),
        ("undelivered=huawei 6", []),
    ]:
        answer = await read(world, f"/tasks/{task_id}/devices?{asked}")
        assert answer == {"devices": names, "next": None}, asked
    page = await read(world, f"/tasks/{task_id}/devices?limit=1&after=1")
    assert page == {"devices": ["REG-2"], "next": 2}


async def test_deleted_accounts_are_left_out_of_an_audience(world: World) -> None:
    task_id = await sent_push(world)
    await world.call("im_open_login_svc/account_delete", {"DeleteItem": [{"UserID": "bob"}]})
    answer = await read(world, f"/tasks/{task_id}/audience")
    assert answer["accounts"] == ["ann", "carl", "REG-3"]


async def test_devices_are_shown_without_their_secret(world: World) -> None:
    device = (await world.device("REG-1", "ann")).device
    world.presence.devices = {device.number}
    for name in ("ann", "REG-1"):
        (shown,) = (await read(world, f"/devices/{name}"))["devices"]
        assert shown["registration_id"] == "REG-1"
        assert shown["is_connected"] is True
        assert "secret" not in str(shown.keys())
    asked = await ask(books_of(world), "GET", f"{HERE}/devices/ghost", bearer=world.usersig())
    assert (asked.status, asked.json()["ErrorCode"]) == (404, 70107)


@pytest.mark.evidence("only administrators call")
async def test_who_may_read(world: World) -> None:
    app = books_of(world)
    tasks = f"{HERE}/tasks"
    for path, bearer, status, code in [
        (tasks, "", 401, 70002),
        (tasks, "garbage", 401, 70003),
        (tasks, world.usersig("ann"), 403, 90009),
        (tasks, world.usersig(key="another key"), 401, 70009),
        (f"{tasks}?identifier=ann", world.usersig(), 401, 70013),
        ("/v1/apps/5/tasks", world.usersig(), 404, 70020),
        ("/v1/apps/x/tasks", world.usersig(), 400, 60025),
        (f"{tasks}?limit=x", world.usersig(), 400, 70402),
        (f"{tasks}?limit=10001", world.usersig(), 400, 70402),
        (f"{tasks}/nope", world.usersig(), 404, 90049),
        (f"{tasks}/nope/audience", world.usersig(), 404, 90049),
        (f"{HERE}/nope", world.usersig(), 404, 60009),
    ]:
        asked = await ask(app, "GET", path, bearer=bearer)
        assert (asked.status, asked.json()["ErrorCode"]) == (status, code), path
    asked = await ask(app, "GET", f"{tasks}?identifier={ADMIN}", bearer=world.usersig())
    assert asked.status == 200
    asked = await ask(app, "POST", tasks, bearer=world.usersig())
    assert (asked.status, asked.json()["ErrorCode"]) == (405, 60002)


@pytest.mark.parametrize("asked", ["state=nope", "mark=nope"])
async def test_an_unknown_state_or_mark_is_refused(world: World, asked: str) -> None:
    task_id = await sent_push(world)
    path = f"{HERE}/tasks/{task_id}/devices?{asked}"
    answer = await ask(books_of(world), "GET", path, bearer=world.usersig())
    assert (answer.status, answer.json()["ErrorCode"]) == (400, 70402)


@pytest.mark.evidence(
    "`/readyz` says 503 until the service can serve, `/metrics` shows every row",
    topic="The wire",
    planted="200 in any case; an empty page; counters without `_total`",
)
@pytest.mark.evidence(
    "`/metrics` is not on the public port, and asks for its token",
    topic="Settings, log and reload",
    planted="the token's beginning compared",
)
async def test_a_request_is_routed_by_its_path(world: World) -> None:
    missing = ["the index"]

    async def ready() -> str:
        return missing[0] if missing else ""

    reached: list[str] = []

    async def online(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope["path"])

    router = Router(world.api, create_pages(ready, []), online)
    assert (await ask(router, "GET", "/healthz")).body == b"ok\n"
    assert (await ask(router, "GET", "/readyz")).status == 503
    missing.clear()
    assert (await ask(router, "GET", "/readyz")).body == b"ok\n"
    path = f"/v4/timpush/get_attr_name?{world.query()}"
    assert (await ask(router, "POST", path, {})).json()["ErrorCode"] == 0
    assert (await ask(router, "GET", "/metrics")).status == 404, "it has an address of its own"
    plain = await ask(router, "GET", "/v4/online")
    assert (plain.status, plain.json()["ErrorCode"]) == (200, 60002), "no WebSocket"
    await router({"type": "websocket", "path": "/v4/online"}, nothing, nothing)
    assert (await ask(router, "GET", "/v4/online/x")).json()["ErrorCode"] == 60009
    bare = await ask(router, "POST", "/v4")
    assert (bare.status, bare.json()["ErrorCode"]) == (200, 60009)
    assert (await ask(router, "GET", "/nope")).json()["ErrorCode"] == 60009
    assert reached == ["/v4/online"]


async def nothing(*_: Any) -> Any:
    raise AssertionError


@pytest.mark.evidence(
    "an encoded slash is part of a name",
    topic="Connections",
    planted="the decoded path matched; `%25` decoded before `%2F`",
)
async def test_an_encoded_slash_is_part_of_a_name(world: World) -> None:
    for name in ("a/b", "a%2Fb", "a%b", "ann"):
        await world.call("im_open_login_svc/account_import", {"UserID": name})
        await world.device(f"of {name}", name)
    for path, name in [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a%25b", "a%b"),
        ("%61nn", "ann"),
        ("of%20a%2Fb", "a/b"),
    ]:
        (device,) = (await read(world, f"/devices/{path}"))["devices"]
        assert device["user_name"] == name, path
    asked = await ask(books_of(world), "GET", f"{HERE}/devices/a/b", bearer=world.usersig())
    assert asked.status == 404


@pytest.mark.evidence("an encoded slash is part of a name")
@pytest.mark.parametrize("path", ["timpush%2Fget_attr_name", "timpush/get_attr_nam%65"])
async def test_an_encoded_slash_leads_to_no_command(world: World, path: str) -> None:
    async def ready() -> str:
        return ""

    router = Router(world.api, create_pages(ready, []))
    code = (await ask(router, "POST", f"/v4/{path}?{world.query()}", {})).json()["ErrorCode"]
    assert code == (60009 if "%2F" in path else 0)
    asked = await ask(router, "POST", f"/v4%2F{path}?{world.query()}", {})
    assert (asked.status, asked.json()["ErrorCode"]) == (404, 60009)


async def test_a_caller_who_hangs_up_is_no_fault_of_ours(world: World) -> None:
    """Nothing is raised, so the server logs nothing."""

    async def page(request: Request) -> Any:
        await pages.read_json(request)

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b"",
    }  # fmt: skip
    await pages.create([Route("/x", page, methods=["POST"])])(scope, gone, send)
    assert sent[0]["status"] == 400


async def test_a_store_that_fails_is_503(world: World) -> None:
    async def page(_: Any) -> Any:
        raise StoreError("full")

    app = pages.create([Route("/x", page)])
    asked = await ask(app, "GET", "/x")
    assert (asked.status, asked.json()["ErrorCode"]) == (503, 91000)


@pytest.mark.evidence(
    "a stopped credential is shown by the list, by the pushes that wait for it, in the log "
    "and in the metrics",
)
async def test_a_push_says_which_of_the_credentials_it_waits_for_are_stopped(world: World) -> None:
    await world.device("REG-1", "ann")
    body = {"MsgRandom": 1, "OfflinePushInfo": INFO, "To_Account": ["ann"]}
    task_id = (await world.call("timpush/batch", body))["TaskId"]
    world.channels.stopped = {
        1: Stoppage("paused", "429 slow down", 77.0, "push.example", "the operator's proxy"),
        2: Stoppage("down", "503", float("inf")),
    }
    assert (await read(world, f"/tasks/{task_id}"))["stopped"] == []
    (head,) = await world.store.heads(world.clock.now())
    (job,) = await world.store.lease(APP, head.queue, head.lane, lessee="test", limit=1, lease_s=30)
    jobs = [
        NewJob(task=job.task, queue=queue, lane=head.lane, body=body)
        for queue, body in (
            ("apns:1", SendBody("apns", 1, -1, (1,))),
            ("fcm:3", SendBody("fcm", 3, -1, (2,))),
            ("wait", WaitBody(-1, (3,))),
        )
    ]
    edit = StepEdit(is_done=True, jobs=jobs)
    await world.store.step(APP, job, StepWant(), lambda _: edit)
    shown = await read(world, f"/tasks/{task_id}")
    assert shown["stopped"] == [
        {
            "credential": 1,
            "channel": "apns",
            "state": "paused",
            "reason": "429 slow down",
            "until": 77.0,
            "part": "push.example",
        }
    ]
