"""The way to a vendor: whether it carries, when it last proved itself, and how much it may carry.

A credential has one way, or one for each push service that its devices name. Pure but for the wait
for a place: every question takes `now`.
"""

from __future__ import annotations

import asyncio
from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from tocsin.channels.breaker import ACCUSING, FAILING, PAUSING, Breaker, Repeats
from tocsin.conversation import Stoppage
from tocsin.domain.outcome import OURS, Outcome
from tocsin.domain.retry import RETRY_AFTER_MAX_S, grown_s

MAIN = "main"
"""Name of the one way of a credential whose vendor has one address."""
MOSTLY_UNANSWERED = "most repeats got no answer, as the first attempts did not"
TROUBLE_S = 1.0
"""After so long without an answer to rely on a way is down. Shorter gaps between faults and answers
are those of a vendor that fails now and then, and nothing is let out early for them."""
PROBE_S = 1.0
"""First wait before a way that fails is asked with a push to nobody; each failure doubles it."""
PROBE_MAX_S = 30.0
PLACES_MIN = 8
"""Requests under way at once that a new way begins with, and one that was down; each answer to rely
on allows one more, so that what has waited does not arrive all at once."""


class Pause(Struct, frozen=True):
    """What a vendor said when it asked for a pause, and until when."""

    code: str
    info: str
    until: float


class Way:
    """Where one way stands."""

    def __init__(self, name: str, places_max: int, scale: float = 1.0) -> None:
        self.name = name
        self.breaker = Breaker(scale)
        self.proved_at = float("-inf")
        """When the vendor last gave an answer that only a way that works can bring."""
        self.pause: Pause | None = None
        self.repeats = Repeats(scale)
        """What repeats on it came to of late."""
        self._scale = scale
        self._failing_since: float | None = None
        self._last_fault = ""
        self._probe_at = float("inf")
        self._obeyed_until = float("-inf")
        """The vendor wants to be asked no earlier."""
        self._looked_at = float("-inf")
        self._failed_probes = 0
        self._is_probing = False
        self._has_proved = False
        self._places_max = places_max
        self._places = min(places_max, PLACES_MIN)
        self._taken = 0
        self._moved_at = float("-inf")
        """When a request last began or ended."""
        self._is_silent = False
        """Whether its last fault was no answer at all."""
        self._waiting: deque[asyncio.Future[bool]] = deque()

    # what has been heard

    def record(
        self,
        outcome: Outcome,
        now: float,
        asked_s: float = 0.0,
        said: str = "",
        *,
        device: int | None = None,
    ) -> str:
        """Take in what a request came to; answers why that opened the breaker, or nothing.

        `device` is whom it was for, where it was for one alone.
        """
        if outcome in OURS:
            return ""
        self.hear(outcome, now, said)
        if outcome is Outcome.SERVER_ERROR:
            # Throttling may mean one device alone.
            self._obey(asked_s, now)
        return self.breaker.record(outcome, now, asked_s, said, device=device)

    def record_probe(
        self, outcome: Outcome, now: float, asked_s: float = 0.0, said: str = ""
    ) -> str:
        """Take in what a push to nobody came to; answers why the breaker opens, or nothing."""
        self._is_probing = False
        if outcome is Outcome.NOT_ALLOWED:
            # Our own guard refuses the address: each device is to be told so.
            self.breaker.close(now)
            self._stop_failing()
            self._open_up()
            return ""
        if outcome in OURS:
            # It was not sent: no word about the way, but no reason to ask at once again either.
            self._put_off_probe(now)
            self.breaker.put_off(self._probe_at)
            return ""
        if outcome in FAILING or outcome in ACCUSING:
            self.hear(outcome, now, said)
            self._put_off_probe(now)
            if outcome in PAUSING:
                self._obey(asked_s, now)
            return self.breaker.record_probe(outcome, now, asked_s, said)
        if self.breaker.close(now):
            self._open_up()
        self.hear(outcome, now, said)
        return ""

    def hear(self, outcome: Outcome, now: float, said: str = "") -> None:
        """Take in whether it carries, without a word to the breaker."""
        if outcome in ACCUSING:
            return
        if outcome in FAILING:
            self._last_fault = said or outcome
            self._is_silent = outcome not in PAUSING
            if self._failing_since is None:
                self._failing_since = now
                self._probe_at = now + PROBE_S * self._scale
            return
        self.proved_at = now
        if self.breaker.is_open:
            # An answer to what had begun before: the probe decides.
            return
        if self.is_down(now):
            self._open_up()
        self._stop_failing()
        if self._places < self._places_max:
            self._places += 1
            self._let_in()

    def _stop_failing(self) -> None:
        self._failing_since = None
        self._failed_probes = 0
        self._probe_at = float("inf")
        self._obeyed_until = float("-inf")

    def _open_up(self) -> None:
        """It carries again: whoever waits is let out, in steps."""
        self._has_proved = True
        self._places = min(self._places_max, PLACES_MIN)

    # what is asked

    def is_down(self, now: float) -> bool:
        """Whether nothing has come back on it for a while but faults."""
        since = self._failing_since
        return since is not None and now - since >= TROUBLE_S * self._scale

    def want_proof(self, now: float) -> None:
        """Somebody waits for an answer to rely on."""
        if self._failing_since is None:
            self._probe_at = min(self._probe_at, now)

    def probe_is_due(self, now: float) -> bool:
        """Whether to ask with a push to nobody now."""
        if now < self._looked_at:
            self._put_back(self._looked_at - now)
        self._looked_at = now
        if self._is_probing or (self.pause is not None and now < self.pause.until):
            return False
        return now >= self._asked_at

    def _put_back(self, by_s: float) -> None:
        """The clock was put back: what was to be in a minute is in a minute still."""
        self.breaker.put_back(by_s)
        self._probe_at -= by_s
        self._obeyed_until -= by_s
        self._moved_at -= by_s
        self.proved_at -= by_s
        if self._failing_since is not None:
            self._failing_since -= by_s
        if self.pause is not None:
            self.pause = replace(self.pause, until=self.pause.until - by_s)

    @property
    def _asked_at(self) -> float:
        """When it is asked with a push to nobody."""
        if self.breaker.is_open:
            return self.breaker.until
        return max(self._probe_at, self._obeyed_until)

    def _obey(self, asked_s: float, now: float) -> None:
        """Ask no earlier than the vendor wants."""
        self._obeyed_until = max(self._obeyed_until, now + min(asked_s, RETRY_AFTER_MAX_S))

    def begin_probe(self) -> None:
        """One is on its way: `record_probe` has to follow."""
        self._is_probing = True

    def _put_off_probe(self, now: float) -> None:
        most_s = PROBE_MAX_S * self._scale
        self._probe_at = now + grown_s(PROBE_S * self._scale, most_s, self._failed_probes)
        self._failed_probes += 1

    def take_proof(self) -> bool:
        """Whether it has proved itself after an outage since the last time of asking."""
        has_proved, self._has_proved = self._has_proved, False
        return has_proved

    def wait_s(self, now: float) -> float:
        """How long whoever waits for it should wait before looking again."""
        until = self._asked_at
        least_s = PROBE_S * self._scale
        return min(PROBE_MAX_S, max(least_s, until - now)) if until != float("inf") else least_s

    def stoppage(self, now: float) -> Stoppage | None:
        """Why it carries nothing, or not for sure."""
        breaker = self.breaker
        part = "" if self.name == MAIN else self.name
        if breaker.is_open:
            if breaker.is_refused:
                return Stoppage("refused", breaker.why, breaker.until, part)
            return Stoppage("down", breaker.why, breaker.until, part)
        if self.pause is not None and now < self.pause.until:
            reason = f"{self.pause.code} {self.pause.info}".strip()
            return Stoppage("paused", reason, self.pause.until, part)
        if self.is_down(now):
            return Stoppage("down", self._last_fault, self._asked_at, part)
        return None

    def doubtful(self, now: float) -> Stoppage | None:
        """Why it repeats nothing that may have been shown."""
        until = self.repeats.stopped_until(now)
        part = "" if self.name == MAIN else self.name
        return None if until is None else Stoppage("doubtful", MOSTLY_UNANSWERED, until, part)

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to remember."""
        return (
            not self.breaker.is_open
            and self._failing_since is None
            and not self._taken
            and not self._is_probing
            and not self._has_proved
        )

    # places

    @property
    def free(self) -> int:
        """Requests that may begin at once."""
        return max(0, self._places - self._taken)

    def is_stuck(self, now: float) -> bool:
        """Whether whoever comes now would wait for a server that answers nobody.

        One that answers with errors is still asked by one device at a time: its word to nobody may
        differ.
        """
        if self.is_down(now):
            return self._taken > 0 or self._is_silent
        return self._taken >= self._places and now - self._moved_at >= TROUBLE_S * self._scale

    async def enter(self, now: float) -> bool:
        """Wait for a place, which `leave` gives up; False: turned away."""
        if self._taken < self._places and not self._waiting:
            self.enter_at_once(now)
            return True
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result():
                self.leave(now)
            raise

    def enter_at_once(self, now: float) -> None:
        """Take a place, whether or not there is one free."""
        self._taken += 1
        self._moved_at = now

    def leave(self, now: float) -> None:
        """Give a place up."""
        self._taken -= 1
        self._moved_at = now
        self._let_in()

    def turn_away(self, now: float) -> None:
        """Let those who wait for a place wait no longer where it is stuck."""
        if self.is_stuck(now):
            while self._waiting:
                place = self._waiting.popleft()
                if not place.done():
                    place.set_result(False)

    def _let_in(self) -> None:
        while self._waiting and self._taken < self._places:
            place = self._waiting.popleft()
            if not place.done():
                self._taken += 1
                place.set_result(True)
