"""Tasks: accepted, recalled, booked, reported on, merged and forgotten."""

from __future__ import annotations

import msgspec
import pytest
from pyroaring import BitMap

from tests.contract.rows import (
    NOW,
    add_accounts,
    add_task,
    block,
    finish,
    lease,
    new_job,
    new_task,
    peek_accept,
    peek_recall,
    recalled,
    report,
    write,
)
from tests.task_books import WholeBooks, acked, read_books
from tocsin.clock import ManualClock
from tocsin.domain.account import Account
from tocsin.domain.books import merge_blocks
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    RecallEdit,
    RecallView,
    Stage,
    StepEdit,
    Task,
)
from tocsin.store import Store


async def test_a_view_shows_the_app_the_named_accounts_and_the_quota(store: Store) -> None:
    await add_accounts(store, 1, "ann", "bob")
    view = await peek_accept(store, 1, names=["bob", "nobody"])
    assert view.app == await store.app(1)
    assert dict(view.accounts) == {"bob": Account(2, "bob")}
    assert (view.use, view.earlier, view.next_task) == (PushUse(), None, 1)


async def test_task_audience_job_and_quota_are_one_step(store: Store) -> None:
    used = PushUse(day=1, count=2, last_at=3.0)

    def decide(view: AcceptView) -> AcceptEdit:
        task = new_task(view, "t")
        frozen = BitMap([4, 5]).serialize()
        return AcceptEdit(task, frozen, [new_job(1)], used, "answer")

    assert await store.accept(1, "d", [], decide) == "answer"
    task = await store.task_by_id(1, "t")
    assert task is not None
    assert await store.audience(1, 1) == BitMap([4, 5])
    assert [job.number for job in await lease(store)] == [1]
    assert (await peek_accept(store, 1)).use == used
    assert (await peek_accept(store, 1)).next_task == 2


@pytest.mark.evidence("the same MsgRandom within a second is the same task")
async def test_the_same_key_finds_the_task_for_one_second(store: Store, clock: ManualClock) -> None:
    task = await add_task(store, 1, dedup="same")
    await clock.advance(0.75)
    assert (await peek_accept(store, 1, "same")).earlier == task
    assert (await peek_accept(store, 1, "other")).earlier is None
    await clock.advance(0.25)
    assert (await peek_accept(store, 1, "same")).earlier is None


async def test_a_new_task_takes_the_key_over(store: Store, clock: ManualClock) -> None:
    await add_task(store, 1, dedup="same", text="first")
    await clock.advance(1)
    second = await add_task(store, 1, dedup="same", text="second")
    await clock.advance(0.5)
    assert (await peek_accept(store, 1, "same")).earlier == second


async def test_asking_does_not_renew_the_key(store: Store, clock: ManualClock) -> None:
    await add_task(store, 1, dedup="same")
    await clock.advance(0.75)
    await peek_accept(store, 1, "same")
    await clock.advance(0.75)
    assert (await peek_accept(store, 1, "same")).earlier is None


async def test_tasks_are_listed_newest_first_in_pages(store: Store) -> None:
    for number in range(1, 6):
        await add_task(store, 1, text=f"t{number}")
    assert [task.number for task in await store.tasks(1)] == [5, 4, 3, 2, 1]
    assert [task.number for task in await store.tasks(1, limit=2)] == [5, 4]
    assert [task.number for task in await store.tasks(1, before=4, limit=2)] == [3, 2]
    assert await store.tasks(1, before=1) == []


async def test_a_task_lives_until_it_has_ended(store: Store) -> None:
    first = await add_task(store, 1, jobs=[new_job], text="a")
    second = await add_task(store, 1, text="b")
    assert await store.living(1) == [first, second]
    (job,) = await lease(store)
    await finish(store, job, first)
    assert await store.living(1) == [second]


async def test_an_audience_is_empty_until_it_is_frozen(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job])
    assert await store.audience(1, 1) == BitMap()
    (job,) = await lease(store)
    await write(store, job, StepEdit(audience=BitMap(range(100_000)).serialize()))
    assert await store.audience(1, 1) == BitMap(range(100_000))
    handed = await store.audience(1, 1)
    handed.clear()
    assert len(await store.audience(1, 1)) == 100_000


async def test_a_recall_sees_the_task_and_marks_it(store: Store, clock: ManualClock) -> None:
    task = await add_task(store, 1, audience=[1, 2], text="t")
    view = await peek_recall(store, 1, "t")
    assert (view.app, view.task, view.next_task) == (await store.app(1), task, 2)
    assert view.use == PushUse()
    assert (await peek_recall(store, 1, "unknown")).task is None
    assert await store.recalled(1, 0) == set()

    used = PushUse(recall_at=NOW)
    edit = RecallEdit(task=recalled(task, NOW + 5), use=used, result="done")
    assert await store.recall(1, "t", lambda _: edit) == "done"
    assert await store.task_by_id(1, "t") == recalled(task, NOW + 5)
    assert await store.recalled(1, NOW + 5) == {1}
    assert await store.recalled(1, NOW + 5.1) == set()
    assert (await peek_accept(store, 1)).use == used


async def test_an_overwrite_gets_the_audience_of_the_recalled_task(store: Store) -> None:
    task = await add_task(store, 1, audience=[1, 2], text="t")

    def decide(view: RecallView) -> RecallEdit:
        over = new_task(view, "over", overwrites=1)
        jobs = [new_job(over.number, "fanout")]
        return RecallEdit(recalled(task, NOW), overwrite=over, jobs=jobs, result=over)

    over = await store.recall(1, "t", decide)
    assert await store.task_by_id(1, "over") == over
    assert await store.audience(1, over.number) == BitMap([1, 2])
    (job,) = await lease(store, queue="fanout")
    assert job.task == over.number


async def test_a_recall_wakes_the_parked_jobs_that_nobody_holds(
    store: Store, clock: ManualClock
) -> None:
    later = NOW + 1000
    task = await add_task(
        store, 1, jobs=[lambda n: new_job(n, not_before=later), new_job, new_job], text="t"
    )
    await add_task(store, 1, jobs=[lambda n: new_job(n, "wait", not_before=later)], text="u")
    (held,) = await lease(store, limit=1)
    await clock.advance(10)
    edit = RecallEdit(task=recalled(task, NOW + 10), wakes_jobs=True)
    await store.recall(1, "t", lambda _: edit)
    assert [(job.number, job.not_before) for job in await lease(store)] == [
        (3, NOW),
        (1, NOW + 10),
    ]
    assert await lease(store, queue="wait") == []
    assert await store.extend(1, [held], lease_s=30) == [held.number]


async def test_books_are_everything_about_a_task_in_order(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job, new_job], audience=[1], text="t")
    first, second = await lease(store)
    await write(store, second, StepEdit(blocks=[block(1, 5, job=2), block(1, 6, kind="planned")]))
    await write(store, first, StepEdit(blocks=[block(1, 7)]))
    await store.append_reports(1, [report(1, 5), report(1, 6, stage=Stage.CLICKED)])
    books = await read_books(store, 1, 1)
    assert books is not None
    assert books.task == await store.task_by_id(1, "t")
    assert books.audience == BitMap([1])
    assert list(books.blocks) == [block(1, 5, job=2), block(1, 6, kind="planned"), block(1, 7)]
    assert list(books.reports) == [report(1, 5), report(1, 6, stage=Stage.CLICKED)]
    assert [job.number for job in books.jobs] == [1, 2]
    assert await read_books(store, 1, 2) is None


async def test_arrivals_and_clicks_are_acks_and_sent_legs_are_not(store: Store) -> None:
    await add_task(store, 1, text="t")
    assert await acked(store, 1, 1) == BitMap()
    await store.append_reports(
        1,
        [
            report(1, 5),
            report(1, 6, stage=Stage.CLICKED),
            report(1, 7, stage=Stage.SENT),
        ],
    )
    assert await acked(store, 1, 1) == BitMap([5, 6])
    await store.append_reports(1, [report(1, 8, 5)])
    assert await acked(store, 1, 1) == BitMap([5, 6, 8])
    (await acked(store, 1, 1)).add(99)
    assert await acked(store, 1, 1) == BitMap([5, 6, 8])


async def test_reports_of_unknown_tasks_are_dropped(store: Store) -> None:
    await add_task(store, 1, text="t")
    await store.append_reports(1, [report(2, 5), report(1, 6)])
    assert await acked(store, 1, 2) == BitMap()
    await add_task(store, 1, text="u")
    assert await acked(store, 1, 2) == BitMap()
    books = await read_books(store, 1, 1)
    assert books is not None
    assert list(books.reports) == [report(1, 6)]


async def ended_with_blocks(store: Store) -> Task:
    task = await add_task(store, 1, jobs=[new_job], text="t")
    (job,) = await lease(store)
    await write(store, job, StepEdit(blocks=[block(1, 5), block(1, 6), block(1, 7, code="9")]))
    await finish(store, job, task)
    return task


async def blocks_of(store: Store, task: int) -> list[Block]:
    books = await read_books(store, 1, task)
    assert isinstance(books, WholeBooks)
    return list(books.blocks)


async def test_an_ended_tasks_blocks_are_replaced_by_the_merged_ones(store: Store) -> None:
    await ended_with_blocks(store)
    await store.merge_ended(1, merge_blocks, 1000)
    assert await blocks_of(store, 1) == [block(1, 5, 6, job=0), block(1, 7, job=0, code="9")]


async def test_a_living_or_unknown_task_is_not_merged(store: Store) -> None:
    await add_task(store, 1, jobs=[new_job], text="t")
    (job,) = await lease(store)
    await write(store, job, StepEdit(blocks=[block(1, 5), block(1, 6)]))
    await store.merge_ended(1, merge_blocks, 1000)
    await store.merge_ended(1, merge_blocks, 1000)
    assert await blocks_of(store, 1) == [block(1, 5), block(1, 6)]


@pytest.mark.evidence(
    "ended tasks are forgotten with their books",
    topic="Books",
    planted="the task alone deleted",
)
async def test_old_ended_tasks_are_forgotten_with_their_books(store: Store) -> None:
    await ended_with_blocks(store)
    await store.append_reports(1, [report(1, 5)])
    young = await add_task(store, 1, jobs=[new_job], text="young")
    (job,) = await lease(store)
    await finish(store, job, young, at=NOW + 10)
    living = await add_task(store, 1, text="living")
    assert await store.forget(1, NOW, 100) == 0
    assert await store.forget(1, NOW + 10, 100) == 1
    assert await store.task_by_id(1, "t") is None
    assert await read_books(store, 1, 1) is None
    assert await acked(store, 1, 1) == BitMap()
    assert [task.number for task in await store.tasks(1)] == [living.number, young.number]
    assert (await peek_accept(store, 1)).next_task == 4


async def test_a_step_replaces_the_task(store: Store) -> None:
    task = await add_task(store, 1, jobs=[new_job], text="t")
    (job,) = await lease(store)
    grown = msgspec.structs.replace(task, audience_size=7)
    await write(store, job, StepEdit(task=grown))
    assert await store.task_by_id(1, "t") == grown
