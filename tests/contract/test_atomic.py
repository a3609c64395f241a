"""A step is whole or nothing: a decision that raises, or an edit that cannot be, changes nothing.

What may be seen is read before and after; the two must be equal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    add_accounts,
    add_device,
    add_tags,
    add_task,
    block,
    lease,
    new_job,
    new_task,
    peek,
    peek_accept,
    peek_device,
    recalled,
    report,
    write,
)
from tests.task_books import read_books
from tocsin.domain.account import TAG, Account, AccountsEdit, AccountsView, Change, Term
from tocsin.domain.device import Device, DeviceEdit, DeviceView
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Job,
    RecallEdit,
    RecallView,
    StepEdit,
    StepWant,
)
from tocsin.errors import CallError
from tocsin.store import Store


async def everything(store: Store) -> dict[str, Any]:
    """All that can be seen of app 1."""
    accept = await peek_accept(store, 1, "d")
    everyone = BitMap(range(20))
    return {
        "app": await store.app(1),
        "credentials": await store.credentials(1),
        "accounts": await store.scan_accounts(1, 0, 100),
        "names": await store.account_names(1, everyone),
        "view": await peek(store, 1, ["ann", "new", "gone"]),
        "terms": await store.terms(1, [(TAG, "red"), (TAG, "new")]),
        "changes": await store.changes(1, 0, 100),
        "last": await store.last_change(1),
        "devices": await store.devices(1, everyone),
        "owned": await store.devices_of(1, everyone),
        "device view": await peek_device(store, 1, "phone"),
        "tasks": await store.tasks(1),
        "living": await store.living(1),
        "books": [await read_books(store, 1, number) for number in (1, 2)],
        "recalled": await store.recalled(1, 0),
        "accept": accept,
        "depth": await store.depth(),
        "heads": await store.heads(1e10),
    }


@pytest.fixture
async def job(store: Store) -> Job:
    await add_accounts(store, 1, "ann")
    await add_tags(store, 1, "ann", "red")
    await add_device(store, 1, "phone", user="ann", token="t1")
    await add_device(store, 1, "pad", token="t2")
    await add_task(store, 1, jobs=[new_job], audience=[1], dedup="d", text="t")
    await store.append_reports(1, [report(1, 1)])
    (held,) = await lease(store)
    return held


def refuse(*_: object) -> NoReturn:
    raise CallError(90032)


async def test_a_decision_that_refuses_changes_nothing(store: Store, job: Job) -> None:
    before = await everything(store)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.update_app(1, refuse),
        lambda: store.update_app(7, refuse),
        lambda: store.update_credential(1, 0, refuse),
        lambda: store.update_accounts(1, ["ann"], [], refuse),
        lambda: store.update_device(1, "phone", "ann", None, refuse),
        lambda: store.accept(1, "new", ["ann"], refuse),
        lambda: store.recall(1, "t", refuse),
    ]
    for call in calls:
        with pytest.raises(CallError) as refused:
            await call()
        assert refused.value.code == 90032
    assert await everything(store) == before
    assert await store.apps() == [1, 2]


async def test_a_step_that_fails_changes_nothing(store: Store, job: Job) -> None:
    before = await everything(store)
    with pytest.raises(CallError):
        await store.step(1, job, StepWant(), refuse)
    assert await everything(store) == before
    await write(store, job, StepEdit())


async def test_an_edit_that_fails_late_is_taken_back_whole(store: Store, job: Job) -> None:
    before = await everything(store)
    born, stray = Account(4, "new"), Term(9, TAG, "new", 0)

    def accounts(view: AccountsView) -> AccountsEdit:
        red = msgspec.structs.replace(view.terms[TAG, "red"], uses=9)
        gone = view.accounts["ann"]
        return AccountsEdit([born], [gone], [red, stray], [Change(1, live=-1)])

    with pytest.raises(AssertionError):
        await store.update_accounts(1, ["ann"], [], accounts)
    assert await everything(store) == before

    def twin(view: AccountsView) -> AccountsEdit:
        return AccountsEdit([born], terms=[Term(2, TAG, "red", 0, 5)])

    with pytest.raises(AssertionError):
        await store.update_accounts(1, [], [], twin)
    assert await everything(store) == before

    def device(view: DeviceView) -> DeviceEdit:
        assert view.device is not None
        stolen = msgspec.structs.replace(view.device, registration_id="pad")
        return DeviceEdit(AccountsEdit([born]), [stolen])

    with pytest.raises(AssertionError):
        await store.update_device(1, "phone", "", None, device)
    assert await everything(store) == before


async def test_a_task_that_fails_late_is_taken_back_whole(store: Store, job: Job) -> None:
    before = await everything(store)

    def accept(view: AcceptView) -> AcceptEdit:
        frozen = BitMap([1]).serialize()
        return AcceptEdit(new_task(view), frozen, [new_job(2), new_job(77)], PushUse(count=4))

    with pytest.raises(AssertionError):
        await store.accept(1, "d", [], accept)
    assert await everything(store) == before

    def recall(view: RecallView) -> RecallEdit:
        assert view.task is not None
        return RecallEdit(
            recalled(view.task, 5), new_task(view), wakes_jobs=True, jobs=[new_job(77)]
        )

    with pytest.raises(AssertionError):
        await store.recall(1, "t", recall)
    assert await everything(store) == before


@pytest.mark.evidence(
    "a step that fails is taken back whole",
    topic="Books",
    planted="the savepoint not rolled back",
)
async def test_a_step_that_fails_late_is_taken_back_whole(store: Store, job: Job) -> None:
    before = await everything(store)
    pad = await store.device(1, "pad")
    assert isinstance(pad, Device)
    thief = msgspec.structs.replace(pad, route=(await _phone(store)).route)
    task = await store.task_by_id(1, "t")
    assert task is not None
    edit = StepEdit(
        is_done=True,
        task=recalled(task, 9),
        audience=BitMap([1]).serialize(),
        jobs=[new_job(1)],
        blocks=[block(1, 1)],
        devices=[thief],
    )
    with pytest.raises(AssertionError):
        await write(store, job, edit)
    assert await everything(store) == before
    with pytest.raises(AssertionError):
        await write(store, job, StepEdit(is_done=True, blocks=[block(1, 1), block(2, 1)]))
    assert await everything(store) == before


async def _phone(store: Store) -> Device:
    phone = await store.device(1, "phone")
    assert phone is not None
    return phone


async def test_the_number_of_a_step_that_failed_is_given_to_the_next(store: Store) -> None:
    def clumsy(view: AccountsView) -> AccountsEdit:
        born = [Account(view.next_account, "a"), Account(view.next_account + 5, "b")]
        return AccountsEdit(born)

    with pytest.raises(AssertionError):
        await store.update_accounts(1, [], [], clumsy)
    assert await add_accounts(store, 1, "ann") == [1]
