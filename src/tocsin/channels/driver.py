"""One credential at work: the driver has the sockets, the vendor's file has the knowledge.

What every vendor needs and none should write again: a shared authority, pace, a breaker, many
requests at once, and one receipt for each device whatever happens on the way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.channels.authority import Keeper
from tocsin.channels.pace import Breaker
from tocsin.channels.registry import Vendor
from tocsin.clock import Chance, Clock
from tocsin.domain.app import Credential
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.quota import Bucket
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.ports import (
    Authority,
    Batch,
    Channel,
    Delivery,
    Denied,
    Fault,
    Gate,
    Http,
    Request,
    StaleCredential,
)

WINDOW_S = 0.25
"""What a batch may wait for its pace in all; the rest goes back to the queue."""
NAP_S = 0.001
"""Shortest wait for the pace: a shorter one would only spin."""

NO_ANSWER = ("-8", "no answer")
NOT_SENT = ("-9", "vendor not reached")
HELD = ("-10", "held back")
OUR_FAULT = ("-11", "unexpected error")
"""Codes of ours are negative; what exactly happened stands in the log."""

BREAKER_LEVELS = {"closed": 0, "half_open": 1, "open": 2}


class Tools(Struct, frozen=True):
    """What a driver works with; the same for all drivers."""

    http: Http
    clock: Clock
    chance: Chance
    metrics: Metrics


class Turn(Struct):
    """One batch under way."""

    batch: Batch
    gate: Gate
    patience_s: float = WINDOW_S


class Begun(Struct, frozen=True):
    """Leave to send one request now."""

    authority: Authority
    is_probe: bool


class Driver:
    """The `Channel` of one credential of a vendor that takes one device a request."""

    def __init__(self, vendor: Vendor, record: Credential, settings: Any, tools: Tools) -> None:
        self._vendor = vendor
        self._record = record
        self._settings = settings
        self._http = tools.http
        self._clock = tools.clock
        self._metrics = tools.metrics
        self._limits = vendor.LIMITS
        rate = record.rate_per_s or vendor.LIMITS.rate_per_s
        self._bucket = Bucket(rate, max(1.0, rate * WINDOW_S), tools.clock.now())
        self._breaker = Breaker()
        self._keeper = Keeper(self._authorize, tools.clock, tools.chance)
        self._slots = asyncio.Semaphore(vendor.LIMITS.in_flight_max)
        self._taken = 0
        self._name = f"{record.app}:{record.number}"
        self._log = get_logger(__name__).bind(
            app=record.app, certificate=record.number, channel=vendor.NAME
        )

    def room(self, now: float) -> int:
        free = self._limits.in_flight_max - self._taken
        if self._keeper.is_denied(now):
            return 0
        allowed = self._breaker.room(now)
        if allowed is not None:
            free = min(free, allowed)
        if self._bucket.rate:
            free = min(free, int(self._bucket.available(now) + self._bucket.rate * WINDOW_S))
        return max(0, free)

    def repeat_replaces(self, message: Message) -> bool:
        return self._vendor.replaces(self._settings, message)

    def trip(self, reason: str) -> None:
        self._metrics.count("alarms", credential=self._name)
        if self._breaker.trip(self._clock.now()):
            self._tell_breaker(reason)

    async def deliver(self, batch: Batch, gate: Gate) -> list[Receipt]:
        # Counted by the batch: twice for each request would cost a tenth of its time.
        count = len(batch.deliveries)
        self._metrics.add("in_flight", count, channel=self._vendor.NAME)
        try:
            receipts = await self._stream(Turn(batch, gate))
        finally:
            self._metrics.add("in_flight", -count, channel=self._vendor.NAME)
        for outcome, times in Counter(receipt.outcome for receipt in receipts).items():
            self._metrics.count("deliveries", times, channel=self._vendor.NAME, outcome=outcome)
        return receipts

    async def close(self) -> None:
        """Stop what runs behind the callers' backs."""
        await self._keeper.close()

    # streaming

    async def _stream(self, turn: Turn) -> list[Receipt]:
        """Begin one request after the other, and wait for all of them together."""
        batch = turn.batch
        receipts: list[Receipt | None] = [None] * len(batch.deliveries)

        async def send(index: int, delivery: Delivery, begun: Begun) -> None:
            receipts[index] = await self._send(turn, delivery, begun)

        async with asyncio.TaskGroup() as group:
            for index, delivery in enumerate(batch.deliveries):
                begun = await self._begin(turn, delivery)
                if isinstance(begun, Receipt):
                    receipts[index] = begun
                elif begun.is_probe:
                    # The rest waits for what the probe finds.
                    await send(index, delivery, begun)
                else:
                    group.create_task(send(index, delivery, begun))
        done = [receipt for receipt in receipts if receipt is not None]
        assert len(done) == len(batch.deliveries)
        return done

    # leave to begin

    async def _begin(self, turn: Turn, delivery: Delivery) -> Begun | Receipt:
        """Wait for a free place and for leave to send; the place is kept only with leave."""
        await self._slots.acquire()
        self._taken += 1
        begun: Begun | Receipt | None = None
        try:
            begun = await self._ask(turn, delivery)
        finally:
            if not isinstance(begun, Begun):
                self._give_up_place()
        return begun

    def _give_up_place(self) -> None:
        self._taken -= 1
        self._slots.release()

    async def _ask(self, turn: Turn, delivery: Delivery) -> Begun | Receipt:
        leave = self._breaker.leave(self._clock.now())
        if leave == "hold":
            return self._held(delivery, self._breaker.wait_s(self._clock.now()))
        is_probe = leave == "probe"
        begun: Begun | None = None
        try:
            authority = await self._keeper.get()
            if isinstance(authority, Denied):
                return self._denied(delivery, authority, is_probe=is_probe)
            refusal = await self._clear(turn, delivery)
            if refusal is not None:
                return refusal
            begun = Begun(authority, is_probe)
        finally:
            if is_probe and begun is None:
                self._breaker.release()
        return begun

    async def _clear(self, turn: Turn, delivery: Delivery) -> Receipt | None:
        """Pace first, the gate last: between its word and the request nothing is awaited."""
        while True:
            now = self._clock.now()
            wait_s = self._bucket.wait_s(now)
            if wait_s > turn.patience_s + NAP_S:
                return self._held(delivery, max(WINDOW_S, wait_s))
            if wait_s > 0:
                wait_s = max(NAP_S, wait_s)
                turn.patience_s -= wait_s
                await self._clock.sleep(wait_s)
                continue
            outcome = await turn.gate.may_begin(turn.batch)
            if outcome is not None:
                return _receipt(delivery, outcome, HELD if outcome is Outcome.HELD else ("0", ""))
            now = self._clock.now()
            if self._breaker.state(now) == "open":
                return self._held(delivery, self._breaker.wait_s(now))
            if self._bucket.take(now):
                return None

    # sending

    async def _send(self, turn: Turn, delivery: Delivery, begun: Begun) -> Receipt:
        """Send with leave, and give the place up; the boundary that no error passes."""
        try:
            return await self._converse(turn, delivery, begun)
        except Exception as error:  # noqa: BLE001 - one delivery must not take the others along
            self._tell_error(turn, error)
            return _receipt(delivery, Outcome.UNKNOWN, OUR_FAULT)
        finally:
            if begun.is_probe:
                self._breaker.release()
            self._give_up_place()

    async def _converse(self, turn: Turn, delivery: Delivery, begun: Begun) -> Receipt:
        try:
            return await self._exchange(turn, delivery, begun)
        except StaleCredential:
            # It was refused, so sending it again is no second delivery.
            renewed = await self._keeper.renew(begun.authority)
        if isinstance(renewed, Denied):
            return self._denied(delivery, renewed, is_probe=begun.is_probe)
        refusal = await self._clear(turn, delivery)
        if refusal is not None:
            return refusal
        try:
            return await self._exchange(turn, delivery, Begun(renewed, begun.is_probe))
        except StaleCredential as twice:
            code = (twice.code, twice.info)
            return self._recorded(
                _receipt(delivery, Outcome.CREDENTIALS_WRONG, code), is_probe=begun.is_probe
            )

    async def _exchange(self, turn: Turn, delivery: Delivery, begun: Begun) -> Receipt:
        """One request and its answer. Raises `StaleCredential`."""
        request = self._written(turn, delivery, begun.authority)
        if isinstance(request, Receipt):
            return request
        started_at = self._clock.monotonic()
        answer = await self._http.send(request, self._limits.deadline_s)
        if isinstance(answer, Fault):
            return self._recorded(self._unanswered(delivery, answer), is_probe=begun.is_probe)
        took_s = self._clock.monotonic() - started_at
        self._metrics.observe("vendor_request_seconds", took_s, channel=self._vendor.NAME)
        receipt = self._vendor.read(delivery, answer)
        return self._recorded(receipt, is_probe=begun.is_probe)

    def _written(self, turn: Turn, delivery: Delivery, authority: Authority) -> Request | Receipt:
        try:
            made = self._vendor.request(self._settings, authority, delivery, self._clock.now())
        except Exception as error:  # noqa: BLE001 - nothing was sent, so this is no doubt
            self._tell_error(turn, error)
            return _receipt(delivery, Outcome.BAD_REQUEST, OUR_FAULT)
        return made if isinstance(made, Receipt) else self._placed(made, self._record.origin)

    def _placed(self, request: Request, origin: str) -> Request:
        """The request at the address and under the authorities that the credential names."""
        if not origin and self._record.ca is None:
            return request
        return msgspec.structs.replace(request, origin=origin or request.origin, ca=self._record.ca)

    def _unanswered(self, delivery: Delivery, fault: Fault) -> Receipt:
        self._metrics.count("faults", channel=self._vendor.NAME, kind=fault.kind)
        self._log.debug("no answer", kind=fault.kind, reason=fault.reason)
        if fault.kind == "unsent":
            return _receipt(delivery, Outcome.UNSENT, NOT_SENT)
        return _receipt(delivery, Outcome.UNKNOWN, NO_ANSWER)

    # authority

    async def _authorize(self) -> Authority | Denied:
        """Carry out the vendor's conversation that ends in an authority."""
        try:
            found = await self._talk()
        except Exception as error:  # noqa: BLE001 - all who wait get an answer
            self._tell_error(None, error)
            found = Denied(Outcome.SERVER_ERROR, *OUR_FAULT)
        if isinstance(found, Denied):
            self._log.warning(
                "no authority", outcome=found.outcome, code=found.code, why=found.info
            )
        return found

    async def _talk(self) -> Authority | Denied:
        talk = self._vendor.authorize(self._settings, self._clock.now())
        try:
            request = next(talk)
            while True:
                placed = self._placed(request, self._record.auth_origin)
                answer = await self._http.send(placed, self._limits.deadline_s)
                if isinstance(answer, Fault):
                    self._metrics.count("faults", channel=self._vendor.NAME, kind=answer.kind)
                    self._log.debug("no answer", kind=answer.kind, reason=answer.reason)
                    return Denied(Outcome.UNSENT, *NOT_SENT)
                request = talk.send(answer)
        except StopIteration as end:
            found: Authority | Denied = end.value
            return found
        finally:
            talk.close()

    def _denied(self, delivery: Delivery, denied: Denied, *, is_probe: bool) -> Receipt:
        receipt = _receipt(delivery, denied.outcome, (denied.code, denied.info))
        receipt = msgspec.structs.replace(receipt, retry_after_s=denied.retry_after_s)
        return self._recorded(receipt, is_probe=is_probe)

    # the breaker

    def _recorded(self, receipt: Receipt, *, is_probe: bool) -> Receipt:
        now = self._clock.now()
        if is_probe:
            reason = self._breaker.record_probe(receipt.outcome, now)
        else:
            reason = self._breaker.record(receipt.outcome, now)
        if is_probe or reason:
            self._tell_breaker(reason)
        return receipt

    def _tell_breaker(self, reason: str) -> None:
        state = self._breaker.state(self._clock.now())
        self._metrics.set("breaker_state", BREAKER_LEVELS[state], credential=self._name)
        if state == "closed":
            self._log.info("breaker closed")
        else:
            self._log.warning("breaker opened", reason=reason)

    def _held(self, delivery: Delivery, wait_s: float) -> Receipt:
        receipt = _receipt(delivery, Outcome.HELD, HELD)
        return msgspec.structs.replace(receipt, retry_after_s=wait_s)

    def _tell_error(self, turn: Turn | None, error: Exception) -> None:
        self._metrics.count("loop_errors", loop="channel")
        job = turn.batch.job if turn is not None else None
        task = turn.batch.task if turn is not None else None
        self._log.error("delivery failed by our fault", job=job, task=task, exc_info=error)


def _receipt(delivery: Delivery, outcome: Outcome, code: tuple[str, str]) -> Receipt:
    return Receipt(
        device=delivery.device,
        outcome=outcome,
        code=code[0],
        info=code[1],
        epoch=delivery.epoch,
    )


def _fits(driver: Driver) -> Channel:
    return driver
