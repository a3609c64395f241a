"""The driver of vendors that take a list of devices in one request.

The vendor's `deliver` says what to send and is sent the answers; here stand the sockets. What is
saved once per task and language, by the vendor's `prepare`, is kept here for the batches to come.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.channels.batch_run import BatchRun, DriverTools, SendPermit
from tocsin.channels.breaker import ACCUSING, PAUSING
from tocsin.channels.denials import OUR_FAULT, stamped, unproven
from tocsin.channels.driver import Driver
from tocsin.channels.redactor import says_much
from tocsin.channels.registry import ListVendor, devices_max_of, prepare_of
from tocsin.channels.way import Pause
from tocsin.conversation import (
    Batch,
    Denied,
    Request,
    Response,
    StaleCredential,
    Unanswered,
    devices_of,
    told_shortened,
)
from tocsin.domain.app import Credential
from tocsin.domain.bounded import BoundedCache
from tocsin.domain.outcome import OURS, BatchReceipts, Outcome, Receipt
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


class PreparedMessage(Struct):
    """A message that was saved with the vendor for one task and language; locked meanwhile."""

    lock: asyncio.Lock
    text: str = ""
    until: float = 0.0


class Parked(Struct, frozen=True):
    """Why, and until when, a task's lists are not sent."""

    denied: Denied
    until: float


class ListRun(Struct):
    """One run of a list: its permit, and how far the sending is."""

    run: BatchRun
    permit: SendPermit
    is_cleared: bool = True
    """The gate has just said yes, and nothing was awaited since."""
    was_asked: bool = False
    """The vendor has been sent something."""
    is_shortened: bool = False
    """What it has been sent had a shortened text."""


class ListDriver(Driver):
    """Sends a batch as one list, or as several where it is longer than the vendor takes."""

    def __init__(
        self, vendor: ListVendor, record: Credential, settings: Any, tools: DriverTools
    ) -> None:
        super().__init__(vendor, record, settings, tools)
        self._file = vendor
        self._prepare = prepare_of(vendor)
        self._devices_max = devices_max_of(vendor, settings)
        self._saved: BoundedCache[Key, PreparedMessage] = BoundedCache(PREPARED_MAX)
        self._parked: BoundedCache[int, Parked] = BoundedCache(PARKED_MAX)

    async def _carry_out(self, run: BatchRun) -> BatchReceipts:
        done: BatchReceipts | None = None
        for part in _parts(run.batch, self._devices_max):
            receipts = await self._deliver(BatchRun(part, run.gate, run.patience_s, run.is_probe))
            done = receipts if done is None else done.joined(receipts)
        assert done is not None, "a batch of no devices"
        return done

    async def _deliver(self, run: BatchRun) -> BatchReceipts:
        """One list, from its leave to its receipts."""
        parked = self._why_parked(run.batch.task)
        if parked is not None:
            return run.batch.came_to(parked)
        permit = await self._begin(run, self._ways.main, len(run.batch.deliveries))
        if isinstance(permit, Denied):
            return run.batch.came_to(permit)
        list_run = ListRun(run, permit)
        return await self._within(run, permit, self._answered(list_run), lambda: _broken(list_run))

    async def _answered(self, list_run: ListRun) -> BatchReceipts:
        try:
            receipts = await self._converse(list_run)
        except Unanswered as fault:
            receipts = list_run.run.batch.came_to(fault.denied)
        return self._recorded(receipts, list_run)

    async def _converse(self, list_run: ListRun) -> BatchReceipts:
        run = list_run.run
        try:
            return await self._exchange(list_run)
        except StaleCredential:
            # It was refused, so sending it again is no second delivery.
            renewed = await self._provider.renew(list_run.permit.authority)
        if isinstance(renewed, Denied):
            return run.batch.came_to(unproven(renewed, list_run.permit.way))
        refusal = await self._clear(run, list_run.permit.way, len(run.batch.deliveries))
        if refusal is not None:
            return run.batch.came_to(refusal)
        list_run.permit = SendPermit(renewed, list_run.permit.way, list_run.permit.is_probe)
        list_run.is_cleared = True
        try:
            return await self._exchange(list_run)
        except StaleCredential as twice:
            return run.batch.came_to(Denied(Outcome.CREDENTIALS_WRONG, twice.code, twice.info))

    async def _exchange(self, list_run: ListRun) -> BatchReceipts:
        """The vendor's whole conversation about one list. Raises `StaleCredential`."""
        batch, authority = list_run.run.batch, list_run.permit.authority
        taken_back = await self._take_back(list_run)
        if taken_back is not None:
            return taken_back
        prepared = await self._prepared(list_run)
        if isinstance(prepared, Denied):
            return batch.came_to(prepared)
        given = msgspec.structs.replace(batch, prepared=prepared) if prepared else batch
        now = self._clock.now()
        talk = self._file.deliver(self._settings, authority, given, now)
        receipts = await self._drive(talk, partial(self._one, list_run))
        assert [*receipts.devices] == [*devices_of(batch.deliveries)], self._vendor.NAME
        return receipts

    async def _take_back(self, list_run: ListRun) -> BatchReceipts | None:
        """Withdraw what a batch overwrites; answers the receipts where nothing is shown instead.

        Where the vendor will not, the overwrite still replaces what it can.
        """
        batch, authority = list_run.run.batch, list_run.permit.authority
        if self._recall is None or not batch.is_overwrite:
            return None
        talk = self._recall(self._settings, authority, batch.deliveries, self._clock.now())
        is_all = not self._shows(batch)
        try:
            receipts = await self._drive(talk, partial(self._one, list_run))
        except Unanswered as fault:
            if is_all:
                raise
            receipts = batch.came_to(fault.denied)
        self._tell.taken_back(receipts)
        return receipts if is_all else None

    async def _one(self, list_run: ListRun, request: Request) -> Response | Denied:
        if not list_run.is_cleared:
            refusal = await self._clear(list_run.run, list_run.permit.way, 0)
            if refusal is not None:
                return refusal
        list_run.is_cleared = False
        list_run.was_asked = True
        list_run.is_shortened |= request.is_shortened
        return await self._send(list_run.run, request)

    # what is saved once

    async def _prepared(self, list_run: ListRun) -> str | Denied:
        """The text that the vendor's file wants in each batch of this task and language."""
        if self._prepare is None:
            return ""
        batch = list_run.run.batch
        saved = self._saved_of((batch.task, batch.language, batch.doubted_at is not None))
        if saved.until <= self._clock.now():
            list_run.is_cleared = list_run.is_cleared and not saved.lock.locked()
            async with saved.lock:
                if saved.until <= self._clock.now():
                    return await self._save(list_run, saved)
        return saved.text

    async def _save(self, list_run: ListRun, saved: PreparedMessage) -> str | Denied:
        assert self._prepare is not None
        batch, authority = list_run.run.batch, list_run.permit.authority
        now = self._clock.now()
        talk = self._prepare(self._settings, authority, batch, now)
        try:
            found = await self._drive(talk, partial(self._one, list_run))
        except Unanswered as fault:
            # Saving reaches no device, so there is no doubt about any.
            if fault.denied.outcome is not Outcome.UNKNOWN:
                raise
            return Denied(Outcome.UNSENT, fault.denied.code, fault.denied.info)
        if isinstance(found, str) and found:
            # An empty text was enough for this list; the next one may need one after all.
            saved.text, saved.until = found, now + PREPARED_LIFE_S
        return found

    def _saved_of(self, key: Key) -> PreparedMessage:
        saved = self._saved.get(key)
        if saved is None:
            saved = PreparedMessage(asyncio.Lock())
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

    def _park(self, task: int, receipts: BatchReceipts) -> None:
        """Remember what a whole list was told: the next one would be told the same.

        A quota or an hour is that of the task's class of message, and asking again may lower the
        quota of tomorrow; a pause that the vendor names is the credential's. What was said of
        devices, be it of each, is no word about others.
        """
        kinds = receipts.kinds()
        first = kinds[0]
        if first.retry_after_s is None or not all(it.is_of_all for it in kinds):
            return
        if any(it.outcome != first.outcome for it in kinds):
            return
        denied = Denied(first.outcome, first.code, first.info)
        parked = Parked(denied, self._clock.now() + first.retry_after_s)
        if first.outcome in PAUSING:
            self._ways.main.pause = Pause(denied.code, denied.info, parked.until)
            self._tell.pause(first)
        elif first.outcome in (Outcome.QUOTA_DAY, Outcome.TIME_WINDOW):
            self._parked.put(task, parked)

    def _recorded(self, receipts: BatchReceipts, list_run: ListRun) -> BatchReceipts:
        """Tell the breaker what the list came to: what accuses us, else what most came to."""
        receipts = self._with_days_end(self._redacted(_suspected(receipts), list_run))
        if list_run.permit.is_probe:
            # Weighed by who sent it; and no word about any push.
            return receipts
        if list_run.is_shortened:
            receipts = receipts.changed(told_shortened)
        self._park(list_run.run.batch.task, receipts)
        counted = Counter({it: n for it, n in receipts.counted().items() if it not in OURS})
        accused = [outcome for outcome in counted if outcome in ACCUSING]
        if accused or (counted and list_run.was_asked):
            main = accused[0] if accused else counted.most_common(1)[0][0]
            first = next(receipt for receipt in receipts.kinds() if receipt.outcome is main)
            device = receipts.devices[0] if len(receipts) == 1 else None
            self._weigh(first, list_run.permit.way, is_probe=False, device=device)
        return receipts.changed(lambda receipt: stamped(receipt, list_run.permit.way))

    def _redacted(self, receipts: BatchReceipts, list_run: ListRun) -> BatchReceipts:
        """The receipts in words that may be kept."""
        if not any(says_much(it) for it in receipts.kinds()):
            return receipts
        words = self._redactor.about(list_run.run.batch.deliveries, list_run.permit.authority.value)
        return receipts.changed(words.cleaned)

    def _with_days_end(self, receipts: BatchReceipts) -> BatchReceipts:
        """What is over its quota waits for the vendor's midnight, where it named no other time."""
        wait_s = until_hour_s(0, self._clock.now(), self._limits.clock_offset_s)

        def waiting(receipt: Receipt) -> Receipt:
            if receipt.outcome is not Outcome.QUOTA_DAY or receipt.retry_after_s is not None:
                return receipt
            return msgspec.structs.replace(receipt, retry_after_s=wait_s)

        return receipts.changed(waiting)


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    """Lists as long as the vendor takes; devices that changed vendor may come in longer ones."""
    if len(batch.deliveries) <= size:
        yield batch
        return
    for start in range(0, len(batch.deliveries), size):
        some = batch.deliveries[start : start + size]
        yield msgspec.structs.replace(batch, deliveries=some)


def _suspected(receipts: BatchReceipts) -> BatchReceipts:
    """A list of which nobody was taken may be another app's as well: that is no evidence."""
    if any(receipt.outcome is Outcome.ACCEPTED for receipt in receipts.kinds()):
        return receipts
    return receipts.changed(_as_mismatch)


def _as_mismatch(receipt: Receipt) -> Receipt:
    if receipt.outcome is not Outcome.TOKEN_DEAD:
        return receipt
    return msgspec.structs.replace(receipt, outcome=Outcome.TOKEN_MISMATCH)


def _broken(list_run: ListRun) -> BatchReceipts:
    """What a fault of ours means for the list."""
    outcome = Outcome.UNKNOWN if list_run.was_asked else Outcome.BAD_REQUEST
    return list_run.run.batch.came_to(Denied(outcome, *OUR_FAULT))
