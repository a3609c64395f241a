"""What was read when the demo was over, and what a check makes of it.

The service's books stand on one side; on the other the vendors' log, the devices' own memory and
the demo's lists. Nothing here asks the service whether it is right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.demo.world import Act, World

NAMED_MAX = 3
"""Members of a wrong set that a finding spells out."""
TAKING_BACK = ("delete", "revoke")
"""Push types of requests that withdraw a push instead of bringing one."""
PUTTING_OFF = ("status", "vendor_code")
"""Faults that are an answer instead of the vendor's own."""
_DEVICE_NAME = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NOBODY = re.compile(r".*0{20}=?")
"""What the service sends to where it asks a vendor with a push to nobody: no token ends so."""
_LIST_NAME = re.compile(r"[0-9a-f]+-([0-9a-f]+)-[0-9a-f]{16}")


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


class LogLine(Struct, frozen=True, kw_only=True):
    """One device of one request, as a vendor's server saw it."""

    sequence: int
    request: int
    at: float
    vendor: str
    token: str
    correlation: str = ""
    """The service's own name of the push."""
    collapse: str = ""
    push_type: str = ""
    reason: str = ""
    accepted: bool = True
    fault: str = ""
    """What was done amiss on purpose."""

    @property
    def is_push(self) -> bool:
        """Whether it brings a push, instead of withdrawing one."""
        return self.push_type not in TAKING_BACK

    @property
    def is_put_off(self) -> bool:
        """Whether the vendor said "later" before it had looked at the push."""
        return self.fault in PUTTING_OFF

    @property
    def is_to_nobody(self) -> bool:
        """Whether it only asks the vendor whether the way to it carries, and reaches no device.

        Where the vendor offers a trial instead, it names no token.
        """
        is_trial = not self.token and not self.is_put_off
        return not self.accepted and (is_trial or _NOBODY.fullmatch(self.token) is not None)

    @property
    def task(self) -> int | None:
        """The number of the push that it names; None where it names none."""
        for form in (_DEVICE_NAME, _LIST_NAME):
            found = form.fullmatch(self.correlation)
            if found is not None:
                return int(found[1], 16)
        return None

    @property
    def names_device(self) -> bool:
        """Whether the name is that of one device's delivery, and not of a whole list."""
        return _DEVICE_NAME.fullmatch(self.correlation) is not None


class Evidence(Struct, kw_only=True):
    """Everything read about one push after it ended."""

    act: Act
    number: int
    """Under which the vendors know it."""
    ledger: dict[str, Any]
    audience: list[str]
    states: dict[str, set[str]]
    """State to RegistrationIDs."""
    legs: dict[str, set[str]]
    """Channel to the RegistrationIDs it was sent to."""
    failures: dict[str, set[str]]
    """`vendor code` to the RegistrationIDs that the vendor refused for it."""
    undelivered: dict[str, set[str]]
    """`vendor code` of a receipt to the RegistrationIDs that it told as lost."""
    reached: set[str]
    clicked: set[str]
    repeated: set[str]
    overwrite: Evidence | None = None
    """The push that replaced this one's notifications, for the recalled one."""

    def of_vendor(self, parts: Mapping[str, set[str]], vendor: str) -> set[str]:
        """The members of all parts whose key begins with the vendor's name."""
        theirs = (members for key, members in parts.items() if key.split()[0] == vendor)
        return set().union(*theirs)


class Logs(Struct, kw_only=True):
    """What the vendors saw and posted."""

    lines: list[LogLine]
    counts: dict[str, Any]
    """The sandbox's own totals."""
    receipts: dict[str, Any]
    """Its totals of the receipts that it posted."""


class Sight(Struct):
    """What one vendor saw of one push: every line with the device that it is about."""

    lines: list[tuple[str, LogLine]] = []

    @property
    def accepted(self) -> Counter[str]:
        """How often it took the push for each device."""
        return Counter(name for name, line in self.lines if line.accepted)

    @property
    def refused(self) -> dict[str, str]:
        """The devices that it refused for good, and its reason."""
        taken = self.accepted
        return {
            name: line.reason
            for name, line in self.lines
            if not line.accepted and not line.is_put_off and name not in taken
        }

    @property
    def requests(self) -> dict[int, list[str]]:
        """The devices of each request that it looked at, in order."""
        found: dict[int, list[str]] = {}
        for name, line in self.lines:
            if not line.is_put_off:
                found.setdefault(line.request, []).append(name)
        return found


class Case(Struct, kw_only=True):
    """All the evidence, arranged for the checks."""

    world: World
    pushes: list[Evidence]
    """Overwrites stand behind the push that they replaced."""
    logs: Logs
    dropped: frozenset[str]
    """Devices that have no token any more, by the service's word."""
    said: dict[str, frozenset[str]]
    """Title of a push to the devices that said themselves that it arrived."""
    owners: dict[tuple[str, str], str]
    """(vendor, token) to RegistrationID."""
    sights: dict[tuple[int, str], Sight]
    """(number of a push, vendor) to what that vendor saw of it."""

    @property
    def vendors(self) -> list[str]:
        """All vendors, in order."""
        return sorted(self.world.vendors)

    def sight(self, push: Evidence, vendor: str) -> Sight:
        """What a vendor saw of a push, which may be nothing."""
        return self.sights.get((push.number, vendor), Sight())

    def each_sight(self) -> Iterator[tuple[Evidence, str, Sight]]:
        """Every push at every vendor."""
        for push in self.pushes:
            for vendor in self.vendors:
                yield push, vendor, self.sight(push, vendor)

    def theirs(self, vendor: str) -> frozenset[str]:
        """The devices that a vendor reaches."""
        return frozenset(name for (its, _), name in self.owners.items() if its == vendor)


def arrange(
    world: World,
    evidence: Iterable[Evidence],
    logs: Logs,
    *,
    dropped: Iterable[str],
    said: Mapping[str, Iterable[str]],
) -> Case:
    """The evidence with the vendors' lines sorted by the push that they name themselves."""
    owners = world.owners()
    # The token of a device of ours may look like nobody's.
    lines = [it for it in logs.lines if (it.vendor, it.token) in owners or not it.is_to_nobody]
    logs = msgspec.structs.replace(logs, lines=lines)
    sights: dict[tuple[int, str], Sight] = {}
    for line in logs.lines:
        name = owners.get((line.vendor, line.token))
        if name is not None and line.task is not None and line.is_push:
            sight = sights.setdefault((line.task, line.vendor), Sight([]))
            sight.lines.append((name, line))
    return Case(
        world=world,
        pushes=[it for one in evidence for it in (one, one.overwrite) if it is not None],
        logs=logs,
        dropped=frozenset(dropped),
        said={title: frozenset(names) for title, names in said.items()},
        owners=owners,
        sights=sights,
    )


def some(names: Collection[str]) -> str:
    """The size of a set and a few of its members."""
    few = ", ".join(sorted(names)[:NAMED_MAX])
    more = ", …" if len(names) > NAMED_MAX else ""
    return f"{len(names)} ({few}{more})"
