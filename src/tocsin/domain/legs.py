"""Legs that have begun: by which channels a device may have been shown a task."""

from __future__ import annotations

from collections.abc import Iterable

from pyroaring import BitMap

from tocsin.domain.task import Job, SendBody

ONLINE = "online"


def under_way(jobs: Iterable[Job]) -> dict[str, BitMap]:
    """The devices of jobs that have begun and are not settled, by channel."""
    parts: dict[str, list[BitMap]] = {}
    for job in jobs:
        if isinstance(job.body, SendBody) and job.begun_at is not None:
            parts.setdefault(job.body.channel, []).append(BitMap(job.body.devices))
    return {channel: BitMap.union(*each) for channel, each in parts.items()}


def choose_channel(channels: Iterable[str], preferred: str) -> str | None:
    """Of the channels that reached a device, the one for a report that names none.

    The device's present one, else a vendor's, else the connection; None where there is none.
    """
    reached = set(channels)
    if preferred in reached:
        return preferred
    vendors = sorted(reached - {ONLINE})
    return vendors[0] if vendors else ONLINE if ONLINE in reached else None
