"""One credential at work: the driver has the sockets, the vendor's file has the knowledge.

What every vendor needs and none should write again: a shared authority, pace, a breaker, many
requests at once, and one receipt for each device whatever happens on the way. How a batch becomes
requests stands in `singles.py` and `lists.py`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec

from tocsin.channels.authority import TokenProvider
from tocsin.channels.batch_run import WINDOW_S, BatchRun, DriverTools, SendPermit
from tocsin.channels.breaker import ACCUSING, FAILING, Peak
from tocsin.channels.dead_tokens import DeadTokens
from tocsin.channels.denials import (
    HELD,
    NO_ANSWER,
    NOT_ALLOWED,
    NOT_ASKED,
    NOT_SENT,
    OUR_FAULT,
    held,
    unproven,
)
from tocsin.channels.nobody import OpenGate, batch_to_nobody
from tocsin.channels.placing import placed
from tocsin.channels.redactor import Redactor
from tocsin.channels.registry import (
    Vendor,
    is_signed_of,
    made_of_of,
    nobody_of,
    recall_of,
    says_something_of,
    way_of,
)
from tocsin.channels.shared import NOTHING_TO_SHOW
from tocsin.channels.telemetry import Telemetry
from tocsin.channels.way import Way
from tocsin.channels.ways import Ways
from tocsin.conversation import (
    ANY_WAY,
    Authority,
    Batch,
    Denied,
    Fault,
    Request,
    Response,
    Stoppage,
    Unanswered,
)
from tocsin.domain.app import Credential
from tocsin.domain.message import Message
from tocsin.domain.outcome import BatchReceipts, Outcome, Receipt
from tocsin.domain.quota import Bucket
from tocsin.ports import Channel, Gate

NAP_S = 0.001
"""Shortest wait for the pace: a shorter one would only spin."""

Got = TypeVar("Got")
Ask = Callable[[Request], Awaitable[Response | Denied]]
"""Sends one request of a conversation, or says why it got no answer."""

BEGUN_MIN = 32
"""Devices that may always be begun at once; each answer to them shows room for more."""
BEGUN_MIN_OF_WAYS = 400
"""The same of a credential with many ways, any of which may answer nobody."""


class Driver(ABC):
    """The `Channel` of one credential. What is counted as under way are requests."""

    def __init__(
        self, vendor: Vendor, record: Credential, settings: Any, tools: DriverTools
    ) -> None:
        self._vendor = vendor
        self._record = record
        self._settings = settings
        self._http = tools.http
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._limits = vendor.LIMITS
        rate = record.rate_per_s or vendor.LIMITS.rate_per_s
        self._bucket = Bucket(rate, max(1.0, rate * WINDOW_S), tools.clock.now())
        self._recall = recall_of(vendor)
        self._says_something = says_something_of(vendor)
        self._redactor = Redactor(settings)
        self._way_of = way_of(vendor)
        self._ways = Ways(vendor.LIMITS.in_flight_max, tools.scale, self._way_of)
        self._is_news = True
        """Nobody has been told yet that this driver is new: what waits for its ways may begin."""
        self._tokens = DeadTokens()
        kept = tools.authorities.kept(made_of_of(vendor)(settings, record.auth_origin))
        self._provider = TokenProvider(
            self._authorize, tools.clock, tools.chance, tools.scale, kept=kept
        )
        self._slots = asyncio.Semaphore(vendor.LIMITS.in_flight_max)
        self._taken = 0
        self._on_wire = Peak()
        self._waits_no_more = 0
        """Devices of batches under way that wait for no answer any more."""
        self._batches = 0
        self._is_retired = False
        self._tell = Telemetry(vendor, record, tools.metrics)

    @property
    def names_deliveries(self) -> bool:
        return self._limits.names_deliveries

    @property
    def begun_max(self) -> int:
        # Twice what was lately on the wire at once keeps it busy, and lets it grow; what a crash
        # leaves in doubt is hardly more than was under way. No more than the pace lets out waits.
        devices_max, rate = self._limits.devices_max, self._bucket.rate
        carried = max(1, self._on_wire.most) * devices_max
        paced = max(devices_max, int(rate * WINDOW_S)) if rate else carried
        least = min(BEGUN_MIN, 2 * paced) if rate else BEGUN_MIN
        if self._way_of is not None:
            least = BEGUN_MIN_OF_WAYS
        # Where a server answers nobody, the rest of its batch waits for it and keeps nobody busy.
        return max(least, carried + min(carried, paced)) + self._waits_no_more

    def room(self, now: float) -> int:
        if self._provider.is_denied(now):
            return 0
        requests = self._limits.in_flight_max - self._taken
        bucket = self._bucket
        if self._way_of is None:
            way = self._ways.main
            if way.breaker.is_open or (way.pause is not None and now < way.pause.until):
                return 0
            requests = min(requests, way.free)
        free = requests * self._limits.devices_max
        if bucket.rate:
            free = min(free, int(bucket.available(now) + bucket.rate * WINDOW_S))
        return max(0, free)

    def tend(self, now: float) -> list[str]:
        if not self._provider.is_denied(now):
            self._ways.probe(now, self._ask_nobody, partial(self._weigh, is_probe=True))
        proofs = self._ways.proofs()
        if self._is_news:
            self._is_news = False
            return [ANY_WAY]
        return proofs

    def stoppage(self, now: float) -> Stoppage | None:
        found = self._ways.stoppage(now)
        if found is not None:
            return self._explained(found)
        denied = self._provider.denial(now)
        if denied is not None:
            state: Literal["refused", "down"] = "refused" if denied.outcome in ACCUSING else "down"
            reason = f"no authority: {denied.code} {denied.info}".strip()
            told = Stoppage(state, reason, now + (denied.retry_after_s or 0.0))
            return self._explained(told)
        return self._ways.doubtful(now)

    def _explained(self, stoppage: Stoppage) -> Stoppage:
        """With what the client said of the last request that got no answer, if that is why.

        Not where a credential leads to many servers: it may have been said of another one.
        """
        is_fault = any(code in stoppage.reason for code in (NO_ANSWER[1], NOT_SENT[1]))
        if stoppage.state != "down" or not is_fault or self._way_of is not None:
            return stoppage
        return msgspec.structs.replace(stoppage, detail=self._tell.last_fault)

    def repeat_replaces(self, message: Message) -> bool:
        # What is online only comes to a vendor to be taken back, and twice is as good as once.
        return message.is_online_only or self._vendor.replaces(self._settings, message)

    def trip(self, reason: str) -> None:
        self._tell.alarm()
        way, now = self._ways.main, self._clock.now()
        # Where a credential has many ways, the one that it was said on has heard it.
        if self._way_of is None and way.breaker.trip(now, reason):
            self._tell.breaker(way, reason, now)

    def accuse(self, reason: str) -> None:
        if self._tokens.is_serving(self._clock.now()):
            self._tell.kept_tokens(reason=reason)
        else:
            self.trip(reason)

    def believes_dead(self, count: int) -> bool:
        verdict = self._tokens.told_by_receipts(count, self._clock.now())
        if verdict == "accuse":
            self.accuse("most of what was accepted lately is told dead by receipts")
        return verdict == "believe"

    def believes_answers(self) -> bool:
        now = self._clock.now()
        if self._tokens.believes_answers(now):
            return True
        if self._tokens.alarm_is_due(now):
            # No pause: the batches of which most looked dead have had theirs.
            self._tell.kept_tokens()
        return False

    def is_genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a call that reports to us may come from this credential's vendor."""
        is_signed = is_signed_of(self._vendor)
        now = self._clock.now()
        return is_signed is None or is_signed(self._settings, headers, body, now)

    async def deliver(self, batch: Batch, gate: Gate) -> BatchReceipts:
        if not self._shows(batch) and not (batch.is_overwrite and self._recall):
            return batch.came_to(NOTHING_TO_SHOW)
        # Counted by the batch: twice for each request would cost a tenth of its time.
        count = len(batch.deliveries)
        self._metrics.add("in_flight", count, channel=self._vendor.NAME)
        self._batches += 1
        try:
            receipts = await self._carry_out(BatchRun(batch, gate))
        finally:
            self._metrics.add("in_flight", -count, channel=self._vendor.NAME)
            self._batches -= 1
            await self._close_if_done()
        counted = receipts.counted()
        self._tell.deliveries(counted)
        now = self._clock.now()
        if batch.doubted_at is not None:
            self._ways.count_repeats(batch.deliveries, receipts, now)
        self._tokens.record(receipts, counted, now)
        return receipts

    def _shows(self, batch: Batch) -> bool:
        """Whether there is anything in it for the devices; its deliveries are of one language."""
        message = batch.deliveries[0].message
        return not message.is_online_only and self._says_something(self._settings, message)

    async def prove(self) -> Denied:
        """Only what proves us, and no push: why there is none, or success."""
        found = await self._provider.get()
        return found if isinstance(found, Denied) else NOT_ASKED

    async def retire(self) -> None:
        """Another takes this one's place: close as soon as no batch is under way.

        Whoever holds it still may deliver, and then it closes again.
        """
        self._is_retired = True
        await self._close_if_done()

    async def close(self) -> None:
        """Stop what runs behind the callers' backs."""
        await self._ways.close()
        await self._provider.close()

    async def _close_if_done(self) -> None:
        if self._is_retired and not self._batches:
            await self.close()

    @abstractmethod
    async def _carry_out(self, run: BatchRun) -> BatchReceipts:
        """Send the batch; one receipt per delivery, in order."""

    # ways

    async def _ask_nobody(self, way: Way) -> Receipt:
        """Ask the vendor with a push to nobody: whatever it answers, nobody is shown anything."""
        nobody = nobody_of(self._vendor)(way.name)
        gate = OpenGate()
        run = BatchRun(batch_to_nobody(nobody, self._clock.now()), gate, is_probe=True)
        try:
            (receipt,) = await self._carry_out(run)
        except Exception as error:  # noqa: BLE001 - the way must not stay shut for it
            self._tell.error(run.batch, error)
            receipt = Receipt(device=0, outcome=Outcome.HELD)
        if not gate.was_asked and receipt.outcome not in FAILING | ACCUSING:
            # What we ourselves made of it is no answer of the vendor's.
            receipt = msgspec.structs.replace(receipt, outcome=Outcome.HELD)
        return receipt

    # leave to begin

    async def _begin(self, run: BatchRun, way: Way, units: int = 1) -> SendPermit | Denied:
        """Wait for a free place and for leave to send; the place is kept only with leave.

        `units` are the targets of the request.
        """
        now = self._clock.now()
        if run.is_probe:
            # It is to tell whether those who hold the places wait in vain.
            way.enter_at_once(now)
        elif (self._way_of is not None and way.is_stuck(now)) or not await way.enter(now):
            return held(way.wait_s(now), way)
        permit: SendPermit | Denied | None = None
        try:
            await self._slots.acquire()
            self._taken += 1
            try:
                permit = await self._ask(run, way, units)
            finally:
                if not isinstance(permit, SendPermit):
                    self._taken -= 1
                    self._slots.release()
        finally:
            if not isinstance(permit, SendPermit):
                way.leave(self._clock.now())
        return permit

    def _give_up_place(self, way: Way) -> None:
        self._taken -= 1
        self._slots.release()
        way.leave(self._clock.now())

    async def _ask(self, run: BatchRun, way: Way, units: int) -> SendPermit | Denied:
        refusal = self._why_held(run, way)
        if refusal is not None:
            return refusal
        authority = await self._provider.get()
        if isinstance(authority, Denied):
            if authority.outcome in ACCUSING:
                self._weigh(authority, way, is_probe=False)
            else:
                said = f"no authority: {authority.code} {authority.info}".strip()
                way.hear(authority.outcome, self._clock.now(), said)
            return unproven(authority, way)
        refusal = await self._clear(run, way, units)
        return SendPermit(authority, way, run.is_probe) if refusal is None else refusal

    def _why_held(self, run: BatchRun, way: Way) -> Denied | None:
        """Why a request may not begin now, as far as its way is concerned."""
        if run.is_probe:
            return None
        now = self._clock.now()
        if way.breaker.is_open:
            return held(way.wait_s(now), way)
        if way.pause is not None and now < way.pause.until:
            # What the vendor asked for is waited for, whatever the way proves meanwhile.
            return Denied(Outcome.HELD, way.pause.code, way.pause.info, way.pause.until - now)
        doubted_at = run.batch.doubted_at
        if doubted_at is None:
            return None
        until = way.repeats.stopped_until(now)
        if until is not None:
            return held(max(1.0, until - now))
        if way.proved_at <= doubted_at:
            way.want_proof(now)
            return held(way.wait_s(now), way)
        return None

    async def _clear(self, run: BatchRun, way: Way, units: int = 1) -> Denied | None:
        """Pace first, the gate last: between its word and the request nothing is awaited.

        With no `units` only the gate is asked: what travels was paid for before.
        """
        while True:
            now = self._clock.now()
            wait_s = self._bucket.wait_s(now) if units and not run.is_probe else 0.0
            if wait_s > run.patience_s + NAP_S:
                return held(max(WINDOW_S, wait_s))
            if wait_s > 0:
                wait_s = max(NAP_S, wait_s)
                run.patience_s -= wait_s
                await self._clock.sleep(wait_s)
                continue
            outcome = await run.gate.may_begin(run.batch)
            if outcome is not None:
                return Denied(outcome, *(HELD if outcome is Outcome.HELD else ("0", "")))
            now = self._clock.now()
            if way.breaker.is_open and not run.is_probe:
                return held(way.wait_s(now), way)
            if not units or run.is_probe or self._bucket.borrow(now, units):
                return None

    # sending

    async def _drive(self, talk: Generator[Request, Response, Got], ask: Ask) -> Got:
        """Carry a vendor's conversation through, each request as `ask` sends it."""
        try:
            request = next(talk)
            while True:
                answer = await ask(request)
                if isinstance(answer, Denied):
                    request = talk.throw(Unanswered(answer))
                else:
                    request = talk.send(answer)
        except StopIteration as end:
            result: Got = end.value
            return result
        finally:
            talk.close()

    async def _send(self, run: BatchRun, request: Request) -> Response | Denied:
        """One request and its answer, or what no answer means for those it was for.

        The gate is asked once more as the request goes onto the wire: behind a stream limit it may
        have waited in the client for as long as its deadline.
        """
        request = placed(request, self._record, self._record.origin)
        started_at = self._clock.monotonic()
        is_withdrawn = is_on_wire = False

        def may_begin() -> bool:
            nonlocal is_withdrawn, is_on_wire
            is_withdrawn = not run.gate.still_may(run.batch)
            if not is_withdrawn:
                is_on_wire = True
                self._on_wire.rise(self._clock.now())
            return not is_withdrawn

        try:
            answer = await self._http.send(request, self._limits.deadline_s, may_begin)
        finally:
            if is_on_wire:
                self._on_wire.fall()
        if isinstance(answer, Fault) and is_withdrawn:
            outcome = await run.gate.may_begin(run.batch) or Outcome.HELD
            return Denied(outcome, *(HELD if outcome is Outcome.HELD else ("0", "")))
        if isinstance(answer, Fault):
            self._tell.fault(answer)
            if answer.kind == "refused":
                return Denied(Outcome.NOT_ALLOWED, NOT_ALLOWED, answer.reason)
            if answer.kind == "unsent":
                return Denied(Outcome.UNSENT, *NOT_SENT)
            return Denied(Outcome.UNKNOWN, *NO_ANSWER)
        took_s = self._clock.monotonic() - started_at
        self._metrics.observe("vendor_request_seconds", took_s, channel=self._vendor.NAME)
        return answer

    async def _within(
        self,
        run: BatchRun,
        permit: SendPermit,
        work: Coroutine[Any, Any, Got],
        otherwise: Callable[[], Got],
    ) -> Got:
        """Do what there is leave for, and give the place up; the boundary that no error passes."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - what it came to must still be booked
            self._tell.error(run.batch, error)
            return otherwise()
        finally:
            self._give_up_place(permit.way)

    def _made(self, run: BatchRun, make: Callable[..., Got], *given: Any) -> Got | None:
        """What the vendor's file makes of it; None where it fails, and then nothing was sent."""
        try:
            return make(*given)
        except Exception as error:  # noqa: BLE001 - one delivery must not take the others along
            self._tell.error(run.batch, error)
            return None

    # authority

    async def _authorize(self) -> Authority | Denied:
        """Carry out the vendor's conversation that ends in an authority."""
        try:
            found = await self._talk()
        except Exception as error:  # noqa: BLE001 - all who wait get an answer
            self._tell.error(None, error)
            found = Denied(Outcome.SERVER_ERROR, *OUR_FAULT)
        if isinstance(found, Denied):
            found = self._redactor.about().cleaned(found)
            self._tell.no_authority(found)
        return found

    async def _talk(self) -> Authority | Denied:
        talk = self._vendor.authorize(self._settings, self._clock.now())
        try:
            return await self._drive(talk, self._ask_authority)
        except Unanswered as fault:
            return fault.denied

    async def _ask_authority(self, request: Request) -> Response | Denied:
        request = placed(request, self._record, self._record.auth_origin)
        answer = await self._http.send(request, self._limits.deadline_s)
        if not isinstance(answer, Fault):
            return answer
        self._tell.fault(answer)
        return Denied(Outcome.UNSENT, *NOT_SENT)

    # what the ways are told

    def _weigh(
        self, found: Denied | Receipt, way: Way, *, is_probe: bool, device: int | None = None
    ) -> None:
        """Tell the way what a request came to; `device` is whom it was for alone."""
        now, asked_s = self._clock.now(), found.retry_after_s or 0.0
        was_open = way.breaker.is_open
        record = way.record_probe if is_probe else partial(way.record, device=device)
        reason = record(found.outcome, now, asked_s, f"{found.code} {found.info}".strip())
        if reason and found.outcome in ACCUSING:
            self._tell.refused(found)
        if reason or was_open != way.breaker.is_open:
            self._tell.breaker(way, reason, now)


def _fits(driver: Driver) -> Channel:
    return driver
