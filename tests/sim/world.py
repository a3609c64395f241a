"""A whole service in one process on the memory store, a manual clock and one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pyroaring import BitMap

from tests.sim.threads import work_at_once
from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tests.task_books import WholeBooks, read_books
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.snapshots import MemorySnapshots
from tocsin.clock import Chance, ManualClock
from tocsin.domain.account import Profile, change_tags, import_accounts, with_tags_added
from tocsin.domain.app import App
from tocsin.domain.audience import Condition
from tocsin.domain.books import Ledger, TaskSets
from tocsin.domain.device import Registered, Registration, Route, register
from tocsin.domain.hello import DeviceFacts
from tocsin.domain.message import Message
from tocsin.domain.task import Report, Stage, Task
from tocsin.errors import StoreError
from tocsin.metrics import Metrics
from tocsin.pipeline.accept import Accepting, PushAsk
from tocsin.pipeline.dispatch import Dispatcher, Pace
from tocsin.pipeline.index import Indexer
from tocsin.pipeline.work import Tools

APP = 1_400_000_001


class Sockets:
    """A `Presence` whose devices ack when the world says so."""

    def __init__(self, store: MemoryStore, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock
        self.online = BitMap()
        self.acks = True
        self.written: list[tuple[int, int]] = []
        self.revoked: list[str] = []

    def connected(self, app: int) -> BitMap:
        return self.online

    async def push(self, task: Task, language: int, devices: Sequence[int]) -> BitMap:
        reached = BitMap(devices) & self.online
        self.written.extend((task.number, device) for device in reached)
        stages = [Stage.SENT, Stage.REACHED] if self.acks else [Stage.SENT]
        now = int(self._clock.now())
        members = reached.serialize()
        reports = [
            Report(task=task.number, stage=stage, channel="online", at=now, members=members)
            for stage in stages
        ]
        if reached:
            await self._store.append_reports(task.app, reports)
        return reached

    async def revoke(self, task: Task) -> None:
        self.revoked.append(task.task_id)


class World:
    """Accounts, devices, dispatchers and a vendor; time passes by `run`."""

    def __init__(
        self,
        seed: int = 1,
        *,
        trouble: Trouble | None = None,
        replaces: bool = True,
        lease_s: float = 30.0,
        clock: ManualClock | None = None,
        past: World | None = None,
        store: type[MemoryStore] = MemoryStore,
    ) -> None:
        """`past` is the world of which this one is a backup that was put back: the vendor, who
        knows nothing of that, is the same, and the store holds what it holds now.
        """
        self.clock: ManualClock = past.clock if past else clock or ManualClock()
        self.chance = Chance(seed)
        self.fault_after: int | None = None
        self.writes = 0
        self.store: MemoryStore = (
            past.store.copied(self.clock) if past else store(self.clock, self._fault)
        )
        self.bus = LocalBus()
        self.vendor: Vendor = (
            past.vendor if past else Vendor(self.clock, Chance(seed + 1), trouble or Trouble())
        )
        self.channels = OneChannel(PlainChannel(self.vendor, replaces=replaces))
        self.sockets = Sockets(self.store, self.clock)
        self.snapshots = MemorySnapshots()
        self.indexer = Indexer(self.store, self.snapshots)
        self.accepting = Accepting(
            self.store,
            self.bus,
            self.sockets,
            self.channels,
            clock=self.clock,
            chance=Chance(seed + 2),
            metrics=Metrics(),
        )
        self.app = App(
            sdkappid=APP, key=b"", appkey=b"", admins=("admin",), profile="unlimited", ack_s=2
        )
        self.pace = Pace(lease_s=lease_s, poll_s=0.25)
        self.dispatchers: list[Dispatcher] = []
        """Those hired so far, ended ones too."""
        self._workers: list[asyncio.Task[None]] = []
        self._hired = 0
        self._random = 0

    def _fault(self, verb: str) -> None:
        self.writes += 1
        if self.fault_after is not None and self.writes > self.fault_after:
            raise StoreError("planted")

    async def open(self) -> World:
        work_at_once()
        await self.store.update_app(APP, lambda _: self.app)
        return self

    def hire(self) -> int:
        """Start a dispatcher; answers its place in the list of workers."""
        self._hired += 1
        tools = Tools(
            store=self.store,
            channels=self.channels,
            presence=self.sockets,
            clock=self.clock,
            chance=Chance(self._hired),
            indexer=self.indexer,
            metrics=Metrics(),
            correlation_key=b"k" * 32,
        )
        worker = Dispatcher(f"worker-{self._hired}", tools, self.bus, self.pace)
        self.dispatchers.append(worker)
        self._workers.append(asyncio.create_task(worker.run()))
        return len(self._workers) - 1

    async def kill(self, place: int) -> None:
        """End a worker as a crash would: nothing of what it had under way is settled."""
        worker = self._workers[place]
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def stop(self, place: int, drain_s: float, step_s: float = 0.05) -> float:
        """Stop a worker in good order; answers how long that took."""
        told_at = self.clock.now()
        self.dispatchers[place].stop(drain_s)
        while not self._workers[place].done():
            await self.clock.advance(step_s)
        await self._workers[place]
        return self.clock.now() - told_at

    async def close(self) -> None:
        for place in range(len(self._workers)):
            await self.kill(place)

    async def run(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step_s)):
            await self.clock.advance(step_s)

    async def people(self, count: int, *, with_token: bool = True) -> list[str]:
        """Import accounts `u1`…, each with one device."""
        names = [f"u{number}" for number in range(1, count + 1)]
        profiles = [Profile(name) for name in names]
        decide = import_accounts(profiles, self.clock.now())
        await self.store.update_accounts(APP, names, [], decide)
        for name in names:
            await self.device(name, f"token-{name}" if with_token else None)
        return names

    async def device(self, user: str, token: str | None, registration: str = "") -> Registered:
        registration = registration or f"R-{user}"
        route = Route("apns", 1, token) if token else None
        ask = Registration(
            registration_id=registration,
            secret="s",
            fresh_secret="s",
            user=user,
            route=route,
            facts=DeviceFacts(language="en"),
        )
        decide = register(ask, self.clock.now())
        done = await self.store.update_device(APP, registration, user, route, decide)
        assert isinstance(done, Registered)
        return done

    async def tag(self, names: Sequence[str], *tags: str) -> None:
        decide = change_tags([(name, tags) for name in names], with_tags_added)
        keys = [("tag", tag) for tag in tags]
        assert await self.store.update_accounts(APP, names, keys, decide) == []

    async def push(self, condition: Condition | None = None, **message: object) -> Task:
        """A push to everyone, or to a condition."""
        self._random += 1
        ask = PushAsk(
            kind="push",
            identifier="admin",
            msg_random=self._random,
            message=Message(**{"title": "t", "desc": "d", **message}),  # type: ignore[arg-type]
            condition=condition or Condition(),
        )
        accepted = await self.accepting.push(self.app, ask)
        return await self.task(accepted.task_id)

    async def batch(self, names: Sequence[str], **message: object) -> Task:
        self._random += 1
        ask = PushAsk(
            kind="batch",
            identifier="admin",
            msg_random=self._random,
            message=Message(**{"title": "t", "desc": "d", **message}),  # type: ignore[arg-type]
            accounts=tuple(names),
        )
        accepted = await self.accepting.push(self.app, ask)
        return await self.task(accepted.task_id)

    async def task(self, task_id: str) -> Task:
        task = await self.store.task_by_id(APP, task_id)
        assert task is not None
        return task

    async def books(self, task: Task) -> WholeBooks:
        books = await read_books(self.store, APP, task.number)
        assert books is not None
        return books

    async def ledger(self, task: Task) -> Ledger:
        return (await self.books(task)).ledger

    async def sets(self, task: Task) -> TaskSets:
        return (await self.books(task)).sets
