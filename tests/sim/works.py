"""A service whose vendors are the sandbox's, without sockets and on the manual clock.

The real pipeline, drivers, vendors' files and receipt doors; only the wire is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.routing import Router

from tests.direct import DirectHttp, facts_of
from tests.sandbox_keys import keys_folder
from tests.sim.threads import work_at_once
from tests.sim.world import Sockets
from tests.task_books import WholeBooks, read_books
from tests.unit.api.world import ask
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.adapters.vault import AesVault
from tocsin.api.operator import OperatorService
from tocsin.api.receipts import ReceiptPages
from tocsin.channels import batch_run
from tocsin.channels.credentials import VendorChannels
from tocsin.channels.registry import VENDORS, find, normal_route
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.books import Ledger, TaskSets
from tocsin.domain.device import Device, Registered, Registration, Route, register
from tocsin.domain.message import Message
from tocsin.metrics import Metrics
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.receipts import Receiving
from tocsin.pipeline.work import Tools
from tocsin.sandbox.receipts import PATH, ReceiptSettings
from tocsin.sandbox.server import Sandbox, SandboxSettings

APP = 7
NAMES = [vendor.NAME for vendor in VENDORS]
KEY = bytes(32)
PACE = Pace()
STEP_S = 0.05
URL = "http://127.0.0.1:8080"
"""Where the sandbox's vendors post their receipts to."""


class Doors:
    """The service's doors for receipts, as the `Http` of who posts them."""

    def __init__(self, doors: ReceiptPages) -> None:
        self._app = Router(doors.routes())

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        assert request.origin == URL
        app, method, path = self._app, request.method, request.path
        asked = await ask(app, method, path, raw=request.body, more=request.headers)
        return Response(asked.status, {}, asked.body)


class Works:
    """An app with a credential of each vendor that it is given devices of."""

    def __init__(
        self,
        *,
        latency_s: float = 0.1,
        pace: Pace = PACE,
        clock: ManualClock | None = None,
        sandbox: Sandbox | None = None,
        http: type[DirectHttp] = DirectHttp,
    ) -> None:
        """`sandbox`, which works by `clock`, is shared: to make its keys takes half a second."""
        self.clock = clock or ManualClock()
        self.store = MemoryStore(self.clock)
        self.sandbox = sandbox or Sandbox(SandboxSettings(seed=1, folder=keys_folder()), self.clock)
        self.http = http(self.sandbox, self.clock, latency_s)
        self.metrics, chance, bus = Metrics(), Chance(1), LocalBus()
        self.vault = AesVault(KEY)
        self.operator = OperatorService(self.store, self.vault, self.clock, bus=bus)
        self.numbers: dict[str, int] = {}
        """Certificate IDs by vendor."""
        self.devices: dict[str, list[Device]] = {}
        """By vendor, as they registered; their tokens are the sandbox's, in its order."""
        tools = batch_run.DriverTools(self.http, self.clock, chance, self.metrics)
        self.channels = VendorChannels(self.store, self.vault, tools)
        sockets = Sockets(self.store, self.clock)
        self.accepting = Accepting(
            self.store,
            bus,
            sockets,
            self.channels,
            clock=self.clock,
            chance=chance,
            metrics=self.metrics,
        )
        work = Tools(
            store=self.store,
            channels=self.channels,
            presence=sockets,
            clock=self.clock,
            chance=chance,
            indexer=Indexer(self.store, MemorySnapshots()),
            metrics=self.metrics,
            correlation_key=KEY,
        )
        self._dispatching = ("main", work, bus, pace)
        self.dispatcher = Dispatcher(*self._dispatching)
        receiving = Receiving(
            store=self.store,
            channels=self.channels,
            clock=self.clock,
            metrics=self.metrics,
            normal_route=normal_route,
            correlation_key=KEY,
        )
        self.doors = Doors(ReceiptPages(receiving))
        self.held_most: dict[str, int] = dict.fromkeys(NAMES, 0)
        self._pushes = 0

    async def open(
        self,
        counts: Mapping[str, int],
        *,
        rates: Mapping[str, float] | None = None,
        changed: Mapping[str, dict[str, Any]] | None = None,
        with_receipts: bool = False,
        is_placed: bool = True,
    ) -> Works:
        """Devices by vendor; `rates` of credentials by vendor, and `changed` settings of theirs.

        With `is_placed` each credential says where its vendor is; else it is where tokens lead.
        """
        work_at_once()
        if with_receipts:
            self.sandbox.receipts.settings = ReceiptSettings(url=URL)
        await self.operator.app_add(APP, {"profile": "unlimited", "ttl_s": 3600})
        for name, count in counts.items():
            told = facts_of(name, self.sandbox, **(changed or {}).get(name, {}))
            if with_receipts:
                told["settings"] |= _callback(name)
            if not is_placed:
                told["origin"] = ""
            if rates is not None:
                told["rate_per_s"] = rates[name]
            added = await self.operator.credential_add(APP, told)
            self.numbers[name] = added["number"]
            self.devices[name] = await self._registered(name, added["number"], count)
        return self

    async def _registered(self, vendor: str, credential: int, count: int) -> list[Device]:
        users = [f"{vendor}-{number}" for number in range(count)]
        now = self.clock.now()
        decide = import_accounts([Profile(name) for name in users], now)
        await self.store.update_accounts(APP, users, [], decide)
        tokens = self.sandbox.tokens(vendor, 0, count)
        made = []
        for user, token in zip(users, tokens, strict=True):
            route = Route(vendor, credential, token)
            name = f"R-{user}"
            asked = Registration(registration_id=name, fresh_secret="s", user=user, route=route)
            done = await self.store.update_device(APP, name, user, route, register(asked, now))
            assert isinstance(done, Registered)
            made.append(done.device)
        return made

    async def push(
        self, ttl_s: int | None = None, *, accounts: tuple[str, ...] = (), **message: Any
    ) -> int:
        """Push to these accounts, or to everyone; answers the task's number."""
        app = await self.store.app(APP)
        assert app is not None
        self._pushes += 1
        told = Message(**{"title": "t", "desc": "d", **message})
        asked = PushAsk(
            kind="batch" if accounts else "push",
            identifier="admin",
            msg_random=self._pushes,
            message=told,
            accounts=accounts,
            ttl_s=ttl_s,
        )
        accepted = await self.accepting.push(app, asked)
        task = await self.store.task_by_id(APP, accepted.task_id)
        assert task is not None
        return task.number

    async def go_on(self, span_s: float, step_s: float = STEP_S) -> dict[str, int]:
        """Let so much time pass: what each vendor took since the start."""
        working = [asyncio.create_task(self.dispatcher.run())]
        if self.sandbox.receipts.settings.url:
            working.append(asyncio.create_task(self.sandbox.receipts.run(self.doors)))
        for _ in range(round(span_s / step_s)):
            await self.clock.advance(step_s)
            self._look()
        # What went wrong there must not stay unseen.
        assert not any(task.done() for task in working)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        return dict(self.sandbox.log.counts().accepted_by_vendor)

    async def stop_after(self, span_s: float, drain_s: float, step_s: float = STEP_S) -> float:
        """Let so much time pass and stop in good order; answers how long the stop took.

        Another dispatcher stands ready then, as after a restart.
        """
        working = asyncio.create_task(self.dispatcher.run())
        await self.clock.advance(0.0)
        for _ in range(round(span_s / step_s)):
            await self.clock.advance(step_s)
        told_at = self.clock.now()
        self.dispatcher.stop(drain_s)
        while not working.done():
            await self.clock.advance(step_s)
        await working
        self.dispatcher = Dispatcher(*self._dispatching)
        return self.clock.now() - told_at

    async def books(self, task: int) -> WholeBooks:
        books = await read_books(self.store, APP, task)
        assert books is not None
        return books

    async def ledger(self, task: int) -> Ledger:
        return (await self.books(task)).ledger

    async def sets(self, task: int) -> TaskSets:
        return (await self.books(task)).sets

    async def routed(self, vendor: str) -> set[str]:
        """The tokens of a vendor that are still some device's."""
        asked = [device.route for device in self.devices[vendor] if device.route is not None]
        holders = await self.store.token_owners(APP, asked)
        return {it.token for it, device in zip(asked, holders, strict=True) if device is not None}

    def _look(self) -> None:
        """How many jobs of each vendor are leased now."""
        held = dict.fromkeys(NAMES, 0)
        for slot in self.store._rows_of(APP).jobs.values():
            vendor = slot.job.queue.partition(":")[0]
            if slot.lessee is not None and vendor in held:
                held[vendor] += 1
        self.held_most = {name: max(self.held_most[name], held[name]) for name in NAMES}


def _callback(name: str) -> dict[str, str]:
    """Where its receipts go, for a vendor whose pushes name the address."""
    vendor = find(name)
    assert vendor is not None
    fields = vendor.Settings.__struct_fields__
    # Where a console's id of the address would do as well, the sandbox has given us one.
    is_named = "callback_url" in fields and "callback_id" not in fields
    return {"callback_url": f"{URL}{PATH}{name}"} if is_named else {}
