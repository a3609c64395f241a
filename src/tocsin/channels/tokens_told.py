"""Whether tokens are dropped whose answers a wrong credential yields, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from tocsin.channels.pace import MEMORY_S, Mortality
from tocsin.domain.outcome import Outcome, Receipt

SERVING_S = 60.0
"""A credential whose pushes were accepted within so long is not stopped for dead tokens."""


class TokensTold:
    """What a credential's answers and receipts have told of tokens within the hour."""

    def __init__(self) -> None:
        self._by_receipts = Mortality()
        self._by_answers = Mortality()
        self._accepted_at = float("-inf")
        self._alarm_after = 0.0

    def record(self, receipts: Sequence[Receipt], counted: Counter[Outcome], now: float) -> None:
        """Take in what a batch came to; `counted` are its outcomes."""
        if counted[Outcome.ACCEPTED]:
            self._accepted_at = now
        taken = counted[Outcome.ACCEPTED] + counted[Outcome.UNKNOWN]
        dead = counted[Outcome.TOKEN_MISMATCH] + sum(1 for it in receipts if it.gone_token)
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
