"""The hub on the memory store: what is written to whom, and in which order with the books."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from tests.task_books import read_books
from tests.unit.online.rig import APP, Client, Rig
from tocsin.clock import settle_loop
from tocsin.domain.message import Message, Translation
from tocsin.domain.task import OnlineBody, SendBody, Stage, StepEdit, StepWant, WaitBody
from tocsin.errors import StoreError
from tocsin.online.hub import OnlineConnection, OnlineSettings
from tocsin.online.session import GONE, KICKED, REFUSED, REPLACED, SILENT, SessionLimits
from tocsin.pipeline.accept import decide_recall


@pytest.mark.evidence(
    "a push is in the books before it is written",
    topic="Online",
    planted="the leg not booked",
)
async def test_a_push_is_booked_before_it_is_written() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task([device.user])
    rig.faults.add("append_reports")
    with pytest.raises(StoreError):
        await rig.hub.push(task, -1, [device.number])
    assert client.shown == []
    rig.faults.clear()
    assert set(await rig.hub.push(task, -1, [device.number])) == {device.number}
    assert client.shown == [task.task_id]
    assert await rig.booked(task, Stage.SENT) == {device.number}
    assert await rig.booked(task, Stage.REACHED) == set()


async def test_an_ack_is_confirmed_after_it_is_durable_and_not_at_all_when_it_is_not() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    task = await rig.task([rig.device(line).user])
    await rig.hub.push(task, -1, [rig.device(line).number])
    rig.faults.add("append_reports")
    await rig.say(line, type="ack", id=task.task_id)
    assert client.of("acked") == []
    rig.faults.clear()
    await rig.say(line, type="ack", id=task.task_id)
    assert client.of("acked") == [{"type": "acked", "id": task.task_id, "stage": 2}]
    assert await rig.booked(task, Stage.REACHED) == {rig.device(line).number}
    assert rig.metrics.value("acks") == 1


@pytest.mark.evidence("what does not count is told so for good: unreadable, not ours, too old")
async def test_a_click_is_booked_and_what_does_not_count_is_told_so_for_good() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    number = rig.device(line).number
    task, other = [await rig.task([rig.device(line).user]) for _ in range(2)]
    await rig.hub.push(task, -1, [number])
    await rig.say(line, type="click", id=task.task_id)
    await rig.say(line, type="ack", id=other.task_id)
    unreadable = ("nonsense", "", "x" * 4000)
    for name in unreadable:
        await rig.say(line, type="ack", id=name)
    frames = client.of("acked")
    assert [(it["id"], it["stage"], it.get("code")) for it in frames] == [
        (task.task_id, 3, None),
        (other.task_id, 2, 70402),
        *((name, 2, 90001) for name in unreadable),
    ]
    assert all(it["info"] for it in frames[1:])
    assert await rig.booked(task, Stage.CLICKED) == {number}
    assert await rig.booked(other, Stage.REACHED) == set()
    # It stays connected: the answer is about the push alone.
    await rig.say(line, type="click", id=task.task_id)
    assert len(client.of("acked")) == 6


async def test_only_those_in_the_audience_are_written_to() -> None:
    rig = await Rig().open("ann", "bob")
    ann, to_ann = await rig.connect("ann")
    bob, to_bob = await rig.connect("bob")
    task = await rig.task([rig.device(ann).user])
    numbers = [rig.device(ann).number, rig.device(bob).number]
    assert set(await rig.hub.push(task, -1, numbers)) == {rig.device(ann).number}
    assert (len(to_ann.shown), to_bob.shown) == (1, [])


async def test_a_user_switch_shows_nothing_to_the_wrong_person() -> None:
    rig = await Rig().open("ann", "bob")
    line, _ = await rig.connect("ann")
    ann = rig.device(line)
    task = await rig.task([ann.user], jobs=[("wait", WaitBody(-1, (ann.number,)))])
    switched, client = await rig.again(line, "bob")
    assert rig.device(switched).number == ann.number
    assert set(await rig.hub.push(task, -1, [ann.number])) == set()
    assert client.shown == []
    assert await rig.booked(task, Stage.SENT) == set()
    back, client = await rig.again(switched, "ann")
    assert client.shown == [task.task_id]
    assert back.is_open


async def test_a_switch_by_another_door_counts_at_once() -> None:
    rig = await Rig().open("ann", "bob")
    line, client = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task([device.user])
    # The rows are read, then the user changes while the leg is being booked.
    append = rig.store.append_reports

    class Switching:
        async def append_reports(self, app: int, reports: object) -> None:
            hint = msgspec.json.encode((APP, device.number, device.user + 99, "bob", True))
            rig.hub.take_device(hint)
            await append(app, reports)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(rig.store, name)

    rig.hub._store = Switching()  # type: ignore[assignment]
    assert set(await rig.hub.push(task, -1, [device.number])) == set()
    assert client.shown == []


async def test_a_newer_connection_replaces_the_older() -> None:
    rig = await Rig().open("ann")
    first, old = await rig.connect("ann")
    second, new = await rig.again(first)
    assert old.end == REPLACED
    rig.hub.gone(first)
    assert set(rig.hub.connected(APP)) == {rig.device(second).number}
    task = await rig.task([rig.device(second).user])
    await rig.hub.push(task, -1, [rig.device(second).number])
    assert (old.shown, new.shown) == ([], [task.task_id])


async def test_presence_follows_the_connection() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    number = rig.device(line).number
    assert rig.hub.connected(APP) == BitMap([number])
    assert rig.metrics.value("online_sessions") == 1
    rig.hub.gone(line)
    assert rig.hub.connected(APP) == BitMap()
    assert rig.metrics.value("online_sessions") == 0


async def test_a_client_that_does_not_read_is_cut_off_and_counted() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann", client=Client(reads=False))
    assert rig.metrics.value("slow_readers") == 1
    assert not line.is_open
    assert rig.hub.connected(APP) == BitMap()


async def test_a_refused_hello_says_its_code() -> None:
    rig = await Rig().open()
    line, client = await rig.connect(appkey="wrong")
    # `connect` adds the right key last; say hello by hand.
    assert line.is_open
    client, bad = Client(), rig.hub.open(Client(), "")
    bad.link = client
    await rig.say(bad, type="hello", sdkappid=APP, appkey="wrong")
    assert client.frames == [{"type": "error", "code": 800001, "info": "appKey is invalid"}]
    assert client.end == REFUSED


async def test_a_sick_store_refuses_a_hello_and_stays_up() -> None:
    rig = await Rig().open("ann")
    rig.faults.add("update_device")
    _, client = await rig.connect("ann")
    assert client.frames[0]["code"] == 91000
    rig.faults.clear()
    line, _ = await rig.connect("ann")
    assert line.is_open


async def test_a_recall_is_told_to_those_it_was_written_to() -> None:
    rig = await Rig().open("ann", "bob")
    ann, _ = await rig.connect("ann")
    _, to_bob = await rig.connect("bob")
    task = await rig.task([rig.device(ann).user])
    await rig.hub.push(task, -1, [rig.device(ann).number])
    again, anew = await rig.again(ann)
    await rig.hub.revoke(task)
    assert anew.of("revoke") == [{"type": "revoke", "id": task.task_id, "task_id": task.task_id}]
    assert to_bob.of("revoke") == []
    # Whatever was under way when the recall came is not written after it.
    assert set(await rig.hub.push(task, -1, [rig.device(again).number])) == set()


async def test_after_a_recall_nobody_else_is_written_to_with_what_was_under_way() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    task = await rig.task([rig.device(line).user])
    await rig.hub.revoke(task)
    # The worker holds the task as it was before the recall.
    assert set(await rig.hub.push(task, -1, [rig.device(line).number])) == set()
    assert client.shown == []
    assert await rig.booked(task, Stage.SENT) == set()


async def test_a_device_that_connects_late_gets_the_push_that_waits_for_it() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    rig.hub.gone(line)
    task = await rig.task(
        [device.user], planned=[device.number], jobs=[("wait", WaitBody(-1, (device.number,)))]
    )
    _, client = await rig.again(line)
    assert client.shown == [task.task_id]
    assert await rig.booked(task, Stage.SENT) == {device.number}


async def test_an_unacked_push_comes_again_with_the_same_id_and_is_booked_once() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task(
        [device.user], planned=[device.number], jobs=[("wait", WaitBody(-1, (device.number,)))]
    )
    await rig.hub.push(task, -1, [device.number])
    again, anew = await rig.again(line)
    assert client.shown == anew.shown == [task.task_id]
    books = await read_books(rig.store, APP, task.number)
    assert books is not None
    assert len(books.reports) == 1
    await rig.say(again, type="ack", id=task.task_id)
    _, third = await rig.again(again)
    assert third.shown == []


async def test_what_the_client_has_is_not_sent_again_and_counts_as_acked() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task(
        [device.user], planned=[device.number], jobs=[("wait", WaitBody(-1, (device.number,)))]
    )
    await rig.hub.push(task, -1, [device.number])
    _, anew = await rig.again(line, known=[task.task_id])
    assert anew.shown == []
    assert await rig.booked(task, Stage.REACHED) == {device.number}


async def test_after_a_restart_a_device_gets_no_second_copy_of_what_the_vendor_has() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    body = SendBody("fcm", 1, -1, (device.number,), waits_for_ack=True)
    task = await rig.task([device.user], planned=[device.number], jobs=[("fcm:1", body)])
    rig.hub = rig.new_hub()
    _, parked = await rig.again(line)
    assert parked.shown == [task.task_id]
    # The vendor's leg begins: from now on nothing is offered.
    books = await read_books(rig.store, APP, task.number)
    assert books is not None
    lane = books.jobs[0].lane
    (job,) = await rig.store.lease(APP, "fcm:1", lane, lessee="w", limit=1, lease_s=9)
    await rig.store.step(APP, job, StepWant(), lambda _: StepEdit(begun_at=rig.clock.now()))
    rig.hub = rig.new_hub()
    _, begun = await rig.again(line)
    assert begun.shown == []


@pytest.mark.parametrize("state", ["sent", "in_doubt"])
async def test_a_leg_that_is_sent_or_in_doubt_is_not_offered(state: str) -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task(
        [device.user], planned=[device.number], jobs=[("wait", WaitBody(-1, (99,)))]
    )
    await rig.block(task, "device", state, [device.number], "fcm")
    _, client = await rig.again(line)
    assert client.shown == []


async def test_a_vendor_job_that_asks_for_no_ack_is_left_alone() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    body = SendBody("fcm", 1, -1, (device.number,))
    await rig.task([device.user], planned=[device.number], jobs=[("fcm:1", body)])
    _, client = await rig.again(line)
    assert client.shown == []


async def test_recalled_expired_and_foreign_pushes_are_not_offered() -> None:
    rig = await Rig().open("ann", "bob")
    bob, _ = await rig.connect("bob")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    wait = [("wait", WaitBody(-1, (device.number,)))]
    await rig.task([rig.device(bob).user], jobs=[("wait", WaitBody(-1, (9,)))])
    short = await rig.task([device.user], planned=[device.number], jobs=wait, ttl_s=5)
    at_once = await rig.task([device.user], planned=[device.number], jobs=wait, ttl_s=0)
    await rig.clock.advance(10)
    recalled = await rig.task([device.user], planned=[device.number], jobs=wait)
    decide = decide_recall(Message(is_online_only=True), rig.clock.now())
    await rig.store.recall(APP, recalled.task_id, decide)
    _, client = await rig.again(line)
    assert client.shown == []
    for task in (short, at_once, recalled):
        assert await rig.booked(task, Stage.SENT) == set(), task.task_id
    _, client = await rig.again(line, known=[recalled.task_id])
    assert [frame["id"] for frame in client.of("revoke")] == [recalled.task_id]


async def test_only_the_newest_login_is_offered_what_the_user_missed() -> None:
    rig = await Rig().open("ann")
    old, _ = await rig.connect("ann")
    await rig.clock.advance(5)
    new, _ = await rig.connect("ann")
    user = rig.device(new).user
    for line in (old, new):
        rig.hub.gone(line)
    task = await rig.task([user], jobs=[("wait", WaitBody(-1, (rig.device(old).number,)))])
    _, to_old = await rig.again(old)
    assert to_old.shown == []
    _, to_new = await rig.again(new)
    assert to_new.shown == [task.task_id]


async def test_a_new_phone_does_not_repeat_what_the_old_one_has() -> None:
    rig = await Rig().open("ann")
    old, _ = await rig.connect("ann")
    device = rig.device(old)
    task = await rig.task(
        [device.user], planned=[device.number], jobs=[("wait", WaitBody(-1, (device.number,)))]
    )
    await rig.hub.push(task, -1, [device.number])
    await rig.say(old, type="ack", id=task.task_id)
    await rig.clock.advance(5)
    _, fresh = await rig.connect("ann")
    assert fresh.shown == []


async def test_an_offer_speaks_the_devices_language() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann", facts={"language": "de-AT"})
    device = rig.device(line)
    message = Message(title="Hi", translations=(Translation("fr", "F"), Translation("de", "D")))
    wait = [("wait", WaitBody(1, (device.number,)))]
    await rig.task([device.user], planned=[device.number], jobs=wait, message=message)
    _, client = await rig.again(line)
    assert client.of("push")[0]["title"] == "D"


async def test_devices_that_connect_together_share_the_reading_of_the_books() -> None:
    names = [f"u{number}" for number in range(20)]
    rig = await Rig().open(*names)
    lines = [(await rig.connect(name))[0] for name in names]
    devices = [rig.device(line) for line in lines]
    numbers = tuple(device.number for device in devices)
    task = await rig.task(
        [device.user for device in devices], planned=numbers, jobs=[("wait", WaitBody(-1, numbers))]
    )
    rig.hub = rig.new_hub()
    reads = 0
    read = rig.hub._missed._standings._read

    async def counted(key: tuple[int, int]) -> object:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return await read(key)

    rig.hub._missed._standings._read = counted  # type: ignore[assignment]
    clients = await asyncio.gather(*(rig.again(line) for line in lines))
    await rig.settle()
    assert all(client.shown == [task.task_id] for _, client in clients)
    assert reads < 10


@pytest.mark.evidence(
    "a kick closes the user's connections",
    topic="Online",
    planted="the hint not acted on",
)
async def test_a_kick_closes_the_users_connections() -> None:
    rig = await Rig().open("ann", "bob")
    _, to_ann = await rig.connect("ann")
    bob, _ = await rig.connect("bob")
    rig.hub.take_kick(f"{APP}/ann".encode())
    assert (to_ann.end, to_ann.frames[-1]["code"]) == (KICKED, 70052)
    assert bob.is_open


async def test_a_kick_looks_at_no_other_users_connection() -> None:
    rig = await Rig().open("ann", "bob")
    ann, to_ann = await rig.connect("ann")
    for _ in range(20):
        await rig.connect("bob")
    rig.hub._connections = Untouchable(rig.hub._connections)
    rig.hub.take_kick(f"{APP}/nobody".encode())
    with pytest.raises(AssertionError):
        list(rig.hub._connections.values())
    rig.hub.take_kick(f"{APP}/ann".encode())
    assert (to_ann.end, ann.is_open) == (KICKED, False)
    rig.hub.gone(ann)
    assert list(rig.hub._of_user) == [(str(APP), "bob")]


class Untouchable(dict[tuple[int, int], OnlineConnection]):
    """Connections that nobody may walk through."""

    def values(self) -> Any:
        raise AssertionError

    __iter__ = items = values


async def test_unregistering_elsewhere_closes_the_connection() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    device = rig.device(line)
    await rig.registrar.unregister(APP, device.registration_id, line.secret)
    await rig.settle()
    assert client.end == GONE


async def test_a_bye_may_log_out_or_unregister() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    await rig.say(line, type="bye", logout=True)
    device = await rig.store.device(APP, rig.device(line).registration_id)
    assert device is not None
    assert (device.user, device.is_registered) == (0, True)
    again, _ = await rig.again(line, "ann")
    await rig.say(again, type="bye", unregister=True)
    device = await rig.store.device(APP, device.registration_id)
    assert device is not None
    assert not device.is_registered


async def test_the_silent_are_pinged_and_then_closed() -> None:
    rig = await Rig().open("ann")
    rig.hub = rig.new_hub(OnlineSettings(session_limits=SessionLimits(idle_s=10, reply_s=5)))
    beat = asyncio.create_task(rig.hub.run())
    line, client = await rig.connect("ann")
    await rig.clock.advance(12)
    assert client.of("ping") == [{"type": "ping"}]
    await rig.say(line, type="pong")
    await rig.clock.advance(9)
    assert client.end is None
    await rig.clock.advance(10)
    assert client.end == SILENT
    assert rig.hub.connected(APP) == BitMap()
    assert rig.hub._wheel == {}
    beat.cancel()


async def test_a_poll_brings_what_waits_and_waits_for_what_comes() -> None:
    rig = await Rig().open("ann")
    line, _ = await rig.connect("ann")
    device = rig.device(line)
    rig.hub.gone(line)
    wait = [("wait", WaitBody(-1, (device.number,)))]
    first = await rig.task([device.user], planned=[device.number], jobs=wait)
    second = await rig.task([device.user], planned=[device.number], jobs=wait)
    frames = [msgspec.json.decode(it) for it in await rig.hub.poll(APP, device, (), 30)]
    assert [frame["id"] for frame in frames] == [first.task_id, second.task_id]
    ids: tuple[str, ...] = (first.task_id, second.task_id)
    frames = [msgspec.json.decode(it) for it in await rig.hub.poll(APP, device, ids, 30)]
    assert [(frame["type"], frame["id"]) for frame in frames] == [("acked", it) for it in ids]
    polling = asyncio.create_task(rig.hub.poll(APP, device, ids, 30))
    await settle_loop(60)
    third = await rig.task([device.user])
    assert set(await rig.hub.push(third, -1, [device.number])) == {device.number}
    assert [msgspec.json.decode(it)["id"] for it in await polling] == [third.task_id]
    assert rig.hub.connected(APP) == BitMap()
    ids = (*ids, third.task_id)
    assert len(await rig.hub.poll(APP, device, ids, 30)) == 1
    polling = asyncio.create_task(rig.hub.poll(APP, device, ids, 30))
    await settle_loop(60)
    await rig.clock.advance(31)
    assert await polling == []


async def test_a_push_to_the_registration_id_reaches_it_whoever_is_logged_in() -> None:
    rig = await Rig().open("ann")
    line, client = await rig.connect("ann")
    device = rig.device(line)
    task = await rig.task([device.account], jobs=[("online", OnlineBody(-1, (device.number,)))])
    assert set(await rig.hub.push(task, -1, [device.number])) == {device.number}
    assert client.shown == [task.task_id]


@pytest.mark.evidence(
    "from the first moment nobody may use it, and what was let in before goes too",
)
async def test_a_removed_apps_connections_are_closed() -> None:
    rig = await Rig().open("ann")
    _, to_ann = await rig.connect("ann")
    rig.hub.take_closed_app(str(APP + 1).encode())
    assert not to_ann.end
    rig.hub.take_closed_app(str(APP).encode())
    assert (to_ann.end, to_ann.frames[-1]["code"]) == (REFUSED, 60016)
