"""What the demo read when its pushes had ended, arranged for the checks.

The checks compare the service's books with the vendors' logs, the devices' memory and the demo's
own lists. No check relies on the service's own judgement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tocsin.demo.world import PlannedPush, World

NAMED_MAX = 3
"""Names of a wrong set that a failed check prints."""
TAKING_BACK = ("delete", "revoke")
"""Push types of requests that withdraw a push instead of bringing one."""
PUTTING_OFF = ("status", "vendor_code")
"""Faults that are an answer instead of the vendor's own."""
_DEVICE_NAME = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NOBODY = re.compile(r".*0{20}=?")
"""The token of a push to nobody, with which the service probes a vendor: no device's ends so."""
_LIST_NAME = re.compile(r"[0-9a-f]+-([0-9a-f]+)-[0-9a-f]{16}")


class FailedCheck(Struct, frozen=True):
    """One check that failed."""

    check: str
    """Its name in the verdict: `ledger`, `audience`, `vendor log`, …"""
    where: str
    """The push it failed for, if any."""
    problem: str

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        return f"{self.check}{where}: {self.problem}"


class LogLine(Struct, frozen=True, kw_only=True):
    """One device of one request, as a vendor's server saw it."""

    sequence: int
    request: int
    at: float
    vendor: str
    token: str
    correlation: str = ""
    """The service's id of the delivery."""
    collapse: str = ""
    push_type: str = ""
    reason: str = ""
    accepted: bool = True
    fault: str = ""
    """The fault that the sandbox injected."""

    @property
    def is_push(self) -> bool:
        """Whether the request delivers a push; else it withdraws one."""
        return self.push_type not in TAKING_BACK

    @property
    def is_put_off(self) -> bool:
        """Whether the vendor said "later" before it looked at the push."""
        return self.fault in PUTTING_OFF

    @property
    def is_to_nobody(self) -> bool:
        """Whether the request only probes the route to the vendor, and reaches no device.

        Where the vendor has test pushes, a probe names no token.
        """
        is_trial = not self.token and not self.is_put_off
        return not self.accepted and (is_trial or _NOBODY.fullmatch(self.token) is not None)

    @property
    def task(self) -> int | None:
        """The number of the push in the correlation id; None where there is none."""
        for form in (_DEVICE_NAME, _LIST_NAME):
            match = form.fullmatch(self.correlation)
            if match is not None:
                return int(match[1], 16)
        return None

    @property
    def names_device(self) -> bool:
        """Whether the correlation id is of one device's delivery, and not of a list."""
        return _DEVICE_NAME.fullmatch(self.correlation) is not None


class Evidence(Struct, kw_only=True):
    """Everything read about one push after it ended."""

    plan: PlannedPush
    number: int
    """The number of the push in the vendors' logs."""
    ledger: dict[str, Any]
    audience: list[str]
    states: dict[str, set[str]]
    """State to RegistrationIDs."""
    legs: dict[str, set[str]]
    """Channel to the RegistrationIDs that the push was sent to by it."""
    failures: dict[str, set[str]]
    """`vendor code` to the RegistrationIDs that the vendor refused with this code."""
    undelivered: dict[str, set[str]]
    """`vendor code` of receipts to the RegistrationIDs that they report as lost."""
    reached: set[str]
    clicked: set[str]
    repeated: set[str]
    overwrite: Evidence | None = None
    """The push that replaced this one's notifications, for the recalled one."""

    def of_vendor(self, parts: Mapping[str, set[str]], vendor: str) -> set[str]:
        """The members of all parts whose key begins with the vendor's name."""
        sets = (members for key, members in parts.items() if key.split()[0] == vendor)
        return set().union(*sets)


class Logs(Struct, kw_only=True):
    """The vendors' logs and their receipts."""

    lines: list[LogLine]
    counts: dict[str, Any]
    """The sandbox's own totals."""
    receipts: dict[str, Any]
    """The sandbox's totals of the receipts that it posted."""


class VendorView(Struct):
    """One vendor's log of one push: every line with its device."""

    lines: list[tuple[str, LogLine]] = []

    @property
    def accepted(self) -> Counter[str]:
        """How often the vendor took the push for each device."""
        return Counter(name for name, line in self.lines if line.accepted)

    @property
    def refused(self) -> dict[str, str]:
        """The devices that the vendor refused for good, with its reason."""
        taken = self.accepted
        return {
            name: line.reason
            for name, line in self.lines
            if not line.accepted and not line.is_put_off and name not in taken
        }

    @property
    def requests(self) -> dict[int, list[str]]:
        """The devices of each request that the vendor did not put off, in order."""
        requests: dict[int, list[str]] = {}
        for name, line in self.lines:
            if not line.is_put_off:
                requests.setdefault(line.request, []).append(name)
        return requests


class Case(Struct, kw_only=True):
    """All the evidence, arranged for the checks."""

    world: World
    pushes: list[Evidence]
    """Each overwrite follows the push that it replaced."""
    logs: Logs
    dropped: frozenset[str]
    """Devices that have no token any more, according to the service."""
    said: dict[str, frozenset[str]]
    """Title of a push to the devices that reported its arrival."""
    owners: dict[tuple[str, str], str]
    """(vendor, token) to RegistrationID."""
    views: dict[tuple[int, str], VendorView]
    """(number of a push, vendor) to that vendor's log of the push."""

    @property
    def vendors(self) -> list[str]:
        """All vendors, in order."""
        return sorted(self.world.vendors)

    def view(self, push: Evidence, vendor: str) -> VendorView:
        """A vendor's log of a push, which may be empty."""
        return self.views.get((push.number, vendor), VendorView())

    def each_view(self) -> Iterator[tuple[Evidence, str, VendorView]]:
        """Every push at every vendor."""
        for push in self.pushes:
            for vendor in self.vendors:
                yield push, vendor, self.view(push, vendor)

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
    """The evidence, with the vendors' lines sorted by the push that their ids name."""
    owners = world.owners()
    # The token of one of our devices may look like that of a probe.
    lines = [it for it in logs.lines if (it.vendor, it.token) in owners or not it.is_to_nobody]
    logs = msgspec.structs.replace(logs, lines=lines)
    views: dict[tuple[int, str], VendorView] = {}
    for line in logs.lines:
        name = owners.get((line.vendor, line.token))
        if name is not None and line.task is not None and line.is_push:
            view = views.setdefault((line.task, line.vendor), VendorView([]))
            view.lines.append((name, line))
    return Case(
        world=world,
        pushes=[it for one in evidence for it in (one, one.overwrite) if it is not None],
        logs=logs,
        dropped=frozenset(dropped),
        said={title: frozenset(names) for title, names in said.items()},
        owners=owners,
        views=views,
    )


def some(names: Collection[str]) -> str:
    """The size of a set and a few of its members."""
    few = ", ".join(sorted(names)[:NAMED_MAX])
    more = ", …" if len(names) > NAMED_MAX else ""
    return f"{len(names)} ({few}{more})"
