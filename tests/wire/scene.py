"""A vendor's channel against the sandbox over real sockets: the driver, the client, the vendor.

The oracle is the sandbox's log: a device reported as accepted was accepted exactly once, one in
doubt at most once, and every other one not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
from msgspec import Struct

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import OpenGate, delivery, driver
from tocsin.adapters.http import OutgoingHttp
from tocsin.adapters.http_guard import is_public, look_up
from tocsin.channels.driver import Driver
from tocsin.channels.registry import find
from tocsin.client.sandbox import credential_facts
from tocsin.clock import Clock, SystemClock
from tocsin.conversation import Batch
from tocsin.domain.outcome import Outcome, Receipt
from tocsin.sandbox.devices import State
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

FAST = 1e6
"""Targets a second: the pace is not what is tried."""
LIFE_S = 3600


class Scene(Struct):
    """A sandbox, and the driver of a credential that it told of itself."""

    vendor: str
    sandbox: Sandbox
    driver: Driver

    def token(self, number: int) -> str:
        return self.sandbox.tokens(self.vendor, number, 1)[0]

    def put(self, number: int, state: State) -> None:
        self.sandbox.devices.put(self.vendor, self.token(number), state)

    @contextmanager
    def deadline(self, deadline_s: float | None) -> Iterator[None]:
        """Wait for each answer no longer than this: for those that never come."""
        limits = self.driver._limits
        if deadline_s is not None:
            self.driver._limits = msgspec.structs.replace(limits, deadline_s=deadline_s)
        yield
        self.driver._limits = limits

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": self.vendor, **rule}))

    async def receipts(
        self, numbers: Iterable[int], task: int = 1, **parts: Any
    ) -> Sequence[Receipt]:
        """Deliver to these devices, and hold the receipts against the log."""
        now, mark = self.sandbox.clock.now(), self.sandbox.log.next_sequence()
        own = {"ttl_s": LIFE_S, "expires_at": now + LIFE_S}
        given = tuple(delivery(it, **{**own, "token": self.token(it), **parts}) for it in numbers)
        named = f"7-{task}-0011"
        batch = Batch(app=7, task=task, job=9, deliveries=given, correlation=named)
        receipts = await self.driver.deliver(batch, OpenGate())
        assert [receipt.device for receipt in receipts] == [it.device for it in given]
        entries = self.sandbox.log.entries(after=mark, accepted=True, vendor=self.vendor)
        taken = Counter(entry.token for entry in entries)
        for receipt, one in zip(receipts, given, strict=True):
            count = taken[one.token]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1, receipt
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts

    async def send(self, numbers: Iterable[int], task: int = 1, **parts: Any) -> Counter[Outcome]:
        """What became of these devices, counted."""
        receipts = await self.receipts(numbers, task, **parts)
        return Counter(receipt.outcome for receipt in receipts)


@asynccontextmanager
async def scene(
    vendor: str,
    told: Struct | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    deadline_s: float = PATIENCE_S,
    **record: Any,
) -> AsyncIterator[Scene]:
    """`told` shapes the sandbox's vendor; `settings` and `record` differ from its credential."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        shaped = SandboxSettings(
            folder=keys_folder(), seed=7, vendors=(told,) if told is not None else ()
        )
        sandbox = await stack.enter_async_context(Sandbox(shaped, clock))
        http = OutgoingHttp(None, look_up, is_public)
        await http.start(stack)
        facts = credential_facts(vendor, sandbox.describe())
        file = find(vendor)
        assert file is not None
        addresses = {name: facts[name] for name in ("origin", "auth_origin", "ca")}
        one = driver(
            file,
            http,
            clock=clock,
            settings=msgspec.convert({**facts["settings"], **(settings or {})}, file.Settings),
            **{**addresses, "rate_per_s": FAST, **record},
        )
        one._limits = msgspec.structs.replace(one._limits, deadline_s=deadline_s)
        stack.push_async_callback(one.close)
        yield Scene(vendor, sandbox, one)
