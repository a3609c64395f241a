"""Receipts of vendors: what is believed, what is only acknowledged, and what is dropped on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from pyroaring import BitMap

from tests.sim.vendor import OneChannel, PlainChannel, Trouble, Vendor
from tests.task_books import read_books
from tocsin.adapters.memory import MemoryStore
from tocsin.channels.registry import normal_route
from tocsin.channels.vendors import huawei
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import Posted, Response
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.app import App
from tocsin.domain.books import Ledger
from tocsin.domain.device import Device, Registration, Route, drop_dead_token, register
from tocsin.domain.message import Message
from tocsin.domain.task import (
    AcceptEdit,
    AcceptView,
    Block,
    Lane,
    NewJob,
    SendBody,
    StepEdit,
    StepWant,
    Task,
)
from tocsin.errors import StoreError
from tocsin.metrics import Metrics
from tocsin.pipeline.begin import batch_correlation
from tocsin.pipeline.receipts import Receiving

APP, KEY = 7, b"k" * 32
PHONES = range(1, 21)
ARRIVED, REMOVED, NOT_THEIRS, MUTED = 0, 2, 5, 6


class Reporting(OneChannel):
    """One credential of Huawei whose receipts are read by Huawei's own file."""

    def __init__(self) -> None:
        super().__init__(PlainChannel(Vendor(ManualClock(), Chance(1), Trouble()), replaces=True))
        self.is_right: bool | None = True
        self.is_believed = True
        self.tells_time = True
        self.plain.believes_dead = self._believes  # type: ignore[method-assign]
        self.told_dead: list[int] = []

    def _believes(self, count: int) -> bool:
        self.told_dead.append(count)
        return self.is_believed

    def read_post(self, vendor: str, headers: Mapping[str, str], body: bytes) -> Posted | None:
        if vendor != "huawei":
            return None
        posted = huawei.report(headers, body)
        if self.tells_time:
            return posted
        receipts = [msgspec.structs.replace(it, at=None) for it in posted.receipts]
        return msgspec.structs.replace(posted, receipts=tuple(receipts))

    async def is_genuine(
        self, app: int, vendor: str, headers: Mapping[str, str], body: bytes
    ) -> bool | None:
        return self.is_right


class Desk:
    """A store with one push to twenty phones, and whoever receives the receipts."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.faults: list[str] = []
        self.store = MemoryStore(self.clock, self._fault)
        self.channels = Reporting()
        self.metrics = Metrics()
        self.receiving = Receiving(
            store=self.store,
            channels=self.channels,
            clock=self.clock,
            metrics=self.metrics,
            normal_route=normal_route,
            correlation_key=KEY,
        )

    def _fault(self, verb: str) -> None:
        if verb in self.faults:
            raise StoreError(verb)

    async def open(self) -> Desk:
        await self.store.update_app(APP, lambda _: App(sdkappid=APP, key=b"", appkey=b""))
        names = [f"u{number}" for number in PHONES]
        decide = import_accounts([Profile(name) for name in names], self.clock.now())
        await self.store.update_accounts(APP, names, [], decide)
        for number in PHONES:
            await self.register(number)
        await self.push()
        await self.clock.advance(1)
        return self

    async def register(self, number: int, token: str = "") -> None:
        route = Route("huawei", 1, token or f"t{number}")
        name = f"R{number}"
        known = await self.store.device(APP, name)
        secret = "s" if known is not None else ""
        ask = Registration(
            registration_id=name,
            secret=secret,
            fresh_secret="s",
            user=f"u{number}",
            route=route,
        )
        decide = register(ask, self.clock.now())
        await self.store.update_device(APP, name, ask.user, route, decide)

    async def push(self) -> None:
        """Task 1, frozen for everybody, in one job that has begun and is not settled."""
        now = self.clock.now()

        def accept(view: AcceptView) -> AcceptEdit:
            task = Task(
                app=APP,
                number=view.next_task,
                task_id=f"t{view.next_task}",
                kind="push",
                sender="admin",
                message=Message(title="t"),
                accepted_at=now,
                ttl_s=60,
                expires_at=now + 60,
            )
            body = SendBody("huawei", 1, -1, tuple(PHONES))
            job = NewJob(task=task.number, queue="huawei:1", lane=Lane.BULK, body=body)
            audience = BitMap(PHONES).serialize()
            return AcceptEdit(task=task, audience=audience, jobs=[job])

        await self.store.accept(APP, "", (), accept)
        place = (APP, "huawei:1", Lane.BULK)
        (job,) = await self.store.lease(*place, lessee="h", limit=1, lease_s=9)
        planned = Block(task=1, job=1, at=now, kind="planned", members=BitMap(PHONES).serialize())
        begun = StepEdit(begun_at=now, blocks=[planned])
        await self.store.step(APP, job, StepWant(), lambda _: begun)

    async def post(self, *receipts: tuple[str, int], task: int = 1, at: float = 0.0) -> Response:
        """Tokens and what is told of each."""
        correlation = batch_correlation(KEY, APP, task, "huawei")
        return await self.post_as(correlation, receipts, at or self.clock.now())

    async def post_as(
        self, correlation: str, receipts: Sequence[tuple[str, int]], at: float
    ) -> Response:
        statuses = [
            {"token": token, "biTag": correlation, "status": status, "timestamp": int(at * 1000)}
            for token, status in receipts
        ]
        body = msgspec.json.encode({"statuses": statuses})
        answer = await self.receiving.take("huawei", {}, body)
        assert answer is not None
        return answer

    async def ledger(self) -> Ledger:
        books = await read_books(self.store, APP, 1)
        assert books is not None
        return books.ledger

    async def device(self, number: int) -> Device:
        device = await self.store.device(APP, f"R{number}")
        assert device is not None
        return device

    def fates(self) -> dict[str, int]:
        fates = ("reached", "clicked", "undelivered", "unknown_id", "unknown_token", "no_leg")
        others = ("absurd_time", "unreadable", "refused")
        counts = {
            it: int(self.metrics.value("receipts", channel="huawei", fate=it))
            for it in (*fates, *others)
        }
        return {it: count for it, count in counts.items() if count}

    async def seen(self) -> object:
        """Everything that a receipt could change."""
        return (await self.ledger(), [await self.device(number) for number in PHONES])


@pytest.fixture
async def desk() -> Desk:
    return await Desk().open()


async def test_an_arrival_is_booked_and_answered_as_the_vendor_expects(desk: Desk) -> None:
    answer = await desk.post(("t1", ARRIVED), ("t2", ARRIVED), ("t3", MUTED))
    assert (answer.status, msgspec.json.decode(answer.body)) == (
        200,
        {"errno": "0", "errmsg": "success"},
    )
    books = await desk.ledger()
    assert (books.reached, books.undelivered) == (2, {"huawei 6": 1})
    # Whatever the vendor says of it, it had accepted the push.
    assert books.states["sent"] == 3
    assert desk.fates() == {"reached": 2, "undelivered": 1}


@pytest.mark.evidence(
    "in any order, twice, before their settle",
    topic="Receipts",
    planted="a loss told as an arrival",
)
async def test_a_receipt_may_come_before_its_settle_twice_and_in_any_order(desk: Desk) -> None:
    for _ in range(2):
        await desk.post(("t1", MUTED))
        await desk.post(("t1", ARRIVED), ("t1", ARRIVED))
    await desk.post(("t1", MUTED))
    books = await desk.ledger()
    # What arrived after all is no loss.
    assert (books.reached, books.undelivered, books.states["sent"]) == (1, {}, 1)


@pytest.mark.evidence(
    "unknown and absurd ones are acknowledged, counted, and change nothing",
    topic="Receipts",
    planted="the id's proof not compared; a time of next year believed",
)
async def test_what_cannot_be_ours_is_acknowledged_and_changes_nothing(desk: Desk) -> None:
    before = await desk.seen()
    now = desk.clock.now()
    good = batch_correlation(KEY, APP, 1, "huawei")
    forged = f"{good[:-1]}{'0' if good[-1] != '0' else '1'}"
    answers = [
        await desk.post_as("", [("t1", ARRIVED)], now),
        await desk.post_as(forged, [("t1", ARRIVED)], now),
        await desk.post_as(batch_correlation(b"x" * 32, APP, 1, "huawei"), [("t1", REMOVED)], now),
        await desk.post(("t1", REMOVED), task=2),
        await desk.post(("nobody", ARRIVED)),
        await desk.post(("t1", REMOVED), at=1.0),
        await desk.post(("t1", ARRIVED), at=now + 301),
        await desk.post(("t1", ARRIVED), at=now - 400),
    ]
    assert {answer.status for answer in answers} == {200}
    assert await desk.seen() == before
    assert desk.fates() == {"unknown_id": 4, "unknown_token": 1, "absurd_time": 3}


@pytest.mark.evidence(
    "a receipt without time is of the moment it came",
    topic="Receipts",
    planted="1970 instead; a missing time taken as now for all vendors",
)
async def test_a_receipt_that_tells_no_time_is_of_the_moment_it_came(desk: Desk) -> None:
    desk.channels.tells_time = False
    await desk.clock.advance(40)
    await desk.post(("t1", ARRIVED), ("t2", REMOVED), at=1.0)
    books = await read_books(desk.store, APP, 1)
    assert books is not None
    assert {report.at for report in books.reports} == {int(desk.clock.now())}
    assert desk.fates() == {"reached": 1, "undelivered": 1}
    assert (await desk.device(2)).route is None


async def test_what_cannot_be_read_is_told_so_and_changes_nothing(desk: Desk) -> None:
    before = await desk.seen()
    for body in (b"", b"{", b"[]", b'{"statuses":{}}', b"\xff", b"<html>"):
        answer = await desk.receiving.take("huawei", {}, body)
        assert answer is not None
        assert answer.status == 400
    odd = b'{"statuses":[7,{},{"token":1,"biTag":2,"status":"x","timestamp":"y"}]}'
    answer = await desk.receiving.take("huawei", {}, odd)
    assert answer is not None
    assert answer.status == 200
    assert desk.fates() == {"unreadable": 9}
    assert await desk.seen() == before


@pytest.mark.evidence(
    "a bad signature is refused and changes nothing",
    topic="Receipts",
    planted="answered all the same; any head taken; no end to a signature's life",
)
async def test_a_bad_signature_is_refused_and_changes_nothing(desk: Desk) -> None:
    before = await desk.seen()
    desk.channels.is_right = False
    assert (await desk.post(("t1", ARRIVED), ("t2", REMOVED))).status == 401
    # Also where nobody can tell whose it is.
    assert (await desk.post_as("", [("t1", ARRIVED)], desk.clock.now())).status == 401
    assert await desk.seen() == before
    assert desk.fates() == {"refused": 3}


async def test_without_a_credential_there_is_nothing_to_check_and_nothing_is_booked(
    desk: Desk,
) -> None:
    before = await desk.seen()
    desk.channels.is_right = None
    assert (await desk.post(("t1", ARRIVED))).status == 200
    assert await desk.seen() == before
    assert desk.fates() == {"unknown_id": 1}


async def test_a_vendor_that_reports_nothing_has_no_door(desk: Desk) -> None:
    assert await desk.receiving.take("apns", {}, b"{}") is None


@pytest.mark.evidence("reached and dead tokens are settled, over sockets")
async def test_a_token_told_dead_is_dropped_once(desk: Desk) -> None:
    await desk.post(("t4", REMOVED), ("t4", REMOVED))
    assert (await desk.device(4)).route is None
    # Only a device without the app yields this code: nothing else is held against it.
    assert desk.channels.told_dead == []
    await desk.post(("t4", REMOVED))
    assert desk.metrics.value("tokens_dropped", channel="huawei") == 1
    assert (await desk.ledger()).undelivered == {"huawei 2": 1}


@pytest.mark.evidence(
    "a receipt finds its device however it spells the token",
    topic="Books",
    planted="the receipt's token taken as told",
)
async def test_a_receipt_finds_its_device_however_it_spells_the_token(desk: Desk) -> None:
    await desk.post((" t4\n", REMOVED), ("t5", ARRIVED), ("t\u00f6", ARRIVED))
    assert (await desk.device(4)).route is None
    assert desk.fates() == {"undelivered": 1, "reached": 1, "unknown_token": 1}


async def test_a_token_registered_after_it_died_lives_again(desk: Desk) -> None:
    died_at = desk.clock.now()
    await desk.clock.advance(10)
    await desk.register(5, "other")
    await desk.register(5, "t5")
    await desk.post(("t5", REMOVED), at=died_at)
    assert (await desk.device(5)).route == Route("huawei", 1, "t5")


async def test_the_successor_of_a_dead_token_stays(desk: Desk) -> None:
    await desk.register(6, "t6-new")
    await desk.post(("t6", REMOVED))
    assert (await desk.device(6)).route == Route("huawei", 1, "t6-new")


async def test_a_token_that_changed_since_it_was_looked_up_stays(desk: Desk) -> None:
    now = desk.clock.now()
    for token, is_dropped in (("t6-old", False), ("t6", True)):
        decide = drop_dead_token(Route("huawei", 1, token).key(), now)
        assert await desk.store.update_device(APP, "R6", "", None, decide) is is_dropped


@pytest.mark.evidence(
    "so many dead that they accuse us drop nothing",
    topic="Receipts",
    planted="believed whatever their number; a token registered since dropped",
)
async def test_so_many_dead_that_they_accuse_the_credential_drop_nothing(desk: Desk) -> None:
    desk.channels.is_believed = False
    await desk.post(*((f"t{number}", NOT_THEIRS) for number in PHONES))
    assert desk.channels.told_dead == [len(PHONES)]
    assert all([(await desk.device(number)).route for number in PHONES])


@pytest.mark.evidence(
    "a device that the task was not for is left alone",
    topic="Receipts",
    planted="the audience not asked",
)
async def test_a_device_that_the_task_was_not_for_is_left_alone(desk: Desk) -> None:
    names = ["stranger"]
    decide = import_accounts([Profile(name) for name in names], desk.clock.now())
    await desk.store.update_accounts(APP, names, [], decide)
    ask = Registration(
        registration_id="R99", fresh_secret="s", user="stranger", route=Route("huawei", 1, "t99")
    )
    decide_device = register(ask, desk.clock.now())
    await desk.store.update_device(APP, "R99", "stranger", ask.route, decide_device)
    await desk.post(("t99", ARRIVED))
    assert (await desk.ledger()).reached == 0
    assert desk.fates() == {"no_leg": 1}


@pytest.mark.evidence("an id that one vendor was told opens no other's door")
async def test_an_id_that_another_vendor_was_told_opens_nothing(desk: Desk) -> None:
    before = await desk.seen()
    other = batch_correlation(KEY, APP, 1, "honor")
    await desk.post_as(other, [("t1", ARRIVED), ("t2", REMOVED)], desk.clock.now())
    assert await desk.seen() == before
    assert desk.fates() == {"unknown_id": 2}


@pytest.mark.evidence("an id that one vendor was told opens no other's door")
async def test_a_device_that_this_vendor_was_not_asked_to_push_to_is_left_alone(
    desk: Desk,
) -> None:
    """It is in the audience and has the vendor's token by now; its push went another way."""
    place = (APP, "huawei:1", Lane.BULK)
    await desk.clock.advance(10)
    (job,) = await desk.store.lease(*place, lessee="h", limit=1, lease_s=9)
    assert isinstance(job.body, SendBody)
    fewer = msgspec.structs.replace(job.body, devices=tuple(range(2, 21)))
    sent = Block(
        task=1,
        job=1,
        at=1.0,
        kind="device",
        state="sent",
        channel="apns",
        members=BitMap([1]).serialize(),
    )
    edit = StepEdit(body=fewer, blocks=[sent])
    await desk.store.step(APP, job, StepWant(), lambda _: edit)
    before = await desk.seen()
    await desk.post(("t1", ARRIVED), ("t1", REMOVED))
    assert await desk.seen() == before
    await desk.post(("t2", ARRIVED))
    assert desk.fates() == {"no_leg": 2, "reached": 1}


async def test_a_device_that_changed_hands_since_may_still_report(desk: Desk) -> None:
    """It was planned for another user, and showed the push to that one."""
    ask = Registration(
        registration_id="R7",
        secret="s",
        fresh_secret="",
        user="new",
        route=Route("huawei", 1, "t7"),
    )
    decide = register(ask, desk.clock.now())
    await desk.store.update_device(APP, "R7", "new", ask.route, decide)
    await desk.post(("t7", ARRIVED))
    assert (await desk.ledger()).reached == 1


async def test_a_store_that_refuses_lets_the_vendor_try_again(desk: Desk) -> None:
    for verb in ("append_reports", "update_device"):
        desk.faults = [verb]
        with pytest.raises(StoreError):
            await desk.post(("t8", REMOVED))
        assert (await desk.device(8)).route is not None
    desk.faults = []
    assert (await desk.post(("t8", REMOVED))).status == 200
    assert (await desk.device(8)).route is None
    assert (await desk.ledger()).undelivered == {"huawei 2": 1}
