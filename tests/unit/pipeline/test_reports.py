"""Which reports of devices count: for a leg of this task to this device that has begun."""

from __future__ import annotations

import msgspec
import pytest

from tests.task_books import read_books
from tests.unit.online.rig import APP, APPKEY, Rig
from tocsin.domain.device import Device, Route
from tocsin.domain.hello import Hello
from tocsin.domain.task import (
    Lane,
    SendBody,
    Stage,
    StepEdit,
    StepWant,
    Task,
    WaitBody,
    end,
    make_task_id,
    read_task_id,
)
from tocsin.errors import CallError

DAY_S = 86_400


class Phone:
    """A device with an FCM token, and a task that was planned for it."""

    def __init__(self, rig: Rig, device: Device) -> None:
        self.rig = rig
        self.device = device

    async def task(self, *, begun: bool = False) -> Task:
        """A task whose only job is the vendor's, begun or not."""
        number = self.device.number
        body = SendBody("fcm", 1, -1, (number,))
        job = ("fcm:1", body)
        task = await self.rig.task([self.device.account], planned=[number], jobs=[job])
        if begun:
            await self.step(task, StepEdit(begun_at=self.rig.clock.now()))
        return task

    async def step(self, task: Task, edit: StepEdit) -> None:
        leased = await self.rig.store.lease(
            APP, "fcm:1", Lane.URGENT, lessee="w", limit=9, lease_s=0.001
        )
        (job,) = [it for it in leased if it.task == task.number]
        await self.rig.store.step(APP, job, StepWant(), lambda _: edit)

    async def report(self, task_id: str, via: str = "fcm", stage: Stage = Stage.REACHED) -> None:
        await self.rig.registrar.report(self.device, APP, task_id, stage, via)

    async def code(self, task_id: str, via: str = "fcm") -> int:
        """The code of a report that has to be refused and to change nothing."""
        before = [await read_books(self.rig.store, APP, it.number) for it in await self._tasks()]
        with pytest.raises(CallError) as refused:
            await self.report(task_id, via)
        assert [
            await read_books(self.rig.store, APP, it.number) for it in await self._tasks()
        ] == before
        return refused.value.code

    async def _tasks(self) -> list[Task]:
        return await self.rig.store.tasks(APP)

    async def reached(self, task: Task) -> dict[str, bool]:
        """By which channels the device is booked as reached."""
        books = await read_books(self.rig.store, APP, task.number)
        assert books is not None
        return {it.channel: True for it in books.reports if it.stage is not Stage.SENT}

    def count(self, fate: str) -> float:
        return self.rig.metrics.value("device_reports", fate=fate)


@pytest.fixture
async def phone() -> Phone:
    rig = await Rig().open("ann", "bob")
    hello = Hello(sdkappid=APP, appkey=APPKEY, route=Route("fcm", 1, "t1"))
    return Phone(rig, (await rig.registrar.register(hello, "10.0.0.1")).device)


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
    topic="Online",
    planted="any channel taken; doubts not counted, every end counted; the mark of a "
    "waiting doubt not written, not read; the connection taken where a vendor sent",
)
async def test_a_channel_that_the_push_did_not_take_is_refused(phone: Phone) -> None:
    task = await phone.task(begun=True)
    for via in ("huawei", "apns", "online"):
        assert await phone.code(task.task_id, via) == 70402
    await phone.report(task.task_id)
    assert await phone.reached(task) == {"fcm": True}
    assert (phone.count("no_leg"), phone.count("reached")) == (3, 1)


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
@pytest.mark.parametrize("state", ["sent", "in_doubt"])
async def test_a_leg_that_is_settled_as_sent_or_in_doubt_counts(phone: Phone, state: str) -> None:
    task = await phone.task()
    assert await phone.code(task.task_id) == 70402
    await phone.rig.block(task, "device", state, [phone.device.number], "fcm")
    await phone.report(task.task_id)
    await phone.report(task.task_id, stage=Stage.CLICKED)
    assert await phone.reached(task) == {"fcm": True}
    assert phone.count("clicked") == 1


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
@pytest.mark.parametrize("state", ["failed", "expired", "recalled", "unreachable"])
async def test_a_leg_that_ended_without_being_sent_does_not(phone: Phone, state: str) -> None:
    task = await phone.task()
    await phone.rig.block(task, "device", state, [phone.device.number], "fcm")
    assert await phone.code(task.task_id) == 70402


async def test_what_is_only_planned_does_not(phone: Phone) -> None:
    assert await phone.code((await phone.task()).task_id) == 70402


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
async def test_a_leg_in_doubt_counts_while_its_repeat_waits(phone: Phone) -> None:
    """An attempt may have reached it; the next one stands in a job that has not begun."""
    task = await phone.task()
    for mark in ("doubted", "repeated"):
        other = await phone.task()
        await phone.rig.block(other, mark, "", [phone.device.number], "fcm")
        await phone.report(other.task_id)
        assert await phone.reached(other) == {"fcm": True}
    assert await phone.code(task.task_id) == 70402


async def test_another_devices_leg_does_not(phone: Phone) -> None:
    hello = Hello(sdkappid=APP, appkey=APPKEY, route=Route("fcm", 1, "t2"))
    other = Phone(phone.rig, (await phone.rig.registrar.register(hello, "10.0.0.1")).device)
    task = await phone.task(begun=True)
    assert await other.code(task.task_id) == 70402


@pytest.mark.evidence(
    "a device's report counts only for a begun leg of this task to it over this channel, "
    "whatever its route is now",
)
async def test_the_route_may_have_changed_since(phone: Phone) -> None:
    task = await phone.task(begun=True)
    for route in (Route("apns", 2, "ab"), None):
        phone.device = msgspec.structs.replace(phone.device, route=route)
        await phone.report(task.task_id)
        # Named or not: it came by the vendor that it had.
        await phone.report(task.task_id, "")
    assert await phone.reached(task) == {"fcm": True}


async def test_without_a_channel_it_is_the_one_that_it_came_by(phone: Phone) -> None:
    task = await phone.task()
    await phone.rig.registrar.book_leg(phone.device, task)
    await phone.report(task.task_id, "")
    assert await phone.reached(task) == {"online": True}
    # Both ways: the vendor's before the connection.
    await phone.rig.block(task, "device", "sent", [phone.device.number], "fcm")
    await phone.report(task.task_id, "")
    assert await phone.reached(task) == {"online": True, "fcm": True}
    assert await phone.code((await phone.task()).task_id, "") == 70402


async def test_an_online_report_needs_an_online_leg(phone: Phone) -> None:
    wait = ("wait", WaitBody(-1, (phone.device.number,)))
    task = await phone.rig.task([phone.device.account], jobs=[wait])
    assert await phone.code(task.task_id, "online") == 70402
    await phone.rig.registrar.book_leg(phone.device, task)
    await phone.report(task.task_id, "online")
    assert await phone.reached(task) == {"online": True}
    assert phone.rig.metrics.value("acks") == 1


@pytest.mark.evidence(
    "what does not count is told so for good: unreadable, not ours, too old",
    topic="Online",
    planted="nonsense answered OK; another app's id taken for an old one; any unknown one "
    "taken for old; numbers that nobody had, and kept ones, taken for gone; a "
    "socket told nothing; an empty or very long id answered with 70402, and one "
    "with a number below the first told old",
)
@pytest.mark.parametrize(
    "task_id",
    [
        *("nonsense", "", "_", "1_2_3", "1__2_3", "x" * 160),
        *("67a_1_2_3", "67A_1_2_3_4", "batch_1_2_3_4", "1_2_3_4_5_6"),
    ],
)
async def test_what_is_no_task_id_is_unreadable(phone: Phone, task_id: str) -> None:
    assert await phone.code(task_id) == 90001
    assert phone.count("unreadable") == 1


def made(phone: Phone, kind: str, *, app: int = APP, age_s: float = 0, number: int = 9) -> str:
    accepted_at = int(phone.rig.clock.now() - age_s)
    return make_task_id(kind, (accepted_at, app, 0x2000_0000_0000_0000 + number, 5, 6))


@pytest.mark.evidence("what does not count is told so for good: unreadable, not ours, too old")
@pytest.mark.parametrize("kind", ["push", "batch", "im_push"])
async def test_a_task_that_is_not_ours_is_refused(phone: Phone, kind: str) -> None:
    await phone.task()
    for task_id in (
        made(phone, kind, app=APP + 1, age_s=30 * DAY_S, number=1),
        made(phone, kind),
        made(phone, kind) + "_recall",
        made(phone, kind, age_s=-DAY_S),
        made(phone, kind, age_s=30 * DAY_S, number=0),
        made(phone, kind, age_s=30 * DAY_S, number=-1),
    ):
        assert await phone.code(task_id) == 70402
    assert phone.count("unknown_task") == 6


@pytest.mark.evidence("what does not count is told so for good: unreadable, not ours, too old")
async def test_a_task_that_is_too_old_to_be_kept_is_taken_and_changes_nothing(
    phone: Phone,
) -> None:
    ended = await phone.task()
    await phone.step(ended, StepEdit(is_done=True, task=end(ended, phone.rig.clock.now())))
    task_ids = [
        made(phone, "push", number=ended.number),
        made(phone, "batch", number=ended.number) + "_recall",
        made(phone, "im_push", number=ended.number),
    ]
    for task_id in task_ids:
        assert await phone.code(task_id) == 70402
    await phone.rig.clock.advance(7 * DAY_S + 1)
    # Still in the books, and another task: housekeeping comes after a while.
    assert await phone.code(task_ids[2]) == 70402
    assert await phone.rig.store.forget(APP, phone.rig.clock.now() - 7 * DAY_S, 100) == 1
    phone.rig.written.clear()
    for task_id in task_ids:
        await phone.report(task_id)
    assert (phone.rig.written, phone.count("old")) == ([], 3)
    # A number that no task has had yet is nobody's.
    assert await phone.code(made(phone, "im_push", number=ended.number + 1)) == 70402


@pytest.mark.parametrize("kind", ["push", "batch", "im_push"])
def test_a_task_id_says_app_number_and_time(kind: str) -> None:
    for number in (1, 77, 2**32):
        text = make_task_id(kind, (1_767_225_600, APP, 0x2000_0000_0000_0000 + number, 2**32, 7))
        name = read_task_id(text)
        assert name is not None
        accepted_at = None if kind == "im_push" else 1_767_225_600
        assert (name.sdkappid, name.number, name.accepted_at) == (APP, number, accepted_at)
        assert read_task_id(text + "_recall") == name
