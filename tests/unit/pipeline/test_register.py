"""Devices at the door: proofs, secrets, limits and durable reports."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import pytest

from tests.task_books import read_books
from tests.unit.channels.kit_webpush import token
from tests.unit.online.rig import APP, APPKEY, KEY, Rig
from tests.watched import Watched
from tocsin.adapters.bus import LocalBus
from tocsin.api.operator import OperatorService
from tocsin.channels.registry import normal_route
from tocsin.clock import Chance, settle_loop
from tocsin.domain.account import kick_account
from tocsin.domain.app import Credential
from tocsin.domain.device import LIVE_TOKENS_MAX, Route
from tocsin.domain.hello import DeviceFacts, Hello
from tocsin.domain.task import Report, Stage
from tocsin.domain.usersig import sign
from tocsin.errors import CallError, StoreError
from tocsin.pipeline.app_secrets import AppSecrets
from tocsin.pipeline.register import Registering
from tocsin.pipeline.reports import ReportEntry, Reports


def by_appkey(**more: Any) -> Hello:
    return Hello(**{"sdkappid": APP, "appkey": APPKEY, **more})


def by_usersig(rig: Rig, user: str, **more: Any) -> Hello:
    return Hello(sdkappid=APP, user=user, usersig=rig.usersig(user), **more)


async def code_of(rig: Rig, hello: Hello) -> int:
    before = len(rig.written)
    with pytest.raises(CallError) as refused:
        await rig.registrar.register(hello, "10.0.0.1")
    assert set(rig.written[before:]) <= {"update_device"}
    return refused.value.code


async def test_a_new_device_gets_an_id_and_a_secret() -> None:
    rig = await Rig().open()
    registered = await rig.registrar.register(by_appkey(), "10.0.0.1")
    name = registered.device.registration_id
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", name)
    assert len(registered.secret) == 64
    assert (await rig.store.device(APP, name)) == registered.device
    again = await rig.registrar.register(by_appkey(), "10.0.0.1")
    assert again.device.registration_id != name


@pytest.mark.evidence(
    "an app's key is changed with an overlap of two, for callers and devices alike, and the"
    " new one signs",
)
async def test_a_device_logs_in_by_either_key_while_an_app_key_is_changed() -> None:
    rig = await Rig().open()
    operator = OperatorService(rig.store, rig.vault, rig.clock, bus=LocalBus())
    before = by_usersig(rig, "ann")
    made = await operator.app_key_rotate(APP)
    await rig.registrar.register(before, "10.0.0.1")
    after = sign(APP, made["key"], "ann", 60, rig.clock.now())
    await rig.registrar.register(by_appkey(user="ann", usersig=after), "10.0.0.1")
    await operator.app_key_drop_former(APP)
    assert await code_of(rig, before) == 70009


async def test_a_usersig_binds_its_user_and_makes_the_account() -> None:
    rig = await Rig().open()
    registered = await rig.registrar.register(by_usersig(rig, "ann"), "10.0.0.1")
    (account,) = await rig.store.accounts(APP, ["ann"])
    assert account is not None
    assert registered.device.user == account.number


async def test_each_bad_proof_has_its_code() -> None:
    rig = await Rig().open("ann")
    now = rig.clock.now()
    assert await code_of(rig, by_appkey(appkey="wrong")) == 800001
    assert await code_of(rig, by_appkey(appkey="")) == 800001
    assert await code_of(rig, by_appkey(appkey="wröng")) == 800001
    assert await code_of(rig, by_appkey(sdkappid=7)) == 70020
    assert await code_of(rig, by_appkey(user="ann")) == 70002
    foreign = sign(APP, "0" * 64, "ann", 3600, now)
    assert await code_of(rig, by_appkey(user="ann", usersig=foreign)) == 70009
    assert await code_of(rig, by_appkey(user="bob", usersig=rig.usersig("ann"))) == 70013
    other = sign(APP + 1, KEY, "ann", 3600, now)
    assert await code_of(rig, by_appkey(user="ann", usersig=other)) == 70014
    late = sign(APP, KEY, "ann", 10, now - 100)
    assert await code_of(rig, by_appkey(user="ann", usersig=late)) == 70001
    assert await code_of(rig, by_appkey(usersig=rig.usersig("ann"))) == 70402
    assert await code_of(rig, by_usersig(rig, "x" * 33)) == 70402
    assert await rig.store.devices_of(APP, await rig.store.audience(APP, 1)) == []


async def test_a_kicked_users_old_usersig_is_void() -> None:
    rig = await Rig().open("ann")
    old = rig.usersig("ann")
    await rig.clock.advance(5)
    await rig.store.update_accounts(APP, ["ann"], [], kick_account("ann", rig.clock.now()))
    assert await code_of(rig, by_appkey(user="ann", usersig=old)) == 70052
    await rig.registrar.register(by_usersig(rig, "ann"), "10.0.0.1")


@pytest.mark.evidence("no account shows by timing before the UserSig is proven")
async def test_no_account_is_looked_up_before_the_usersig_is_proven() -> None:
    """Else the time that a look takes tells strangers which accounts there are."""
    rig = await Rig().open("ann")
    watched = Watched(rig.store)
    registrar = Registering(
        store=watched.store,
        app_secrets=AppSecrets(rig.vault),
        bus=rig.bus,
        clock=rig.clock,
        chance=Chance(1),
        metrics=rig.metrics,
        normal_route=normal_route,
    )
    for user in ("ann", "nobody"):
        foreign = sign(APP, "0" * 64, user, 3600, rig.clock.now())
        with pytest.raises(CallError):
            await registrar.register(by_appkey(user=user, usersig=foreign), "10.0.0.1")
    assert set(watched.asked) <= {"app", "append_reports"}
    await registrar.register(by_usersig(rig, "ann"), "10.0.0.1")
    assert "accounts" in watched.asked


async def test_a_disabled_app_takes_no_devices() -> None:
    rig = await Rig().open()
    await rig.store.update_app(APP, lambda _: msgspec.structs.replace(rig.app, is_enabled=False))
    assert await code_of(rig, by_appkey()) == 60016


@pytest.mark.evidence("a token belongs to one device, and a device to who has its secret")
async def test_registering_again_needs_the_secret() -> None:
    rig = await Rig().open()
    first = await rig.registrar.register(by_appkey(registration_id="own-1"), "10.0.0.1")
    facts = DeviceFacts(model="M")
    assert await code_of(rig, by_appkey(registration_id="own-1", facts=facts)) == 800101
    wrong = by_appkey(registration_id="own-1", secret="0" * 64, facts=facts)
    assert await code_of(rig, wrong) == 800101
    right = by_appkey(registration_id="own-1", secret=first.secret, facts=facts)
    again = await rig.registrar.register(right, "10.0.0.1")
    assert (again.device.number, again.device.model, again.secret) == (1, "M", "")


async def test_a_device_that_only_comes_back_is_not_written_and_keeps_its_login_time() -> None:
    rig = await Rig().open("ann")
    first = await rig.registrar.register(
        by_usersig(rig, "ann", registration_id="own-R"), "10.0.0.1"
    )
    rig.written.clear()
    await rig.clock.advance(60)
    back = by_usersig(rig, "ann", registration_id="own-R", secret=first.secret)
    assert (await rig.registrar.register(back, "10.0.0.1")).device == first.device
    assert rig.written == []
    await rig.clock.advance(3600)
    back = by_usersig(rig, "ann", registration_id="own-R", secret=first.secret)
    seen = (await rig.registrar.register(back, "10.0.0.1")).device
    assert seen.seen_at == rig.clock.now()
    assert seen.login_at == first.device.login_at
    assert rig.written == ["update_device"]


async def test_a_change_of_user_token_or_facts_is_written() -> None:
    rig = await Rig().open("ann", "bob")
    first = await rig.registrar.register(
        by_usersig(rig, "ann", registration_id="own-R"), "10.0.0.1"
    )
    proof = {"registration_id": "own-R", "secret": first.secret}
    second = await rig.registrar.register(by_usersig(rig, "bob", **proof), "10.0.0.1")
    assert second.device.user_name == "bob"
    route = Route("fcm", 1, "token")
    third = await rig.registrar.register(by_usersig(rig, "bob", route=route, **proof), "10.0.0.1")
    assert third.device.route == route
    facts = DeviceFacts(is_notify_on=False)
    fourth = await rig.registrar.register(by_usersig(rig, "bob", facts=facts, **proof), "10.0.0.1")
    assert not fourth.device.is_notify_on


async def test_the_device_secret_is_enough_to_log_out() -> None:
    rig = await Rig().open("ann")
    first = await rig.registrar.register(
        by_usersig(rig, "ann", registration_id="own-R"), "10.0.0.1"
    )
    ask = Hello(sdkappid=APP, registration_id="own-R", is_logout=True, secret=first.secret)
    assert (await rig.registrar.register(ask, "10.0.0.1")).device.user == 0
    guess = Hello(sdkappid=APP, registration_id="own-R", is_logout=True, secret="wrong")
    assert await code_of(rig, guess) == 800001


async def test_a_route_must_name_a_certificate_of_its_channel() -> None:
    rig = await Rig().open()
    for route in (Route("apns", 1, "t"), Route("fcm", 9, "t"), Route("fcm", 1, "")):
        assert await code_of(rig, by_appkey(route=route)) == 70402
    assert await code_of(rig, by_appkey(route=Route("fcm", 1, "x" * 1025))) == 70402
    assert await code_of(rig, by_appkey(voip_token="x" * 1025)) == 70402
    assert await code_of(rig, by_appkey(live_start_tokens={"Order": "x" * 1025})) == 70402
    await rig.registrar.register(by_appkey(route=Route("fcm", 1, "t")), "10.0.0.1")


@pytest.mark.evidence(
    "tokens beside the route's are added, changed, taken away and bounded",
    topic="Vendors",
    planted="an empty token kept; no bound",
)
async def test_tokens_of_live_activities_are_added_changed_and_taken_away() -> None:
    rig = await Rig().open()
    one, two, three = "11" * 32, "22" * 32, "33" * 80
    told = {"live_tokens": {"a": one}, "live_start_tokens": {"Order": two, "Game": three}}
    first = await rig.registrar.register(by_appkey(registration_id="own-R", **told), "10.0.0.1")
    proof = {"registration_id": "own-R", "secret": first.secret}
    rig.written.clear()
    again = {"live_start_tokens": {"Order": two}, "live_tokens": {"b": ""}}
    back = await rig.registrar.register(by_appkey(**proof, **again), "10.0.0.1")
    assert (rig.written, back.device) == ([], first.device)
    more = {"live_start_tokens": {"Order": three, "Game": ""}, "live_tokens": {"a": "", "b": two}}
    changed = await rig.registrar.register(by_appkey(**proof, **more), "10.0.0.1")
    assert changed.device.live_start_tokens == {"Order": three}
    assert changed.device.live_tokens == {"b": two}
    assert await rig.store.device(APP, "own-R") == changed.device
    await rig.registrar.unregister(APP, "own-R", first.secret)
    gone = await rig.registrar.authenticate(APP, "own-R", first.secret)
    assert (gone.live_tokens, gone.live_start_tokens) == ({}, {})


@pytest.mark.evidence("tokens beside the route's are added, changed, taken away and bounded")
async def test_of_live_activities_the_newest_are_kept() -> None:
    rig = await Rig().open()
    first = await rig.registrar.register(by_appkey(registration_id="own-R"), "10.0.0.1")
    for number in range(0, LIVE_TOKENS_MAX + 8, 8):
        names = {f"a{it}": f"{it:064x}" for it in range(number, number + 8)}
        hello = by_appkey(registration_id="own-R", secret=first.secret, live_tokens=names)
        device = (await rig.registrar.register(hello, "10.0.0.1")).device
    assert len(device.live_tokens) == LIVE_TOKENS_MAX
    assert ("a7" in device.live_tokens, "a8" in device.live_tokens) == (False, True)


async def test_a_web_push_route_must_be_a_subscription() -> None:
    rig = await Rig().open()
    credential = Credential(app=APP, number=2, channel="webpush", settings=b"")
    await rig.store.update_credential(APP, 0, lambda _, number: credential)
    inside = token("a", "http://push.example.com/")
    for text in ("ab" * 32, "{}", inside):
        assert await code_of(rig, by_appkey(route=Route("webpush", 2, text))) == 70402
    await rig.registrar.register(by_appkey(route=Route("webpush", 2, token("a"))), "10.0.0.1")


async def test_voip_and_live_activity_tokens_are_normalised_like_apns_tokens() -> None:
    rig = await Rig().open()
    told = "<971D256D " + "3f" * 28 + ">"
    normal = "971d256d" + "3f" * 28
    side = {"live_tokens": {"ride": told}, "live_start_tokens": {"Ride": told}}
    first = await rig.registrar.register(by_appkey(voip_token=told, **side), "10.0.0.1")
    assert (first.device.voip_token, first.device.live_tokens) == (normal, {"ride": normal})
    assert first.device.live_start_tokens == {"Ride": normal}
    proof = {"registration_id": first.device.registration_id, "secret": first.secret}
    rig.written.clear()
    await rig.registrar.register(by_appkey(voip_token=told.lower(), **proof), "10.0.0.1")
    assert rig.written == []
    for text in ("abc", "z" * 64):
        assert await code_of(rig, by_appkey(voip_token=text, **proof)) == 70402
        assert await code_of(rig, by_appkey(live_tokens={"ride": text}, **proof)) == 70402
        assert await code_of(rig, by_appkey(live_start_tokens={"Ride": text}, **proof)) == 70402
    gone = await rig.registrar.register(by_appkey(voip_token="", **proof), "10.0.0.1")
    assert gone.device.voip_token == ""


@pytest.mark.evidence(
    "a token is taken from its owner in any environment, with VoIP and Live Activity tokens",
)
async def test_a_phone_that_changes_hands_takes_its_voip_token_along() -> None:
    """Else a call to its former user rings on it as soon as that one has another phone."""
    rig = await Rig().open("ann", "bob")
    voip = "ab" * 32
    side = {"live_tokens": {"ride": "cd" * 32}, "live_start_tokens": {"Ride": "ef" * 32}}
    route = Route("fcm", 1, "t")
    ask = by_usersig(rig, "ann", route=route, voip_token=voip, **side)
    ann = await rig.registrar.register(ask, "10.0.0.1")
    await rig.registrar.register(by_usersig(rig, "bob", route=route, voip_token=voip), "10.0.0.1")
    left = await rig.store.device(APP, ann.device.registration_id)
    assert left is not None
    assert (left.route, left.voip_token, left.live_tokens) == (None, "", {})
    assert left.live_start_tokens == {}


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "é", "\x00"])
async def test_a_registration_id_is_short_printable_ascii(name: str) -> None:
    rig = await Rig().open()
    assert await code_of(rig, by_appkey(registration_id=name)) == 70402


async def test_a_user_id_is_no_registration_id() -> None:
    rig = await Rig().open("ann")
    assert await code_of(rig, by_appkey(registration_id="ann")) == 800103
    assert await code_of(rig, by_usersig(rig, "ann", registration_id="ann")) == 70402


async def test_new_devices_of_one_address_are_limited_but_those_that_return_are_not() -> None:
    rig = await Rig(per_minute=3).open()
    first = await rig.registrar.register(by_appkey(registration_id="own-R"), "10.0.0.1")
    for _ in range(2):
        await rig.registrar.register(by_appkey(), "10.0.0.1")
    assert await code_of(rig, by_appkey()) == 800102
    await rig.registrar.register(by_appkey(), "10.0.0.2")
    for _ in range(10):
        await rig.registrar.register(
            by_appkey(registration_id="own-R", secret=first.secret), "10.0.0.1"
        )
    await rig.clock.advance(20)
    await rig.registrar.register(by_appkey(), "10.0.0.1")
    assert await code_of(rig, by_appkey(appkey="wrong")) == 800102


async def test_an_unregistered_device_is_told_apart_and_may_return() -> None:
    rig = await Rig().open()
    first = await rig.registrar.register(by_appkey(registration_id="own-R"), "10.0.0.1")
    with pytest.raises(CallError) as refused:
        await rig.registrar.unregister(APP, "own-R", "wrong")
    assert refused.value.code == 800101
    await rig.registrar.unregister(APP, "own-R", first.secret)
    device = await rig.registrar.authenticate(APP, "own-R", first.secret)
    assert not device.is_registered
    back = await rig.registrar.register(
        by_appkey(registration_id="own-R", secret=first.secret), "10.0.0.1"
    )
    assert back.device.is_registered
    for name, secret, code in (("S", "s", 70107), ("own-R", "wrong", 800101)):
        with pytest.raises(CallError) as refused:
            await rig.registrar.authenticate(APP, name, secret)
        assert refused.value.code == code


async def test_reports_that_come_together_share_a_commit() -> None:
    rig = await Rig().open()
    devices = [(await rig.registrar.register(by_appkey(), "10.0.0.1")).device for _ in range(50)]
    task = await rig.task([device.account for device in devices])
    await asyncio.gather(*(rig.registrar.book_leg(device, task) for device in devices))
    rig.written.clear()
    await asyncio.gather(
        *(
            rig.registrar.report(device, APP, task.task_id, Stage.REACHED, "online")
            for device in devices
        )
    )
    assert rig.written == ["append_reports"]
    assert await rig.booked(task, Stage.REACHED) == {device.number for device in devices}
    books = await read_books(rig.store, APP, task.number)
    assert books is not None
    assert [report.stage for report in books.reports] == [Stage.SENT, Stage.REACHED]


async def test_a_report_returns_only_when_it_is_durable() -> None:
    rig = await Rig().open()
    device = (await rig.registrar.register(by_appkey(), "10.0.0.1")).device
    task = await rig.task([device.account])
    await rig.registrar.book_leg(device, task)
    rig.faults.add("append_reports")
    with pytest.raises(StoreError):
        await rig.registrar.report(device, APP, task.task_id, Stage.REACHED, "online")
    rig.faults.clear()
    await rig.registrar.report(device, APP, task.task_id, Stage.CLICKED, "online")
    assert await rig.booked(task, Stage.REACHED) == set()
    assert await rig.booked(task, Stage.CLICKED) == {device.number}


class SlowStore:
    """Appends when it is let."""

    def __init__(self) -> None:
        self.commits: list[list[Report]] = []
        self.lets = asyncio.Event()

    async def append_reports(self, app: int, reports: list[Report]) -> None:
        await self.lets.wait()
        self.commits.append(reports)


def reached(device: int) -> ReportEntry:
    return ReportEntry(task=1, device=device, stage=Stage.REACHED, channel="online", at=1.0)


async def test_what_comes_during_a_commit_waits_for_the_next() -> None:
    slow = SlowStore()
    reports = Reports(slow)  # type: ignore[arg-type]
    first = asyncio.create_task(reports.append(APP, [reached(1)]))
    await settle_loop()
    rest = [asyncio.create_task(reports.append(APP, [reached(number)])) for number in range(2, 30)]
    await settle_loop()
    rest[0].cancel()
    assert not first.done()
    slow.lets.set()
    await asyncio.gather(first, *rest[1:])
    assert [len(commit) for commit in slow.commits] == [1, 1]
