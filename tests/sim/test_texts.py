"""A push with just one of title and text, or with none, at the sandbox of every vendor."""

from __future__ import annotations

import msgspec
import pytest

from tests.sandbox_keys import keys_folder
from tests.sim.works import Works
from tests.sim.world import APP, World
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor
from tocsin.channels.vendors import apns
from tocsin.clock import ManualClock
from tocsin.domain.books import Ledger
from tocsin.domain.message import AndroidPart, ApplePart, HarmonyPart, Message, Translation
from tocsin.domain.retry import CHINA_S, until_hour_s
from tocsin.pipeline.accept import PushAsk
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

COUNTS = (1, 3)
"""Alone, and in a list where the vendor has lists."""
MORNING = 8

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(SandboxSettings(seed=1, folder=keys_folder()), ManualClock())


async def opened(sandbox: Sandbox, vendor: AnyVendor, count: int) -> Works:
    sandbox.reset()
    assert isinstance(sandbox.clock, ManualClock)
    works = Works(clock=sandbox.clock, sandbox=sandbox)
    return await works.open({vendor.NAME: count})


async def pushed(works: Works, title: str, desc: str) -> Ledger:
    """What came of a push on the next morning: a day has quotas, and vivo sleeps at night."""
    await works.clock.advance(until_hour_s(MORNING, works.clock.now(), CHINA_S))
    task = await works.push(title=title, desc=desc)
    await works.go_on(2)
    ledger = await works.ledger(task)
    assert ledger.faults == []
    return ledger


@pytest.mark.evidence(
    "one of title and text is enough for every vendor",
    topic="Channels and sandbox",
    planted="a title alone sent to vivo without content",
)
@each_vendor
@pytest.mark.parametrize("count", COUNTS)
async def test_one_text_is_enough(sandbox: Sandbox, vendor: AnyVendor, count: int) -> None:
    works = await opened(sandbox, vendor, count)
    for title, desc in (("Ring", ""), ("", "Ring"), ("Ring", " "), (" ", "Ring")):
        ledger = await pushed(works, title, desc)
        assert (ledger.failures, ledger.states["sent"]) == ({}, count)
        for device in sandbox.devices.all_of(vendor.NAME):
            latest = max(device.shown.values(), key=lambda it: it.at)
            assert works.clock.now() - latest.at < 3
            assert "Ring" in {latest.title, latest.body} <= {"Ring", title, desc}


NOTHING = "-13 nothing to show"
HANDS_ON = ("apns", "fcm", "harmony", "honor", "huawei", "webpush")
"""Vendors that hand Ext to the app where there is nothing to show."""


def sent(works: Works) -> int:
    return sum(1 for it in works.sandbox.log.entries() if it.token)


async def told(works: Works, vendor: AnyVendor, message: Message, count: int) -> str:
    """What the books say of all of them, and whether the vendor heard a word: what it came to."""
    works.http.requests.clear()
    before = sent(works)
    await works.clock.advance(until_hour_s(MORNING, works.clock.now(), CHINA_S))
    task = await works.push(**msgspec.structs.asdict(message))
    await works.go_on(2)
    ledger = await works.ledger(task)
    assert ledger.faults == []
    if ledger.states["sent"] == count:
        return "sent"
    assert ledger.states["failed"] == count
    assert sent(works) == before
    # Which phone is Apple's, only the request to Google knows.
    assert not works.http.requests or (vendor.NAME == "fcm" and message.apple.title)
    (failure,) = ledger.failures
    return failure


@pytest.mark.evidence(
    "a push with nothing to show is sent nowhere, nobody is asked, and the books say why; "
    "what an app can use is sent all the same",
    topic="Channels and sandbox",
    planted="blanks taken for a text; the plan not asking; the driver not asking; Ext not "
    "counted; a sound of Apple's not counted; MsgBody not counted",
)
@each_vendor
@pytest.mark.parametrize("count", COUNTS)
async def test_an_empty_push_is_sent_nowhere_and_the_books_say_why(
    sandbox: Sandbox, vendor: AnyVendor, count: int
) -> None:
    works = await opened(sandbox, vendor, count)
    looks = Message(android=AndroidPart(sound="bell", is_big_text=True))
    for blank in (Message(), Message(title=" ", desc="\n"), looks):
        assert await told(works, vendor, blank, count) == NOTHING
    assert list(sandbox.log.entries()) == []


@pytest.mark.evidence(
    "a push with nothing to show is sent nowhere, nobody is asked, and the books say why; "
    "what an app can use is sent all the same",
)
@each_vendor
@pytest.mark.parametrize("count", COUNTS)
async def test_data_without_a_text_reach_the_app_where_a_vendor_hands_them_on(
    sandbox: Sandbox, vendor: AnyVendor, count: int
) -> None:
    works = await opened(sandbox, vendor, count)
    name = vendor.NAME
    for message, takers in (
        (Message(ext='{"a":"b"}'), HANDS_ON),
        (Message(apple=ApplePart(is_silent=True)), ("apns", "fcm")),
        (Message(badge_set=0), ("apns", "fcm")),
        (Message(badge_add=2), ("apns",)),
        (Message(apple=ApplePart(title="Ring")), ("apns",)),
        (Message(apple=ApplePart(sound="bell.caf")), ("apns",)),
        (Message(apple=ApplePart(counts_badge=True)), ("apns",)),
        (Message(harmony=HarmonyPart(title="Ring")), ("harmony",)),
    ):
        expected = "sent" if name in takers else f"{name} {NOTHING}"
        assert await told(works, vendor, message, count) == expected, message
        assert sandbox.log.counts().by_reason == {}


@pytest.mark.evidence(
    "a push with nothing to show is sent nowhere, nobody is asked, and the books say why; "
    "what an app can use is sent all the same",
)
async def test_a_call_without_a_text_is_only_for_phones_that_take_calls(sandbox: Sandbox) -> None:
    works = await opened(sandbox, apns, 1)
    call = Message(apple=ApplePart(is_voip=True))
    assert await told(works, apns, call, 1) == f"apns {NOTHING}"
    assert works.http.requests["apns"] == 0


@pytest.mark.evidence(
    "a push with nothing to show is sent nowhere, nobody is asked, and the books say why; "
    "what an app can use is sent all the same",
)
async def test_a_language_without_a_text_gets_nothing_and_the_others_theirs() -> None:
    """The world's people speak English."""
    world = await World().open()
    await world.people(3)
    world.hire()
    for language, states in (("en", ("sent", {})), ("de", ("failed", {NOTHING: 3}))):
        named = (Translation(language, title="Hello"),)
        task = await world.push(title="", desc="", translations=named)
        await world.run(5)
        ledger = await world.ledger(task)
        assert (ledger.states[states[0]], ledger.failures) == (3, states[1])
    await world.close()


@pytest.mark.evidence(
    "a push with nothing to show is sent nowhere, nobody is asked, and the books say why; "
    "what an app can use is sent all the same",
)
async def test_elements_reach_who_is_connected_also_without_a_text() -> None:
    """A custom element without Desc has nothing for a vendor, but its data for the app."""
    world = await World().open()
    await world.people(2)
    device = await world.store.device(APP, "R-u1")
    assert device is not None
    world.sockets.online.add(device.number)
    world.hire()
    ask = PushAsk(
        kind="batch", identifier="admin", msg_random=1, message=Message(), accounts=("u1", "u2")
    )
    for body, reached in ((b"", 0), (b"[{}]", 1)):
        told = msgspec.structs.replace(ask, msg_body=body, msg_random=ask.msg_random + reached)
        accepted = await world.accepting.push(world.app, told)
        await world.run(10)
        ledger = await world.ledger(await world.task(accepted.task_id))
        assert ledger.reached == reached
    await world.close()
