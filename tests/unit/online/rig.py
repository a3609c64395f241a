"""A hub on the memory store and a manual clock, with clients that are lists of frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
from pyroaring import BitMap

from tests.task_books import read_books
from tocsin.adapters.bus import LocalBus
from tocsin.adapters.memory import MemoryStore
from tocsin.adapters.vault import AesVault
from tocsin.channels.registry import normal_route
from tocsin.clock import Chance, ManualClock, settle_loop
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App, Credential
from tocsin.domain.books import TaskSets
from tocsin.domain.device import Device
from tocsin.domain.message import Message
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    Body,
    Lane,
    NewJob,
    Phase,
    Stage,
    StepEdit,
    StepWant,
    Task,
)
from tocsin.domain.usersig import sign
from tocsin.errors import StoreError
from tocsin.metrics import Metrics
from tocsin.online.hub import Hub, OnlineConnection, OnlineSettings
from tocsin.online.session import CloseReason
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.register import DEVICE, DoorSettings, Registering

APP = 1_400_000_001
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
APPKEY = "client-key"


class Client:
    """The far end of a line: remembers what it was written."""

    def __init__(self, *, reads: bool = True) -> None:
        self.frames: list[dict[str, Any]] = []
        self.end: CloseReason | None = None
        self._reads = reads

    def write(self, data: bytes) -> bool:
        self.frames.append(msgspec.json.decode(data))
        return self._reads

    def close(self, end: CloseReason) -> None:
        self.end = end

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def shown(self) -> list[str]:
        return [frame["id"] for frame in self.of("push")]


class Rig:
    """One app, its accounts and its hub."""

    def __init__(self, *, per_minute: float = 0, policy: str = "last", own: str = "own-") -> None:
        self.clock = ManualClock()
        self.faults: set[str] = set()
        self.is_held = False
        """Whether nothing may be pushed yet, as after a restore."""
        self.written: list[str] = []
        self.gate: asyncio.Event | None = None
        self.store = MemoryStore(self.clock, self._fault)
        self.bus = LocalBus()
        self.metrics = Metrics()
        self.vault = AesVault(b"k" * 32)
        self.registrar = Registering(
            store=self.store,
            app_secrets=AppSecrets(self.vault),
            bus=self.bus,
            clock=self.clock,
            chance=Chance(1),
            metrics=self.metrics,
            normal_route=normal_route,
            settings=DoorSettings(new_per_minute=per_minute),
        )
        self.hub = self.new_hub()
        self.app = App(
            sdkappid=APP,
            key=self.vault.seal(KEY.encode(), f"{APP}/key"),
            appkey=self.vault.seal(APPKEY.encode(), f"{APP}/appkey"),
            profile="unlimited",
            device_policy="all" if policy == "all" else "last",
            own_registration_ids=own,
        )
        self._tasks = 0

    def _fault(self, verb: str) -> None:
        self.written.append(verb)
        if verb in self.faults:
            raise StoreError("planted")

    def new_hub(self, settings: OnlineSettings | None = None) -> Hub:
        """A hub as after a restart: it knows nothing that is not in the store."""
        hub = Hub(
            store=self.store,
            books=BooksReader(self.store, self.clock),
            registrar=self.registrar,
            clock=self.clock,
            metrics=self.metrics,
            settings=settings,
            is_held=lambda: self.is_held,
        )
        self.bus.subscribe(DEVICE, hub.take_device)
        return hub

    async def open(self, *users: str) -> Rig:
        await self.store.update_app(APP, lambda _: self.app)
        credential = Credential(app=APP, number=1, channel="fcm", settings=b"")
        await self.store.update_credential(APP, 0, lambda _, number: credential)
        profiles = [Profile(name) for name in users]
        await self.store.update_accounts(APP, users, [], import_accounts(profiles, 0))
        return self

    def usersig(self, user: str) -> str:
        return sign(APP, KEY, user, 3600, self.clock.now())

    async def connect(
        self, user: str = "", *, client: Client | None = None, **more: Any
    ) -> tuple[OnlineConnection, Client]:
        """Say hello and wait for what follows from it."""
        client = client or Client()
        line = self.hub.open(client, "10.0.0.1")
        hello: dict[str, object] = {"type": "hello", "sdkappid": APP, **more}
        if user:
            hello |= {"user": user, "usersig": self.usersig(user)}
        else:
            hello |= {"appkey": APPKEY}
        await self.hub.take(line, msgspec.json.encode(hello))
        await self.settle()
        return line, client

    async def again(
        self, line: OnlineConnection, user: str | None = None, **more: Any
    ) -> tuple[OnlineConnection, Client]:
        """The same device anew."""
        device = self.device(line)
        name = device.user_name if user is None else user
        proof: dict[str, Any] = {"registration_id": device.registration_id, "secret": line.secret}
        return await self.connect(name, **proof, **more)

    async def say(self, line: OnlineConnection, **frame: object) -> None:
        await self.hub.take(line, msgspec.json.encode(frame))
        await self.settle()

    async def settle(self) -> None:
        await settle_loop(60)

    def device(self, line: OnlineConnection) -> Device:
        assert line.device is not None
        return line.device

    async def task(
        self,
        audience: Iterable[int],
        *,
        planned: Iterable[int] = (),
        jobs: Iterable[tuple[str, Body]] = (),
        ttl_s: int = 3600,
        message: Message | None = None,
    ) -> Task:
        """A task that has been fanned out to these jobs."""
        self._tasks += 1
        number = self._tasks

        def decide(view: AcceptView) -> AcceptEdit:
            task = Task(
                app=APP,
                number=view.next_task,
                task_id=f"task_{number}",
                kind="batch",
                sender="admin",
                message=message or Message(title="t", desc="d"),
                accepted_at=self.clock.now(),
                ttl_s=ttl_s,
                expires_at=self.clock.now() + (ttl_s or 60),
                phase=Phase.RUNNING,
            )
            rows = [
                NewJob(task=task.number, queue=queue, lane=Lane.URGENT, body=body)
                for queue, body in jobs
            ]
            frozen = BitMap(audience).serialize()
            return AcceptEdit(task=task, audience=frozen, jobs=rows, use=PushUse(), result=task)

        task = await self.store.accept(APP, f"d{number}", [], decide)
        assert isinstance(task, Task)
        if jobs:
            await self.block(task, "planned", "", planned)
        return task

    async def block(
        self, task: Task, kind: str, state: str, members: Iterable[int], channel: str = ""
    ) -> None:
        """Write one line of the books through the task's first job."""
        books = await read_books(self.store, APP, task.number)
        assert books is not None
        queue = books.jobs[0].queue
        leased = await self.store.lease(
            APP, queue, Lane.URGENT, lessee="rig", limit=100, lease_s=0.001
        )
        job = next(it for it in leased if it.task == task.number)
        block = Block(
            task=task.number,
            job=job.number,
            at=self.clock.now(),
            kind=kind,  # type: ignore[arg-type]
            state=state,
            channel=channel,
            members=BitMap(members).serialize(),
        )
        await self.store.step(APP, job, StepWant(), lambda _: StepEdit(blocks=[block]))
        await self.clock.advance(0.01)

    async def sets(self, task: Task) -> TaskSets:
        books = await read_books(self.store, APP, task.number)
        assert books is not None
        return books.sets

    async def booked(self, task: Task, stage: Stage) -> set[int]:
        books = await read_books(self.store, APP, task.number)
        assert books is not None
        found = BitMap()
        for report in books.reports:
            if report.stage is stage:
                found |= BitMap.deserialize(report.members)
        return set(found)
