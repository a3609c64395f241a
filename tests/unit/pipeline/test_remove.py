"""An app's removal, call by call, beside a service that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tests.unit.pipeline.test_tick import ticker_of
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import FileSnapshots
from tocsin.adapters.vault import AesVault
from tocsin.api.operator import OperatorService
from tocsin.clock import Chance, ManualClock, settle_loop
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import Credential
from tocsin.domain.audience import Condition
from tocsin.errors import CallError
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.remove import APP_CLOSED, ROWS_A_STEP, Removing
from tocsin.store import RowsRemoved

APP = 1_400_000_001


class Rig:
    """A service's store with one app, and an operator."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.bus = LocalBus()
        self.folder = folder
        self.indexer = Indexer(self.store, FileSnapshots(folder))
        self.operator = OperatorService(
            self.store,
            AesVault(bytes(32)),
            self.clock,
            bus=self.bus,
            forget_index=self.indexer.forget,
        )

    async def open(self, *names: str) -> Rig:
        await self.operator.app_add(APP, {"admins": ["admin"]})
        decide = import_accounts([Profile(name) for name in names], 0)
        await self.store.update_accounts(APP, names, [], decide)
        return self


def files(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


@pytest.mark.evidence(
    "its index goes, in memory and on disk, and housekeeping outlives it",
    topic="Daily verbs",
    planted="the index left in memory; the fault let through",
)
async def test_the_index_of_a_removed_app_is_forgotten_in_memory_and_on_disk(
    tmp_path: Path,
) -> None:
    rig = await Rig(tmp_path).open("ann", "bob")
    assert len(await rig.indexer.audience(APP, Condition())) == 3
    await rig.indexer.snapshot(APP)
    assert files(tmp_path)
    told = await rig.operator.app_remove(APP)
    assert told == {"tasks": 0, "devices": 0, "accounts": 3, "is_gone": True}
    assert files(tmp_path) == []
    await rig.open("cid")
    # The administrator and cid: nobody of the app before.
    assert list(await rig.indexer.audience(APP, Condition())) == [4, 5]


@pytest.mark.evidence(
    "from the first moment nobody may use it, and what was let in before goes too",
    topic="Daily verbs",
    planted="the app's row deleted though rows were left; an app half gone enabled again",
)
async def test_nobody_may_use_an_app_from_the_first_call_on(tmp_path: Path) -> None:
    many = 3 * ROWS_A_STEP
    rig = await Rig(tmp_path).open(*(f"u{number}" for number in range(many)))
    rig.operator._removing.steps_max = 2
    closed: list[bytes] = []
    rig.bus.subscribe(APP_CLOSED, closed.append)
    first = await rig.operator.app_remove(APP)
    assert not first["is_gone"]
    assert first["accounts"] == 2 * ROWS_A_STEP
    await settle_loop()
    assert closed == [str(APP).encode()]
    (shown,) = await rig.operator.app_list()
    assert (shown["is_enabled"], shown["is_being_removed"]) == (False, True)
    for facts in ({"is_enabled": True}, {}):
        with pytest.raises(CallError, match=f"tocsin app remove {APP}"):
            await rig.operator.app_add(APP, facts)
    rig.operator._removing.steps_max = 9
    second = await rig.operator.app_remove(APP)
    assert second["is_gone"]
    assert first["accounts"] + second["accounts"] == many + 1
    assert await rig.operator.app_list() == []
    with pytest.raises(CallError) as refused:
        await rig.operator.app_remove(APP)
    assert refused.value.code == 70020


@pytest.mark.evidence(
    "from the first moment nobody may use it, and what was let in before goes too",
)
async def test_what_is_written_meanwhile_goes_too(tmp_path: Path) -> None:
    """A call that was let in just before comes just as everything is gone."""
    rig = await Rig(tmp_path).open("ann")

    async def late(app: int) -> None:
        names = ["late"] if await rig.store.scan_accounts(APP, 2, 1) == [] else []
        rig.operator._removing.forget_index = rig.indexer.forget
        decide = import_accounts([Profile(name) for name in names], 0)
        await rig.store.update_accounts(app, names, [], decide)

    rig.operator._removing.forget_index = late
    told = await rig.operator.app_remove(APP)
    assert (told["accounts"], told["is_gone"]) == (3, True)
    assert await rig.store.accounts(APP, ["late"]) == [None]


@pytest.mark.evidence("its index goes, in memory and on disk, and housekeeping outlives it")
async def test_housekeeping_outlives_an_app_that_goes_meanwhile(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open("ann")
    await rig.operator.app_add(APP + 1, {"admins": ["admin"]})
    channels = OneChannel(PlainChannel(Vendor(rig.clock, Chance(1), Trouble()), replaces=True))
    retire = rig.store.retire_terms
    removing = Removing(rig.store, rig.bus, rig.indexer._snapshots.forget)

    async def remove_first(app: int, limit: int) -> list[int]:
        if app == APP:
            await removing.remove(APP)
        return await retire(app, limit)

    rig.store.retire_terms = remove_first  # type: ignore[method-assign]
    await ticker_of(rig.store, rig.indexer, rig.clock, channels=channels).turn()
    assert await rig.store.apps() == [APP + 1]
    assert await rig.store.last_change(APP + 1) == rig.indexer.position(APP + 1) == 1


class Cut(MemoryStore):
    """A store that a kill takes away in the middle of a removal."""

    cut_after = 2

    async def remove_rows(self, app: int, limit: int) -> RowsRemoved:
        self.cut_after -= 1
        if not self.cut_after:
            raise KeyboardInterrupt
        return await super().remove_rows(app, limit)


@pytest.mark.evidence("a removal goes in bounded steps, and on after a kill")
async def test_a_removal_that_was_killed_goes_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.store = Cut(rig.clock)
    operator: Any = OperatorService(rig.store, AesVault(bytes(32)), rig.clock, bus=rig.bus)
    await operator.app_add(APP, {"admins": ["admin"]})
    names = [f"u{number}" for number in range(ROWS_A_STEP + 7)]
    decide = import_accounts([Profile(name) for name in names], 0)
    await rig.store.update_accounts(APP, names, [], decide)
    with pytest.raises(KeyboardInterrupt):
        await operator.app_remove(APP)
    assert [it["is_being_removed"] for it in await operator.app_list()] == [True]
    assert (await operator.app_remove(APP))["is_gone"]
    assert await operator.app_list() == []


@pytest.mark.evidence(
    "an app that the configuration would bring back is not removed",
    topic="Daily verbs",
    planted="not looked at",
)
async def test_an_app_that_the_configuration_would_bring_back_is_refused(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open("ann")
    declared = Credential(app=APP, number=1, channel="fcm", settings=b"", is_declared=True)
    await rig.store.update_credential(APP, 0, lambda _, __: declared)
    with pytest.raises(CallError, match="tocsin reload"):
        await rig.operator.app_remove(APP)
    (shown,) = await rig.operator.app_list()
    assert shown["is_enabled"]
    left = replace(declared, is_declared=False)
    await rig.store.update_credential(APP, 1, lambda _, __: left)
    assert (await rig.operator.app_remove(APP))["is_gone"]
