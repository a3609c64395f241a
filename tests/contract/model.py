"""Random steps that can be run on any store, so that two stores can be compared answer by answer.

An operation is a name and a seed; everything else is drawn from the seed, the same for each
store. What an operation yields is its answer or its refusal, and the view its decision was shown.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from pyroaring import BitMap

from tests.contract.rows import NOW, add_app, new_job, new_task
from tests.task_books import acked, read_books
from tocsin.clock import ManualClock
from tocsin.domain.account import (
    TAG,
    AccountsEdit,
    AccountsView,
    Profile,
    Term,
    change_tags,
    delete_accounts,
    import_accounts,
    kick_account,
    remove_attrs,
    set_attrs,
    with_tags_added,
    with_tags_removed,
    with_tags_replaced,
)
from tocsin.domain.app import App, Credential, begin_removal
from tocsin.domain.books import merge_blocks
from tocsin.domain.device import Registration, Route, register, unregister
from tocsin.domain.device_index import DeviceChanges
from tocsin.domain.outcome import State
from tocsin.domain.quota import PushUse
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    FanoutBody,
    Job,
    Lane,
    NewJob,
    RecallEdit,
    RecallView,
    Report,
    SendBody,
    Stage,
    StepEdit,
    StepView,
    StepWant,
    end,
)
from tocsin.errors import CallError, Stale
from tocsin.store import Store

APPS = (1, 2, 3)
"""Nobody adds the third."""
NAMES = ("ann", "bob", "cid", "d\0d", "é€😀", "phone", "pad", "it's")
USERS = NAMES[:5]
TAGS = ("red", "blue", "g\0", '"q"', "{}")
TOKENS = ("t1", "t2", "t3")
QUEUES = ("apns:1", "fcm:2", "fanout", "online")
HOLDERS = ("me", "you")

V = TypeVar("V")
Outcome = tuple[str, Any]


class Player:
    """Plays operations on one store and remembers what it was given."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.leased: list[Job] = []
        self.seen: list[Any] = []

    async def begin(self) -> None:
        for app in APPS[:2]:
            await add_app(self.store, app, attr_names={"0": "sex"}, attr_types={"0": 0})

    async def play(self, name: str, seed: int) -> tuple[Outcome, list[Any]]:
        """The answer or the refusal, and the views that were shown."""
        self.seen = []
        rng = random.Random(seed)
        play: Callable[[random.Random], Awaitable[Any]] = getattr(self, f"_{name}")
        try:
            outcome = ("answer", await play(rng))
        except CallError as refused:
            outcome = ("refused", refused.code)
        except (Stale, AssertionError) as refused:
            outcome = ("refused", type(refused).__name__)
        return outcome, self.seen

    def _look(self, decide: Callable[[V], Any]) -> Callable[[V], Any]:
        def looking(view: V) -> Any:
            self.seen.append(view)
            return decide(view)

        return looking

    async def _accounts(
        self, rng: random.Random, names: list[str], decide: Callable[[AccountsView], AccountsEdit]
    ) -> Any:
        keys = [(TAG, tag) for tag in TAGS] + [("attr0", value) for value in "mf"]
        return await self.store.update_accounts(_app(rng), names, keys, self._look(decide))

    async def _remove(self, rng: random.Random) -> Any:
        """Remove an app, most of it in one go, and add it again."""
        app = rng.choice(APPS)
        if rng.random() < 0.5:
            return await self.store.remove_rows(app, 50)
        await self.store.update_app(app, _removal)
        accounts = 0
        while not (step := await self.store.remove_rows(app, 50)).is_empty:
            accounts += step.accounts
        gone = await self.store.remove_app(app)
        left = await self.store.apps()
        await add_app(self.store, app, attr_names={"0": "sex"}, attr_types={"0": 0})
        return accounts, gone, left

    # accounts

    async def _import(self, rng: random.Random) -> Any:
        names = rng.choices(NAMES, k=rng.randint(1, 4))
        profiles = [Profile(name, nick=rng.choice([None, "nick"])) for name in names]
        return await self._accounts(rng, names, import_accounts(profiles, NOW))

    async def _tags(self, rng: random.Random) -> Any:
        how = rng.choice([with_tags_added, with_tags_removed, with_tags_replaced])
        names = rng.choices(NAMES, k=rng.randint(1, 3))
        entries = [(name, rng.choices(TAGS, k=rng.randint(0, 3))) for name in names]
        return await self._accounts(rng, names, change_tags(entries, how))

    async def _attrs(self, rng: random.Random) -> Any:
        names = rng.choices(NAMES, k=2)
        if rng.random() < 0.3:
            return await self._accounts(rng, names, remove_attrs([(names[0], ["sex"])]))
        attrs = [(name, {"sex": rng.choice("mf")}) for name in names]
        return await self._accounts(rng, names, set_attrs(attrs))

    async def _delete(self, rng: random.Random) -> Any:
        names = rng.choices(NAMES, k=2)
        return await self._accounts(rng, names, delete_accounts(names))

    async def _kick(self, rng: random.Random) -> Any:
        name = rng.choice(NAMES)
        return await self._accounts(rng, [name], kick_account(name, NOW))

    async def _bad_accounts(self, rng: random.Random) -> Any:
        """An edit that contradicts what is stored, after one that would not."""
        names = list(NAMES)
        inner = import_accounts([Profile(name) for name in names], NOW)

        def decide(view: AccountsView) -> AccountsEdit:
            edit = inner(view)
            edit.terms = [Term(view.next_term + 1, TAG, "never", 0, 1)]
            return edit

        return await self._accounts(rng, names, decide)

    async def _retire(self, rng: random.Random) -> Any:
        return await self.store.retire_terms(_app(rng), rng.randint(1, 3))

    async def _cut(self, rng: random.Random) -> Any:
        app = _app(rng)
        last = await self.store.last_change(app)
        await self.store.cut_changes(app, rng.randint(0, last))

    async def _credential(self, rng: random.Random) -> Any:
        app, number = _app(rng), rng.randint(0, 3)

        def decide(pair: tuple[Credential | None, int]) -> Credential | None:
            row, fresh = pair
            if rng_value < 0.3:
                return None
            known = fresh if row is None else row.number
            return Credential(app=app, number=known, channel="apns", settings=b"s")

        rng_value = rng.random()
        look = self._look(decide)
        return await self.store.update_credential(
            app, number, lambda row, fresh: look((row, fresh))
        )

    # devices

    async def _register(self, rng: random.Random) -> Any:
        name = rng.choice(NAMES[4:])
        user = rng.choice(["", *USERS])
        route = rng.choice([None, Route("apns", 1, rng.choice(TOKENS))])
        ask = Registration(
            registration_id=name,
            secret="s",
            fresh_secret="s",
            user=user,
            is_logout=rng.random() < 0.2,
            route=route,
        )
        decide = self._look(register(ask, self.clock.now()))
        return await self.store.update_device(_app(rng), name, user, route, decide)

    async def _unregister(self, rng: random.Random) -> Any:
        name = rng.choice(NAMES)
        decide = self._look(unregister("s", self.clock.now()))
        return await self.store.update_device(_app(rng), name, "", None, decide)

    # tasks

    async def _accept(self, rng: random.Random) -> Any:
        frozen = BitMap(rng.sample(range(1, 9), 4)).serialize()
        kind = rng.random()

        def decide(view: AcceptView) -> AcceptEdit:
            if view.earlier is not None:
                return AcceptEdit(result=view.earlier.task_id)
            if kind < 0.1:
                raise CallError(90047)
            number = view.next_task
            jobs = [_new_job(rng_jobs, number, self.clock.now()) for _ in range(2)]
            if kind < 0.2:
                jobs.append(new_job(number + 9))
            task = new_task(view)
            use = PushUse(count=view.use.count + 1) if kind < 0.7 else None
            return AcceptEdit(task, frozen if kind < 0.8 else None, jobs, use, task.task_id)

        rng_jobs = random.Random(rng.random())
        dedup = rng.choice(["a", "b"])
        names = rng.choices(NAMES, k=3)
        return await self.store.accept(_app(rng), dedup, names, self._look(decide))

    async def _recall(self, rng: random.Random) -> Any:
        wakes, overwrites = rng.random() < 0.7, rng.random() < 0.5
        now = self.clock.now()

        def decide(view: RecallView) -> RecallEdit:
            if view.task is None:
                raise CallError(90049)
            edit = RecallEdit(msgspec.structs.replace(view.task, recalled_at=now), wakes_jobs=wakes)
            if overwrites:
                edit.overwrite = new_task(view, overwrites=view.task.number)
                edit.jobs = [new_job(view.next_task, "fanout", body=FanoutBody(), not_before=now)]
                edit.use = PushUse(recall_at=now)
            return edit

        task_id = f"task_{rng.randint(1, 6)}"
        return await self.store.recall(_app(rng), task_id, self._look(decide))

    async def _reports(self, rng: random.Random) -> Any:
        reports = [
            Report(
                task=rng.randint(1, 6),
                stage=rng.choice(list(Stage)),
                channel="online",
                at=int(NOW),
                members=BitMap(rng.sample(range(1, 9), 2)).serialize(),
            )
            for _ in range(rng.randint(0, 3))
        ]
        await self.store.append_reports(_app(rng), reports)

    async def _merge(self, rng: random.Random) -> Any:
        return await self.store.merge_ended(_app(rng), merge_blocks, rng.choice([1, 3, 100]))

    async def _forget(self, rng: random.Random) -> Any:
        return await self.store.forget(_app(rng), self.clock.now() + rng.choice([0, 5, -5]), 100)

    # jobs

    async def _lease(self, rng: random.Random) -> Any:
        heads = await self.store.heads(self.clock.now())
        drawn = (_app(rng), rng.choice(QUEUES), rng.choice(list(Lane)))
        if heads and rng.random() < 0.8:
            head = rng.choice(heads)
            drawn = (head.app, head.queue, head.lane)
        jobs = await self.store.lease(
            *drawn,
            lessee=rng.choice(HOLDERS),
            limit=rng.randint(1, 4),
            lease_s=rng.choice([5, 30]),
        )
        self.leased += jobs
        return jobs

    async def _extend(self, rng: random.Random) -> Any:
        app = _app(rng)
        return await self.store.extend(app, self.leased[-6:], lease_s=10)

    async def _release(self, rng: random.Random) -> Any:
        return await self.store.release(rng.choice(HOLDERS))

    async def _step(self, rng: random.Random) -> Any:
        if not self.leased:
            return None
        job = rng.choice(self.leased[-3:])
        want = StepWant(
            devices=tuple(rng.sample(range(1, 9), 2)),
            with_acked=rng.random() < 0.5,
        )
        seed = rng.random()
        app = job.app if rng.random() < 0.95 else 3 - job.app

        def decide(view: StepView) -> StepEdit:
            return _random_step(random.Random(seed), view, self.clock.now())

        return await self.store.step(app, job, want, self._look(decide))

    async def _advance(self, rng: random.Random) -> None:
        self.clock._now += rng.choice([0.25, 0.5, 1, 7, 31])

    async def everything(self) -> list[Any]:
        """Every answer of every reading verb."""
        store, numbers = self.store, BitMap(range(20))
        found: list[Any] = [await store.apps(), await store.heads(self.clock.now())]
        found += [await store.heads(NOW + 1e6), await store.depth()]
        for app in APPS:
            found += [
                await store.app(app),
                await store.credentials(app),
                await store.accounts(app, NAMES),
                await store.account_names(app, numbers),
                await store.scan_accounts(app, 1, 4),
                await store.terms(app, [(TAG, tag) for tag in (*TAGS, "never")]),
                await store.changes(app, 1, 20),
                await store.last_change(app),
                list((await store.devices(app, numbers)).items()),
                await store.devices_of(app, numbers),
                await store.scan_devices(app, 1, 3),
                await store.scan_indexed_devices(app, 1, 3),
                _unordered(await store.device_changes(app, 0, 1_000)),
                await store.last_device_change(app),
                [await store.device(app, name) for name in NAMES],
                [await store.task_by_id(app, f"task_{number}") for number in range(8)],
                await store.tasks(app, before=6, limit=4),
                await store.tasks(app),
                await store.living(app),
                await store.recalled(app, NOW + 3),
                [await store.task(app, number) for number in range(8)],
                [await store.inbox(app, [number, number + 1]) for number in range(1, 8)],
                list(await store.broad(app)),
            ]
            for task in range(8):
                found.append(await store.audience(app, task))
                found.append(await read_books(store, app, task))
                found.append(await acked(store, app, task))
        return found


OPERATIONS = (
    *("import", "tags", "tags", "attrs", "delete", "kick", "bad_accounts", "retire", "cut"),
    *("credential", "register", "register", "unregister"),
    *("accept", "accept", "accept", "recall", "reports", "merge", "forget"),
    *("lease", "lease", "lease", "extend", "release", "step", "step", "step", "step"),
    *("advance", "advance", "remove"),
)
"""Names of operations; what is named twice comes twice as often."""


def _unordered(changes: DeviceChanges) -> tuple[object, ...]:
    """Without the order of the devices that one step has changed, which nothing asks for."""
    devices = sorted(changes.devices, key=lambda device: device.number)
    return changes.position, devices, sorted(changes.gone)


def _removal(app: App | None) -> App:
    if app is None:
        raise CallError(70020)
    return begin_removal(app)


def _app(rng: random.Random) -> int:
    return rng.choices(APPS, (70, 25, 5))[0]


def _new_job(rng: random.Random, task: int, now: float) -> NewJob:
    queue = rng.choice(QUEUES)
    body = FanoutBody(rng.randint(0, 3)) if queue == "fanout" else SendBody("apns", 1, -1, (1, 2))
    at = now + rng.choice([-1, 0, 2, 100])
    return new_job(task, queue, body=body, lane=rng.choice(list(Lane)), not_before=at)


def _random_step(rng: random.Random, view: StepView, now: float) -> StepEdit:
    edit = StepEdit(is_done=rng.random() < 0.3, result=rng.random())
    if rng.random() < 0.05:
        raise CallError(91000)
    if rng.random() < 0.3:
        edit.begun_at = now
    if rng.random() < 0.2:
        edit.body = FanoutBody(rng.randint(4, 9))
    if rng.random() < 0.2:
        edit.not_before = now + rng.choice([0, 3, 50])
    if rng.random() < 0.3:
        edit.task = end(view.task, now)
    if rng.random() < 0.2:
        edit.audience = BitMap(rng.sample(range(1, 20), 3)).serialize()
    if rng.random() < 0.5:
        edit.jobs = [_new_job(rng, view.task.number, now)]
    if rng.random() < 0.5:
        edit.blocks = [
            Block(
                task=view.task.number,
                job=view.job.number,
                at=now,
                kind="device",
                state=rng.choice(list(State)),
                members=BitMap([rng.randint(1, 9)]).serialize(),
            )
        ]
    for device in view.devices.values():
        if rng.random() < 0.3:
            badge = rng.randint(1, 9)
            edit.devices.append(msgspec.structs.replace(device, badge=badge))
        elif rng.random() < 0.2:
            # Now and then a token that somebody else has: refused whole.
            route = Route("apns", 1, rng.choice(TOKENS))
            edit.devices.append(msgspec.structs.replace(device, route=route))
    return edit
