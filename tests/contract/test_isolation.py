"""No verb of one app reads or writes another app's rows: each is called with another's ids."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    NOW,
    add_accounts,
    add_device,
    add_tags,
    add_task,
    block,
    delete,
    finish,
    lease,
    new_job,
    new_task,
    peek,
    peek_accept,
    peek_device,
    peek_recall,
    recalled,
    remove_tags,
    report,
    write,
)
from tests.contract.test_atomic import everything
from tests.task_books import acked, read_books
from tocsin.clock import ManualClock
from tocsin.domain.account import TAG, AccountsEdit
from tocsin.domain.app import App, Credential
from tocsin.domain.books import merge_blocks
from tocsin.domain.device import Route
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    AcceptEdit,
    FanoutBody,
    Job,
    Lane,
    RecallEdit,
    RecallView,
    StepEdit,
    StepWant,
    end,
)
from tocsin.domain.tokens import DevicesEdit
from tocsin.errors import CallError, Stale
from tocsin.store import Store

THEIRS, OURS = 1, 2
"""App 1 has one of everything; app 2 asks for it by the same ids and finds nothing."""


async def fill(store: Store, app: int) -> Job:
    """One of everything; answers its job, leased."""
    credential = Credential(app=app, number=1, channel="apns", settings=b"")
    await store.update_credential(app, 0, lambda _, __: credential)
    await add_accounts(store, app, "ann", "bob")
    await add_tags(store, app, "ann", "red", "blue")
    await remove_tags(store, app, "ann", "blue")
    await add_device(store, app, "phone", user="ann", token="t1")
    await delete(store, app, "bob")
    await add_task(store, app, jobs=[new_job], audience=[1], dedup="d", text="t")
    (job,) = await lease(store, app)
    await write(store, job, StepEdit(blocks=[block(1, 1)]))
    await store.append_reports(app, [report(1, 1)])
    await store.mark_snapshot(app, b"mark", 4 + app, b"")
    return job


@pytest.fixture
async def held(store: Store) -> Job:
    """Fill app 1."""
    return await fill(store, THEIRS)


@pytest.mark.evidence("no verb touches another app's rows")
async def test_reads_find_nothing(store: Store, held: Job) -> None:
    everyone = BitMap(range(1, 10))
    red = [(TAG, "red")]
    assert await store.credentials(OURS) == []
    assert await store.accounts(OURS, ["ann", "phone"]) == [None, None]
    assert await store.account_names(OURS, everyone) == {}
    assert await store.token_owners(OURS, [Route("apns", 1, "t1")]) == [None]
    assert await store.scan_accounts(OURS, 0, 9) == []
    assert await store.terms(OURS, red) == {}
    assert await store.changes(OURS, 0, 9) == []
    assert await store.last_change(OURS) == 0
    assert await store.marked_position(OURS, b"mark") is None
    assert await store.device(OURS, "phone") is None
    assert await store.devices(OURS, everyone) == {}
    assert await store.devices_of(OURS, everyone) == []
    assert await store.scan_devices(OURS, 0, 9) == []
    assert (await store.unchecked(OURS), await store.unchecked_devices(OURS, 9)) == (0, [])
    assert await store.task_by_id(OURS, "t") is None
    assert await store.tasks(OURS) == []
    assert await store.living(OURS) == []
    assert await store.audience(OURS, 1) == BitMap()
    assert await read_books(store, OURS, 1) is None
    assert await acked(store, OURS, 1) == BitMap()
    await store.recall(
        THEIRS, "t", lambda view: RecallEdit(task=recalled(view.task, NOW) if view.task else None)
    )
    assert await store.recalled(THEIRS, 0) == {1}
    assert await store.recalled(OURS, 0) == set()


async def test_an_app_is_its_own(store: Store) -> None:
    ours, theirs = await store.app(OURS), await store.app(THEIRS)
    assert ours is not None
    assert theirs is not None
    assert (ours.sdkappid, theirs.sdkappid) == (OURS, THEIRS)
    assert await store.app(3) is None
    with pytest.raises(AssertionError):
        await store.update_app(3, lambda _: theirs)
    assert await store.app(3) is None
    assert await store.apps() == [1, 2]


async def test_decisions_are_shown_nothing(store: Store, held: Job) -> None:
    seen: list[object] = []

    def look(row: Credential | None, number: int) -> None:
        seen.extend((row, number))

    assert await store.update_credential(OURS, 1, look) is None
    assert seen == [None, 1]
    assert len(await store.credentials(THEIRS)) == 1

    view = await peek(store, OURS, ["ann", "bob"])
    assert (view.accounts, view.terms, view.deleted_at) == ({}, {}, {})
    assert (view.tags_carried, view.account_count) == (0, 0)
    assert (view.next_account, view.next_term) == (1, 1)
    terms = await store.update_accounts(
        OURS, [], [(TAG, "red")], lambda view: AccountsEdit(result=view.terms)
    )
    assert terms == {}

    routes = [Route("apns", 1, "t1")]
    devices = await store.update_devices(
        OURS, [1], routes, lambda view: DevicesEdit(result=(view.devices, view.owners))
    )
    assert devices == ([], [])

    device = await peek_device(store, OURS, "phone", "ann", Route("apns", 1, "t1"))
    assert (device.device, device.owners, device.next_device) == (None, [], 1)

    await store.accept(THEIRS, "d2", [], lambda _: AcceptEdit(use=PushUse(count=5)))
    accept = await peek_accept(store, OURS, "d", ["ann"])
    assert (accept.earlier, accept.accounts, accept.next_task) == (None, {}, 1)
    assert accept.use == PushUse()
    assert (await peek_accept(store, THEIRS, "d")).earlier is not None

    recall = await peek_recall(store, OURS, "t")
    assert (recall.task, recall.use, recall.next_task) == (None, PushUse(), 1)


@pytest.mark.evidence(
    "no verb touches another app's rows",
    topic="Books",
    planted="`app` left out of the WHERE that cuts the log, and of the one that scans accounts",
)
async def test_writes_touch_nothing(store: Store, held: Job) -> None:
    before = await read_books(store, THEIRS, 1)
    await add_accounts(store, OURS, "ann")
    await add_device(store, OURS, "phone", user="ann", token="t1")
    await delete(store, OURS, "ann", "phone")
    assert await store.device(THEIRS, "phone") is not None
    assert None not in await store.accounts(THEIRS, ["ann", "phone"])
    assert await store.retire_terms(OURS, 9) == []
    await store.cut_changes(OURS, 99)
    await store.mark_snapshot(OURS, b"other", 1, b"")
    assert await store.marked_position(THEIRS, b"mark") == 5
    assert len(await store.changes(THEIRS, 0, 99)) == 5
    theirs = await store.app(THEIRS)
    seen: list[tuple[str, ...]] = []

    def look(row: App, users: Sequence[str]) -> App:
        seen.append(tuple(users))
        return row

    await store.reserve_prefix(OURS, "a", look)
    assert (seen, await store.app(THEIRS)) == ([()], theirs)
    await store.append_reports(OURS, [report(1, 7)])
    await add_task(store, OURS, text="same number")
    assert await acked(store, OURS, 1) == BitMap()
    await store.merge_ended(OURS, merge_blocks, 1000)
    assert await store.forget(OURS, NOW * 2, 100) == 0
    assert await read_books(store, THEIRS, 1) == before
    assert await store.retire_terms(THEIRS, 9) == [2]


async def test_the_same_ids_in_another_app_come_and_go_alone(
    store: Store, held: Job, clock: ManualClock
) -> None:
    """App 2 gets the same names and numbers, changes each of them and throws them away."""
    before = await everything(store)
    mine = await fill(store, OURS)
    assert (mine.number, mine.task) == (held.number, held.task)
    books = await read_books(store, OURS, 1)
    assert books is not None
    assert (len(books.blocks), len(books.reports), len(books.jobs)) == (1, 1, 1)
    assert {job.app for job in books.jobs} == {OURS}
    await store.update_credential(OURS, 1, lambda _, __: None)
    await add_accounts(store, OURS, "bob")
    await add_device(store, OURS, "pad", token="t1")
    await add_device(store, OURS, "phone", user="ann", token="t2")
    assert await store.retire_terms(OURS, 9) == [2]
    await delete(store, OURS, "ann", "bob", "phone", "pad")
    assert await store.retire_terms(OURS, 9) == [1]
    await store.cut_changes(OURS, 99)
    await add_task(store, OURS, jobs=[lambda n: new_job(n, not_before=NOW + 99)], text="late")
    late = await store.task_by_id(OURS, "late")
    assert late is not None
    wakes = RecallEdit(task=recalled(late, NOW), wakes_jobs=True, use=PushUse(count=9))
    await store.recall(OURS, "late", lambda _: wakes)
    await clock.advance(0.5)
    await store.extend(OURS, [mine], lease_s=99)
    task = await store.task_by_id(OURS, "t")
    assert task is not None
    body = FanoutBody(cursor=9)
    await write(store, mine, StepEdit(begun_at=NOW, body=body, audience=BitMap([5]).serialize()))
    await write(store, mine, StepEdit(not_before=NOW))
    (mine,) = await store.lease(OURS, "apns:1", Lane.BULK, lessee="x", limit=1, lease_s=30)
    await write(store, mine, StepEdit(is_done=True, task=end(task, NOW)))
    await store.merge_ended(OURS, merge_blocks, 1000)
    assert await store.forget(OURS, NOW + 1, 100) == 1
    depth = await store.depth()
    heads = await store.heads(1e10)
    after = await everything(store)
    assert [head for head in heads if head.app == THEIRS] == before["heads"]
    assert {place: rows for place, rows in depth.items() if place[0] == THEIRS} == before["depth"]
    for name in before.keys() - {"heads", "depth"}:
        assert after[name] == before[name], name
    assert await store.extend(THEIRS, [held], lease_s=30) == [1]


async def test_what_is_remembered_of_a_name_or_token_is_each_apps_own(
    store: Store, held: Job
) -> None:
    token = Route("apns", 1, "t1")
    (owner,) = (await peek_device(store, THEIRS, "x", route=token)).owners
    await fill(store, OURS)
    await add_device(store, OURS, "pad", token="t1")
    await add_accounts(store, OURS, "bob")
    assert (await peek_device(store, THEIRS, "x", route=token)).owners == [owner]
    assert "bob" in (await peek(store, THEIRS, ["bob"])).deleted_at
    assert "bob" not in (await peek(store, OURS, ["bob"])).deleted_at
    await add_task(store, OURS, dedup="mine", text="mine")
    await add_task(store, THEIRS, dedup="theirs", text="theirs")
    assert (await peek_accept(store, OURS, "theirs")).earlier is None


async def test_jobs_of_the_same_number_do_not_stand_in_for_each_other(
    store: Store, clock: ManualClock
) -> None:
    parked = lambda n: new_job(n, "apns:1", not_before=NOW + 500)  # noqa: E731
    other = lambda n: new_job(n, "fcm:2", not_before=NOW + 500)  # noqa: E731
    await add_task(store, THEIRS, jobs=[new_job, new_job, other], text="t")
    (theirs,) = await lease(store, THEIRS, limit=1)
    await add_task(store, OURS, jobs=[lambda n: new_job(n, "fcm:9"), parked], text="t")
    assert await lease(store, OURS) == []

    async def lease_long(queue: str) -> list[Job]:
        return await store.lease(OURS, queue, Lane.BULK, lessee="me", limit=9, lease_s=100)

    (ours,) = await lease_long("fcm:9")
    assert (await write(store, ours, StepEdit(body=FanoutBody(7)))).job == ours
    assert (await write(store, ours, StepEdit())).job.body == FanoutBody(7)
    assert (await write(store, theirs, StepEdit())).job == theirs
    await write(store, ours, StepEdit(jobs=[new_job(1, "fcm:9")]))
    await clock.advance(31)
    assert await lease_long("apns:1") == []
    assert [job.number for job in await lease_long("fcm:9")] == [3]
    await clock.advance(100)
    assert [job.number for job in await lease_long("fcm:9")] == [1, 3]


async def test_tasks_of_the_same_number_do_not_stand_in_for_each_other(store: Store) -> None:
    parked = lambda n: new_job(n, not_before=NOW + 500)  # noqa: E731
    task = await add_task(store, THEIRS, jobs=[new_job, parked], audience=[1], text="t")
    await add_task(store, OURS, jobs=[new_job], text="t")
    (ours,) = await lease(store, OURS)
    assert not (await write(store, ours, StepEdit())).has_other_jobs

    def overwrite(view: RecallView) -> RecallEdit:
        assert view.task is not None
        over = new_task(view, "over", overwrites=1)
        return RecallEdit(recalled(view.task, NOW), over, wakes_jobs=True)

    await store.recall(OURS, "t", overwrite)
    assert await store.audience(OURS, 2) == BitMap()
    assert await store.audience(THEIRS, 2) == BitMap()
    (theirs,) = await lease(store, THEIRS)
    assert theirs.number == 1
    await finish(store, theirs, task)
    assert await store.forget(OURS, NOW + 1, 100) == 0
    assert len(await store.tasks(THEIRS)) == 1


async def test_jobs_are_out_of_reach(store: Store, held: Job) -> None:
    assert await store.lease(OURS, "apns:1", Lane.BULK, lessee="x", limit=9, lease_s=9) == []
    assert await store.extend(OURS, [held], lease_s=30) == []
    with pytest.raises(Stale):
        await store.step(OURS, held, StepWant(), lambda _: StepEdit(is_done=True))
    assert await store.extend(THEIRS, [held], lease_s=30) == [1]


async def test_a_step_sees_only_its_own_apps_rows(store: Store, held: Job) -> None:
    await add_task(store, OURS, jobs=[new_job], text="u")
    await store.append_reports(THEIRS, [report(1, 9)])
    (job,) = await lease(store, OURS)
    want = StepWant(devices=(1,), with_acked=True)
    view = await write(store, job, StepEdit(), want)
    assert (dict(view.devices), view.acked) == ({}, BitMap())
    assert not view.has_other_jobs
    assert view.app.sdkappid == OURS
    with pytest.raises(Stale):
        await store.step(THEIRS, job, StepWant(), lambda _: StepEdit(is_done=True))


async def test_rows_of_another_app_are_never_written(store: Store, held: Job) -> None:
    alien = await store.task_by_id(THEIRS, "t")
    assert alien is not None
    with pytest.raises(AssertionError):
        await store.accept(OURS, "d", [], lambda _: AcceptEdit(task=alien))
    assert await store.tasks(OURS) == []
    with pytest.raises(AssertionError):
        await store.accept(OURS, "d", [], lambda _: AcceptEdit(jobs=[new_job(1)]))
    credential = Credential(app=THEIRS, number=1, channel="apns", settings=b"")
    with pytest.raises(AssertionError):
        await store.update_credential(OURS, 0, lambda _, __: credential)
    assert await store.credentials(OURS) == []


async def test_unknown_apps_are_refused_or_empty(store: Store, held: Job) -> None:
    with pytest.raises(CallError):
        await peek(store, 3)
    with pytest.raises(CallError):
        await peek_device(store, 3, "phone")
    with pytest.raises(CallError):
        await peek_accept(store, 3)
    with pytest.raises(CallError):
        await peek_recall(store, 3, "t")
    with pytest.raises(CallError):
        await store.update_credential(3, 0, lambda _, __: None)
    await store.append_reports(3, [report(1, 1)])
    assert await read_books(store, 3, 1) is None
    assert await store.apps() == [1, 2]
