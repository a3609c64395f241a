"""How many tokens a vendor calls dead, and whether they are dropped for it.

A wrong credential yields the same answers as dead tokens do.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Literal

from tocsin.domain.outcome import BatchReceipts, Outcome, is_too_dead

MEMORY_S = 3600
"""Dead tokens are held against what was judged within so long; most receipts come in minutes."""
SLICE_S = 60
SERVING_S = 60.0
"""A credential whose pushes were accepted within so long is not stopped for dead tokens."""


class DeadTokens:
    """The dead tokens of one credential within the hour, by answers and by receipts."""

    def __init__(self) -> None:
        self._by_receipts = DeadTokenMonitor()
        self._by_answers = DeadTokenMonitor()
        self._accepted_at = float("-inf")
        self._alarm_after = 0.0

    def record(self, receipts: BatchReceipts, counted: Counter[Outcome], now: float) -> None:
        """Take in what a batch came to; `counted` are its outcomes."""
        if counted[Outcome.ACCEPTED]:
            self._accepted_at = now
        taken = counted[Outcome.ACCEPTED] + counted[Outcome.UNKNOWN]
        gone = sum(1 for receipt in receipts.exceptions.values() if receipt.gone_token)
        dead = counted[Outcome.TOKEN_MISMATCH] + gone
        self._by_receipts.judge(taken, 0, now)
        self._by_answers.judge(taken + dead, dead, now)

    def is_serving(self, now: float) -> bool:
        """Whether a push was accepted within the last minute."""
        return now - self._accepted_at < SERVING_S

    def told_by_receipts(self, count: int, now: float) -> Literal["believe", "keep", "accuse"]:
        """Count so many tokens more that receipts tell are dead: what that leads to."""
        return self._by_receipts.tell_dead(count, now)

    def believes_answers(self, now: float) -> bool:
        """Whether most of what the vendor judged lately had a living token."""
        return self._by_answers.tell_dead(0, now) == "believe"

    def alarm_is_due(self, now: float) -> bool:
        """Whether to say so where they are not believed: once an hour."""
        if now < self._alarm_after:
            return False
        self._alarm_after = now + MEMORY_S
        return True


class DeadTokenMonitor:
    """Counts how many deliveries that the vendor judged lately met dead tokens.

    A vendor's receipts come one by one or sorted by what they tell, and pushes to single accounts
    are batches of one: nothing of this can be judged by itself as the answer to a list is.
    """

    def __init__(self) -> None:
        self._slices: deque[list[int]] = deque()
        """[minute, judged, dead] of the memory, oldest first."""

    def judge(self, judged: int, dead: int, now: float) -> None:
        """Count deliveries that the vendor took, may have taken, or refused for `dead` tokens."""
        slice_ = self._slice(now)
        slice_[1] += judged
        slice_[2] += dead

    def tell_dead(self, count: int, now: float) -> Literal["believe", "keep", "accuse"]:
        """Count more tokens told dead: are such to be dropped?

        `keep` is said where fewer were judged than are told dead: after a restart, nobody knows
        of how many these are.
        """
        self._slice(now)[2] += count
        judged = sum(it[1] for it in self._slices)
        dead = sum(it[2] for it in self._slices)
        if not is_too_dead(dead, judged):
            return "believe"
        return "accuse" if dead <= judged else "keep"

    def _slice(self, now: float) -> list[int]:
        minute = int(now // SLICE_S)
        while self._slices and self._slices[0][0] <= minute - MEMORY_S // SLICE_S:
            self._slices.popleft()
        if not self._slices or self._slices[-1][0] != minute:
            self._slices.append([minute, 0, 0])
        return self._slices[-1]
