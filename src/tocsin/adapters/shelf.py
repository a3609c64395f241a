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
from tocsin.domain.device import Device, Route
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


class Slot(Struct, frozen=True):
    """A job row: the job, and who holds it until when."""

    job: Job
    holder: str | None = None
    until: float = 0.0
    way: str = ""
    """The way to the vendor that the parked job waits for."""
    ends_at: float = 0.0
    """When the life of its task ends."""

    def is_free(self, now: float) -> bool:
        """Whether nobody holds it: never leased, given up, or lapsed."""
        return self.holder is None or self.until <= now

    @property
    def ready_at(self) -> float:
        """When it may be leased."""
        return self.job.not_before if self.holder is None else self.until


class Shelf:
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
        self.jobs: dict[int, Slot] = {}
        self.dedups: dict[str, tuple[float, int]] = {}
        self.last: Counter[str] = Counter()
        """The last number given, by noun: numbers are never reused."""

    def copied(self) -> Shelf:
        """A shelf of its own with the same rows."""
        other = Shelf()
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
        return sum(1 for term in self.terms.values() if term.kind == TAG and term.holders)

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
    """The writes of one step on one shelf, taken back when the step raises."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
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
        assert number == self.shelf.last[noun] + 1, f"{noun} {number} is not the next number"
        self.put(self.shelf.last, noun, number)

    def write_accounts(self, edit: AccountsEdit, now: float) -> None:
        """Write what a decision about accounts says."""
        shelf = self.shelf
        for account in edit.deleted:
            self.drop(shelf.accounts, account.name)
            self.drop(shelf.names, account.number)
            if edit.keeps_names:
                self.put(shelf.deleted_at, account.name, now)
            for number in sorted(shelf.owned.get(account.number, ())):
                self.drop_device(shelf.devices[number])
        for account in sorted(edit.accounts, key=lambda account: account.number):
            known = shelf.accounts.get(account.name)
            if known is None:
                self.number("account", account.number)
                self.drop(shelf.deleted_at, account.name)
                self.put(shelf.names, account.number, account.name)
            else:
                assert known.number == account.number, account.name
            self.put(shelf.accounts, account.name, account)
        for term in sorted(edit.terms, key=lambda term: term.number):
            self._write_term(term)
        if edit.changes:
            position = shelf.last["change"] + 1
            self.number("change", position)
            self.put(shelf.changes, position, list(edit.changes))

    def _write_term(self, term: Term) -> None:
        key = (term.kind, term.name)
        known = self.shelf.terms.get(key)
        if known is None:
            self.number("term", term.number)
        else:
            assert known.number == term.number, f"term {term.number} exists as {known.number}"
        self.put(self.shelf.terms, key, term)

    def write_devices(self, devices: list[Device]) -> None:
        """Write whole device rows; a token that changes hands is first taken from everyone."""
        shelf = self.shelf
        for device in devices:
            known = shelf.devices.get(device.number)
            if known is not None:
                self._unlink(known)
        for device in sorted(devices, key=lambda device: device.number):
            if device.number not in shelf.devices:
                self.number("device", device.number)
            assert device.registration_id not in shelf.device_of, "RegistrationID twice"
            self.put(shelf.device_of, device.registration_id, device.number)
            if device.route is not None:
                assert device.route.key() not in shelf.route_of, "token twice"
                self.put(shelf.route_of, device.route.key(), device.number)
            for owner in {device.account, device.user} - {0}:
                owned = shelf.owned.get(owner, frozenset())
                self.put(shelf.owned, owner, owned | {device.number})
            self.put(shelf.devices, device.number, device)

    def drop_device(self, device: Device) -> None:
        """Delete a device, and what leads to it."""
        self._unlink(device)
        self.drop(self.shelf.devices, device.number)

    def _unlink(self, device: Device) -> None:
        shelf = self.shelf
        self.drop(shelf.device_of, device.registration_id)
        if device.route is not None:
            self.drop(shelf.route_of, device.route.key())
        for owner in {device.account, device.user} - {0}:
            self.put(shelf.owned, owner, shelf.owned[owner] - {device.number})


def owned(shelf: Shelf, accounts: Iterable[int]) -> list[int]:
    return sorted({number for each in accounts for number in shelf.owned.get(each, ())})


def owners(shelf: Shelf, routes: Iterable[Route]) -> list[Device]:
    """The devices that own these tokens, in whichever environment; rising and each once."""
    keys = [each.key() for route in routes for each in route.in_each_environment()]
    return [
        shelf.devices[number]
        for number in sorted({shelf.route_of.get(key, 0) for key in keys} - {0})
    ]


def audience(shelf: Shelf, task: int) -> BitMap:
    frozen = shelf.audiences.get(task)
    return BitMap() if frozen is None else BitMap.deserialize(frozen)


def acked(shelf: Shelf, task: int) -> BitMap:
    members = BitMap()
    for _, line in shelf.lines.get(task, ()):
        if isinstance(line, Report) and line.stage in (Stage.REACHED, Stage.CLICKED):
            members |= BitMap.deserialize(line.members)
    return members


def task_lines(
    shelf: Shelf, number: int, after: int, *, limit: int, only_begun: bool
) -> Lines | None:
    task = shelf.tasks.get(number)
    if task is None:
        return None
    lines = [line for line in shelf.lines.get(number, ()) if line[0] > after]
    sizes = itertools.accumulate((len(line.members) for _, line in lines), initial=0)
    fitting = itertools.takewhile(lambda size: size <= LINES_BYTES_MAX, sizes)
    page = lines[: min(limit, sum(1 for _ in fitting))]
    is_last = len(page) == len(lines)
    jobs = [slot.job for _, slot in sorted(shelf.jobs.items()) if slot.job.task == number]
    return Lines(
        task=task,
        blocks=[line for _, line in page if isinstance(line, Block)],
        reports=[line for _, line in page if isinstance(line, Report)],
        position=page[-1][0] if page else after,
        is_last=is_last,
        jobs=[job for job in jobs if job.begun_at is not None or not only_begun] if is_last else [],
    )


def create_task(step: Journal, task: Task, audience: bytes | None) -> None:
    shelf = step.shelf
    assert task.app == shelf.app.sdkappid, task.app
    assert task.task_id not in shelf.task_of, task.task_id
    step.number("task", task.number)
    step.put(shelf.tasks, task.number, task)
    step.put(shelf.task_of, task.task_id, task.number)
    if audience is not None:
        step.put(shelf.audiences, task.number, audience)


def replace_task(step: Journal, known: Task, task: Task) -> None:
    names = (known.app, known.number, known.task_id)
    assert (task.app, task.number, task.task_id) == names, task.task_id
    step.put(step.shelf.tasks, task.number, task)
    if task.ended_at is not None and known.ended_at is None:
        step.put(step.shelf.unmerged, task.number, value=True)


def add_jobs(step: Journal, jobs: Sequence[NewJob]) -> None:
    shelf = step.shelf
    for new in jobs:
        assert new.task in shelf.tasks, new.task
        number = shelf.last["job"] + 1
        step.number("job", number)
        job = Job(
            app=shelf.app.sdkappid,
            number=number,
            task=new.task,
            queue=new.queue,
            lane=new.lane,
            body=new.body,
            not_before=new.not_before,
            attempt=new.attempt,
        )
        until = ends_at(shelf.tasks[new.task])
        step.put(shelf.jobs, number, Slot(job, way=new.way, ends_at=until))


def held(shelf: Shelf, app: int, job: Job) -> Slot | None:
    """The row of a job whose lease is still the one that `job` came with."""
    slot = shelf.jobs.get(job.number)
    if slot is None or slot.holder is None or job.app != app:
        return None
    return slot if slot.job.generation == job.generation else None


def step_view(shelf: Shelf, slot: Slot, want: StepWant) -> StepView:
    job = slot.job
    numbers = sorted({*want.devices, *owned(shelf, want.accounts)})
    return StepView(
        app=shelf.app,
        task=shelf.tasks[job.task],
        job=job,
        devices={number: shelf.devices[number] for number in numbers if number in shelf.devices},
        accounts=frozenset(number for number in want.accounts if number in shelf.names),
        acked=acked(shelf, job.task) if want.with_acked else BitMap(),
        handles=_overwritten(shelf, job.task, numbers) if want.with_handles else {},
        has_other_jobs=any(
            other.job.task == job.task
            for number, other in shelf.jobs.items()
            if number != job.number
        ),
    )


def _overwritten(shelf: Shelf, task: int, devices: Iterable[int]) -> dict[int, str]:
    """Names of the messages that a task overwrites."""
    former = shelf.tasks[task].overwrites
    if former is None:
        return {}
    keys = [(former, device) for device in devices]
    return {key[1]: shelf.handles[key][1] for key in keys if key in shelf.handles}


def append_lines(step: Journal, task: int, lines: Sequence[Block | Report]) -> None:
    for line in lines:
        assert line.task == task, line.task
        position = step.shelf.last["line"] + 1
        step.number("line", position)
        step.put(step.shelf.lines, task, (*step.shelf.lines.get(task, ()), (position, line)))


def write_step(step: Journal, slot: Slot, edit: StepEdit) -> None:
    shelf, job = step.shelf, slot.job
    if edit.task is not None:
        replace_task(step, shelf.tasks[job.task], edit.task)
    if edit.audience is not None:
        step.put(shelf.audiences, job.task, edit.audience)
    append_lines(step, job.task, edit.blocks)
    step.write_devices(edit.devices)
    until = shelf.tasks[job.task].expires_at
    for handle in edit.handles:
        step.put(shelf.handles, (job.task, handle.device), (until, handle.name))
    add_jobs(step, edit.jobs)
    if edit.is_done:
        step.drop(shelf.jobs, job.number)
        return
    job = msgspec.structs.replace(
        job,
        begun_at=job.begun_at if edit.begun_at is None else edit.begun_at,
        body=job.body if edit.body is None else edit.body,
        not_before=job.not_before if edit.not_before is None else edit.not_before,
    )
    parked = edit.not_before is not None
    slot = msgspec.structs.replace(slot, job=job)
    step.put(shelf.jobs, job.number, given_up(slot) if parked else slot)


def lease_jobs(
    step: Journal,
    place: tuple[str, Lane],
    limit: int,
    grant: tuple[str, float, bool],
    now: float,
) -> list[Job]:
    """Lease jobs of a (queue, lane) to a (lessee, for seconds, ended ones only)."""
    holder, lease_s, ended = grant
    ready = [
        (slot.job.not_before, number)
        for number, slot in step.shelf.jobs.items()
        if (slot.job.queue, slot.job.lane) == place
        if (slot.holder is None and slot.ends_at <= now if ended else slot.ready_at <= now)
    ]
    leased = []
    for _, number in sorted(ready)[:limit]:
        slot = step.shelf.jobs[number]
        job = msgspec.structs.replace(slot.job, generation=slot.job.generation + 1)
        slot = msgspec.structs.replace(slot, job=job, holder=holder, until=now + lease_s)
        step.put(step.shelf.jobs, number, slot)
        leased.append(job)
    return leased


def merge_ended(step: Journal, merge: Callable[[Sequence[Block]], list[Block]], limit: int) -> bool:
    """Merge the blocks of some tasks that have ended; answers whether any are left to merge."""
    shelf, left = step.shelf, limit
    for task in sorted(shelf.unmerged):
        lines = shelf.lines.get(task, ())
        first = [line for line in lines if isinstance(line[1], Block)][:left]
        if len(first) == left < limit:
            break
        merged = merge([block for _, block in first if isinstance(block, Block)])
        if len(merged) < len(first):
            step.put(shelf.lines, task, tuple(line for line in lines if line not in first))
            append_lines(step, task, merged)
        if len(first) < left or 2 * len(merged) > len(first):
            step.drop(shelf.unmerged, task)
        left -= len(first) + 1
        if left <= 0:
            break
    return bool(shelf.unmerged)


def forget_tasks(step: Journal, before: float, limit: int) -> int:
    """Drop tasks that ended before a time, with all that is theirs; answers how many."""
    shelf = step.shelf
    times = [(task, task.ended_at) for task in shelf.tasks.values()]
    old = [task for task, ended_at in times if ended_at is not None and ended_at < before]
    gone = old[:limit]
    for task in gone:
        step.drop(shelf.tasks, task.number)
        step.drop(shelf.task_of, task.task_id)
        step.drop(shelf.audiences, task.number)
        step.drop(shelf.lines, task.number)
        step.drop(shelf.unmerged, task.number)
        for key in [key for key in shelf.handles if key[0] == task.number]:
            step.drop(shelf.handles, key)
        for number in [n for n, slot in shelf.jobs.items() if slot.job.task == task.number]:
            step.drop(shelf.jobs, number)
    return len(gone)


def wake_jobs(step: Journal, task: int, now: float) -> None:
    """End the task's jobs that nobody has leased: they are ready at once."""
    for number, slot in list(step.shelf.jobs.items()):
        if slot.job.task == task and slot.holder is None:
            woken = msgspec.structs.replace(_ready(slot, now), ends_at=now)
            step.put(step.shelf.jobs, number, woken)


def wake_way(step: Journal, queue: str, way: str | None, limit: int, now: float) -> int:
    """Make up to `limit` jobs ready that wait for a way; None: for any."""
    waiting = [
        (slot.job.not_before, number)
        for number, slot in step.shelf.jobs.items()
        if slot.job.queue == queue and slot.holder is None and slot.job.not_before > now
        if slot.way and way in (None, slot.way)
    ]
    for _, number in sorted(waiting)[:limit]:
        woken = msgspec.structs.replace(_ready(step.shelf.jobs[number], now), way="")
        step.put(step.shelf.jobs, number, woken)
    return min(limit, len(waiting))


def given_up(slot: Slot) -> Slot:
    """The row when nobody has leased it any more."""
    return msgspec.structs.replace(slot, holder=None, until=0.0)


def _ready(slot: Slot, now: float) -> Slot:
    job = slot.job
    not_before = min(job.not_before, now)
    return msgspec.structs.replace(slot, job=msgspec.structs.replace(job, not_before=not_before))
