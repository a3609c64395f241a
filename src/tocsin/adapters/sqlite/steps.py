"""Steps that join several nouns: an app's row, a device with its accounts, a leased job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from tocsin.adapters.sqlite.accounts import (
    find_accounts,
    view_accounts,
    write_accounts,
)
from tocsin.adapters.sqlite.audiences import write_audience
from tocsin.adapters.sqlite.books import append_blocks, find_acked
from tocsin.adapters.sqlite.devices import (
    changed_devices,
    devices_by_number,
    devices_of,
    find_device,
    find_owners,
    write_devices,
)
from tocsin.adapters.sqlite.queue import add_jobs, has_other_jobs, held_job, write_job
from tocsin.adapters.sqlite.tables import Tables
from tocsin.adapters.sqlite.tasks import (
    create_task,
    read_overwritten,
    read_use,
    remembered_task,
    replace_task,
    task_by_number,
    write_handles,
    write_use,
)
from tocsin.domain.account import AccountsEdit, AccountsView
from tocsin.domain.app import App, Credential
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.device import DeviceEdit, DeviceView, Route
from tocsin.domain.task import (
    DEDUP_S,
    AcceptEdit,
    AcceptView,
    Job,
    StepEdit,
    StepView,
    StepWant,
)
from tocsin.domain.tokens import DevicesEdit, DevicesView

_EARLIER = "SELECT task FROM dedup WHERE app = ? AND key = ? AND at > ?"
_SET_DEDUP = "INSERT OR REPLACE INTO dedup (app, key, at, task) VALUES (?, ?, ?, ?)"
_CLEAN_DEDUPS = "DELETE FROM dedup WHERE app = ? AND at <= ?"
_MARK = "SELECT mark FROM collapse_mark"
_UNMARKED = "SELECT app, last_task FROM collapse_unmarked ORDER BY app"
_APPS = "SELECT app, doc FROM app ORDER BY app"
_SET_APP = "INSERT OR REPLACE INTO app (app, doc) VALUES (?, ?)"
_CREDENTIALS = "SELECT doc FROM credential WHERE app = ? ORDER BY number"
_CREDENTIAL = "SELECT doc FROM credential WHERE app = ? AND number = ?"
_SET_CREDENTIAL = "INSERT OR REPLACE INTO credential (app, number, doc) VALUES (?, ?, ?)"
_DELETE_CREDENTIAL = "DELETE FROM credential WHERE app = ? AND number = ?"


def read_mark(tables: Tables) -> CollapseMark:
    return CollapseMark(tables.value(_MARK), dict(tables.all(_UNMARKED)))


def read_apps(tables: Tables) -> dict[int, App]:
    return {app: msgspec.msgpack.decode(doc, type=App) for app, doc in tables.all(_APPS)}


def change_app(tables: Tables, app: int, change: Callable[[App | None], App]) -> App:
    row = change(tables.find_app(app))
    assert row.sdkappid == app, row.sdkappid
    tables.forget_app(app)
    tables.run(_SET_APP, app, msgspec.msgpack.encode(row))
    return row


def read_credentials(tables: Tables, app: int) -> list[Credential]:
    rows = tables.all(_CREDENTIALS, app)
    return [msgspec.msgpack.decode(doc, type=Credential) for (doc,) in rows]


def change_credential(
    tables: Tables,
    app: int,
    number: int,
    change: Callable[[Credential | None, int], Credential | None],
) -> Credential | None:
    assert tables.app(app).sdkappid == app
    doc = tables.value(_CREDENTIAL, app, number)
    known = None if doc is None else msgspec.msgpack.decode(doc, type=Credential)
    row = change(known, tables.tally(app).credential + 1)
    if row is None:
        tables.run(_DELETE_CREDENTIAL, app, number)
        return None
    assert row.app == app, row.app
    if known is None:
        tables.give(app, "credential", [row.number])
    else:
        assert row.number == number, row.number
    tables.run(_SET_CREDENTIAL, app, row.number, msgspec.msgpack.encode(row))
    return row


def change_accounts(
    tables: Tables,
    app: int,
    view: AccountsView,
    change: Callable[[AccountsView], AccountsEdit],
    now: float,
) -> Any:
    edit = change(view)
    write_accounts(tables, app, edit, now)
    return edit.result


def view_device(
    tables: Tables, app: int, registration_id: str, user: str, route: Route | None
) -> DeviceView:
    """What a decision about this device has to know."""
    names = [registration_id, user] if user else [registration_id]
    return DeviceView(
        accounts=view_accounts(tables, app, names, []),
        device=find_device(tables, app, registration_id),
        owners=[] if route is None else find_owners(tables, app, [route]),
        next_device=tables.tally(app).device + 1,
    )


def change_device(
    tables: Tables,
    app: int,
    view: DeviceView,
    change: Callable[[DeviceView], DeviceEdit],
    now: float,
) -> Any:
    edit = change(view)
    write_accounts(tables, app, edit.accounts, now)
    write_devices(tables, app, edit.devices)
    return edit.result


def change_devices(
    tables: Tables,
    app: int,
    numbers: Sequence[int],
    routes: Sequence[Route],
    change: Callable[[DevicesView], DevicesEdit],
) -> Any:
    found = devices_by_number(tables, app, numbers) if numbers else {}
    edit = change(DevicesView(list(found.values()), find_owners(tables, app, routes)))
    write_devices(tables, app, edit.devices)
    return edit.result


def accept(
    tables: Tables,
    app: int,
    ask: tuple[str, Sequence[str]],
    decide: Callable[[AcceptView], AcceptEdit],
    now: float,
) -> Any:
    dedup, names = ask
    row = tables.app(app)
    earlier = tables.value(_EARLIER, app, dedup, now - DEDUP_S)
    accounts = find_accounts(tables, app, names)
    numbers = [account.number for account in accounts.values()]
    view = AcceptView(
        app=row,
        accounts=accounts,
        devices=devices_of(tables, app, numbers) if numbers else {},
        use=read_use(tables, app),
        earlier=None if earlier is None else task_by_number(tables, app, earlier),
        next_task=tables.tally(app).task + 1,
    )
    edit = decide(view)
    if edit.task is not None:
        create_task(tables, app, edit.task)
        if edit.audience is not None:
            write_audience(tables, edit.task, edit.audience)
        tables.run(_CLEAN_DEDUPS, app, now - DEDUP_S)
        tables.run(_SET_DEDUP, app, dedup, now, edit.task.number)
    if edit.use is not None:
        write_use(tables, app, edit.use)
    assert edit.task is not None or not edit.jobs
    if edit.task is not None:
        append_blocks(tables, app, edit.task.number, edit.blocks)
        write_devices(tables, app, edit.devices)
        add_jobs(tables, app, edit.jobs, edit.task)
    return edit.result


def step_job(
    tables: Tables, app: int, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
) -> Any:
    row = held_job(tables, app, job)
    edit = decide(_view_step(tables, app, row, want))
    if edit.task is not None:
        replace_task(tables, app, row.task, edit.task)
    if edit.audience is not None:
        write_audience(tables, remembered_task(tables, app, row.task), edit.audience)
    append_blocks(tables, app, row.task, edit.blocks)
    write_devices(tables, app, edit.devices)
    write_handles(tables, app, remembered_task(tables, app, row.task), edit.handles)
    add_jobs(tables, app, edit.jobs, remembered_task(tables, app, row.task))
    write_job(tables, row, edit)
    return edit.result


def _view_step(tables: Tables, app: int, job: Job, want: StepWant) -> StepView:
    task = remembered_task(tables, app, job.task)
    handles = read_overwritten(tables, app, task, want.devices) if want.with_handles else {}
    asked = BitMap(want.devices)
    changed = asked
    if want.devices and want.changed_after:
        changed = changed_devices(tables, app, asked, want.changed_after)
    return StepView(
        app=tables.app(app),
        task=task,
        handles=handles,
        job=job,
        devices=devices_by_number(tables, app, changed) if changed else {},
        unchanged=asked - changed,
        acked=find_acked(tables, app, job.task) if want.with_acked else BitMap(),
        has_other_jobs=has_other_jobs(tables, job),
    )
