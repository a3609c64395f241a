"""Huawei over real sockets: the driver, the HTTP client and the sandbox at its worst, and a push
through a whole served process to thousands of devices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.channels.kit import OpenGate, delivery, driver
from tests.wire.served import APP, client_of, make_app, opened, process_of
from tocsin.adapters.http import CurlHttp
from tocsin.channels import huawei
from tocsin.channels.driver import Driver
from tocsin.client.rest import Client
from tocsin.client.sandbox import credential_facts
from tocsin.clock import SystemClock
from tocsin.domain.account import Profile, import_accounts
from tocsin.domain.device import Registration, Route, register
from tocsin.domain.outcome import Outcome, Receipt, State
from tocsin.domain.stats import ledger
from tocsin.domain.task import Phase
from tocsin.ports import Batch
from tocsin.sandbox.faults import Rule
from tocsin.sandbox.huawei import Huawei, HuaweiSettings
from tocsin.sandbox.server import Sandbox, SandboxSettings
from tocsin.wiring import Service

SEND = "/v1/*"
MANY = range(300)


class Scene:
    """A sandbox and the driver of a credential that it told of itself."""

    def __init__(self, sandbox: Sandbox, one: Driver) -> None:
        self.sandbox = sandbox
        self.driver = one

    def fault(self, **rule: Any) -> None:
        self.sandbox.faults.add(Rule(**{"vendor": "huawei", "path": SEND, **rule}))

    async def receipts(self, numbers: Iterable[int]) -> list[Receipt]:
        """Deliver, and hold the receipts against the sandbox's log."""
        now = self.sandbox.clock.now()
        deliveries = tuple(
            delivery(it, token=Huawei.token(it), expires_at=now + 3600) for it in numbers
        )
        mark = max((entry.sequence for entry in self.sandbox.log.entries()), default=0)
        batch = Batch(app=7, task=1, job=9, deliveries=deliveries, correlation="7-1-0011")
        receipts = await self.driver.deliver(batch, OpenGate())
        taken = Counter(it.token for it in self.sandbox.log.entries(after=mark, accepted=True))
        for receipt in receipts:
            count = taken[Huawei.token(receipt.device)]
            if receipt.outcome is Outcome.UNKNOWN:
                assert count <= 1
            else:
                assert count == (receipt.outcome is Outcome.ACCEPTED), receipt
        return receipts

    async def send(self, numbers: Iterable[int]) -> Counter[Outcome]:
        return Counter(receipt.outcome for receipt in await self.receipts(numbers))


@asynccontextmanager
async def scene(deadline_s: float = 10.0, **settings: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        told = SandboxSettings(seed=7, vendors=(HuaweiSettings(**settings),))
        sandbox = await stack.enter_async_context(Sandbox(told))
        facts = credential_facts("huawei", sandbox.describe())
        http = CurlHttp()
        await http.start(stack)
        one = driver(
            huawei,
            http,
            clock=SystemClock(),
            settings=msgspec.convert(facts["settings"], huawei.Settings),
            origin=facts["origin"],
            auth_origin=facts["auth_origin"],
            ca=facts["ca"],
        )
        one._limits = msgspec.structs.replace(one._limits, deadline_s=deadline_s)
        stack.push_async_callback(one.close)
        yield Scene(sandbox, one)


async def test_a_list_reaches_everybody_once_and_names_itself() -> None:
    async with scene() as it:
        assert await it.send(MANY) == {Outcome.ACCEPTED: 300}
        (named,) = {(entry.correlation, entry.push_type) for entry in it.sandbox.log.entries()}
        assert named == ("7-1-0011", "notification")
        assert not it.sandbox.log.duplicates()


async def test_each_token_has_its_own_fate() -> None:
    async with scene() as it:
        for number, state in ((1, "dead"), (2, "other_app"), (3, "off")):
            it.sandbox.devices.put("huawei", Huawei.token(number), state)  # type: ignore[arg-type]
        receipts = await it.receipts(MANY)
        dead = [it.device for it in receipts if it.outcome is Outcome.TOKEN_DEAD]
        assert dead == [1, 2]


async def test_a_stale_bearer_is_renewed_and_nobody_is_served_twice() -> None:
    async with scene() as it:
        await it.send(range(1))
        assert it.sandbox.expire_bearers() == 1
        assert await it.send(MANY) == {Outcome.ACCEPTED: 300}


async def test_a_wrong_secret_stops_the_credential() -> None:
    async with scene(app_secret="another") as it:
        it.driver._settings = msgspec.structs.replace(it.driver._settings, app_secret="guess")
        assert await it.send(MANY) == {Outcome.CREDENTIALS_WRONG: 300}
        assert it.driver.room(it.sandbox.clock.now()) == 0


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"kind": "status", "status": 503, "retry_after_s": 3}, Outcome.THROTTLED),
        ({"kind": "status", "status": 502}, Outcome.SERVER_ERROR),
        ({"kind": "html_page"}, Outcome.SERVER_ERROR),
        ({"kind": "html_page", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "truncated"}, Outcome.UNKNOWN),
        ({"kind": "wrong_content_type"}, Outcome.ACCEPTED),
        ({"kind": "slow_body", "delay_s": 0.1}, Outcome.ACCEPTED),
        ({"kind": "reset_before"}, Outcome.UNKNOWN),
        ({"kind": "reset_after"}, Outcome.UNKNOWN),
        ({"kind": "never"}, Outcome.UNKNOWN),
        ({"kind": "never", "accepted": False}, Outcome.UNKNOWN),
        ({"kind": "vendor_code", "code": "81000001"}, Outcome.SERVER_ERROR),
        ({"kind": "vendor_code", "code": "80300007"}, Outcome.TOKEN_DEAD),
    ],
)
async def test_what_huawei_may_answer(rule: dict[str, Any], outcome: Outcome) -> None:
    async with scene(deadline_s=1.0) as it:
        it.fault(times=1, **rule)
        assert await it.send(MANY) == {outcome: 300}
        assert await it.send(MANY) == {Outcome.ACCEPTED: 300}


async def test_a_server_that_is_not_there() -> None:
    async with scene() as it:
        await it.send(range(1))
        await it.sandbox.listeners["huawei"].stop()
        got = await it.send(range(10))
        assert set(got) <= {Outcome.UNSENT, Outcome.UNKNOWN}


# the whole service

DEVICES = 2800
DEAD_EVERY = 50


async def phones(service: Service) -> None:
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


async def test_a_push_to_everyone_goes_out_in_full_lists(tmp_path: Path) -> None:
    dead = set(range(0, DEVICES, DEAD_EVERY))
    async with Sandbox(SandboxSettings(seed=7)) as sandbox:
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
        lists = Counter(it.digest for it in sandbox.log.entries() if it.fault == "")
        assert sorted(lists.values()) == [800, 1000, 1000]
        assert sum(lists.values()) / (1000 * len(lists)) >= 0.9
        assert len([it for it in sandbox.log.entries() if it.fault]) == 1
        assert not sandbox.log.duplicates()
        async with opened(tmp_path) as service:
            await check_books(service, pushed.task_id, len(dead))


async def until_done(client: Client, task_id: str) -> None:
    """Look at another process until the task has ended; it has no way to tell us."""
    async with asyncio.timeout(60):
        while (await client.task(task_id))["phase"] != Phase.DONE:
            await SystemClock().sleep(0.1)


async def check_books(service: Service, task_id: str, dead: int) -> None:
    task = await service.store.task(APP, task_id)
    assert task is not None
    books = await service.store.books(APP, task.number)
    assert books is not None
    counts = ledger(books)
    assert counts.faults == []
    assert counts.states[State.SENT] == DEVICES - dead
    assert counts.failures == {"huawei 80100000 illegal token": dead}
    assert counts.repeated == 0
    gone = await service.store.device(APP, "R-0")
    assert gone is not None
    assert gone.route is None
