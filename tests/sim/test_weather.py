"""Ordinary bad weather: small outages, refusals one after another, dead and hostile devices.

Each is an input that once lost pushes, or stopped others'. The real pipeline, drivers and vendors'
files against the sandbox, on the manual clock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.direct import DirectHttp
from tests.sim.works import APP, STEP_S, Works
from tests.unit.channels import kit_webpush
from tocsin.conversation import Fault, Request, Response
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.outcome import State
from tocsin.sandbox.faults import Rule

BAD = "https://10.0.0.1"
"""An address that is not to be connected to."""
BUSY = {"kind": "vendor_code", "code": "TooManyRequests"}
BROKEN = {"kind": "vendor_code", "code": "InternalServerError"}
HOSTILE, HONEST, ROUNDS = 40, 20, 3


def shown(works: Works) -> Counter[str]:
    return Counter(it.token for it in works.sandbox.log.entries(accepted=True))


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
    topic="A push outlives every outage",
    planted="one try for server errors and for what was not sent; libcurl's messages turned"
    " on late",
)
@pytest.mark.parametrize(
    ("kind", "until_s", "count"),
    [
        ("status", 20, 1),
        ("status", 20, 5),
        ("status", 20, 60),
        ("reset_before", 5, 1),
        ("reset_before", 3, 60),
    ],
)
async def test_a_short_outage_costs_nobody_the_push(kind: Any, until_s: float, count: int) -> None:
    works = await Works().open({"apns": count})
    works.sandbox.faults.add(Rule(kind=kind, vendor="apns", until_s=until_s))
    task = await works.push()
    await works.go_on(until_s + 60, step_s=0.5)
    assert (await works.ledger(task)).states[State.SENT] == count
    assert set(shown(works).values()) == {1}


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
@pytest.mark.parametrize(
    "rules",
    [
        ({**BUSY, "times": 4}, {**BROKEN, "times": 1}),
        ({**BUSY, "times": 2}, {"kind": "reset_before", "times": 1}),
        ({**BUSY, "times": 9}, {**BROKEN, "times": 9}),
    ],
    ids=["busy-broken", "busy-reset", "many"],
)
async def test_tries_are_not_counted_across_causes(rules: tuple[dict[str, Any], ...]) -> None:
    works = await Works().open({"apns": 1})
    for rule in rules:
        works.sandbox.faults.add(Rule(vendor="apns", **rule))
    task = await works.push()
    await works.go_on(1200, step_s=1.0)
    assert (await works.ledger(task)).states[State.SENT] == 1
    assert set(shown(works).values()) == {1}


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
async def test_a_third_of_a_list_is_dead_and_the_next_push_goes_out_at_once() -> None:
    works = await Works().open({"fcm": 61})
    dead = works.sandbox.tokens("fcm", 0, 60)[::3]
    for token in dead:
        works.sandbox.devices.put("fcm", token, "dead")
    for _ in range(ROUNDS):
        await works.push(accounts=tuple(f"fcm-{number}" for number in range(60)))
        await works.go_on(1.0)
        task = await works.push(accounts=("fcm-60",))
        await works.go_on(1.0)
        assert (await works.ledger(task)).states[State.SENT] == 1
        assert len(await works.routed("fcm")) == 61 - len(dead)


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
async def test_most_are_of_another_environment_and_the_good_ones_are_served() -> None:
    works = await Works().open({"apns": 60})
    tokens = works.sandbox.tokens("apns", 0, 60)
    for token in tokens[20:]:
        works.sandbox.devices.put("apns", token, "other_environment")
    for number in range(1, ROUNDS + 1):
        await works.push()
        await works.go_on(1.0)
        assert shown(works) == dict.fromkeys(tokens[:20], number)
        assert len(await works.routed("apns")) == 60


class StrangeHttp(DirectHttp):
    """Knows addresses that are refused, and push services that never answer."""

    async def send(
        self,
        request: Request,
        deadline_s: float,
        may_begin: Callable[[], bool] | None = None,
    ) -> Response | Fault:
        if request.origin == BAD:
            assert request.is_guarded
            return Fault("refused", "10.0.0.1 is not a public address")
        if request.origin in self._names:
            return await super().send(request, deadline_s, may_begin)
        if may_begin is not None and not may_begin():
            return Fault("unsent", "not begun")
        await self._clock.sleep(deadline_s)
        return Fault("maybe_sent", "no answer in time")


async def add_browser(works: Works, user: str, endpoint: str) -> None:
    route = Route("webpush", works.numbers["webpush"], kit_webpush.token(user, endpoint))
    ask = Registration(registration_id=f"R-{user}", fresh_secret="s", user=user, route=route)
    now = works.clock.now()
    accounts = import_accounts([Profile(user)], now)
    await works.store.update_accounts(APP, [user], [], accounts)
    await works.store.update_device(APP, f"R-{user}", user, route, register(ask, now))


@pytest.mark.evidence(
    "small outages, refusals of several causes, dead and hostile devices lose nobody a push",
)
@pytest.mark.parametrize("kind", ["refused", "silent"])
async def test_hostile_endpoints_hold_up_no_honest_browser(kind: str) -> None:
    works = await Works(http=StrangeHttp).open({"webpush": HONEST}, is_placed=False)
    for number in range(HOSTILE):
        origin = BAD if kind == "refused" else f"https://push-{number}.example"
        await add_browser(works, f"bad-{number}", f"{origin}/")
    working = asyncio.create_task(works.dispatcher.run())
    for number in range(1, ROUNDS + 1):
        task = await works.push()
        for _ in range(20):
            await works.clock.advance(STEP_S)
        assert list(shown(works).values()) == [number] * HONEST
        states = (await works.ledger(task)).states
        if kind == "refused":
            assert states[State.SENT] == HONEST
            assert states[State.FAILED] == HOSTILE
            books = await works.books(task)
            told = {it.code for it in books.blocks if it.state == State.FAILED}
            assert told == {"-17"}
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
