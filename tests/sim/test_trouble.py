"""Trouble of every kind, length and size: no push is given up before its life ends.

Half of the vendors are in trouble and the other half are neighbours, on the manual clock: the real
pipeline, drivers and vendors' files against the sandbox without sockets. Everything is counted from
the sandbox's log: who was shown the push, how often, and when.

`make trouble` runs the whole product. Without it each trouble of each length meets both halves,
with a number of devices that changes from case to case, and the longest lists meet two of them.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from itertools import product
from typing import Any

import pytest
from msgspec import Struct
from pyroaring import BitMap

from tests.sandbox_keys import keys_folder
from tests.sim.works import APP, NAMES, Works
from tests.unit.channels.kit import kit_of
from tocsin.channels.registry import VENDORS
from tocsin.clock import ManualClock
from tocsin.domain.message import Message
from tocsin.domain.outcome import State
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.log import configure
from tocsin.pipeline.dispatch import Pace
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

IS_WHOLE = "TOCSIN_TROUBLE" in os.environ
SPANS_S = (5, 20, 700)
"""The last is longer than the longest time that any breaker stays open."""
COUNTS = (1, 5, 60, 2000)
MOST = {("503", 700, "a"), ("reset_after", 700, "b")}
"""Where the largest number is tried in the everyday run."""
HALVES = (
    ("apns", "fcm", "huawei", "meizu", "oppo"),
    ("harmony", "honor", "vivo", "webpush", "xiaomi"),
)
LOOK_S = 30
"""So soon the end of an outage is noticed, written out: the setting itself is not its own judge."""
PATIENCE_S = {"throttled": 60}
"""The longest time between two looks at a way, where it is another."""
SLACK_S = 20
"""What the last request needs that began before the trouble ended, and the steps of letting out."""
RETRY_AFTER_S = 40
NEIGHBOUR_S = 1.0
DAY_S = 86_400
POLL = Pace(poll_s=2.0)
"""Whoever pushes gives a hint: only what waits is looked at so seldom."""
MORNING = 10


class Trouble(Struct, frozen=True, kw_only=True):
    """What goes wrong, as rules of the sandbox or as a way out that is missing."""

    name: str
    rules: tuple[dict[str, Any], ...] = ()
    is_unreachable: bool = False
    of_token_service: bool = False
    may_be_taken: bool = False
    """Whether the vendor may have taken a push without our hearing of it."""


TROUBLES = (
    Trouble(name="503", rules=({"kind": "status", "status": 503},)),
    Trouble(name="throttled", rules=({"kind": "status", "status": 429},)),
    Trouble(
        name="retry_after",
        rules=({"kind": "status", "status": 503, "retry_after_s": RETRY_AFTER_S},),
    ),
    Trouble(name="reset_before", rules=({"kind": "reset_before"},)),
    Trouble(name="reset_after", rules=({"kind": "reset_after"},), may_be_taken=True),
    Trouble(name="silence", rules=({"kind": "never"},), may_be_taken=True),
    Trouble(name="not_taken_silence", rules=({"kind": "never", "accepted": False},)),
    Trouble(name="html", rules=({"kind": "html_page"},)),
    Trouble(
        name="token_service", rules=({"kind": "status", "status": 500},), of_token_service=True
    ),
    Trouble(name="no_way_out", is_unreachable=True),
    Trouble(
        name="mixed",
        rules=(
            {"kind": "status", "status": 503, "share": 0.3},
            {"kind": "reset_before", "share": 0.3},
            {"kind": "reset_after", "share": 0.3},
            {"kind": "status", "status": 429, "share": 0.3},
        ),
        may_be_taken=True,
    ),
)


@pytest.fixture
def sandbox() -> Sandbox:
    """One that has seen no message: a vendor shows none twice that has the same name."""
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Ten vendors in trouble have much to tell."""
    configure("critical", json=False, stream=io.StringIO())


def cases() -> list[Any]:
    """Each trouble, span and count, with either half of the vendors in trouble."""
    found = []
    for place, (trouble, span_s) in enumerate(product(TROUBLES, SPANS_S)):
        for number, half in enumerate(HALVES):
            letter = "ab"[number]
            everyday = {COUNTS[(place + number) % 3]}
            if (trouble.name, span_s, letter) in MOST:
                everyday.add(COUNTS[-1])
            for count in COUNTS if IS_WHOLE else sorted(everyday):
                name = f"{trouble.name}-{span_s}s-{count}-{letter}"
                found.append(pytest.param(trouble, span_s, count, half, id=name))
    return found


class Outage:
    """One trouble of half of the vendors, and what came of a push through it."""

    def __init__(self, sandbox: Sandbox, half: tuple[str, ...]) -> None:
        assert isinstance(sandbox.clock, ManualClock)
        self.sandbox = sandbox
        self.clock = sandbox.clock
        self.half = half
        self.neighbours = [name for name in NAMES if name not in half]
        self.works = Works(clock=sandbox.clock, sandbox=sandbox, pace=POLL)

    async def open(self, count: int) -> None:
        await self.clock.advance(until_hour_s(MORNING, self.clock.now(), CHINA_S))
        counts = dict.fromkeys(self.half, count) | dict.fromkeys(self.neighbours, 1)
        await self.works.open(counts)

    def begin(self, trouble: Trouble) -> None:
        for name in self.half:
            if trouble.is_unreachable:
                self.works.http.unreachable.add(name)
            for rule in trouble.rules:
                paths = list(kit_of(find_vendor(name)).authority) or ["*"]
                path = paths[0] if trouble.of_token_service else "*"
                self.sandbox.faults.add(Rule(vendor=name, path=path, **rule))

    def end(self) -> None:
        self.works.http.unreachable.clear()
        self.sandbox.faults.clear()

    async def push(self, names: list[str] | tuple[str, ...], ttl_s: int = DAY_S) -> int:
        accounts = [f"{name}-{i}" for name in names for i in range(len(self.works.devices[name]))]
        return await self.works.push(ttl_s, accounts=tuple(accounts))

    def shown(self, since: float = 0.0) -> Counter[str]:
        """How often each token was shown a push."""
        log = self.sandbox.log.entries()
        return Counter(it.token for it in log if it.accepted and it.at >= since)

    def tokens(self, name: str, members: BitMap | None = None) -> set[str]:
        devices = self.works.devices[name]
        return {
            it.route.token
            for it in devices
            if it.route is not None and (members is None or it.number in members)
        }

    async def replaces(self, name: str) -> bool:
        channel = await self.works.channels.channel(APP, self.works.numbers[name])
        assert channel is not None
        return channel.repeat_replaces(Message(title="t", desc="d"))

    async def neighbours_are_served(self) -> None:
        """A push to the other vendors' devices arrives within a second."""
        since = self.clock.now()
        await self.push(self.neighbours)
        await self.works.go_on(NEIGHBOUR_S)
        shown = self.shown(since)
        for name in self.neighbours:
            assert self.tokens(name) <= shown.keys(), name


def find_vendor(name: str) -> Any:
    return next(vendor for vendor in VENDORS if name == vendor.NAME)


@pytest.mark.evidence(
    "trouble of each kind, length and size: everybody gets the push when it ends, whoever "
    "was shown it twice is in the books, neighbours are served within a second (`make "
    "trouble` runs the whole product)",
    topic="A push outlives every outage",
    planted="the breaker's longest time at ten minutes; pushes to nobody ten minutes apart;"
    " nobody woken; the token service asked every five minutes; repeats not marked",
)
@pytest.mark.parametrize(("trouble", "span_s", "count", "half"), cases())
async def test_when_the_trouble_ends_everybody_gets_the_push(
    sandbox: Sandbox, trouble: Trouble, span_s: int, count: int, half: tuple[str, ...]
) -> None:
    outage = Outage(sandbox, half)
    await outage.open(count)
    outage.begin(trouble)
    task = await outage.push(half)
    await outage.works.go_on(1.0, step_s=0.1)
    await outage.neighbours_are_served()
    await outage.works.go_on(span_s - 2, step_s=1.0)
    outage.end()
    await outage.neighbours_are_served()
    patience_s = PATIENCE_S.get(trouble.name, LOOK_S) + SLACK_S
    if trouble.name in ("retry_after", "mixed"):
        patience_s += RETRY_AFTER_S
    if trouble.may_be_taken or trouble.name in ("reset_before", "not_taken_silence"):
        # The schedule of repeats that had begun before: 30 seconds, 2 and 10 minutes.
        patience_s += 750 if trouble.name == "mixed" else 0
    await outage.works.go_on(patience_s, step_s=1.0)
    ledger, fold = await outage.works.ledger(task), await outage.works.sets(task)
    assert ledger.faults == []
    shown = outage.shown()
    for name in half:
        everybody = BitMap(device.number for device in outage.works.devices[name])
        of_state = {state: members & everybody for state, members in fold.states.items()}
        sent, doubt = of_state.get(State.SENT, BitMap()), of_state.get(State.IN_DOUBT, BitMap())
        twice = {token for token in outage.tokens(name) if shown[token] > 1}
        if await outage.replaces(name) and trouble.name != "mixed":
            assert sent == everybody, name
        else:
            assert sent | doubt == everybody, (name, of_state)
        # Each who was sent the push was shown it, and whoever was shown it twice is in the books.
        assert outage.tokens(name, sent) <= shown.keys(), name
        assert twice <= outage.tokens(name, fold.repeated & everybody), name
        assert max(shown[token] for token in outage.tokens(name)) <= 5
