"""What a driver works with, and one batch under way."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tocsin.channels.authority import AuthorityShelf
from tocsin.channels.way import Way
from tocsin.clock import Chance, Clock
from tocsin.conversation import Authority, Batch
from tocsin.metrics import Metrics
from tocsin.ports import Gate, Http

WINDOW_S = 0.25
"""What a batch may wait for its pace in all; the rest goes back to the queue."""


class Tools(Struct, frozen=True):
    """What a driver works with; the same for all drivers."""

    http: Http
    clock: Clock
    chance: Chance
    metrics: Metrics
    scale: float = 1.0
    """Factor on the waits of breakers and probes; below 1 only for tests on real sockets."""
    shelf: AuthorityShelf = msgspec.field(default_factory=AuthorityShelf)


class Turn(Struct):
    """One batch under way."""

    batch: Batch
    gate: Gate
    patience_s: float = WINDOW_S
    is_probe: bool = False
    """Whether it is the push to nobody that asks whether the way carries."""


class Begun(Struct, frozen=True):
    """Leave to send one request now."""

    authority: Authority
    way: Way
    is_probe: bool
