"""The doctor asks a service that has something wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.api.test_credential_verbs import HUAWEI
from tests.unit.api.world import APP, World, ask
from tocsin.adapters.machine import look_at_machine
from tocsin.api.admin import create
from tocsin.api.doctor import Doctor
from tocsin.conversation import Stoppage
from tocsin.domain.checkup import MIB, Machine

INFO = {"Title": "Hello", "Desc": "World"}


def sick(world: World, skews: Mapping[str, float]) -> None:
    machine = Machine(
        disk_free_bytes=MIB, database_bytes=0, log_bytes=0, files_used=99, files_max=100
    )
    world.operator._doctor = Doctor(world.store, world.clock, lambda: machine, lambda: skews)


async def levels(world: World) -> dict[str, str]:
    found = await world.operator.doctor()
    assert all(bool(it["todo"]) == (it["level"] != "ok") for it in found), found
    return {it["check"]: it["level"] for it in found}


@pytest.mark.evidence(
    "`tocsin doctor` has a line for all that is wrong, each that is not fine with what to "
    "do, and ends with 1 where one is bad",
    topic="Daily verbs",
    planted="a clock that is behind taken for fine; files judged without a service",
)
async def test_everything_that_is_wrong_has_a_line(world: World) -> None:
    for _ in range(2):
        await world.operator.credential_add(APP, HUAWEI)
    await world.operator.credential_set(APP, 2, {"is_enabled": False})
    await world.operator.app_add(APP + 1, {})
    sick(world, {"vendor.example": 75.0})
    # A command that opens the folder itself knows nothing of files, and of nobody who is late.
    before = await levels(world)
    assert (before["disk"], before["clock"], before["backlog"]) == ("bad", "bad", "ok")
    assert "open files" not in before
    await world.call("timpush/push", {"MsgRandom": 1, "OfflinePushInfo": INFO})
    assert (await levels(world))["backlog"] == "warn"
    await world.clock.advance(700)
    world.operator.watch(world.channels, world.presence)
    world.channels.stopped = {1: Stoppage("refused", "403 InvalidProviderToken", None)}
    assert await levels(world) == {
        "writing": "ok",
        "disk": "bad",
        "write-ahead log": "ok",
        "open files": "bad",
        "backlog": "bad",
        f"credential 1 of {APP}, huawei": "bad",
        f"credential 2 of {APP}, huawei": "ok",
        f"app {APP + 1}": "warn",
        "clock": "bad",
    }


async def test_without_an_app_it_says_how_to_add_one() -> None:
    empty = World()
    assert await levels(empty) == {"writing": "ok", "backlog": "ok", "apps": "warn"}


async def test_the_operators_socket_carries_it(world: World) -> None:
    pages = create(world.operator, world.store, world.presence, dict, books=world.books)
    told = (await ask(pages, "GET", "/v1/doctor")).json()["findings"]
    assert [it["check"] for it in told] == ["writing", "backlog"]


def test_the_machine_is_looked_at(tmp_path: Any) -> None:
    (tmp_path / "x.db").write_bytes(bytes(500))
    (tmp_path / "x.db-wal").write_bytes(bytes(70))
    seen = look_at_machine(tmp_path, "x.db")
    assert (seen.database_bytes, seen.log_bytes) == (500, 70)
    assert 0 < seen.files_used < seen.files_max
    assert seen.disk_free_bytes > 0
    assert look_at_machine(tmp_path, "y.db").database_bytes == 0
