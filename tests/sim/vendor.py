"""A vendor without a wire: devices, a log, and trouble drawn from one seed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.conversation import Batch, Delivery, Posted, Stoppage
from tocsin.domain.message import Message
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.domain.plan import ChannelFacts
from tocsin.ports import Channel, Gate


class Arrival(Struct, frozen=True):
    """One request that the vendor took in."""

    at: float
    token: str
    task_id: str


class Trouble(Struct, kw_only=True):
    """Shares of requests that end badly, each between 0 and 1."""

    lost_answer: float = 0.0
    """Taken in, but the answer never comes: maybe sent."""
    refused_connection: float = 0.0
    server_error: float = 0.0
    throttled: float = 0.0
    dead: frozenset[str] = frozenset()
    alien: frozenset[str] = frozenset()
    """Tokens of another app or environment, as far as the vendor's words go."""


class Vendor:
    """Keeps the log that proves no loss and no duplicate."""

    def __init__(self, clock: Clock, chance: Chance, trouble: Trouble) -> None:
        self.clock = clock
        self.chance = chance
        self.trouble = trouble
        self.latency_s = 0.02
        self.log: list[Arrival] = []
        self.begun_at: list[tuple[float, str]] = []
        self.names = False
        """Whether it names the messages that it takes."""
        self.taken_back: list[tuple[str, str]] = []
        """Token and name of what it was asked to withdraw."""

    async def take(self, delivery: Delivery) -> Receipt:
        self.begun_at.append((self.clock.now(), delivery.task_id))
        await self.clock.sleep(self.latency_s * (0.5 + self.chance.fraction()))
        outcome, code = self._outcome(delivery)
        if delivery.handle:
            self.taken_back.append((delivery.token, delivery.handle))
        return Receipt(
            device=delivery.device,
            outcome=outcome,
            code=code,
            epoch=delivery.epoch,
            handle=f"name of {delivery.token}" if self.names else "",
        )

    def _outcome(self, delivery: Delivery) -> tuple[Outcome, str]:
        if delivery.token in self.trouble.dead:
            return Outcome.TOKEN_DEAD, "410"
        if delivery.token in self.trouble.alien:
            return Outcome.TOKEN_MISMATCH, "400"
        draw = self.chance.fraction()
        for share, outcome, code in (
            (self.trouble.refused_connection, Outcome.UNSENT, "-7"),
            (self.trouble.server_error, Outcome.SERVER_ERROR, "503"),
            (self.trouble.throttled, Outcome.THROTTLED, "429"),
        ):
            if draw < share:
                return outcome, code
            draw -= share
        self.log.append(Arrival(self.clock.now(), delivery.token, delivery.task_id))
        if draw < self.trouble.lost_answer:
            return Outcome.UNKNOWN, "-8"
        return Outcome.ACCEPTED, "0"

    def twice(self, task_id: str) -> set[str]:
        """Tokens that took in more than one delivery of a task."""
        counts = Counter(item.token for item in self.log if item.task_id == task_id)
        return {token for token, count in counts.items() if count > 1}

    def tokens(self, task_id: str) -> set[str]:
        """Tokens that took in a delivery of a task."""
        return {item.token for item in self.log if item.task_id == task_id}


class PlainChannel:
    """A channel to a `Vendor`: many requests at once, each past the gate."""

    names_deliveries = True

    def __init__(self, vendor: Vendor, *, replaces: bool, in_flight: int = 50) -> None:
        self._vendor = vendor
        self._replaces = replaces
        self._slots = asyncio.Semaphore(in_flight)
        self.trips: list[str] = []
        self.is_full = False

    def room(self, now: float) -> int:
        return 0 if self.is_full else 400

    def repeat_replaces(self, message: Message) -> bool:
        return self._replaces

    @property
    def begun_max(self) -> int:
        return 400

    def tend(self, now: float) -> list[str]:
        return []

    def stoppage(self, now: float) -> Stoppage | None:
        return None

    def trip(self, reason: str) -> None:
        self.trips.append(reason)

    def accuse(self, reason: str) -> None:
        self.trips.append(reason)

    def believes_answers(self) -> bool:
        return True

    def believes_dead(self, count: int) -> bool:
        return True

    async def deliver(self, batch: Batch, gate: Gate) -> Sequence[Receipt]:
        return list(await asyncio.gather(*(self._one(batch, it, gate) for it in batch.deliveries)))

    async def _one(self, batch: Batch, delivery: Delivery, gate: Gate) -> Receipt:
        async with self._slots:
            refused = await gate.may_begin(batch)
            if refused is not None:
                return Receipt(device=delivery.device, outcome=refused, epoch=delivery.epoch)
            return await self._vendor.take(delivery)


class OneChannel:
    """The `Channels` of a world with one credential, number 1."""

    def __init__(self, channel: PlainChannel, batch_max: int = 200) -> None:
        self.plain = channel
        self.ends: dict[int, float] = {}
        self.stopped: dict[int, Stoppage] = {}
        self._facts = ChannelFacts("apns", batch_max, counts_badge_here=True)

    async def facts(self, app: int) -> dict[int, ChannelFacts]:
        return {1: self._facts}

    async def channel(self, app: int, credential: int) -> Channel | None:
        return self.plain if credential == 1 else None

    async def stoppages(self, app: int) -> dict[int, Stoppage]:
        """Certificate ID to why it is stopped; a test sets it."""
        return self.stopped

    async def expiries(self, app: int) -> dict[int, float]:
        """Certificate ID to when it ends; a test sets it."""
        return self.ends

    def forget(self, app: int) -> None:
        """The one credential never changes."""

    def read_post(self, vendor: str, headers: Mapping[str, str], body: bytes) -> Posted | None:
        """This vendor reports nothing."""
        return None

    async def is_genuine(
        self, app: int, vendor: str, headers: Mapping[str, str], body: bytes
    ) -> bool | None:
        return None
