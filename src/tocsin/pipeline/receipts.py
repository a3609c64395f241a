"""Receipts: what vendors post to us later about deliveries that they had accepted.

Several vendors sign nothing, so a receipt is believed only for an id that we made for this vendor,
a token that we know, and a device to which a leg over this vendor's channel has begun. Whatever
else comes is acknowledged, as the vendor expects, counted, and changes nothing: a vendor that is
refused would only send it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.conversation import LateReceipt, Posted, Response
from tocsin.domain.device import Device, Route, drop_dead_token
from tocsin.domain.outcome import POLICIES, Outcome
from tocsin.domain.task import Stage, Task
from tocsin.log import get_logger
from tocsin.metrics import Metrics
from tocsin.pipeline.begin import split_batch_correlation
from tocsin.pipeline.books import BooksReader
from tocsin.pipeline.reports import ReportEntry, Reports
from tocsin.ports import Channels, NormalRoute
from tocsin.store import Store

CLOCKS_DIFFER_S = 300.0
"""A receipt from before its task was accepted, or from later than now by more than this, is
absurd."""
REFUSED = Response(401)
"""The signature is not the vendor's."""

Fate = Literal[
    "reached",
    "clicked",
    "undelivered",
    "unknown_id",
    "unknown_token",
    "no_leg",
    "absurd_time",
    "unreadable",
    "refused",
]
"""What became of a receipt: the label of its count."""


ByTask = dict[int, list[LateReceipt]]
"""One app's receipts, by the number of the task that they are about."""


class MatchedReceipt(Struct, frozen=True):
    """A receipt with the device and the task that it is about."""

    receipt: LateReceipt
    device: Device
    task: int
    at: float
    """Unix seconds."""


class Receiving:
    """Takes calls of vendors. Each is durable before it is answered, and harmless to repeat."""

    def __init__(
        self,
        *,
        store: Store,
        channels: Channels,
        clock: Clock,
        metrics: Metrics,
        normal_route: NormalRoute,
        correlation_key: bytes,
        books: BooksReader | None = None,
    ) -> None:
        self._store = store
        self._normal_route = normal_route
        self._channels = channels
        self._clock = clock
        self._metrics = metrics
        self._key = correlation_key
        self._reports = Reports(store)
        self._books = books or BooksReader(store, clock)
        self._log = get_logger(__name__)

    async def take(self, vendor: str, headers: Mapping[str, str], body: bytes) -> Response | None:
        """Book what a vendor posts; answers what it expects to hear, or None for no such vendor.

        Raises `StoreError`: then the vendor must hear of it and try again.
        """
        posted = self._channels.read_post(vendor, headers, body)
        if posted is None:
            return None
        fates: Counter[Fate] = Counter()
        fates["unreadable"] += posted.unreadable
        try:
            return await self._booked(vendor, headers, body, posted, fates)
        finally:
            for fate, count in fates.items():
                if count:
                    self._metrics.count("receipts", count, channel=vendor, fate=fate)

    async def _booked(
        self,
        vendor: str,
        headers: Mapping[str, str],
        body: bytes,
        posted: Posted,
        fates: Counter[Fate],
    ) -> Response:
        by_app = self._by_app(posted.receipts, vendor)
        strangers = _count(by_app.pop(0, {}))
        asked = list(by_app) or await self._store.apps()
        said = {app: await self._channels.is_genuine(app, vendor, headers, body) for app in asked}
        if False in said.values() and True not in said.values():
            fates["refused"] += len(posted.receipts)
            self._log.warning("receipts with a bad signature", channel=vendor)
            return REFUSED
        fates["unknown_id"] += strangers
        for app, by_task in by_app.items():
            if said[app]:
                await self._take_app(app, vendor, by_task, fates)
            else:
                fates["unknown_id" if said[app] is None else "refused"] += _count(by_task)
        return posted.answer

    def _by_app(self, receipts: Sequence[LateReceipt], vendor: str) -> dict[int, ByTask]:
        """Receipts by the app and task that their id was made for; ids of others under 0.

        A call may name thousands of devices under one id, so each id is looked at once.
        """
        by_id: dict[str, list[LateReceipt]] = {}
        for receipt in receipts:
            by_id.setdefault(receipt.correlation, []).append(receipt)
        by_app: dict[int, ByTask] = {}
        for text, theirs in by_id.items():
            app, task = split_batch_correlation(self._key, text, vendor) or (0, 0)
            by_app.setdefault(app, {}).setdefault(task, []).extend(theirs)
        return by_app

    async def _take_app(self, app: int, vendor: str, by_task: ByTask, fates: Counter[Fate]) -> None:
        found = await self._found(app, vendor, by_task, fates)
        entries = [_entry(it, vendor) for it in found]
        for it, entry in zip(found, entries, strict=True):
            fates[_fate(it.receipt, entry)] += 1
        if entries:
            await self._reports.append(app, entries)
        await self._drop_dead(app, found)

    async def _found(
        self, app: int, vendor: str, by_task: ByTask, fates: Counter[Fate]
    ) -> list[MatchedReceipt]:
        """The receipts whose task and device we know."""
        tokens = {it.token for theirs in by_task.values() for it in theirs}
        holders = await self._holders(app, vendor, tokens)
        now = self._clock.now()
        found: list[MatchedReceipt] = []
        for number, theirs in by_task.items():
            task = await self._books.task(app, number)
            if task is None:
                fates["unknown_id"] += len(theirs)
                continue
            timely = [it for it in theirs if _is_timely(it, task, now)]
            fates["absurd_time"] += len(theirs) - len(timely)
            mine = {it.token: holders[it.token] for it in timely if it.token in holders}
            fates["unknown_token"] += sum(it.token not in mine for it in timely)
            devices = {device.number for device in mine.values()}
            reached = await self._books.with_leg(task, devices, vendor)
            owned = [it for it in timely if it.token in mine]
            good = [it for it in owned if mine[it.token].number in reached]
            fates["no_leg"] += len(owned) - len(good)
            found += [MatchedReceipt(it, mine[it.token], number, _at(it, now)) for it in good]
        return found

    async def _holders(self, app: int, vendor: str, tokens: set[str]) -> dict[str, Device]:
        """The devices of these tokens, however the vendor spells them."""
        asked: list[tuple[str, Route]] = []
        for token in tokens:
            route = self._normal_route(Route(vendor, 0, token))
            if route is not None:
                asked += [(token, place) for place in route.in_each_environment()]
        devices = await self._store.token_owners(app, [route for _, route in asked])
        owned = zip(asked, devices, strict=True)
        return {token: device for (token, _), device in owned if device is not None}

    # dead tokens

    async def _drop_dead(self, app: int, found: Sequence[MatchedReceipt]) -> None:
        """Law 6 for receipts: only the token that was told of, and on evidence.

        What only a dead device yields is evidence by itself; what a wrong credential yields too is
        believed unless most are told dead.
        """
        suspects: dict[int, dict[int, MatchedReceipt]] = {}
        for it in found:
            route = it.device.route
            if it.receipt.outcome is Outcome.TOKEN_DEAD:
                await self._drop(app, it)
            elif POLICIES[it.receipt.outcome].drops_token and route is not None:
                suspects.setdefault(route.credential, {})[it.device.number] = it
        for credential, theirs in suspects.items():
            channel = await self._channels.channel(app, credential)
            if channel is not None and channel.believes_dead(len(theirs)):
                for it in theirs.values():
                    await self._drop(app, it)

    async def _drop(self, app: int, found: MatchedReceipt) -> None:
        if found.device.route is None:
            return
        decide = drop_dead_token(found.device.route.key(), found.at)
        name = found.device.registration_id
        if await self._store.update_device(app, name, "", None, decide):
            self._metrics.count("tokens_dropped", channel=found.device.route.channel)


def _count(by_task: ByTask) -> int:
    return sum(map(len, by_task.values()))


def _at(receipt: LateReceipt, now: float) -> float:
    """When it happened; a vendor that tells no time posts at once."""
    return now if receipt.at is None else receipt.at


def _is_timely(receipt: LateReceipt, task: Task, now: float) -> bool:
    earliest = task.accepted_at - CLOCKS_DIFFER_S
    return earliest <= _at(receipt, now) <= now + CLOCKS_DIFFER_S


def _entry(found: MatchedReceipt, vendor: str) -> ReportEntry:
    receipt = found.receipt
    is_there = receipt.outcome is Outcome.ACCEPTED
    stage = Stage.SENT if not is_there else Stage.CLICKED if receipt.is_click else Stage.REACHED
    return ReportEntry(
        task=found.task,
        device=found.device.number,
        stage=stage,
        channel=vendor,
        at=found.at,
        code="0" if is_there else receipt.code,
    )


def _fate(receipt: LateReceipt, entry: ReportEntry) -> Fate:
    if receipt.outcome is not Outcome.ACCEPTED:
        return "undelivered"
    return "clicked" if entry.stage is Stage.CLICKED else "reached"
