"""The operator's verbs about accounts and devices, and the socket that carries them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from tests.unit.api.world import ADMIN, APP, KEY, World, ask
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.sqlite.store import SqliteStore
from tocsin.adapters.vault import AesVault
from tocsin.api.admin import create
from tocsin.api.operator import OperatorService
from tocsin.clock import ManualClock, settle_loop
from tocsin.domain.account import AccountsEdit, AccountsView, Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.erasure import keyed_name
from tocsin.domain.hello import DeviceFacts
from tocsin.domain.task import Block, Report, Stage, StepEdit, StepWant
from tocsin.errors import CallError
from tocsin.pipeline.erase import KICKED
from tocsin.pipeline.register import DEVICE
from tocsin.store import Store

INFO = {"Title": "Hello", "Desc": "World"}


@pytest.fixture
def heard(world: World) -> Iterator[list[tuple[str, Any]]]:
    """What connections are told."""
    told: list[tuple[str, Any]] = []
    stops = [
        world.bus.subscribe(KICKED, lambda it: told.append((KICKED, it.decode()))),
        world.bus.subscribe(DEVICE, lambda it: told.append((DEVICE, msgspec.json.decode(it)))),
    ]
    yield told
    for stop in stops:
        stop()


async def everything_of(world: World, name: str) -> dict[str, Any]:
    return await world.operator.account_export(APP, name)


@pytest.mark.evidence("a list of accounts or devices costs the same however many there are")
async def test_accounts_are_listed_page_by_page(world: World) -> None:
    await world.call("im_open_login_svc/multiaccount_import", {"Accounts": ["zoe", "yan"]})
    await world.call("timpush/add_tag", {"UserTags": [{"To_Account": "zoe", "Tags": ["red"]}]})
    await world.device("PHONE", "zoe")
    world.presence.devices = {1}
    world.operator.watch(world.channels, world.presence)
    names, after, pages = [], 0, 0
    while after is not None:
        page = await world.operator.account_list(APP, after, 2)
        names += [it["name"] for it in page["accounts"]]
        after, pages = page["next"], pages + 1
    rows = {it["name"]: it for it in (await world.operator.account_list(APP))["accounts"]}
    assert names == list(rows)
    assert pages == (len(names) + 1) // 2
    assert {"zoe", "yan", "PHONE", ADMIN} <= set(names)
    zoe = rows["zoe"]
    assert (zoe["kind"], zoe["tags"], zoe["devices"], zoe["connected"]) == ("user", ["red"], 1, 1)
    assert (rows["PHONE"]["kind"], rows["PHONE"]["devices"]) == ("device", 1)
    assert rows[ADMIN]["is_admin"]


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_list_has_a_bound(world: World, limit: int) -> None:
    for verb in (world.operator.account_list, world.operator.device_list):
        with pytest.raises(CallError) as caught:
            await verb(APP, 0, limit)
        assert caught.value.info == "limit must be 1 to 1000"


async def test_an_account_is_shown_with_its_attributes_by_name(world: World) -> None:
    await world.call("im_open_login_svc/account_import", {"UserID": "zoe", "Nick": "Zo"})
    await world.call("timpush/set_attr_name", {"AttrNames": {"3": "city"}})
    attrs = [{"To_Account": "zoe", "Attrs": {"city": "Oslo"}}]
    await world.call("timpush/set_attr", {"UserAttrs": attrs})
    await world.device("PHONE", "zoe")
    shown = await world.operator.account_show(APP, "zoe")
    assert (shown["nick"], shown["attrs"]) == ("Zo", {"city": "Oslo"})
    assert [it["registration_id"] for it in shown["devices"]] == ["PHONE"]
    assert "secret_hash" not in shown["devices"][0]
    for name in ("nobody", "PHONE "):
        with pytest.raises(CallError) as caught:
            await world.operator.account_show(APP, name)
        assert caught.value.code == 70107


@pytest.mark.evidence(
    "an erased account is gone with its devices, their own accounts and their connections, "
    "by the command line and by `account_delete`",
    topic="Daily verbs",
    planted="connections not told; the RegistrationID of a user's device left behind",
)
async def test_an_erased_account_is_gone_with_its_devices_and_connections(
    world: World, heard: list[tuple[str, Any]]
) -> None:
    await world.call("im_open_login_svc/account_import", {"UserID": "zoe", "Nick": "Zo"})
    for name in ("zoe", "PHONE"):
        if name == "PHONE":
            await world.device("PHONE", "zoe")
        tags = [{"To_Account": name, "Tags": ["red", f"of {name}"]}]
        assert (await world.call("timpush/add_tag", {"UserTags": tags}))["ErrorCode"] in (0, 90035)
    told = await world.operator.account_delete(APP, "zoe")
    assert told["erased"]["devices"] == 1
    assert told["erased"]["accounts"] == 2, "the device's own account went, too"
    assert await world.store.accounts(APP, ["zoe", "PHONE"]) == [None, None]
    assert await world.store.device(APP, "PHONE") is None
    await settle_loop()
    assert (KICKED, f"{APP}/zoe") in heard
    assert (DEVICE, [APP, 1, 0, "", False]) in heard


@pytest.mark.evidence(
    "an erased account is gone with its devices, their own accounts and their connections, "
    "by the command line and by `account_delete`",
)
async def test_the_rest_call_cuts_connections_too(
    world: World, heard: list[tuple[str, Any]]
) -> None:
    await world.device("PHONE", "zoe")
    items = {"DeleteItem": [{"UserID": "zoe"}, {"UserID": "nobody"}, {"UserID": ADMIN}]}
    answer = await world.call("im_open_login_svc/account_delete", items)
    assert [it["ResultCode"] for it in answer["ResultItem"]] == [0, 70107, 70402]
    await settle_loop()
    assert (KICKED, f"{APP}/zoe") in heard
    assert (DEVICE, [APP, 1, 0, "", False]) in heard
    assert await world.store.accounts(APP, ["PHONE"]) == [None]


@pytest.mark.evidence(
    "a receipt names nobody, and a name is kept only where its re-import has to wait",
    topic="Daily verbs",
    planted="the name kept always",
)
async def test_a_receipt_names_nobody_and_says_what_is_kept(world: World) -> None:
    await world.operator.app_add(APP, {"reimport_after_s": 60})
    await world.call("im_open_login_svc/account_import", {"UserID": "zoe"})
    told = await world.operator.account_delete(APP, "zoe")
    assert "zoe" not in msgspec.json.encode(told).decode()
    assert told["name_hash"] == keyed_name(b"", APP, "zoe")
    assert told["name_hash"] != keyed_name(b"other", APP, "zoe")
    assert told["erased_at"] == world.clock.now()
    assert all(it["what"] and it["why"] and it["until"] for it in told["kept"])
    assert any("60 s" in it["why"] for it in told["kept"]), "the name waits for its re-import"


@pytest.mark.evidence(
    "a receipt names nobody, and a name is kept only where its re-import has to wait",
)
async def test_a_name_is_kept_only_where_its_reimport_has_to_wait(world: World) -> None:
    for wait_s, kept in ((0, {}), (60, {"zoe": world.clock.now()})):
        await world.operator.app_add(APP, {"reimport_after_s": wait_s})
        await world.call("im_open_login_svc/account_import", {"UserID": "zoe"})
        told = await world.operator.account_delete(APP, "zoe")
        assert any("name" in it["what"] for it in told["kept"][-1:]) == bool(kept)
        view: Any = await world.store.update_accounts(APP, ["zoe"], [], _look)
        assert dict(view.deleted_at) == kept


def _look(view: AccountsView) -> AccountsEdit:
    return AccountsEdit(result=view)


@pytest.mark.evidence(
    "an administrator is not erased",
    topic="Daily verbs",
    planted="administrators not left out",
)
async def test_administrators_and_the_unknown_are_not_erased(world: World) -> None:
    before = await world.dump()
    for name, code in ((ADMIN, 70402), ("nobody", 70107)):
        with pytest.raises(CallError) as caught:
            await world.operator.account_delete(APP, name)
        assert caught.value.code == code
    assert await world.dump() == before
    await world.operator.app_add(APP, {"can_delete_accounts": False})
    await world.device("PHONE", "zoe")
    with pytest.raises(CallError) as caught:
        await world.operator.account_delete(APP, "zoe")
    assert caught.value.code == 71000
    assert await world.store.device(APP, "PHONE") is not None


@pytest.mark.evidence(
    "an export has every push that was for the account or its devices, and what became of each",
    topic="Daily verbs",
    planted="the first page only; pushes to its RegistrationIDs left out",
)
async def test_an_export_has_every_push_that_was_for_the_account(world: World) -> None:
    await world.device("PHONE", "zoe")
    await world.call("im_open_login_svc/account_import", {"UserID": "yan"})
    for number in range(120):
        body = {"MsgRandom": number, "OfflinePushInfo": INFO, "To_Account": ["zoe"]}
        if number % 3:
            body["To_Account"] = ["yan"]
        if number == 3:
            body["To_Account"] = ["PHONE"]
        await world.call("timpush/batch", body)
    pushes: list[dict[str, Any]] = []
    page = await everything_of(world, "zoe")
    assert page["account"]["devices"][0]["registration_id"] == "PHONE"
    while True:
        pushes += page["pushes"]
        if page["next"] is None:
            break
        page = await world.operator.account_export(APP, "zoe", page["next"])
        assert "account" not in page
    wanted = [number + 1 for number in range(120) if number % 3 == 0]
    assert [it["number"] for it in pushes] == wanted[::-1]
    assert pushes[0]["message"].title == "Hello"


@pytest.mark.evidence(
    "an export has every push that was for the account or its devices, and what became of each",
)
async def test_an_export_tells_what_became_of_a_push_on_each_device(world: World) -> None:
    await world.device("PHONE", "zoe")
    body = {"MsgRandom": 1, "OfflinePushInfo": INFO, "To_Account": ["zoe"]}
    await world.call("timpush/batch", body)
    (head,) = await world.store.heads(world.clock.now())
    (job,) = await world.store.lease(APP, head.queue, head.lane, lessee="me", limit=1, lease_s=30)
    packed = BitMap([1]).serialize()
    told: dict[str, Any] = {"task": 1, "job": job.number, "at": 1.0, "members": packed}
    blocks = [Block(kind="device", state="sent", channel="apns", **told)]
    blocks.append(Block(kind="planned", state="", **told))
    await world.store.step(APP, job, StepWant(), lambda _: StepEdit(is_done=True, blocks=blocks))
    clicked = Report(task=1, stage=Stage.CLICKED, channel="apns", at=7, members=packed)
    await world.store.append_reports(APP, [clicked])
    (push,) = (await everything_of(world, "zoe"))["pushes"]
    assert push["devices"] == [
        {
            "registration_id": "PHONE",
            "state": "sent",
            "channels": ["apns"],
            "reports": [{"stage": "clicked", "channel": "apns", "at": 7}],
        }
    ]


@pytest.mark.evidence(
    "the operator unregisters a device without its secret",
    topic="Daily verbs",
    planted=None,
)
async def test_the_operator_unregisters_a_device_without_its_secret(
    world: World, heard: list[tuple[str, Any]]
) -> None:
    await world.device("PHONE", "zoe")
    gone = await world.operator.device_unregister(APP, "PHONE")
    assert (gone["is_registered"], gone["user_name"], gone["route"]) == (False, "", None)
    assert (await world.operator.device_show(APP, "PHONE"))["is_registered"] is False
    await settle_loop()
    assert heard == [(DEVICE, [APP, 1, 0, "", False])]
    for verb in (world.operator.device_unregister, world.operator.device_show):
        with pytest.raises(CallError) as caught:
            await verb(APP, "PAD")
        assert caught.value.code == 70107
    assert await world.store.accounts(APP, ["PAD"]) == [None]


async def test_devices_are_listed_page_by_page(world: World) -> None:
    for number in range(5):
        await world.device(f"PHONE-{number}")
    first = await world.operator.device_list(APP, 0, 3)
    rest = await world.operator.device_list(APP, first["next"], 3)
    names = [it["registration_id"] for page in (first, rest) for it in page["devices"]]
    assert names == [f"PHONE-{number}" for number in range(5)]
    assert rest["next"] is None


@pytest.mark.evidence(
    "names of any characters go through the operator's socket",
    topic="Daily verbs",
    planted=None,
)
async def test_names_of_any_characters_go_through_the_socket(world: World) -> None:
    socket = create(world.operator, world.store, world.presence, dict, books=world.books)
    name = "a/b?c=d&e f"
    await world.call("im_open_login_svc/account_import", {"UserID": name})
    asked = "name=a%2Fb%3Fc%3Dd%26e+f"
    here = f"/v1/apps/{APP}"
    shown = await ask(socket, "GET", f"{here}/account?{asked}")
    assert shown.json()["name"] == name
    assert (await ask(socket, "GET", f"{here}/account/export?{asked}")).json()["pushes"] == []
    listed = (await ask(socket, "GET", f"{here}/accounts?after=1&limit=1")).json()
    assert len(listed["accounts"]) == 1
    assert (await ask(socket, "DELETE", f"{here}/account?{asked}")).json()["erased"]["accounts"]
    assert (await ask(socket, "GET", f"{here}/account?{asked}")).status == 404
    assert (await ask(socket, "GET", f"{here}/account")).json()["ErrorCode"] == 70402
    await world.device("PHO/NE")
    unregistered = await ask(socket, "POST", f"{here}/device/unregister?name=PHO%2FNE")
    assert unregistered.json()["is_registered"] is False
    assert (await ask(socket, "GET", f"{here}/device?name=PHO%2FNE")).json()["number"] == 1
    assert len((await ask(socket, "GET", f"{here}/devices")).json()["devices"]) == 1


@pytest.mark.evidence(
    "a list of accounts or devices costs the same however many there are",
    topic="Daily verbs",
    planted="the statement's limit raised by 100,000",
)
async def test_lists_cost_the_same_however_many_there_are(tmp_path: Path) -> None:
    """Counted in SQLite's own statements and rows, at two sizes."""
    costs = []
    for size in (60, 900):
        async with AsyncExitStack() as stack:
            store = SqliteStore(tmp_path / str(size), ManualClock())
            await store.start(stack)
            costs.append(await _cost(store, size))
    assert costs[0] == costs[1]
    assert 4 <= costs[0][0] <= 6, costs


async def _cost(store: SqliteStore, size: int) -> tuple[int, int]:
    """Statements and SQLite's steps, by hundreds, for a page of each list."""
    operator = OperatorService(store, AesVault(bytes(32)), ManualClock(), bus=LocalBus())
    await operator.app_add(APP, {"key": KEY})
    await _fill(store, size)
    statements, steps = 0, 0

    def note(*_: object) -> bool:
        nonlocal statements
        statements += 1
        return True

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    for tables in (store._near, store._far):
        tables.connection.exec_trace = note
        tables.connection.set_progress_handler(step, 100)
    accounts = await operator.account_list(APP, 0, 50)
    devices = await operator.device_list(APP, 0, 50)
    assert (len(accounts["accounts"]), len(devices["devices"])) == (50, 50)
    return statements, steps


async def _fill(store: Store, size: int) -> None:
    names = [f"u{number}" for number in range(size)]
    decide = import_accounts([Profile(name) for name in names], 0)
    await store.update_accounts(APP, names, [], decide)
    for number, name in enumerate(names):
        route = Route("apns", 1, f"token {number}")
        asked = Registration(
            registration_id=f"d{number}", fresh_secret="s", user=name, route=route,
            facts=DeviceFacts(platform="iPhone"),
        )  # fmt: skip
        await store.update_device(APP, f"d{number}", name, route, register(asked, 0))
