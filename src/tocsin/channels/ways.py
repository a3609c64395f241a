"""The ways of one credential: one, or one for each push service that its devices name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tocsin.channels.way import MAIN, Way
from tocsin.conversation import Delivery, Stoppage
from tocsin.domain.outcome import OURS, Outcome, Receipt

WAYS_MAX = 1024
"""Ways remembered; anybody can name another push service, so the oldest without trouble goes."""

Ask = Callable[[Way], Awaitable[Receipt]]
"""Asks the vendor with a push to nobody."""
Weigh = Callable[[Receipt, Way], None]
"""Takes in what that came to."""


class Ways:
    """Finds ways by name, and asks those that fail whether they carry again."""

    def __init__(
        self, places_max: int, scale: float, way_of: Callable[[str], str] | None = None
    ) -> None:
        """`way_of` names the way of a token; None: all tokens have the same."""
        self._way_of = way_of
        self._places_max = places_max
        self._scale = scale
        self._ways: dict[str, Way] = {}
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def main(self) -> Way:
        """The way of a credential whose vendor has one address."""
        return self.of(MAIN)

    def of(self, name: str) -> Way:
        """The way of this name."""
        way = self._ways.get(name)
        if way is None:
            if len(self._ways) >= WAYS_MAX:
                self._forget()
            way = self._ways[name] = Way(name, self._places_max, self._scale)
        return way

    def parts(self, deliveries: Sequence[Delivery]) -> list[tuple[Way, Sequence[int]]]:
        """Places in the batch by way."""
        if self._way_of is None:
            return [(self.main, range(len(deliveries)))]
        places: dict[str, list[int]] = {}
        for index, delivery in enumerate(deliveries):
            places.setdefault(self._way_of(delivery.token), []).append(index)
        return [(self.of(name), indexes) for name, indexes in places.items()]

    def count_repeats(
        self, deliveries: Sequence[Delivery], receipts: Sequence[Receipt], now: float
    ) -> None:
        """Tell each way what the repeats on it came to."""
        for way, places in self.parts(deliveries):
            outcomes = [receipts[place].outcome for place in places]
            tried = sum(outcome not in OURS for outcome in outcomes)
            way.repeats.record(tried, outcomes.count(Outcome.UNKNOWN), now)

    def _forget(self) -> None:
        # No `BoundedCache`: a way that is in use stays, however long ago it was looked up.
        oldest = next(iter(self._ways))
        idle = (name for name, way in self._ways.items() if way.is_idle)
        del self._ways[next(idle, oldest)]

    def probe(self, now: float, ask: Ask, weigh: Weigh) -> None:
        """Begin to ask those ways where that is due."""
        for way in list(self._ways.values()):
            if way.probe_is_due(now):
                way.begin_probe()
                probe = asyncio.create_task(_probe(way, ask, weigh))
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)

    def proofs(self) -> list[str]:
        """Names of the ways that have proved themselves since the last time of asking."""
        return [way.name for way in list(self._ways.values()) if way.take_proof()]

    def stoppage(self, now: float) -> Stoppage | None:
        """Why one of them carries nothing, or not for sure."""
        found = (way.stoppage(now) for way in self._ways.values())
        return next((stoppage for stoppage in found if stoppage is not None), None)

    def doubtful(self, now: float) -> Stoppage | None:
        """Why one of them repeats nothing that may have been shown."""
        found = (way.doubtful(now) for way in self._ways.values())
        return next((stoppage for stoppage in found if stoppage is not None), None)

    async def close(self) -> None:
        """Stop asking."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)


async def _probe(way: Way, ask: Ask, weigh: Weigh) -> None:
    weigh(await ask(way), way)
