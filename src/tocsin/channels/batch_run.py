"""The tools of a driver, one run of a batch, and the permit to send one request of it."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tocsin.channels.authority import AuthorityCache
from tocsin.channels.way import Way
from tocsin.clock import Chance, Clock
from tocsin.conversation import Authority, Batch
from tocsin.metrics import Metrics
from tocsin.ports import Gate, Http

WINDOW_S = 0.25
"""The longest wait of a batch for its pace, in all; the rest goes back to the queue."""


class DriverTools(Struct, frozen=True):
    """The HTTP client, clock, chance, metrics and authorities that all drivers share."""

    http: Http
    clock: Clock
    chance: Chance
    metrics: Metrics
    scale: float = 1.0
    """Factor on the waits of breakers and probes; below 1 only for tests on real sockets."""
    authorities: AuthorityCache = msgspec.field(default_factory=AuthorityCache)


class BatchRun(Struct):
    """One run of a batch: the batch, its gate, and how long it may wait for its pace."""

    batch: Batch
    gate: Gate
    patience_s: float = WINDOW_S
    is_probe: bool = False
    """Whether the batch is a push to nobody, which tries whether the way carries."""


class SendPermit(Struct, frozen=True):
    """The permit to send one request now, with the authority to send it with."""

    authority: Authority
    way: Way
    is_probe: bool
