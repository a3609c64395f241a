"""Legs that have begun: by which channels a device may have been shown a task.

A report counts only for such a leg. So the books are asked for each report, of a push to millions
of devices too: what they said before is kept, and only lines written since are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from pyroaring import BitMap

from tocsin.domain.outcome import State
from tocsin.domain.task import Block, Job, Report, SendBody, Stage

ONLINE = "online"
_BEGUN_STATES = (State.SENT, State.IN_DOUBT)
_MARKS = ("doubted", "repeated")
"""Blocks whose devices an attempt may have reached, whatever became of them since."""


class LegLines(Struct, frozen=True):
    """What the books of a task say of its legs from a position on."""

    position: int
    """That of the newest line; asked with it, the next answer holds only later ones."""
    blocks: Sequence[Block] = ()
    reports: Sequence[Report] = ()
    """Online legs: those of stage sent."""
    jobs: Sequence[Job] = ()
    """Those that have begun and are not settled: of now, whatever the position."""


class Legs(Struct):
    """Devices by the channel of a leg that has begun."""

    members: dict[str, BitMap]

    def has(self, channel: str, device: int) -> bool:
        """Whether a leg to this device over this channel has begun."""
        found = self.members.get(channel)
        return found is not None and device in found

    def channels(self, device: int) -> list[str]:
        """By which channels the device may have been shown the task."""
        return [channel for channel, members in self.members.items() if device in members]

    def add(self, channel: str, members: BitMap) -> None:
        """Take note of more devices."""
        known = self.members.get(channel)
        self.members[channel] = members if known is None else known | members


def written(lines: LegLines) -> Legs:
    """The legs that are written for good: sent, in doubt, or marked as possibly reached."""
    found: dict[str, list[BitMap]] = {}
    for block in lines.blocks:
        if _is_begun(block) and block.channel:
            found.setdefault(block.channel, []).append(BitMap.deserialize(block.members))
    for report in lines.reports:
        if report.stage is Stage.SENT and report.code == "0":
            found.setdefault(report.channel, []).append(BitMap.deserialize(report.members))
    return Legs({channel: BitMap.union(*parts) for channel, parts in found.items()})


def under_way(jobs: Iterable[Job]) -> Legs:
    """The legs of jobs, all of which have begun and are not settled."""
    legs = Legs({})
    for job in jobs:
        if isinstance(job.body, SendBody):
            legs.add(job.body.channel, BitMap(job.body.devices))
    return legs


def choose_channel(channels: Iterable[str], preferred: str) -> str | None:
    """Of the channels that reached a device, the one for a report that names none.

    The device's present one, else a vendor's, else the connection; None where there is none.
    """
    found = set(channels)
    if preferred in found:
        return preferred
    vendors = sorted(found - {ONLINE})
    return vendors[0] if vendors else ONLINE if ONLINE in found else None


def _is_begun(block: Block) -> bool:
    if block.kind == "device":
        return State(block.state) in _BEGUN_STATES
    return block.kind in _MARKS
