"""Index: the condition becomes a frozen audience, and nothing later asks the condition again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec.structs import replace
from pyroaring import BitMap

from tocsin.clock import secret_bytes
from tocsin.domain.audience import Condition, Index, expression
from tocsin.domain.task import FanoutBody, Job, NewJob, Phase, StepEdit, StepView
from tocsin.log import get_logger
from tocsin.pipeline.device_index import DeviceIndexer
from tocsin.ports import Snapshot, Snapshots
from tocsin.store import Store

CHANGES_PAGE = 2000
"""Change log rows read at once."""
ACCOUNTS_PAGE = 5000
"""Accounts read at once when an index is derived anew."""
MARK_BYTES = 16
LIVE = 0
"""Key of the live set in a snapshot; terms are numbered from 1."""


class Indexer:
    """Holds each app's index. The process with the role `index` has one."""

    def __init__(self, store: Store, snapshots: Snapshots) -> None:
        self._store = store
        self._snapshots = snapshots
        self.devices = DeviceIndexer(store)
        self._indexes: dict[int, Index] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._saved: dict[int, Snapshot] = {}
        """The snapshot that is durable now, its bitmaps left out."""
        self._log = get_logger(__name__)

    async def audience(self, app: int, condition: Condition) -> BitMap:
        """Whom a condition names, with every change in it that was answered before the call."""
        async with self._lock(app):
            index = await self._caught_up(app)
            if condition.is_everyone:
                return BitMap(index.live)
            terms = await self._store.terms(app, condition.keys())
            numbers = {key: term.number for key, term in terms.items()}
            return BitMap(index.evaluate(expression(condition), numbers))

    async def existing(self, app: int, accounts: BitMap) -> BitMap:
        """Those of these accounts that have not been deleted."""
        async with self._lock(app):
            return accounts & (await self._caught_up(app)).live

    async def freeze(self, job: Job) -> Callable[[StepView], StepEdit]:
        """The decision that carries out an index job: freeze the audience, queue the walk."""
        task = await self._store.task(job.app, job.task)
        condition = task.condition if task is not None else None
        frozen = await self.audience(job.app, condition or Condition())
        return decide_freeze(frozen)

    async def snapshot(self, app: int) -> int:
        """Save what has changed since the last snapshot; answers the position that is durable."""
        async with self._lock(app):
            index = await self._caught_up(app)
            saved = self._saved.get(app)
            if saved is not None and index.position == saved.position:
                return index.position
            changed = {LIVE: index.live.serialize()}
            for term in index.dirty:
                if term in index.terms:
                    changed[term] = index.terms[term].serialize()
            gone = index.dirty - index.terms.keys()
            changes = Snapshot(index.position, secret_bytes(MARK_BYTES), changed)
            keep = b"" if saved is None else saved.mark
            # The mark comes first: files whose mark the database has not seen are not believed.
            await self._store.mark_snapshot(app, changes.mark, changes.position, keep)
            await self._snapshots.save(app, changes, gone)
            index.dirty.clear()
            self._saved[app] = replace(changes, bitmaps={})
            return index.position

    async def retire(self, app: int, limit: int) -> int:
        """Drop terms that nobody carries, from the store and from the index."""
        async with self._lock(app):
            index = await self._caught_up(app)
            retired = await self._store.retire_terms(app, limit)
            for term in retired:
                index.terms.pop(term, None)
                index.dirty.add(term)
            return len(retired)

    async def forget(self, app: int) -> None:
        """Drop an app's index, in memory and on disk."""
        async with self._lock(app):
            self._indexes.pop(app, None)
            self._saved.pop(app, None)
            self.devices.forget(app)
            await self._snapshots.forget(app)

    def position(self, app: int) -> int:
        """The log position of an app's index; 0 before its first use. For metrics."""
        index = self._indexes.get(app)
        return 0 if index is None else index.position

    def _lock(self, app: int) -> asyncio.Lock:
        return self._locks.setdefault(app, asyncio.Lock())

    async def _caught_up(self, app: int) -> Index:
        index = self._indexes.get(app)
        if index is None:
            index = self._indexes[app] = await self._load(app)
        while True:
            rows = await self._store.changes(app, index.position, CHANGES_PAGE)
            for position, changes in rows:
                index.apply(position, changes)
            if len(rows) < CHANGES_PAGE:
                return index

    async def _load(self, app: int) -> Index:
        snapshot = await self._snapshots.load(app)
        if snapshot is None:
            return await self._derive(app)
        doubt = await self._doubt(app, snapshot)
        if doubt:
            self._log.warning(
                "index snapshot ignored, index derived from the accounts",
                app=app,
                position=snapshot.position,
                reason=doubt,
            )
            # What stays of it would come back with the next snapshot, under terms of our own.
            await self._snapshots.forget(app)
            return await self._derive(app)
        index = Index(snapshot.position)
        for term, bitmap in snapshot.bitmaps.items():
            if term == LIVE:
                index.live = BitMap.deserialize(bitmap)
            else:
                index.terms[term] = BitMap.deserialize(bitmap)
        self._saved[app] = replace(snapshot, bitmaps={})
        return index

    async def _doubt(self, app: int, snapshot: Snapshot) -> str:
        """Why a snapshot is not of this database and its history; empty where it is.

        A restored folder may be of two ages, and positions are given anew by each history: so the
        same position may mean other changes. The mark does not.
        """
        if not snapshot.mark:
            return "a release that bound none to its database has written it"
        if await self._store.marked_position(app, snapshot.mark) != snapshot.position:
            return "it is of another database, or newer than this one"
        if not await self._reaches(app, snapshot.position):
            return "the change log does not go on where it ends"
        return ""

    async def _reaches(self, app: int, position: int) -> bool:
        """Whether the log goes on where a snapshot ends."""
        tail = await self._store.changes(app, position, 1)
        if tail:
            return tail[0][0] == position + 1
        return await self._store.last_change(app) == position

    async def _derive(self, app: int) -> Index:
        """Build the index from the account rows, which are the truth.

        The position is read first, so changes made meanwhile are applied again on top: a change
        only adds or removes members, and doing that twice changes nothing.
        """
        position = await self._store.last_change(app)
        index = Index(position)
        members: dict[int, list[int]] = {}
        after = 0
        while True:
            accounts = await self._store.scan_accounts(app, after, ACCOUNTS_PAGE)
            if not accounts:
                break
            keys = list({key for account in accounts for key in account.term_keys()})
            terms = await self._store.terms(app, keys)
            for account in accounts:
                index.live.add(account.number)
                for key in account.term_keys():
                    if key in terms:
                        members.setdefault(terms[key].number, []).append(account.number)
            after = accounts[-1].number
        index.terms = {term: BitMap(numbers) for term, numbers in members.items()}
        index.dirty = set(index.terms)
        return index


def decide_freeze(frozen: BitMap) -> Callable[[StepView], StepEdit]:
    """Write the frozen audience and the walk's first job; the index job is done."""

    def decide(view: StepView) -> StepEdit:
        task = msgspec.structs.replace(view.task, phase=Phase.RUNNING, audience_size=len(frozen))
        walk = NewJob(
            task=task.number,
            queue="fanout",
            lane=task.lane,
            body=FanoutBody(),
            not_before=view.job.not_before,
        )
        return StepEdit(is_done=True, task=task, audience=frozen.serialize(), jobs=[walk])

    return decide
