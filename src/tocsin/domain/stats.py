"""The books of a task, folded: three ledgers that must add up, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.outcome import RANK, State
from tocsin.domain.task import (
    WITH_DEVICES,
    Block,
    FanoutBody,
    Job,
    Report,
    SendBody,
    Stage,
    Task,
    WaitBody,
)


class TaskBooks(Struct, frozen=True):
    """Everything the store has about one task."""

    task: Task
    audience: BitMap
    blocks: Sequence[Block]
    reports: Sequence[Report]
    jobs: Sequence[Job]


class Ledger(Struct, kw_only=True):
    """A task's books at one moment. Counts are cardinalities, never sums of attempts."""

    audience: int
    without_device: dict[str, int]
    """Reason to accounts."""
    with_devices: int
    """Accounts that have at least one planned device."""
    planned: int
    states: dict[str, int]
    """`State` to devices."""
    failures: dict[str, int]
    """`code info` to devices."""
    undelivered: dict[str, int]
    """`channel code` of a receipt to devices: accepted by the vendor, and then not shown."""
    reached: int
    clicked: int
    repeated: int
    shortened: int
    """Devices that were sent a text which did not fit as it was: a mark, no term of any sum."""
    legs: dict[str, int]
    """Channel to devices that it was sent to."""
    is_walked: bool
    """Whether fanout has seen the whole audience."""
    faults: list[str]
    """Which sums do not add up; empty when the books are right."""


class Fold(Struct):
    """The bitmaps behind a `Ledger`."""

    planned: BitMap
    states: dict[State, BitMap]
    open_in: list[BitMap]
    accounts: dict[str, BitMap]
    """`WITH_DEVICES` or the reason why not, to accounts."""
    failures: dict[str, BitMap]
    repeated: BitMap
    reached: BitMap
    clicked: BitMap
    legs: dict[str, BitMap]
    undelivered: dict[str, BitMap]
    shortened: BitMap


def fold(books: TaskBooks) -> Fold:
    """Fold blocks, reports and open jobs into one set per state; a state may only be raised."""
    result = Fold(BitMap(), {}, [], {}, {}, BitMap(), BitMap(), BitMap(), {}, {}, BitMap())
    settled: dict[State, BitMap] = {state: BitMap() for state in State}
    for block in books.blocks:
        _take_block(result, settled, block)
    for job in books.jobs:
        members = owned_devices(job)
        if members:
            result.open_in.append(members)
            settled[State.OPEN] |= members
            result.planned |= members
    for report in books.reports:
        _take_report(result, settled, report)
    _give_legs(result, settled[State.IN_DOUBT], books.reports)
    for key, members in result.undelivered.items():
        # What arrived after all, late or on a second try, is no loss.
        result.undelivered[key] = members - result.reached
    taken = BitMap()
    for state in sorted(State, key=lambda state: -RANK[state]):
        result.states[state] = settled[state] - taken
        taken |= settled[state]
    for key, members in result.failures.items():
        result.failures[key] = members & result.states[State.FAILED]
    # Of one in doubt it is known only once a receipt says that it was sent.
    result.shortened &= result.states[State.SENT]
    return result


def owned_devices(job: Job) -> BitMap:
    """The devices that are open in this job. An online leg owns none: its vendor job does."""
    match job.body:
        case SendBody(devices=devices) | WaitBody(devices=devices):
            return BitMap(devices)
        case FanoutBody(open=batches):
            owners = (batch for batch in batches if batch.queue != "online")
            return BitMap([number for batch in owners for number in batch.devices])
        case _:
            return BitMap()


def _take_block(result: Fold, settled: dict[State, BitMap], block: Block) -> None:
    members = BitMap.deserialize(block.members)
    match block.kind:
        case "account":
            _join(result.accounts, block.state, members)
        case "planned":
            result.planned |= members
        case "repeated":
            result.repeated |= members
        case "shortened":
            result.shortened |= members
        case "device":
            state = State(block.state)
            settled[state] |= members
            if state is State.SENT and block.channel:
                _join(result.legs, block.channel, members)
            if state is State.FAILED:
                _join(
                    result.failures, f"{block.channel} {block.code} {block.info}".strip(), members
                )


def _take_report(result: Fold, settled: dict[State, BitMap], report: Report) -> None:
    members = BitMap.deserialize(report.members)
    if report.code != "0":
        # Whatever a vendor says of a push in a receipt, it had accepted it.
        settled[State.SENT] |= members & result.planned
        _join(result.undelivered, f"{report.channel} {report.code}", members)
        return
    if report.stage is Stage.SENT:
        _join(result.legs, report.channel, members)
        return
    settled[State.SENT] |= members & result.planned
    result.reached |= members
    if report.stage is Stage.CLICKED:
        result.clicked |= members


def _give_legs(result: Fold, doubted: BitMap, reports: Sequence[Report]) -> None:
    """A vendor that tells of a push in doubt had taken it: the device was sent to by this leg.

    Where something else is known of a device, a report adds no leg: phones that were reached over
    a connection report under their vendor's name, too.
    """
    unexplained = doubted - BitMap.union(BitMap(), *result.legs.values())
    for report in reports if unexplained else ():
        told = BitMap.deserialize(report.members) & unexplained
        if told:
            _join(result.legs, report.channel, told)


def _join(sets: dict[str, BitMap], key: str, members: BitMap) -> None:
    sets[key] = sets.get(key, BitMap()) | members


def ledger(books: TaskBooks) -> Ledger:
    """The counts of a task and whether they add up."""
    sets = fold(books)
    accounts = {reason: len(members) for reason, members in sets.accounts.items()}
    with_devices = accounts.pop(WITH_DEVICES, 0)
    states = {state.value: len(members) for state, members in sets.states.items()}
    is_walked = not any(job.queue in {"index", "fanout"} for job in books.jobs)
    return Ledger(
        audience=len(books.audience),
        without_device=accounts,
        with_devices=with_devices,
        planned=len(sets.planned),
        states=states,
        failures={key: len(members) for key, members in sets.failures.items() if members},
        undelivered={key: len(it) for key, it in sorted(sets.undelivered.items()) if it},
        reached=len(sets.reached),
        clicked=len(sets.clicked),
        repeated=len(sets.repeated),
        shortened=len(sets.shortened),
        legs={channel: len(members) for channel, members in sorted(sets.legs.items())},
        is_walked=is_walked,
        faults=list(_faults(books, sets, is_walked=is_walked)),
    )


def _faults(books: TaskBooks, sets: Fold, *, is_walked: bool) -> Iterable[str]:
    parts = list(sets.accounts.values())
    booked = BitMap.union(BitMap(), *parts)
    if sum(map(len, parts)) != len(booked):
        yield "an account is booked twice"
    if booked - books.audience:
        yield f"{len(booked - books.audience)} accounts outside the audience are booked"
    if is_walked and books.audience - booked:
        yield f"{len(books.audience - booked)} accounts of the audience are not booked"
    states = sum(map(len, sets.states.values()))
    if states != len(sets.planned):
        yield f"{len(sets.planned)} devices planned, {states} accounted for"
    if sum(map(len, sets.open_in)) != len(BitMap.union(BitMap(), *sets.open_in)):
        yield "a device is open in two jobs"
    if books.task.ended_at is not None and sets.states[State.OPEN]:
        yield f"the task has ended with {len(sets.states[State.OPEN])} devices open"


def merge_blocks(blocks: Sequence[Block]) -> list[Block]:
    """The blocks of an ended task merged per (kind, state, channel, code, minute)."""
    merged: dict[tuple[str, str, str, str, str, int], tuple[Block, BitMap]] = {}
    for block in blocks:
        minute = int(block.at // 60)
        key = (block.kind, block.state, block.channel, block.code, block.info, minute)
        first, members = merged.get(key, (block, BitMap()))
        merged[key] = (first, members | BitMap.deserialize(block.members))
    return [
        Block(
            task=first.task,
            job=0,
            at=first.at,
            kind=first.kind,
            state=first.state,
            channel=first.channel,
            code=first.code,
            info=first.info,
            members=members.serialize(),
        )
        for first, members in merged.values()
    ]
