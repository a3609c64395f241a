"""Rows and steps that the contract tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from tocsin.domain.account import (
    TAG,
    AccountsEdit,
    AccountsView,
    Profile,
    change_tags,
    delete_accounts,
    import_accounts,
    with_tags_added,
    with_tags_removed,
)
from tocsin.domain.app import App
from tocsin.domain.device import (
    Device,
    DeviceEdit,
    DeviceView,
    Registered,
    Registration,
    Route,
    register,
)
from tocsin.domain.message import Message
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    Body,
    Job,
    Lane,
    NewJob,
    Phase,
    RecallEdit,
    RecallView,
    Report,
    SendBody,
    Stage,
    StepEdit,
    StepView,
    StepWant,
    Task,
    end,
)
from tocsin.store import Store

NOW = 1_767_225_600.0
"""What a fresh `ManualClock` shows."""

SEND = SendBody("apns", 1, -1, (1, 2, 3))


async def add_app(store: Store, number: int, **facts: Any) -> App:
    app = App(sdkappid=number, key=b"k%d" % number, appkey=b"a%d" % number, **facts)
    return await store.update_app(number, lambda _: app)


async def add_accounts(store: Store, app: int, *names: str) -> list[int]:
    """Import accounts; answers their numbers."""
    profiles = [Profile(name) for name in names]
    await store.update_accounts(app, names, [], import_accounts(profiles, NOW))
    return [found.number for found in await store.accounts(app, names) if found]


async def add_tags(store: Store, app: int, name: str, *tags: str) -> Any:
    decide = change_tags([(name, tags)], with_tags_added)
    return await store.update_accounts(app, [name], [(TAG, tag) for tag in tags], decide)


async def remove_tags(store: Store, app: int, name: str, *tags: str) -> Any:
    decide = change_tags([(name, tags)], with_tags_removed)
    return await store.update_accounts(app, [name], [], decide)


async def delete(store: Store, app: int, *names: str) -> Any:
    return await store.update_accounts(app, names, [], delete_accounts(names))


async def peek(store: Store, app: int, names: Sequence[str] = ()) -> AccountsView:
    """What a decision about these accounts would be shown."""
    view = await store.update_accounts(app, names, [], lambda view: AccountsEdit(result=view))
    assert isinstance(view, AccountsView)
    return view


async def add_device(
    store: Store, app: int, name: str, *, user: str = "", token: str = "", at: float = NOW
) -> Device:
    """Register a device, with an APNs token if one is given."""
    route = Route("apns", 1, token) if token else None
    known = await store.device(app, name)
    ask = Registration(
        registration_id=name,
        secret="s" if known else "",
        fresh_secret="s",
        user=user,
        route=route,
    )
    done = await store.update_device(app, name, user, route, register(ask, at))
    assert isinstance(done, Registered)
    return done.device


async def peek_device(
    store: Store, app: int, name: str, user: str = "", route: Route | None = None
) -> DeviceView:
    """What a decision about this device would be shown."""

    def look(view: DeviceView) -> DeviceEdit:
        return DeviceEdit(AccountsEdit(), [], view)

    view = await store.update_device(app, name, user, route, look)
    assert isinstance(view, DeviceView)
    return view


def new_task(view: AcceptView | RecallView, text: str = "", **facts: Any) -> Task:
    number = view.next_task
    return Task(
        app=view.app.sdkappid,
        number=number,
        task_id=text or f"task_{number}",
        kind="push",
        sender="admin",
        message=Message(title="hello"),
        accepted_at=NOW,
        expires_at=NOW + 60,
        **facts,
    )


def new_job(
    task: int,
    queue: str = "apns:1",
    *,
    body: Body = SEND,
    lane: Lane = Lane.BULK,
    not_before: float = NOW,
) -> NewJob:
    return NewJob(task=task, queue=queue, lane=lane, body=body, not_before=not_before)


async def add_task(
    store: Store,
    app: int,
    *,
    jobs: Sequence[Callable[[int], NewJob]] = (),
    audience: Iterable[int] | None = None,
    dedup: str = "",
    text: str = "",
) -> Task:
    """Accept a task with these jobs, each made from the task's number."""

    def decide(view: AcceptView) -> AcceptEdit:
        task = new_task(view, text)
        frozen = None if audience is None else BitMap(audience).serialize()
        made = [make(task.number) for make in jobs]
        return AcceptEdit(task=task, audience=frozen, jobs=made, result=task)

    task = await store.accept(app, dedup or f"dedup {text}", [], decide)
    assert isinstance(task, Task)
    return task


async def peek_accept(
    store: Store, app: int, dedup: str = "", names: Sequence[str] = ()
) -> AcceptView:
    view = await store.accept(app, dedup, names, lambda view: AcceptEdit(result=view))
    assert isinstance(view, AcceptView)
    return view


async def peek_recall(store: Store, app: int, task_id: str) -> RecallView:
    view = await store.recall(app, task_id, lambda view: RecallEdit(result=view))
    assert isinstance(view, RecallView)
    return view


def recalled(task: Task, at: float) -> Task:
    return msgspec.structs.replace(task, recalled_at=at)


async def lease(
    store: Store,
    app: int = 1,
    queue: str = "apns:1",
    *,
    lessee: str = "me",
    limit: int = 10,
    lane: Lane = Lane.BULK,
) -> list[Job]:
    return await store.lease(app, queue, lane, lessee=lessee, limit=limit, lease_s=30)


async def write(store: Store, job: Job, edit: StepEdit, want: StepWant | None = None) -> StepView:
    """One step that writes `edit`; answers what its decision was shown."""

    def decide(view: StepView) -> StepEdit:
        edit.result = view
        return edit

    view = await store.step(job.app, job, want or StepWant(), decide)
    assert isinstance(view, StepView)
    return view


async def finish(store: Store, job: Job, task: Task, at: float = NOW) -> None:
    """Ack the last job of a task and end it."""
    await write(store, job, StepEdit(is_done=True, task=end(task, at)))


def block(task: int, *members: int, job: int = 1, **facts: Any) -> Block:
    told: dict[str, Any] = {"kind": "device", "state": "sent", "channel": "apns", **facts}
    return Block(task=task, job=job, at=NOW, members=BitMap(members).serialize(), **told)


def report(task: int, *members: int, stage: Stage = Stage.REACHED) -> Report:
    packed = BitMap(members).serialize()
    return Report(task=task, stage=stage, channel="online", at=int(NOW), members=packed)


def is_running(task: Task) -> bool:
    return task.phase is not Phase.DONE
