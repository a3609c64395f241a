"""The driver of vendors that take one device a request: many at once, none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from tocsin.channels.batch_run import BatchRun, DriverTools, SendPermit
from tocsin.channels.denials import NO_ANSWER, OUR_FAULT, stamped, unproven
from tocsin.channels.driver import Driver
from tocsin.channels.redactor import says_much
from tocsin.channels.registry import SingleVendor
from tocsin.channels.way import Way
from tocsin.conversation import Delivery, Denied, StaleCredential, Unanswered, told_shortened
from tocsin.domain.app import Credential
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt

WATCH_S = 0.1
"""How often the gate is asked about what is under way."""
GRACE_S = 0.2
"""What is on its way when the gate closes may still be answered.

The gate learns of a recall within 0.65 s (its copy, and the turn that renews it), so copy, watch
and grace together stay within law 5's second.
"""


class SingleDriver(Driver):
    """Streams a batch: begins one request after the other and waits for all of them together."""

    def __init__(
        self, vendor: SingleVendor, record: Credential, settings: Any, tools: DriverTools
    ) -> None:
        super().__init__(vendor, record, settings, tools)
        self._file = vendor

    async def _carry_out(self, run: BatchRun) -> BatchReceipts:
        """Send to each way at once: one that is slow or full holds up no other."""
        deliveries = run.batch.deliveries
        receipts: list[Receipt | None] = [None] * len(deliveries)

        async def send(index: int, delivery: Delivery, permit: SendPermit) -> None:
            work = self._converse(run, delivery, permit)
            receipts[index] = await self._within(
                run, permit, work, lambda: Denied(Outcome.UNKNOWN, *OUR_FAULT).receipt(delivery)
            )
            self._waits_no_more += 1

        under_way: set[asyncio.Task[None]] = set()
        ways = self._ways.parts(deliveries)
        watch = asyncio.create_task(self._watch(run, ways, under_way))
        try:
            async with asyncio.TaskGroup() as group:

                async def stream(way: Way, indexes: Sequence[int]) -> None:
                    for index in indexes:
                        permit = await self._begin(run, way)
                        if isinstance(permit, Denied):
                            receipts[index] = permit.receipt(deliveries[index])
                            self._waits_no_more += 1
                            continue
                        task = group.create_task(send(index, deliveries[index], permit))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)

                for way, indexes in ways[1:]:
                    group.create_task(stream(way, indexes))
                await stream(*ways[0])
        finally:
            watch.cancel()
            self._waits_no_more -= sum(receipt is not None for receipt in receipts)
        no_answer = Denied(Outcome.UNKNOWN, *NO_ANSWER)
        pairs = zip(receipts, deliveries, strict=True)
        return BatchReceipts.each([receipt or no_answer.receipt(it) for receipt, it in pairs])

    async def _watch(
        self,
        run: BatchRun,
        ways: Sequence[tuple[Way, Sequence[int]]],
        under_way: set[asyncio.Task[None]],
    ) -> None:
        """Give up what has no answer yet once the gate has closed, unless it awaits answers.

        Where a credential has many ways, nobody waits for one that answers nobody: its job would
        keep the others' from their places.
        Behind a stream limit the client's library may hold requests that it has taken, and begin
        them seconds later; which of them it holds it does not tell, so all end in doubt.
        """
        while True:
            await self._clock.sleep(WATCH_S)
            if self._way_of is not None:
                now = self._clock.now()
                for way, _ in ways:
                    way.turn_away(now)
            if run.gate.awaits_answers:
                continue
            if under_way and await run.gate.may_begin(run.batch) is not None:
                await self._clock.sleep(GRACE_S)
                for task in list(under_way):
                    task.cancel()

    async def _converse(self, run: BatchRun, delivery: Delivery, permit: SendPermit) -> Receipt:
        try:
            return await self._exchange(run, delivery, permit)
        except StaleCredential:
            # It was refused, so sending it again is no second delivery.
            renewed = await self._provider.renew(permit.authority)
        if isinstance(renewed, Denied):
            denied = unproven(renewed, permit.way)
            return self._recorded(denied.receipt(delivery), permit, delivery)
        refusal = await self._clear(run, permit.way)
        if refusal is not None:
            return refusal.receipt(delivery)
        try:
            again = SendPermit(renewed, permit.way, permit.is_probe)
            return await self._exchange(run, delivery, again)
        except StaleCredential as twice:
            denied = Denied(Outcome.CREDENTIALS_WRONG, twice.code, twice.info)
            return self._recorded(denied.receipt(delivery), permit, delivery)

    async def _exchange(self, run: BatchRun, delivery: Delivery, permit: SendPermit) -> Receipt:
        """One request and its answer. Raises `StaleCredential`."""
        taken_back = await self._take_back(run, delivery, permit)
        if taken_back is not None:
            return taken_back
        given = (self._settings, permit.authority, delivery, self._clock.now())
        request = self._made(run, self._file.request, *given)
        if request is None:
            return Denied(Outcome.BAD_REQUEST, *OUR_FAULT).receipt(delivery)
        if isinstance(request, Receipt):
            return request
        answer = await self._send(run, request)
        if isinstance(answer, Denied):
            receipt = answer.receipt(delivery)
        else:
            receipt = self._file.read(delivery, answer)
        receipt = told_shortened(receipt) if request.is_shortened else receipt
        return self._recorded(receipt, permit, delivery)

    async def _take_back(
        self, run: BatchRun, delivery: Delivery, permit: SendPermit
    ) -> Receipt | None:
        """Withdraw what a delivery overwrites; answers the receipt where nothing is shown instead.

        Where the vendor will not, the overwrite still replaces what it can.
        """
        if self._recall is None or not run.batch.is_overwrite:
            return None
        now = self._clock.now()
        talk = self._recall(self._settings, permit.authority, (delivery,), now)
        try:
            (receipt,) = await self._drive(talk, partial(self._send, run))
        except Unanswered as fault:
            receipt = fault.denied.receipt(delivery)
        self._tell.taken_back([receipt])
        if not self._shows(run.batch):
            return self._recorded(receipt, permit, delivery)
        refusal = await self._clear(run, permit.way, 0)
        return None if refusal is None else refusal.receipt(delivery)

    def _recorded(self, receipt: Receipt, permit: SendPermit, delivery: Delivery) -> Receipt:
        if says_much(receipt):
            words = self._redactor.about((delivery,), permit.authority.value)
            receipt = words.cleaned(receipt)
        if not permit.is_probe:
            # The probe itself is weighed by who sent it.
            self._weigh(receipt, permit.way, is_probe=False, device=delivery.device)
        return stamped(receipt, permit.way)
