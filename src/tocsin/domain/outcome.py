"""What came of a delivery, and what that leads to, for all vendors alike.

Vendor files translate their answers into an `Outcome`; this file alone judges. Judgement looks
at the whole batch: one dead token is a dead token, a batch of them accuses us.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import overload

import msgspec
from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.retry import grown_s, longest_wait_s


class Outcome(StrEnum):
    """What one attempt at one device came to."""

    ACCEPTED = "accepted"
    TOKEN_DEAD = "token_dead"  # noqa: S105 - an outcome, not a secret
    """Only a dead device yields this code."""
    TOKEN_MISMATCH = "token_mismatch"  # noqa: S105 - an outcome, not a secret
    """The token is dead, or it belongs to another app or environment than our credential."""
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
    NOT_ALLOWED = "not_allowed"
    """We refuse to connect to the address that this device names."""
    HELD = "held"
    """Not tried: the way to the vendor, its pace or the gate did not allow it."""


TOKEN_LOST = frozenset((Outcome.TOKEN_DEAD, Outcome.TOKEN_MISMATCH))
"""The token leads to nobody, whoever is to blame."""

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
    """Answers of this kind about one device before it is final; 0: until the push's life ends."""
    wait_s: float = 0.0
    """Least wait before the next attempt, where the vendor names none."""
    drops_token: bool = False
    opens_breaker: bool = False


REPEAT_WAITS_S = (0.0, 30.0, 120.0, 600.0)
"""Least wait before each repeat of a push that may have been shown; after the last repeat it is in
doubt for good. The first one waits only for the way to prove itself."""

POLICIES: dict[Outcome, Policy] = {
    Outcome.ACCEPTED: Policy(final=State.SENT),
    Outcome.TOKEN_DEAD: Policy(final=State.FAILED, drops_token=True),
    Outcome.TOKEN_MISMATCH: Policy(final=State.FAILED, drops_token=True),
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
    Outcome.SERVER_ERROR: Policy(final=State.FAILED, tries_max=0),
    Outcome.UNSENT: Policy(final=State.FAILED, tries_max=0),
    Outcome.UNKNOWN: Policy(final=State.IN_DOUBT, tries_max=1 + len(REPEAT_WAITS_S)),
    Outcome.EXPIRED: Policy(final=State.EXPIRED),
    Outcome.RECALLED: Policy(final=State.RECALLED),
    Outcome.MOVED: Policy(final=State.UNREACHABLE),
    Outcome.OTHER_WAY: Policy(final=State.FAILED, tries_max=5),
    Outcome.NO_TOKEN: Policy(final=State.UNREACHABLE),
    Outcome.NOT_ALLOWED: Policy(final=State.FAILED),
    Outcome.HELD: Policy(final=State.FAILED, tries_max=0, wait_s=1),
}

ABOUT_DEVICE = frozenset((Outcome.OTHER_WAY,))
"""Answers about one device after which it is tried again."""

OURS = frozenset((Outcome.RECALLED, Outcome.EXPIRED, Outcome.HELD, Outcome.NOT_ALLOWED))
"""Nothing was asked of the vendor, so they say nothing about it."""

BACKOFF_BASE_S = 0.5
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
    is_shortened: bool = False
    """Whether the text that was sent is shorter than the push's own."""
    way: str = ""
    """The way to the vendor that has to prove itself before another attempt, which is due as soon
    as it does; empty: only time helps."""


class BatchReceipts(Sequence[Receipt]):
    """The receipts of a batch's devices, in order: what all came to, and the exceptions.

    It is a sequence of a receipt a device, but makes each of them only when it is asked for.
    """

    __slots__ = ("devices", "epochs", "exceptions", "rest")

    def __init__(
        self,
        devices: Sequence[int],
        epochs: Sequence[int],
        rest: Receipt,
        exceptions: Mapping[int, Receipt] | None = None,
    ) -> None:
        """`exceptions` are by place in the batch; of `rest` device and epoch mean nothing."""
        self.devices = devices
        self.epochs = epochs
        self.rest = rest
        self.exceptions: Mapping[int, Receipt] = exceptions or {}

    @overload
    def __getitem__(self, place: int) -> Receipt: ...
    @overload
    def __getitem__(self, place: slice) -> list[Receipt]: ...
    def __getitem__(self, place: int | slice) -> Receipt | list[Receipt]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if place < 0:
            place += len(self)
        exception = self.exceptions.get(place)
        if exception is not None:
            return exception
        device, epoch = self.devices[place], self.epochs[place]
        return msgspec.structs.replace(self.rest, device=device, epoch=epoch)

    def __len__(self) -> int:
        return len(self.devices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def each(cls, receipts: Sequence[Receipt]) -> BatchReceipts:
        """Receipts that have nothing in common."""
        devices = [receipt.device for receipt in receipts]
        rest = Receipt(device=0, outcome=Outcome.UNKNOWN)
        return cls(devices, [it.epoch for it in receipts], rest, dict(enumerate(receipts)))

    def joined(self, others: BatchReceipts) -> BatchReceipts:
        """The receipts of two parts of a batch."""
        if self.rest == others.rest:
            moved = {len(self) + at: receipt for at, receipt in others.exceptions.items()}
            devices, epochs = (*self.devices, *others.devices), (*self.epochs, *others.epochs)
            return BatchReceipts(devices, epochs, self.rest, {**self.exceptions, **moved})
        return BatchReceipts.each([*self, *others])

    def changed(self, change: Callable[[Receipt], Receipt]) -> BatchReceipts:
        """The receipts as a function makes them that looks at no device and no epoch."""
        exceptions = {place: change(receipt) for place, receipt in self.exceptions.items()}
        rest = change(self.rest) if self.rest_count else self.rest
        return BatchReceipts(self.devices, self.epochs, rest, exceptions)

    @property
    def rest_count(self) -> int:
        """How many devices came to `rest`."""
        return len(self.devices) - len(self.exceptions)

    def kinds(self) -> list[Receipt]:
        """`rest`, if it is anybody's, and every exception: what there is to see once."""
        exceptions = list(self.exceptions.values())
        return [self.rest, *exceptions] if self.rest_count else exceptions

    def counted(self) -> Counter[Outcome]:
        """How many devices came to each outcome."""
        counted = Counter(receipt.outcome for receipt in self.exceptions.values())
        if self.rest_count:
            counted[self.rest.outcome] += self.rest_count
        return counted


class Past(Struct, frozen=True, array_like=True):
    """What earlier attempts of a job's devices came to; the same for all of them."""

    cause: str = ""
    """The outcome of the latest attempt; empty before the first."""
    code: str = "0"
    info: str = ""
    """The latest reason, which an expired device is booked with."""
    tries: int = 0
    """Answers about the device itself that let it be tried once more."""
    doubts: int = 0
    """Attempts that may have been shown, without our knowing."""
    doubted_at: float = 0.0
    """When the latest of them came to nothing, Unix seconds."""


class Later(Struct):
    """Devices of one follow-up job, which waits as long as the longest of them.

    No device waits for one that the vendor wants more than twice as late: among a page of devices
    that come again in a second, one may be told to come tomorrow.
    """

    past: Past = Past()
    attempt: int = 0
    """How often in a row the cause has been the same: each time the wait grows."""
    way: str = ""
    devices: BitMap = msgspec.field(default_factory=BitMap)
    after_s: float = 0.0


class Verdict(Struct):
    """What a batch's receipts lead to."""

    settled: dict[tuple[State, str, str], BitMap] = {}
    """(state, code, info) to devices."""
    again: dict[tuple[object, ...], Later] = {}
    """Devices to try again; see `Later`."""
    repeated: BitMap = msgspec.field(default_factory=BitMap)
    """Those that were sent to though an earlier attempt may have reached them."""
    dead: list[Receipt] = []
    """Tokens to drop, if their epoch still holds."""
    suspects: list[Receipt] = []
    """The same, if the credential's other answers of late do not accuse us."""
    accusation: str = ""
    """Why our own credential is the likelier culprit; empty: it is not."""
    breaker: str = ""
    """Why the credential's breaker shall open; empty: it shall not."""
    shortened: BitMap = msgspec.field(default_factory=BitMap)
    """Devices that a shortened text was sent to."""


class Attempt(Struct, frozen=True, kw_only=True):
    """What judgement needs to know of the attempt that the receipts are of."""

    now: float
    """Unix seconds."""
    left_s: float
    """What remains of the push's life."""
    life_s: float
    """The push's whole life; 0: it has none of its own, and whatever was tried is final."""
    fraction: float
    """Chance, in [0, 1)."""
    repeat_replaces: bool
    """Whether a second delivery replaces the first on the device."""
    number: int = 0
    """How often in a row the cause of the wait has been the same."""
    past: Past = Past()
    doubted: BitMap = BitMap()
    """Devices that an earlier attempt may have reached: short of "sent" they end in doubt."""
    scale: float = 1.0
    """Factor on our own waits, for tests on real sockets; what a vendor names stands."""


def backoff_s(attempt: int, fraction: float, life_s: float) -> float:
    """Full jitter: a random share of base times two to the number of failed attempts, capped."""
    return grown_s(BACKOFF_BASE_S, longest_wait_s(life_s), attempt) * fraction


def accuses_us(receipts: Sequence[Receipt]) -> bool:
    """Whether so many tokens look dead that our own credential is the likelier culprit.

    Codes that only a dead device yields never accuse us, however many there are.
    """
    return is_too_dead(len(chosen(receipts, _is_suspect)), len(receipts))


def is_too_dead(dead: int, count: int) -> bool:
    """Whether so many dead of so many are more than tokens die by themselves."""
    return dead >= DEAD_BATCH_MIN and dead > DEAD_SHARE_MAX * count


def judge(receipts: Sequence[Receipt], attempt: Attempt) -> Verdict:
    """Decides what a whole batch leads to.

    A device's tries are spent only by answers about that device. Whatever kept the vendor from
    judging it (server errors, throttling, a fault of the way) ends with the push's life alone.
    """
    verdict = Verdict()
    _judge_tokens(verdict, receipts)
    for receipt, devices in _groups(receipts):
        if POLICIES[receipt.outcome].opens_breaker:
            verdict.breaker = f"{receipt.code} {receipt.info}".strip()
        if receipt.is_shortened:
            verdict.shortened |= devices
        doubted = devices & attempt.doubted
        if doubted and receipt.outcome not in OURS:
            verdict.repeated |= doubted
        _judge_alike(verdict, receipt, devices - doubted, attempt, is_doubted=False)
        _judge_alike(verdict, receipt, doubted, attempt, is_doubted=True)
    return verdict


def _groups(receipts: Sequence[Receipt]) -> Iterable[tuple[Receipt, BitMap]]:
    """Receipts that lead to the same, one for all, with their devices."""
    groups: dict[tuple[object, ...], tuple[Receipt, list[int]]] = {}
    apart = receipts.exceptions.values() if isinstance(receipts, BatchReceipts) else receipts
    for receipt in apart:
        key = (
            *(receipt.outcome, receipt.code, receipt.info),
            *(receipt.retry_after_s, receipt.way, receipt.is_shortened),
        )
        group = groups.get(key)
        if group is None:
            groups[key] = (receipt, [receipt.device])
        else:
            group[1].append(receipt.device)
    for receipt, devices in groups.values():
        yield receipt, BitMap(devices)
    if isinstance(receipts, BatchReceipts) and receipts.rest_count:
        others = BitMap([receipt.device for receipt in receipts.exceptions.values()])
        yield receipts.rest, BitMap(receipts.devices) - others


def _judge_alike(
    verdict: Verdict, receipt: Receipt, devices: BitMap, attempt: Attempt, *, is_doubted: bool
) -> None:
    """Decides about devices that came to the same after the same past."""
    if not devices:
        return
    policy = POLICIES[receipt.outcome]
    past = _past_after(receipt, attempt, is_doubted=is_doubted)
    if _is_final(receipt, past, policy, attempt):
        _settle(verdict, policy.final, receipt, devices, is_doubted=is_doubted)
        return
    number = attempt.number if past.cause == attempt.past.cause else 0
    wait_s = _wait_s(receipt, policy, past, number, attempt)
    if wait_s >= attempt.left_s > 0 and receipt.way and receipt.outcome is not Outcome.UNKNOWN:
        # The way may prove itself sooner, so its life is waited out.
        wait_s = attempt.left_s
    elif wait_s >= attempt.left_s:
        _settle_out_of_time(verdict, receipt, devices, attempt, is_doubted=is_doubted)
        return
    if receipt.outcome is not Outcome.HELD:
        number += 1
    # Only the least wait of a repeat has to pass; what the vendor named stands.
    way = receipt.way if past.doubts <= 1 or receipt.outcome is not Outcome.UNKNOWN else ""
    key = (past.cause, past.code, past.tries, past.doubts, way, int(wait_s).bit_length())
    later = verdict.again.setdefault(key, Later(past, number, way))
    later.devices |= devices
    later.after_s = max(later.after_s, wait_s)


def _judge_tokens(verdict: Verdict, receipts: Sequence[Receipt]) -> None:
    """Sorts out whose tokens are dropped, and whether that many accuse us instead."""
    verdict.dead.extend(chosen(receipts, lambda it: it.outcome is Outcome.TOKEN_DEAD))
    suspects = chosen(receipts, _is_suspect)
    if not is_too_dead(len(suspects), len(receipts)):
        verdict.suspects.extend(suspects)
    elif not chosen(receipts, lambda it: it.outcome is Outcome.ACCEPTED):
        verdict.accusation = "most tokens of a batch look dead"


def chosen(receipts: Sequence[Receipt], choice: Callable[[Receipt], bool]) -> Sequence[Receipt]:
    """The receipts for which this is true, whatever their device and epoch."""
    if not isinstance(receipts, BatchReceipts) or (receipts.rest_count and choice(receipts.rest)):
        return [receipt for receipt in receipts if choice(receipt)]
    return [receipt for receipt in receipts.exceptions.values() if choice(receipt)]


def _is_suspect(receipt: Receipt) -> bool:
    return receipt.outcome is Outcome.TOKEN_MISMATCH or bool(receipt.gone_token)


def _past_after(receipt: Receipt, attempt: Attempt, *, is_doubted: bool) -> Past:
    """What has been tried of these devices, this attempt included."""
    past = attempt.past
    doubts = max(1, past.doubts) if is_doubted else 0
    if receipt.outcome is Outcome.HELD:
        if past.cause:
            return msgspec.structs.replace(past, doubts=doubts)
        return msgspec.structs.replace(past, doubts=doubts, code=receipt.code, info=receipt.info)
    is_doubt = receipt.outcome is Outcome.UNKNOWN
    return Past(
        cause=receipt.outcome,
        code=receipt.code,
        info=receipt.info,
        tries=past.tries + (receipt.outcome in ABOUT_DEVICE),
        doubts=doubts + is_doubt,
        doubted_at=attempt.now if is_doubt else past.doubted_at,
    )


def _is_final(receipt: Receipt, past: Past, policy: Policy, attempt: Attempt) -> bool:
    if receipt.outcome is Outcome.HELD:
        return False
    if not attempt.life_s:
        return True
    if receipt.outcome is Outcome.UNKNOWN:
        return not attempt.repeat_replaces or past.doubts > len(REPEAT_WAITS_S)
    if policy.tries_max > 1:
        return past.tries >= policy.tries_max
    return policy.tries_max == 1


def _wait_s(receipt: Receipt, policy: Policy, past: Past, number: int, attempt: Attempt) -> float:
    if receipt.retry_after_s is not None:
        return receipt.retry_after_s
    if receipt.outcome is Outcome.UNKNOWN:
        return REPEAT_WAITS_S[past.doubts - 1] * attempt.scale
    wait_s = policy.wait_s + backoff_s(number, attempt.fraction, attempt.life_s)
    return wait_s * attempt.scale


def _settle_out_of_time(
    verdict: Verdict, receipt: Receipt, devices: BitMap, attempt: Attempt, *, is_doubted: bool
) -> None:
    if receipt.outcome is Outcome.UNKNOWN:
        _settle(verdict, State.IN_DOUBT, receipt, devices, is_doubted=is_doubted)
        return
    past = attempt.past
    if receipt.outcome is Outcome.HELD and past.cause:
        receipt = msgspec.structs.replace(receipt, code=past.code, info=past.info)
    _settle(verdict, State.EXPIRED, receipt, devices, is_doubted=is_doubted)


def _settle(
    verdict: Verdict, state: State, receipt: Receipt, devices: BitMap, *, is_doubted: bool
) -> None:
    if is_doubted and RANK[state] < RANK[State.IN_DOUBT]:
        state = State.IN_DOUBT
    key = (state, receipt.code, receipt.info)
    verdict.settled[key] = verdict.settled.get(key, BitMap()) | devices
