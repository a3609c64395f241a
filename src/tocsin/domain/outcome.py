"""What came of a delivery, and what that leads to, for all vendors alike.

Vendor files translate their answers into an `Outcome`; this file alone judges. Judgement looks
at the whole batch: one dead token is a dead token, a batch of them accuses us.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from enum import StrEnum

from msgspec import Struct

from tocsin.domain.retry import grown_s


class Outcome(StrEnum):
    """What one attempt at one device came to."""

    ACCEPTED = "accepted"
    TOKEN_DEAD = "token_dead"  # noqa: S105 - an outcome, not a secret
    UNDELIVERABLE = "undeliverable"
    """The vendor will not show it, but the token stays good."""
    AUTH_EXPIRED = "auth_expired"
    CREDENTIALS_WRONG = "credentials_wrong"
    THROTTLED = "throttled"
    QUOTA_DAY = "quota_day"
    TIME_WINDOW = "time_window"
    TOO_LARGE = "too_large"
    BLOCKED_CONTENT = "blocked_content"
    BAD_REQUEST = "bad_request"
    NOT_PERMITTED = "not_permitted"
    SERVER_ERROR = "server_error"
    UNSENT = "unsent"
    """No byte reached the vendor."""
    UNKNOWN = "unknown"
    """It may have arrived or not."""
    EXPIRED = "expired"
    RECALLED = "recalled"
    MOVED = "moved"
    """The device changed hands after it was planned."""
    OTHER_WAY = "other_way"
    """This way to the device is closed for good; the next try takes another."""
    NO_TOKEN = "no_token"  # noqa: S105 - an outcome, not a secret
    HELD = "held"
    """Not tried: the credential's breaker is open."""


POSTED = 0
"""Stands in a vendor's table where an answer's status would: the code came later, in a receipt
that the vendor posted to us."""


class State(StrEnum):
    """Where a planned device stands in a task. All but `OPEN` are final; see `may_become`."""

    OPEN = "open"
    UNREACHABLE = "unreachable"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    RECALLED = "recalled"
    IN_DOUBT = "in_doubt"


RANK: dict[State, int] = {
    State.OPEN: 0,
    State.UNREACHABLE: 1,
    State.FAILED: 1,
    State.EXPIRED: 1,
    State.RECALLED: 1,
    State.IN_DOUBT: 2,
    State.SENT: 3,
}
"""A state may only be raised: an ack, receipt or click turns in doubt into sent."""


class Policy(Struct, frozen=True, kw_only=True):
    """What an outcome leads to."""

    final: State
    """The state when nothing more is tried."""
    tries_max: int = 1
    """Attempts in all; 0 means: until the task expires."""
    wait_s: float = 0.0
    """Least wait before the next attempt, where the vendor names none."""
    drops_token: bool = False
    opens_breaker: bool = False


POLICIES: dict[Outcome, Policy] = {
    Outcome.ACCEPTED: Policy(final=State.SENT),
    Outcome.TOKEN_DEAD: Policy(final=State.FAILED, drops_token=True),
    Outcome.UNDELIVERABLE: Policy(final=State.FAILED),
    Outcome.AUTH_EXPIRED: Policy(final=State.FAILED, tries_max=0, wait_s=60, opens_breaker=True),
    Outcome.CREDENTIALS_WRONG: Policy(
        final=State.FAILED, tries_max=0, wait_s=60, opens_breaker=True
    ),
    Outcome.THROTTLED: Policy(final=State.FAILED, tries_max=0, wait_s=1),
    Outcome.QUOTA_DAY: Policy(final=State.FAILED, tries_max=0, wait_s=3600),
    Outcome.TIME_WINDOW: Policy(final=State.FAILED, tries_max=0, wait_s=1800),
    Outcome.TOO_LARGE: Policy(final=State.FAILED),
    Outcome.BLOCKED_CONTENT: Policy(final=State.FAILED),
    Outcome.BAD_REQUEST: Policy(final=State.FAILED),
    Outcome.NOT_PERMITTED: Policy(final=State.FAILED),
    Outcome.SERVER_ERROR: Policy(final=State.FAILED, tries_max=5),
    Outcome.UNSENT: Policy(final=State.FAILED, tries_max=0),
    Outcome.UNKNOWN: Policy(final=State.IN_DOUBT, tries_max=3),
    Outcome.EXPIRED: Policy(final=State.EXPIRED),
    Outcome.RECALLED: Policy(final=State.RECALLED),
    Outcome.MOVED: Policy(final=State.UNREACHABLE),
    Outcome.OTHER_WAY: Policy(final=State.FAILED, tries_max=5),
    Outcome.NO_TOKEN: Policy(final=State.UNREACHABLE),
    Outcome.HELD: Policy(final=State.FAILED, tries_max=0, wait_s=1),
}

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 60.0
NEVER_AGAIN_S = math.inf
"""Stands for a wait that no task outlives: where asking again could only do harm."""
DEAD_SHARE_MAX = 0.2
DEAD_BATCH_MIN = 5
"""From this many dead tokens on, a larger share than the above accuses our credentials."""


class Receipt(Struct, frozen=True, kw_only=True):
    """What came back about one device of a batch."""

    device: int
    outcome: Outcome
    code: str = "0"
    """The vendor's own code, verbatim; our own are negative."""
    info: str = ""
    """The vendor's own text."""
    retry_after_s: float | None = None
    died_at: float | None = None
    """When the vendor says the token died, Unix seconds; None: it did not say."""
    epoch: int = 0
    """Epoch of the route that was used."""
    gone_token: str = ""
    """A VoIP or Live Activity token that was sent to and is dead; the route is still good."""
    is_of_all: bool = False
    """Whether the vendor said it of a whole list, and not of this device."""
    handle: str = ""
    """What the vendor calls the message that it took, where taking it back needs that name."""


class Later(Struct):
    """Devices of one follow-up job, which waits as long as the longest of them.

    No device waits for one that the vendor wants more than twice as late: among a page of devices
    that come again in a second, one may be told to come tomorrow.
    """

    devices: list[int] = []
    after_s: float = 0.0


class Verdict(Struct):
    """What a batch's receipts lead to."""

    settled: dict[tuple[State, str, str], list[int]] = {}
    """(state, code, info) to devices."""
    again: dict[int, Later] = {}
    """Devices to try again, by how long they wait; see `Later`."""
    held: dict[int, Later] = {}
    """Devices that were not tried: follow-ups of their own, which count no attempt."""
    repeats: list[int] = []
    """Those of `again` that may have been reached already."""
    dead: list[Receipt] = []
    """Tokens to drop, if their epoch still holds."""
    breaker: str = ""
    """Why the credential's breaker shall open; empty: it shall not."""


def backoff_s(attempt: int, fraction: float) -> float:
    """Full jitter: a random share of base times two to the number of failed attempts, capped."""
    return grown_s(BACKOFF_BASE_S, BACKOFF_MAX_S, attempt) * fraction


def accuses_us(receipts: Sequence[Receipt]) -> bool:
    """Whether so many tokens look dead that our own credential is the likelier culprit."""
    dead = sum(1 for it in receipts if it.outcome is Outcome.TOKEN_DEAD or it.gone_token)
    return is_too_dead(dead, len(receipts))


def is_too_dead(dead: int, count: int) -> bool:
    """Whether so many dead of so many are more than tokens die by themselves."""
    return dead >= DEAD_BATCH_MIN and dead > DEAD_SHARE_MAX * count


def judge(
    receipts: Sequence[Receipt],
    *,
    attempt: int,
    left_s: float,
    fraction: float,
    repeat_replaces: bool,
    is_one_try: bool = False,
    doubted: Container[int] = (),
) -> Verdict:
    """Decide for a whole batch.

    `is_one_try` is a push without a life of its own: whatever was tried is final.
    `attempt` counts from 0, `left_s` is what remains of the task's life, `fraction` is chance,
    and `repeat_replaces` tells whether a second delivery replaces the first on the device.
    `doubted` are devices that an earlier attempt may have reached: short of "sent" they end in
    doubt, whatever the last attempt says.
    """
    verdict = Verdict()
    accused = accuses_us(receipts)
    if accused:
        verdict.breaker = "most tokens of a batch look dead"
    for receipt in receipts:
        policy = POLICIES[receipt.outcome]
        if policy.opens_breaker:
            verdict.breaker = f"{receipt.code} {receipt.info}".strip()
        is_dead = receipt.outcome is Outcome.TOKEN_DEAD or receipt.gone_token
        if is_dead and not accused:
            verdict.dead.append(receipt)
        is_last = is_one_try and receipt.outcome is not Outcome.HELD
        if is_last or _is_final(receipt, policy, attempt, repeat_replaces=repeat_replaces):
            _settle(verdict, policy.final, receipt, doubted)
            continue
        wait_s = _wait_s(receipt, policy, attempt, fraction)
        if wait_s >= left_s:
            _settle(verdict, _when_out_of_time(receipt), receipt, doubted)
        elif receipt.outcome is Outcome.HELD:
            _put_off(verdict.held, receipt.device, wait_s)
        else:
            _put_off(verdict.again, receipt.device, wait_s)
            if receipt.outcome is Outcome.UNKNOWN:
                verdict.repeats.append(receipt.device)
    return verdict


def _put_off(waiting: dict[int, Later], device: int, wait_s: float) -> None:
    later = waiting.setdefault(int(wait_s).bit_length(), Later())
    later.devices.append(device)
    later.after_s = max(later.after_s, wait_s)


def _is_final(receipt: Receipt, policy: Policy, attempt: int, *, repeat_replaces: bool) -> bool:
    if receipt.outcome is Outcome.UNKNOWN and not repeat_replaces:
        return True
    return policy.tries_max != 0 and attempt + 1 >= policy.tries_max


def _when_out_of_time(receipt: Receipt) -> State:
    return State.IN_DOUBT if receipt.outcome is Outcome.UNKNOWN else State.EXPIRED


def _wait_s(receipt: Receipt, policy: Policy, attempt: int, fraction: float) -> float:
    if receipt.retry_after_s is not None:
        return receipt.retry_after_s
    return policy.wait_s + backoff_s(attempt, fraction)


def _settle(verdict: Verdict, state: State, receipt: Receipt, doubted: Container[int]) -> None:
    if receipt.device in doubted and RANK[state] < RANK[State.IN_DOUBT]:
        state = State.IN_DOUBT
    key = (state, receipt.code, receipt.info)
    verdict.settled.setdefault(key, []).append(receipt.device)
