"""What a credential's check and a refused credential say, whichever vendor it is."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest

from tests.direct import DirectHttp, facts_of
from tests.sandbox_keys import keys_folder
from tests.unit.channels.kit import (
    OpenGate,
    addressed_by,
    delivery,
    driver,
    first_step,
    kit_of,
    settings_of,
)
from tocsin.channels.advice import GENERAL, advice
from tocsin.channels.batch_run import DriverTools
from tocsin.channels.credentials import driver_of
from tocsin.channels.registry import VENDORS, ListVendor, SingleVendor, find
from tocsin.channels.trial import VERDICTS, Trial, try_out
from tocsin.clock import Chance, ManualClock
from tocsin.conversation import Batch, Request
from tocsin.domain.app import Credential
from tocsin.domain.outcome import POLICIES, Outcome
from tocsin.log import configure
from tocsin.metrics import Metrics
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings

AnyVendor = SingleVendor | ListVendor

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.NAME)
each_wrong = pytest.mark.parametrize(
    "vendor",
    [it for it in VENDORS if kit_of(it).wrong is not None],
    ids=lambda vendor: vendor.NAME,
)

WORDS = frozenset(
    ("token service", "Invalid JWT Signature", "Invalid JWT", "account not found", "-16")
)
"""What hints go by that is no reason of `OUTCOMES`: words of token services, and a code of ours."""


class Office:
    """A sandbox without sockets, and a way to try a vendor's credential against it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sandbox = Sandbox(SandboxSettings(seed=1, folder=keys_folder()), self.clock)
        self.http = DirectHttp(self.sandbox, self.clock)
        self.metrics = Metrics()
        self.tools = DriverTools(self.http, self.clock, Chance(1), self.metrics)

    async def try_out(self, name: str, **changed: Any) -> Trial:
        record, settings = self.credential(name, **changed)
        return await try_out(record, settings, "", self.tools)

    def credential(self, name: str, **changed: Any) -> tuple[Credential, Any]:
        vendor = find(name)
        assert vendor is not None
        facts = facts_of(name, self.sandbox, **changed)
        places = {place: facts[place] for place in ("origin", "auth_origin")}
        record = Credential(app=7, number=1, channel=name, settings=b"", **places)
        return record, msgspec.convert(facts["settings"], vendor.Settings)

    def seen(self) -> list[Any]:
        return list(self.sandbox.log.entries())


@pytest.mark.evidence(
    "a check tells good, wrong, refused and unclear apart, and reaches nobody",
    topic="Credentials",
    planted="an expired authority told as good; a hint under another code",
)
@each_vendor
async def test_a_good_credential_is_told_so_and_reaches_nobody(vendor: AnyVendor) -> None:
    office = Office()
    trial = await office.try_out(vendor.NAME)
    why = f"{vendor.NAME}: what it says of NOBODY has no row in OUTCOMES that says so"
    assert (trial.verdict, trial.advice) == ("good", ""), why
    assert [entry for entry in office.seen() if entry.accepted] == []
    devices = office.sandbox.devices.all_of(vendor.NAME)
    assert [device for device in devices if device.shown] == []
    # Only a browser's push service cannot be asked before there is a browser.
    assert bool(office.http.requests) == bool(vendor.NOBODY)
    assert (trial.said == "") != (vendor.NAME == "webpush") or vendor.NOBODY


@pytest.mark.evidence("a check tells good, wrong, refused and unclear apart, and reaches nobody")
@each_wrong
async def test_a_wrong_one_is_told_so_with_what_to_do(vendor: AnyVendor) -> None:
    wrong = kit_of(vendor).wrong or {}
    trial = await Office().try_out(vendor.NAME, **wrong)
    assert trial.verdict == "wrong"
    why = f"{vendor.NAME}: no HINTS for {trial.code}, which a wrong credential is answered with"
    assert trial.advice in vendor.HINTS.values(), why
    assert not [value for value in wrong.values() if value in trial.said]


@pytest.mark.evidence("a check tells good, wrong, refused and unclear apart, and reaches nobody")
@each_vendor
async def test_a_vendor_that_cannot_be_asked_leaves_it_open(vendor: AnyVendor) -> None:
    if not vendor.NOBODY:
        return
    office = Office()
    office.sandbox.faults.add(Rule(vendor=vendor.NAME, kind="status", status=500))
    trial = await office.try_out(vendor.NAME)
    assert (trial.verdict, trial.outcome) == ("unclear", Outcome.SERVER_ERROR)
    assert trial.advice


async def test_a_trial_leaves_no_trace_in_the_services_own_figures() -> None:
    office = Office()
    await office.try_out("huawei")
    assert b'channel="huawei"' not in office.metrics.render()


@pytest.mark.evidence(
    "Apple sees one token of a key over checks, changes, apps and restarts",
    topic="Credentials",
    planted="a check's token its own; the bundle ID part of what a token is made of; "
    "nothing saved; nothing sealed anew; a refused token replaced at once",
)
async def test_checks_and_the_channel_show_apple_one_token() -> None:
    """Case 17: two checks, and then every push was refused for minutes."""
    office = Office()
    for _ in range(3):
        assert (await office.try_out("apns")).verdict == "good"
    vendor = find("apns")
    assert vendor is not None
    record, settings = office.credential("apns")
    for number, rate in enumerate((0.0, 500.0, 900.0)):
        # What another rate or a restarted channel is driven by.
        one = driver_of(
            vendor,
            msgspec.structs.replace(record, rate_per_s=rate),
            settings,
            office.tools,
        )
        token = office.sandbox.tokens("apns", number + 1, 1)[0]
        given = delivery(1, token=token, expires_at=office.clock.now() + 60)
        told = Batch(app=7, task=1, job=9, deliveries=(given,))
        (receipt,) = await one.deliver(told, OpenGate())
        assert receipt.outcome is Outcome.ACCEPTED, receipt
        await one.close()


@pytest.mark.evidence(
    "it is a test where the vendor has tests",
    topic="Credentials",
    planted="Honor's mark left out; FCM's made-up token in place of a topic",
)
@each_vendor
def test_a_trial_is_a_test_where_the_vendor_has_tests(vendor: AnyVendor) -> None:
    said = set()
    for is_trial in (True, False):
        made = first_step(vendor, settings_of(vendor), delivery(is_trial=is_trial))
        assert isinstance(made, Request)
        for mark in kit_of(vendor).trial_marks:
            assert (mark in made.body) == is_trial
        said.add(made.body)
    # A browser's message is encrypted, and the same whatever it is for.
    assert (len(said) == 2) == bool(kit_of(vendor).trial_marks)


def test_every_outcome_that_says_something_of_us_has_a_verdict_and_advice() -> None:
    assert set(VERDICTS) | set(GENERAL) <= set(POLICIES)
    for outcome, verdict in VERDICTS.items():
        assert bool(GENERAL.get(outcome)) == (verdict != "good"), outcome


@each_vendor
def test_every_hint_is_for_something_that_the_vendor_says(vendor: AnyVendor) -> None:
    said = {reason for _, reason in vendor.OUTCOMES} | {
        str(status) for status, _ in vendor.OUTCOMES
    }
    assert vendor.HINTS, f"{vendor.NAME}: HINTS is empty"
    for key, hint in vendor.HINTS.items():
        assert key in said | WORDS, key
        assert hint
        assert not hint.endswith(".")


def test_the_vendors_own_hint_comes_before_the_general_one() -> None:
    oppo = find("oppo")
    assert oppo is not None
    wrong = Outcome.CREDENTIALS_WRONG
    assert advice(oppo, wrong, "16", "") == oppo.HINTS["16"]
    # A number is a code, and not a part of what was said.
    assert advice(oppo, wrong, "999", "16 of them") == GENERAL[wrong]
    assert advice(oppo, Outcome.ACCEPTED, "0", "") == ""


@pytest.mark.evidence(
    "… with an alarm and a line that says what to fix",
    topic="Trouble, vendor by vendor",
    planted="the line left out; a hint under a code that nobody says",
)
@each_wrong
async def test_a_refused_credential_raises_an_alarm_and_a_line_that_says_what_to_fix(
    vendor: AnyVendor,
) -> None:
    office, told = Office(), io.StringIO()
    configure("debug", json=True, stream=told)
    name, wrong = vendor.NAME, kit_of(vendor).wrong or {}
    facts = facts_of(name, office.sandbox, **wrong)
    one = driver(
        vendor,
        office.http,
        clock=office.clock,
        metrics=office.metrics,
        settings=msgspec.convert(facts["settings"], vendor.Settings),
        origin=facts["origin"],
        auth_origin=facts["auth_origin"],
        number=1,
    )
    token = office.sandbox.tokens(name, 1, 1)[0]
    given = addressed_by(vendor, delivery(1, token=token, expires_at=office.clock.now() + 60))
    for _ in range(3):
        await one.deliver(Batch(app=7, task=1, job=9, deliveries=(given,)), OpenGate())
    lines = [msgspec.json.decode(line) for line in told.getvalue().splitlines()]
    (line,) = [it for it in lines if it["event"] == "credential refused"]
    why = f"{vendor.NAME}: no HINTS for {line['code']}, which a wrong credential is answered with"
    assert line["advice"] in vendor.HINTS.values(), why
    assert (line["certificate"], line["channel"], line["level"]) == (1, name, "error")
    assert b'tocsin_alarms_total{credential="7:1"} 1' in office.metrics.render()
    await one.close()
