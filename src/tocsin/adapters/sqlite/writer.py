"""The one thread that writes: it takes what has queued, most urgent first, and commits it as one.

There is no timer. While one commit is on its way to the disk the next ones queue up, so a commit
carries as much as there is to carry and a lone step waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import apsw

from tocsin.adapters.sqlite.tables import Tables
from tocsin.clock import Clock
from tocsin.errors import StoreError
from tocsin.log import get_logger
from tocsin.metrics import Metrics

GROUP_BYTES_MAX = 2 * 1024 * 1024
"""What one commit writes at most, one step's overshoot aside."""
QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""What may wait for the writer; beyond that steps are refused at once."""
PASSED_OVER_MAX = 8
"""Commits that bulk work lets pass before it takes a turn."""
PAGE_BYTES = 4096
BUSY_FACTOR = 8
"""How much longer than an idle writer's the log may get before waiting work has to wait."""
FULL_FACTOR = 32
"""How much longer before the writer waits for readers, to start the log anew."""
ADVICE = "see to the disk of the data folder: room, rights, and whether it can be written at all"

_OUTSIDE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.InterruptError,
    apsw.ProtocolError,
    apsw.PermissionsError,
)
"""Faults of the disk, the file or whoever else has it open, and not of a statement."""

T = TypeVar("T")


class Rank(IntEnum):
    """Who is served first."""

    CALL = 0
    """Somebody waits for an answer."""
    SEND = 1
    """Leases and settlements: vendors wait."""
    BULK = 2
    """Pages of fanout, and housekeeping."""


class Awaited:
    """Something done in the writer's thread, and who waits for it in the event loop."""

    __slots__ = ("error", "future", "result")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Take what the step raised: its caller is in another thread, and gets it there."""
        if isinstance(error, Exception):
            self.error = explained(error)
        return self.error is not None

    def resolve(self) -> None:
        """Tell whoever waits, in the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Ticket(Awaited):
    """A step that waits to be written."""

    __slots__ = ("rank", "weight", "work")

    def __init__(
        self,
        rank: Rank,
        weight: int,
        work: Callable[[Tables], Any],
        future: asyncio.Future[Any],
    ) -> None:
        super().__init__(future)
        self.rank = rank
        self.weight = weight
        self.work = work


class Errand(Awaited):
    """What is done with the connection between two commits."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[apsw.Connection], Any], future: asyncio.Future[Any]) -> None:
        super().__init__(future)
        self.work = work


class Writer:
    """Owns the writing connection from `start` to `stop`."""

    def __init__(
        self, tables: Tables, clock: Clock, metrics: Metrics | None, *, checkpoint_pages: int
    ) -> None:
        self._tables = tables
        self._connection = tables.connection
        self._clock = clock
        self._metrics = metrics
        self._queues: tuple[deque[Ticket], ...] = (deque(), deque(), deque())
        self._errands: deque[Errand] = deque()
        self._waits = threading.Condition()
        self._group: list[Ticket] = []
        """Those in the transaction under way."""
        self._bytes = 0
        self._is_closing = False
        self._passed_over = 0
        self.trouble = ""
        """Why the last commit, or a step in it, could not be written; empty when it could."""
        self._pages = 0
        self._checkpoint_pages = checkpoint_pages
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._log = get_logger(__name__)
        # Set after every pragma: SQLite's own automatic checkpoint is a hook like this one.
        self._connection.set_wal_hook(self._count_pages)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what has queued and end. Blocks."""
        with self._waits:
            self._is_closing = True
            self._waits.notify()
        self._thread.join()

    async def write(self, rank: Rank, weight: int, work: Callable[[Tables], T]) -> T:
        """Run `work` inside a transaction; returns once that is durable."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._waits:
            if self._is_closing:
                raise StoreError("the store is closed")
            if self._bytes + weight > QUEUE_BYTES_MAX:
                raise StoreError("too much waits to be written")
            self._bytes += weight
            self._queues[rank].append(Ticket(rank, weight, work, future))
            self._waits.notify()
        return await future

    async def between(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on the connection outside of any transaction, between two commits.

        For a copy of the database, which is made in many short steps: whoever waits for a commit
        waits for one of them at most.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._waits:
            if self._is_closing:
                raise StoreError("the store is closed")
            self._errands.append(Errand(work, future))
            self._waits.notify()
        return await future

    # the thread

    def _run(self) -> None:
        try:
            while (first := self._first()) is not None:
                if isinstance(first, Ticket):
                    self._commit(first)
                    self._checkpoint()
                self._run_errand()
        finally:
            # Reached with work in hand only through a fault of ours, which the thread's own
            # handler reports: nobody may be left waiting for it.
            with self._waits:
                self._is_closing = True
                errands = tuple(self._errands)
            self._fail([*self._group, *self._drain(), *errands], "the writer has ended")

    def _run_errand(self) -> None:
        """One errand after each commit; while nothing is to be written, one after the other."""
        with self._waits:
            errand = self._errands.popleft() if self._errands else None
        if errand is None:
            return
        with errand:
            errand.result = errand.work(self._connection)
        self._loop.call_soon_threadsafe(_resolve, (errand,))

    def _first(self) -> Ticket | Literal["errand"] | None:
        """The ticket that the next commit begins with; None when it is time to end."""
        with self._waits:
            while not any(self._queues):
                if self._errands:
                    return "errand"
                if self._is_closing:
                    return None
                self._waits.wait()
            if self._queues[Rank.BULK] and self._passed_over >= PASSED_OVER_MAX:
                return self._pop(Rank.BULK)
            return self._pop(next(rank for rank in Rank if self._queues[rank]))

    def _next(self, group: Rank) -> Ticket | None:
        """Another ticket for a commit that began with this rank.

        Bulk work has a commit of its own: nobody who waits for an answer waits for a page.
        """
        if self._tables.bytes_written >= GROUP_BYTES_MAX:
            return None
        with self._waits:
            rank = next((rank for rank in Rank if self._queues[rank]), None)
            if rank is None or (rank is Rank.BULK) != (group is Rank.BULK):
                return None
            return self._pop(rank)

    def _pop(self, rank: Rank) -> Ticket:
        ticket = self._queues[rank].popleft()
        self._bytes -= ticket.weight
        if rank is Rank.BULK:
            self._passed_over = 0
        return ticket

    def _commit(self, first: Ticket) -> None:
        began_at = self._clock.monotonic()
        group = self._group
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._fill(group, first)
            self._tables.write_uses()
            self._seal()
        except apsw.Error as error:
            self._roll_back()
            cause = error.__cause__ or error
            why = f"{type(cause).__name__}: {cause}"
            self._note(why)
            # A lock that the first could not get, the others would not get either.
            self._fail(group or [first, *self._drain()], why)
        else:
            self._tables.committed()
            self._note(_outside_fault(group))
            self._loop.call_soon_threadsafe(_resolve, tuple(group))
        group.clear()
        self._passed_over += bool(self._queues[Rank.BULK])
        self._measure(self._clock.monotonic() - began_at)

    def _note(self, trouble: str) -> None:
        """Keep in mind whether writing works, and tell when that changes."""
        if trouble and not self.trouble:
            self._log.error("nothing can be written", why=trouble, advice=ADVICE)
        elif self.trouble and not trouble:
            self._log.info("writing works again")
        self.trouble = trouble

    def _fill(self, group: list[Ticket], first: Ticket) -> None:
        ticket: Ticket | None = first
        while ticket is not None:
            # Cancelled before it began: as good as never asked.
            if not ticket.future.cancelled():
                group.append(ticket)
                self._try(ticket)
            ticket = self._next(first.rank)

    def _seal(self) -> None:
        """Commit. When that fails, see to it that no later recovery finds it committed.

        The pages may all stand in the log and only their sync have failed: a process that dies
        now would leave a log that says "committed" to whoever recovers it, after we have said
        that nothing happened. The next commit is written over them, so one is made at once.
        """
        try:
            self._connection.execute("COMMIT")
        except apsw.Error:
            self._roll_back()
            version = self._connection.pragma("user_version")
            with contextlib.suppress(apsw.Error):
                self._connection.pragma("user_version", version)
            raise

    def _try(self, ticket: Ticket) -> None:
        """Run one step in a savepoint. Raises only if the whole transaction is lost."""
        self._connection.execute("SAVEPOINT step")
        with ticket:
            ticket.result = ticket.work(self._tables)
            self._tables.end_step()
            self._connection.execute("RELEASE step")
        if ticket.error is None:
            self._tables.keep_step()
            return
        self._tables.drop_step()
        if not self._connection.in_transaction:
            raise apsw.AbortError("the transaction was rolled back") from _cause(ticket.error)
        self._connection.execute("ROLLBACK TO step")
        self._connection.execute("RELEASE step")

    def _roll_back(self) -> None:
        """Nothing of this transaction happened."""
        if self._connection.in_transaction:
            # A failure here leaves nothing to be done: the next BEGIN finds out.
            with contextlib.suppress(apsw.Error):
                self._connection.execute("ROLLBACK")
        self._tables.rolled_back()

    def _fail(self, group: Sequence[Awaited], why: str) -> None:
        for ticket in group:
            if ticket.error is None:
                ticket.error = StoreError(why)
        if group:
            self._loop.call_soon_threadsafe(_resolve, tuple(group))

    def _drain(self) -> list[Ticket]:
        """Everyone who waits."""
        with self._waits:
            waiting = [ticket for queue in self._queues for ticket in queue]
            for queue in self._queues:
                queue.clear()
            self._bytes = 0
        return waiting

    def _measure(self, span_s: float) -> None:
        if self._metrics is not None:
            self._metrics.observe("store_commit_seconds", span_s)
            self._metrics.set("store_failing", bool(self.trouble))
            self._metrics.set("store_queue_bytes", self._bytes)
            self._metrics.set("store_wal_bytes", self._pages * PAGE_BYTES)

    # the write-ahead log

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the log into the database when it has grown, preferably while nobody waits."""
        is_idle = not any(self._queues)
        if self._pages < self._checkpoint_pages * (1 if is_idle else BUSY_FACTOR):
            return
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE
        if self._pages >= self._checkpoint_pages * FULL_FACTOR:
            mode = apsw.SQLITE_CHECKPOINT_RESTART
        try:
            pages, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.Error:
            # The disk is full or a reader is in the way. Nothing is lost: the log has it all,
            # and the next commit comes by here again.
            return
        if pages == copied:
            self._pages = 0


def explained(error: Exception) -> Exception:
    """What a step's failure means to its caller."""
    if isinstance(error, apsw.ConstraintError):
        refused = AssertionError(f"the edit contradicts what is stored: {error}")
        refused.__cause__ = error
        return refused
    if isinstance(error, _OUTSIDE):
        failed = StoreError(f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed
    return error


def _outside_fault(group: Sequence[Ticket]) -> str:
    """What kept a step of this commit from the disk; empty where only callers were refused."""
    faults = (ticket.error for ticket in group if isinstance(ticket.error, StoreError))
    return next((str(fault) for fault in faults), "")


def _cause(error: Exception) -> BaseException:
    return error.__cause__ or error


def _resolve(group: Sequence[Awaited]) -> None:
    for ticket in group:
        ticket.resolve()
