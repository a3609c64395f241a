"""The store in memory: what the port means, said as plainly as it can be.

Every verb is applied at once and whole. Nothing outlives the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from pyroaring import BitMap

from tocsin.adapters.app_rows import (
    AppRows,
    Journal,
    add_jobs,
    append_lines,
    audience,
    create_task,
    forget_tasks,
    given_up,
    held,
    lease_jobs,
    merge_ended,
    owned,
    owners,
    replace_task,
    step_view,
    task_lines,
    wake_jobs,
    wake_way,
    write_step,
)
from tocsin.adapters.memory_restores import MemoryRestores
from tocsin.adapters.removal import has_rows, remove_rows
from tocsin.clock import Clock
from tocsin.domain.account import (
    USER,
    Account,
    AccountsEdit,
    AccountsView,
    Change,
    Term,
    TermKey,
)
from tocsin.domain.app import App, Credential
from tocsin.domain.books import Lines
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.device import Device, DeviceEdit, DeviceRows, DeviceView, Route
from tocsin.domain.device_index import DeviceChanges, IndexedDevice, indexed
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    DEDUP_S,
    AcceptEdit,
    AcceptView,
    Block,
    Job,
    Lane,
    RecallEdit,
    RecallView,
    Report,
    StepEdit,
    StepView,
    StepWant,
    Task,
)
from tocsin.domain.tokens import DevicesEdit, DevicesView
from tocsin.errors import Stale
from tocsin.store import (
    INBOX_ACCOUNTS_MAX,
    LINES_MAX,
    PREFIXED_MAX,
    ROWS_REMOVED_MIN,
    Head,
    RowsRemoved,
    Store,
)


def no_fault(verb: str) -> None:
    """Every write succeeds."""


class MemoryStore(MemoryRestores):
    """A `Store` that forgets when the process ends.

    `fault` is called with the verb's name before each verb that writes; a test makes it raise
    `StoreError` to see what a full disk would do.
    """

    def __init__(
        self, clock: Clock, fault: Callable[[str], None] = no_fault, *, mark: bytes = b"memory"
    ) -> None:
        self._clock = clock
        self._mark = CollapseMark(mark)
        self._fault = fault
        self._app_rows: dict[int, AppRows] = {}
        self.app_version = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Nothing to open, nothing to close."""

    def _rows_of(self, app: int) -> AppRows:
        return self._app_rows.get(app) or AppRows()

    def _step(self, verb: str, app: int) -> Journal:
        self._fault(verb)
        return Journal(self._rows_of(app))

    def copied(self, clock: Clock) -> MemoryStore:
        """A store of its own that holds what this one holds now: a backup that was put back."""
        other = MemoryStore(clock, mark=self._mark.mark)
        other._restored = self._restored
        other._app_rows = {app: app_rows.copied() for app, app_rows in self._app_rows.items()}
        return other

    # apps and credentials

    async def app(self, app: int) -> App | None:
        return self._rows_of(app).row.get("app")

    async def apps(self) -> list[int]:
        return sorted(app for app, app_rows in self._app_rows.items() if "app" in app_rows.row)

    async def update_app(self, app: int, change: Callable[[App | None], App]) -> App:
        with self._step("update_app", app) as step:
            row = change(step.app_rows.row.get("app"))
            assert row.sdkappid == app, row.sdkappid
            step.put(step.app_rows.row, "app", row)
            step.put(self._app_rows, app, step.app_rows)
        self.app_version += 1
        return row

    async def reserve_prefix(
        self, app: int, prefix: str, change: Callable[[App, Sequence[str]], App]
    ) -> App:
        with self._step("reserve_prefix", app) as step:
            rows = step.app_rows.accounts.values()
            users = sorted(it.name for it in rows if it.type == USER and it.name.startswith(prefix))
            row = change(step.app_rows.app, users[:PREFIXED_MAX])
            assert row.sdkappid == app, row.sdkappid
            step.put(step.app_rows.row, "app", row)
        self.app_version += 1
        return row

    async def remove_rows(self, app: int, limit: int) -> RowsRemoved:
        assert limit >= ROWS_REMOVED_MIN, limit
        with self._step("remove_rows", app) as step:
            assert step.app_rows.app.is_being_removed, app
            return remove_rows(step, limit)

    async def remove_app(self, app: int) -> bool:
        with self._step("remove_app", app) as step:
            assert step.app_rows.app.is_being_removed, app
            if has_rows(step.app_rows):
                return False
            # The app_rows stays for the numbers that were given.
            step.drop(step.app_rows.row, "app")
        self.app_version += 1
        return True

    async def credentials(self, app: int) -> list[Credential]:
        rows = self._rows_of(app).credentials
        return [rows[number] for number in sorted(rows)]

    async def update_credential(
        self, app: int, number: int, change: Callable[[Credential | None, int], Credential | None]
    ) -> Credential | None:
        with self._step("update_credential", app) as step:
            step.app_rows.must_exist()
            rows = step.app_rows.credentials
            known = rows.get(number)
            row = change(known, step.app_rows.last["credential"] + 1)
            if row is None:
                step.drop(rows, number)
                return None
            assert row.app == app, row.app
            if known is None:
                step.number("credential", row.number)
            else:
                assert row.number == number, row.number
            step.put(rows, row.number, row)
            return row

    # accounts

    async def accounts(self, app: int, names: Sequence[str]) -> list[Account | None]:
        rows = self._rows_of(app).accounts
        return [rows.get(name) for name in names]

    async def account_names(self, app: int, numbers: BitMap) -> dict[int, str]:
        names = self._rows_of(app).names
        return {number: names[number] for number in numbers if number in names}

    async def update_accounts(
        self,
        app: int,
        names: Sequence[str],
        keys: Sequence[TermKey],
        change: Callable[[AccountsView], AccountsEdit],
    ) -> Any:
        with self._step("update_accounts", app) as step:
            edit = change(step.app_rows.accounts_view(list(names), list(keys)))
            step.write_accounts(edit, self._clock.now())
        return edit.result

    async def scan_accounts(self, app: int, after: int, limit: int) -> list[Account]:
        app_rows = self._rows_of(app)
        numbers = sorted(number for number in app_rows.names if number > after)
        return [app_rows.accounts[app_rows.names[number]] for number in numbers[:limit]]

    async def terms(self, app: int, keys: Sequence[TermKey]) -> dict[TermKey, Term]:
        rows = self._rows_of(app).terms
        return {key: rows[key] for key in keys if key in rows}

    async def retire_terms(self, app: int, limit: int) -> list[int]:
        with self._step("retire_terms", app) as step:
            rows = step.app_rows.terms
            empty = sorted((term.number, key) for key, term in rows.items() if not term.uses)
            for _, key in empty[:limit]:
                step.drop(rows, key)
        return [number for number, _ in empty[:limit]]

    # the change log

    async def changes(self, app: int, after: int, limit: int) -> list[tuple[int, list[Change]]]:
        rows = self._rows_of(app).changes
        positions = sorted(position for position in rows if position > after)
        return [(position, list(rows[position])) for position in positions[:limit]]

    async def last_change(self, app: int) -> int:
        return self._rows_of(app).last["change"]

    async def cut_changes(self, app: int, upto: int) -> None:
        with self._step("cut_changes", app) as step:
            for position in [each for each in step.app_rows.changes if each <= upto]:
                step.drop(step.app_rows.changes, position)

    # snapshots of the index

    async def mark_snapshot(self, app: int, mark: bytes, position: int, keep: bytes) -> None:
        with self._step("mark_snapshot", app) as step:
            step.app_rows.must_exist()
            marks = step.app_rows.snapshot_marks
            for other in [other for other in marks if other != keep]:
                step.drop(marks, other)
            step.put(marks, mark, position)

    async def marked_position(self, app: int, mark: bytes) -> int | None:
        return self._rows_of(app).snapshot_marks.get(mark)

    # devices

    async def device(self, app: int, registration_id: str) -> Device | None:
        app_rows = self._rows_of(app)
        return app_rows.devices.get(app_rows.device_of.get(registration_id, 0))

    async def devices(self, app: int, numbers: BitMap) -> dict[int, Device]:
        rows = self._rows_of(app).devices
        return {number: rows[number] for number in numbers if number in rows}

    async def devices_at(self, app: int, numbers: BitMap) -> DeviceRows:
        return DeviceRows(await self.last_device_change(app), await self.devices(app, numbers))

    async def devices_of(self, app: int, accounts: BitMap) -> list[Device]:
        app_rows = self._rows_of(app)
        return [app_rows.devices[number] for number in owned(app_rows, accounts)]

    async def scan_devices(self, app: int, after: int, limit: int) -> list[Device]:
        rows = self._rows_of(app).devices
        return [rows[number] for number in sorted(it for it in rows if it > after)[:limit]]

    async def scan_indexed_devices(self, app: int, after: int, limit: int) -> list[IndexedDevice]:
        return [indexed(device) for device in await self.scan_devices(app, after, limit)]

    async def device_changes(self, app: int, after: int, limit: int) -> DeviceChanges:
        app_rows = self._rows_of(app)
        rows = [(position, each) for each, position in app_rows.device_changes.items() if each]
        page = sorted(row for row in rows if row[0] > after)[:limit]
        numbers = [number for _, number in page]
        devices = [app_rows.devices[each] for each in numbers if each in app_rows.devices]
        gone = [number for number in numbers if number not in app_rows.devices]
        return DeviceChanges(page[-1][0] if page else after, list(map(indexed, devices)), gone)

    async def last_device_change(self, app: int) -> int:
        return self._rows_of(app).device_changes.get(0, 0)

    async def token_owners(self, app: int, routes: Sequence[Route]) -> list[Device | None]:
        app_rows = self._rows_of(app)
        return [app_rows.devices.get(app_rows.route_of.get(route.key(), 0)) for route in routes]

    async def update_device(
        self,
        app: int,
        registration_id: str,
        user: str,
        route: Route | None,
        change: Callable[[DeviceView], DeviceEdit],
    ) -> Any:
        with self._step("update_device", app) as step:
            app_rows = step.app_rows
            view = DeviceView(
                accounts=app_rows.accounts_view([registration_id, *([user] if user else [])], []),
                device=app_rows.devices.get(app_rows.device_of.get(registration_id, 0)),
                owners=owners(app_rows, [] if route is None else [route]),
                next_device=app_rows.last["device"] + 1,
            )
            edit = change(view)
            step.write_accounts(edit.accounts, self._clock.now())
            step.write_devices(edit.devices)
        return edit.result

    async def unchecked(self, app: int) -> int:  # noqa: ARG002 - the port's shape
        return 0

    async def unchecked_devices(
        self,
        app: int,  # noqa: ARG002 - the port's shape
        limit: int,  # noqa: ARG002
    ) -> list[Device]:
        """None: no earlier release can have written here."""
        return []

    async def update_devices(
        self,
        app: int,
        numbers: Sequence[int],
        routes: Sequence[Route],
        change: Callable[[DevicesView], DevicesEdit],
    ) -> Any:
        with self._step("update_devices", app) as step:
            rows = step.app_rows.devices
            found = [rows[number] for number in sorted({*numbers}) if number in rows]
            edit = change(DevicesView(found, owners(step.app_rows, routes)))
            step.write_devices(edit.devices)
        return edit.result

    # tasks

    async def accept(
        self,
        app: int,
        dedup: str,
        names: Sequence[str],
        decide: Callable[[AcceptView], AcceptEdit],
    ) -> Any:
        with self._step("accept", app) as step:
            app_rows = step.app_rows
            now = self._clock.now()
            accepted_at, earlier = app_rows.dedups.get(dedup, (now - DEDUP_S, 0))
            accounts = {
                name: app_rows.accounts[name] for name in names if name in app_rows.accounts
            }
            numbers = owned(app_rows, [account.number for account in accounts.values()])
            view = AcceptView(
                app=app_rows.app,
                accounts=accounts,
                devices={number: app_rows.devices[number] for number in numbers},
                use=app_rows.use.get("use", PushUse()),
                earlier=app_rows.tasks.get(earlier) if now - accepted_at < DEDUP_S else None,
                next_task=app_rows.last["task"] + 1,
            )
            edit = decide(view)
            if edit.task is not None:
                create_task(step, edit.task, edit.audience)
                for key in [key for key, (at, _) in app_rows.dedups.items() if now - at >= DEDUP_S]:
                    step.drop(app_rows.dedups, key)
                step.put(app_rows.dedups, dedup, (now, edit.task.number))
            if edit.use is not None:
                step.put(app_rows.use, "use", edit.use)
            if edit.task is not None:
                append_lines(step, edit.task.number, edit.blocks)
            step.write_devices(edit.devices)
            add_jobs(step, edit.jobs)
        return edit.result

    async def recall(
        self, app: int, task_id: str, decide: Callable[[RecallView], RecallEdit]
    ) -> Any:
        with self._step("recall", app) as step:
            app_rows = step.app_rows
            task = app_rows.tasks.get(app_rows.task_of.get(task_id, 0))
            use = app_rows.use.get("use", PushUse())
            edit = decide(RecallView(app_rows.app, task, use, app_rows.last["task"] + 1))
            if edit.task is not None:
                assert task is not None
                replace_task(step, task, edit.task)
            if edit.overwrite is not None:
                assert task is not None
                create_task(step, edit.overwrite, app_rows.audiences.get(task.number))
            if edit.wakes_jobs and task is not None:
                wake_jobs(step, task.number, self._clock.now())
            if edit.use is not None:
                step.put(app_rows.use, "use", edit.use)
            add_jobs(step, edit.jobs)
        return edit.result

    async def task(self, app: int, number: int) -> Task | None:
        return self._rows_of(app).tasks.get(number)

    async def task_by_id(self, app: int, task_id: str) -> Task | None:
        app_rows = self._rows_of(app)
        return app_rows.tasks.get(app_rows.task_of.get(task_id, 0))

    async def tasks(self, app: int, *, before: int = 0, limit: int = 100) -> list[Task]:
        rows = self._rows_of(app).tasks
        numbers = sorted((each for each in rows if not before or each < before), reverse=True)
        return [rows[number] for number in numbers[:limit]]

    async def last_task(self, app: int) -> int:
        return self._rows_of(app).last["task"]

    async def living(self, app: int) -> list[Task]:
        rows = self._rows_of(app).tasks
        return [rows[number] for number in sorted(rows) if rows[number].ended_at is None]

    async def recalled(self, app: int, since: float) -> set[int]:
        rows = self._rows_of(app).tasks.values()
        times = ((task.number, task.recalled_at) for task in rows)
        return {number for number, at in times if at is not None and at >= since}

    async def audience(self, app: int, task: int) -> BitMap:
        return audience(self._rows_of(app), task)

    async def inbox(self, app: int, accounts: Sequence[int]) -> list[Task]:
        asked = BitMap(accounts)
        return [task for task, members in self._offered(app) if members & asked]

    async def broad(self, app: int) -> Sequence[int]:
        return [task.number for task, members in self._offered(app, is_broad=True)]

    def _offered(self, app: int, *, is_broad: bool = False) -> Iterator[tuple[Task, BitMap]]:
        app_rows = self._rows_of(app)
        for number in sorted(app_rows.tasks):
            task, members = app_rows.tasks[number], audience(app_rows, number)
            is_offered = task.ended_at is None and task.overwrites is None
            if is_offered and (len(members) > INBOX_ACCOUNTS_MAX) == is_broad and members:
                yield task, members

    async def lines(
        self, app: int, task: int, after: int, *, limit: int = LINES_MAX, only_begun: bool = False
    ) -> Lines | None:
        return task_lines(self._rows_of(app), task, after, limit=limit, only_begun=only_begun)

    async def append_reports(self, app: int, reports: Sequence[Report]) -> None:
        with self._step("append_reports", app) as step:
            for report in reports:
                if report.task in step.app_rows.tasks:
                    append_lines(step, report.task, [report])

    async def merge_ended(
        self, app: int, merge: Callable[[Sequence[Block]], list[Block]], limit: int
    ) -> bool:
        with self._step("merge_ended", app) as step:
            return merge_ended(step, merge, limit)

    async def forget_handles(self, app: int, before: float, limit: int) -> int:
        with self._step("forget_handles", app) as step:
            rows = step.app_rows.handles
            gone = [key for key, (until, _) in rows.items() if until < before][:limit]
            for key in gone:
                step.drop(rows, key)
        return len(gone)

    async def forget(self, app: int, before: float, limit: int) -> int:
        with self._step("forget", app) as step:
            return forget_tasks(step, before, limit)

    # jobs

    async def heads(self, now: float) -> list[Head]:
        first: dict[tuple[int, str, Lane], float] = {}
        for app, app_rows in self._app_rows.items():
            for job_row in app_rows.jobs.values():
                if job_row.is_free(now):
                    key = (app, job_row.job.queue, job_row.job.lane)
                    first[key] = min(first.get(key, job_row.ready_at), job_row.ready_at)
        return [Head(*key, ready_at) for key, ready_at in sorted(first.items())]

    async def lease(
        self,
        app: int,
        queue: str,
        lane: Lane,
        *,
        lessee: str,
        limit: int,
        lease_s: float,
        ended: bool = False,
    ) -> list[Job]:
        place, grant = (queue, lane), (lessee, lease_s, ended)
        with self._step("lease", app) as step:
            return lease_jobs(step, place, limit, grant, self._clock.now())

    async def wake(self, app: int, queue: str, way: str | None, limit: int) -> int:
        with self._step("wake", app) as step:
            return wake_way(step, queue, way, limit, self._clock.now())

    async def extend(self, app: int, jobs: Sequence[Job], *, lease_s: float) -> list[int]:
        until = self._clock.now() + lease_s
        with self._step("extend", app) as step:
            ours = [job.number for job in jobs if held(step.app_rows, app, job) is not None]
            for number in ours:
                job_row = step.app_rows.jobs[number]
                step.put(step.app_rows.jobs, number, msgspec.structs.replace(job_row, until=until))
        return ours

    async def step(
        self, app: int, job: Job, want: StepWant, decide: Callable[[StepView], StepEdit]
    ) -> Any:
        with self._step("step", app) as step:
            job_row = held(step.app_rows, app, job)
            if job_row is None:
                raise Stale
            edit = decide(step_view(step.app_rows, job_row, want))
            write_step(step, job_row, edit)
        return edit.result

    async def release(self, lessee: str) -> int:
        self._fault("release")
        count = 0
        for app_rows in self._app_rows.values():
            for number, job_row in app_rows.jobs.items():
                if job_row.lessee == lessee:
                    app_rows.jobs[number] = given_up(job_row)
                    count += 1
        return count

    async def depth(self) -> dict[tuple[int, str], int]:
        counts: dict[tuple[int, str], int] = {}
        for app, app_rows in self._app_rows.items():
            for job_row in app_rows.jobs.values():
                key = (app, job_row.job.queue)
                counts[key] = counts.get(key, 0) + 1
        return counts


def _fits(store: MemoryStore) -> Store:
    return store
