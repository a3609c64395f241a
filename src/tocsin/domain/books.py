"""The books of a task: what their lines say, taken in line by line, and the ledger that follows.

A line is an outcome block or a report, and names devices or accounts. Lines are only ever added,
and each adds members to sets, so the sets can be kept: whoever has read up to a line goes on after
it. What changes in place, the task's row and its open jobs, stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

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

Family = Literal[
    "account",  # WITH_DEVICES or the reason why not, to accounts; devices in all others
    "planned",
    "state",  # each state that was booked; a device may have several
    "failure",  # `channel code info` of a failure
    "repeated",
    "shortened",
    "leg",  # channel that a device was sent to by
    "possible leg",  # channel by which an attempt may have reached it
    "reached",
    "clicked",
    "undelivered",  # `channel code` of a receipt
    "confirmed",  # whatever a vendor or the device said of it, the vendor had accepted the push
    "reported",  # channel that a report names
]
SetKey = tuple[Family, str]

_MARKS = ("doubted", "repeated")
"""Blocks whose devices an attempt may have reached, whatever became of them since."""


class Lines(Struct, frozen=True, kw_only=True):
    """Some of the lines of a task's books, and the task as it was at that moment."""

    task: Task
    blocks: Sequence[Block] = ()
    reports: Sequence[Report] = ()
    position: int
    """That of the newest line here, or where the reading began."""
    is_last: bool
    """Whether there were no more."""
    jobs: Sequence[Job] = ()
    """The task's jobs, of the same moment; with the last lines only."""


class Books(Struct, frozen=True):
    """The sets that a task's lines make, up to a position."""

    position: int = 0
    sets: Mapping[SetKey, BitMap] = {}
    """Read them, never change them: they are shared."""

    def take(self, lines: Lines) -> Books:
        """The books with more lines in them. Lines that are there already change nothing."""
        parts: dict[SetKey, list[BitMap]] = {}
        keys = [(_keys_of_block(block), block.members) for block in lines.blocks]
        keys += [(_keys_of_report(report), report.members) for report in lines.reports]
        for named, packed in keys:
            members = BitMap.deserialize(packed)
            for key in named:
                parts.setdefault(key, []).append(members)
        # One union for each key: unions one by one would copy the whole set for each line.
        grown = {key: BitMap.union(self.of(*key), *each) for key, each in parts.items()}
        return Books(lines.position, {**self.sets, **grown})

    def of(self, family: Family, name: str = "") -> BitMap:
        """One set. Read it, never change it."""
        return self.sets.get((family, name), _NOBODY)

    def family(self, family: Family) -> dict[str, BitMap]:
        """The sets of a family by their names, in the order in which these came up."""
        return {name: members for (each, name), members in self.sets.items() if each == family}

    def channels(self, device: int) -> list[str]:
        """By which channels a leg to the device is written down for good: sent, or possibly."""
        return [
            name
            for (family, name), members in self.sets.items()
            if family in ("leg", "possible leg") and device in members
        ]

    def has_leg(self, channel: str, device: int) -> bool:
        """Whether a leg to the device over this channel is written down for good."""
        return device in self.of("leg", channel) or device in self.of("possible leg", channel)

    def size(self) -> int:
        """About how many bytes the sets take in memory."""
        return sum(map(bitmap_size, self.sets.values()))


_NOBODY = BitMap()
_CONTAINER_BYTES = 24
_SET_BYTES = 200


def bitmap_size(members: BitMap) -> int:
    """About how many bytes a bitmap takes in memory."""
    counts = members.get_statistics()
    packed = (
        counts["n_bytes_array_containers"]
        + counts["n_bytes_run_containers"]
        + counts["n_bytes_bitset_containers"]
    )
    return packed + counts["n_containers"] * _CONTAINER_BYTES + _SET_BYTES


def _keys_of_block(block: Block) -> Iterable[SetKey]:
    match block.kind:
        case "account":
            yield "account", block.state
        case "planned" | "repeated" | "shortened":
            yield block.kind, ""
        case "device":
            yield from _keys_of_state(block)
    if block.kind in _MARKS and block.channel:
        yield "possible leg", block.channel


def _keys_of_state(block: Block) -> Iterable[SetKey]:
    yield "state", block.state
    if block.state == State.FAILED:
        yield "failure", f"{block.channel} {block.code} {block.info}".strip()
    elif block.channel and block.state == State.SENT:
        yield "leg", block.channel
    elif block.channel and block.state == State.IN_DOUBT:
        yield "possible leg", block.channel


def _keys_of_report(report: Report) -> Iterable[SetKey]:
    if report.code == "0" and report.stage is Stage.SENT:
        yield "leg", report.channel
        return
    yield "confirmed", ""
    yield "reported", report.channel
    if report.code != "0":
        yield "undelivered", f"{report.channel} {report.code}"
        return
    yield "reached", ""
    if report.stage is Stage.CLICKED:
        yield "clicked", ""


class BegunLegs(Struct, frozen=True):
    """What a task's lines and its jobs under way say of the legs that have begun."""

    task: Task
    books: Books
    under_way: Mapping[str, BitMap]
    """Devices of jobs that have begun and are not settled, by channel."""

    def has_leg(self, channel: str, device: int) -> bool:
        """Whether a leg to the device over this channel has begun."""
        return self.books.has_leg(channel, device) or device in self.under_way.get(channel, _NOBODY)

    def channels(self, device: int) -> list[str]:
        """The channels over which a leg to the device has begun."""
        begun = [channel for channel, devices in self.under_way.items() if device in devices]
        return [*self.books.channels(device), *begun]


class TaskBooks(Struct, frozen=True):
    """Everything there is about a task at one moment."""

    task: Task
    audience: BitMap
    """The frozen audience; empty before it is frozen."""
    books: Books
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


class TaskSets(Struct, kw_only=True):
    """The sets behind a `Ledger`: each planned device has one state."""

    planned: BitMap
    states: dict[State, BitMap]
    accounts: dict[str, BitMap]
    """`WITH_DEVICES` or the reason why not, to accounts."""
    failures: dict[str, BitMap]
    repeated: BitMap
    reached: BitMap
    clicked: BitMap
    legs: dict[str, BitMap]
    undelivered: dict[str, BitMap]
    shortened: BitMap
    is_open_twice: bool
    """Whether a device is open in two jobs."""


def task_sets(task: TaskBooks) -> TaskSets:
    """The sets of a task from its lines and its open jobs; a state may only be raised."""
    books = task.books
    open_in = [owned_devices(job) for job in task.jobs]
    is_open = BitMap.union(BitMap(), *open_in)
    planned = books.of("planned") | is_open
    booked = {state: books.of("state", state) for state in State}
    booked[State.OPEN] = is_open
    booked[State.SENT] = booked[State.SENT] | (books.of("confirmed") & planned)
    states: dict[State, BitMap] = {}
    taken = BitMap()
    for state in sorted(State, key=lambda state: -RANK[state]):
        states[state] = booked[state] - taken
        taken |= booked[state]
    reached = books.of("reached")
    failures = books.family("failure")
    return TaskSets(
        planned=planned,
        states=states,
        accounts=books.family("account"),
        failures={key: members & states[State.FAILED] for key, members in failures.items()},
        repeated=books.of("repeated"),
        reached=reached,
        clicked=books.of("clicked"),
        legs=_legs(books, booked[State.IN_DOUBT]),
        # What arrived after all, late or on a second try, is no loss.
        undelivered={key: it - reached for key, it in books.family("undelivered").items()},
        # Of one in doubt it is known only once a receipt says that it was sent.
        shortened=books.of("shortened") & states[State.SENT],
        is_open_twice=sum(map(len, open_in)) != len(is_open),
    )


def _legs(books: Books, doubted: BitMap) -> dict[str, BitMap]:
    """A vendor that tells of a push in doubt had taken it: the device was sent to by this leg.

    Where something else is known of a device, a report adds no leg: phones that were reached over
    a connection report under their vendor's name, too.
    """
    legs = books.family("leg")
    unexplained = doubted - BitMap.union(BitMap(), *legs.values())
    for channel, members in books.family("reported").items():
        explained = members & unexplained
        if explained:
            legs[channel] = legs.get(channel, _NOBODY) | explained
    return legs


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


def ledger(task: TaskBooks) -> Ledger:
    """The counts of a task and whether they add up."""
    sets = task_sets(task)
    accounts = {reason: len(members) for reason, members in sets.accounts.items()}
    with_devices = accounts.pop(WITH_DEVICES, 0)
    states = {state.value: len(members) for state, members in sets.states.items()}
    is_walked = not any(job.queue in {"index", "fanout"} for job in task.jobs)
    return Ledger(
        audience=len(task.audience),
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
        faults=list(_faults(task, sets, is_walked=is_walked)),
    )


def _faults(task: TaskBooks, sets: TaskSets, *, is_walked: bool) -> Iterable[str]:
    parts = list(sets.accounts.values())
    booked = BitMap.union(BitMap(), *parts)
    if sum(map(len, parts)) != len(booked):
        yield "an account is booked twice"
    if booked - task.audience:
        yield f"{len(booked - task.audience)} accounts outside the audience are booked"
    if is_walked and task.audience - booked:
        yield f"{len(task.audience - booked)} accounts of the audience are not booked"
    states = sum(map(len, sets.states.values()))
    if states != len(sets.planned):
        yield f"{len(sets.planned)} devices planned, {states} accounted for"
    if sets.is_open_twice:
        yield "a device is open in two jobs"
    if task.task.ended_at is not None and sets.states[State.OPEN]:
        yield f"the task has ended with {len(sets.states[State.OPEN])} devices open"


def merge_blocks(blocks: Sequence[Block]) -> list[Block]:
    """Fewer blocks that say the same: one per (kind, state, channel, code, minute)."""
    merged: dict[tuple[str, ...], list[Block]] = {}
    for block in blocks:
        minute = str(int(block.at // 60))
        key = (block.kind, block.state, block.channel, block.code, block.info, minute)
        merged.setdefault(key, []).append(block)
    return [_merged(each) for each in merged.values()]


def _merged(blocks: Sequence[Block]) -> Block:
    first = blocks[0]
    members = BitMap.union(*(BitMap.deserialize(block.members) for block in blocks))
    return Block(
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
