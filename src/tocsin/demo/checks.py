"""What must hold when the demo is over; every rule is plain arithmetic over what was read.

Nothing here asks the service whether it is right: its books, its audiences and its lists are
held against the demo's own lists, the devices' own memory and the vendors' log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tocsin.demo.world import Act

VENDORS = ("apns", "fcm")
NAMED_MAX = 3
"""Members of a wrong set that a finding spells out."""


class Finding(Struct, frozen=True):
    """One check that failed."""

    check: str
    """Its name, as the verdict lists it: `ledger`, `audience`, `vendor log`, …"""
    where: str
    """The push it failed for, if any."""
    what: str

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        return f"{self.check}{where}: {self.what}"


class LogLine(Struct, frozen=True):
    """One push as a vendor's server saw it."""

    sequence: int
    vendor: str
    token: str
    correlation: str
    collapse: str
    accepted: bool


class Evidence(Struct, kw_only=True):
    """Everything read about one push after it ended."""

    act: Act
    ledger: dict[str, Any]
    audience: list[str]
    states: dict[str, set[str]]
    """State to RegistrationIDs."""
    legs: dict[str, set[str]]
    """Channel to the RegistrationIDs it was sent to."""
    repeated: set[str]
    overwrite: Evidence | None = None
    """The push that replaced this one's notifications, for the recalled one."""


def check_ledger(evidence: Evidence) -> Iterable[Finding]:
    """The three ledgers add up, by the service's word and by our own sums."""
    books, where = evidence.ledger, evidence.act.label
    for fault in books["faults"]:
        yield Finding("ledger", where, str(fault))
    without = sum(books["without_device"].values())
    if books["audience"] != without + books["with_devices"]:
        yield Finding(
            "ledger",
            where,
            f"audience {books['audience']}, but {without} without device and "
            f"{books['with_devices']} with devices",
        )
    states = sum(books["states"].values())
    if books["planned"] != states:
        yield Finding("ledger", where, f"{books['planned']} devices planned, {states} in a state")
    failed = books["states"].get("failed", 0)
    by_code = sum(books["failures"].values())
    if by_code < failed:
        yield Finding("ledger", where, f"{failed} devices failed, only {by_code} with a code")
    if books["states"].get("open", 0):
        yield Finding("ledger", where, f"{books['states']['open']} devices open after the end")
    for state, members in evidence.states.items():
        if len(members) != books["states"].get(state, 0):
            yield Finding(
                "ledger",
                where,
                f"{books['states'].get(state, 0)} devices {state}, {len(members)} listed",
            )
    yield from _in_one_state(evidence)


def _in_one_state(evidence: Evidence) -> Iterable[Finding]:
    counted = Counter(name for members in evidence.states.values() for name in members)
    twice = {name for name, count in counted.items() if count > 1}
    if twice:
        yield Finding("ledger", evidence.act.label, f"{_some(twice)} in two states at once")


def check_audience(evidence: Evidence) -> Iterable[Finding]:
    """The frozen audience is what the brute force over our own lists says, and not empty."""
    where, expected = evidence.act.label, evidence.act.expected
    read = Counter(evidence.audience)
    if not read or not expected:
        yield Finding("audience", where, "is empty")
    if evidence.ledger["audience"] != len(expected):
        yield Finding(
            "audience",
            where,
            f"{evidence.ledger['audience']} accounts, brute force says {len(expected)}",
        )
    twice = {name for name, count in read.items() if count > 1}
    for what, names in (
        ("listed twice", twice),
        ("missing", expected - set(read)),
        ("too many", set(read) - expected),
    ):
        if names:
            yield Finding("audience", where, f"{_some(names)} {what}")


def check_recall(evidence: Evidence) -> Iterable[Finding]:
    """The recalled push was stopped in its middle."""
    for state in ("sent", "recalled"):
        if not evidence.ledger["states"].get(state, 0):
            yield Finding("recall", evidence.act.label, f"no device is {state}")


def check_vendor_log(
    evidence: Sequence[Evidence], log: Sequence[LogLine], owners: Mapping[tuple[str, str], str]
) -> Iterable[Finding]:
    """Law 2's oracle: doubles only where the books say so, and books and log name the same."""
    taken = [line for line in log if line.accepted]
    strangers = {line.token for line in taken if (line.vendor, line.token) not in owners}
    if strangers:
        yield Finding("vendor log", "", f"{_some(strangers)}: a token that nobody registered")
    groups = _by_collapse(line for line in taken if (line.vendor, line.token) in owners)
    if len(groups) != len(evidence):
        yield Finding("vendor log", "", f"{len(groups)} collapse ids for {len(evidence)} pushes")
        return
    for one, lines in zip(evidence, groups, strict=True):
        for vendor in VENDORS:
            seen = [line for line in lines if line.vendor == vendor]
            yield from _compare(one, vendor, seen, owners)


def _by_collapse(lines: Iterable[LogLine]) -> list[list[LogLine]]:
    """Lines per collapse id, in the order in which the ids first appear.

    A push begins only after the one before was seen in the log, so this is the order of pushes.
    """
    groups: dict[str, list[LogLine]] = {}
    for line in lines:
        groups.setdefault(line.collapse, []).append(line)
    return list(groups.values())


def _compare(
    evidence: Evidence,
    vendor: str,
    lines: Sequence[LogLine],
    owners: Mapping[tuple[str, str], str],
) -> Iterable[Finding]:
    """A device was accepted as often as the books say it was sent to, under a name each time.

    An overwrite shares the collapse id of what it replaces, so both are compared together. Only
    devices in doubt or repeated may differ: two legs explain a vendor and a socket, never one
    vendor twice.
    """
    pushes = [evidence] if evidence.overwrite is None else [evidence, evidence.overwrite]
    doubt = {name for push in pushes for name in push.repeated}
    doubt |= {name for push in pushes for name in push.states.get("in_doubt", ())}
    booked = Counter(name for push in pushes for name in push.legs.get(vendor, ()))
    counted = Counter(owners[vendor, line.token] for line in lines)
    named = Counter(
        owners[vendor, token] for token, _ in {(it.token, it.correlation) for it in lines}
    )
    sure = (set(booked) | set(counted)) - doubt
    for what, names in (
        (
            f"accepted by {vendor} oftener than booked",
            {it for it in sure if counted[it] > booked[it]},
        ),
        (f"booked as sent, unknown to {vendor}", {it for it in sure if counted[it] < booked[it]}),
        (
            f"accepted by {vendor} twice under one name",
            {it for it in sure if named[it] != counted[it]},
        ),
    ):
        if names:
            yield Finding("vendor log", evidence.act.label, f"{_some(names)} {what}")


def check_sockets(evidence: Evidence, shown: Mapping[str, int]) -> Iterable[Finding]:
    """What the socket devices remember: each push once, and by a vendor too only on two legs.

    `shown` is how often each RegistrationID was shown this push.
    """
    where = evidence.act.label
    twice = {name for name, count in shown.items() if count > 1}
    if twice:
        yield Finding("sockets", where, f"{_some(twice)} shown the push twice")
    by_vendor = {name for vendor in VENDORS for name in evidence.legs.get(vendor, ())}
    both = (set(shown) & by_vendor) - evidence.legs.get("online", set())
    if both:
        yield Finding("sockets", where, f"{_some(both)} shown by socket and vendor, not two legs")


def check_reports(
    evidence: Evidence, reached: Collection[str], clicked: Collection[str]
) -> Iterable[Finding]:
    """Whoever said that the push arrived is booked as sent, and the counts are theirs."""
    where, books = evidence.act.label, evidence.ledger
    lost = set(reached) - evidence.states.get("sent", set())
    if lost:
        yield Finding("reports", where, f"{_some(lost)} said it arrived, but not booked as sent")
    for word, said in (("reached", set(reached)), ("clicked", set(clicked))):
        if books[word] != len(said):
            yield Finding(
                "reports", where, f"{len(said)} devices said {word}, {books[word]} booked"
            )


def check_tags(
    expected: Mapping[str, Sequence[str]], read: Mapping[str, Sequence[str]]
) -> Iterable[Finding]:
    """get_tag answers each account's tags, in the order first added."""
    wrong = {name for name, tags in expected.items() if list(read.get(name, ())) != list(tags)}
    if wrong:
        yield Finding("tags", "", f"{_some(wrong)} read back differently")


def _some(names: Collection[str]) -> str:
    """The size of a set and a few of its members."""
    few = ", ".join(sorted(names)[:NAMED_MAX])
    more = ", …" if len(names) > NAMED_MAX else ""
    return f"{len(names)} ({few}{more})"
