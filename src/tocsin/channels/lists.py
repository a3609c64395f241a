"""The driver of vendors that take a list of devices in one request.

The vendor's `deliver` says what to send and is sent the answers; here stand the sockets. What is
saved once per task and language, by the vendor's `prepare`, is kept here for the batches to come.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.channels.denials import OUR_FAULT, stamped, unproven
from tocsin.channels.discretion import says_much
from tocsin.channels.driver import Driver
from tocsin.channels.pace import ACCUSING, PAUSING
from tocsin.channels.registry import ListVendor, devices_max_of, prepare_of
from tocsin.channels.turn import Begun, Tools, Turn
from tocsin.channels.way import Pause
from tocsin.conversation import (
    Batch,
    Denied,
    Request,
    Response,
    StaleCredential,
    Unanswered,
    told_shortened,
)
from tocsin.domain.app import Credential
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.outcome import OURS, Outcome, Receipt
from tocsin.domain.retry import until_hour_s

PREPARED_MAX = 1000
"""Prepared texts kept; the oldest goes first, and is prepared anew if it is needed after all."""
PARKED_MAX = 10_000
"""Tasks remembered as over their quota; one that was forgotten asks once more."""
PREPARED_LIFE_S = 60.0
"""How long a prepared text is used. It was saved with the life that its push had left then, so with
an older one a phone that is off would be shown the push so much later than it may."""

Key = tuple[int, int, bool]
"""Task, language, and whether it is the silent text of a repeat."""


class Saved(Struct):
    """What was prepared for one task and language; under the lock while it is made."""

    lock: asyncio.Lock
    text: str = ""
    until: float = 0.0


class Parked(Struct, frozen=True):
    """Why, and until when, a task's lists are not sent."""

    denied: Denied
    until: float


class Course(Struct):
    """Where the sending of one list stands."""

    turn: Turn
    begun: Begun
    is_cleared: bool = True
    """The gate has just said yes, and nothing was awaited since."""
    was_asked: bool = False
    """The vendor has been sent something."""
    is_shortened: bool = False
    """What it has been sent had a shortened text."""


class ListDriver(Driver):
    """Sends a batch as one list, or as several where it is longer than the vendor takes."""

    def __init__(self, vendor: ListVendor, record: Credential, settings: Any, tools: Tools) -> None:
        super().__init__(vendor, record, settings, tools)
        self._file = vendor
        self._prepare = prepare_of(vendor)
        self._devices_max = devices_max_of(vendor, settings)
        self._saved: BoundedCache[Key, Saved] = BoundedCache(PREPARED_MAX)
        self._parked: BoundedCache[int, Parked] = BoundedCache(PARKED_MAX)

    async def _carry_out(self, turn: Turn) -> list[Receipt]:
        done: list[Receipt] = []
        for part in _parts(turn.batch, self._devices_max):
            done += await self._deliver(Turn(part, turn.gate, turn.patience_s, turn.is_probe))
        return done

    async def _deliver(self, turn: Turn) -> list[Receipt]:
        """One list, from its leave to its receipts."""
        parked = self._why_parked(turn.batch.task)
        if parked is not None:
            return turn.batch.came_to(parked)
        begun = await self._begin(turn, self._ways.main, len(turn.batch.deliveries))
        if isinstance(begun, Denied):
            return turn.batch.came_to(begun)
        course = Course(turn, begun)
        return await self._within(turn, begun, self._answered(course), lambda: _broken(course))

    async def _answered(self, course: Course) -> list[Receipt]:
        try:
            receipts = await self._converse(course)
        except Unanswered as fault:
            receipts = course.turn.batch.came_to(fault.denied)
        return self._recorded(receipts, course)

    async def _converse(self, course: Course) -> list[Receipt]:
        turn = course.turn
        try:
            return await self._exchange(course)
        except StaleCredential:
            # It was refused, so sending it again is no second delivery.
            renewed = await self._keeper.renew(course.begun.authority)
        if isinstance(renewed, Denied):
            return turn.batch.came_to(unproven(renewed, course.begun.way))
        refusal = await self._clear(turn, course.begun.way, len(turn.batch.deliveries))
        if refusal is not None:
            return turn.batch.came_to(refusal)
        course.begun = Begun(renewed, course.begun.way, course.begun.is_probe)
        course.is_cleared = True
        try:
            return await self._exchange(course)
        except StaleCredential as twice:
            return turn.batch.came_to(Denied(Outcome.CREDENTIALS_WRONG, twice.code, twice.info))

    async def _exchange(self, course: Course) -> list[Receipt]:
        """The vendor's whole conversation about one list. Raises `StaleCredential`."""
        batch, authority = course.turn.batch, course.begun.authority
        taken_back = await self._take_back(course)
        if taken_back is not None:
            return taken_back
        prepared = await self._prepared(course)
        if isinstance(prepared, Denied):
            return batch.came_to(prepared)
        given = msgspec.structs.replace(batch, prepared=prepared) if prepared else batch
        now = self._clock.now()
        talk = self._file.deliver(self._settings, authority, given, now)
        receipts = await self._drive(talk, partial(self._one, course))
        named = [receipt.device for receipt in receipts]
        assert named == [delivery.device for delivery in batch.deliveries], self._vendor.NAME
        return receipts

    async def _take_back(self, course: Course) -> list[Receipt] | None:
        """Withdraw what a batch overwrites; answers the receipts where nothing is shown instead.

        Where the vendor will not, the overwrite still replaces what it can.
        """
        batch, authority = course.turn.batch, course.begun.authority
        if self._recall is None or not batch.is_overwrite:
            return None
        talk = self._recall(self._settings, authority, batch.deliveries, self._clock.now())
        is_all = not self._shows(batch)
        try:
            receipts = await self._drive(talk, partial(self._one, course))
        except Unanswered as fault:
            if is_all:
                raise
            receipts = batch.came_to(fault.denied)
        self._tell.taken_back(receipts)
        return receipts if is_all else None

    async def _one(self, course: Course, request: Request) -> Response | Denied:
        if not course.is_cleared:
            refusal = await self._clear(course.turn, course.begun.way, 0)
            if refusal is not None:
                return refusal
        course.is_cleared = False
        course.was_asked = True
        course.is_shortened |= request.is_shortened
        return await self._send(course.turn, request)

    # what is saved once

    async def _prepared(self, course: Course) -> str | Denied:
        """The text that the vendor's file wants in each batch of this task and language."""
        if self._prepare is None:
            return ""
        batch = course.turn.batch
        saved = self._saved_of((batch.task, batch.language, batch.doubted_at is not None))
        if saved.until <= self._clock.now():
            course.is_cleared = course.is_cleared and not saved.lock.locked()
            async with saved.lock:
                if saved.until <= self._clock.now():
                    return await self._save(course, saved)
        return saved.text

    async def _save(self, course: Course, saved: Saved) -> str | Denied:
        assert self._prepare is not None
        batch, authority = course.turn.batch, course.begun.authority
        now = self._clock.now()
        talk = self._prepare(self._settings, authority, batch, now)
        try:
            found = await self._drive(talk, partial(self._one, course))
        except Unanswered as fault:
            # Saving reaches no device, so there is no doubt about any.
            if fault.denied.outcome is not Outcome.UNKNOWN:
                raise
            return Denied(Outcome.UNSENT, fault.denied.code, fault.denied.info)
        if isinstance(found, str) and found:
            # An empty text was enough for this list; the next one may need one after all.
            saved.text, saved.until = found, now + PREPARED_LIFE_S
        return found

    def _saved_of(self, key: Key) -> Saved:
        saved = self._saved.get(key)
        if saved is None:
            saved = Saved(asyncio.Lock())
            self._saved.put(key, saved)
        return saved

    # what the vendor will not take yet

    def _why_parked(self, task: int) -> Denied | None:
        """Why a list of this task is not even begun, and for how long."""
        now = self._clock.now()
        parked = self._parked.get(task)
        if parked is None or now >= parked.until:
            return None
        denied = parked.denied
        return Denied(Outcome.HELD, denied.code, denied.info, parked.until - now)

    def _park(self, task: int, receipts: Sequence[Receipt]) -> None:
        """Remember what a whole list was told: the next one would be told the same.

        A quota or an hour is that of the task's class of message, and asking again may lower the
        quota of tomorrow; a pause that the vendor names is the credential's. What was said of
        devices, be it of each, is no word about others.
        """
        first = receipts[0]
        if first.retry_after_s is None or not all(it.is_of_all for it in receipts):
            return
        if any(it.outcome != first.outcome for it in receipts):
            return
        denied = Denied(first.outcome, first.code, first.info)
        parked = Parked(denied, self._clock.now() + first.retry_after_s)
        if first.outcome in PAUSING:
            self._ways.main.pause = Pause(denied.code, denied.info, parked.until)
            self._tell.pause(first)
        elif first.outcome in (Outcome.QUOTA_DAY, Outcome.TIME_WINDOW):
            self._parked.put(task, parked)

    def _recorded(self, receipts: list[Receipt], course: Course) -> list[Receipt]:
        """Tell the breaker what the list came to: what accuses us, else what most came to."""
        receipts = self._with_days_end(self._discreet(_suspected(receipts), course))
        if course.begun.is_probe:
            # Weighed by who sent it; and no word about any push.
            return receipts
        if course.is_shortened:
            receipts = [told_shortened(it) for it in receipts]
        self._park(course.turn.batch.task, receipts)
        counted = Counter(receipt.outcome for receipt in receipts if receipt.outcome not in OURS)
        accused = [outcome for outcome in counted if outcome in ACCUSING]
        if accused or (counted and course.was_asked):
            main = accused[0] if accused else counted.most_common(1)[0][0]
            first = next(receipt for receipt in receipts if receipt.outcome is main)
            device = first.device if len(receipts) == 1 else None
            self._weigh(first, course.begun.way, is_probe=False, device=device)
        return [stamped(receipt, course.begun.way) for receipt in receipts]

    def _discreet(self, receipts: list[Receipt], course: Course) -> list[Receipt]:
        """The receipts in words that may be kept."""
        if not any(says_much(it) for it in receipts):
            return receipts
        words = self._discretion.about(course.turn.batch.deliveries, course.begun.authority.value)
        return [words.cleaned(it) for it in receipts]

    def _with_days_end(self, receipts: list[Receipt]) -> list[Receipt]:
        """What is over its quota waits for the vendor's midnight, where it named no other time."""
        wait_s = until_hour_s(0, self._clock.now(), self._limits.clock_offset_s)
        return [
            msgspec.structs.replace(it, retry_after_s=wait_s)
            if it.outcome is Outcome.QUOTA_DAY and it.retry_after_s is None
            else it
            for it in receipts
        ]


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    """Lists as long as the vendor takes; devices that changed vendor may come in longer ones."""
    if len(batch.deliveries) <= size:
        yield batch
        return
    for start in range(0, len(batch.deliveries), size):
        some = batch.deliveries[start : start + size]
        yield msgspec.structs.replace(batch, deliveries=some)


def _suspected(receipts: list[Receipt]) -> list[Receipt]:
    """A list of which nobody was taken may be another app's as well: that is no evidence."""
    if any(receipt.outcome is Outcome.ACCEPTED for receipt in receipts):
        return receipts
    return [
        msgspec.structs.replace(receipt, outcome=Outcome.TOKEN_MISMATCH)
        if receipt.outcome is Outcome.TOKEN_DEAD
        else receipt
        for receipt in receipts
    ]


def _broken(course: Course) -> list[Receipt]:
    """What a fault of ours means for the list."""
    outcome = Outcome.UNKNOWN if course.was_asked else Outcome.BAD_REQUEST
    return course.turn.batch.came_to(Denied(outcome, *OUR_FAULT))
