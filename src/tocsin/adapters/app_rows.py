"""What the memory store keeps of one app, and how a step that fails is taken back."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.account import TAG, Account, AccountsEdit, AccountsView, Change, Term, TermKey
from tocsin.domain.app import App, Credential
from tocsin.domain.books import Lines
from tocsin.domain.device import Device, Route, is_changed
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    Block,
    Job,
    Lane,
    NewJob,
    Report,
    Stage,
    StepEdit,
    StepView,
    StepWant,
    Task,
    ends_at,
)
from tocsin.errors import CallError
from tocsin.store import LINES_BYTES_MAX

K = TypeVar("K")
V = TypeVar("V")


class JobRow(Struct, frozen=True):
    """A job row: the job, and who holds it until when."""

    job: Job
    lessee: str | None = None
    until: float = 0.0
    way: str = ""
    """The way to the vendor that the parked job waits for."""
    ends_at: float = 0.0
    """When the life of its task ends."""

    def is_free(self, now: float) -> bool:
        """Whether nobody holds it: never leased, given up, or lapsed."""
        return self.lessee is None or self.until <= now

    @property
    def ready_at(self) -> float:
        """When it may be leased."""
        return self.job.not_before if self.lessee is None else self.until


class AppRows:
    """Every row of one app. Values are never changed in place, so an old one can be put back."""

    def __init__(self) -> None:
        self.row: dict[str, App] = {}
        """The app itself, under one key, so that a journal can take it back."""
        self.use: dict[str, PushUse] = {}
        self.credentials: dict[int, Credential] = {}
        self.accounts: dict[str, Account] = {}
        self.names: dict[int, str] = {}
        self.deleted_at: dict[str, float] = {}
        self.terms: dict[TermKey, Term] = {}
        self.changes: dict[int, list[Change]] = {}
        self.snapshot_marks: dict[bytes, int] = {}
        """Mark of a snapshot to its position in the change log."""
        self.devices: dict[int, Device] = {}
        self.device_changes: dict[int, int] = {}
        """Device to the position of its latest change; a device that is gone keeps its own. Under 0
        stands the newest position of all."""
        self.device_of: dict[str, int] = {}
        self.route_of: dict[tuple[str, str, str], int] = {}
        self.owned: dict[int, frozenset[int]] = {}
        """Account number to the devices bound to it or registered under it."""
        self.tasks: dict[int, Task] = {}
        self.task_of: dict[str, int] = {}
        self.audiences: dict[int, bytes] = {}
        self.lines: dict[int, tuple[tuple[int, Block | Report], ...]] = {}
        """Task to the lines of its books by position."""
        self.unmerged: dict[int, bool] = {}
        """Ended tasks whose blocks have not been merged yet."""
        self.handles: dict[tuple[int, int], tuple[float, str]] = {}
        """(task, device) to when the message's life ends, and its name."""
        self.jobs: dict[int, JobRow] = {}
        self.dedups: dict[str, tuple[float, int]] = {}
        self.last: Counter[str] = Counter()
        """The last number given, by noun: numbers are never reused."""

    def copied(self) -> AppRows:
        """A app_rows of its own with the same rows."""
        other = AppRows()
        for name, rows in vars(self).items():
            setattr(other, name, rows.copy())
        return other

    def must_exist(self) -> None:
        """Refuse a call about an app that nobody has added."""
        if "app" not in self.row:
            raise CallError(70020)

    @property
    def app(self) -> App:
        """The app; a call about one that does not exist is the caller's fault."""
        self.must_exist()
        return self.row["app"]

    def tags_carried(self) -> int:
        """Different tags that somebody carries."""
        return sum(1 for term in self.terms.values() if term.kind == TAG and term.uses)

    def accounts_view(self, names: list[str], keys: list[TermKey]) -> AccountsView:
        """What a decision about these accounts has to know."""
        accounts = {name: self.accounts[name] for name in names if name in self.accounts}
        wanted = [*keys, *(key for account in accounts.values() for key in account.term_keys())]
        gone = [name for name in names if name not in accounts and name in self.deleted_at]
        return AccountsView(
            app=self.app,
            accounts=accounts,
            terms={key: self.terms[key] for key in wanted if key in self.terms},
            tags_carried=self.tags_carried(),
            next_account=self.last["account"] + 1,
            next_term=self.last["term"] + 1,
            account_count=len(self.accounts),
            deleted_at={name: self.deleted_at[name] for name in gone},
        )


class Journal:
    """The writes of one step on one app_rows, taken back when the step raises."""

    def __init__(self, app_rows: AppRows) -> None:
        self.app_rows = app_rows
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            return
        for rows, key, before in reversed(self._undo):
            if before is None:
                rows.pop(key, None)
            else:
                rows[key] = before

    def put(self, rows: dict[K, V], key: K, value: V) -> None:
        """Write a row."""
        self._undo.append((rows, key, rows.get(key)))
        rows[key] = value

    def drop(self, rows: dict[K, V], key: K) -> None:
        """Delete a row, if it exists."""
        self._undo.append((rows, key, rows.get(key)))
        rows.pop(key, None)

    def number(self, noun: str, number: int) -> None:
        """Take note that a number is given; it must be the next one."""
        assert number == self.app_rows.last[noun] + 1, f"{noun} {number} is not the next number"
        self.put(self.app_rows.last, noun, number)

    def write_accounts(self, edit: AccountsEdit, now: float) -> None:
        """Write what a decision about accounts says."""
        app_rows = self.app_rows
        for account in edit.deleted:
            self.drop(app_rows.accounts, account.name)
            self.drop(app_rows.names, account.number)
            if edit.keeps_names:
                self.put(app_rows.deleted_at, account.name, now)
            for number in sorted(app_rows.owned.get(account.number, ())):
                self.drop_device(app_rows.devices[number])
        for account in sorted(edit.accounts, key=lambda account: account.number):
            known = app_rows.accounts.get(account.name)
            if known is None:
                self.number("account", account.number)
                self.drop(app_rows.deleted_at, account.name)
                self.put(app_rows.names, account.number, account.name)
            else:
                assert known.number == account.number, account.name
            self.put(app_rows.accounts, account.name, account)
        for term in sorted(edit.terms, key=lambda term: term.number):
            self._write_term(term)
        if edit.changes:
            position = app_rows.last["change"] + 1
            self.number("change", position)
            self.put(app_rows.changes, position, list(edit.changes))

    def _write_term(self, term: Term) -> None:
        key = (term.kind, term.name)
        known = self.app_rows.terms.get(key)
        if known is None:
            self.number("term", term.number)
        else:
            assert known.number == term.number, f"term {term.number} exists as {known.number}"
        self.put(self.app_rows.terms, key, term)

    def write_devices(self, devices: list[Device]) -> None:
        """Write whole device rows; a token that changes hands is first taken from everyone."""
        app_rows = self.app_rows
        for device in devices:
            known = app_rows.devices.get(device.number)
            if known is not None:
                self._unlink(known)
        for device in sorted(devices, key=lambda device: device.number):
            if device.number not in app_rows.devices:
                self.number("device", device.number)
            assert device.registration_id not in app_rows.device_of, "RegistrationID twice"
            self.put(app_rows.device_of, device.registration_id, device.number)
            if device.route is not None:
                assert device.route.key() not in app_rows.route_of, "token twice"
                self.put(app_rows.route_of, device.route.key(), device.number)
            for owner in {device.account, device.user} - {0}:
                owned = app_rows.owned.get(owner, frozenset())
                self.put(app_rows.owned, owner, owned | {device.number})
            if is_changed(app_rows.devices.get(device.number), device):
                self._note_change(device.number)
            self.put(app_rows.devices, device.number, device)

    def _note_change(self, number: int) -> None:
        changes = self.app_rows.device_changes
        self.put(changes, 0, changes.get(0, 0) + 1)
        self.put(changes, number, changes[0])

    def drop_device(self, device: Device) -> None:
        """Delete a device, and what leads to it."""
        self._unlink(device)
        self.drop(self.app_rows.devices, device.number)
        self._note_change(device.number)

    def _unlink(self, device: Device) -> None:
        app_rows = self.app_rows
        self.drop(app_rows.device_of, device.registration_id)
        if device.route is not None:
            self.drop(app_rows.route_of, device.route.key())
        for owner in {device.account, device.user} - {0}:
            self.put(app_rows.owned, owner, app_rows.owned[owner] - {device.number})


def owned(app_rows: AppRows, accounts: Iterable[int]) -> list[int]:
    return sorted({number for each in accounts for number in app_rows.owned.get(each, ())})


def owners(app_rows: AppRows, routes: Iterable[Route]) -> list[Device]:
    """The devices that own these tokens, in whichever environment; rising and each once."""
    keys = [each.key() for route in routes for each in route.in_each_environment()]
    return [
        app_rows.devices[number]
        for number in sorted({app_rows.route_of.get(key, 0) for key in keys} - {0})
    ]


def audience(app_rows: AppRows, task: int) -> BitMap:
    frozen = app_rows.audiences.get(task)
    return BitMap() if frozen is None else BitMap.deserialize(frozen)


def acked(app_rows: AppRows, task: int) -> BitMap:
    members = BitMap()
    for _, line in app_rows.lines.get(task, ()):
        if isinstance(line, Report) and line.stage in (Stage.REACHED, Stage.CLICKED):
            members |= BitMap.deserialize(line.members)
    return members


def task_lines(
    app_rows: AppRows, number: int, after: int, *, limit: int, only_begun: bool
) -> Lines | None:
    task = app_rows.tasks.get(number)
    if task is None:
        return None
    lines = [line for line in app_rows.lines.get(number, ()) if line[0] > after]
    sizes = itertools.accumulate((len(line.members) for _, line in lines), initial=0)
    fitting = itertools.takewhile(lambda size: size <= LINES_BYTES_MAX, sizes)
    page = lines[: min(limit, sum(1 for _ in fitting))]
    is_last = len(page) == len(lines)
    jobs = [row.job for _, row in sorted(app_rows.jobs.items()) if row.job.task == number]
    return Lines(
        task=task,
        blocks=[line for _, line in page if isinstance(line, Block)],
        reports=[line for _, line in page if isinstance(line, Report)],
        position=page[-1][0] if page else after,
        is_last=is_last,
        jobs=[job for job in jobs if job.begun_at is not None or not only_begun] if is_last else [],
    )


def create_task(step: Journal, task: Task, audience: bytes | None) -> None:
    app_rows = step.app_rows
    assert task.app == app_rows.app.sdkappid, task.app
    assert task.task_id not in app_rows.task_of, task.task_id
    step.number("task", task.number)
    step.put(app_rows.tasks, task.number, task)
    step.put(app_rows.task_of, task.task_id, task.number)
    if audience is not None:
        step.put(app_rows.audiences, task.number, audience)


def replace_task(step: Journal, known: Task, task: Task) -> None:
    names = (known.app, known.number, known.task_id)
    assert (task.app, task.number, task.task_id) == names, task.task_id
    step.put(step.app_rows.tasks, task.number, task)
    if task.ended_at is not None and known.ended_at is None:
        step.put(step.app_rows.unmerged, task.number, value=True)


def add_jobs(step: Journal, jobs: Sequence[NewJob]) -> None:
    app_rows = step.app_rows
    for new in jobs:
        assert new.task in app_rows.tasks, new.task
        number = app_rows.last["job"] + 1
        step.number("job", number)
        job = Job(
            app=app_rows.app.sdkappid,
            number=number,
            task=new.task,
            queue=new.queue,
            lane=new.lane,
            body=new.body,
            not_before=new.not_before,
            attempt=new.attempt,
        )
        until = ends_at(app_rows.tasks[new.task])
        step.put(app_rows.jobs, number, JobRow(job, way=new.way, ends_at=until))


def held(app_rows: AppRows, app: int, job: Job) -> JobRow | None:
    """The row of a job whose lease is still the one that `job` came with."""
    job_row = app_rows.jobs.get(job.number)
    if job_row is None or job_row.lessee is None or job.app != app:
        return None
    return job_row if job_row.job.generation == job.generation else None


def step_view(app_rows: AppRows, job_row: JobRow, want: StepWant) -> StepView:
    job = job_row.job
    asked = BitMap(want.devices)
    changes, after = app_rows.device_changes, want.changed_after
    changed = BitMap([each for each in asked if changes.get(each, 0) > after]) if after else asked
    return StepView(
        app=app_rows.app,
        task=app_rows.tasks[job.task],
        job=job,
        devices={
            number: app_rows.devices[number] for number in changed if number in app_rows.devices
        },
        unchanged=asked - changed,
        acked=acked(app_rows, job.task) if want.with_acked else BitMap(),
        handles=_overwritten(app_rows, job.task, asked) if want.with_handles else {},
        has_other_jobs=any(
            other.job.task == job.task
            for number, other in app_rows.jobs.items()
            if number != job.number
        ),
    )


def _overwritten(app_rows: AppRows, task: int, devices: Iterable[int]) -> dict[int, str]:
    """Names of the messages that a task overwrites."""
    former = app_rows.tasks[task].overwrites
    if former is None:
        return {}
    keys = [(former, device) for device in devices]
    return {key[1]: app_rows.handles[key][1] for key in keys if key in app_rows.handles}


def append_lines(step: Journal, task: int, lines: Sequence[Block | Report]) -> None:
    for line in lines:
        assert line.task == task, line.task
        position = step.app_rows.last["line"] + 1
        step.number("line", position)
        step.put(step.app_rows.lines, task, (*step.app_rows.lines.get(task, ()), (position, line)))


def write_step(step: Journal, job_row: JobRow, edit: StepEdit) -> None:
    app_rows, job = step.app_rows, job_row.job
    if edit.task is not None:
        replace_task(step, app_rows.tasks[job.task], edit.task)
    if edit.audience is not None:
        step.put(app_rows.audiences, job.task, edit.audience)
    append_lines(step, job.task, edit.blocks)
    step.write_devices(edit.devices)
    until = app_rows.tasks[job.task].expires_at
    for handle in edit.handles:
        step.put(app_rows.handles, (job.task, handle.device), (until, handle.name))
    add_jobs(step, edit.jobs)
    if edit.is_done:
        step.drop(app_rows.jobs, job.number)
        return
    job = msgspec.structs.replace(
        job,
        begun_at=job.begun_at if edit.begun_at is None else edit.begun_at,
        body=job.body if edit.body is None else edit.body,
        not_before=job.not_before if edit.not_before is None else edit.not_before,
    )
    parked = edit.not_before is not None
    job_row = msgspec.structs.replace(job_row, job=job)
    step.put(app_rows.jobs, job.number, given_up(job_row) if parked else job_row)


def lease_jobs(
    step: Journal,
    place: tuple[str, Lane],
    limit: int,
    grant: tuple[str, float, bool],
    now: float,
) -> list[Job]:
    """Lease jobs of a (queue, lane) to a (lessee, for seconds, ended ones only)."""
    lessee, lease_s, ended = grant
    ready = [
        (job_row.job.not_before, number)
        for number, job_row in step.app_rows.jobs.items()
        if (job_row.job.queue, job_row.job.lane) == place
        if (job_row.lessee is None and job_row.ends_at <= now if ended else job_row.ready_at <= now)
    ]
    leased = []
    for _, number in sorted(ready)[:limit]:
        job_row = step.app_rows.jobs[number]
        job = msgspec.structs.replace(job_row.job, generation=job_row.job.generation + 1)
        job_row = msgspec.structs.replace(job_row, job=job, lessee=lessee, until=now + lease_s)
        step.put(step.app_rows.jobs, number, job_row)
        leased.append(job)
    return leased


def merge_ended(step: Journal, merge: Callable[[Sequence[Block]], list[Block]], limit: int) -> bool:
    """Merge the blocks of some tasks that have ended; answers whether any are left to merge."""
    app_rows, left = step.app_rows, limit
    for task in sorted(app_rows.unmerged):
        lines = app_rows.lines.get(task, ())
        first = [line for line in lines if isinstance(line[1], Block)][:left]
        if len(first) == left < limit:
            break
        merged = merge([block for _, block in first if isinstance(block, Block)])
        if len(merged) < len(first):
            step.put(app_rows.lines, task, tuple(line for line in lines if line not in first))
            append_lines(step, task, merged)
        if len(first) < left or 2 * len(merged) > len(first):
            step.drop(app_rows.unmerged, task)
        left -= len(first) + 1
        if left <= 0:
            break
    return bool(app_rows.unmerged)


def forget_tasks(step: Journal, before: float, limit: int) -> int:
    """Drop tasks that ended before a time, with all that is theirs; answers how many."""
    app_rows = step.app_rows
    times = [(task, task.ended_at) for task in app_rows.tasks.values()]
    old = [task for task, ended_at in times if ended_at is not None and ended_at < before]
    gone = old[:limit]
    for task in gone:
        step.drop(app_rows.tasks, task.number)
        step.drop(app_rows.task_of, task.task_id)
        step.drop(app_rows.audiences, task.number)
        step.drop(app_rows.lines, task.number)
        step.drop(app_rows.unmerged, task.number)
        for key in [key for key in app_rows.handles if key[0] == task.number]:
            step.drop(app_rows.handles, key)
        for number in [
            n for n, job_row in app_rows.jobs.items() if job_row.job.task == task.number
        ]:
            step.drop(app_rows.jobs, number)
    return len(gone)


def wake_jobs(step: Journal, task: int, now: float) -> None:
    """End the task's jobs that nobody has leased: they are ready at once."""
    for number, job_row in list(step.app_rows.jobs.items()):
        if job_row.job.task == task and job_row.lessee is None:
            woken = msgspec.structs.replace(_ready(job_row, now), ends_at=now)
            step.put(step.app_rows.jobs, number, woken)


def wake_way(step: Journal, queue: str, way: str | None, limit: int, now: float) -> int:
    """Make up to `limit` jobs ready that wait for a way; None: for any."""
    waiting = [
        (job_row.job.not_before, number)
        for number, job_row in step.app_rows.jobs.items()
        if job_row.job.queue == queue and job_row.lessee is None and job_row.job.not_before > now
        if job_row.way and way in (None, job_row.way)
    ]
    for _, number in sorted(waiting)[:limit]:
        woken = msgspec.structs.replace(_ready(step.app_rows.jobs[number], now), way="")
        step.put(step.app_rows.jobs, number, woken)
    return min(limit, len(waiting))


def given_up(job_row: JobRow) -> JobRow:
    """The row when nobody has leased it any more."""
    return msgspec.structs.replace(job_row, lessee=None, until=0.0)


def _ready(job_row: JobRow, now: float) -> JobRow:
    job = job_row.job
    not_before = min(job.not_before, now)
    return msgspec.structs.replace(job_row, job=msgspec.structs.replace(job, not_before=not_before))
