"""The Store port: everything durable, one page of verbs.

Part of the waist (`ports.py` has the other seams); a file of its own for its length alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.account import Account, AccountsEdit, AccountsView, Change, Term, TermKey
from tocsin.domain.after_restore import Decide
from tocsin.domain.app import App, Credential
from tocsin.domain.books import Lines
from tocsin.domain.collapse import CollapseMark
from tocsin.domain.device import Device, DeviceEdit, DeviceRows, DeviceView, Route
from tocsin.domain.device_index import DeviceChanges, IndexedDevice
from tocsin.domain.restore import GenerationEdit, GenerationView, Restored
from tocsin.domain.task import (
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

LINES_MAX = 4_096
"""Lines of a task's books that are read at once."""
LINES_BYTES_MAX = 262_144
"""Bytes of members after which a page of lines ends."""
INBOX_ACCOUNTS_MAX = 500
"""Accounts of a task up to which each of them leads to it."""
PREFIXED_MAX = 5
"""UserIDs that `reserve_prefix` shows."""


ROWS_REMOVED_MIN = 50
"""The least limit of a step that removes rows: a row may count so much."""


class RowsRemoved(Struct, frozen=True, kw_only=True):
    """What one step of an app's removal has deleted."""

    tasks: int
    devices: int
    accounts: int
    is_empty: bool
    """Whether the step found nothing to delete: only the app's own row is left."""


class Head(Struct, frozen=True):
    """A queue with work that is ready, or the time when its next work will be."""

    app: int
    queue: str
    lane: Lane
    ready_at: float


class Store(Protocol):
    """Everything durable.

    Every verb is one atomic step: when it returns, what it wrote survives a power cut; when it
    raises `StoreError`, nothing of it happened. A deciding function gets what was read and
    returns what to write; it is pure, may be called again, and may raise `CallError`, which
    leaves everything as it was. No verb of one app reads or writes another app's rows. Numbers
    (accounts, devices, terms, tasks, jobs) are dense per app from 1 and never reused.
    """

    async def write_trouble(self) -> str:
        """Why nothing can be written (disk full, read-only …); empty while all is well.

        While something is wrong, asking tries a small write again, at most once a second. Raises
        nothing.
        """
        ...

    async def collapse_mark(self) -> CollapseMark:
        """What collapse ids carry of this database: the same for as long as it exists. Cheap."""
        ...

    # restores

    async def erasure_key(self) -> bytes:
        """What the names of erased accounts are hashed with; backups of a store share it. Cheap."""
        ...

    async def restored(self) -> Restored | None:
        """The last restore of this database; None: it was never restored. Cheap."""
        ...

    async def begin_generation(
        self, decide: Callable[[GenerationView], GenerationEdit]
    ) -> Restored:
        """Make of a copy of an earlier moment a database of its own, before it is served.

        Gives every app the counters decided on, and writes down the restore. Leases are given up,
        and snapshots of the index are of another history from now on.
        """
        ...

    async def end_task_of_backup(self, app: int, task: int, decide: Decide) -> None:
        """Apply a decision about a living task of before a restore, and append to its books.

        Where it ends the task, the task's jobs are ready at once. Changes nothing of a task that
        has ended or is not there.
        """
        ...

    async def end_hold(self, change: Callable[[Restored], Restored]) -> Restored | None:
        """Change the mark of the last restore; None: there is none."""
        ...

    # apps and credentials

    async def app(self, app: int) -> App | None:
        """The app, or None. Cheap: asked on every call."""
        ...

    async def apps(self) -> list[int]:
        """Every app's sdkappid, in rising order."""
        ...

    @property
    def app_version(self) -> int:
        """Grows with each change of an app's row, so that copies know when they are old.

        It grows after the row is there: who reads it first and then the rows has none too old.
        """
        ...

    async def update_app(self, app: int, change: Callable[[App | None], App]) -> App:
        """Create or change an app."""
        ...

    async def reserve_prefix(
        self, app: int, prefix: str, change: Callable[[App, Sequence[str]], App]
    ) -> App:
        """Change an app that shall keep names with this prefix for RegistrationIDs.

        `change` gets the app and the first few UserIDs that begin so, in the order of their names.
        """
        ...

    async def remove_rows(self, app: int, limit: int) -> RowsRemoved:
        """Delete some of what an app that `is_being_removed` has: jobs first, credentials last.

        `limit`, 50 or more, bounds the step: a row counts 1, a push 5, and 50 where it may be
        large. The numbers that the app gave stay given: nothing gets them again.
        """
        ...

    async def remove_app(self, app: int) -> bool:
        """Delete the row of an app that `is_being_removed`, if nothing else of it is left.

        Answers whether it did.
        """
        ...

    async def credentials(self, app: int) -> list[Credential]:
        """The app's credentials by certificate ID."""
        ...

    async def update_credential(
        self, app: int, number: int, change: Callable[[Credential | None, int], Credential | None]
    ) -> Credential | None:
        """Create (`number` 0), change or delete (None) a credential.

        `change` gets the present record and the next free number; numbers are never reused.
        """
        ...

    # accounts

    async def accounts(self, app: int, names: Sequence[str]) -> list[Account | None]:
        """The named accounts in the order asked."""
        ...

    async def account_names(self, app: int, numbers: BitMap) -> dict[int, str]:
        """Names by number; deleted accounts are left out."""
        ...

    async def update_accounts(
        self,
        app: int,
        names: Sequence[str],
        keys: Sequence[TermKey],
        change: Callable[[AccountsView], AccountsEdit],
    ) -> Any:
        """Apply a decision about accounts and answer its result.

        Appends one change log row when the edit has changes. Deleting an account deletes the
        devices bound to it or registered under it, and remembers when it went.
        """
        ...

    async def scan_accounts(self, app: int, after: int, limit: int) -> list[Account]:
        """Accounts with numbers above `after`, in rising order: to derive the index anew."""
        ...

    async def terms(self, app: int, keys: Sequence[TermKey]) -> dict[TermKey, Term]:
        """The terms that exist."""
        ...

    async def retire_terms(self, app: int, limit: int) -> list[int]:
        """Delete up to `limit` term rows that nobody carries; answers their numbers."""
        ...

    # the change log

    async def changes(self, app: int, after: int, limit: int) -> list[tuple[int, list[Change]]]:
        """Log rows after a position, in the order of their commits."""
        ...

    async def last_change(self, app: int) -> int:
        """The newest position; 0 when the log was never written."""
        ...

    async def cut_changes(self, app: int, upto: int) -> None:
        """Delete log rows up to and with this position: a durable snapshot covers them."""
        ...

    # snapshots of the index

    async def mark_snapshot(self, app: int, mark: bytes, position: int, keep: bytes) -> None:
        """Write down the mark of a snapshot that is about to be taken of this position.

        Of earlier marks only `keep` stays: that of the snapshot which is durable now.
        """
        ...

    async def marked_position(self, app: int, mark: bytes) -> int | None:
        """The position at which this history wrote down a snapshot's mark; None: it never did."""
        ...

    # devices

    async def device(self, app: int, registration_id: str) -> Device | None:
        """The device with this RegistrationID."""
        ...

    async def devices(self, app: int, numbers: BitMap) -> dict[int, Device]:
        """Devices by number."""
        ...

    async def devices_at(self, app: int, numbers: BitMap) -> DeviceRows:
        """Devices by number, and the position of the device changes at the same moment."""
        ...

    async def devices_of(self, app: int, accounts: BitMap) -> list[Device]:
        """Every device bound to these accounts or registered under them."""
        ...

    async def scan_devices(self, app: int, after: int, limit: int) -> list[Device]:
        """Devices with numbers above `after`, in rising order, `limit` at most."""
        ...

    async def scan_indexed_devices(self, app: int, after: int, limit: int) -> list[IndexedDevice]:
        """What the device index holds of the next devices, in rising order: to derive it anew."""
        ...

    async def device_changes(self, app: int, after: int, limit: int) -> DeviceChanges:
        """Up to `limit` devices that changed after a position, as they are now, in the order of
        their latest changes.

        Every fact counts but when a device was seen and what its badge shows. A device that changes
        again takes a later position, so nothing is ever cut off.
        """
        ...

    async def last_device_change(self, app: int) -> int:
        """The newest position of the device changes; 0 before the first."""
        ...

    async def token_owners(self, app: int, routes: Sequence[Route]) -> list[Device | None]:
        """Who owns each of these tokens, in the order asked; the credential does not matter."""
        ...

    async def update_device(
        self,
        app: int,
        registration_id: str,
        user: str,
        route: Route | None,
        change: Callable[[DeviceView], DeviceEdit],
    ) -> Any:
        """Apply a decision about one device, its accounts and the owners of `route`'s token."""
        ...

    async def unchecked(self, app: int) -> int:
        """How many devices an earlier release wrote, which kept tokens as they were told."""
        ...

    async def unchecked_devices(self, app: int, limit: int) -> list[Device]:
        """The first of them, in rising order. Whatever is written now is none of them any more."""
        ...

    async def update_devices(
        self,
        app: int,
        numbers: Sequence[int],
        routes: Sequence[Route],
        change: Callable[[DevicesView], DevicesEdit],
    ) -> Any:
        """Apply a decision about these devices and the owners of these routes' tokens."""
        ...

    # tasks

    async def accept(
        self,
        app: int,
        dedup: str,
        names: Sequence[str],
        decide: Callable[[AcceptView], AcceptEdit],
    ) -> Any:
        """Accept a push: task, audience, first job, quota and the de-dup key, in one step.

        `dedup` finds the task accepted for the same key within the last second.
        """
        ...

    async def recall(
        self, app: int, task_id: str, decide: Callable[[RecallView], RecallEdit]
    ) -> Any:
        """Recall a task; an overwrite gets the recalled task's frozen audience.

        `wakes_jobs` sets `not_before` of the task's jobs that nobody holds to now.
        """
        ...

    async def task(self, app: int, number: int) -> Task | None:
        """The task with this number."""
        ...

    async def task_by_id(self, app: int, task_id: str) -> Task | None:
        """The task with this TaskId."""
        ...

    async def tasks(self, app: int, *, before: int = 0, limit: int = 100) -> list[Task]:
        """Tasks, newest first, with numbers below `before` (0: from the newest)."""
        ...

    async def last_task(self, app: int) -> int:
        """The last number that a task was given; 0 before the first."""
        ...

    async def living(self, app: int) -> list[Task]:
        """Tasks that have not ended, in rising order."""
        ...

    async def inbox(self, app: int, accounts: Sequence[int]) -> list[Task]:
        """Tasks that have not ended and whose frozen audience has one of these accounts, oldest
        first.

        Those of more than `INBOX_ACCOUNTS_MAX` accounts are left out, and so are overwrites.
        """
        ...

    async def broad(self, app: int) -> Sequence[int]:
        """Numbers of the tasks that `inbox` leaves out for their many accounts. Cheap."""
        ...

    async def recalled(self, app: int, since: float) -> set[int]:
        """Numbers of the tasks recalled at or after `since`."""
        ...

    async def audience(self, app: int, task: int) -> BitMap:
        """The frozen audience; empty before it is frozen."""
        ...

    async def lines(
        self, app: int, task: int, after: int, *, limit: int = LINES_MAX, only_begun: bool = False
    ) -> Lines | None:
        """The next lines of a task's books after a position (0: the first ones); None: no task.

        A page has up to `limit` lines, and ends sooner once it holds `LINES_BYTES_MAX` of members.
        The last one has the task's jobs of the same moment; with `only_begun` just those that have
        begun. Merged books may say again what stands before the position.
        """
        ...

    async def append_reports(self, app: int, reports: Sequence[Report]) -> None:
        """Append reports. Those of unknown tasks are dropped."""
        ...

    async def merge_ended(
        self, app: int, merge: Callable[[Sequence[Block]], list[Block]], limit: int
    ) -> bool:
        """Replace up to `limit` blocks of tasks that have ended by fewer that say the same.

        A task is merged once, in as many calls as its blocks need; one that has few of them shares
        a call with others. Answers whether any is left to merge.
        """
        ...

    async def forget_handles(self, app: int, before: float, limit: int) -> int:
        """Delete up to `limit` of the vendors' names of messages whose life ended before this time.

        Answers how many were.
        """
        ...

    async def forget(self, app: int, before: float, limit: int) -> int:
        """Delete up to `limit` tasks that ended before this time, with their books.

        Answers how many were.
        """
        ...

    # jobs

    async def heads(self, now: float) -> list[Head]:
        """Each (app, queue, lane) with jobs that nobody holds, and when the first is ready.

        Jobs whose lease has run out count as ready. `app` is not asked: a worker serves all.
        """
        ...

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
        """Lease up to `limit` ready jobs, oldest `not_before` first, by the store's clock.

        Each lease raises the job's generation, so an earlier lessee's writes are refused. With
        `ended`, only jobs that nobody has leased and whose task was recalled or has expired: they
        are settled without a request, so they wait for no vendor.
        """
        ...

    async def wake(self, app: int, queue: str, way: str | None, limit: int) -> int:
        """Make up to `limit` parked jobs of a queue ready that wait for this way (None: for any).

        Answers how many were; the longest parked come first. Leased jobs are left alone.
        """
        ...

    async def extend(self, app: int, jobs: Sequence[Job], *, lease_s: float) -> list[int]:
        """Extend leases; answers the numbers of the jobs that are still ours."""
        ...

    async def step(
        self,
        app: int,
        job: Job,
        want: StepWant,
        decide: Callable[[StepView], StepEdit],
    ) -> Any:
        """Write one step of a leased job, if its generation still holds; else raise `Stale`."""
        ...

    async def release(self, lessee: str) -> int:
        """Give up every lease of a lessee that is known to be dead; answers how many."""
        ...

    async def depth(self) -> dict[tuple[int, str], int]:
        """Jobs by (app, queue): for metrics."""
        ...
