"""Faults by rule: which request goes wrong, and how.

A rule matches by vendor, path, token, time window, place in the count and share; the first rule
that matches wins. Chance comes from one seed, and each rule draws from its own stream of it, so
adding a rule does not change what another one hits.
"""

from __future__ import annotations

import itertools
import math
from fnmatch import fnmatchcase
from typing import Literal, get_args

from msgspec import Struct

from tocsin.clock import Chance, Clock
from tocsin.sandbox.exchange import Effect

Kind = Literal[
    "status",
    "vendor_code",
    "html_page",
    "slow_first_byte",
    "slow_body",
    "truncated",
    "wrong_content_type",
    "never",
    "reset_before",
    "reset_after",
    "close_after",
    "goaway",
    "rst_stream",
    "stream_limit",
    "zero_window",
    "ping_loss",
    "receipt_code",
    "receipt_lost",
    "receipt_twice",
    "receipt_late",
    "receipt_absurd",
    "receipt_forged",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

ANY = "*"
RULES_MAX = 1000
REFUSED_STREAM = 7


class Rule(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One rule. Everything but `kind` narrows or shapes it, and has a default that does neither."""

    kind: Kind
    vendor: str = ANY
    token: str = ANY
    """A shell pattern of device tokens: `ab*`."""
    path: str = ANY
    """A shell pattern of request paths: `/token`."""
    share: float = 1.0
    """Hit this share of the matching requests, drawn from the seed."""
    every: int = 1
    """Hit each n-th matching request."""
    first: int = 1
    """Begin with the k-th matching request, counted from one."""
    last: int | None = None
    """End with the m-th matching request."""
    times: int | None = None
    """Hit so often, then no more."""
    from_s: float = 0.0
    """Begin so many seconds after the rule was added."""
    until_s: float | None = None
    """End so many seconds after the rule was added."""

    status: int | None = None
    """`status` (default 503), `html_page` (default 502), `vendor_code` (default: the one that goes
    with the code): the HTTP status."""
    code: str = ""
    """`vendor_code`: the vendor's own error, `TooManyRequests` or `UNAVAILABLE` for instance.
    `receipt_code`: what the receipt says instead."""
    retry_after_s: int | None = None
    """`status`, `vendor_code`: adds a Retry-After header."""
    body: str = ""
    """`status`: the body; empty means none at all."""
    delay_s: float | None = None
    """`slow_first_byte`, `slow_body`: how long (default 1). `zero_window`: for how long.
    `receipt_late`, `receipt_twice`: how much later (default 5)."""
    accepted: bool | None = None
    """`never`, `rst_stream`: whether the vendor took the push first (default: never yes,
    rst_stream no; REFUSED_STREAM never does)."""
    goaway_offset: int = 0
    """`goaway`: last-stream-id is the current stream plus so many requests; -1 gives it up too."""
    reset_code: int = 2
    """`rst_stream`: the HTTP/2 error code (2 INTERNAL_ERROR, 7 REFUSED_STREAM, 8 CANCEL)."""
    streams: int = 1
    """`stream_limit`: the new MAX_CONCURRENT_STREAMS."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError("share is a number from 0 to 1")
        if self.every < 1 or self.first < 1 or self.streams < 0:
            raise ValueError("every and first start at 1, streams at 0")
        if self.kind in ("vendor_code", "receipt_code") and not self.code:
            raise ValueError(f"{self.kind} needs a code")

    @property
    def is_of_receipts(self) -> bool:
        """Whether it is about what a vendor posts, and not about what it answers."""
        return self.kind.startswith("receipt_")

    @property
    def takes_push(self) -> bool:
        """True when the vendor judges and, if in order, accepts the push before the fault."""
        match self.kind:
            case "status" | "vendor_code" | "html_page" | "reset_before":
                return False
            case "goaway":
                return self.goaway_offset >= 0
            case "rst_stream":
                return bool(self.accepted) and self.reset_code != REFUSED_STREAM
            case "never":
                return self.accepted is not False
            case _:
                return True

    @property
    def effect(self) -> Effect | None:
        """What the server has to do besides answering."""
        match self.kind:
            case "slow_first_byte":
                return Effect(first_byte_s=self._delay(1.0))
            case "slow_body":
                return Effect(body_s=self._delay(1.0))
            case "never":
                return Effect(silent=True)
            case "reset_before" | "reset_after":
                return Effect(drop=True)
            case "close_after":
                return Effect(close=True)
            case "goaway":
                return Effect(goaway=self.goaway_offset)
            case "rst_stream":
                return Effect(reset_code=self.reset_code)
            case "stream_limit":
                return Effect(stream_limit=self.streams)
            case "zero_window":
                return Effect(zero_window_s=self._delay(math.inf))
            case "ping_loss":
                return Effect(mute_pings=True)
            case _:
                return None

    def _delay(self, default_s: float) -> float:
        return default_s if self.delay_s is None else self.delay_s


class Armed(Struct):
    """A rule in force, with its counters."""

    number: int
    rule: Rule
    added_at: float
    seen: int = 0
    hits: int = 0


class Faults:
    """The rules in force, in the order added."""

    def __init__(self, clock: Clock, seed: int | None = None) -> None:
        self._clock = clock
        self._seed = seed
        self._numbers = itertools.count(1)
        self._armed: dict[int, Armed] = {}
        self._chances: dict[int, Chance] = {}

    def add(self, rule: Rule) -> int:
        """Put a rule in force; answers its number."""
        if len(self._armed) >= RULES_MAX:
            raise ValueError(f"more than {RULES_MAX} rules")
        number = next(self._numbers)
        self._armed[number] = Armed(number, rule, self._clock.now())
        seed = None if self._seed is None else self._seed * 1_000_003 + number
        self._chances[number] = Chance(seed)
        return number

    def remove(self, number: int) -> bool:
        """Take a rule out of force; True if it was there."""
        self._chances.pop(number, None)
        return self._armed.pop(number, None) is not None

    def clear(self) -> None:
        self._armed.clear()
        self._chances.clear()

    def armed(self) -> list[Armed]:
        return list(self._armed.values())

    def pick(self, vendor: str, path: str, token: str) -> Rule | None:
        """The rule that hits this request, if any; counts as one request for each that matches."""
        return self._pick(vendor, path, token, of_receipts=False)

    def pick_receipt(self, vendor: str, path: str, token: str) -> Rule | None:
        """The same for a receipt that is to be posted to this path."""
        return self._pick(vendor, path, token, of_receipts=True)

    def _pick(self, vendor: str, path: str, token: str, *, of_receipts: bool) -> Rule | None:
        picked: Rule | None = None
        for armed in self._armed.values():
            if armed.rule.is_of_receipts is not of_receipts:
                continue
            if self._matches(armed, vendor, path, token):
                armed.seen += 1
                if picked is None and self._hits(armed):
                    armed.hits += 1
                    picked = armed.rule
        return picked

    def _matches(self, armed: Armed, vendor: str, path: str, token: str) -> bool:
        rule = armed.rule
        if rule.vendor not in (ANY, vendor):
            return False
        if rule.token != ANY and not fnmatchcase(token, rule.token):
            return False
        if rule.path != ANY and not fnmatchcase(path, rule.path):
            return False
        age_s = self._clock.now() - armed.added_at
        return age_s >= rule.from_s and (rule.until_s is None or age_s < rule.until_s)

    def _hits(self, armed: Armed) -> bool:
        rule = armed.rule
        if armed.seen < rule.first or (rule.last is not None and armed.seen > rule.last):
            return False
        if (armed.seen - rule.first + 1) % rule.every:
            return False
        if rule.times is not None and armed.hits >= rule.times:
            return False
        return rule.share >= 1.0 or self._chances[armed.number].fraction() < rule.share
