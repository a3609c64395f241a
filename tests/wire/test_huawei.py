"""Huawei over real sockets: the driver, the HTTP client and the sandbox at its worst, and a push
through a whole served process to thousands of devices."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.patience import PATIENCE_S
from tests.sandbox_keys import keys_folder
from tests.task_books import read_books
from tests.wire.scene import scene
from tests.wire.served import APP, client_of, make_app, opened, process_of
from tocsin.client.rest import Client
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.outcome import Outcome, State
from tocsin.domain.task import Phase
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.sandbox.vendors.huawei.server import Huawei
from tocsin.service.opening import OpenedService

SEND = "/v1/*"
MANY = range(300)


async def test_a_list_reaches_everybody_once_and_names_itself() -> None:
    async with scene("huawei") as it:
        assert await it.send(MANY) == {Outcome.ACCEPTED: 300}
        (named,) = {(entry.correlation, entry.push_type) for entry in it.sandbox.log.entries()}
        assert named == ("7-1-0011", "notification")
        assert not it.sandbox.log.duplicates()


async def test_each_token_has_its_own_fate() -> None:
    async with scene("huawei") as it:
        it.put(1, "dead")
        it.put(2, "other_app")
        it.put(3, "off")
        receipts = await it.receipts(MANY)
        dead = [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
        assert dead == [1, 2]


async def test_a_stale_bearer_is_renewed_and_nobody_is_served_twice() -> None:
    async with scene("huawei") as it:
        await it.send(range(1))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(MANY) == {Outcome.ACCEPTED: 300}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "status", "status": 503, "retry_after_s": 3}, Outcome.THROTTLED),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "never", "accepted": False}, Outcome.UNKNOWN),
        ({"kind": "vendor_code", "code": "81000001"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "80300007"}, Outcome.TOKEN_MISMATCH),
    ],
)
async def test_what_huawei_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene("huawei") as it:
        assert await it.send(range(1000, 1001)) == {Outcome.ACCEPTED: 1}
        it.fault(path=SEND, times=1, **rule)
        with it.deadline(1.0 if rule["kind"] == "never" else None):
            assert await it.send(MANY) == {outcome: 300}
        rest = Outcome.HELD if "retry_after_s" in rule else Outcome.ACCEPTED
        assert await it.send(MANY) == {rest: 300}


# the whole service

DEVICES = 2800
DEAD_EVERY = 50


async def phones(service: OpenedService) -> None:
    """Accounts `u0`… with one Huawei phone each, straight through the store."""
    names = [f"u{number}" for number in range(DEVICES)]
    now = service.clock.now()
    decide = import_accounts([Profile(name) for name in names], now)
    await service.store.update_accounts(APP, names, [], decide)

    async def phone(number: int) -> None:
        route = Route("huawei", 1, Huawei.token(number))
        name = f"R-{number}"
        ask = Registration(registration_id=name, fresh_secret="s", user=names[number], route=route)
        await service.store.update_device(APP, name, ask.user, route, register(ask, now))

    for start in range(0, DEVICES, 500):
        await asyncio.gather(*map(phone, range(start, min(start + 500, DEVICES))))


@pytest.mark.evidence(
    "a push to everyone goes out in full lists",
    topic="Vendors",
    planted="lists of half the length",
)
async def test_a_push_to_everyone_goes_out_in_full_lists(tmp_path: Path) -> None:
    dead = set(range(0, DEVICES, DEAD_EVERY))
    async with Sandbox(SandboxSettings(folder=keys_folder(), seed=7)) as sandbox:
        for number in dead:
            sandbox.devices.put("huawei", Huawei.token(number), "dead")
        rule = {"kind": "status", "status": 503, "retry_after_s": 1, "first": 2, "times": 1}
        sandbox.faults.add(msgspec.convert({"vendor": "huawei", "path": SEND, **rule}, Rule))
        async with opened(tmp_path) as service:
            await make_app(service)
            facts = credential_facts("huawei", sandbox.describe())
            await service.operator.credential_add(APP, facts)
            await phones(service)
        async with process_of(tmp_path) as process, client_of(process) as client:
            pushed = await client.push({"Title": "t", "Desc": "d"})
            await until_done(client, pushed.task_id)
        # After the 503 a slow machine may ask with a push to nobody: that is no list.
        known = {Huawei.token(number) for number in range(DEVICES)}
        sent = [it for it in sandbox.log.entries() if it.fault == "" and it.token in known]
        lists = Counter(it.digest for it in sent)
        assert sorted(lists.values()) == [800, 1000, 1000]
        assert sum(lists.values()) / (1000 * len(lists)) >= 0.9
        assert len([it for it in sandbox.log.entries() if it.fault]) == 1
        assert not sandbox.log.duplicates()
        async with opened(tmp_path) as service:
            await check_books(service, pushed.task_id, len(dead))


async def until_done(client: Client, task_id: str) -> None:
    """Look at another process until the task has ended; it has no way to tell us."""
    async with asyncio.timeout(PATIENCE_S):
        while (await client.task(task_id))["phase"] != Phase.DONE:
            await SystemClock().sleep(0.1)


async def check_books(service: OpenedService, task_id: str, dead: int) -> None:
    task = await service.store.task_by_id(APP, task_id)
    assert task is not None
    books = await read_books(service.store, APP, task.number)
    assert books is not None
    counts = books.ledger
    assert counts.faults == []
    assert counts.states[State.SENT] == DEVICES - dead
    assert counts.failures == {"huawei 80100000 illegal token": dead}
    assert counts.repeated == 0
    gone = await service.store.device(APP, "R-0")
    assert gone is not None
    assert gone.route is None
